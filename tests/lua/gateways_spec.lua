local expect = require "expect"
local gateways = require "container.gateways"
local stand_ins = require "container_stand_ins"

local check = stand_ins.check

local pubsub = "http://jabber.org/protocol/pubsub"
local usual_queries = { [pubsub] = "both", [pubsub .. "#owner"] = "set" }
local usual = { roster = "both", message = "outgoing", iq = usual_queries }

local function build(variables)
	variables.PROSODY_DOMAIN = variables.PROSODY_DOMAIN or "a.example"
	return stand_ins.build(variables).built
end

local function entities(variables)
	return build(variables).section_of["a.example"].options.privileged_entities
end

--- The one problem, or the one note, that there is.
local function only(variables, kind)
	local found = { check(variables) }
	expect.equal({ #found[1], #found[2] }, { kind == 1 and 1 or 0, kind == 2 and 1 or 0 })
	return found[kind][1]
end

local open = { PROSODY_DOMAIN = "a.example", PROSODY_COMPONENT_DOMAINS = "a.example", PROSODY_COMPONENT_SECRET = "s" }

local function with_open(variables)
	for name, value in pairs(open) do variables[name] = value end
	return variables
end

return {
	{ "a name is below a domain only with a label of its own", function()
		for name, is_below in pairs {
			["irc.a.example"] = true, ["x.irc.a.example"] = true, ["a.example"] = false, [".a.example"] = false;
			["evila.example"] = false, ["a.example.org"] = false, ["user@irc.a.example"] = false;
			["irc.a.example/x"] = false, [""] = false;
		} do
			expect.equal({ name, gateways.is_below(name, { "b.example", "a.example" }) }, { name, is_below })
		end
		expect.equal(gateways.is_below("irc.a.example", nil), false)
	end },
	{ "nobody has rights unless somebody is named", function()
		local built = build { PROSODY_EXTERNAL_COMPONENTS = "irc.a.example:s" }
		expect.equal(built.section_of["a.example"].options.privileged_entities, nil)
		expect.equal(built.section_of["irc.a.example"].options, { component_secret = "s" })
		expect.equal(built.global.options.container_component_options, nil)
	end },
	{ "a component has the usual rights, or its own", function()
		local granted = entities {
			PROSODY_EXTERNAL_COMPONENTS = "irc.a.example:s, bot.a.example:s, none.a.example:s";
			PROSODY_PRIVILEGED_COMPONENTS = "irc.a.example, bot.a.example";
			PROSODY_PRIVILEGE_ROSTER__BOT_A_EXAMPLE = "get", PROSODY_PRIVILEGE_MESSAGE__BOT_A_EXAMPLE = "none";
			PROSODY_PRIVILEGE_PRESENCE__BOT_A_EXAMPLE = "roster", PROSODY_PRIVILEGE_IQ__BOT_A_EXAMPLE = "urn:x=get, urn:y=none";
		}
		expect.equal(granted["irc.a.example"], usual)
		expect.equal(granted["bot.a.example"], { roster = "get", presence = "roster", iq = { ["urn:x"] = "get" } })
		expect.equal(granted["none.a.example"], nil)
	end },
	{ "each host has tables of its own, and so has each component", function()
		local built = build {
			PROSODY_VIRTUAL_HOSTS = "a.example, b.example", PROSODY_EXTERNAL_COMPONENTS = "irc.a.example:s";
			PROSODY_PRIVILEGED_COMPONENTS = "irc.a.example", PROSODY_DELEGATIONS = "urn:x=irc.a.example";
		}
		local a, b = built.section_of["a.example"].options, built.section_of["b.example"].options
		expect.equal(a.delegations, { ["urn:x"] = { jid = "irc.a.example" } })
		expect.equal(a.delegations, b.delegations)
		expect.equal({ a.delegations ~= b.delegations, a.delegations["urn:x"] ~= b.delegations["urn:x"] }, { true, true })
		expect.equal(a.privileged_entities ~= b.privileged_entities, true)
		for _, name in ipairs { "a.example", "b.example", "irc.a.example" } do
			local enabled = built.section_of[name].options.modules_enabled
			expect.equal({ stand_ins.has(enabled, "privilege"), stand_ins.has(enabled, "delegation") }, { true, true })
		end
		expect.equal(stand_ins.has(built.global.options.modules_enabled, "privilege"), false)
	end },
	{ "a domain of components gives rights to every name below it, and to nobody else", function()
		local granted = entities(with_open {
			PROSODY_PRIVILEGED_COMPONENTS = "a.example", PROSODY_PRIVILEGE_MESSAGE = "none";
		})
		expect.equal(granted["any.a.example"], { roster = "both", iq = usual_queries })
		for _, name in ipairs { "a.example", "user@any.a.example", "any.b.example", "user@a.example" } do
			expect.equal({ name, granted[name] }, { name })
		end
		expect.equal(granted[1], nil)
	end },
	{ "a declared component below such a domain has them with its own changes", function()
		local granted = entities(with_open {
			PROSODY_EXTERNAL_COMPONENTS = "irc.a.example:t";
			PROSODY_PRIVILEGED_COMPONENTS = "a.example", PROSODY_PRIVILEGE_ROSTER__IRC_A_EXAMPLE = "get";
		})
		expect.equal({ granted["irc.a.example"].roster, granted["any.a.example"].roster }, { "get", "both" })
	end },
	{ "a domain of components gives rights to none but the named, declared or not", function()
		for _, declared in ipairs { "irc.a.example:t", "other.a.example:t" } do
			local granted = entities(with_open {
				PROSODY_EXTERNAL_COMPONENTS = declared, PROSODY_PRIVILEGED_COMPONENTS = "irc.a.example";
			})
			expect.equal({ granted["irc.a.example"], granted["any.a.example"] }, { usual })
		end
	end },
	{ "what an undeclared component gets is what a declared one would have", function()
		local built = build(with_open {
			PROSODY_COMPONENT_CONFLICT_RESOLVE = "kick_old", PROSODY_PRIVILEGED_COMPONENTS = "a.example";
		})
		expect.equal(built.global.options.container_component_options, {
			component_secret = "s", component_conflict_resolve = "kick_old", modules_enabled = { "privilege" };
		})
		expect.equal(built.global.secrets.container_component_options, true)
		expect.equal(built.global.options.container_component_domains, { "a.example" })
	end },
	{ "a domain of components needs a secret", function()
		local text = only({ PROSODY_DOMAIN = "a.example", PROSODY_COMPONENT_DOMAINS = "a.example" }, 1)
		expect.contains(text, "PROSODY_COMPONENT_DOMAINS needs PROSODY_COMPONENT_SECRET")
	end },
	{ "rights and namespaces go to external components only", function()
		for name, value in pairs {
			PROSODY_PRIVILEGED_COMPONENTS = "irc.b.example", PROSODY_DELEGATIONS = "urn:x=a.example";
		} do
			local text = only(with_open { [name] = value }, 1)
			expect.contains(text, name)
			expect.contains(text, "is no external component")
		end
		expect.contains(only({ PROSODY_DOMAIN = "a.example", PROSODY_PRIVILEGED_COMPONENTS = "upload.a.example" }, 1),
			"upload.a.example")
	end },
	{ "rights of nobody are noted", function()
		expect.contains(only(with_open { PROSODY_PRIVILEGE_PRESENCE = "roster" }, 2),
			"PROSODY_PRIVILEGE_PRESENCE has no effect")
	end },
}
