-- Corrects Prosody 13.0.6, which tells SQLite to wait for other processes only after it has looked at its tables:
-- prosodyctl failed with "database is locked" while the server, or another prosodyctl, wrote.

local dbi = require "DBI"

local database = {}

local connect = dbi.Connect
local patience

dbi.Connect = function(driver, ...)
	local connection, reason = connect(driver, ...)
	if connection and driver == "SQLite3" and patience then
		local statement = connection:prepare(("PRAGMA busy_timeout=%d"):format(patience))
		statement:execute()
		statement:close()
	end
	return connection, reason
end

--- From now on, connections to SQLite wait that many milliseconds from their first statement.
function database.wait(milliseconds)
	patience = milliseconds
end

return database
