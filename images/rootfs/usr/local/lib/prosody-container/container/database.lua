-- Corrects what Prosody 13.0.6 tells SQLite too late: to wait for other processes, after it has looked at its tables
-- ("database is locked"); and to wait for the disk, within a transaction, where that has no effect. By default (FULL)
-- SQLite does not wait for the removal of its journal: a power cut took back messages that were acknowledged.

local dbi = require "DBI"

local database = {}

local connect = dbi.Connect
local settings = { "busy_timeout=1000", "synchronous=EXTRA" } -- the second reads the tables

dbi.Connect = function(driver, ...)
	local connection, reason = connect(driver, ...)
	if connection and driver == "SQLite3" then
		connection:autocommit(true)
		for _, setting in ipairs(settings) do
			local statement, problem = connection:prepare("PRAGMA " .. setting)
			if not statement then return nil, problem end
			statement:execute()
			statement:close()
		end
		connection:autocommit(false)
	end
	return connection, reason
end

--- From now on, connections to SQLite wait for other processes that many milliseconds.
function database.wait(milliseconds)
	settings[1] = ("busy_timeout=%d"):format(milliseconds)
end

return database
