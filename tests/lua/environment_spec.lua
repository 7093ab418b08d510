local catalogue = require "container.catalogue"
local expect = require "expect"
local stand_ins = require "container_stand_ins"
local types = require "container.types"

--- Values, problems, and everything that was read.
local function read(variables, more)
	local result, problems = stand_ins.read(variables, more)
	return result.values, problems, result
end

--- The same where nothing may be wrong: values, origins.
local function read_well(variables, more)
	local result, problems = stand_ins.read(variables, more)
	expect.equal(problems, {})
	return result.values, result.origins
end

local function others_of(variables, more)
	local result, problems = stand_ins.read(variables, more)
	expect.equal(problems, {})
	local found = {}
	for index, other in ipairs(result.others) do
		found[index] = { other.name, other.variable.name, other.host_key or "-", other.key or "-", other.value, other.origin }
	end
	return found
end

local function expect_problem(problems, ...)
	expect.equal(#problems, 1)
	for _, part in ipairs { ... } do expect.contains(problems[1], part) end
end

-- Good texts for types without a default.
local examples = {
	boolean = "true", integer = "4096", number = "1.5", port = "5222", host = "a.example", jid = "a@a.example", node = "a",
	address = "a@a.example", module = "mam", provider = "ldap", role = "prosody:member", mechanism = "PLAIN";
	ip = "192.0.2.1";
	interface = "::1", cidr = "192.0.2.0/24", network = "192.0.2.0/24", path = "/a", url = "https://a.example",
	uri = "mailto:a@a.example", pattern = "a+", script = "/a.pfw", timezone = "UTC", umask = "077", duration = "1 day",
	seconds = "90", days = "7", size = "1 MB", mebibytes = "10", gibibytes = "10", rate = "10kb/s", burst = "2s";
	string = "s";
	text = "t\nu", accounts = "a@a.example:b\nb@a.example",
}

local function example_of(variable)
	if variable.type == "enum" then return variable.allowed[1] end
	if variable.minimum then return tostring(math.max(variable.minimum, 1)) end
	if variable.type == "json" then return ({ array = '["a"]', object = '{"a": 1}' })[variable.of] or '"a"' end
	local function example(type_name)
		return type_name == "enum" and variable.allowed[1] or assert(examples[type_name], type_name)
	end
	if variable.type == "list" then return example(variable.of) end
	if variable.type == "map" then
		return example(variable.keys) .. (variable.separator or ":") .. example(variable.of):gsub("\n", " ")
	end
	return example(variable.type)
end

local function is_single(variable)
	return not variable.name:find("<", 1, true)
end

local cases = {
	{ "an empty environment is complete", function()
		local values, origins = read_well {}
		expect.equal({ values.PROSODY_DOMAIN, origins.PROSODY_DOMAIN }, { "localhost", "default" })
		expect.equal({ values.PROSODY_MUC_DOMAIN, origins.PROSODY_MUC_DOMAIN }, { "conference.localhost", "default" })
		expect.equal(values.PROSODY_ARCHIVE_EXPIRES_AFTER, 604800)
		expect.equal({ values.PROSODY_ACCOUNTS, values.PROSODY_STORAGE, values.PROSODY_PROXY65_DOMAIN }, {})
	end },
	{ "defaults follow other values", function()
		local values = read_well { PROSODY_DOMAIN = "Example.org", PROSODY_UPLOAD_DOMAIN = "files.example.org" }
		expect.equal(values.PROSODY_MUC_DOMAIN, "conference.example.org")
		expect.equal(values.PROSODY_UPLOAD_DOMAIN, "files.example.org")
		values = read_well { PROSODY_CONFIGDIR = "/config" }
		expect.equal({ values.PROSODY_CERTIFICATES, values.PROSODY_PLUGIN_PATHS },
			{ { "/config/certs" }, { "/config/modules" } })
	end },
	{ "the image can have defaults of its own, which give way to everything that is set", function()
		local own = {
			DEFAULT_PROSODY_E2E_POLICY_CHAT = "required", DEFAULT_PROSODY_RETENTION_DAYS = "3";
			DEFAULT_PROSODY_TLS_PROFILE = "modern", DEFAULT_PROSODY_MUC_DOMAIN = "rooms.${PROSODY_DOMAIN}";
		}
		local function with_own(variables)
			for name, text in pairs(own) do variables[name] = text end
			return read_well(variables)
		end
		local values, origins = with_own { PROSODY_DOMAIN = "a.example" }
		expect.equal({ values.PROSODY_E2E_POLICY_CHAT, origins.PROSODY_E2E_POLICY_CHAT },
			{ "required", "default of the image" })
		expect.equal({ values.PROSODY_ARCHIVE_EXPIRES_AFTER, values.PROSODY_MUC_DOMAIN }, { 259200, "rooms.a.example" })
		values, origins = with_own { E2E_POLICY_CHAT = "none", PROSODY_ARCHIVE_EXPIRES_AFTER = "1 day" }
		expect.equal({ values.PROSODY_E2E_POLICY_CHAT, origins.PROSODY_E2E_POLICY_CHAT }, { "none", "E2E_POLICY_CHAT" })
		expect.equal({ values.PROSODY_ARCHIVE_EXPIRES_AFTER, values.PROSODY_TLS_PROFILE }, { 86400, "modern" })
		own = { DEFAULT_PROSODY_ARCHIVE_EXPIRES_AFTER = "1 day" }
		expect.equal(with_own({ PROSODY_RETENTION_DAYS = "30" }).PROSODY_ARCHIVE_EXPIRES_AFTER, 2592000)
	end },
	{ "a default of the image that is not valid is a problem", function()
		local _, problems = read { DEFAULT_PROSODY_TLS_PROFILE = "newest" }
		expect.equal(#problems, 1)
		expect.contains(problems[1], "PROSODY_TLS_PROFILE, its default")
	end },
	{ "a default of something faulty is no further problem", function()
		local values, problems = read { PROSODY_DOMAIN = "a b", PROSODY_CONFIGDIR = "config" }
		expect.equal(#problems, 2)
		expect.equal({ values.PROSODY_MUC_DOMAIN, values.PROSODY_CERTIFICATES }, {})
	end },
	{ "DOMAIN stands in for PROSODY_DOMAIN", function()
		local values, origins = read_well { DOMAIN = "a.example" }
		expect.equal({ values.PROSODY_DOMAIN, origins.PROSODY_DOMAIN }, { "a.example", "DOMAIN" })
		expect.equal({ values.PROSODY_PROXY65_DOMAIN, values.PROSODY_PUBSUB_DOMAIN },
			{ "proxy.a.example", "pubsub.a.example" })
		values, origins = read_well { DOMAIN = "a.example", PROSODY_DOMAIN = "b.example" }
		expect.equal({ values.PROSODY_DOMAIN, origins.PROSODY_DOMAIN }, { "b.example", "environment" })
	end },
	{ "an empty value is no value", function()
		local values = read_well {
			PROSODY_DOMAIN = "", PROSODY_LOGLEVEL_FILE = "", PROSODY_NONSENSE = "", PROSODY_NAME__ = "", PROSODY_OPTION_A = "";
		}
		expect.equal(values.PROSODY_DOMAIN, "localhost")
	end },
	{ "the archive is kept as the shortest chain of names says", function()
		for _, chain in ipairs {
			{ {}, 604800, "default" },
			{ { PROSODY_RETENTION_DAYS = "2" }, 172800, "PROSODY_ARCHIVE_EXPIRY_DAYS" },
			{ { PROSODY_RETENTION_DAYS = "2", PROSODY_ARCHIVE_EXPIRY_DAYS = "3" }, 259200, "PROSODY_ARCHIVE_EXPIRY_DAYS" },
			{ { PROSODY_RETENTION_DAYS = "2", PROSODY_ARCHIVE_EXPIRES_AFTER = "never" }, "never", "environment" },
		} do
			local values, origins = read_well(chain[1])
			expect.equal({ values.PROSODY_ARCHIVE_EXPIRES_AFTER, origins.PROSODY_ARCHIVE_EXPIRES_AFTER }, { chain[2], chain[3] })
			expect.equal({ values.PROSODY_MUC_EXPIRES_AFTER, origins.PROSODY_MUC_EXPIRES_AFTER },
				{ chain[2], "PROSODY_ARCHIVE_EXPIRES_AFTER" })
		end
		local values = read_well { PROSODY_MUC_EXPIRES_AFTER = "1d", PROSODY_RETENTION_DAYS = "2" }
		expect.equal(values.PROSODY_MUC_EXPIRES_AFTER, 86400)
	end },
	{ "uploads are limited by whichever name is used", function()
		local values = read_well {}
		expect.equal({ values.PROSODY_UPLOAD_SIZE_LIMIT, values.PROSODY_UPLOAD_EXPIRES_AFTER,
			values.PROSODY_UPLOAD_GLOBAL_QUOTA },
			{ 10485760 })
		values = read_well { PROSODY_UPLOAD_LIMIT_MB = "20", PROSODY_UPLOAD_STORAGE_GB = "1", PROSODY_RETENTION_DAYS = "3" }
		expect.equal({ values.PROSODY_UPLOAD_SIZE_LIMIT, values.PROSODY_UPLOAD_EXPIRES_AFTER,
			values.PROSODY_UPLOAD_GLOBAL_QUOTA },
			{ 20971520, 259200, 1073741824 })
		values = read_well {
			PROSODY_UPLOAD_LIMIT_MB = "20", HTTP_FILE_SHARE_SIZE_LIMIT = "5 * 1024 * 1024", PROSODY_UPLOAD_EXPIRY_DAYS = "1";
			HTTP_FILE_SHARE_DAILY_QUOTA = "100 MB", PROSODY_RETENTION_DAYS = "3";
		}
		expect.equal({ values.PROSODY_UPLOAD_SIZE_LIMIT, values.PROSODY_UPLOAD_EXPIRES_AFTER,
			values.PROSODY_UPLOAD_DAILY_QUOTA },
			{ 5242880, 86400, 104857600 })
		values = read_well { HTTP_FILE_SHARE_EXPIRES_AFTER = "60 * 60 * 24 * 7", PROSODY_UPLOAD_EXPIRY_DAYS = "1" }
		expect.equal(values.PROSODY_UPLOAD_EXPIRES_AFTER, 604800)
	end },
	{ "the relay is where the public name is", function()
		local values, origins = read_well { PROSODY_NETWORK_HOSTNAME = "xmpp.example" }
		expect.equal({ values.PROSODY_TURN_HOST, origins.PROSODY_TURN_HOST }, { "xmpp.example", "PROSODY_NETWORK_HOSTNAME" })
	end },
	{ "every variable can be set, by each of its names, and by a file, whose last line break is dropped", function()
		for _, variable in ipairs(catalogue) do
			if is_single(variable) then
				local text = example_of(variable)
				local expected = stand_ins.parse(variable, text)
				assert(expected ~= nil, variable.name)
				local names = table.move(variable.aliases or {}, 1, #(variable.aliases or {}), 2, { variable.name })
				for _, name in ipairs(names) do
					local values, origins = read_well { [name] = text }
					expect.equal({ values[variable.name], origins[variable.name] },
						{ expected, name == variable.name and "environment" or name })
					values, origins = read_well({ [name .. "_FILE"] = "/x" }, { files = { ["/x"] = text .. "\n" } })
					expect.equal({ values[variable.name], origins[variable.name] },
						{ expected, name == variable.name and "/x" or name })
				end
			end
		end
	end },
	{ "every variable that is not for all can be set for one host", function()
		for _, variable in ipairs(catalogue) do
			if is_single(variable) then
				local text = example_of(variable)
				local name = variable.name .. "__CHAT_EXAMPLE"
				if variable.scope then
					local value = stand_ins.parse(variable, text)
					expect.equal(others_of { [name] = text },
						{ { name, variable.name, "CHAT_EXAMPLE", "-", value, "environment" } })
					expect.equal(others_of({ [name .. "_FILE"] = "/x" }, { files = { ["/x"] = text .. "\r\n" } }),
						{ { name, variable.name, "CHAT_EXAMPLE", "-", value, "/x" } })
				elseif name:find("^PROSODY_") then
					-- A catalogue of one, as each unknown name is compared with all that are known.
					local _, problems = read({ [name] = text }, { catalogue = { variable } })
					expect_problem(problems, name .. " is not a variable of this image")
				end
			end
		end
	end },
	{ "a value for one host can go by another name, and hosts may have underlines", function()
		expect.equal(others_of { C2S_REQUIRE_ENCRYPTION__CHAT_EXAMPLE = "false" }, {
			{ "C2S_REQUIRE_ENCRYPTION__CHAT_EXAMPLE", "PROSODY_C2S_REQUIRE_ENCRYPTION", "CHAT_EXAMPLE", "-", false;
				"environment" },
		})
		expect.equal(others_of { PROSODY_NAME__XN__BCHER_KVA_EXAMPLE = "a" }, {
			{ "PROSODY_NAME__XN__BCHER_KVA_EXAMPLE", "PROSODY_NAME", "XN__BCHER_KVA_EXAMPLE", "-", "a", "environment" },
		})
	end },
	{ "places of stores and options of any name are families", function()
		expect.equal(others_of {
			PROSODY_STORAGE_ARCHIVE = "SQL", PROSODY_STORAGE_pep_data = "memory", PROSODY_STORAGE = "internal";
			PROSODY_OPTION_C2S_TIMEOUT = "30", PROSODY_OPTION_name__CONFERENCE_CHAT_EXAMPLE = '"Rooms"';
			PROSODY_STORAGE__CHAT_EXAMPLE = "sql", PROSODY_STORAGE_ARCHIVE_ITEM_LIMIT = "5";
			PROSODY_OPTION_FALSE = "false", PROSODY_OPTION_LIST = "[1, false]";
		}, {
			{ "PROSODY_OPTION_C2S_TIMEOUT", "PROSODY_OPTION_<NAME>", "-", "c2s_timeout", 30, "environment" },
			{ "PROSODY_OPTION_FALSE", "PROSODY_OPTION_<NAME>", "-", "false", false, "environment" },
			{ "PROSODY_OPTION_LIST", "PROSODY_OPTION_<NAME>", "-", "list", { 1, false }, "environment" },
			{ "PROSODY_OPTION_name__CONFERENCE_CHAT_EXAMPLE", "PROSODY_OPTION_<NAME>", "CONFERENCE_CHAT_EXAMPLE", "name";
				"Rooms", "environment" },
			{ "PROSODY_STORAGE_ARCHIVE", "PROSODY_STORAGE_<STORE>", "-", "archive", "sql", "environment" },
			{ "PROSODY_STORAGE__CHAT_EXAMPLE", "PROSODY_STORAGE", "CHAT_EXAMPLE", "-", "sql", "environment" },
			{ "PROSODY_STORAGE_pep_data", "PROSODY_STORAGE_<STORE>", "-", "pep_data", "memory", "environment" },
		})
	end },
	{ "members of families can come from files", function()
		expect.equal(others_of({ PROSODY_OPTION_A_FILE = "/a", PROSODY_STORAGE_ARCHIVE_FILE = "/b",
			PROSODY_STORAGE_FILE = "/b" },
			{ files = { ["/a"] = '{"x": 1}\n', ["/b"] = "sql\n" } }), {
			{ "PROSODY_OPTION_A", "PROSODY_OPTION_<NAME>", "-", "a", { x = 1 }, "/a" },
			{ "PROSODY_STORAGE_ARCHIVE", "PROSODY_STORAGE_<STORE>", "-", "archive", "sql", "/b" },
		})
		local _, problems = read { PROSODY_OPTION_A = "1", PROSODY_OPTION_A_FILE = "/a" }
		expect_problem(problems, "PROSODY_OPTION_A and PROSODY_OPTION_A_FILE are both set")
		_, problems = read { PROSODY_TURN_SECRET__CHAT_EXAMPLE_FILE = "/nowhere" }
		expect_problem(problems, "PROSODY_TURN_SECRET__CHAT_EXAMPLE_FILE", "/nowhere", "No such file")
	end },
	{ "null is a value of an option", function()
		local _, problems, result = read { PROSODY_OPTION_A = "null" }
		expect.equal(problems, {})
		assert(rawequal(result.others[1].value, types.null))
	end },
	{ "only one line break of a file is dropped", function()
		local function password(content)
			return read_well({ PASSWORD_FILE = "/p" }, { files = { ["/p"] = content } }).PASSWORD
		end
		expect.equal(password("secret\n\n"), "secret\n")
		expect.equal(password("secret\r\n"), "secret")
		expect.equal(password(" secret "), " secret ")
	end },
	{ "a value and a file together are refused", function()
		local values, problems = read({ PASSWORD = "x", PASSWORD_FILE = "/p" }, { files = { ["/p"] = "x" } })
		expect_problem(problems, "PASSWORD and PASSWORD_FILE are both set")
		expect.equal(values.PASSWORD, nil)
	end },
	{ "a file that is missing or empty is named", function()
		local _, problems = read { PASSWORD_FILE = "/no\nwhere" }
		expect_problem(problems, "PASSWORD_FILE", [[/no\nwhere]], "No such file")
		_, problems = read({ PASSWORD_FILE = "/p" }, { files = { ["/p"] = "\n" } })
		expect_problem(problems, "PASSWORD_FILE", "empty")
	end },
	{ "a file of secrets that is called like a variable is taken", function()
		local files = { ["/run/secrets/password"] = "hunter2\n", ["/run/secrets/DB_PASSWORD"] = "db\n" }
		local secrets = { PASSWORD = "/run/secrets/password", DB_PASSWORD = "/run/secrets/DB_PASSWORD" }
		local values, origins = read_well({}, { files = files, secrets = secrets })
		expect.equal({ values.PASSWORD, origins.PASSWORD }, { "hunter2", "/run/secrets/password" })
		expect.equal({ values.PROSODY_SQL_PASSWORD, origins.PROSODY_SQL_PASSWORD }, { "db", "DB_PASSWORD" })
		-- A variable says it more plainly than a file.
		expect.equal(read_well({ PASSWORD = "x" }, { files = files, secrets = secrets }).PASSWORD, "x")
		files["/p"] = "y"
		expect.equal(read_well({ PASSWORD_FILE = "/p" }, { files = files, secrets = secrets }).PASSWORD, "y")
	end },
	{ "secrets can be for one host, and members of families", function()
		local files = { ["/s/a"] = "hunter2\n", ["/s/b"] = "5\n" }
		local secrets = { PROSODY_TURN_SECRET__CHAT_EXAMPLE = "/s/a", PROSODY_OPTION_X = "/s/b" }
		expect.equal(others_of({}, { files = files, secrets = secrets }), {
			{ "PROSODY_OPTION_X", "PROSODY_OPTION_<NAME>", "-", "x", 5, "/s/b" },
			{ "PROSODY_TURN_SECRET__CHAT_EXAMPLE", "PROSODY_TURN_SECRET", "CHAT_EXAMPLE", "-", "hunter2", "/s/a" },
		})
	end },
	{ "a file of secrets that means nothing to us is somebody else's", function()
		read_well({}, { secrets = { PROSODY_BACKUP_KEY = "/run/secrets/prosody_backup_key" } })
	end },
	{ "a secret that cannot be read is named", function()
		local _, problems = read({}, { secrets = { PASSWORD = "/run/secrets/password" } })
		expect_problem(problems, "PASSWORD", "/run/secrets/password", "No such file")
	end },
	{ "an alias is as good as the name, until they differ", function()
		local values, origins = read_well { PROSODY_LOG_LEVEL = "warn" }
		expect.equal({ values.PROSODY_LOGLEVEL, origins.PROSODY_LOGLEVEL }, { "warn", "PROSODY_LOG_LEVEL" })
		values, origins = read_well { PROSODY_LOG_LEVEL = "warn", PROSODY_LOGLEVEL = "warn", LOG_LEVEL = "warn" }
		expect.equal({ values.PROSODY_LOGLEVEL, origins.PROSODY_LOGLEVEL }, { "warn", "environment" })
		local _, problems
		values, problems = read { PROSODY_LOG_LEVEL = "warn", PROSODY_LOGLEVEL = "info" }
		expect.equal(values.PROSODY_LOGLEVEL, nil)
		expect_problem(problems, "PROSODY_LOGLEVEL and PROSODY_LOG_LEVEL are both set and differ")
		_, problems = read({ DB_PASSWORD = "hunter2", PROSODY_SQL_PASSWORD_FILE = "/p" }, { files = { ["/p"] = "hunter3" } })
		expect_problem(problems, "PROSODY_SQL_PASSWORD and DB_PASSWORD are both set and differ")
		expect.lacks(problems[1], "hunter")
	end },
	{ "all problems come at once", function()
		local _, problems = read {
			PROSODY_LOGLEVEL = "loud", PROSODY_DOMAIN = "a b", PROSODY_DOMIAN = "x", PROSODY_SQL_PORT = "0";
			PROSODY_OPTION_A = "b", PROSODY_NAME__A = "\1", PASSWORD_FILE = "/nowhere";
		}
		expect.equal(#problems, 7)
	end },
	{ "a bad value is shown with what is allowed", function()
		local _, problems = read { PROSODY_LOGLEVEL = "loud" }
		expect_problem(problems, "PROSODY_LOGLEVEL", '"loud"', "debug, info, warn, error")
		_, problems = read { LOG_LEVEL = "loud" }
		expect_problem(problems, "LOG_LEVEL: ")
		_, problems = read { PROSODY_NAME__CHAT_EXAMPLE = "a\nb" }
		expect_problem(problems, "PROSODY_NAME__CHAT_EXAMPLE", [["a\nb"]])
	end },
	{ "no secret is ever in a problem", function()
		local secret = "hunter2\0"
		for _, variable in ipairs(catalogue) do
			if variable.secret or variable.type == "json" then
				local name = variable.name:gsub("<.*>", "TURN_EXTERNAL_SECRET")
				local names = { name, name .. "_FILE" }
				for _, alias in ipairs(variable.aliases or {}) do names[#names + 1] = alias end
				if variable.scope then names[#names + 1] = name .. "__CHAT_EXAMPLE" end
				for _, set_name in ipairs(names) do
					local given = set_name:find("_FILE$") and "/p" or secret
					local _, problems = read({ [set_name] = given }, { files = { ["/p"] = secret } })
					expect_problem(problems, set_name:gsub("_FILE$", "") .. ": ", "not shown")
					expect.lacks(problems[1], "hunter2")
				end
			end
		end
		for _, variables in ipairs {
			{ PROSODY_ACCOUNTS = "hunter2" }, { PROSODY_ACCOUNTS = "a@a.example:hunter2\na@a.example:hunter2" };
			{ PASSWORD = "hunter2", PASSWORD_FILE = "/p" }, { PROSODY_EXTERNAL_COMPONENTS = "a b:hunter2" };
			{ PROSODY_EXTERNAL_COMPONENTS = "a.example:hunter2, a.example:hunter2" };
			{ PROSODY_OPTION_TURN_EXTERNAL_SECRET = "hunter2" }, { PROSODY_AUTH_SQL = '{"password": "hunter2"' };
		} do
			local _, problems = read(variables)
			expect.equal(#problems, 1)
			expect.lacks(problems[1], "hunter2")
		end
	end },
	{ "an unknown name gets a suggestion", function()
		local _, problems = read { PROSODY_DOMIAN = "x" }
		expect_problem(problems, "PROSODY_DOMIAN is not", "did you mean PROSODY_DOMAIN?")
		_, problems = read { PROSODY_SQL_PASWORD_FILE = "x" }
		expect_problem(problems, "PROSODY_SQL_PASWORD_FILE is not", "did you mean PROSODY_SQL_PASSWORD_FILE?")
		_, problems = read { PROSODY_ENTIRELY_UNRELATED_THING = "x" }
		expect_problem(problems, "not a variable of this image", "must not begin with PROSODY_")
		expect.lacks(problems[1], "did you mean")
		_, problems = read { PROSODY_OPTION_ = "1" }
		expect_problem(problems, "PROSODY_OPTION_ is not a variable")
		_, problems = read { ["PROSODY_\27[2J"] = "x" }
		expect_problem(problems, [[PROSODY_\x1B[2J]])
	end },
	{ "names that a runtime or Prosody itself uses are left alone", function()
		local _, problems, result = read {
			PROSODY_CONFIG = "/x", PROSODY_VERSION = "13", PROSODYCTL_LOG_LEVEL = "debug", HOME = "/";
			PROSODY_SERVICE_HOST = "10.0.0.1", PROSODY_SERVICE_PORT = "5222", PROSODY_SERVICE_PORT_C2S_TLS = "5223";
			PROSODY_PORT = "tcp://10.0.0.1:5222", PROSODY_PORT_5222_TCP = "tcp://10.0.0.1:5222";
			PROSODY_PORT_5222_TCP_PROTO = "tcp", PROSODY_PORT_5222_TCP_PORT = "5222", PROSODY_PORT_5222_TCP_ADDR = "10.0.0.1";
			PROSODY_WEB_SERVICE_HOST = "10.0.0.2", PROSODY_NAME = "/app/prosody", PROSODY_ENV_PATH = "/bin";
			-- services called prosody-sql, prosody-storage and prosody-option
			PROSODY_SQL_PORT = "tcp://10.0.0.3:5432", PROSODY_SQL_PORT_5432_TCP_ADDR = "10.0.0.3";
			PROSODY_STORAGE_SERVICE_HOST = "10.0.0.4", PROSODY_STORAGE_PORT = "tcp://10.0.0.4:1";
			PROSODY_OPTION_SERVICE_PORT = "1", PROSODY_OPTION_PORT_1_TCP = "tcp://10.0.0.5:1",
			PROSODY_OPTION_NAME = "/app/option";
		}
		expect.equal(problems, {})
		expect.equal({ result.values.PROSODY_SQL_PORT, result.values.PROSODY_NAME, #result.others }, { nil, nil, 0 })
	end },
	{ "a name may begin with a stroke", function()
		expect.equal(read_well({ PROSODY_NAME = "/dev" }).PROSODY_NAME, "/dev")
	end },
	{ "hostile values stay values", function()
		for _, text in ipairs { '"; os.exit(1) --', "]] os.exit(1) --", "\\\"", "${PASSWORD}", "%s%d%n" } do
			local values = read_well { PROSODY_SQL_DB = text, PROSODY_SQL_PASSWORD = text .. "\n" .. text, PROSODY_NAME = text }
			expect.equal(values.PROSODY_SQL_DB, text)
			expect.equal(values.PROSODY_NAME, text)
			expect.equal(values.PROSODY_SQL_PASSWORD, text .. "\n" .. text)
			local _, problems = read { PROSODY_LOGLEVEL = text, PROSODY_DOMAIN = text }
			expect.equal(#problems, 2)
		end
	end },
	{ "the catalogue is in order", function()
		local seen, names = {}, {}
		for _, variable in ipairs(catalogue) do
			for _, name in ipairs(table.move(variable.aliases or {}, 1, #(variable.aliases or {}), 2, { variable.name })) do
				assert(not names[name], name .. " stands there twice")
				names[name] = true
			end
			for name in (variable.default or ""):gmatch("%${([%w_]+)}") do
				assert(seen[name], variable.name .. " refers to a variable further down")
			end
			assert(not variable.fallback or seen[variable.fallback], variable.name .. " falls back to a variable further down")
			local default = variable.default and variable.default:gsub("%${[%w_]+}",
				variable.type == "host" and "a.example" or "/a")
			assert(not default or stand_ins.parse(variable, default) ~= nil, variable.name .. " has a default that it refuses")
			seen[variable.name] = true
		end
		assert(#catalogue > 100)
	end },
}

return cases
