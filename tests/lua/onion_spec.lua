local expect = require "expect"
local onion = require "container.onion"
local stand_ins = require "container_stand_ins"

local address = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion"

--- Stands in for SHA3-256: the right checksum of this address alone.
local function sha3(text)
	return text:sub(1, 15) == ".onion checksum" and #text == 48 and "\xDD\xD9" .. ("\0"):rep(30) or ("\0"):rep(32)
end

return {
	{ "a name below onion is an onion name, whatever else it is", function()
		for name, is in pairs { [address] = true, ["x.ONION"] = true, ["onion"] = false, ["onion.example"] = false } do
			expect.equal(onion.is_onion(name), is)
		end
	end },
	{ "a good address has no fault", function()
		expect.equal(onion.fault(address, sha3), nil)
		expect.equal(onion.fault("conference." .. address:upper(), sha3), nil)
	end },
	{ "what is wrong is said", function()
		local faults = {
			["abc.onion"] = "an onion address has 56 characters, this has 3";
			[("a"):rep(16) .. ".onion"] = "an onion address of version 2, which no longer exists";
			[("1"):rep(56) .. ".onion"] = "an onion address has only the characters a to z and 2 to 7";
			[("a"):rep(56) .. ".onion"] = "an onion address of an unknown version (0)";
			[address] = "the checksum of this onion address is wrong; is it mistyped?";
		}
		for name, fault in pairs(faults) do
			expect.equal(onion.fault(name, function() return ("\0"):rep(32) end), fault)
		end
	end },
	{ "what a configuration lacks for Tor is noted", function()
		local variables = { PROSODY_DOMAIN = "a.example", PROSODY_TOR = "only", PROSODY_TOR_PROXY_HOST = "tor" }
		local problems, notes = stand_ins.check(variables)
		expect.equal(problems, {})
		expect.equal(notes[1],
			"PROSODY_TOR=only, but no domain here is an onion address: other servers cannot answer")
	end },
}
