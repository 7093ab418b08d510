local encryption = require "container.encryption"
local expect = require "expect"

local function element(name, namespace, ...)
	return { name = name, attr = { xmlns = namespace }, tags = {}, ... }
end

local function message(...)
	return { name = "message", attr = {}, tags = { ... } }
end

local function body(text)
	return element("body", nil, text)
end

return {
	{ "a message has text when one of its bodies has", function()
		expect.equal(encryption.has_text(message(body "hello")), true)
		expect.equal(encryption.has_text(message(body(nil), body "hello")), true)
	end },
	{ "a message without text may pass", function()
		expect.equal(encryption.has_text(message()), false)
		expect.equal(encryption.has_text(message(body(nil))), false)
		expect.equal(encryption.has_text(message(body "")), false)
		expect.equal(encryption.has_text(message(element("received", "urn:xmpp:receipts"))), false)
		expect.equal(encryption.has_text(message(element("subject", nil, "today"))), false)
		-- The body of something that is only carried along
		expect.equal(encryption.has_text(message(element("body", "http://www.w3.org/1999/xhtml", "hello"))), false)
	end },
	{ "each kind of encryption is known by its element", function()
		for _, known in ipairs {
			{ "encrypted", "eu.siacs.conversations.axolotl" }, { "encrypted", "urn:xmpp:omemo:0" },
			{ "encrypted", "urn:xmpp:omemo:1" }, { "encrypted", "urn:xmpp:omemo:2" },
			{ "openpgp", "urn:xmpp:openpgp:0" }, { "x", "jabber:x:encrypted" }, { "encryption", "urn:xmpp:eme:0" },
		} do
			expect.equal(encryption.is_encrypted(message(body "a stand-in", element(known[1], known[2]))), true)
			expect.equal(encryption.is_encrypted(message(element(known[1], known[2]))), true)
		end
	end },
	{ "name and namespace must belong together", function()
		for _, other in ipairs {
			{ "encrypted", nil }, { "encrypted", "urn:xmpp:openpgp:0" }, { "encryption", "urn:xmpp:omemo:2" },
			{ "x", "jabber:x:oob" }, { "encrypted", "urn:xmpp:omemo:2:devices" }, { "x", nil },
		} do
			expect.equal(encryption.is_encrypted(message(body "hello", element(other[1], other[2]))), false)
		end
	end },
	{ "OTR is known by how its text begins", function()
		for _, text in ipairs {
			"?OTR:AAMDJ+MVmSfjFZ==.", "?OTR,1,3,?OTR:AAMD,", "?OTR|5a73a599|27e31597,00001,00003,?OTR:AA,",
			"?OTR?", "?OTRv2?", "?OTRv23? Your contact wants to talk in private", "?OTR?v2?", "?OTR Error: malformed",
		} do
			expect.equal(encryption.is_encrypted(message(body(text))), true)
		end
	end },
	{ "words about OTR are not OTR", function()
		for _, text in ipairs { "?OTR is nice", "OTR:AAMD", " ?OTR:AAMD", "?OTRx", "?otr:AAMD", "what is ?OTR:AAMD" } do
			expect.equal(encryption.is_encrypted(message(body(text))), false)
		end
	end },
	{ "one body in clear is enough", function()
		expect.equal(encryption.is_encrypted(message(body "?OTR:AAMD.", body "hello")), false)
		expect.equal(encryption.is_encrypted(message(body "?OTR:AAMD.", body "?OTR:AAMD.")), true)
	end },
	{ "nothing is not encrypted", function()
		expect.equal(encryption.is_encrypted(message()), false)
		expect.equal(encryption.is_encrypted(message(body "hello")), false)
	end },
}
