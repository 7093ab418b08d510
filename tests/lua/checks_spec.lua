local catalogue = require "container.catalogue"
local checks = require "container.checks"
local expect = require "expect"
local stand_ins = require "container_stand_ins"

local check = stand_ins.check

--- Expects problems and notes, each given as a list of parts that its text has; in the order in which they are found.
local function expect_found(variables, more, problems, notes)
	local found = { check(variables, more) }
	for kind, expected in ipairs { problems, notes or {} } do
		local texts = found[kind]
		if #texts ~= #expected then
			error(("%d of kind %d instead of %d:\n%s"):format(#texts, kind, #expected, table.concat(texts, "\n")), 2)
		end
		for index, parts in ipairs(expected) do
			for _, part in ipairs(parts) do expect.contains(texts[index], part) end
		end
	end
end

local function expect_problem(variables, ...)
	expect_found(variables, nil, { { ... } })
end

local function expect_note(variables, ...)
	expect_found(variables, nil, {}, { { ... } })
end

local function expect_nothing(variables, more)
	expect_found(variables, more, {})
end

local function with_domain(variables)
	variables.PROSODY_DOMAIN = "a.example"
	return variables
end

--- A changed surrounding, as an argument.
local function where(changes)
	return { surroundings = changes }
end

local cases = {}

local function case(title, run)
	table.insert(cases, { title, run })
end

case("what is fine has no problems and no notes", function()
	expect_nothing(with_domain {})
	expect_nothing { DOMAIN = "a.example", LOCAL = "x", PASSWORD = "y" }
	expect_nothing { PROSODY_VIRTUAL_HOSTS = "a.example,b.example", PROSODY_COMPONENTS = "rooms.example:muc" }
end)

case("without a domain there is a note of what is served", function()
	expect_note({}, "serving localhost. Set PROSODY_DOMAIN")
	expect_found({}, { host_name = "a.example" }, {}, { { "serving the container's host name, a.example" } })
end)

case("configuration that cannot be read is a problem, what is not read a note", function()
	expect_found(with_domain {}, where { faults = { "x.cfg.lua:1: 100%" }, remarks = { "y.sh is not run: 100%" } },
		{ { "x.cfg.lua:1: 100%" } }, { { "y.sh is not run: 100%" } })
end)

-- ---- Names

case("a name used twice is a problem", function()
	expect_problem(with_domain { PROSODY_MUC_DOMAIN = "a.example" },
		"a.example is both a host and a component of PROSODY_MUC_DOMAIN")
	expect_problem(with_domain { PROSODY_MUC_DOMAIN = "b.example", PROSODY_UPLOAD_DOMAIN = "b.example" },
		"b.example is both a component of PROSODY_MUC_DOMAIN and a component of PROSODY_UPLOAD_DOMAIN")
	expect_problem(with_domain { PROSODY_COMPONENTS = "b.example:muc", PROSODY_EXTERNAL_COMPONENTS = "b.example:s" },
		"b.example is both a component of PROSODY_COMPONENTS and a component of PROSODY_EXTERNAL_COMPONENTS")
	expect_problem({ PROSODY_VIRTUAL_HOSTS = "a.example, b.example", PROSODY_COMPONENTS = "b.example:muc" },
		"b.example is both")
end)

case("a host that a plan has twice is a problem", function()
	local result = stand_ins.build(with_domain {})
	result.plan.virtual[2] = "a.example"
	local problems = checks.find(result, catalogue)
	expect.equal(#problems, 1)
	expect.contains(problems[1], "a.example is named twice")
end)

case("a main domain that is not among the hosts is a problem", function()
	expect_problem({ PROSODY_VIRTUAL_HOSTS = "a.example", PROSODY_DOMAIN = "b.example" },
		"PROSODY_DOMAIN is b.example, which is not among PROSODY_VIRTUAL_HOSTS")
	expect_nothing { PROSODY_VIRTUAL_HOSTS = "a.example,b.example", PROSODY_DOMAIN = "b.example" }
	expect_nothing({ PROSODY_VIRTUAL_HOSTS = "none", PROSODY_DOMAIN = "b.example" }, where { has_drop_ins = true })
end)

case("no host at all is a problem, unless files name some", function()
	expect_problem({ PROSODY_VIRTUAL_HOSTS = "none" }, "no host is served")
	expect_nothing({ PROSODY_VIRTUAL_HOSTS = "none" }, where { has_drop_ins = true })
	expect_nothing({}, { host_files = true, file_hosts = { "b.example" }, surroundings = { has_drop_ins = true } })
end)

case("a value for a host that is not there is a problem, with the names there are", function()
	expect_problem(with_domain { PROSODY_NAME__B_EXAMPLE = "b", PROSODY_UPLOAD_DOMAIN = "none" },
		"PROSODY_NAME__B_EXAMPLE: no host or component is written B_EXAMPLE here; there are A_EXAMPLE, CONFERENCE_A_EXAMPLE")
	expect_problem({
		PROSODY_DOMAIN = "a.example", PROSODY_OPTION_X__B = "1", PROSODY_UPLOAD_DOMAIN = "none", PROSODY_MUC_DOMAIN = "none";
	}, "PROSODY_OPTION_X__B: no host or component is written B here; there is A_EXAMPLE")
	expect_nothing(with_domain { PROSODY_NAME__a_example = "a", PROSODY_MUC_NAME__CONFERENCE_A_EXAMPLE = "b" })
end)

-- ---- Accounts

case("an account of another domain is a problem, told without its password", function()
	local problems = check(with_domain { PROSODY_ACCOUNTS = "x@b.example:hunter2\ny@a.example:hunter2" })
	expect.equal(#problems, 1)
	expect.contains(problems[1], "the account x@b.example cannot be made: the domain served is a.example")
	expect.lacks(problems[1], "hunter2")
	expect_problem({ PROSODY_VIRTUAL_HOSTS = "a.example,c.example", DOMAIN = "b.example", LOCAL = "x", PASSWORD = "y" },
		"x@b.example", "the domains served are a.example, c.example")
end)

case("a role for an account of another domain is a problem", function()
	expect_problem(with_domain { PROSODY_ACCOUNT_ROLES = "x@b.example=prosody:admin, y@a.example=prosody:admin" },
		"PROSODY_ACCOUNT_ROLES: the domain of x@b.example is not served here")
end)

case("accounts of hosts that files name are nobody's mistake", function()
	expect_nothing({
		PROSODY_VIRTUAL_HOSTS = "none", PROSODY_ACCOUNTS = "x@b.example:1", PROSODY_ACCOUNT_ROLES = "x@b.example=a:b";
	}, where { has_drop_ins = true })
end)

case("half an account is worth a note", function()
	expect_note(with_domain { LOCAL = "a" }, "LOCAL is set without PASSWORD")
	local problems, notes = check(with_domain { PASSWORD = "hunter2" })
	expect.equal({ problems, #notes }, { {}, 1 })
	expect.contains(notes[1], "PASSWORD is set without LOCAL")
	expect.lacks(notes[1], "hunter2")
end)

case("open registration is worth a note, with what limits it", function()
	expect_note(with_domain { PROSODY_ALLOW_REGISTRATION = "true", PROSODY_REGISTRATION_THROTTLE_MAX = "3" },
		"PROSODY_ALLOW_REGISTRATION: anybody", "at most 3 from one address in 3600 seconds")
	expect_note(with_domain { ALLOW_REGISTRATION = "true", PROSODY_DISABLE_MODULES = "register_limits" },
		"register_limits, which would slow them down, is disabled")
end)

-- ---- Modules

case("unknown modules are problems", function()
	expect_problem(with_domain { PROSODY_ENABLE_MODULES = "firewal" },
		"PROSODY_ENABLE_MODULES: there is no module firewal in this image or in /etc/prosody/modules: did you mean firewall?")
	expect_problem(with_domain { PROSODY_ENABLE_MODULES__A_EXAMPLE = "something" },
		"PROSODY_ENABLE_MODULES__A_EXAMPLE: there is no module something")
	expect_problem(with_domain { PROSODY_MUC_MODULES = "vcard_muk" }, "PROSODY_MUC_MODULES: there is no module vcard_muk")
	expect_problem(with_domain { PROSODY_COMPONENTS = "b.example:something" },
		"PROSODY_COMPONENTS: there is no module something")
	expect_problem(with_domain { PROSODY_AUTHENTICATION = "cyrus" },
		"PROSODY_AUTHENTICATION: there is no module auth_cyrus")
	expect_problem(with_domain { PROSODY_AUTHENTICATION__A_EXAMPLE = "cyrus" },
		"PROSODY_AUTHENTICATION__A_EXAMPLE: there is no module auth_cyrus")
	local problems = check(with_domain { PROSODY_ENABLE_MODULES = "something" })
	expect.lacks(problems[1], "did you mean")
end)

case("a module that is both wanted and not is a problem", function()
	expect_problem(with_domain { PROSODY_ENABLE_MODULES = "mam,bosh", PROSODY_DISABLE_MODULES = "mam" },
		"PROSODY_ENABLE_MODULES and PROSODY_DISABLE_MODULES both name mam")
	expect_problem(with_domain { PROSODY_ENABLE_MODULES__A_EXAMPLE = "mam", PROSODY_DISABLE_MODULES = "mam" },
		"PROSODY_ENABLE_MODULES__A_EXAMPLE and PROSODY_DISABLE_MODULES both name mam")
end)

case("an address for everything but uploads is worth a note", function()
	local function published(more)
		more.PROSODY_HTTP_EXTERNAL_URL = "https://a.example/"
		return with_domain(more)
	end
	expect_note(published {}, "upload.a.example: addresses of uploads begin with https://a.example/",
		"PROSODY_UPLOAD_EXTERNAL_URL")
	expect_nothing(published { PROSODY_UPLOAD_EXTERNAL_URL = "https://upload.a.example/" })
	expect_nothing(published { PROSODY_HTTP_HOST__UPLOAD_A_EXAMPLE = "a.example" })
	expect_nothing(published { PROSODY_UPLOAD_DOMAIN = "none" })
end)

case("a module that does not work here is worth a note", function()
	expect_found(with_domain { PROSODY_ENABLE_MODULES = "offline" },
		where { broken_modules = { offline = "it is too old" } },
		{}, { { "PROSODY_ENABLE_MODULES: the module offline does not work with this Prosody: it is too old" } })
end)

case("modules that nothing loads are worth a note when they are missing", function()
	expect_note(with_domain { SELECT_COMMUNITY_MODULES = "mod_mam mod_http_upload" },
		"PROSODY_MODULES_AVAILABLE: there is no module http_upload")
	expect_note(with_domain { PROSODY_DISABLE_MODULES = "nonsense,bosh" },
		"PROSODY_DISABLE_MODULES: there is no module nonsense, so nothing is disabled by it")
	expect_note(with_domain { PROSODY_DISABLE_MODULES__A_EXAMPLE = "nonsense" }, "PROSODY_DISABLE_MODULES__A_EXAMPLE")
end)

-- ---- Storage

case("an incomplete database is a problem", function()
	expect_problem(with_domain { PROSODY_STORAGE = "sql" }, "PROSODY_STORAGE=sql needs PROSODY_SQL_DRIVER")
	expect_problem(with_domain { PROSODY_STORAGE_ARCHIVE = "sql" }, "PROSODY_STORAGE_<STORE>=sql needs PROSODY_SQL_DRIVER")
	expect_found(with_domain { PROSODY_SQL_DRIVER = "MySQL" }, nil, {
		{ "PROSODY_SQL_DRIVER=MySQL needs PROSODY_SQL_DB" }, { "PROSODY_SQL_DRIVER=MySQL needs PROSODY_SQL_USERNAME" };
	})
	expect_nothing(with_domain { PROSODY_SQL_DRIVER = "SQLite3" })
	expect_nothing(with_domain { PROSODY_SQL_DRIVER = "PostgreSQL", PROSODY_SQL_DB = "host=x user=y" })
	expect_nothing(with_domain { PROSODY_DEFAULT_STORAGE = "sql", PROSODY_DB_PASSWORD = "x" })
end)

case("a database without its library is a problem", function()
	for driver, library in pairs { SQLite3 = "dbd.sqlite3", PostgreSQL = "dbd.postgresql", MySQL = "dbd.mysql" } do
		local variables = with_domain { PROSODY_SQL_DRIVER = driver, PROSODY_SQL_DB = "host=x" }
		expect_found(variables, where { has_library = function(name) return name ~= library end },
			{ { "PROSODY_SQL_DRIVER: this image has no library for " .. driver } })
		expect_nothing(variables, where { has_library = function(name) return name == library end })
	end
end)

case("settings of a database that is not used are worth notes", function()
	expect_found(with_domain {
		PROSODY_DB_DRIVER = "MySQL", PROSODY_SQL_DB = "d", PROSODY_SQL_HOST = "h", PROSODY_SQL_PASSWORD = "hunter2";
	}, nil, {}, {
		{ "PROSODY_SQL_DRIVER has no effect: nothing is kept in a database" }, { "PROSODY_SQL_DB has no effect" };
		{ "PROSODY_SQL_HOST has no effect" }, { "PROSODY_SQL_PASSWORD has no effect" };
	})
	expect_found(with_domain {
		DB_DRIVER = "SQLite3", DB_HOST = "h", DB_PORT = "1", DB_USERNAME = "u", DB_PASSWORD = "hunter2";
	}, nil, {}, {
		{ "PROSODY_SQL_HOST has no effect: a database of SQLite3 is a file" }, { "PROSODY_SQL_PORT" };
		{ "PROSODY_SQL_USERNAME" }, { "PROSODY_SQL_PASSWORD" };
	})
end)

case("where data is kept against expectation is worth a note", function()
	expect_note(with_domain { PROSODY_STORAGE = "internal", PROSODY_SQL_DRIVER = "SQLite3" },
		"PROSODY_SQL_DRIVER is set, so data is kept in the database whatever PROSODY_STORAGE says")
	expect_found(with_domain {}, where { has_sqlite_data = true }, {},
		{ { "the data folder holds prosody.sqlite and no files of accounts" } })
	for _, place in ipairs { "memory", "none" } do
		expect_note(with_domain { PROSODY_STORAGE = place },
			"PROSODY_STORAGE=" .. place .. ": all data, accounts too, is lost")
	end
end)

case("a hash that would lock everybody out is a problem", function()
	expect_found(with_domain { PROSODY_PASSWORD_HASH = "SHA-256" }, where { stored_hash = "SHA-1" },
		{ { "PROSODY_PASSWORD_HASH is SHA-256, but the passwords of existing accounts are stored as SHA-1" } })
	expect_found(with_domain { PROSODY_PASSWORD_HASH__A_EXAMPLE = "SHA-1" }, where { stored_hash = "SHA-256" },
		{ { "PROSODY_PASSWORD_HASH__A_EXAMPLE is SHA-1, but" } })
	expect_nothing(with_domain { PROSODY_PASSWORD_HASH = "SHA-1" }, where { stored_hash = "SHA-1" })
	expect_nothing(with_domain { PROSODY_PASSWORD_HASH = "auto" }, where { stored_hash = "SHA-1" })
	expect_nothing(with_domain { PROSODY_PASSWORD_HASH = "SHA-256", PROSODY_SQL_DRIVER = "SQLite3" },
		where { stored_hash = "SHA-1" })
end)

-- ---- Options

case("what is no name of an option or of a store is a problem", function()
	expect_problem(with_domain { ["PROSODY_OPTION_a.b"] = "1" }, 'PROSODY_OPTION_a.b": "a.b" is not the name of an option')
	expect_problem(with_domain { ["PROSODY_OPTION_1"] = "1" }, '"1" is not the name of an option')
	expect_problem(with_domain { ["PROSODY_OPTION_a\27"] = "1" }, [["a\x1B" is not the name of an option]])
	expect_problem(with_domain { ["PROSODY_STORAGE_a.b"] = "memory" }, '"a.b" is not the name of a store')
end)

case("an option that is set twice is a problem, unless one is for a host only", function()
	expect_problem(with_domain { PROSODY_OPTION_C2S_TIMEOUT = "30", PROSODY_C2S_TIMEOUT = "20" },
		"PROSODY_OPTION_C2S_TIMEOUT and PROSODY_C2S_TIMEOUT both set the option c2s_timeout")
	expect_problem(with_domain { PROSODY_OPTION_CONTACT_INFO = "{}", PROSODY_CONTACT_ADMIN = "mailto:a@a.example" },
		"contact_info")
	expect_nothing(with_domain { PROSODY_OPTION_C2S_CLOSE_TIMEOUT = "1" })
	expect_nothing(with_domain {
		PROSODY_OPTION_ARCHIVE_EXPIRES_AFTER__A_EXAMPLE = '"1d"', PROSODY_ARCHIVE_EXPIRES_AFTER = "2d";
	})
end)

case("options that do nothing here, or harm, are worth a note", function()
	for name, part in pairs {
		umask = "PROSODY_UMASK", pidfile = "not needed", daemonize = "has no effect", run_as_root = "never runs as root";
		data_path = "out of the volume", disallow_s2s = "PROSODY_FEDERATION";
		legacy_ssl_ports = "PROSODY_C2S_DIRECT_TLS_PORTS";
	} do
		expect_note(with_domain { ["PROSODY_OPTION_" .. name] = "1" }, "PROSODY_OPTION_" .. name .. ": the option ", part)
	end
end)

case("modules given as an option of any form are no reason to fail", function()
	for _, text in ipairs { "5", "true", '"mam"', "{}", "null", "[5]" } do
		expect_nothing(with_domain {
			PROSODY_OPTION_MODULES_ENABLED = text, PROSODY_OPTION_MODULES_ENABLED__A_EXAMPLE = text;
		})
	end
end)

-- ---- Effects

case("a variable of a module that is not loaded is worth a note", function()
	expect_note(with_domain { PROSODY_TURN_HOST = "turn.example" },
		"PROSODY_TURN_HOST has no effect: the module turn_external is not")
	expect_note(with_domain { PROSODY_LDAP_BASE = "dc=x" },
		"PROSODY_LDAP_BASE has no effect: the module auth_ldap is not loaded")
	expect_note(with_domain { PROSODY_SQLITE_TUNE = "safe" }, "the module storage_sql is not loaded")
	expect_note(with_domain { PROSODY_ARCHIVE_SMART_ENABLE = "true", PROSODY_DISABLE_MODULES = "mam" },
		"PROSODY_ARCHIVE_SMART_ENABLE has no effect: the module mam is not loaded")
	expect_nothing(with_domain { PROSODY_TURN_HOST = "turn.example", PROSODY_TURN_SECRET = "s" })
	expect_nothing(with_domain { PROSODY_TURN_HOST = "turn.example", PROSODY_TURN_SECRET__A_EXAMPLE = "s" })
	expect_nothing(with_domain { PROSODY_AUTHENTICATION__A_EXAMPLE = "ldap", PROSODY_LDAP_BASE = "dc=x" })
	expect_nothing(with_domain { PROSODY_SQL_DRIVER = "SQLite3", PROSODY_SQLITE_TUNE = "safe" })
	expect_nothing(with_domain { PROSODY_DEFAULT_USER_ROLE = "prosody:member" })
	-- Nobody chose what another variable brought along.
	expect_nothing(with_domain { PROSODY_NETWORK_HOSTNAME = "xmpp.example" })
end)

case("a variable of a component that is not there is worth a note", function()
	local without = with_domain { PROSODY_MUC_DOMAIN = "none", PROSODY_MUC_NAME = "Rooms" }
	expect_note(without, "PROSODY_MUC_NAME has no effect: there is no muc component")
	expect_note(with_domain { PROSODY_UPLOAD_DOMAIN = "none", PROSODY_UPLOAD_NAME = "Files" },
		"there is no http_file_share component")
	expect_note(with_domain { PROSODY_COMPONENT_SECRET = "hunter2" }, "PROSODY_COMPONENT_SECRET",
		"there is no external component")
	expect_note(with_domain { PROSODY_PROXY65_ACL = "a.example" }, "there is no proxy65 component")
	expect_note(with_domain { PROSODY_PUBSUB_MAX_ITEMS = "5" }, "there is no pubsub component")
end)

case("a variable of a module that is not in the image is a problem", function()
	local there = { auth_internal_hashed = true, http_file_share = true, muc = true }
	local bare = where { has_module = function(name) return there[name] end }
	expect_found(with_domain { PROSODY_DNSBLS = "dnsbl.example" }, bare,
		{ { "PROSODY_DNSBLS: there is no module dnsbl" } })
	expect_found(with_domain { PROSODY_BLOCK_STRANGERS__A_EXAMPLE = "true" }, bare,
		{ { "PROSODY_BLOCK_STRANGERS__A_EXAMPLE: there is no module block_strangers" } })
	expect_nothing(with_domain { PROSODY_BLOCK_STRANGERS = "false" }, bare)
end)

case("what a container could do although it need not is noted or a problem, where that is wanted", function()
	local loose = where { confinement_gaps = { "the root can be written", "capabilities can be had" } }
	expect_nothing(with_domain {}, loose)
	expect_found(with_domain { PROSODY_CONFINEMENT = "noted" }, loose, {},
		{ { "the root can be written" }, { "capabilities can be had" } })
	expect_found(with_domain { PROSODY_CONFINEMENT = "required" }, loose,
		{ { "PROSODY_CONFINEMENT=required: the root can be written" }, { "capabilities" } })
	expect_nothing(with_domain { PROSODY_CONFINEMENT = "required" })
end)

case("each dangerous value is worth a note", function()
	local needed = {
		PROSODY_JWT_ALLOW_EMPTY = { PROSODY_AUTHENTICATION = "json_web_token", PROSODY_JWT_SECRET = ("s"):rep(32) };
		PROSODY_ALLOW_ANONYMOUS_S2S = { PROSODY_AUTHENTICATION = "anonymous" };
		PROSODY_PROXY65_OPEN_ACCESS = { PROSODY_PROXY65_DOMAIN = "proxy.a.example" };
	}
	local count = 0
	for _, variable in ipairs(catalogue) do
		if variable.risk then
			count = count + 1
			local variables = with_domain(needed[variable.name] or {})
			local everything = where { has_module = function() return true end }
			variables[variable.name] = tostring(variable.risky)
			expect_found(variables, everything, {}, {
				{ ("%s=%s: %s"):format(variable.name, tostring(variable.risky), variable.risk) };
			})
			variables[variable.name] = tostring(not variable.risky)
			expect_nothing(variables, everything)
		end
	end
	assert(count >= 5)
end)

case("what Prosody does not use is worth a note", function()
	expect_note(with_domain { LDAP_ADMIN_FILTER = "(a=b)", PROSODY_AUTHENTICATION = "ldap" },
		"PROSODY_LDAP_ADMIN_FILTER has no effect: Prosody 13 does not use it")
end)

case("a log with everything is worth a note", function()
	expect_note(with_domain { LOG_LEVEL = "debug" }, "PROSODY_LOGLEVEL=debug: the log contains secrets")
end)

case("a stop that may be cut short is worth a note", function()
	expect_note(with_domain { PROSODY_C2S_CLOSE_TIMEOUT = "6" }, "are 9 s together")
	expect_nothing(with_domain { PROSODY_C2S_CLOSE_TIMEOUT = "5" })
end)

-- ---- The rest

case("OpusVL's lists of certificates have to be of one length", function()
	expect_problem(with_domain { PROSODY_IMPORT_CERTIFICATE_HOSTNAMES = "a.example b.example" },
		"PROSODY_IMPORT_CERTIFICATE_HOSTNAMES has 2 items and PROSODY_IMPORT_CERTIFICATE_DIRECTORIES has 0")
	expect_problem(with_domain { PROSODY_IMPORT_CERTIFICATE_DIRECTORIES = "/a" }, "has 0 items and", "has 1:")
	expect_nothing(with_domain {
		PROSODY_IMPORT_CERTIFICATE_HOSTNAMES = "a.example", PROSODY_IMPORT_CERTIFICATE_DIRECTORIES = "/a";
	})
end)

case("a time zone that is not there is a problem", function()
	expect_problem(with_domain { TZ = "Europe/Nowhere" }, 'TZ: there is no time zone "Europe/Nowhere"')
	expect_nothing(with_domain { TZ = "Europe/Zurich" })
end)

case("an external component without a secret is a problem", function()
	expect_problem(with_domain { PROSODY_EXTERNAL_COMPONENTS = "b.example,c.example:s" },
		"the external component b.example has no secret: write b.example:SECRET, or set PROSODY_COMPONENT_SECRET")
	expect_nothing(with_domain { PROSODY_EXTERNAL_COMPONENTS = "b.example", PROSODY_COMPONENT_SECRET = "s" })
	expect_nothing(with_domain { PROSODY_EXTERNAL_COMPONENTS = "b.example", PROSODY_COMPONENT_SECRET__B_EXAMPLE = "s" })
end)

case("no secret is in any problem or note", function()
	local secret = "hunter2"
	for _, variables in ipairs {
		{ PROSODY_ACCOUNTS = "x@b.example:" .. secret, PASSWORD = secret, PROSODY_COMPONENT_SECRET = secret };
		{ PROSODY_SQL_PASSWORD = secret, PROSODY_TURN_SECRET__B_EXAMPLE = secret, PROSODY_LDAP_PASSWORD = secret };
		{ PROSODY_EXTERNAL_COMPONENTS = "a.example:" .. secret, PROSODY_OPTION_UMASK = '"' .. secret .. '"' };
		{ PROSODY_OPTION_C2S_TIMEOUT = '"' .. secret .. '"', PROSODY_C2S_TIMEOUT = "5", PROSODY_UPLOAD_DOMAIN = "none",
			PROSODY_UPLOAD_SECRET = secret };
		{ PROSODY_REGISTRATION_CAPTCHA = '{"private": "' .. secret .. '"}', PROSODY_DISABLE_MODULES = "register_web" };
	} do
		local problems, notes = check(with_domain(variables))
		assert(#problems + #notes > 0)
		for _, text in ipairs(table.move(notes, 1, #notes, #problems + 1, problems)) do
			expect.lacks(text, secret)
			assert(not text:find("%c"), text)
		end
	end
end)

return cases
