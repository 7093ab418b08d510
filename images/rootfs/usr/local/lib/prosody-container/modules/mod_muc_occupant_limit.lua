-- Limits how many people can be in a room at the same time (XEP-0045, 7.2.9). Owners and administrators always get in.

-- luacheck: globals module

local jid = require "prosody.util.jid"
local st = require "prosody.util.stanza"

local most = module:get_option_integer("muc_max_occupants", nil, 1)
-- Services that are no people: they always get in, and are not counted.
local exempt = module:get_option_set("muc_access_whitelist", {})

local function is_exempt(address)
	return exempt:contains(jid.bare(address)) or exempt:contains(jid.host(address))
end

module:hook("muc-occupant-pre-join", function(event)
	local room, stanza = event.room, event.stanza
	local affiliation = room:get_affiliation(stanza.attr.from)
	if not most or is_exempt(stanza.attr.from) or affiliation == "owner" or affiliation == "admin" then return end
	local count = 0
	for _, occupant in room:each_occupant() do
		-- With another client of somebody who is there nobody is added.
		if occupant.nick == event.occupant.nick then return end
		if not is_exempt(occupant.bare_jid) then count = count + 1 end
	end
	if count >= most then
		event.origin.send(st.error_reply(stanza, "wait", "service-unavailable", "The room is full", room.jid))
		return true
	end
end, 5)
