local catalogue = require "container.catalogue"
local configuration = require "container.configuration"
local environment = require "container.environment"
local expect = require "expect"
local types = require "container.types"

local parse = types.new()
local modules = { mam = true, bosh = true, firewall = true, offline = true }

local function surroundings(changes)
	local result = {
		faults = {};
		plugin_paths = { "/etc/prosody/modules" };
		certificate_directory = "/etc/prosody/certs";
		own_certificate = "/var/lib/prosody/certificates/localhost.crt";
		has_resolver_file = true, has_hosts_file = true, has_ipv6 = true;
		has_module = function(name) return modules[name] or false end;
		list_modules = function() return { "mam", "bosh", "firewall" } end;
		has_library = function() return true end;
	}
	for name, value in pairs(changes or {}) do result[name] = value end
	return result
end

local function read(variables)
	local result, problems = environment.read(
		{ get = function(name) return variables[name] end, read_file = function() end, names = {} }, catalogue, parse)
	expect.equal(problems, {})
	return result.values
end

local function build(variables, changes)
	return configuration.build(read(variables), surroundings(changes))
end

local function check(variables, changes)
	return configuration.check(read(variables), surroundings(changes))
end

local function contains(list, wanted)
	for _, item in ipairs(list) do
		if item == wanted then return true end
	end
	return false
end

