-- Makes a server for video conferences of the variables of docker-jitsi-meet's prosody: which hosts and components it
-- has, which accounts its services have, and what differs from a server for chats. Pure.

local types = require "container.types"

local jitsi = {}

-- Variables that hold lines in Lua. They are not in the catalogue, as values never become source text here.
local source_texts = { "GLOBAL_CONFIG", "XMPP_CONFIGURATION", "XMPP_MUC_CONFIGURATION" }

-- Accounts of services: variables of name and password, of the domain they are in, and whether nothing works without.
local services = {
	{ name = "JICOFO_AUTH_USER", password = "JICOFO_AUTH_PASSWORD", domain = "XMPP_AUTH_DOMAIN", is_required = true };
	{ name = "JVB_AUTH_USER", password = "JVB_AUTH_PASSWORD", domain = "XMPP_AUTH_DOMAIN", is_required = true };
	{ name = "JIGASI_XMPP_USER", password = "JIGASI_XMPP_PASSWORD", domain = "XMPP_AUTH_DOMAIN" };
	{ name = "JIBRI_XMPP_USER", password = "JIBRI_XMPP_PASSWORD", domain = "XMPP_AUTH_DOMAIN" };
	{ name = "JIBRI_RECORDER_USER", password = "JIBRI_RECORDER_PASSWORD", domain = "XMPP_HIDDEN_DOMAIN" };
	{ name = "JIGASI_TRANSCRIBER_USER", password = "JIGASI_TRANSCRIBER_PASSWORD", domain = "XMPP_HIDDEN_DOMAIN" };
}

-- Modules of a server for chats that conferences do not need, whose users are gone when the conference is over.
local chat_modules = {
	"mam", "pep", "bookmarks", "private", "vcard4", "vcard_legacy", "blocklist", "carbons", "cloud_notify", "csi_simple",
	"account_activity", "lastactivity", "uptime", "time", "version", "register", "invites", "invites_adhoc",
	"invites_register", "watchregistrations", "tombstones", "mimicking", "spam_reporting", "watch_spam_reports",
	"admin_adhoc",
}

local providers = { internal = "internal_hashed", jwt = "json_web_token", ldap = "ldap" }
local token_providers = { json_web_token = true, token = true }

-- What holds in a Jitsi deployment where no variable says otherwise
local defaults = {
	AUTH_TYPE = "internal", PROSODY_MODE = "client";
	JICOFO_AUTH_USER = "focus", JVB_AUTH_USER = "jvb", JIGASI_XMPP_USER = "jigasi", JIBRI_XMPP_USER = "jibri";
	JIBRI_RECORDER_USER = "recorder", JIGASI_TRANSCRIBER_USER = "transcriber";
	PROSODY_FEDERATION = false;
	PROSODY_CONSIDER_BOSH_SECURE = true, PROSODY_CONSIDER_WEBSOCKET_SECURE = true;
	-- Who has lost the connection leaves the conference within a minute.
	PROSODY_SMACKS_HIBERNATION_TIME = 60;
	PROSODY_UPLOAD_DOMAIN = false;
	-- Jicofo opens the rooms and sees who is in them; they are gone with the last occupant.
	PROSODY_RESTRICT_ROOM_CREATION = true, PROSODY_ROOM_LOCKING = false, PROSODY_ROOM_DEFAULT_PUBLIC_JIDS = true;
	PROSODY_ROOM_TOMBSTONES = false, PROSODY_ROOM_ALLOW_PERSISTENT = false, PROSODY_MUC_ROOM_CACHE_SIZE = 10000;
	-- Every change of a camera is a presence: the limit for chats would silence a conference.
	PROSODY_MUC_LIMIT_JOINS_ONLY = true;
}

