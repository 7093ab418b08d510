-- Refuses queries in the name of users that a component has no right to (XEP-0356), before mod_privilege does: that
-- one writes a number behind the refusal, and text between stanzas is where strict parsers end a stream (RFC 6120,
-- 4.9.3.1).

-- luacheck: globals module

local st = require "prosody.util.stanza"

local namespace = "urn:xmpp:privilege:2"

module:depends("privilege")

module:hook(("iq/bare/%s:privileged_iq"):format(namespace), function(event)
	local session, stanza = event.origin, event.stanza
	local privileges = session.privileges and session.privileges[module.host]
	if not privileges then return end
	local query = stanza:get_child("privileged_iq", namespace).tags[1]
	local payload = query and query.tags[1]
	-- What is not even well made, mod_privilege answers as it should.
	if not payload then return end
	local granted = privileges.iq and privileges.iq[payload.attr.xmlns]
	if granted and granted[stanza.attr.type] then return end
	session.send(st.error_reply(stanza, "auth", "forbidden",
		"Queries of this kind and namespace in the name of users are not allowed to this component"))
	return true
end, 1)
