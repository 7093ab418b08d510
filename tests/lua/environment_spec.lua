local catalogue = require "container.catalogue"
local environment = require "container.environment"
local expect = require "expect"
local types = require "container.types"

local parse = types.new()

--- Reads an environment given as a table, with files given as a table.
local function read(variables, files, own_catalogue)
	local names = {}
	for name in pairs(variables) do names[#names + 1] = name end
	local result, problems = environment.read({
		get = function(name) return variables[name] end;
		read_file = function(path)
			local content = (files or {})[path]
			if content then return content end
			return nil, "No such file or directory"
		end;
		names = names;
	}, own_catalogue or catalogue, parse)
	return result.values, problems, result
end

local function expect_problem(problems, ...)
	expect.equal(#problems, 1)
	for _, part in ipairs { ... } do expect.contains(problems[1], part) end
end

local cases = {
	{ "an empty environment is complete", function()
		local values, problems, result = read {}
		expect.equal(problems, {})
		expect.equal(values.PROSODY_DOMAIN, "localhost")
		expect.equal(values.PROSODY_MUC_DOMAIN, "conference.localhost")
		expect.equal(values.PROSODY_ARCHIVE_EXPIRES_AFTER, 604800)
		expect.equal(values.PROSODY_ACCOUNTS, nil)
		expect.equal(result.origins.PROSODY_DOMAIN, "default")
	end },
	{ "defaults follow other values", function()
		local values = read { PROSODY_DOMAIN = "Example.org", PROSODY_UPLOAD_DOMAIN = "files.example.org" }
		expect.equal(values.PROSODY_MUC_DOMAIN, "conference.example.org")
		expect.equal(values.PROSODY_UPLOAD_DOMAIN, "files.example.org")
	end },
	{ "DOMAIN stands in for PROSODY_DOMAIN", function()
		local values, problems, result = read { DOMAIN = "a.example" }
		expect.equal(problems, {})
		expect.equal(values.PROSODY_DOMAIN, "a.example")
		expect.equal(result.origins.PROSODY_DOMAIN, "DOMAIN")
		expect.equal(read({ DOMAIN = "a.example", PROSODY_DOMAIN = "b.example" }).PROSODY_DOMAIN, "b.example")
	end },
	{ "an empty value is no value", function()
		local values, problems = read { PROSODY_DOMAIN = "", PROSODY_LOGLEVEL_FILE = "", PROSODY_NONSENSE = "" }
		expect.equal(problems, {})
		expect.equal(values.PROSODY_DOMAIN, "localhost")
	end },
	{ "every variable can come from a file, whose last line break is dropped", function()
		for _, variable in ipairs(catalogue) do
			local text = variable.default and variable.default:gsub("%${[%w_]+}", "a.example") or ({
				host = "a.example", node = "a", string = "s", enum = (variable.allowed or {})[1],
				integer = "1", text = "t\n", accounts = "a@a.example:b",
			})[variable.type]
			local values, problems = read({ [variable.name .. "_FILE"] = "/x" }, { ["/x"] = text .. "\n" })
			if text == "" then
				expect_problem(problems, "empty")
			else
				expect.equal(problems, {})
				expect.equal(values[variable.name], (parse(variable, text)))
			end
		end
	end },
	{ "only one line break of a file is dropped", function()
		local values = read({ PASSWORD_FILE = "/p", LOCAL = "a" }, { ["/p"] = "secret\n\n" })
		expect.equal(values.PASSWORD, "secret\n")
	end },
	{ "a value and a file together are refused", function()
		local _, problems = read({ PASSWORD = "x", PASSWORD_FILE = "/p" }, { ["/p"] = "y" })
		expect_problem(problems, "PASSWORD and PASSWORD_FILE are both set")
	end },
	{ "a file that is missing or empty is named", function()
		local _, problems = read { PASSWORD_FILE = "/nowhere" }
		expect_problem(problems, "PASSWORD_FILE", "/nowhere", "No such file")
		_, problems = read({ PASSWORD_FILE = "/p" }, { ["/p"] = "\n" })
		expect_problem(problems, "empty")
	end },
	{ "an alias is as good as the name, until they differ", function()
		local values, problems, result = read { PROSODY_LOG_LEVEL = "warn" }
		expect.equal(problems, {})
		expect.equal(values.PROSODY_LOGLEVEL, "warn")
		expect.equal(result.origins.PROSODY_LOGLEVEL, "PROSODY_LOG_LEVEL")
		values, problems = read { PROSODY_LOG_LEVEL = "warn", PROSODY_LOGLEVEL = "warn" }
		expect.equal(problems, {})
		expect.equal(values.PROSODY_LOGLEVEL, "warn")
		values, problems = read { PROSODY_LOG_LEVEL = "warn", PROSODY_LOGLEVEL = "info" }
		expect.equal(values.PROSODY_LOGLEVEL, nil)
		expect_problem(problems, "PROSODY_LOGLEVEL and PROSODY_LOG_LEVEL are both set and differ")
	end },
	{ "all problems come at once", function()
		local _, problems = read {
			PROSODY_LOGLEVEL = "loud", PROSODY_DOMAIN = "a b", PROSODY_DOMIAN = "x", PROSODY_SQL_PORT = "0",
		}
		expect.equal(#problems, 4)
	end },
	{ "a bad value is shown with what is allowed", function()
		local _, problems = read { PROSODY_LOGLEVEL = "loud" }
		expect_problem(problems, "PROSODY_LOGLEVEL", '"loud"', "debug, info, warn, error")
	end },
	{ "a bad secret is not shown", function()
		local _, problems = read { PROSODY_ACCOUNTS = "hunter2" }
		expect_problem(problems, "PROSODY_ACCOUNTS", "not shown")
		expect.lacks(problems[1], "hunter2")
		_, problems = read { PASSWORD = "hunter2", PASSWORD_FILE = "/hunter" }
		expect.lacks(table.concat(problems), "hunter2")
		_, problems = read({ PASSWORD_FILE = "/p" }, { ["/p"] = "hunter2\0" })
		expect.equal(#problems, 1)
		expect.lacks(problems[1], "hunter2")
	end },
	{ "an unknown name gets a suggestion", function()
		local _, problems = read { PROSODY_DOMIAN = "x" }
		expect_problem(problems, "PROSODY_DOMIAN", "did you mean PROSODY_DOMAIN?")
		_, problems = read { PROSODY_SQL_PASWORD_FILE = "x" }
		expect_problem(problems, "did you mean PROSODY_SQL_PASSWORD_FILE?")
		_, problems = read { PROSODY_ENTIRELY_UNRELATED_THING = "x" }
		expect_problem(problems, "not a variable of this image")
		expect.lacks(problems[1], "did you mean")
	end },
	{ "names that a runtime or Prosody itself uses are left alone", function()
		local values, problems = read {
			PROSODY_CONFIG = "/x", PROSODYCTL_LOG_LEVEL = "debug",
			PROSODY_SERVICE_HOST = "10.0.0.1", PROSODY_SERVICE_PORT = "5222", PROSODY_SERVICE_PORT_C2S_TLS = "5223",
			PROSODY_PORT = "tcp://10.0.0.1:5222", PROSODY_PORT_5222_TCP = "tcp://10.0.0.1:5222",
			PROSODY_PORT_5222_TCP_PROTO = "tcp", PROSODY_PORT_5222_TCP_PORT = "5222", PROSODY_PORT_5222_TCP_ADDR = "10.0.0.1",
			PROSODY_WEB_SERVICE_HOST = "10.0.0.2", PROSODY_NAME = "/app/prosody", PROSODY_ENV_PATH = "/bin",
			-- a service called prosody-sql
			PROSODY_SQL_PORT = "tcp://10.0.0.3:5432", PROSODY_SQL_PORT_5432_TCP_ADDR = "10.0.0.3",
		}
		expect.equal(problems, {})
		expect.equal(values.PROSODY_SQL_PORT, nil)
	end },
	{ "hostile values stay values", function()
		for _, text in ipairs { '"; os.exit(1) --', "]] os.exit(1) --", "\\\"", "${PASSWORD}", "%s%d%n" } do
			local values, problems = read { PROSODY_SQL_DB = text, PROSODY_SQL_PASSWORD = text .. "\n" .. text }
			expect.equal(problems, {})
			expect.equal(values.PROSODY_SQL_DB, text)
			expect.equal(values.PROSODY_SQL_PASSWORD, text .. "\n" .. text)
			_, problems = read { PROSODY_LOGLEVEL = text, PROSODY_DOMAIN = text }
			expect.equal(#problems, 2)
		end
	end },
	{ "the description masks secrets and keeps to its lines", function()
		local _, _, result = read {
			PROSODY_SQL_PASSWORD = "hunter2", PROSODY_MUC_DOMAIN = "none", PROSODY_ADMINS = "a@b.example c@b.example",
		}
		local text = table.concat(environment.describe(result, catalogue), "\n")
		expect.lacks(text, "hunter2")
		expect.contains(text, "PROSODY_SQL_PASSWORD=********  (environment)")
		expect.contains(text, "PROSODY_MUC_DOMAIN=none  (environment)")
		expect.contains(text, "PROSODY_ADMINS=a@b.example, c@b.example  (environment)")
	end },
	{ "the catalogue is in order", function()
		local seen = {}
		for _, variable in ipairs(catalogue) do
			assert(not seen[variable.name], variable.name .. " stands there twice")
			assert(variable.meaning and variable.type, variable.name .. " lacks a meaning or a type")
			for name in (variable.default or ""):gmatch("%${([%w_]+)}") do
				assert(seen[name], variable.name .. " refers to a variable further down")
			end
			assert(not variable.fallback or seen[variable.fallback], variable.name .. " falls back to a variable further down")
			seen[variable.name] = true
		end
	end },
}

return cases
