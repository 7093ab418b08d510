local expect = require "expect"
local stand_ins = require "container_stand_ins"
local storage = require "container.storage"

--- What was decided, with the values and origins as they are afterwards.
local function decide(variables, surroundings)
	local result, problems = stand_ins.read(variables)
	expect.equal(problems, {})
	return storage.decide(result.values, result.origins, result.others, surroundings or {}), result.values, result.origins
end

--- Driver, database, host, user and password of the database.
local function database_of(variables, surroundings)
	local _, values = decide(variables, surroundings)
	return {
		values.PROSODY_SQL_DRIVER, values.PROSODY_SQL_DB, values.PROSODY_SQL_HOST, values.PROSODY_SQL_USERNAME;
		values.PROSODY_SQL_PASSWORD;
	}
end

local found = { has_sqlite_data = true }

return {
	{ "files are the place where nobody says otherwise", function()
		local decided, values = decide {}
		expect.equal({ decided.default, decided.origin, decided.uses_sql, decided.stores },
			{ "internal", "default", false, {} })
		expect.equal({ values.PROSODY_SQL_DRIVER, decided.found }, {})
	end },
	{ "the place can be named, by OpusVL's name as well", function()
		local decided = decide { PROSODY_STORAGE = "memory" }
		expect.equal({ decided.default, decided.origin, decided.uses_sql }, { "memory", "environment", false })
		decided = decide { PROSODY_DEFAULT_STORAGE = "sql", PROSODY_DB_PASSWORD = "x" }
		expect.equal({ decided.default, decided.origin, decided.uses_sql }, { "sql", "PROSODY_DEFAULT_STORAGE", true })
	end },
	{ "the official image: naming a driver is enough", function()
		local decided = decide { PROSODY_SQL_DRIVER = "PostgreSQL" }
		expect.equal({ decided.default, decided.origin, decided.uses_sql, decided.is_overridden },
			{ "sql", "PROSODY_SQL_DRIVER", true, false })
		decided = decide { PROSODY_SQL_DRIVER = "PostgreSQL", PROSODY_STORAGE = "internal" }
		expect.equal({ decided.default, decided.is_overridden }, { "sql", true })
		decided = decide { PROSODY_SQL_DRIVER = "PostgreSQL", PROSODY_STORAGE = "sql" }
		expect.equal({ decided.default, decided.is_overridden }, { "sql", false })
	end },
	{ "SaraSmiseth's image: DB_DRIVER is as good, and nothing of OpusVL's is assumed", function()
		local decided = decide { DB_DRIVER = "PostgreSQL", DB_DATABASE = "d" }
		expect.equal({ decided.default, decided.uses_sql }, { "sql", true })
		expect.equal(database_of { DB_DRIVER = "PostgreSQL", DB_DATABASE = "d" }, { "PostgreSQL", "d" })
	end },
	{ "SaraSmiseth's image: its database is found", function()
		local decided, values, origins = decide({ DOMAIN = "a.example" }, found)
		expect.equal({ decided.default, decided.origin, decided.found, decided.uses_sql },
			{ "sql", "default", "prosody.sqlite", true })
		expect.equal({ values.PROSODY_SQL_DRIVER, values.PROSODY_SQL_DB }, { "SQLite3", "prosody.sqlite" })
		expect.equal({ origins.PROSODY_SQL_DRIVER, origins.PROSODY_SQL_DB }, { "default", "default" })
	end },
	{ "a database that is found counts only where nobody says otherwise", function()
		for _, variables in ipairs {
			{ PROSODY_STORAGE = "internal" }, { PROSODY_DB_DRIVER = "PostgreSQL" };
		} do
			local decided = decide(variables, found)
			expect.equal({ decided.default, decided.found, decided.uses_sql }, { "internal", nil, false })
		end
		expect.equal(database_of({ PROSODY_SQL_DRIVER = "MySQL" }, found), { "MySQL" })
	end },
	{ "SQLite3 has a name for its file", function()
		expect.equal(database_of { PROSODY_SQL_DRIVER = "SQLite3" }, { "SQLite3", "prosody.sqlite" })
		expect.equal(database_of { PROSODY_SQL_DRIVER = "SQLite3", PROSODY_SQL_DB = "/a/b" }, { "SQLite3", "/a/b" })
		expect.equal(database_of { PROSODY_SQL_DRIVER = "MySQL" }, { "MySQL" })
	end },
	{ "OpusVL's image: its names mean a database of its kind, where one is used", function()
		expect.equal(database_of { PROSODY_DEFAULT_STORAGE = "sql", PROSODY_DB_PASSWORD = "x" },
			{ "PostgreSQL", "prosody", "postgresql", "prosody", "x" })
		expect.equal(database_of { PROSODY_STORAGE_archive = "sql", PROSODY_DB_HOST = "db" },
			{ "PostgreSQL", "prosody", "db", "prosody" })
		expect.equal(database_of { PROSODY_STORAGE = "sql", PROSODY_DB_DRIVER = "MySQL", PROSODY_DB_NAME = "d" },
			{ "MySQL", "d", "postgresql", "prosody" })
		local _, _, origins = decide { PROSODY_DEFAULT_STORAGE = "sql", PROSODY_DB_PASSWORD = "x" }
		expect.equal(origins.PROSODY_SQL_HOST, "default of OpusVL's image")
	end },
	{ "OpusVL's image: a driver alone decides nothing", function()
		local decided, values = decide { PROSODY_DB_DRIVER = "PostgreSQL", PROSODY_DB_PASSWORD = "x" }
		expect.equal({ decided.default, decided.uses_sql, values.PROSODY_SQL_HOST }, { "internal", false })
	end },
	{ "OpusVL's image: a file has no server, user and password", function()
		local variables = {
			PROSODY_DEFAULT_STORAGE = "sql", PROSODY_DB_DRIVER = "SQLite3", PROSODY_DB_NAME = "a.sqlite",
			PROSODY_DB_PASSWORD = "x";
		}
		local result = stand_ins.build(variables)
		expect.equal(result.built.global.options.sql, { driver = "SQLite3", database = "a.sqlite" })
	end },
	{ "names of this image bring none of OpusVL's assumptions", function()
		expect.equal(database_of { PROSODY_STORAGE = "sql", PROSODY_SQL_PASSWORD = "x" }, { nil, nil, nil, nil, "x" })
	end },
	{ "stores can be elsewhere", function()
		local decided = decide { PROSODY_STORAGE_ARCHIVE = "sql", PROSODY_STORAGE_pep_data = "memory" }
		expect.equal({ decided.default, decided.stores, decided.uses_sql },
			{ "internal", { archive = "sql", pep_data = "memory" }, true })
		expect.equal(storage.driver_of(decided, "archive"), "sql")
		expect.equal(storage.driver_of(decided, "accounts"), "internal")
		decided = decide { PROSODY_STORAGE_ARCHIVE = "internal", PROSODY_STORAGE = "sql" }
		expect.equal({ storage.driver_of(decided, "archive"), storage.driver_of(decided, "accounts") }, { "internal", "sql" })
	end },
	{ "one host with a database is a reason to have one", function()
		local decided = decide { PROSODY_STORAGE__A_EXAMPLE = "sql" }
		expect.equal({ decided.default, decided.uses_sql }, { "internal", true })
		expect.equal(decide({ PROSODY_STORAGE__A_EXAMPLE = "memory" }).uses_sql, false)
	end },
}
