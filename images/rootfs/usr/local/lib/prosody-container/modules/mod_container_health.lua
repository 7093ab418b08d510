-- Tells whether this server works: /health and /ready over HTTP, and a file that tells health.lua whom to ask.
--
-- Every answer comes from looking now, or a few seconds ago. Nothing is remembered beyond that, least of all the
-- status of modules, which stays bad after what was bad has passed: a server that works again says so by itself.

-- luacheck: globals module, read globals prosody

local config = require "prosody.core.configmanager"
local hostmanager = require "prosody.core.hostmanager"
local ip = require "prosody.util.ip"
local json = require "prosody.util.json"
local modulemanager = require "prosody.core.modulemanager"
local portmanager = require "prosody.core.portmanager"
local pposix = require "prosody.util.pposix"
local runtime = require "container.runtime"
local storagemanager = require "prosody.core.storagemanager"
local time = require "prosody.util.time"
local usermanager = require "prosody.core.usermanager"

module:set_global()

local store_name = "container_health"
local file_name = "health"
-- An answer about the storage holds for so many seconds. One that took long holds longer, for the whole server waits
-- while a database that has gone is asked: at most a sixth of its time is spent on that.
local shortest_hold, longest_hold, hold_factor = 10, 60, 5
-- Those of this machine and of private networks, where orchestrators are.
local usual_networks = {
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fe80::/10", "fc00::/7",
}
-- The health check of the container asks from here, whatever the option says.
local own_networks = { "127.0.0.0/8", "::1" }
local client_services = { "c2s", "c2s_direct_tls" }

