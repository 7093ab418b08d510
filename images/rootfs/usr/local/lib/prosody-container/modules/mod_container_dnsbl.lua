-- Lets mod_dnsbl note whose address is listed: it calls add_flag of mod_flags as a method, which that is not in
-- Prosody 13, and would end in an error instead of the note and the message.

-- luacheck: read globals module

local flags = module:depends("flags")
local add_flag = flags.add_flag

function flags.add_flag(first, ...)
	if first == flags then return add_flag(...) end
	return add_flag(first, ...)
end
