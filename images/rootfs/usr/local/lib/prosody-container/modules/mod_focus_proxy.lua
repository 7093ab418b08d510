-- Component that stands for one account of this server: requests to the component go to a client of that account, and
-- its answers come back. Participants of a Jitsi conference ask for it at focus.DOMAIN, wherever Jicofo is logged in.
--
-- The address of whoever asks is in the resource, where Jicofo looks for it.

-- luacheck: globals module prosody

local jid = require "prosody.util.jid"
local st = require "prosody.util.stanza"

local target = module:get_option_string("target_address")
if not target then error("target_address has to name an account", 0) end

--- The full address of the available client that is preferred, or nil.
local function find_client()
	local node, host = jid.split(target)
	local user = prosody.hosts[host] and prosody.hosts[host].sessions and prosody.hosts[host].sessions[node]
	local best
	for _, session in pairs(user and user.sessions or {}) do
		local is_better = not best or (session.priority or 0) > (best.priority or 0)
		if session.presence and session.full_jid and is_better then best = session end
	end
	return best and best.full_jid
end

-- After what the server itself answers: pings, for example.
module:hook("iq/host", function(event)
	local stanza = event.stanza
	local kind = stanza.attr.type
	if kind ~= "get" and kind ~= "set" then return end
	local client = find_client()
	if not client then
		event.origin.send(st.error_reply(stanza, "wait", "service-unavailable", "Nobody is there to answer yet"))
		return true
	end
	local request = st.clone(stanza)
	request.attr.from, request.attr.to = module.host .. "/" .. stanza.attr.from, client
	module:send(request)
	return true
end, -1)

-- An address with a resource, but without a node, counts as one of the host.
module:hook("iq/host", function(event)
	local stanza = event.stanza
	if stanza.attr.type ~= "result" and stanza.attr.type ~= "error" then return end
	local asker = jid.prep(jid.resource(stanza.attr.to))
	if jid.bare(stanza.attr.from) ~= target or not asker then return end
	local answer = st.clone(stanza)
	answer.attr.from, answer.attr.to = module.host, asker
	module:send(answer)
	return true
end, 10)
