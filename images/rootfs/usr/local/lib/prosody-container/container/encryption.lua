-- Tells whether a message is encrypted from end to end, by what it carries. Pure: works on any table that looks like
-- one of Prosody's stanzas.
--
-- Nothing here can look into the ciphertext: a client that wants to pretend, can.

local encryption = {}

-- XML name and namespace of what only encrypted messages carry
local elements = {
	{ "encrypted", "eu.siacs.conversations.axolotl" }; -- XEP-0384 before version 0.4, which most clients speak
	{ "encrypted", "urn:xmpp:omemo:0" };
	{ "encrypted", "urn:xmpp:omemo:1" };
	{ "encrypted", "urn:xmpp:omemo:2" }; -- XEP-0384
	{ "openpgp", "urn:xmpp:openpgp:0" }; -- XEP-0373
	{ "x", "jabber:x:encrypted" }; -- XEP-0027
	{ "encryption", "urn:xmpp:eme:0" }; -- XEP-0380, whichever way it names
}

-- How messages of OTR begin: encoded ones, fragments of both versions, queries, errors. "?OTR is nice" is none.
local otr_beginnings = { "^%?OTR:", "^%?OTR[,|]", "^%?OTRv?%d*%?", "^%?OTR Error:" }

local function text_of(element)
	local texts = {}
	for _, child in ipairs(element) do
		if type(child) == "string" then texts[#texts + 1] = child end
	end
	return table.concat(texts)
end

local function is_otr(text)
	for _, beginning in ipairs(otr_beginnings) do
		if text:find(beginning) then return true end
	end
	return false
end

--- The texts of all bodies that are not empty: there may be one for each language.
local function list_bodies(stanza)
	local bodies = {}
	for _, child in ipairs(stanza.tags) do
		-- In a stanza the namespace of its own children is not repeated.
		if child.name == "body" and child.attr.xmlns == stanza.attr.xmlns then
			local text = text_of(child)
			if text ~= "" then bodies[#bodies + 1] = text end
		end
	end
	return bodies
end

--- Whether there is text for people to read.
function encryption.has_text(stanza)
	return #list_bodies(stanza) > 0
end

--- Whether the text is encrypted, or stands in for something encrypted.
function encryption.is_encrypted(stanza)
	for _, child in ipairs(stanza.tags) do
		for _, element in ipairs(elements) do
			if child.name == element[1] and child.attr.xmlns == element[2] then return true end
		end
	end
	local bodies = list_bodies(stanza)
	for _, text in ipairs(bodies) do
		if not is_otr(text) then return false end
	end
	return #bodies > 0
end

return encryption
