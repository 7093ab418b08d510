-- Corrects what Prosody 13.0.6 tells SQLite too late:
-- - to wait for other processes, only after it has looked at its tables: prosodyctl failed with "database is locked"
--   while the server, or another prosodyctl, wrote;
-- - to wait for the disk, only within a transaction, where it has no effect. SQLite's default (FULL) does not wait until
--   the journal's removal is on the disk, so a power cut could take back the last transaction, although a client had been
--   told that its message is received (https://www.sqlite.org/pragma.html#pragma_synchronous).

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

--- From now on, connections to SQLite wait for other processes that many milliseconds from their first statement.
function database.wait(milliseconds)
	settings[2] = ("busy_timeout=%d"):format(milliseconds)
end

return database
