-- Turns the values of the environment into Prosody's options. Pure: tables in, tables out, so that a value
-- can never become anything but a value.
--
-- A variable of the catalogue that names an option is written to that option, in the sections of its scope. What
-- is more than that is said here.

local gateways = require "container.gateways"
local hosts = require "container.hosts"
local jitsi = require "container.jitsi"
local storage = require "container.storage"
local types = require "container.types"

local configuration = {}

local host_modules = {
	-- Required of a modern server
	"disco", "roster", "saslauth", "tls", "dialback", "limits",
	-- What people expect of a client's server
	"blocklist", "bookmarks", "carbons", "pep", "private", "smacks", "vcard4", "vcard_legacy", "mam",
	"account_activity", "cloud_notify", "csi_simple", "lastactivity", "ping", "time", "uptime", "version",
	"external_services", "server_contact_info", "s2s_bidi",
	-- Accounts; nobody can register without an invitation unless PROSODY_ALLOW_REGISTRATION says so
	"register", "invites", "invites_adhoc", "invites_register", "watchregistrations", "tombstones", "mimicking",
	-- Administration
	"admin_adhoc", "admin_shell",
	-- Over HTTP
	"bosh", "websocket", "http_altconnect", "http_openmetrics",
	-- Parts of this image
	"container_accounts", "container_certificates", "container_health", "container_corrections",
}
local room_modules = { "muc_mam" }
-- Those of the community, which not every image has
local community_host_modules = { "spam_reporting", "watch_spam_reports" }
local community_room_modules = { "muc_moderation", "muc_limits" }
local federation_modules = { "s2s", "dialback", "s2s_bidi", "s2s_auth_certs" }
-- They tell what the server is, or what time it is there, or how long it or somebody has been there.
local telling_modules = { "lastactivity", "time", "uptime", "version" }
-- SASL mechanisms that prove the same to anybody, whatever connection they are used on
local unbound_mechanisms = { "DIGEST-MD5", "LOGIN", "OAUTHBEARER", "PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256" }
--- Variables that are true or false, and the modules that they enable.
configuration.enabling = {
	PROSODY_BLOCK_STRANGERS = { "block_strangers" };
	PROSODY_WEB_INVITES = { "invites_page", "invites_register_web", "register_apps", "http_libjs" };
	PROSODY_WEB_REGISTRATION = { "register_web" };
}

local component_kinds = { muc = "muc", upload = "http_file_share", proxy65 = "proxy65", pubsub = "pubsub" }

--- A copy that shares no table: Prosody keeps and changes what it is given.
local function copy(value)
	if type(value) ~= "table" or value == types.null then return value end
	local copied = {}
	for key, item in pairs(value) do copied[key] = copy(item) end
	return copied
end

local section = {}
section.__index = section

local function new_section(name, module)
	return setmetatable({
		name = name, module = module, options = {}, origins = {}, secrets = {}, enabled = {}, disabled = {};
		privileges = {};  -- of an external component, see container/gateways.lua
	}, section)
end

