-- The health check: does the server answer a client of its domain, and does it call itself ready? Exit status 0 or 1
-- and one line.
--
-- It opens a stream as a client would and waits for the features, so it notices a server that still listens but no
-- longer works. Whom to ask is in a file of the running server's (see mod_container_health), not in this process's
-- environment. It loads as little as possible, because it runs every few seconds.

package.path = (arg[0]:match("^(.*)/[^/]*$") or ".") .. "/?.lua;" .. package.path

local runtime = require "container.runtime"
local socket = require "socket.core"

-- Below the timeout of the image's health check, so that there is a line to read.
local patience = 4
local image_configuration = "/usr/local/lib/prosody-container/prosody.cfg.lua"
local most_tickets, ticket_patience = 4, 0.002
local deadline = socket.gettime() + patience

local function finish(healthy, message)
	print((healthy and "healthy: " or "unhealthy: ") .. message)
	os.exit(healthy and 0 or 1)
end

--- What the server has written, key → value.
local function read_server()
	local directory = runtime.directory()
	local file = directory and io.open(directory .. "/health", "rb")
	local configuration = os.getenv("PROSODY_CONFIG")
	if not file and configuration and configuration ~= image_configuration then
		-- A configuration of one's own does not load what writes the file. Any answer to any name will do.
		return { host = "localhost", c2s_address = "127.0.0.1", c2s_port = "5222", is_guessed = true }
	end
	if not file then finish(false, "the server has not started yet, or runs as another user") end
	local content = file:read("a")
	file:close()
	local server = {}
	for key, value in content:gmatch("([%w_]+)=([^\n]*)\n") do server[key] = value end
	return server
end

local function remaining()
	return math.max(0, deadline - socket.gettime())
end

local function connect(address, port)
	local connection = address:find(":", 1, true) and socket.tcp6() or socket.tcp4()
	connection:settimeout(remaining())
	local connected, failure = connection:connect(address, tonumber(port))
	if not connected then finish(false, ("%s port %s: %s"):format(address, port, failure)) end
	connection:setoption("tcp-nodelay", true)
	return connection
end

--- A server with TLS 1.3 sends its tickets after the handshake, each when the one before is acknowledged, and only then
-- what is waited for. The kernel takes 40 ms to acknowledge, unless something else is sent: a line break does no harm.
local function take_tickets(connection)
	connection:settimeout(0)
	for _ = 1, most_tickets do
		if #socket.select({ connection }, nil, ticket_patience) == 0 then break end
		connection:receive(1)
		connection:send("\n")
	end
end

--- Encrypted for a server that offers nothing else; who it is does not matter here.
local function encrypt(connection, host, port)
	local ssl = require "ssl"
	local wrapped, failure = ssl.wrap(connection, { mode = "client", protocol = "any", verify = "none", options = "all" })
	if wrapped then
		-- The server knows international names in another form; without a name it shows its default certificate.
		if not host:find("[\128-\255]") then wrapped:sni(host) end
		wrapped:settimeout(remaining())
		local done, reason = wrapped:dohandshake()
		if done then return wrapped end
		failure = reason
	end
	return finish(false, ("no encryption on port %s: %s"):format(port, failure))
end

--- Reads until judge(everything so far) is not nil, and returns that; or nil and the reason.
local function receive_until(connection, judge)
	local received = ""
	-- Whatever is there is read at once: waiting for a number of bytes would be waiting for the end.
	connection:settimeout(0)
	while true do
		local chunk, reason, partial = connection:receive(4096)
		received = received .. (chunk or partial or "")
		local verdict = judge(received, reason == "closed")
		if verdict ~= nil then return verdict end
		if reason == "closed" or remaining() == 0 then return nil, reason == "closed" and "closed" or "timeout" end
		if not chunk then socket.select({ connection }, nil, remaining()) end
	end
end

local function ask_as_client(server)
	local host, port = server.host, server.c2s_port
	local connection = connect(server.c2s_address, port)
	local is_direct = server.c2s_encryption == "direct"
	if is_direct then connection = encrypt(connection, host, port) end
	local escaped = host:gsub("[<>&'\"]", function(character) return ("&#%d;"):format(character:byte()) end)
	connection:send("<?xml version='1.0'?>")
	if is_direct then take_tickets(connection) end
	connection:send("<stream:stream xmlns='jabber:client' version='1.0' "
		.. "xmlns:stream='http://etherx.jabber.org/streams' to='" .. escaped .. "'>")
	local answer, reason = receive_until(connection, function(received)
		if received:find("<stream:features", 1, true) then return true end
		if server.is_guessed and received:find("<host-unknown", 1, true) then return true end
		return received:find("<stream:error", 1, true) and (received:match("<stream:error[^>]*><([%w-]+)") or "stream error")
	end)
	if answer ~= true then
		finish(false, answer and ("%s is refused: %s"):format(host, answer)
			or ("no answer for %s on port %s: %s"):format(host, port, reason))
	end
	connection:send("</stream:stream>")
end

local function ask_whether_ready(server)
	local address, port = server.http_address, server.http_port
	local connection = connect(address, port)
	if server.http_encryption == "direct" then connection = encrypt(connection, server.host, port) end
	connection:send("GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	local answer, reason = receive_until(connection, function(received, is_closed)
		return is_closed and received:match("^HTTP/%S+ (%d+)") and received or nil
	end)
	if not answer then finish(false, ("no answer on port %s: %s"):format(port, reason)) end
	local status, body = answer:match("^HTTP/%S+ (%d+).-\r\n\r\n(.*)$")
	if status ~= "200" then
		local what = (body or ""):find("^{") and (body:gsub("%s+$", "")) or "status " .. tostring(status)
		finish(false, ("the server is not ready: %s"):format(what))
	end
end

local server = read_server()
local told = {}
if server.c2s_port then
	ask_as_client(server)
	told[#told + 1] = ("%s answers on port %s"):format(server.host, server.c2s_port)
end
if server.http_port then
	ask_whether_ready(server)
	told[#told + 1] = "ready"
end
finish(#told > 0, #told > 0 and table.concat(told, ", ") or "the server listens neither for clients nor for HTTP")
