-- Keeps the name of the software out of what the server says unasked: the node of its capabilities in stream features
-- (XEP-0115), and pages over HTTP. Part of PROSODY_DISCREET, which also leaves out the modules that tell more.

-- luacheck: globals module

local http_codes = require "prosody.net.http.codes"
local http_server = require "prosody.net.http.server"
local st = require "prosody.util.stanza"

local namespace_capabilities = "http://jabber.org/protocol/caps"
local namespace_information = "http://jabber.org/protocol/disco#info"
-- Before and after those of mod_disco, mod_http_errors and mod_http, which have 0, 1 and -1.
local first, last = 10, -10

--- Any address of the server's own will do (XEP-0115, 4).
local own_node = "xmpp:" .. module.host

local function rename_node(event)
	local capabilities = event.features:get_child("c", namespace_capabilities)
	if capabilities then capabilities.attr.node = own_node end
end

module:hook("stream-features", rename_node, last)
module:hook("s2s-stream-features", rename_node, last)

--- Asked for the node, mod_disco does not know it. It gives the same information to who names none.
module:hook("iq-get/host/" .. namespace_information .. ":query", function(event)
	local origin, stanza = event.origin, event.stanza
	local node = stanza.tags[1].attr.node
	if not node or node:sub(1, #own_node + 1) ~= own_node .. "#" then return end
	local plain = st.clone(stanza)
	plain.tags[1].attr.node = nil
	local asker = setmetatable({
		send = function(reply)
			local answer = st.clone(reply)
			local query = answer:get_child("query", namespace_information)
			if query then query.attr.node = node end
			return origin.send(answer)
		end;
	}, { __index = origin })
	return module:fire_event("iq-get/host/" .. namespace_information .. ":query", { origin = asker, stanza = plain })
end, first)

local function title_of(code)
	return rawget(http_codes, code) or "Code " .. tostring(code)
end

--- Instead of pages that say whose they are.
module:hook_object_event(http_server, "http-error", function(event)
	if event.response then event.response.headers.content_type = "text/plain; charset=utf-8" end
	return title_of(event.code) .. "\n"
end, first)

module:hook_global("http-message", function(event)
	if event.response then event.response.headers.content_type = "text/plain; charset=utf-8" end
	return "OK\n"
end, first)