-- Modules and components of Jitsi Meet, where a folder of modules has them: by section, and unless which variable says
-- otherwise.
local plugins = {
	host = {
		{ module = "features_identity" }, { module = "conference_duration" };
		{ module = "muc_lobby_rooms", unless = { ENABLE_LOBBY = false } };
		{ module = "muc_breakout_rooms", unless = { ENABLE_BREAKOUT_ROOMS = false } };
	};
	rooms = {
		{ module = "muc_hide_all" }, { module = "muc_meeting_id" }, { module = "muc_password_whitelist" };
		{ module = "muc_domain_mapper", unless = { ENABLE_SUBDOMAINS = false } };
	};
	internal = { { module = "muc_hide_all" }, { module = "muc_filter_access" } };
	components = {
		{ prefix = "speakerstats", module = "speakerstats_component" };
		{ prefix = "endconference", module = "end_conference", unless = { ENABLE_END_CONFERENCE = false } };
		{ prefix = "avmoderation", module = "av_moderation_component", unless = { ENABLE_AV_MODERATION = false } };
		{ prefix = "metadata", module = "room_metadata_component" };
		{ prefix = "polls", module = "polls_component", unless = { DISABLE_POLLS = true } };
		{ prefix = "lobby", module = "muc", needs = "muc_lobby_rooms", unless = { ENABLE_LOBBY = false } };
		{ prefix = "breakout", module = "muc", needs = "muc_breakout_rooms", unless = { ENABLE_BREAKOUT_ROOMS = false } };
	};
}

local function is_named(result, name)
	local origin = result.origins[name]
	return result.values[name] ~= nil and origin ~= "default"
end

