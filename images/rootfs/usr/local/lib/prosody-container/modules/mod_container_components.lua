-- Lets external components of any name below certain domains connect (XEP-0114): each is declared when it does.
--
-- Prosody knows only components that stand in its configuration, and refuses the stream of another name at once. So a
-- stream header is read here before mod_component sees it, and the host that it names is made if it may be. One that
-- then does not know the secret is gone again with its connection.

-- luacheck: globals module prosody

local configmanager = require "prosody.core.configmanager"
local gateways = require "container.gateways"
local hostmanager = require "prosody.core.hostmanager"
local jid = require "prosody.util.jid"
local new_xmpp_stream = require("prosody.util.xmppstream").new
local portmanager = require "prosody.core.portmanager"

module:set_global()
module:depends("component")

local namespace = "jabber:component:accept"
-- A stream header is far shorter (RFC 6120, 4.7).
local most_bytes = 4096

local sessions = module:shared("/*/component/sessions")
-- What was declared here: name → whether a component has logged in as it.
local declared = module:shared("declared")

local function may_be_declared(name)
	if jid.prep(name) ~= name then return false end
	if not gateways.is_below(name, module:get_option_array("container_component_domains", {})) then return false end
	return declared[name] ~= nil or prosody.hosts[name] == nil
end

--- The certificate of the nearest domain above that has one, for other servers. A name that comes and goes must not
-- count among those that the server makes a certificate for.
local function find_certificate(name)
	local plan = module:get_option("container_certificates")
	local parent = name:match("%.(.+)$")
	while plan and parent and not prosody.hosts[parent] do parent = parent:match("%.(.+)$") end
	return plan and parent and plan.directory .. "/" .. parent .. ".pem" or nil
end

local function configure(name)
	local function set(option, value) configmanager.set(name, option, value) end
	local options = module:get_option("container_component_options", {})
	for option, value in pairs(options) do set(option, value) end
	set("component_module", "component")
	set("certificate", find_certificate(name))
	-- Where a component comes and goes, this module is told of it.
	local modules = { module.name }
	for _, other in ipairs(options.modules_enabled or {}) do modules[#modules + 1] = other end
	set("modules_enabled", modules)
end

local function declare(name)
	configure(name)
	if prosody.hosts[name] then return end
	declared[name] = false
	local activated, reason = hostmanager.activate(name)
	if activated then
		module:log("debug", "Declared the component %s, which connects now", name)
	else
		declared[name] = nil
		module:log("error", "The component %s cannot be declared: %s", name, reason)
	end
end

--- Takes a name away that nobody has logged in with. Later, as connections are closed in the middle of other things.
local function withdraw(name)
	module:add_timer(0, function()
		if declared[name] ~= false then return end
		for _, session in pairs(sessions) do
			if session.host == name then return end
		end
		declared[name] = nil
		hostmanager.deactivate(name)
		configmanager.getconfig()[name] = nil
	end)
end

function module.add_host(host_module)
	local name = host_module.host
	if declared[name] == nil then return end
	host_module:hook("component-authenticated", function() declared[name] = true end, 100)
	host_module:hook("component-disconnected", function() withdraw(name) end)
end

--- A parser that reads a stream until it has seen whom it is for.
local function new_header_parser()
	local header = { notopen = true, log = module._log }
	header.stream = new_xmpp_stream(header, {
		default_ns = namespace;
		streamopened = function(_, attributes)
			header.notopen = nil
			header.to = attributes.to
		end;
		-- Whatever is wrong, mod_component says so.
		streamclosed = function() end, handlestanza = function() end, error = function() end;
	}, most_bytes)
	return header
end

local headers = setmetatable({}, { __mode = "k" })

local function look_at(session, data)
	local header = headers[session] or new_header_parser()
	headers[session] = header
	if header.is_done then return end
	header.is_done = not header.stream:feed(data) or not header.notopen
	if header.to and may_be_declared(header.to) then declare(header.to) end
end

local listener, original

local function wrap()
	local service = portmanager.get_service("component")
	if not service or service.listener == listener then return end
	listener, original = service.listener, service.listener.onincoming
	local next_handler = original
	function listener.onincoming(connection, data)
		local session = sessions[connection]
		if session and session.notopen then look_at(session, data) end
		return next_handler(connection, data)
	end
end

wrap()
module:hook("service-added", function(event)
	if event.name == "component" then wrap() end
end)
-- A reload takes away what does not stand in the files.
module:hook("config-reloaded", function()
	for name in pairs(declared) do configure(name) end
end, 200)

function module.unload()
	if listener then listener.onincoming = original end
end
