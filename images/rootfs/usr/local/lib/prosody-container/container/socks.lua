-- The client's side of SOCKS 5 (RFC 1928), with a name and password where the proxy wants them (RFC 1929), up to the
-- point where the connection belongs to somebody else. No network here: bytes in, bytes out.

local socks = {}

-- Methods of RFC 1928, section 3.
local no_authentication, name_and_password = 0, 2

-- What a proxy says, RFC 1928, section 6; from F0 on, what Tor adds for onion services (its socks-extensions.txt).
local replies = {
	[1] = "general failure", [2] = "not allowed by the proxy", [3] = "network unreachable", [4] = "host unreachable",
	[5] = "connection refused", [6] = "took too long", [7] = "the proxy does not connect", [8] = "no such kind of address",
	[0xF0] = "no descriptor of this onion service found", [0xF1] = "invalid descriptor of the onion service",
	[0xF2] = "introduction to the onion service failed", [0xF3] = "rendezvous with the onion service failed",
	[0xF4] = "the onion service wants client authorization", [0xF5] = "wrong client authorization",
	[0xF6] = "not an onion address", [0xF7] = "introduction to the onion service took too long",
}

local session = {}
session.__index = session

--- A negotiation. target: host (a name, which the proxy resolves), port; username and password, each 1 to 255 bytes.
function socks.new(target)
	return setmetatable({ target = target, buffer = "", state = "method" }, session)
end

--- What to send first.
function session.greeting()
	return string.pack("BBBB", 5, 2, no_authentication, name_and_password)
end

function session:request()
	self.state = "reply"
	-- Version 5, connect, reserved, a name follows with its length in front.
	return string.pack(">BBBBs1I2", 5, 1, 0, 3, self.target.host, self.target.port)
end

--- Takes bytes off the buffer; nil while there are too few.
function session:take(length)
	if #self.buffer < length then return nil end
	local taken = self.buffer:sub(1, length)
	self.buffer = self.buffer:sub(length + 1)
	return taken
end

local steps = {}

function steps.method(self)
	local answer = self:take(2)
	if not answer then return "wait" end
	local version, method = answer:byte(1, 2)
	if version ~= 5 then return "failed", "what answers is not a SOCKS 5 proxy" end
	if method == no_authentication then return "send", self:request() end
	if method ~= name_and_password then return "failed", "the proxy wants another authentication" end
	self.state = "authentication"
	return "send", string.pack("Bs1s1", 1, self.target.username, self.target.password)
end

function steps.authentication(self)
	local answer = self:take(2)
	if not answer then return "wait" end
	if answer:byte(2) ~= 0 then return "failed", "the proxy does not accept this name and password" end
	return "send", self:request()
end

function steps.reply(self)
	-- Version, reply, reserved, kind of address; then an address of a length that depends on its kind, and a port.
	local length = ({ [1] = 4, [3] = self.buffer:byte(5) and 1 + self.buffer:byte(5), [4] = 16 })[self.buffer:byte(4)]
	local version, reply = self.buffer:byte(1, 2)
	if version and version ~= 5 then return "failed", "the proxy's answer is not SOCKS 5" end
	-- A proxy that refuses may leave out the rest.
	if reply and reply ~= 0 then return "failed", replies[reply] or ("reply %d"):format(reply) end
	if #self.buffer < 5 then return "wait" end
	if not length then return "failed", "the proxy's answer has an address of an unknown kind" end
	if not self:take(4 + length + 2) then return "wait" end
	self.state = "done"
	return "done", self.buffer
end

function steps.done()
	return "failed", "more of the negotiation after its end"
end

--- What came from the proxy. Returns "wait"; "send" and bytes; "done" and what came beyond the negotiation, which is
-- the other side's; or "failed" and the reason.
function session:receive(data)
	self.buffer = self.buffer .. data
	return steps[self.state](self)
end

return socks
