local expect = require "expect"
local hosts = require "container.hosts"
local stand_ins = require "container_stand_ins"

--- Reads variables and plans; more: as for stand_ins.read, and host_files, file_hosts.
local function plan(variables, more)
	more = more or {}
	local result, problems = stand_ins.read(variables, more)
	expect.equal(problems, {})
	return hosts.plan(result.values, result.origins, more.host_files or false, more.file_hosts), result
end

--- Hosts, then components as NAME:MODULE, in one line.
local function shown(variables, more)
	local planned = plan(variables, more)
	local words = table.move(planned.virtual, 1, #planned.virtual, 1, {})
	for _, component in ipairs(planned.components) do
		words[#words + 1] = component.name .. ":" .. (component.module or "external")
	end
	return table.concat(words, " ")
end

local usual = "a.example conference.a.example:muc upload.a.example:http_file_share"

return {
	{ "one domain has rooms and uploads", function()
		expect.equal(shown { PROSODY_DOMAIN = "a.example" }, usual)
		expect.equal(shown {}, "localhost conference.localhost:muc upload.localhost:http_file_share")
		expect.equal(plan({ PROSODY_DOMAIN = "a.example" }).main, "a.example")
	end },
	{ "rooms and uploads can have other names, or be left out", function()
		expect.equal(shown { PROSODY_DOMAIN = "a.example", PROSODY_MUC_DOMAIN = "rooms.example",
			PROSODY_UPLOAD_DOMAIN = "none" },
			"a.example rooms.example:muc")
		expect.equal(shown { PROSODY_DOMAIN = "a.example", PROSODY_MUC_DOMAIN = "none", PROSODY_UPLOAD_DOMAIN = "none" },
			"a.example")
	end },
	{ "a proxy and nodes are there when they are named", function()
		local planned = plan {
			PROSODY_DOMAIN = "a.example", PROSODY_PROXY65_DOMAIN = "proxy.a.example", PROSODY_PUBSUB_DOMAIN = "news.a.example";
		}
		expect.equal({ planned.components[3], planned.components[4] }, {
			{ name = "proxy.a.example", module = "proxy65", origin = "PROSODY_PROXY65_DOMAIN" };
			{ name = "news.a.example", module = "pubsub", origin = "PROSODY_PUBSUB_DOMAIN" };
		})
	end },
	{ "the official image: hosts and components in lists", function()
		expect.equal(shown {
			PROSODY_VIRTUAL_HOSTS = "a.example,b.example";
			PROSODY_COMPONENTS = "rooms.a.example:muc,share.a.example:http_file_share,proxy.a.example:proxy65";
		}, "a.example b.example proxy.a.example:proxy65 rooms.a.example:muc share.a.example:http_file_share")
		local planned, result = plan { PROSODY_VIRTUAL_HOSTS = "b.example,a.example",
			PROSODY_COMPONENTS = "rooms.example:muc" }
		expect.equal({ planned.main, result.values.PROSODY_DOMAIN, result.origins.PROSODY_DOMAIN },
			{ "b.example", "b.example", "PROSODY_VIRTUAL_HOSTS" })
		-- What no component provides is there still.
		expect.equal(planned.components[2], {
			name = "upload.b.example", module = "http_file_share", origin = "PROSODY_UPLOAD_DOMAIN";
		})
		expect.equal(#planned.components, 2)
	end },
	{ "the official image: DOMAIN belongs to the account, not to the hosts", function()
		expect.equal(shown { PROSODY_VIRTUAL_HOSTS = "a.example", DOMAIN = "a.example", LOCAL = "x", PASSWORD = "y" }, usual)
		expect.equal(shown { PROSODY_VIRTUAL_HOSTS = "a.example", DOMAIN = "b.example" }, usual)
	end },
	{ "the official image: the host name of the container, if somebody chose it", function()
		local planned, result = plan({}, { host_name = "a.example" })
		expect.equal({ planned.main, result.origins.PROSODY_DOMAIN }, { "a.example", "the container's host name" })
		expect.equal(shown({ DOMAIN = "b.example" }, { host_name = "a.example" }):match("^%S+"), "b.example")
		expect.equal(shown({ PROSODY_VIRTUAL_HOSTS = "b.example" }, { host_name = "a.example" }):match("^%S+"), "b.example")
		expect.equal(shown({ PROSODY_DOMAIN = "b.example" }, { host_name = "a.example" }):match("^%S+"), "b.example")
	end },
	{ "the official image: external components with and without a secret", function()
		local planned = plan {
			PROSODY_DOMAIN = "a.example", PROSODY_EXTERNAL_COMPONENTS = "x.a.example:hunter2,b.a.example";
		}
		expect.equal({ planned.components[1], planned.components[2] }, {
			{ name = "b.a.example", origin = "PROSODY_EXTERNAL_COMPONENTS" };
			{ name = "x.a.example", secret = "hunter2", origin = "PROSODY_EXTERNAL_COMPONENTS" };
		})
	end },
	{ "SaraSmiseth's image: DOMAIN alone gives four components", function()
		expect.equal(shown { DOMAIN = "a.example" }, usual .. " proxy.a.example:proxy65 pubsub.a.example:pubsub")
		expect.equal(shown { DOMAIN = "a.example", DOMAIN_PROXY = "none", DOMAIN_PUBSUB = "news.example",
			DOMAIN_MUC = "muc.a.example" },
			"a.example muc.a.example:muc upload.a.example:http_file_share news.example:pubsub")
		expect.equal(shown { DOMAIN = "a.example", DOMAIN_HTTP_UPLOAD = "up.example" },
			"a.example conference.a.example:muc up.example:http_file_share proxy.a.example:proxy65 pubsub.a.example:pubsub")
		-- Who also uses the names of this image gets what this image has.
		expect.equal(shown { DOMAIN = "a.example", PROSODY_DOMAIN = "a.example" }, usual)
	end },
	{ "tobi312's image: DOMAIN, LOCAL and PASSWORD", function()
		expect.equal(shown({ DOMAIN = "a.example", LOCAL = "x", PASSWORD = "y" }):match("^%S+"), "a.example")
	end },
	{ "OpusVL's image: files name the hosts", function()
		local planned = plan({}, { host_files = true, file_hosts = { "b.example", "c.example" } })
		expect.equal({ planned.main, planned.virtual, planned.components, planned.file_hosts },
			{ nil, {}, {}, { "b.example", "c.example" } })
		expect.equal(hosts.names(planned), { "b.example", "c.example" })
	end },
	{ "OpusVL's image: a default host beside the files", function()
		for _, variables in ipairs {
			{ PROSODY_ENABLE_DEFAULT_VIRTUALHOST = "1", PROSODY_DEFAULT_VIRTUALHOST = "a.example" };
			{ PROSODY_DEFAULT_VIRTUALHOST = "a.example" }, { PROSODY_VIRTUAL_HOSTS = "a.example" };
		} do
			expect.equal(shown(variables, { host_files = true, file_hosts = { "b.example" } }), usual)
			expect.equal(plan(variables, { host_files = true, file_hosts = { "b.example" } }).main, "a.example")
		end
		expect.equal(shown({ PROSODY_ENABLE_DEFAULT_VIRTUALHOST = "1" }, { host_files = true }):match("^%S+"), "localhost")
		expect.equal(shown { PROSODY_ENABLE_DEFAULT_VIRTUALHOST = "0", PROSODY_DOMAIN = "a.example" }, "")
	end },
	{ "without a host of ours, components that were named are there still", function()
		expect.equal(shown({ PROSODY_MUC_DOMAIN = "rooms.example", PROSODY_COMPONENTS = "news.example:pubsub" },
			{ host_files = true }),
			"news.example:pubsub rooms.example:muc")
		expect.equal(shown { PROSODY_VIRTUAL_HOSTS = "none", PROSODY_UPLOAD_DOMAIN = "up.example" },
			"up.example:http_file_share")
	end },
	{ "none is no host", function()
		local planned, result = plan { PROSODY_VIRTUAL_HOSTS = "none" }
		expect.equal({ planned.main, #planned.virtual, #planned.components }, { nil, 0, 0 })
		expect.equal(result.origins.PROSODY_DOMAIN, "default")
	end },
	{ "a component that is only assumed gives way", function()
		expect.equal(shown { PROSODY_DOMAIN = "a.example", PROSODY_COMPONENTS = "upload.a.example:pubsub" },
			"a.example upload.a.example:pubsub conference.a.example:muc")
		expect.equal(shown { PROSODY_DOMAIN = "a.example", PROSODY_EXTERNAL_COMPONENTS = "conference.a.example:x" },
			"a.example conference.a.example:external upload.a.example:http_file_share")
		expect.equal(shown { PROSODY_VIRTUAL_HOSTS = "a.example, conference.a.example" },
			"a.example conference.a.example upload.a.example:http_file_share")
	end },
	{ "a component that was named stays, for the checks to see", function()
		expect.equal(shown { PROSODY_DOMAIN = "a.example", PROSODY_MUC_DOMAIN = "a.example", PROSODY_UPLOAD_DOMAIN = "none" },
			"a.example a.example:muc")
		expect.equal(shown { PROSODY_DOMAIN = "a.example", PROSODY_MUC_DOMAIN = "b.example",
			PROSODY_COMPONENTS = "c.example:muc" },
			"a.example c.example:muc b.example:muc upload.a.example:http_file_share")
	end },
	{ "names are in order, and can be written in the name of a variable", function()
		local planned = plan { DOMAIN = "a.example" }
		expect.equal(hosts.names(planned), {
			"a.example", "conference.a.example", "upload.a.example", "proxy.a.example", "pubsub.a.example";
		})
		local function ascii(host) return host == "bücher.example" and "xn--bcher-kva.example" or host end
		expect.equal(hosts.key_of("chat-1.a.example", ascii), "CHAT_1_A_EXAMPLE")
		expect.equal(hosts.key_of("bücher.example", ascii), "XN__BCHER_KVA_EXAMPLE")
	end },
	{ "two plans share no table", function()
		local result = stand_ins.read { PROSODY_DOMAIN = "a.example", PROSODY_COMPONENTS = "b.example:muc" }
		local first = hosts.plan(result.values, result.origins, false)
		local second = hosts.plan(result.values, result.origins, false)
		assert(first.virtual ~= second.virtual and first.components[1] ~= second.components[1])
		assert(hosts.names(first) ~= first.virtual)
	end },
}
