local expect = require "expect"
local socks = require "container.socks"

local target = { host = "abc.onion", port = 5269, username = "name", password = "word" }
local request = "\5\1\0\3\9abc.onion\20\149"
local granted = "\5\0\0\1\0\0\0\0\0\0"

--- Outcomes of what a proxy sends, one after the other.
local function outcomes(...)
	local session, found = socks.new(target), {}
	for index, data in ipairs { ... } do
		local outcome, detail = session:receive(data)
		found[index] = detail and ("%s %s"):format(outcome, detail) or outcome
	end
	return found
end

--- The same, when every byte comes alone: only what is not "wait" counts.
local function trickle(text)
	local session, found = socks.new(target), {}
	for byte in text:gmatch(".") do
		local outcome, detail = session:receive(byte)
		if outcome ~= "wait" then found[#found + 1] = { outcome, detail } end
		if outcome == "done" or outcome == "failed" then break end
	end
	return found
end

return {
	{ "two ways to authenticate are offered", function()
		expect.equal(socks.new(target):greeting(), "\5\2\0\2")
	end },
	{ "without authentication the name is asked for at once", function()
		expect.equal(outcomes("\5\0", granted), { "send " .. request, "done " })
	end },
	{ "name and password separate circuits", function()
		expect.equal(outcomes("\5\2", "\1\0", granted), { "send \1\4name\4word", "send " .. request, "done " })
	end },
	{ "what the other side says first is not lost", function()
		expect.equal(outcomes("\5\0", granted .. "<?xml"), { "send " .. request, "done <?xml" })
	end },
	{ "an answer may have an address of any kind", function()
		for _, address in ipairs { "\1\127\0\0\1", "\3\3tor", "\4" .. ("\0"):rep(16) } do
			expect.equal(outcomes("\5\0", "\5\0\0" .. address .. "\0\80x")[2], "done x")
		end
	end },
	{ "answers may come byte by byte", function()
		expect.equal(trickle("\5\2\1\0" .. granted), {
			{ "send", "\1\4name\4word" }, { "send", request }, { "done", "" },
		})
	end },
	{ "a refusal says why", function()
		expect.equal(outcomes("\5\0", "\5\5\0\1\0\0\0\0\0\0")[2], "failed connection refused")
		expect.equal(outcomes("\5\0", "\5\xF0")[2], "failed no descriptor of this onion service found")
		expect.equal(outcomes("\5\0", "\5\200\0\1")[2], "failed reply 200")
		expect.equal(outcomes("\5\2", "\1\1")[2], "failed the proxy does not accept this name and password")
		expect.equal(outcomes("\5\255")[1], "failed the proxy wants another authentication")
	end },
	{ "what is no proxy is refused", function()
		expect.equal(outcomes("HTTP/1.1 400 Bad Request\r\n")[1], "failed what answers is not a SOCKS 5 proxy")
		expect.equal(outcomes("\4\0")[1], "failed what answers is not a SOCKS 5 proxy")
		expect.equal(outcomes("\5\0", "\4\0\0\1")[2], "failed the proxy's answer is not SOCKS 5")
		expect.equal(outcomes("\5\0", "\5\0\0\9\0\0")[2], "failed the proxy's answer has an address of an unknown kind")
	end },
	{ "after its end there is no more", function()
		expect.equal(outcomes("\5\0", granted, "x")[3], "failed more of the negotiation after its end")
	end },
}
