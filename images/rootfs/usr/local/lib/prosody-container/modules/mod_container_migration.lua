-- Copies all that is stored from one place to another: the container's command "migrate".
--
-- Prosody's own migrator has to be told every host and every store, and what nobody names stays behind. Here they are
-- looked up in the source, so that modules of one's own lose nothing either.

-- luacheck: globals module prosody

local configmanager = require "prosody.core.configmanager"
local datetime = require "prosody.util.datetime"
local list = require("container.drop_ins").list
local modulemanager = require "prosody.core.modulemanager"
local st = require "prosody.util.stanza"
local startup = require "prosody.util.startup"
local storagemanager = require "prosody.core.storagemanager"

local datamanager = storagemanager.olddm
local usage, failed = 64, 1
local extensions = { keyval = "%.dat$", archive = "%.list$" }
local all_stores = [[SELECT DISTINCT "host", "store", 'keyval' FROM "prosody"
	UNION SELECT DISTINCT "host", "store", 'archive' FROM "prosodyarchive"]]
local falsehoods = [[SELECT "key" FROM "prosody" WHERE "host"=? AND "user"=? AND "store"=?
	AND "type"='boolean' AND "value"='false']]

local function fail(status, ...) error({ status = status, text = (...):format(select(2, ...)) }) end

local function check(ok, reason)
	if not ok then fail(failed, "%s", tostring(reason)) end
	return ok
end

--- A place by its name: files, the database of the variables, or a SQLite database beside the files.
local function place_of(name)
	local configured = configmanager.get("*", "sql")
	if name == "internal" then return { name = name, driver = "internal" } end
	if configured and configured.driver == name then return { name = name, driver = "sql", sql = configured } end
	if name == "SQLite3" then
		return { name = name, driver = "sql", sql = { driver = name, database = "prosody.sqlite" } }
	end
	fail(usage, "%s is neither internal nor SQLite3 nor the PROSODY_SQL_DRIVER", tostring(name))
end

--- The storage driver for a host. One that was opened before goes on working. It is taken from its module, as the hosts
-- of prosodyctl share their events, by which the storage manager would take one host's driver for another's.
local function open(place, host)
	local name = "storage_" .. place.driver
	if not prosody.hosts[host] then prosody.hosts[host] = startup.make_host(host) end
	for _, where in ipairs { "*", host } do modulemanager.unload(where, name) end
	configmanager.set(host, "sql", place.sql)
	return check(modulemanager.load(host, name)).module.items["storage-provider"][1]
end

--- Calls found(host, store, kind) for each store, more than once for one of many users.
local function list_files(found)
	local data = prosody.paths.data
	for _, folder in ipairs(list(data)) do
		local host = datamanager.path_decode(folder)
		for _, name in ipairs(list(data .. "/" .. folder)) do
			for kind, extension in pairs(extensions) do
				if name:find(extension) then found(host, datamanager.path_decode((name:gsub(extension, ""))), kind) end
				for _, file in ipairs(list(("%s/%s/%s"):format(data, folder, name))) do
					if file:find(extension) then found(host, datamanager.path_decode(name), kind) end
				end
			end
		end
	end
end

--- The rows that a statement gives.
local function ask(place, statement, ...)
	local arguments = table.pack(...)
	local ok, rows = place.engine:transaction(function()
		return place.engine:select(statement, table.unpack(arguments, 1, arguments.n))
	end)
	check(ok, rows)
	return rows
end

local function list_database(place, found)
	-- The driver makes the tables when it first connects.
	check(open(place, next(prosody.hosts)):stores())
	for _, engine in pairs(module:shared("/*/sql/connections")) do
		if engine.params.driver == place.sql.driver then place.engine = engine end
	end
	for row in ask(place, all_stores) do found(row[1], row[2], row[3]) end
end

--- What a place has: host → kind → store → true.
local function content_of(place)
	local content = {}
	local function found(host, store, kind)
		content[host] = content[host] or { keyval = {}, archive = {} }
		content[host][kind][store] = true
	end
	if place.driver == "sql" then list_database(place, found) else list_files(found) end
	return content
end

--- Calls act(user, …) for everybody who has something in a store, and for the host itself, whose user is nil.
local function for_users(store, act)
	local users = {}
	for user in store:users() do
		if user ~= "" then users[#users + 1] = user end
	end
	act(nil)
	for _, user in ipairs(users) do act(user) end
end

--- Calls act(store, kind, name) for each store of a host, in a place whose driver is given.
local function for_stores(driver, stores, act)
	for kind, names in pairs(stores) do
		for name in pairs(names) do act(check(driver:open(name, kind)), kind, name) end
	end
end

local function erase(driver, stores)
	for_stores(driver, stores, function(store, kind)
		for_users(store, function(user)
			if kind == "archive" then check(store:delete(user)) else check(store:set(user, nil)) end
		end)
	end)
end

--- Adds to an archive in files. Its driver would read the archive anew for each item, and keep only so many.
local function append_to_file(user, host, name, key, item, when, with)
	local value = st.preserialize(item)
	value.key, value.when, value.with, value.attr.stamp = key, when, with, datetime.datetime(when)
	check(datamanager.list_append(user, host, name, value))
end

--- What a store has for a user, or nil.
local function get(place, host, store, name, user)
	local data, reason = store:get(user)
	check(not reason, reason)
	-- The driver of databases leaves out what is false, such as contacts whose messages are not to be archived.
	for row in place.engine and ask(place, falsehoods, host, user or "", name) or next, {} do
		data = data or {}
		data[row[1]] = false
	end
	return data
end

--- Returns how many things were copied.
local function copy(host, stores, source, target)
	local count, input, output = 0, open(source, host), open(target, host)
	for_stores(input, stores, function(from, kind, name)
		local to = check(output:open(name, kind))
		for_users(from, function(user)
			if kind == "keyval" then
				local data = get(source, host, from, name, user)
				if data then
					check(to:set(user, data))
					count = count + 1
				end
				return
			end
			for key, item, when, with in check(from:find(user)) do
				if target.driver == "internal" then
					append_to_file(user, host, name, key, item, when, with)
				else
					check(to:append(user, key, item, when, with))
				end
				count = count + 1
			end
		end)
	end)
	return count
end

local function migrate(from, to, option)
	if from == to or option and option ~= "--replace" then fail(usage, "usage: migrate FROM TO [--replace]") end
	local source, target = place_of(from), place_of(to)
	local content, present = content_of(source), content_of(target)
	if not next(content) then fail(failed, "%s holds nothing", from) end
	for host in pairs(content) do
		if present[host] and option ~= "--replace" then
			fail(failed, "%s holds data of %s already; with --replace it is deleted first", to, host)
		end
	end
	for host, stores in pairs(content) do
		if present[host] then erase(open(target, host), present[host]) end
		print(("%s: %d copied"):format(host, copy(host, stores, source, target)))
	end
end

function module.command(arguments)
	local ok, problem = xpcall(migrate, function(problem)
		return type(problem) == "table" and problem or { status = failed, text = debug.traceback(problem) }
	end, table.unpack(arguments))
	if ok then return 0 end
	io.stderr:write("not migrated: ", problem.text, "\n")
	return problem.status
end
