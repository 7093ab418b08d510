-- Decides where data is kept. Pure.

local storage = {}

local opusvl_prefix = "PROSODY_DB_"
-- What OpusVL's image assumes where its own names are used.
local opusvl_defaults = {
	PROSODY_SQL_DRIVER = "PostgreSQL";
	PROSODY_SQL_DB = "prosody";
	PROSODY_SQL_HOST = "postgresql";
	PROSODY_SQL_USERNAME = "prosody";
}

-- A database in a file has no server; given a user, its driver fails at each query.
local server_settings = {
	PROSODY_SQL_HOST = true, PROSODY_SQL_PORT = true, PROSODY_SQL_USERNAME = true, PROSODY_SQL_PASSWORD = true;
}

--- Whether a variable of the database means something to the driver that is used.
function storage.takes(driver, name)
	return driver ~= "SQLite3" or not server_settings[name]
end

local function is_named_as_in_opusvl(origins)
	for name in pairs(opusvl_defaults) do
		local origin = origins[name]
		if origin and origin:sub(1, #opusvl_prefix) == opusvl_prefix then return true end
	end
	local origin = origins.PROSODY_SQL_PASSWORD
	return origin ~= nil and origin:sub(1, #opusvl_prefix) == opusvl_prefix
end

--- Stores with a place of their own: name → driver, from PROSODY_STORAGE_<STORE>.
local function stores_of(others)
	local stores = {}
	for _, other in ipairs(others) do
		if other.variable.name == "PROSODY_STORAGE_<STORE>" then stores[other.key] = other.value end
	end
	return stores
end

--- Returns { default, stores = { name → driver }, uses_sql, origin, found } and completes values and origins of the
-- database. found: why the database was chosen although nobody named one, for a note.
function storage.decide(values, origins, others, surroundings)
	local decided = { stores = stores_of(others), default = values.PROSODY_STORAGE, origin = origins.PROSODY_STORAGE }
	local driver, driver_origin = values.PROSODY_SQL_DRIVER, origins.PROSODY_SQL_DRIVER

	-- As in the official image, naming a driver is enough; by OpusVL's name it decides nothing.
	if driver and driver_origin ~= "PROSODY_DB_DRIVER" then
		decided.is_overridden = decided.default ~= nil and decided.default ~= "sql"
		decided.default, decided.origin = "sql", "PROSODY_SQL_DRIVER"
	elseif not decided.default and not driver and surroundings.has_sqlite_data then
		decided.default, decided.origin, decided.found = "sql", "default", "prosody.sqlite"
		values.PROSODY_SQL_DRIVER, origins.PROSODY_SQL_DRIVER = "SQLite3", "default"
	elseif not decided.default then
		decided.default, decided.origin = "internal", "default"
	end

	decided.uses_sql = decided.default == "sql"
	for _, store_driver in pairs(decided.stores) do decided.uses_sql = decided.uses_sql or store_driver == "sql" end
	for _, other in ipairs(others) do
		if other.variable.name == "PROSODY_STORAGE" and other.value == "sql" then decided.uses_sql = true end
	end
	if decided.uses_sql and is_named_as_in_opusvl(origins) then
		if not values.PROSODY_SQL_DRIVER then
			values.PROSODY_SQL_DRIVER = opusvl_defaults.PROSODY_SQL_DRIVER
			origins.PROSODY_SQL_DRIVER = "default of OpusVL's image"
		end
		for name, value in pairs(opusvl_defaults) do
			if values[name] == nil and storage.takes(values.PROSODY_SQL_DRIVER, name) then
				values[name], origins[name] = value, "default of OpusVL's image"
			end
		end
	end
	if decided.uses_sql and values.PROSODY_SQL_DRIVER == "SQLite3" and not values.PROSODY_SQL_DB then
		values.PROSODY_SQL_DB, origins.PROSODY_SQL_DB = "prosody.sqlite", "default"
	end
	return decided
end

--- The place of one store.
function storage.driver_of(decided, store)
	return decided.stores[store] or decided.default
end

return storage
