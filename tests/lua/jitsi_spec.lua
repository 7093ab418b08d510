local expect = require "expect"
local stand_ins = require "container_stand_ins"

local has = stand_ins.has

--- Variables of a deployment, with more of them.
local function deployment(more)
	local variables = {
		PROSODY_JITSI = "true", XMPP_DOMAIN = "meet.example", JICOFO_AUTH_PASSWORD = "focus", JVB_AUTH_PASSWORD = "jvb";
	}
	for name, value in pairs(more or {}) do
		variables[name] = value
		if value == false then variables[name] = nil end
	end
	return variables
end

--- A container with these modules beside those that there are.
local function with_modules(...)
	local names = {}
	for _, name in ipairs { ... } do names[name] = true end
	return { surroundings = { has_module = function(name) return names[name] or false end } }
end

local function build(more, world) return stand_ins.build(deployment(more), world) end

--- Hosts, then components as NAME:MODULE, in one line.
local function shown(more, world)
	local plan = build(more, world).plan
	local words = table.move(plan.virtual, 1, #plan.virtual, 1, {})
	for _, component in ipairs(plan.components) do
		words[#words + 1] = component.name .. ":" .. (component.module or "external")
	end
	return table.concat(words, " ")
end

local function options_of(name, more, world)
	return build(more, world).built.section_of[name].options
end

--- Problems of the variables of conferences; the container of the specs lacks most modules.
local function problems(variables, world)
	return table.concat((stand_ins.check(variables, world)), "\n")
end

return {
	{ "a deployment has hosts for people and services, rooms for both, and a way to Jicofo", function()
		expect.equal(shown(), "meet.example auth.meet.example focus.meet.example:focus_proxy"
			.. " internal-muc.meet.example:muc muc.meet.example:muc")
		expect.equal(shown { XMPP_DOMAIN = false }, "meet.jitsi auth.meet.jitsi focus.meet.jitsi:focus_proxy"
			.. " internal-muc.meet.jitsi:muc muc.meet.jitsi:muc")
	end },
	{ "guests and recorders have hosts where they are wanted", function()
		expect.contains(shown { ENABLE_AUTH = "1", ENABLE_GUESTS = "1" }, "auth.meet.example guest.meet.example ")
		expect.lacks(shown { ENABLE_GUESTS = "1" }, "guest")
		for _, name in ipairs { "ENABLE_RECORDING", "ENABLE_TRANSCRIPTIONS", "JIBRI_RECORDER_PASSWORD" } do
			expect.contains(shown { [name] = "1" }, " hidden.meet.example ")
		end
		expect.lacks(shown { JIBRI_XMPP_PASSWORD = "1" }, "hidden")
		expect.contains(shown { ENABLE_RECORDING = "1", XMPP_RECORDER_DOMAIN = "rec.example" }, " rec.example ")
	end },
	{ "it is one if that is said, or if auto sees one of its variables", function()
		local function is_on(variables) return stand_ins.build(variables).is_jitsi end
		expect.equal(is_on {}, false)
		expect.equal(is_on { PROSODY_JITSI = "auto" }, false)
		expect.equal(is_on { PROSODY_JITSI = "auto", PROSODY_DOMAIN = "a.example" }, false)
		expect.equal(is_on { PROSODY_JITSI = "auto", XMPP_DOMAIN = "a.example" }, true)
		expect.equal(is_on { PROSODY_JITSI = "auto", JVB_AUTH_PASSWORD = "secret" }, true)
		expect.equal(is_on { PROSODY_JITSI = "false", JVB_AUTH_PASSWORD = "secret" }, false)
		expect.equal(is_on { PROSODY_JITSI = "true" }, true)
		-- What other images have as well is no sign.
		expect.equal(is_on { PROSODY_JITSI = "auto", LOG_LEVEL = "info", PROSODY_JWT_SECRET = "s" }, false)
	end },
	{ "services have accounts with the passwords of the variables, and no more rights than they need", function()
		local result = build { JIBRI_XMPP_PASSWORD = "jibri", JICOFO_AUTH_USER = "conductor" }
		local section_of = result.built.section_of
		expect.equal(section_of["auth.meet.example"].options.container_accounts, {
			{ username = "conductor", host = "auth.meet.example", password = "focus", overwrite = true };
			{ username = "jvb", host = "auth.meet.example", password = "jvb", overwrite = true };
			{ username = "jibri", host = "auth.meet.example", password = "jibri", overwrite = true };
		})
		expect.equal(result.built.global.options.admins, {})
		expect.equal(section_of["muc.meet.example"].options.admins, { "conductor@auth.meet.example" })
		expect.equal(#section_of["internal-muc.meet.example"].options.admins, 3)
		expect.equal(section_of["focus.meet.example"].options.target_address, "conductor@auth.meet.example")
	end },
	{ "accounts of one's own stay", function()
		local accounts = build { PROSODY_ACCOUNTS = "a@meet.example:x" }.values.PROSODY_ACCOUNTS
		expect.equal({ #accounts, accounts[1].username, accounts[1].overwrite }, { 3, "a", nil })
	end },
	{ "people log in as AUTH_TYPE says, services always with passwords", function()
		for _, case in ipairs {
			{ {}, "anonymous" }, { { AUTH_TYPE = "jwt" }, "anonymous" }, { { ENABLE_AUTH = "1" }, "internal_hashed" };
			{ { ENABLE_AUTH = "1", AUTH_TYPE = "jwt" }, "json_web_token" };
			{ { ENABLE_AUTH = "1", PROSODY_AUTH_TYPE = "ldap" }, "ldap" };
			{ { ENABLE_AUTH = "1", AUTH_TYPE = "jwt", PROSODY_AUTHENTICATION = "token" }, "token" };
		} do
			local built = build(case[1]).built
			expect.equal(built.global.options.authentication, case[2])
			expect.equal(built.section_of["auth.meet.example"].options.authentication, "internal_hashed")
		end
	end },
	{ "rooms open for tokens, and for guests where there are any", function()
		local function rooms(more)
			more.ENABLE_AUTH, more.AUTH_TYPE = "1", "jwt"
			local options = options_of("muc.meet.example", more)
			return has(options.modules_enabled, "muc_json_web_token"), options.jwt_rooms_guests
		end
		expect.equal({ rooms {} }, { true, false })
		expect.equal({ rooms { ENABLE_GUESTS = "1" } }, { true, true })
		expect.equal({ rooms { JWT_ALLOW_EMPTY = "1" } }, { true, true })
		expect.equal(has(options_of("muc.meet.example").modules_enabled, "muc_json_web_token"), false)
	end },
	{ "what a variable says counts more than what a deployment usually has", function()
		local result = build {
			PROSODY_ENABLE_S2S = "1", PROSODY_MUC_DOMAIN = "rooms.example", PROSODY_UPLOAD_DOMAIN = "up.example";
			PROSODY_RESTRICT_ROOM_CREATION = "false", PROSODY_CONSIDER_BOSH_SECURE = "false", PROSODY_ENABLE_MODULES = "mam";
			PROSODY_STORAGE__ROOMS_EXAMPLE = "internal", PROSODY_COMPONENTS = "news.example:pubsub";
		}
		local global, rooms = result.built.global.options, result.built.section_of["rooms.example"].options
		expect.equal({ rooms.restrict_room_creation, rooms.storage }, { false, "internal" })
		expect.equal(global.consider_bosh_secure, false)
		expect.equal({ has(global.modules_enabled, "mam"), has(global.modules_disabled, "s2s") }, { true, false })
		assert(result.built.section_of["up.example"] and result.built.section_of["news.example"])
	end },
	{ "the services of rooms are not held up by limits for chats", function()
		expect.equal(options_of("internal-muc.meet.example", { MAX_PARTICIPANTS = "3", PROSODY_JWT_ROOMS = "1" })
			.modules_enabled, nil)
		expect.equal(has(options_of("muc.meet.example").modules_enabled, "muc_limits"), false)
		local limited = options_of("muc.meet.example", { PROSODY_ENABLE_RATE_LIMITS = "1" })
		expect.equal({ has(limited.modules_enabled, "muc_limits"), limited.muc_limit_joins_only }, { true, true })
		expect.equal(build({ PROSODY_DISABLE_C2S_LIMIT = "1" }).built.global.options.limits.c2s.rate, "1gb/s")
	end },
	{ "Jitsi's own modules are used where they are", function()
		local everything = { surroundings = { has_module = function() return true end } }
		expect.equal(shown({}, everything), "meet.example auth.meet.example avmoderation.meet.example:av_moderation_component"
			.. " breakout.meet.example:muc endconference.meet.example:end_conference focus.meet.example:focus_proxy"
			.. " internal-muc.meet.example:muc lobby.meet.example:muc metadata.meet.example:room_metadata_component"
			.. " polls.meet.example:polls_component speakerstats.meet.example:speakerstats_component muc.meet.example:muc")
		local lobby = options_of("lobby.meet.example", {}, everything)
		expect.equal({ lobby.storage, lobby.admins }, { "memory", { "focus@auth.meet.example" } })
		expect.equal(has(options_of("auth.meet.example", {}, everything).modules_enabled, "limits_exception"), true)

		local world = with_modules("muc_lobby_rooms", "speakerstats_component", "muc_domain_mapper")
		local host = options_of("meet.example", {}, world)
		expect.equal({ host.modules_enabled, host.lobby_muc, host.breakout_rooms_muc },
			{ { "muc_lobby_rooms" }, "lobby.meet.example", nil })
		expect.equal(has(options_of("muc.meet.example", {}, world).modules_enabled, "muc_domain_mapper"), true)
		expect.equal(has(options_of("muc.meet.example", { ENABLE_SUBDOMAINS = "0" }, world).modules_enabled,
			"muc_domain_mapper"), false)
		expect.lacks(shown({ ENABLE_LOBBY = "0" }, world), "lobby")
	end },
	{ "with the secret of a component Jicofo is one itself", function()
		expect.contains(shown { JICOFO_COMPONENT_SECRET = "secret" }, " focus.meet.example:external")
		expect.equal(options_of("focus.meet.example", { JICOFO_COMPONENT_SECRET = "secret" }).component_secret, "secret")
	end },
	{ "relays are told to clients", function()
		local function services(more) return build(more).built.global.options.external_services end
		expect.equal(services(), nil)
		expect.equal(services { STUN_HOST = "s.example" },
			{ { type = "stun", host = "s.example", port = 443, transport = "udp" } })
		local relays = services { TURN_HOST = "a.example", TURN_TRANSPORT = "udp, tcp", TURNS_HOST = "b.example",
			TURN_CREDENTIALS = "secret" }
		expect.equal({ #relays, relays[2].transport, relays[3].type, relays[3].secret }, { 3, "tcp", "turns", true })
	end },
	{ "variables of a deployment are refused where there is none", function()
		local found = problems({ PROSODY_DOMAIN = "a.example", XMPP_RECORDER_DOMAIN = "b.example", ENABLE_AUTH = "1",
			JVB_AUTH_PASSWORD = "hunter2" })
		for _, name in ipairs { "XMPP_RECORDER_DOMAIN", "ENABLE_AUTH", "JVB_AUTH_PASSWORD" } do
			expect.contains(found, name .. " is for a Jitsi deployment, which this is not: set PROSODY_JITSI=true")
		end
		expect.lacks(found, "hunter2")
		expect.equal(problems { PROSODY_DOMAIN = "a.example" }, "")
		expect.equal(problems { XMPP_DOMAIN = "a.example", LOG_LEVEL = "info", PUBLIC_URL = "https://a.example" }, "")
	end },
	{ "what is missing or cannot be is told", function()
		local world = { surroundings = { has_module = function() return true end } }
		expect.equal(problems(deployment(), world), "")
		expect.contains(problems(deployment { JVB_AUTH_PASSWORD = false }, world),
			"JVB_AUTH_PASSWORD is not set: jvb@auth.meet.example needs a password")
		expect.contains(problems(deployment { PROSODY_MODE = "visitors" }, world), "only the mode client")
		expect.contains(problems(deployment { XMPP_MODULES = "a" }, with_modules("muc", "focus_proxy")),
			"XMPP_MODULES: there is no module a")
		local futile = deployment { ENABLE_GUESTS = "1", AUTH_TYPE = "jwt", TURN_HOST = "a.example" }
		local _, notes = stand_ins.check(futile, world)
		local text = table.concat(notes, "\n")
		expect.contains(text, "ENABLE_GUESTS has no effect")
		expect.contains(text, "AUTH_TYPE has no effect")
		expect.contains(text, "TURN_HOST: without TURN_CREDENTIALS")
	end },
	{ "a deployment without trouble is worth no note", function()
		local world = { surroundings = { has_module = function() return true end } }
		local found, notes = stand_ins.check(deployment { ENABLE_AUTH = "1", ENABLE_GUESTS = "1", AUTH_TYPE = "jwt",
			JWT_APP_ID = "meet", JWT_APP_SECRET = ("s"):rep(32), MAX_PARTICIPANTS = "5" }, world)
		expect.equal({ found, notes }, { {}, {} })
	end },
	{ "tokens need one kind of key, and algorithms for it", function()
		local world = { surroundings = { has_module = function() return true end } }
		local function token_problems(more)
			more.PROSODY_DOMAIN, more.PROSODY_AUTHENTICATION = "a.example", "json_web_token"
			return problems(more, world)
		end
		local pem = "-----BEGIN PUBLIC KEY-----"
		expect.contains(token_problems {}, "tokens need a key: set PROSODY_JWT_SECRET or PROSODY_JWT_PUBLIC_KEY")
		expect.contains(token_problems { PROSODY_JWT_SECRET = "a", PROSODY_JWT_PUBLIC_KEY = pem },
			"PROSODY_JWT_SECRET and PROSODY_JWT_PUBLIC_KEY are both set")
		expect.equal(token_problems { PROSODY_JWT_PUBLIC_KEY = pem, PROSODY_JWT_ALGORITHMS = "RS256, ES512" }, "")
		expect.contains(token_problems { PROSODY_JWT_PUBLIC_KEY = pem, PROSODY_JWT_ALGORITHMS = "RS256, HS256" },
			"HS256 is for a shared secret")
		expect.contains(token_problems { PROSODY_JWT_SECRET = "a", PROSODY_JWT_ALGORITHMS = "HS256, PS256" },
			"PS256 is for public keys")
		expect.contains(token_problems { PROSODY_JWT_PUBLIC_KEY = "-----BEGIN EC PRIVATE KEY-----" }, "holds a private key")
		expect.contains(token_problems { PROSODY_JWT_PUBLIC_KEY = "ssh-rsa AAAA" }, "neither a public key")
		-- Nobody logs in with tokens: nothing to complain about but that it has no effect.
		expect.equal(problems({ PROSODY_DOMAIN = "a.example", PROSODY_JWT_PUBLIC_KEY = "x" }, world), "")
	end },
	{ "what makes tokens easy to forge is worth a note", function()
		local world = { surroundings = { has_module = function() return true end } }
		local function notes(more)
			more.PROSODY_DOMAIN, more.PROSODY_AUTHENTICATION = "a.example", "json_web_token"
			local _, found = stand_ins.check(more, world)
			return table.concat(found, "\n")
		end
		expect.contains(notes { PROSODY_JWT_SECRET = "short secret" }, "PROSODY_JWT_SECRET has 12 characters")
		expect.lacks(notes { PROSODY_JWT_SECRET = "short secret" }, "short secret")
		expect.contains(notes { PROSODY_JWT_JWKS_URL = "http://a.example/" }, "without TLS")
		expect.equal(notes { PROSODY_JWT_JWKS_URL = "https://a.example/" }, "")
	end },
}
