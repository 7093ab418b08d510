-- Refuses uploads whose type would break out of its line: Prosody sends what the uploader called the type as the header
-- Content-Type of the download, and a line break in it begins another header, or a page with scripts.

-- luacheck: globals module, read globals prosody

local st = require "prosody.util.stanza"

module:set_global()

-- Before that of mod_http_file_share, which has 0.
local first = 10

local function check_type(event)
	local content_type = event.stanza.tags[1].attr["content-type"]
	-- A header contains no such characters (RFC 9110, 5.5), a media type even fewer (RFC 6838, 4.2).
	if not content_type or not content_type:find("%c") then return end
	event.origin.send(st.error_reply(event.stanza, "modify", "bad-request", "The content-type is not a media type"))
	return true
end

-- Upload services may also be named in files, so all hosts are looked after.
local function look_after(host)
	module:context(host):hook("iq-get/host/urn:xmpp:http:upload:0:request", check_type, first)
end

for host in pairs(prosody.hosts) do look_after(host) end
module:hook("host-activated", look_after)