--- Names of the variables that mean something in a Jitsi deployment only, and are set.
local function set_variables(result, catalogue)
	local names = {}
	for _, variable in ipairs(catalogue) do
		if variable.jitsi and is_named(result, variable.name) then
			local origin = result.origins[variable.name]
			local is_alias = false
			for _, alias in ipairs(variable.aliases or {}) do is_alias = is_alias or alias == origin end
			names[#names + 1] = is_alias and origin or variable.name
		end
	end
	return names
end

--- Whether this is a Jitsi deployment. auto: as soon as a variable of one is set
function jitsi.is_on(result, catalogue)
	local wanted = result.values.PROSODY_JITSI
	if wanted == "auto" then
		return result.origins.PROSODY_DOMAIN == "XMPP_DOMAIN" or #set_variables(result, catalogue) > 0
	end
	return wanted == "true"
end

local function is_wanted(plugin, values, has_module)
	for name, value in pairs(plugin.unless or {}) do
		if values[name] == value then return false end
	end
	return has_module(plugin.needs or plugin.module)
end

local function address_of(service, values)
	return values[service.name] .. "@" .. values[service.domain]
end

--- Services that have a password: their accounts are made.
local function present_services(values)
	local found = {}
	for _, service in ipairs(services) do
		if values[service.password] then found[#found + 1] = service end
	end
	return found
end

local function has_guests(values)
	return values.ENABLE_AUTH and values.ENABLE_GUESTS
end

local function has_hidden_domain(values)
	for _, service in ipairs(present_services(values)) do
		if service.domain == "XMPP_HIDDEN_DOMAIN" then return true end
	end
	return values.ENABLE_RECORDING or values.ENABLE_TRANSCRIPTIONS
end

local function focus_of(values)
	return "focus." .. values.PROSODY_DOMAIN
end

--- Services of relays, as mod_external_services wants them; nil if there is none.
local function relays(values)
	local list = {}
	local function add(kind, host, port, transport, is_secret)
		list[#list + 1] = {
			type = kind, host = host, port = port, transport = transport;
			ttl = is_secret and (values.TURN_TTL or 86400) or nil;
			secret = is_secret and values.TURN_CREDENTIALS ~= nil or nil;
			algorithm = is_secret and values.TURN_CREDENTIALS ~= nil and "turn" or nil;
			username = is_secret and values.TURN_USERNAME or nil, password = is_secret and values.TURN_PASSWORD or nil;
		}
	end
	if values.STUN_HOST then add("stun", values.STUN_HOST, values.STUN_PORT or 443, "udp") end
	for _, host in ipairs(values.TURN_HOST or {}) do
		for _, transport in ipairs(values.TURN_TRANSPORT or { "tcp" }) do
			add("turn", host, values.TURN_PORT or 443, transport, true)
		end
	end
	for _, host in ipairs(values.TURNS_HOST or {}) do add("turns", host, values.TURNS_PORT or 443, "tcp", true) end
	return #list > 0 and list or nil
end

--- Names of variables that are set and hold source text. get: name → text or nil
function jitsi.find_source_texts(get)
	local found = {}
	for _, name in ipairs(source_texts) do
		if (get(name) or "") ~= "" then found[#found + 1] = name end
	end
	return found
end

--- Completes values and origins. result: as container/environment.lua reads it, with is_jitsi and surroundings
function jitsi.complete(result)
	if not result.is_jitsi then return end
	local values, has_module = result.values, result.surroundings.has_module
	local function set(name, value)
		values[name] = value
		result.origins[name] = "PROSODY_JITSI"
	end
	local function set_default(name, value)
		if not is_named(result, name) then set(name, value) end
	end

	local origin = result.origins.PROSODY_DOMAIN
	if origin == "default" or origin == "the container's host name" then set("PROSODY_DOMAIN", "meet.jitsi") end
	local domain = values.PROSODY_DOMAIN
	for name, prefix in pairs {
		PROSODY_MUC_DOMAIN = "muc.", XMPP_AUTH_DOMAIN = "auth.", XMPP_INTERNAL_MUC_DOMAIN = "internal-muc.";
		XMPP_GUEST_DOMAIN = "guest.", XMPP_HIDDEN_DOMAIN = "hidden.";
	} do
		set_default(name, prefix .. domain)
	end
	for name, value in pairs(defaults) do set_default(name, value) end
	if values.PROSODY_DISABLE_C2S_LIMIT then set("PROSODY_C2S_RATE_LIMIT", "1gb/s") end
	if values.ENABLE_XMPP_WEBSOCKET == false then
		set("PROSODY_DISABLE_MODULES", table.move(values.PROSODY_DISABLE_MODULES or {}, 1,
			#(values.PROSODY_DISABLE_MODULES or {}), 2, { "websocket" }))
	end
	set_default("PROSODY_AUTHENTICATION", values.ENABLE_AUTH and providers[values.AUTH_TYPE] or "anonymous")
	if token_providers[values.PROSODY_AUTHENTICATION] then set_default("PROSODY_JWT_AUDIENCES", { "*" }) end
	set_default("PROSODY_EXTERNAL_SERVICES", relays(values))

	local virtual = { domain, values.XMPP_AUTH_DOMAIN }
	if has_guests(values) then virtual[#virtual + 1] = values.XMPP_GUEST_DOMAIN end
	if has_hidden_domain(values) then virtual[#virtual + 1] = values.XMPP_HIDDEN_DOMAIN end
	set_default("PROSODY_VIRTUAL_HOSTS", virtual)

	local components = { [values.XMPP_INTERNAL_MUC_DOMAIN] = "muc", [focus_of(values)] = "focus_proxy" }
	for _, plugin in ipairs(plugins.components) do
		if is_wanted(plugin, values, has_module) then components[plugin.prefix .. "." .. domain] = plugin.module end
	end
	for name, module in pairs(values.PROSODY_COMPONENTS or {}) do components[name] = module end
	-- With the secret of a component Jicofo is one itself, as it was in its first years.
	if values.JICOFO_COMPONENT_SECRET then
		components[focus_of(values)] = nil
		local external = { [focus_of(values)] = values.JICOFO_COMPONENT_SECRET }
		for name, secret in pairs(values.PROSODY_EXTERNAL_COMPONENTS or {}) do external[name] = secret end
		set("PROSODY_EXTERNAL_COMPONENTS", external)
	end
	set("PROSODY_COMPONENTS", components)

	local accounts = table.move(values.PROSODY_ACCOUNTS or {}, 1, #(values.PROSODY_ACCOUNTS or {}), 1, {})
	local unlimited = table.move(values.PROSODY_UNLIMITED_JIDS or {}, 1, #(values.PROSODY_UNLIMITED_JIDS or {}), 1, {})
	for _, service in ipairs(present_services(values)) do
		accounts[#accounts + 1] = {
			username = values[service.name], host = values[service.domain], password = values[service.password];
			-- The services are told by the same variables, so these are what counts.
			overwrite = true;
		}
		unlimited[#unlimited + 1] = address_of(service, values)
	end
	set("PROSODY_ACCOUNTS", accounts)
	set("PROSODY_UNLIMITED_JIDS", unlimited)
end

local function set_of(list)
	local set = {}
	for _, item in ipairs(list or {}) do set[item] = true end
	return set
end

--- Nothing is kept of rooms. admins: who may open them, a role in this component and not on the whole server
local function configure_rooms(room, admins)
	room:set("storage", "memory", "PROSODY_JITSI")
	room:set("admins", admins, "PROSODY_JITSI")
end

local function enable_plugins(section, list, values, has_module)
	for _, plugin in ipairs(list) do
		if is_wanted(plugin, values, has_module) then section:enable(plugin.module, "PROSODY_JITSI") end
	end
end

local function enable_named(section, values, name)
	for _, module in ipairs(section and values[name] or {}) do section:enable(module, name) end
end

--- Writes what no variable of its own says into the sections. built: what container/configuration.lua builds
function jitsi.configure(result, built)
	if not result.is_jitsi then return end
	local values, has_module = result.values, result.surroundings.has_module
	local section_of, domain = built.section_of, values.PROSODY_DOMAIN
	local wanted = set_of(values.PROSODY_ENABLE_MODULES)
	for _, module in ipairs(chat_modules) do
		if not wanted[module] then table.insert(built.global.disabled, module) end
	end
	if values.TURN_CREDENTIALS then
		built.global:set("external_service_secret", values.TURN_CREDENTIALS, "TURN_CREDENTIALS", true)
	end

	local main, auth = section_of[domain], section_of[values.XMPP_AUTH_DOMAIN]
	local guest, hidden = section_of[values.XMPP_GUEST_DOMAIN], section_of[values.XMPP_HIDDEN_DOMAIN]
	local rooms, internal = section_of[values.PROSODY_MUC_DOMAIN], section_of[values.XMPP_INTERNAL_MUC_DOMAIN]
	local focus = values.JICOFO_AUTH_USER .. "@" .. values.XMPP_AUTH_DOMAIN

	if main and values.PROSODY_AUTHENTICATION == "internal_hashed" then
		-- Web clients would take the bearer token, which they have none of, for the best mechanism.
		main:set("disable_sasl_mechanisms", { "DIGEST-MD5", "OAUTHBEARER" }, "PROSODY_JITSI")
	end
	for _, section in ipairs { auth or false, hidden or false } do
		if section then section:set("authentication", "internal_hashed", "PROSODY_JITSI") end
	end
	if auth and has_module("limits_exception") then auth:enable("limits_exception", "PROSODY_JITSI") end
	if guest then guest:set("authentication", "anonymous", "ENABLE_GUESTS") end
	for _, section in ipairs { main or false, guest or false } do
		if section then
			enable_named(section, values, "XMPP_MODULES")
			section:set("main_muc", values.PROSODY_MUC_DOMAIN, "PROSODY_JITSI")
			for option, name in pairs { lobby_muc = "lobby." .. domain, breakout_rooms_muc = "breakout." .. domain } do
				if section_of[name] then section:set(option, name, "PROSODY_JITSI") end
			end
		end
	end
	if main then enable_plugins(main, plugins.host, values, has_module) end

	local exempt = { values.XMPP_AUTH_DOMAIN, values.XMPP_HIDDEN_DOMAIN }
	if rooms then
		configure_rooms(rooms, { focus })
		rooms:set("muc_access_whitelist", exempt, "PROSODY_JITSI")
		rooms:set("muc_password_whitelist", { focus }, "PROSODY_JITSI")
		rooms:set("muc_mapper_domain_base", domain, "PROSODY_JITSI")
		rooms:set("muc_mapper_domain_prefix", values.PROSODY_MUC_DOMAIN:match("^[^.]+"), "PROSODY_JITSI")
		if not values.PROSODY_ENABLE_RATE_LIMITS then table.insert(rooms.disabled, "muc_limits") end
		enable_plugins(rooms, plugins.rooms, values, has_module)
		enable_named(rooms, values, "XMPP_MUC_MODULES")
		if values.PROSODY_AUTHENTICATION == "json_web_token" then
			rooms:enable("muc_json_web_token", "AUTH_TYPE")
			rooms:set("jwt_rooms_exempt", exempt, "PROSODY_JITSI")
			rooms:set("jwt_rooms_domain", domain, "PROSODY_JITSI")
			rooms:set("jwt_rooms_guests", (has_guests(values) or values.PROSODY_JWT_ALLOW_EMPTY) == true, "PROSODY_JITSI")
		elseif values.PROSODY_AUTHENTICATION == "token" and has_module("token_verification") then
			rooms:enable("token_verification", "PROSODY_AUTHENTICATION")
		end
	end
	if internal then
		local admins = {}
		for _, service in ipairs(present_services(values)) do
			if service.domain == "XMPP_AUTH_DOMAIN" then admins[#admins + 1] = address_of(service, values) end
		end
		configure_rooms(internal, admins)
		internal:set("muc_filter_whitelist", values.XMPP_AUTH_DOMAIN, "PROSODY_JITSI")
		-- No people are in these rooms, and statistics of bridges are long.
		for _, module in ipairs {
			"muc_mam", "muc_moderation", "muc_limits", "muc_occupant_limit", "muc_json_web_token",
		} do
			table.insert(internal.disabled, module)
		end
		enable_plugins(internal, plugins.internal, values, has_module)
		enable_named(internal, values, "XMPP_INTERNAL_MUC_MODULES")
	end

	local focus_component = section_of[focus_of(values)]
	if focus_component and focus_component.module == "focus_proxy" then
		focus_component:set("target_address", focus, "PROSODY_JITSI")
	end
	for _, plugin in ipairs(plugins.components) do
		local component = section_of[plugin.prefix .. "." .. domain]
		if component and component.module == "muc" then
			configure_rooms(component, { focus })
		elseif component then
			component:set("muc_component", values.PROSODY_MUC_DOMAIN, "PROSODY_JITSI")
			component:set("breakout_rooms_component", "breakout." .. domain, "PROSODY_JITSI")
		end
	end
	enable_named(section_of["lobby." .. domain], values, "XMPP_LOBBY_MUC_MODULES")
	enable_named(section_of["breakout." .. domain], values, "XMPP_BREAKOUT_MUC_MODULES")
	enable_named(section_of["speakerstats." .. domain], values, "XMPP_SPEAKERSTATS_MODULES")
end

--- What would go wrong. report: { problem, note, need_module } of container/checks.lua
function jitsi.check(result, catalogue, report)
	local values = result.values
	if not result.is_jitsi then
		for _, name in ipairs(set_variables(result, catalogue)) do
			report.problem("%s is for a Jitsi deployment, which this is not: set PROSODY_JITSI=true, or take the image"
				.. " prosody:jitsi", name)
		end
		return
	end
	for _, name in ipairs(result.source_texts or {}) do
		report.problem("%s holds source text, which is not taken from variables: use PROSODY_OPTION_<NAME>, or a file in"
			.. " /etc/prosody/conf.d", name)
	end
	if values.PROSODY_MODE ~= "client" then
		report.problem("PROSODY_MODE=%s: only the mode client is made of variables here; nodes of visitors need"
			.. " docker-jitsi-meet's own image", types.printable(values.PROSODY_MODE))
	end
	for _, service in ipairs(services) do
		if service.is_required and not values[service.password] and not (result.invalid or {})[service.password] then
			report.problem("%s is not set: %s@%s needs a password to log in with", service.password, values[service.name],
				values[service.domain])
		end
	end
	for _, name in ipairs { "XMPP_MODULES", "XMPP_MUC_MODULES", "XMPP_INTERNAL_MUC_MODULES", "XMPP_LOBBY_MUC_MODULES",
		"XMPP_BREAKOUT_MUC_MODULES", "XMPP_SPEAKERSTATS_MODULES" } do
		for _, module in ipairs(values[name] or {}) do report.need_module(name, module) end
	end
	if values.ENABLE_GUESTS and not values.ENABLE_AUTH then
		report.note("ENABLE_GUESTS has no effect: without ENABLE_AUTH everybody is a guest")
	end
	if is_named(result, "AUTH_TYPE") and not values.ENABLE_AUTH then
		report.note("AUTH_TYPE has no effect: ENABLE_AUTH is not set, so anybody may open a conference")
	end
	if (values.TURN_HOST or values.TURNS_HOST) and not (values.TURN_CREDENTIALS or values.TURN_USERNAME) then
		report.note("TURN_HOST: without TURN_CREDENTIALS, or TURN_USERNAME and TURN_PASSWORD, no client can use it")
	end
end

return jitsi
