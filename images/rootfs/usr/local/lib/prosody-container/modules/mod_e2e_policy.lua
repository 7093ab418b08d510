-- Recommends or requires that messages are encrypted from end to end, for conversations and for rooms on their own.
--
-- On a virtual host it looks at what its users send, on a component for rooms at what any occupant sends. The options
-- are those of the community's module of this name, so that configurations made for it go on working. A domain in
-- e2e_policy_whitelist exempts everybody on it: naming the served domain there switches the policy off.

-- luacheck: globals module prosody

local cache = require "prosody.util.cache"
local encryption = require "container.encryption"
local jid = require "prosody.util.jid"
local set = require "prosody.util.set"
local st = require "prosody.util.stanza"

local namespace_room_user = "http://jabber.org/protocol/muc#user"
local namespace_invitation = "jabber:x:conference"
local remembered_per_session = 1000

local defaults = {
	optional_chat = "This message was not end-to-end encrypted. Please switch on OMEMO, OpenPGP or OTR for conversations.";
	required_chat = "This message was not delivered: conversations here have to be end-to-end encrypted."
		.. " Switch on OMEMO, OpenPGP or OTR and send it again.";
	optional_muc = "This message was not end-to-end encrypted. Please switch on OMEMO for this room.";
	required_muc = "This message was not delivered: rooms here have to be end-to-end encrypted."
		.. " Switch on OMEMO and send it again.";
}

local policies, texts, exempt

local function read_options()
	policies, texts, exempt = {}, {}, set.new()
	for _, kind in ipairs { "chat", "muc" } do
		policies[kind] = module:get_option_enum("e2e_policy_" .. kind, "optional", "none", "required")
	end
	for name, default in pairs(defaults) do
		local text = module:get_option_string("e2e_policy_message_" .. name, default)
		texts[name] = text ~= "" and text or default
	end
	for address in module:get_option_set("e2e_policy_whitelist", {}) do
		local prepared = jid.prep(address)
		if prepared then
			exempt:add(jid.bare(prepared))
		elseif address ~= "" then
			module:log("warn", "e2e_policy_whitelist: %q is not an address, so nothing is exempt by it", address)
		end
	end
end

read_options()
module:hook_global("config-reloaded", read_options)

-- Whom each session has been told about. Shared by all hosts, so that the one of a user and the one of a room do not
-- both say the same; forgotten with the session.
local told = module:shared("/*/e2e_policy/told")
setmetatable(told, { __mode = "k" })

local function is_first_time(origin, sender, recipient)
	local seen = told[origin]
	if not seen then
		seen = cache.new(remembered_per_session)
		told[origin] = seen
	end
	local pair = sender .. "\0" .. recipient
	if seen:get(pair) then return false end
	seen:set(pair, true)
	return true
end

local function is_exempt(address)
	return exempt:contains(jid.bare(address)) or exempt:contains(jid.host(address))
end

local function is_room_service(host)
	local session = prosody.hosts[host]
	return session ~= nil and session.modules.muc ~= nil
end

--- Which policy a message follows: the muc one for rooms and private messages in them, wherever the room is.
local function kind_of(stanza, recipient)
	-- Private messages to rooms of other servers are marked by the client (XEP-0045, 7.5).
	if stanza.attr.type == "groupchat" or is_room_service(jid.host(recipient))
	or stanza:get_child("x", namespace_room_user) then
		return "muc"
	end
	return "chat"
end

--- An invitation may carry a text for clients that do not know invitations.
local function is_invitation(stanza)
	local x = stanza:get_child("x", namespace_room_user)
	return stanza:get_child("x", namespace_invitation) ~= nil
		or x ~= nil and (x:get_child("invite") ~= nil or x:get_child("decline") ~= nil)
end

--- Whether the message goes to this server itself, which could not read it otherwise.
local function is_for_server(recipient)
	local node, host = jid.split(recipient)
	local session = prosody.hosts[host]
	return node == nil and session ~= nil and session.type == "local"
end

local function check(event)
	local origin, stanza = event.origin, event.stanza
	local sender = stanza.attr.from
	-- Without a recipient it is the sender's own account.
	local recipient = stanza.attr.to or sender and jid.bare(sender)
	if not sender or stanza.attr.type == "error" or prosody.hosts[origin.host] == origin then return end
	if not encryption.has_text(stanza) or encryption.is_encrypted(stanza) then return end
	if is_invitation(stanza) or is_for_server(recipient) then return end

	local kind = kind_of(stanza, recipient)
	local policy = policies[kind]
	if policy == "none" or is_exempt(sender) or is_exempt(recipient) then return end
	local text = texts[policy .. "_" .. kind]
	if policy == "required" then
		module:log("debug", "Refused a message from %s to %s: it is not encrypted", sender, recipient)
		origin.send(st.error_reply(stanza, "modify", "policy-violation", text))
		return true
	end
	if is_first_time(origin, sender, jid.bare(recipient)) then
		module:send(st.message({ from = module.host, to = sender, type = "headline" }, text))
	end
end

local is_component = module:get_host_type() == "component"
for _, address in ipairs { "bare", "full", "host" } do
	module:hook((is_component and "message/" or "pre-message/") .. address, check, 300)
end
