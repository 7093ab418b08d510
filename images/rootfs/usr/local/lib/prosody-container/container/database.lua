-- Corrects what Prosody 13.0.6 tells SQLite too late: to wait for other processes, after it has looked at its tables
-- ("database is locked"); and to wait for the disk, within a transaction, where that has no effect. By default (FULL)
-- SQLite does not wait for the removal of its journal: a power cut took back messages that were acknowledged.

local dbi = require "DBI"

local database = {}

local connect = dbi.Connect
local settings = { "synchronous=EXTRA" }

dbi.Connect = function(driver, ...)
	local connection, reason = connect(driver, ...)
	if connection and driver == "SQLite3" then
		for _, setting in ipairs(settings) do
			local statement = connection:prepare("PRAGMA " .. setting)
			statement:execute()
			statement:close()
		end
	end
	return connection, reason
end

--- From now on, connections to SQLite wait for other processes that many milliseconds.
function database.wait(milliseconds)
	settings[2] = ("busy_timeout=%d"):format(milliseconds)
end

return database
