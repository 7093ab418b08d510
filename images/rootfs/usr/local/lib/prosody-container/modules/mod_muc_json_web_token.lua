-- Rooms that a token opens: people whom mod_auth_json_web_token let in enter the room that their token names, with the
-- affiliation that it gives them while they are there.

-- luacheck: globals module

local claims = require "container.tokens.claims"
local jid = require "prosody.util.jid"
local st = require "prosody.util.stanza"

local muc_util = module:require "muc/util"

-- Addresses and domains of services that need no token.
local exempt = module:get_option_set("jwt_rooms_exempt", {})
-- Whether local users without a token may enter rooms that are open already.
local are_guests_allowed = module:get_option_boolean("jwt_rooms_guests",
	module:get_option_boolean("allow_empty_token", false))
-- The main domain, where the subject of a token has to fit as well.
local domain = module:get_option_boolean("enable_domain_verification", false)
	and module:get_option_string("jwt_rooms_domain", jid.host(module.host:gsub("^[^.]+%.", "")))

-- Affiliations given here: room → { bare address → affiliation }
local given = setmetatable({}, { __mode = "k" })

local function is_exempt(address)
	return exempt:contains(jid.bare(address)) or exempt:contains(jid.host(address))
end

--- Whether somebody may enter a room; is_new: whether it would be opened by that.
local function may_enter(origin, address, room_address, is_new)
	if is_exempt(address) then return true end
	local identity = origin.json_web_token
	if identity then return claims.opens(identity, jid.node(room_address), domain) end
	return are_guests_allowed and origin.type == "c2s" and not is_new
end

local function refuse(event, room_address)
	local stanza = event.stanza
	module:log("info", "%s has no token for %s", stanza.attr.from, room_address)
	event.origin.send(st.error_reply(stanza, "cancel", "not-allowed", "There is no token for this room", room_address))
	return true
end

module:hook("muc-room-pre-create", function(event)
	local room_address = event.room.jid
	if not may_enter(event.origin, event.stanza.attr.from, room_address, true) then return refuse(event, room_address) end
end, 10)

module:hook("muc-occupant-pre-join", function(event)
	local room, address = event.room, event.stanza.attr.from
	if not may_enter(event.origin, address, room.jid, event.is_new_room) then return refuse(event, room.jid) end
	local identity = event.origin.json_web_token
	local wanted = not is_exempt(address) and identity and identity.affiliation
	local current = room:get_affiliation(address)
	local ranks = muc_util.valid_affiliations
	-- Never one that is less than the present one, and no ban is lifted.
	if wanted and current ~= "outcast" and ranks[wanted] > ranks[current or "none"] then
		local bare = jid.bare(address)
		room:set_affiliation(true, bare, wanted)
		-- It was chosen before, by the affiliation that there was.
		event.occupant.role = room:get_default_role(wanted)
		given[room] = given[room] or {}
		given[room][bare] = wanted
	end
end, 10)

--- Most addresses are used once, so what was given to them would only pile up.
module:hook("muc-occupant-left", function(event)
	local room, bare = event.room, event.occupant.bare_jid
	local affiliation = given[room] and given[room][bare]
	if not affiliation then return end
	for _, occupant in room:each_occupant() do
		if occupant.bare_jid == bare and occupant.nick ~= event.nick then return end
	end
	given[room][bare] = nil
	-- Somebody may have given another one since, a ban for example.
	if room:get_affiliation(bare) == affiliation then room:set_affiliation(true, bare, nil) end
end)

--- The archive, the list of occupants and all else that can be asked of a room from outside, but not whether it exists.
module:hook("iq/bare", function(event)
	local stanza = event.stanza
	local room_address = jid.bare(stanza.attr.to)
	if stanza.attr.type ~= "get" and stanza.attr.type ~= "set" then return end
	if stanza:get_child("query", "http://jabber.org/protocol/disco#info") then return end
	if not may_enter(event.origin, stanza.attr.from, room_address, false) then return refuse(event, room_address) end
end, 1000)