local function read_networks()
	local networks = {}
	for _, list in ipairs { own_networks, module:get_option_array("container_health_networks", usual_networks) } do
		for _, text in ipairs(list) do
			local address, bits = ip.parse_cidr(tostring(text))
			if address then
				networks[#networks + 1] = { address = address, bits = bits }
			else
				module:log("error", "container_health_networks: this is no network: %s", text)
			end
		end
	end
	return networks
end

local networks = read_networks()

local function is_permitted(request)
	-- IPv4 over a socket of IPv6 looks like this.
	local address = ip.new_ip((request.ip:gsub("^::ffff:(%d+%.)", "%1")))
	if not address then return false end
	for _, network in ipairs(networks) do
		if ip.match(address, network.address, network.bits) then return true end
	end
	return false
end

local function list_virtual_hosts()
	local names = {}
	for name, host in pairs(prosody.hosts) do
		if host.type == "local" then names[#names + 1] = name end
	end
	table.sort(names)
	return names
end

--- The ports of a service as Prosody reads them from the configuration.
local function configured_ports(name, service)
	local ports = config.get("*", name .. "_ports") or service.default_ports
		or { service.default_port or service.listener.default_port }
	return type(ports) == "table" and ports or { ports }
end

local function is_listening(service_name, port)
	for _, ports in pairs(portmanager.get_active_services():get(service_name) or {}) do
		if ports[port] then return true end
	end
	return false
end

--- Every port that clients are told to use must be open; there is none to look at when mod_c2s is disabled.
local function check_clients()
	local is_disabled = module:get_option_set("modules_disabled", {}):contains("c2s")
	local result = { ok = true }
	local found = is_disabled
	for _, name in ipairs(client_services) do
		local service = portmanager.get_service(name)
		for _, port in ipairs(service and configured_ports(name, service) or {}) do
			found = true
			if not is_listening(name, tonumber(port)) then
				result = { ok = false, port = tonumber(port), reason = "not listening" }
			end
		end
	end
	return found and result or { ok = false, reason = "no port" }
end

--- Writes and reads one value back. Returns true, or false and the reason, which is for the log only.
local function try_storage(host)
	local store, failure = storagemanager.open(host, store_name, "keyval")
	if not store then return false, failure end
	local written = { token = ("%.6f"):format(time.now()) }
	local stored, reason = store:set(nil, written)
	if not stored then return false, reason end
	local found
	found, reason = store:get(nil)
	if not found then return false, reason or "what was written is not there" end
	return found.token == written.token, "what was written reads differently"
end

--- A host of anonymous users drops what they would store.
local function keeps_nothing(host)
	return usermanager.get_provider(host).name == "anonymous"
		and not module:context(host):get_option_boolean("allow_anonymous_storage", false)
end

local storage = { ends = 0 }

--- The first host that fails is enough: the others have the same storage most of the time, and each could block.
local function look_at_storage()
	for _, host in ipairs(list_virtual_hosts()) do
		-- Storage drivers raise errors where they have no other way to report them.
		local called, works, reason = pcall(try_storage, host)
		if not (called and works or keeps_nothing(host)) then
			return { ok = false, host = host, reason = "cannot be written and read" }, called and reason or works
		end
	end
	return { ok = true }
end

local function check_storage()
	local started = time.monotonic()
	if started < storage.ends then return storage.result, storage.failure end
	storage.result, storage.failure = look_at_storage()
	local ended = time.monotonic()
	storage.ends = ended + math.min(longest_hold, math.max(shortest_hold, hold_factor * (ended - started)))
	return storage.result, storage.failure
end

--- By the report of mod_container_certificates; without it there is nothing to say. Components have clients of none.
local function check_certificates()
	local report = module:shared("/*/container_certificates/state").report
	if not report then return nil end
	local now = os.time()
	for _, entry in ipairs(report.hosts) do
		local host = prosody.hosts[entry.host]
		if host and host.type == "local" and entry.not_after then
			local reason = entry.not_after <= now and "expired" or (entry.not_before or 0) > now and "not valid yet"
			if reason then return { ok = false, host = entry.host, reason = reason } end
		end
	end
	return { ok = true }
end

local checks = { c2s = check_clients, storage = check_storage, certificates = check_certificates }
local last_results = {}

--- A component whose module could not read its data when the server started, such as a pubsub service, answers nobody.
local function activate_failed_components()
	local failed = {}
	for host in pairs(prosody.hosts) do
		local name = config.get(host, "component_module")
		if name and not modulemanager.is_loaded(host, name) then failed[#failed + 1] = host end
	end
	for _, host in ipairs(failed) do
		hostmanager.deactivate(host)
		hostmanager.activate(host)
	end
end

--- Looks at everything. Only what changes is logged, as probes come every few seconds.
local function look()
	local results, is_ready = {}, true
	for name, check in pairs(checks) do
		local result, detail = check()
		results[name] = result
		if result then
			local was_ok = last_results[name] ~= false
			if was_ok and not result.ok then
				module:log("warn", "Not ready: %s%s: %s", name, result.host and " of " .. result.host or "",
					detail or result.reason)
			elseif result.ok and not was_ok then
				module:log("info", "Ready again: %s", name)
				if name == "storage" then activate_failed_components() end
			end
			last_results[name] = result.ok
			is_ready = is_ready and result.ok
		end
	end
	return is_ready, results
end

local function answer_health(event)
	if not is_permitted(event.request) then return 403 end
	event.response.headers.content_type = "text/plain; charset=utf-8"
	event.response.headers.cache_control = "no-store"
	return "ok\n"
end

local function answer_ready(event)
	if not is_permitted(event.request) then return 403 end
	local is_ready, results = look()
	event.response.status_code = is_ready and 200 or 503
	event.response.headers.content_type = "application/json"
	event.response.headers.cache_control = "no-store"
	return json.encode_ordered { ready = is_ready, checks = results } .. "\n"
end

-- Without HTTP, the file still tells whom to ask.
local has_http = module:depends("http", true) ~= nil
if has_http then
	module:provides("http", {
		default_path = "/";
		-- Nothing of this is for scripts of web pages.
		cors = { enabled = false };
		route = { ["GET /health"] = answer_health, ["GET /ready"] = answer_ready };
	})
end

-- Where a listener on this interface is reached from inside the container, best first.
local wildcards = { { "*", "127.0.0.1" }, { "0.0.0.0", "127.0.0.1" }, { "127.0.0.1" }, { "::", "::1" }, { "::1" } }

--- Address and port of a listener, on the loopback if there is one; elsewhere only where that is asked for.
local function find_listener(service_name, is_elsewhere_fine)
	local interfaces = portmanager.get_active_services():get(service_name) or {}
	local function lowest_port(interface)
		local lowest
		for port in pairs(interfaces[interface] or {}) do lowest = math.min(port, lowest or port) end
		return lowest
	end
	for _, wildcard in ipairs(wildcards) do
		local port = lowest_port(wildcard[1])
		if port then return wildcard[2] or wildcard[1], port end
	end
	for interface in pairs(is_elsewhere_fine and interfaces or {}) do
		local port = lowest_port(interface)
		if port then return interface, port end
	end
	return nil
end

--- What health.lua needs to know, as lines key=value.
local function describe()
	local lines = {}
	local function add(key, value) lines[#lines + 1] = ("%s=%s\n"):format(key, value) end
	add("host", module:get_option_string("container_health_host") or list_virtual_hosts()[1] or "localhost")
	for _, name in ipairs(client_services) do
		local address, port = find_listener(name, true)
		if address then
			add("c2s_address", address)
			add("c2s_port", port)
			add("c2s_encryption", name == "c2s" and "starttls" or "direct")
			break
		end
	end
	for _, name in ipairs { "http", "https" } do
		local address, port = find_listener(name, false)
		if has_http and address then
			add("http_address", address)
			add("http_port", port)
			add("http_encryption", name == "https" and "direct" or "none")
			break
		end
	end
	return table.concat(lines)
end

--- Writes beside the file and renames, so that nobody ever sees half of it.
local function replace_file(path, content)
	local temporary = path .. ".new"
	local file, reason = io.open(temporary, "wb")
	if not file then return nil, reason end
	local written, failure = file:write(content)
	local closed, close_failure = file:close()
	if not written or not closed then
		os.remove(temporary)
		return nil, failure or close_failure
	end
	return os.rename(temporary, path)
end

local last_content

local function write_file()
	local content = describe()
	if content == last_content then return end
	local directory, reason = runtime.directory(), nil
	if not directory then directory, reason = runtime.prepare(pposix.umask) end
	local written
	if directory then written, reason = replace_file(directory .. "/" .. file_name, content) end
	if written then
		last_content = content
	else
		module:log("warn", "The container's health check will fail, as its file cannot be written: %s", reason)
	end
end

local is_started = false

local function refresh()
	if is_started then write_file() end
end

-- Left by a container before this one, on the same data, it would describe another server.
if not prosody.start_time then
	local directory = runtime.directory()
	if directory then os.remove(directory .. "/" .. file_name) end
end

module:hook_global("service-added", refresh)
module:hook_global("service-removed", refresh)
module:hook_global("config-reloaded", function()
	networks = read_networks()
	refresh()
end, -10)

function module.ready()
	is_started = true
	write_file()
	last_results.storage = check_storage().ok
end
