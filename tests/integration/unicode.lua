-- Prints, for each function of Prosody's util.encodings that asks ICU, a hash over its answers for all code points.
-- One line each: name, number of code points with an answer, SHA-256. Arguments: "alone" asks for each character by
-- itself, "within" for each in the middle of a word, where others are allowed; then how far apart the characters are
-- that are asked for, 1 for all of them.

local encodings = require "prosody.util.encodings"
local hashes = require "prosody.util.hashes"

local idna, stringprep, confusable = encodings.idna, encodings.stringprep, encodings.confusable
local step = tonumber(arg[2])
local before, after = "", ""
if arg[1] == "within" then before, after = "a", "b" end

local functions = {
	{ "nameprep", stringprep.nameprep };
	{ "nodeprep", stringprep.nodeprep };
	{ "resourceprep", stringprep.resourceprep };
	{ "saslprep", stringprep.saslprep };
	{ "idna", function(text)
		local ascii = idna.to_ascii(text)
		return ascii and ascii .. "\254" .. (idna.to_unicode(ascii) or "\255")
	end };
	{ "skeleton", confusable.skeleton };
}

local block = 0x1000

for _, named in ipairs(functions) do
	local name, convert = named[1], named[2]
	local state, answered = "", 0
	for first = 0, 0x10FFFF, block do
		local answers = { state }
		for code = first, first + block - 1, step do
			if code < 0xD800 or code > 0xDFFF then
				local answer = convert(before .. utf8.char(code) .. after)
				if answer then answered = answered + 1 end
				answers[#answers + 1] = answer or "\255"
			end
		end
		state = hashes.sha256(table.concat(answers, "\n"), true)
	end
	print(name, answered, state)
end