return {
	{ "defaults are safe", function()
		local built = build {}
		local options = built.global
		expect.equal(options.c2s_require_encryption, true)
		expect.equal(options.s2s_require_encryption, true)
		expect.equal(options.s2s_secure_auth, true)
		expect.equal(options.allow_unencrypted_plain_auth, false)
		expect.equal(options.allow_registration, false)
		expect.equal(options.registration_invite_only, true)
		expect.equal(options.limits, { c2s = { rate = "10kb/s" }, s2sin = { rate = "30kb/s" } })
		expect.equal(options.c2s_close_timeout + options.s2s_close_timeout < 8, true)
		expect.equal(options.pidfile, nil)
		expect.equal(built.components[1].options.restrict_room_creation, "local")
	end },
	{ "hosts and components have their names", function()
		local built = build { PROSODY_DOMAIN = "a.example" }
		expect.equal(built.hosts[1].name, "a.example")
		expect.equal({ built.components[1].name, built.components[1].module }, { "conference.a.example", "muc" })
		expect.equal({ built.components[2].name, built.components[2].module }, { "upload.a.example", "http_file_share" })
		expect.equal(#build { PROSODY_MUC_DOMAIN = "none", PROSODY_UPLOAD_DOMAIN = "none" }.components, 0)
	end },
	{ "modules are added and taken away", function()
		local options = build({ PROSODY_ENABLE_MODULES = "firewall", PROSODY_DISABLE_MODULES = "bosh,offline" }).global
		expect.equal(contains(options.modules_enabled, "firewall"), true)
		expect.equal(contains(options.modules_enabled, "bosh"), false)
		expect.equal(contains(options.modules_enabled, "mam"), true)
		expect.equal(options.modules_disabled, { "bosh", "offline" })
	end },
	{ "two builds share nothing that could be changed", function()
		local values = read {}
		local first, second = configuration.build(values, surroundings()), configuration.build(values, surroundings())
		assert(first.global.modules_enabled ~= second.global.modules_enabled)
		assert(first.global.unbound ~= second.global.unbound)
		table.insert(first.global.modules_enabled, "x")
		expect.equal(contains(second.global.modules_enabled, "x"), false)
	end },
	{ "missing files are not asked for", function()
		local options = build({}, { has_resolver_file = false, has_hosts_file = false, has_ipv6 = false }).global
		expect.equal(options.unbound, { resolvconf = false, hoststxt = false })
		expect.equal(options.use_ipv6, false)
		expect.equal(options.http_interfaces, { "*" })
		expect.equal(options.s2s_ssl, nil)
		local global = build({}, { authorities_file = "/ca.crt" }).global
		for _, name in ipairs { "s2s_ssl", "s2s_direct_tls_ssl", "client_https_ssl" } do
			expect.equal(global[name], { cafile = "/ca.crt" })
		end
	end },
	{ "a certificate of one's own is the second choice only", function()
		local built = build {}
		expect.equal(built.hosts[1].options.certificate, "/var/lib/prosody/certificates/localhost.crt")
		expect.equal(built.global.certificate, nil)
		expect.equal(built.global.https_certificate, "/var/lib/prosody/certificates/localhost.crt")
		expect.equal(built.global.certificates, "/etc/prosody/certs")
	end },
	{ "the hash of passwords follows what is stored", function()
		expect.equal(build({}).global.password_hash, "SHA-256")
		expect.equal(build({}, { stored_hash = "SHA-1" }).global.password_hash, "SHA-1")
		expect.equal(build({ PROSODY_SQL_DRIVER = "SQLite3" }).global.password_hash, "SHA-1")
		local options = build({ PROSODY_PASSWORD_HASH = "SHA-256", PROSODY_SQL_DRIVER = "SQLite3" }).global
		expect.equal(options.password_hash, "SHA-256")
	end },
	{ "naming a driver makes the database the storage", function()
		local options = build({ PROSODY_SQL_DRIVER = "PostgreSQL", PROSODY_SQL_DB = "d", PROSODY_SQL_USERNAME = "u",
			PROSODY_SQL_PASSWORD = "]]\n\"", PROSODY_SQL_PORT = "5433" }).global
		expect.equal(options.storage, "sql")
		expect.equal(options.sql, {
			driver = "PostgreSQL", database = "d", username = "u", password = "]]\n\"", port = 5433,
		})
	end },
	{ "accounts come from both sources", function()
		local built = build {
			PROSODY_DOMAIN = "a.example", PROSODY_ACCOUNTS = "x@a.example:1", LOCAL = "y", PASSWORD = "2",
		}
		expect.equal(built.hosts[1].options.container_accounts, {
			{ username = "x", host = "a.example", password = "1" },
			{ username = "y", host = "a.example", password = "2" },
		})
	end },
	{ "what is fine has no problems", function()
		expect.equal({ check {} }, { {}, {} })
	end },
	{ "unknown modules are reported before the start", function()
		local problems = check { PROSODY_ENABLE_MODULES = "firewal" }
		expect.equal(#problems, 1)
		expect.contains(problems[1], "did you mean firewall?")
		local none, notes = check { PROSODY_DISABLE_MODULES = "nonsense" }
		expect.equal(none, {})
		expect.equal(#notes, 1)
		expect.equal(#check { PROSODY_ENABLE_MODULES = "mam", PROSODY_DISABLE_MODULES = "mam" }, 1)
	end },
	{ "an incomplete database is reported before the start", function()
		expect.contains(check({ PROSODY_STORAGE = "sql" })[1], "PROSODY_SQL_DRIVER")
		expect.equal(#check { PROSODY_SQL_DRIVER = "MySQL" }, 2)
		expect.equal(#check { PROSODY_SQL_DRIVER = "SQLite3" }, 0)
		expect.equal(#check { PROSODY_SQL_DRIVER = "PostgreSQL", PROSODY_SQL_DB = "host=x user=y" }, 0)
		local problems = check({ PROSODY_SQL_DRIVER = "SQLite3" }, { has_library = function() return false end })
		expect.contains(problems[1], "no library")
	end },
	{ "configuration that cannot be read is reported before the start", function()
		expect.equal({ check({}, { faults = { "x.cfg.lua:1: 100%" } }) }, { { "x.cfg.lua:1: 100%" }, {} })
	end },
	{ "names used twice are reported before the start", function()
		expect.equal(#check { PROSODY_DOMAIN = "a.example", PROSODY_MUC_DOMAIN = "a.example" }, 1)
		expect.equal(#check { PROSODY_MUC_DOMAIN = "a.example", PROSODY_UPLOAD_DOMAIN = "a.example" }, 1)
	end },
	{ "an account of another domain is reported without its password", function()
		local problems = check { PROSODY_DOMAIN = "a.example", PROSODY_ACCOUNTS = "x@b.example:hunter2" }
		expect.equal(#problems, 1)
		expect.contains(problems[1], "x@b.example")
		expect.lacks(problems[1], "hunter2")
	end },
	{ "half an account is worth a note", function()
		local problems, notes = check { LOCAL = "a" }
		expect.equal(problems, {})
		expect.equal(#notes, 1)
	end },
}