--- Sets an option, given as a path: limits.c2s.rate.
function section:set(path, value, origin, is_secret)
	local target, parts = self.options, {}
	for part in path:gmatch("[^.]+") do parts[#parts + 1] = part end
	for index = 1, #parts - 1 do
		target[parts[index]] = target[parts[index]] or {}
		target = target[parts[index]]
	end
	target[parts[#parts]] = copy(value)
	self.origins[parts[1]] = origin
	if is_secret then self.secrets[parts[1]] = true end
end

function section:enable(module, origin)
	table.insert(self.enabled, module)
	if origin then self.origins.modules_enabled = origin end
end

--- Writes the lists of modules: each name once, without what is disabled.
function section:finish(inherited_disabled)
	local disabled, seen, enabled, names = {}, {}, {}, {}
	for _, list in ipairs { inherited_disabled or {}, self.disabled } do
		for _, name in ipairs(list) do
			if not disabled[name] then
				disabled[name] = true
				names[#names + 1] = name
			end
		end
	end
	for _, name in ipairs(self.enabled) do
		if not seen[name] and not disabled[name] then
			seen[name] = true
			enabled[#enabled + 1] = name
		end
	end
	if #enabled > 0 or not self.name then self.options.modules_enabled = enabled end
	-- A list of its own hides the global one, so that is repeated.
	if #self.disabled > 0 or not self.name then self.options.modules_disabled = names end
end

local function choose_password_hash(value, decided, surroundings)
	if value ~= "auto" then return value end
	-- Stored passwords do not say how they were hashed: with the wrong choice nobody can log in. Files tell it by
	-- their length; a database that may come from another image cannot be asked here, so Prosody's default holds.
	if storage.driver_of(decided, "accounts") == "sql" and not surroundings.stored_hash then return "SHA-1" end
	return surroundings.stored_hash or "SHA-256"
end

--- The accounts to be made: those of PROSODY_ACCOUNTS, then the one of LOCAL, DOMAIN and PASSWORD.
function configuration.accounts(values)
	local accounts = {}
	for _, account in ipairs(values.PROSODY_ACCOUNTS or {}) do accounts[#accounts + 1] = copy(account) end
	if values.LOCAL and values.PASSWORD then
		accounts[#accounts + 1] = {
			username = values.LOCAL;
			host = values.DOMAIN or values.PROSODY_DOMAIN;
			password = values.PASSWORD;
		}
	end
	return accounts
end

local function enable_if_there(target, modules, surroundings)
	for _, module in ipairs(modules) do
		if surroundings.has_module(module) then target:enable(module) end
	end
end

-- Variables that are more than one option. (target section, value, context, origin) → whether that was all
local specials = {}

function specials.PROSODY_ENABLE_MODULES(target, value, _, origin)
	for _, module in ipairs(value) do target:enable(module, origin) end
end

function specials.PROSODY_DISABLE_MODULES(target, value)
	for _, module in ipairs(value) do table.insert(target.disabled, module) end
end

function specials.PROSODY_MUC_MODULES(_, value, context, origin)
	for _, room in ipairs(context.of_kind.muc) do
		for _, module in ipairs(value) do room:enable(module, origin) end
	end
end

function specials.PROSODY_FEDERATION(target, value)
	if value then return end
	for _, module in ipairs(federation_modules) do table.insert(target.disabled, module) end
end

function specials.PROSODY_JWT_ROOMS(target, value, _, origin)
	if value then target:enable("muc_json_web_token", origin) end
end

for variable, modules in pairs(configuration.enabling) do
	specials[variable] = function(target, value, _, origin)
		for _, module in ipairs(value and modules or {}) do target:enable(module, origin) end
	end
end

function specials.PROSODY_WEB_CLIENT(target, value, _, origin)
	if value then target:enable("container_web", origin) end
end

function specials.PROSODY_PUBLISH_CERTIFICATE(target, value, _, origin)
	if value then target:enable("container_authority", origin) end
end

function specials.PROSODY_PASSWORD_HASH(target, value, context, origin)
	target:set("password_hash", choose_password_hash(value, context.storage, context.surroundings), origin)
end

--- For one host only; the place for all is decided by container/storage.lua.
function specials.PROSODY_STORAGE(target, value, _, origin)
	if target.name then target:set("storage", value, origin) end
end

function specials.PROSODY_DISCO_ITEMS(target, value, _, origin)
	local items, names = {}, {}
	for name in pairs(value) do names[#names + 1] = name end
	table.sort(names)
	for index, name in ipairs(names) do items[index] = { name, value[name] ~= "" and value[name] or nil } end
	target:set("disco_items", items, origin)
	return true
end

--- The name of the domains alone: components would inherit it.
function specials.PROSODY_NAME(target, value, context, origin)
	if target.name then return false end
	for _, host in ipairs(context.hosts) do host:set("name", value, origin) end
	return true
end

--- Without a declaration of its own a field would not appear.
function specials.PROSODY_SERVER_INFO(target, value, _, origin)
	local names, fields = {}, {}
	for name in pairs(value) do names[#names + 1] = name end
	table.sort(names)
	for index, name in ipairs(names) do
		fields[index] = { name = name, var = name, type = type(value[name]) == "table" and "list-multi" or "text-single" }
	end
	target:set("server_info_extensions", fields, origin)
end

function specials.PROSODY_ALLOW_REGISTRATION(target, value, context, origin)
	if context.values.PROSODY_REGISTRATION_INVITE_ONLY == nil then
		target:set("registration_invite_only", not value, origin)
	end
end

local function interfaces_of(value, surroundings)
	if #value == 1 and value[1] == "*" then return surroundings.has_ipv6 and { "*", "::" } or { "*" } end
	return value
end

-- These two listen on the loopback unless told otherwise.
function specials.PROSODY_HTTP_INTERFACES(target, value, context, origin)
	target:set("http_interfaces", interfaces_of(value, context.surroundings), origin)
end

function specials.PROSODY_COMPONENT_INTERFACES(target, value, context, origin)
	target:set("component_interfaces", interfaces_of(value, context.surroundings), origin)
end

--- Rooms need it as well, for people of other servers.
function specials.PROSODY_E2E_POLICY_MUC(_, _, context, origin)
	for _, room in ipairs(context.of_kind.muc) do room:enable("e2e_policy", origin) end
end

for _, kind in ipairs(gateways.kinds) do
	specials["PROSODY_PRIVILEGE_" .. kind:upper()] = function(target, value)
		target.privileges[kind] = value
		return true
	end
end

--- Where all goes through Tor, nothing is asked of the DNS, not even who confirms a certificate.
function specials.PROSODY_USE_DANE(target, value, context)
	local mode = context.values.PROSODY_TOR
	if not value or mode ~= "all" and mode ~= "only" then return false end
	target:set("use_dane", false, "PROSODY_TOR")
	return true
end

--- In addition to those that are disabled by name.
function specials.PROSODY_CHANNEL_BINDING(target, value, context, origin)
	if value ~= "required" then return end
	local disabled = copy(context.values.PROSODY_DISABLE_SASL_MECHANISMS or {})
	table.move(unbound_mechanisms, 1, #unbound_mechanisms, #disabled + 1, disabled)
	target:set("disable_sasl_mechanisms", disabled, origin)
end

function specials.PROSODY_BOSH(target, value)
	if not value then table.insert(target.disabled, "bosh") end
end

function specials.PROSODY_WEBSOCKET(target, value, context)
	if value then return end
	table.insert(target.disabled, "websocket")
	-- It only tells where the two are.
	if context.values.PROSODY_BOSH == false then table.insert(target.disabled, "http_altconnect") end
end

function specials.PROSODY_DNSBLS(target, _, _, origin)
	target:enable("container_dnsbl", origin)
end

function specials.PROSODY_METRICS(target, value)
	if value then return end
	table.insert(target.disabled, "http_openmetrics")
	target.options.statistics, target.options.statistics_interval = nil, nil
end

function specials.PROSODY_DISCREET(target, value, context, origin)
	if not value then return end
	for _, module in ipairs(telling_modules) do table.insert(target.disabled, module) end
	for _, list in ipairs { context.hosts, context.components } do
		for _, named in ipairs(list) do
			named:enable("container_discretion", origin)
			-- Without a name of their own they would be called after the software.
			if named.options.name == nil then named:set("name", named.name, origin) end
		end
	end
end

local function apply(target, variable, value, context, origin)
	local special = specials[variable.name]
	if special and special(target, value, context, origin) then return end
	for _, path in ipairs(variable.option or {}) do
		local whole = path:match("^([^.]+)%.")
		-- A table of a host hides the global one as a whole.
		if whole and target.name and target.options[whole] == nil then
			target.options[whole] = copy(context.global.options[whole])
		end
		target:set(path, value, origin, variable.secret)
	end
	if variable.enables and value ~= false then target:enable(variable.enables, origin) end
end

--- What holds without any variable.
local function set_constants(global, surroundings)
	local function set(name, value) global:set(name, value, "image") end

	set("plugin_paths", surroundings.plugin_paths)
	set("prosodyctl_service_warnings", false)
	-- The module's own default would advise encryption where nobody asked for it.
	set("e2e_policy_chat", "none")
	set("e2e_policy_muc", "none")
	-- libunbound ends the process when it is told to read a file that it cannot read.
	set("unbound.resolvconf", surroundings.has_resolver_file)
	-- While a name server does not answer, messages come back after 6 s instead of minutes; when it does again, that is
	-- noticed after 5 s instead of 15 minutes.
	set("unbound.options", { ["infra-cache-max-rtt:"] = "4000", ["infra-host-ttl:"] = "5" })
	if surroundings.authorities_file then
		-- Only where Prosody verifies others. As a general option the file would be read for every context, those of
		-- clients and of HTTP as well, which makes each start noticeably longer.
		for _, name in ipairs { "s2s_ssl", "s2s_direct_tls_ssl", "client_https_ssl" } do
			set(name, { cafile = surroundings.authorities_file })
		end
	end
	-- Binding an address of a family that the kernel lacks is an error in the log at each start.
	if not surroundings.has_ipv6 then set("use_ipv6", false) end
	for _, module in ipairs(host_modules) do global:enable(module) end
	enable_if_there(global, community_host_modules, surroundings)
end

local log_levels = { debug = 1, info = 2, warn = 3, error = 4 }

local function set_log(global, values, origins)
	local lowest, by_name = values.PROSODY_LOGLEVEL, {}
	for name, level in pairs(values.PROSODY_LOG_LEVELS or {}) do
		by_name[name] = level
		if log_levels[level] < log_levels[lowest] then lowest = level end
	end
	global:set("log", {
		{
			to = "container";
			levels = { min = lowest };
			level = values.PROSODY_LOGLEVEL;
			levels_by_name = by_name;
			format = values.PROSODY_LOG_FORMAT;
			timestamps = values.PROSODY_LOG_TIMESTAMPS;
			addresses = values.PROSODY_LOG_ADDRESSES;
		};
	}, origins.PROSODY_LOGLEVEL)
end

local function set_storage(global, decided)
	if next(decided.stores) then
		global:set("storage", decided.stores, "PROSODY_STORAGE_<STORE>")
		global:set("default_storage", decided.default, decided.origin)
	else
		global:set("storage", decided.default, decided.origin)
	end
end

--- The certificates of all names, as container/certificates.lua wants it.
function configuration.certificate_plan(values, plan, surroundings)
	local sources = {}
	for _, path in ipairs(values.PROSODY_CERTIFICATES or {}) do
		sources[#sources + 1] = { path = path, optional = surroundings.is_default_certificates }
	end
	local names, directories = values.PROSODY_IMPORT_CERTIFICATE_HOSTNAMES, values.PROSODY_IMPORT_CERTIFICATE_DIRECTORIES
	local first = plan.main or plan.file_hosts[1]
	for index, path in ipairs(directories or {}) do
		sources[#sources + 1] = { path = path, hosts = names and { names[index] } }
	end
	return {
		directory = surroundings.certificate_directory;
		sources = sources;
		hosts = hosts.names(plan);
		own = first and values.PROSODY_SELF_SIGNED and surroundings.own_pair(first) or nil;
		has_authority = values.PROSODY_OWN_AUTHORITY or nil;
	}
end

local function set_certificates(global, values, plan, surroundings)
	local directory = surroundings.certificate_directory
	-- Without a running server, for prosodyctl: a folder that exists, or it complains.
	global:set("certificates", directory or surroundings.spare_certificates, "image")
	local first = plan.main or plan.file_hosts[1]
	if not directory or not first then return end
	global:set("container_certificates", configuration.certificate_plan(values, plan, surroundings), "image")
	for _, service in ipairs { "c2s_direct_tls", "s2s_direct_tls", "https" } do
		-- For clients that name no host (SNI).
		global:set(service .. "_certificate", directory .. "/" .. first .. ".pem", "image")
	end
end

local function set_accounts(section_of, values, plan)
	for _, account in ipairs(configuration.accounts(values)) do
		local target = section_of[account.host]
		if target then
			target.options.container_accounts = target.options.container_accounts or {}
			table.insert(target.options.container_accounts, account)
			target.origins.container_accounts, target.secrets.container_accounts = "PROSODY_ACCOUNTS", true
		end
	end
	for address, role in pairs(values.PROSODY_ACCOUNT_ROLES or {}) do
		local username, host = address:match("^(.-)@(.*)$")
		local target = section_of[host]
		if target then
			target.options.container_account_roles = target.options.container_account_roles or {}
			target.options.container_account_roles[username] = role
			target.origins.container_account_roles = "PROSODY_ACCOUNT_ROLES"
		end
	end
	local main = section_of[plan.main]
	if main and values.PROSODY_ADMIN_INVITE and #configuration.accounts(values) == 0 then
		main:set("container_admin_invite", values.PROSODY_ADMIN_INVITE_EXPIRES_AFTER, "PROSODY_ADMIN_INVITE")
	end
end

--- Builds everything. result: what container/settings.lua reads.
-- Returns { global, hosts = sections, components = sections, section_of = { name → section } }; a section is { name,
-- module, options, origins, secrets }.
function configuration.build(result, catalogue)
	local values, origins, plan, surroundings = result.values, result.origins, result.plan, result.surroundings
	local global = new_section(nil)
	local built = { global = global, hosts = {}, components = {}, section_of = {} }
	local of_kind = { muc = {}, upload = {}, proxy65 = {}, pubsub = {}, external = {}, host = { global } }

	for _, name in ipairs(plan.virtual) do
		local host = new_section(name)
		table.insert(built.hosts, host)
		built.section_of[name] = host
	end
	for _, planned in ipairs(plan.components) do
		local component = new_section(planned.name, planned.module)
		table.insert(built.components, component)
		built.section_of[planned.name] = component
		if not planned.module then table.insert(of_kind.external, component) end
		for kind, module in pairs(component_kinds) do
			if planned.module == module then table.insert(of_kind[kind], component) end
		end
	end
	for _, room in ipairs(of_kind.muc) do
		for _, module in ipairs(room_modules) do room:enable(module) end
		enable_if_there(room, community_room_modules, surroundings)
	end
	local declared = table.move(of_kind.external, 1, #of_kind.external, 1, {})
	-- What a component gets that nobody has named: all that one has that was named, but for a name.
	local template = new_section("*")
	table.insert(of_kind.external, template)

	local context = {
		global = global, hosts = built.hosts, components = built.components, of_kind = of_kind;
		storage = result.storage, surroundings = surroundings, values = values;
	}
	set_constants(global, surroundings)
	if plan.main then
		global:set("http_default_host", plan.main, "image")
		global:set("container_health_host", plan.main, "image")
	end
	global:set("unbound.hoststxt", values.PROSODY_DNS_HOSTS_FILE and surroundings.has_hosts_file,
		origins.PROSODY_DNS_HOSTS_FILE)
	if values.PROSODY_USE_DANE and surroundings.trust_anchors then
		global:set("unbound.trustfile", surroundings.trust_anchors, "PROSODY_USE_DANE")
	end

	for _, variable in ipairs(catalogue) do
		local value = values[variable.name]
		local is_futile = variable.option and variable.option[1]:find("^sql%.")
			and not (result.storage.uses_sql and storage.takes(values.PROSODY_SQL_DRIVER, variable.name))
		if value ~= nil and not is_futile then
			for _, target in ipairs(of_kind[variable.scope or "host"]) do
				apply(target, variable, value, context, origins[variable.name])
			end
		end
	end
	for index, planned in ipairs(plan.components) do
		if planned.secret then
			built.components[index]:set("component_secret", planned.secret, "PROSODY_EXTERNAL_COMPONENTS", true)
		end
	end
	jitsi.configure(result, built)
	set_log(global, values, origins)
	set_storage(global, result.storage)
	set_certificates(global, values, plan, surroundings)
	set_accounts(built.section_of, values, plan)
	if values.PROSODY_ACCOUNTS_OVERWRITE then
		global:set("container_accounts_overwrite", true, "PROSODY_ACCOUNTS_OVERWRITE")
	end

	-- What is for one host only, then what is given as an option; in the order of their names.
	local given = {}
	for _, other in ipairs(result.others) do
		local target = other.host_key and built.section_of[other.host] or not other.host_key and global
		if target and other.variable.name == "PROSODY_OPTION_<NAME>" then
			given[#given + 1] = { target = target, name = other.key, value = other.value, origin = other.name }
		elseif target and other.host_key then
			apply(target, other.variable, other.value, context, other.name)
		end
	end
	gateways.apply(values, built.hosts, declared, template)
	if values.PROSODY_COMPONENT_DOMAINS then
		template:finish(global.disabled)
		global:set("container_component_options", template.options, "PROSODY_COMPONENT_DOMAINS", true)
	end
	for _, option in ipairs(given) do
		local target = option.target
		target.options[option.name] = nil
		if option.value ~= types.null then target.options[option.name] = copy(option.value) end
		target.origins[option.name] = option.origin
	end

	-- Lists that were given as an option stay as they were given.
	local function finish(target, inherited)
		local kept = {}
		for _, name in ipairs { "modules_enabled", "modules_disabled" } do
			if (target.origins[name] or ""):find("^PROSODY_OPTION_") then kept[name] = target.options[name] end
		end
		target:finish(inherited)
		for name, value in pairs(kept) do target.options[name] = value end
	end
	finish(global)
	for _, list in ipairs { built.hosts, built.components } do
		for _, target in ipairs(list) do finish(target, global.disabled) end
	end
	return built
end

return configuration
