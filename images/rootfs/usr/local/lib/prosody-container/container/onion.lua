-- Names of onion services, version 3 (Tor's rend-spec-v3.txt, "Encoding onion addresses").

local onion = {}

local alphabet = "abcdefghijklmnopqrstuvwxyz234567"

--- Whether a domain is below .onion, whatever stands before it: such a name must never be asked of the DNS (RFC 7686).
function onion.is_onion(domain)
	return domain:lower():find("%.onion$") ~= nil
end

--- Bytes of a text in base32 (RFC 4648) whose length is a multiple of 8; nil for another text.
local function decode(text)
	local bytes, bits, count = {}, 0, 0
	for character in text:gmatch(".") do
		local value = alphabet:find(character, 1, true)
		if not value then return nil end
		bits, count = bits << 5 | value - 1, count + 5
		if count >= 8 then
			count = count - 8
			bytes[#bytes + 1] = string.char(bits >> count)
			bits = bits & (1 << count) - 1
		end
	end
	return table.concat(bytes)
end

--- Nothing if the address within a domain (mail.ADDRESS.onion) can be one, or what is wrong with it.
-- sha3: function, text → SHA3-256 as bytes
function onion.fault(domain, sha3)
	local address = domain:lower():match("([^.]*)%.onion$")
	if #address ~= 56 then
		return #address == 16 and "an onion address of version 2, which no longer exists"
			or ("an onion address has 56 characters, this has %d"):format(#address)
	end
	local bytes = decode(address)
	if not bytes then return "an onion address has only the characters a to z and 2 to 7" end
	local key, checksum, version = bytes:sub(1, 32), bytes:sub(33, 34), bytes:byte(35)
	if version ~= 3 then return ("an onion address of an unknown version (%d)"):format(version) end
	if sha3(".onion checksum" .. key .. string.char(version)):sub(1, 2) ~= checksum then
		return "the checksum of this onion address is wrong; is it mistyped?"
	end
	return nil
end

return onion
