-- Federation over Tor: streams to other servers go through its SOCKS proxy.
--
-- Which ones is the mode: onion, those to onion services; all, every one; only, those to onion services, and there are
-- no others, neither out nor in. The proxy gets names, never addresses, so nothing is asked of the DNS (RFC 7686).
--
-- Who is there? A stream that this server makes to an onion address ends at the owner of its key, which is what the
-- address is: no certificate can say more, and public authorities give none to most of them. So there the certificate
-- may be any; TLS is used all the same. A stream that comes in names an onion address that anybody may claim, so it is
-- asked for at that address by dialback (XEP-0220), over Tor. All this is for onion services alone, and for domains
-- that are mapped to one; certificates of all others are verified as ever.

-- luacheck: globals module

local basic = require "prosody.net.resolvers.basic"
local connect = require "prosody.net.connect".connect
local hashes = require "prosody.util.hashes"
local jid_host = require "prosody.util.jid".host
local new_id = require "prosody.util.id".long
local onion = require "container.onion"
local portmanager = require "prosody.core.portmanager"
local socks = require "container.socks"
local st = require "prosody.util.stanza"
local timer = require "prosody.util.timer"

module:set_global()

local mode = module:get_option_enum("container_onion_mode", "onion", "all", "only")
local proxy_host = module:get_option_string("container_onion_proxy_host", "127.0.0.1")
local proxy_port = module:get_option_integer("container_onion_proxy_port", 9050, 1, 65535)
local map = module:get_option("container_onion_map", {})
local patience = module:get_option_period("container_onion_timeout", 60)

-- Tor uses another circuit for each name and password (IsolateSOCKSAuth in tor(1)): servers cannot tell by the circuit
-- that two streams come from the same one. Nobody outside can know the password.
local isolation_secret = new_id()

local default_port = 5269

--- The onion service of a domain, and its port: the domain itself, or what it is mapped to. Nil where there is none.
local function service_of(domain)
	local mapped = map[domain]
	if mapped then
		local host, port = mapped:match("^(.-):(%d+)$")
		return host or mapped, tonumber(port) or default_port
	end
	if onion.is_onion(domain) then return domain, default_port end
	return nil
end

local function s2s_listener()
	local service = portmanager.get_service("s2s")
	return service and service[1] and service[1].listener or service.listener
end

local listener = {}
local negotiations = {}

function listener.onattach(conn, negotiation)
	negotiations[conn] = negotiation
	negotiation.conn = conn
end

local function finish(negotiation, reason)
	if negotiation.is_finished then return end
	negotiation.is_finished = true
	if negotiation.timer then timer.stop(negotiation.timer) end
	if negotiation.conn then negotiations[negotiation.conn] = nil end
	if reason then
		negotiation.session.log("info", "No connection to %s through the proxy: %s", negotiation.target.host, reason)
		if negotiation.conn then negotiation.conn:close() end
		negotiation.on_failure("proxy: " .. reason)
	end
end

function listener.onconnect(conn)
	conn:write(negotiations[conn].socks:greeting())
end

function listener.onincoming(conn, data)
	local negotiation = negotiations[conn]
	if not negotiation then return end
	local outcome, detail = negotiation.socks:receive(data)
	if outcome == "send" then
		conn:write(detail)
		-- What came with it may be the next answer already.
		return listener.onincoming(conn, "")
	elseif outcome == "failed" then
		finish(negotiation, detail)
	elseif outcome == "done" then
		local session = negotiation.session
		finish(negotiation)
		if session.destroyed then return conn:close() end
		local s2s = s2s_listener()
		conn:setlistener(s2s, { session = session })
		s2s.onconnect(conn)
		if detail ~= "" then s2s.onincoming(conn, detail) end
	end
end

function listener.ondisconnect(conn, reason)
	if negotiations[conn] then finish(negotiations[conn], reason or "the proxy closed the connection") end
end

function listener.onreadtimeout()
	return true
end

function listener.onfail(negotiation, reason)
	finish(negotiation, ("%s:%d cannot be reached: %s"):format(proxy_host, proxy_port, tostring(reason)))
end

--- In place of a resolver for mod_s2s: it never gives an address to connect to. It connects through the proxy and hands
-- the connection over; only a failure goes back the usual way.
local function through_proxy(session, host, port)
	local resolver = { hostname = host }
	function resolver:next(callback)
		if self.is_used then return callback(nil) end
		self.is_used = true
		local target = {
			host = host, port = port;
			username = hashes.sha256(session.from_host .. "\0" .. session.to_host, true), password = isolation_secret;
		}
		local negotiation = { session = session, target = target, socks = socks.new(target) }
		function negotiation.on_failure(reason)
			self.last_error = reason
			callback(nil)
		end
		negotiation.timer = timer.add_task(patience, function() finish(negotiation, "took too long") end)
		connect(basic.new(proxy_host, proxy_port, "tcp"), listener, {}, negotiation)
	end
	return resolver
end

--- A certificate is no proof here, in either direction: where we go to, the address is.
module:hook("s2s-check-certificate", function(event)
	local session = event.session
	if session.direction == "outgoing" and session.container_onion then
		session.cert_chain_status, session.cert_identity_status = "valid", "valid"
	end
end, -0.5)

--- Of who comes, dialback is. Before mod_s2s_auth_dane_in (800), which would ask the DNS for the name.
module:hook("s2s-check-certificate", function(event)
	local session, host = event.session, event.host
	if session.direction == "outgoing" or not host then return end
	if service_of(host) then return true end
	if mode == "only" then
		session:close({ condition = "policy-violation", text = "This server speaks with onion services only" })
		return false
	end
end, 900)

function module.add_host(host_module)
	host_module:hook("s2sout-pre-connect", function(event)
		local session = event.session
		local host, port = service_of(session.to_host)
		session.container_onion = host ~= nil
		if host or mode == "all" then
			event.resolver = through_proxy(session, host or session.to_host, port or default_port)
		end
	end)

	if mode ~= "only" then return end

	host_module:hook("route/remote", function(event)
		local stanza = event.stanza
		if service_of(event.to_host) then return end
		host_module:log("info", "Nothing is sent to %s: it is not an onion service", event.to_host)
		local kind = stanza.attr.type
		if event.origin and event.origin.send and kind ~= "error" and kind ~= "result" and not stanza.attr.xmlns then
			event.origin.send(st.error_reply(stanza, "cancel", "not-allowed", "This server speaks with onion services only",
				jid_host(stanza.attr.from)))
		end
		return true
	end, 10)

	-- Whoever proves a name without a certificate.
	host_module:hook("s2s-authenticated", function(event)
		if service_of(event.host) then return end
		event.session:close({ condition = "policy-violation", text = "This server speaks with onion services only" })
		return false
	end, 100)
end
