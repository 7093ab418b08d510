-- The health check: does the server answer a client of the domain? Exit status 0 or 1 and one line.
--
-- It opens a stream as a client would and waits for the features, so it notices a server that still listens but
-- no longer works. It loads as little as possible, because it runs every few seconds.

package.path = (arg[0]:match("^(.*)/[^/]*$") or ".") .. "/?.lua;" .. package.path

local socket = require "socket"

local address, port, patience = "127.0.0.1", 5222, 4

local function finish(healthy, message)
	print((healthy and "healthy: " or "unhealthy: ") .. message)
	os.exit(healthy and 0 or 1)
end

--- The domain as it was given; whether it is a good one was checked at the start.
local function find_domain()
	for _, name in ipairs { "PROSODY_DOMAIN", "DOMAIN" } do
		local text, path = os.getenv(name), os.getenv(name .. "_FILE")
		if (not text or text == "") and path and path ~= "" then
			local file = io.open(path, "rb")
			text = file and file:read("l")
			if file then file:close() end
		end
		if text and text ~= "" then return text:match("^%s*(.-)%s*$") end
	end
	return "localhost"
end

local domain = find_domain()
if domain:lower():find("xn--", 1, true) then
	-- The server knows international names in Unicode only.
	require("container.libraries").prepare()
	domain = require("prosody.util.encodings").idna.to_unicode(domain) or domain
end

local deadline = socket.gettime() + patience
local connection = socket.tcp()
connection:settimeout(patience)
local connected, failure = connection:connect(address, port)
if not connected then finish(false, ("%s port %d: %s"):format(address, port, failure)) end

local escaped = domain:gsub("[<>&'\"]", function(character) return ("&#%d;"):format(character:byte()) end)
connection:send("<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0' "
	.. "xmlns:stream='http://etherx.jabber.org/streams' to='" .. escaped .. "'>")

-- Whatever is there is read at once: waiting for a number of bytes would be waiting for the end.
connection:settimeout(0)
local received = ""
while true do
	local readable = socket.select({ connection }, nil, math.max(0, deadline - socket.gettime()))
	local chunk, reason, partial = connection:receive(4096)
	received = received .. (chunk or partial or "")
	if received:find("<stream:features", 1, true) then
		connection:send("</stream:stream>")
		finish(true, ("%s answers on port %d"):format(domain, port))
	elseif received:find("<stream:error", 1, true) then
		finish(false, ("%s is refused: %s"):format(domain, received:match("<stream:error[^>]*><([%w-]+)") or "stream error"))
	elseif reason == "closed" or #readable == 0 then
		finish(false, ("no answer for %s on port %d: %s"):format(domain, port, reason or "timeout"))
	end
end
