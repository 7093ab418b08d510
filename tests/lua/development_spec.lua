local development = require "container.development"
local expect = require "expect"
local stand_ins = require "container_stand_ins"

--- Problems of a server in development, each a text.
local function problems_of(variables, surroundings)
	variables.PROSODY_DEVELOPMENT = variables.PROSODY_DEVELOPMENT or "true"
	return (stand_ins.check(variables, { surroundings = surroundings }))
end

local function expect_refused(variables, name, origin, surroundings)
	local problems = problems_of(variables, surroundings)
	expect.equal(#problems, 1)
	expect.contains(problems[1], origin .. ": " .. name .. " is a public name")
	expect.contains(problems[1], "PROSODY_DEVELOPMENT_DOMAINS=" .. name)
end

local own_components = { PROSODY_MUC_DOMAIN = "none", PROSODY_UPLOAD_DOMAIN = "none" }

--- A server with these variables that has one host and nothing else.
local function bare(variables)
	for name, value in pairs(own_components) do variables[name] = value end
	return variables
end

return {
	{ "reserved names, single labels and addresses are not public", function()
		for _, name in ipairs {
			"localhost", "gateway.localhost", "a.b.localhost", "chat.test", "chat.example", "chat.example.com", "example.org";
			"x.invalid", "nas.local", "chat.internal", "chat.home.arpa", "prosody", "192.0.2.1", "2001:db8::1", "Chat.Test";
			"chat.test.";
		} do
			expect.equal({ name, development.is_public(name) }, { name, false })
		end
	end },
	{ "all others are", function()
		for _, name in ipairs {
			"chat.prosody.im", "localhost.prosody.im", "test.com", "myexample.com", "example.im", "home.arpa.net";
			"xlocalhost.dev", "1.2.3.4.nip.io", "local.host";
		} do
			expect.equal({ name, development.is_public(name) }, { name, true })
		end
	end },
	{ "a public domain is refused, with the variable that allows it", function()
		expect_refused(bare { PROSODY_DOMAIN = "chat.dev" }, "chat.dev", "PROSODY_DOMAIN")
		expect_refused(bare { PROSODY_VIRTUAL_HOSTS = "localhost, chat.dev" }, "chat.dev", "PROSODY_VIRTUAL_HOSTS")
	end },
	{ "and so is every other name under which it can be reached", function()
		for name, value in pairs {
			PROSODY_NETWORK_HOSTNAME = "xmpp.dev", PROSODY_HTTP_HOST = "xmpp.dev", PROSODY_COMPONENTS = "xmpp.dev:muc";
			PROSODY_EXTERNAL_COMPONENTS = "xmpp.dev:secret", PROSODY_HTTP_EXTERNAL_URL = "https://xmpp.dev:443/x";
			PROSODY_UPLOAD_EXTERNAL_URL = "https://xmpp.dev";
		} do
			expect_refused(bare { PROSODY_DOMAIN = "localhost", [name] = value }, "xmpp.dev", name)
		end
		expect_refused(bare { PROSODY_DOMAIN = "localhost" }, "xmpp.dev", "a file of hosts", { file_hosts = { "xmpp.dev" } })
	end },
	{ "each name is told, once", function()
		expect.equal(#problems_of { PROSODY_DOMAIN = "chat.dev", PROSODY_NETWORK_HOSTNAME = "chat.dev" }, 3)
	end },
	{ "a domain that is allowed is allowed with all below it", function()
		expect.equal(problems_of { PROSODY_DOMAIN = "chat.dev", PROSODY_DEVELOPMENT_DOMAINS = "chat.dev" }, {})
		expect.equal(#problems_of { PROSODY_DOMAIN = "chat.dev", PROSODY_DEVELOPMENT_DOMAINS = "at.dev" }, 3)
	end },
	{ "private names and addresses are fine", function()
		expect.equal(problems_of {
			PROSODY_DOMAIN = "localhost", PROSODY_HTTP_EXTERNAL_URL = "http://[2001:db8::1]:8080/",
			PROSODY_UPLOAD_EXTERNAL_URL = "http://192.0.2.1/", PROSODY_NETWORK_HOSTNAME = "prosody";
		}, {})
		-- Its components have two labels.
		expect.equal(problems_of { PROSODY_DOMAIN = "prosody" }, {})
	end },
	{ "other servers are none of its business", function()
		expect.equal(problems_of { PROSODY_DOMAIN = "chat.dev", PROSODY_DEVELOPMENT = "false" }, {})
	end },
}
