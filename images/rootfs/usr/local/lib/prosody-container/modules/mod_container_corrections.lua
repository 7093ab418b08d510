-- Corrects what Prosody 13.0.6 does wrong.

-- luacheck: globals module, read globals prosody

local jid = require "prosody.util.jid"
local server = require "prosody.net.server"
local st = require "prosody.util.stanza"

module:set_global()

-- Before the handlers of the modules, which have 0.
local first = 10
local stanza_ids = "urn:xmpp:sid:0"

-- ---- Uploads (mod_http_file_share)
--
-- What the uploader calls the type of a file is sent as the header Content-Type of the download. A line break in it
-- would begin another header, or a page with scripts.

local function check_type(event)
	local content_type = event.stanza.tags[1].attr["content-type"]
	-- A header contains no such characters (RFC 9110, 5.5), a media type even fewer (RFC 6838, 4.2).
	if not content_type or not content_type:find("%c") then return end
	event.origin.send(st.error_reply(event.stanza, "modify", "bad-request", "The content-type is not a media type"))
	return true
end

-- ---- Names of deleted accounts (mod_tombstones)
--
-- That a name is free is kept in memory when it is registered, and not forgotten when its account is deleted: until the
-- next restart anybody could take it over.

local function check_name(host, event)
	if not prosody.hosts[host].modules.tombstones then return end
	local context = module:context(host)
	local deleted = context:open_store("tombstones", "map"):get(nil, event.username)
	local expiry = context:get_option_period("user_tombstone_expiry")
	if deleted and not (expiry and deleted + expiry < os.time()) then
		event.allowed = false
		return true
	end
end

-- ---- Forged places in the archive (mod_mam)
--
-- An element stanza-id is the word of who it says it is by. What comes in the name of the receiver's own account is not
-- from there (XEP-0359, 6), and is left in messages.

local function take_out_forged(event)
	local stanza = event.stanza
	local account = jid.bare(stanza.attr.to)
	if not account or not stanza:get_child("stanza-id", stanza_ids) then return end
	event.stanza = st.clone(stanza):maptags(function(tag)
		local is_forged = tag.name == "stanza-id" and tag.attr.xmlns == stanza_ids and jid.prep(tag.attr.by) == account
		return not is_forged and tag or nil
	end)
end

-- Upload services may also be named in files, so all hosts are looked after.
local function look_after(host)
	local context = module:context(host)
	context:hook("iq-get/host/urn:xmpp:http:upload:0:request", check_type, first)
	context:hook("message/bare", take_out_forged, first)
	context:hook("message/full", take_out_forged, first)
	context:hook("user-registering", function (event) return check_name(host, event) end, first)
end

for host in pairs(prosody.hosts) do look_after(host) end
module:hook("host-activated", look_after)

-- ---- Connections that pass on to each other (mod_proxy65)
--
-- One is not read while the other has something to send. Afterwards the rest of what was received, up to 8 KiB, waits
-- in LuaSocket's buffer, where it does not count as something to read: the end of a file does not arrive before its
-- sender closes.

local link, at_once = server.link, 0

function server.link(from, to, size)
	link(from, to, size)
	function to:ondrain() -- luacheck: ignore 212/self
		if from.conn and from.conn:dirty() then
			from:pausefor(at_once)  -- and look into the buffer then
		else
			from:resume()
		end
	end
end

function module.unload() server.link = link end
