-- What would go wrong later, or silently: looks at the values together. Pure.

local configuration = require "container.configuration"
local development = require "container.development"
local gateways = require "container.gateways"
local hosts = require "container.hosts"
local onion = require "container.onion"
local jitsi = require "container.jitsi"
local storage = require "container.storage"
local suggestion = require "container.suggestion"
local token_checks = require "container.token_checks"
local types = require "container.types"

local checks = {}

local sql_libraries = { SQLite3 = "dbd.sqlite3", PostgreSQL = "dbd.postgresql", MySQL = "dbd.mysql" }

-- Options that do nothing here, or harm. Variables exist for what people mean by them.
local futile_options = {
	umask = "has no effect in the server: use PROSODY_UMASK";
	pidfile = "is not needed in a container, and stops the start where the file cannot be written";
	daemonize = "has no effect: the server stays in the foreground";
	run_as_root = "is not needed: the server never runs as root here";
	data_path = "moves the data out of the volume";
	disallow_s2s = "is obsolete: use PROSODY_FEDERATION=false";
	legacy_ssl_ports = "is obsolete: use PROSODY_C2S_DIRECT_TLS_PORTS";
}

local function set_of(list)
	local set = {}
	for _, item in ipairs(list or {}) do set[item] = true end
	return set
end

--- The modules of a section. PROSODY_OPTION_MODULES_ENABLED may be anything.
local function modules_of(section)
	local modules = section.options.modules_enabled
	return ipairs(type(modules) == "table" and modules or {})
end

local function is_explicit(origin)
	return origin ~= nil and origin ~= "default" and not origin:find("^default ")
end

--- A container for problems and notes that knows the words for a module that is not there.
local function new_report(surroundings)
	local report = { problems = {}, notes = {} }
	function report.problem(...) report.problems[#report.problems + 1] = string.format(...) end
	function report.note(...) report.notes[#report.notes + 1] = string.format(...) end
	function report.need_module(variable, name)
		if surroundings.has_module(name) then return end
		local nearest = suggestion.nearest(name, surroundings.list_modules())
		report.problem("%s: there is no module %s in this image or in %s%s", variable, name,
			surroundings.user_modules, nearest and ": did you mean " .. nearest .. "?" or "")
	end
	return report
end

local function check_names(result, report)
	local names = {}
	for _, name in ipairs(result.plan.virtual) do
		if names[name] then report.problem("%s is named twice: each host needs its own name", name) end
		names[name] = "a host"
	end
	for _, component in ipairs(result.plan.components) do
		if names[component.name] then
			report.problem("%s is both %s and a component of %s: each needs its own name",
				component.name, names[component.name], component.origin)
		end
		names[component.name] = "a component of " .. component.origin
	end
	local values, origins = result.values, result.origins
	local listed = values.PROSODY_VIRTUAL_HOSTS
	if listed and is_explicit(origins.PROSODY_DOMAIN) and origins.PROSODY_DOMAIN ~= "DOMAIN" and #listed > 0
		and not set_of(listed)[values.PROSODY_DOMAIN] then
		report.problem("PROSODY_DOMAIN is %s, which is not among PROSODY_VIRTUAL_HOSTS", values.PROSODY_DOMAIN)
	end
	if origins.PROSODY_DOMAIN == "default" and result.plan.main then
		report.note("no domain is named: serving localhost. Set PROSODY_DOMAIN")
	elseif origins.PROSODY_DOMAIN == "the container's host name" and result.plan.main then
		report.note("no domain is named: serving the container's host name, %s", values.PROSODY_DOMAIN)
	end
	if #result.plan.virtual == 0 and not result.surroundings.has_drop_ins then
		report.problem("no host is served: PROSODY_VIRTUAL_HOSTS is none and there are no files that name one")
	end
end

local function check_accounts(result, report)
	local values, served = result.values, set_of(result.plan.virtual)
	if #result.plan.virtual > 0 then
		for _, account in ipairs(configuration.accounts(values)) do
			if not served[account.host] then
				report.problem("the account %s@%s cannot be made: the domain%s served %s %s (PROSODY_DOMAIN,"
					.. " PROSODY_VIRTUAL_HOSTS)",
					account.username, account.host, #result.plan.virtual == 1 and "" or "s",
					#result.plan.virtual == 1 and "is" or "are", table.concat(result.plan.virtual, ", "))
			end
		end
		for address in pairs(values.PROSODY_ACCOUNT_ROLES or {}) do
			if not served[address:match("@(.*)$")] then
				report.problem("PROSODY_ACCOUNT_ROLES: the domain of %s is not served here", address)
			end
		end
	end
	if values.PASSWORD and values.PASSWORD:find("%c") then
		report.problem("PASSWORD: (a secret, not shown) is not valid, expected printable characters")
	end
	if (values.LOCAL == nil) ~= (values.PASSWORD == nil) then
		report.note("%s is set without %s: no account is made from it",
			values.LOCAL and "LOCAL" or "PASSWORD", values.LOCAL and "PASSWORD" or "LOCAL")
	end
	if values.PROSODY_ALLOW_REGISTRATION then
		local limits = set_of(values.PROSODY_DISABLE_MODULES).register_limits
			and "and register_limits, which would slow them down, is disabled"
			or ("at most %d from one address in %s seconds"):format(
				values.PROSODY_REGISTRATION_THROTTLE_MAX or 0, tostring(values.PROSODY_REGISTRATION_THROTTLE_PERIOD))
		report.note("PROSODY_ALLOW_REGISTRATION: anybody, and any program, can make accounts; %s", limits)
	end
end

--- All values of one variable: the one for all, and those for one host.
local function each_value(result, name)
	local found = {}
	if result.values[name] ~= nil then found[1] = { name = name, value = result.values[name] } end
	for _, other in ipairs(result.others) do
		if other.variable.name == name then found[#found + 1] = other end
	end
	return ipairs(found)
end

local function check_modules(result, catalogue, report)
	for _, enabled in each_value(result, "PROSODY_ENABLE_MODULES") do
		local disabled = set_of(result.values.PROSODY_DISABLE_MODULES)
		for _, name in ipairs(enabled.value) do
			if disabled[name] then report.problem("%s and PROSODY_DISABLE_MODULES both name %s", enabled.name, name) end
			report.need_module(enabled.name, name)
			local broken = result.surroundings.broken_modules[name]
			if broken then report.note("%s: the module %s does not work with this Prosody: %s", enabled.name, name, broken) end
		end
	end
	for _, name in ipairs(result.values.PROSODY_MUC_MODULES or {}) do report.need_module("PROSODY_MUC_MODULES", name) end
	for _, name in ipairs(result.values.PROSODY_MODULES_AVAILABLE or {}) do
		if not result.surroundings.has_module(name) then
			report.note("PROSODY_MODULES_AVAILABLE: there is no module %s; nothing loads it either", name)
		end
	end
	for _, variable in ipairs(catalogue) do
		if variable.enables then
			for _, given in each_value(result, variable.name) do
				if given.value ~= false then report.need_module(given.name, variable.enables) end
			end
		end
	end
	for variable, names in pairs(configuration.enabling) do
		for _, given in each_value(result, variable) do
			for _, name in ipairs(given.value and names or {}) do report.need_module(given.name, name) end
		end
	end
	for _, component in ipairs(result.plan.components) do
		if component.module then report.need_module(component.origin, component.module) end
	end
	for _, provider in each_value(result, "PROSODY_AUTHENTICATION") do
		report.need_module(provider.name, "auth_" .. provider.value)
	end
	for _, disabled in each_value(result, "PROSODY_DISABLE_MODULES") do
		for _, name in ipairs(disabled.value) do
			if not result.surroundings.has_module(name) then
				report.note("%s: there is no module %s, so nothing is disabled by it", disabled.name, name)
			end
		end
	end
end

local function check_storage(result, report)
	local values, decided, surroundings = result.values, result.storage, result.surroundings
	local driver = values.PROSODY_SQL_DRIVER
	if decided.uses_sql then
		if not driver then
			report.problem("%s=sql needs PROSODY_SQL_DRIVER: SQLite3, PostgreSQL or MySQL",
				decided.default == "sql" and "PROSODY_STORAGE" or "PROSODY_STORAGE_<STORE>")
		else
			if not surroundings.has_library(sql_libraries[driver]) then
				report.problem("PROSODY_SQL_DRIVER: this image has no library for %s", driver)
			end
			local is_connection_string = values.PROSODY_SQL_DB and values.PROSODY_SQL_DB:find("=", 1, true)
			if driver ~= "SQLite3" and not is_connection_string then
				for _, variable in ipairs { "PROSODY_SQL_DB", "PROSODY_SQL_USERNAME" } do
					if not values[variable] then report.problem("PROSODY_SQL_DRIVER=%s needs %s", driver, variable) end
				end
			end
		end
	else
		for _, variable in ipairs { "PROSODY_SQL_DRIVER", "PROSODY_SQL_DB", "PROSODY_SQL_HOST", "PROSODY_SQL_PASSWORD" } do
			if values[variable] and is_explicit(result.origins[variable]) then
				report.note("%s has no effect: nothing is kept in a database", variable)
			end
		end
	end
	for _, name in ipairs { "PROSODY_SQL_HOST", "PROSODY_SQL_PORT", "PROSODY_SQL_USERNAME", "PROSODY_SQL_PASSWORD" } do
		if decided.uses_sql and values[name] and not storage.takes(driver, name) then
			report.note("%s has no effect: a database of SQLite3 is a file", name)
		end
	end
	if decided.is_overridden then
		report.note("PROSODY_SQL_DRIVER is set, so data is kept in the database whatever PROSODY_STORAGE says")
	end
	if decided.found then
		report.note("the data folder holds %s and no files of accounts: data is kept in that database (SQLite3)",
			decided.found)
	end
	if decided.default == "memory" or decided.default == "none" then
		report.note("PROSODY_STORAGE=%s: all data, accounts too, is lost when the server stops", decided.default)
	end
	for _, hash in each_value(result, "PROSODY_PASSWORD_HASH") do
		if hash.value ~= "auto" and surroundings.stored_hash and surroundings.stored_hash ~= hash.value
			and storage.driver_of(decided, "accounts") == "internal" then
			report.problem("%s is %s, but the passwords of existing accounts are stored as %s: nobody could log in any more",
				hash.name, hash.value, surroundings.stored_hash)
		end
	end
end

--- Options by the variable that drives them, where somebody set that variable.
local function check_options(result, catalogue, report)
	local driven = {}
	for _, variable in ipairs(catalogue) do
		if result.values[variable.name] ~= nil and is_explicit(result.origins[variable.name]) then
			for _, path in ipairs(variable.option or {}) do driven[path:match("^[^.]+")] = variable.name end
		end
	end
	for _, other in ipairs(result.others) do
		if other.variable.name == "PROSODY_OPTION_<NAME>" then
			if not other.key:find("^%l[%l%d_]*$") then
				report.problem("%s: %s is not the name of an option", types.printable(other.name), types.printable(other.key))
			elseif driven[other.key] and not other.host_key then
				report.problem("%s and %s both set the option %s: set only one", other.name, driven[other.key], other.key)
			end
			if futile_options[other.key] then report.note("%s: the option %s", other.name, futile_options[other.key]) end
		elseif other.variable.name == "PROSODY_STORAGE_<STORE>" and not other.key:find("^[%l%d_-]+$") then
			report.problem("%s: %s is not the name of a store", types.printable(other.name), types.printable(other.key))
		end
		if other.host_key and not other.host then
			local keys = {}
			for _, name in ipairs(hosts.names(result.plan)) do keys[#keys + 1] = hosts.key_of(name, result.ascii) end
			report.problem("%s: no host or component is written %s here; there %s %s", other.name, other.host_key,
				#keys == 1 and "is" or "are", table.concat(keys, ", "))
		end
	end
end

--- Variables that were set for nothing, and those that are dangerous.
local function check_effects(result, catalogue, report)
	local values, origins = result.values, result.origins
	local enabled, optional = {}, {}
	local disabled = set_of(result.built.global.disabled)
	for _, name in modules_of(result.built.global) do enabled[name] = true end
	for _, list in ipairs { result.built.hosts, result.built.components } do
		for _, target in ipairs(list) do
			for _, name in modules_of(target) do enabled[name] = true end
		end
	end
	for _, provider in each_value(result, "PROSODY_AUTHENTICATION") do enabled["auth_" .. provider.value] = true end
	if result.storage.uses_sql then enabled.storage_sql = true end
	for _, variable in ipairs(catalogue) do
		if variable.enables then optional[variable.enables] = true end
	end
	local kinds = { muc = false, http_file_share = false, proxy65 = false, pubsub = false, external = false }
	for _, component in ipairs(result.plan.components) do kinds[component.module or "external"] = true end
	if values.PROSODY_COMPONENT_DOMAINS then kinds.external = true end
	local kind_of_scope = { upload = "http_file_share" }

	for _, variable in ipairs(catalogue) do
		local name, module = variable.name, variable.module
		if values[name] ~= nil and is_explicit(origins[name]) and not origins[name]:find("^PROSODY_") then
			local kind = variable.scope and (kind_of_scope[variable.scope] or variable.scope)
			if module and (disabled[module]
				or (optional[module] or module:find("^auth_") or module == "storage_sql") and not enabled[module]
					and module ~= "authz_internal") then
				report.note("%s has no effect: the module %s is not loaded", name, module)
			elseif kinds[kind] == false then
				report.note("%s has no effect: there is no %s component", name,
					kind == "external" and "external" or kind)
			end
			if variable.risk ~= nil and values[name] == variable.risky then
				report.note("%s=%s: %s", name, tostring(values[name]), variable.risk)
			end
		end
	end
	if values.PROSODY_LDAP_ADMIN_FILTER then
		report.note("PROSODY_LDAP_ADMIN_FILTER has no effect: Prosody 13 does not use it; name administrators in"
			.. " PROSODY_ADMINS")
	end
	if values.PROSODY_LOGLEVEL == "debug" then report.note("PROSODY_LOGLEVEL=debug: the log contains secrets") end
	local closing = (values.PROSODY_C2S_CLOSE_TIMEOUT or 0) + (values.PROSODY_S2S_CLOSE_TIMEOUT or 0)
	if closing > 8 then
		report.note("PROSODY_C2S_CLOSE_TIMEOUT and PROSODY_S2S_CLOSE_TIMEOUT are %d s together: a stop may take longer than"
			.. " the ten seconds that Docker grants", closing)
	end
end

--- What the container could do although it need not.
local function check_confinement(result, report)
	local wanted = result.values.PROSODY_CONFINEMENT
	for _, gap in ipairs(result.surroundings.confinement_gaps) do
		if wanted == "required" then
			report.problem("PROSODY_CONFINEMENT=required: %s", gap)
		elseif wanted == "noted" then
			report.note("%s", gap)
		end
	end
end

--- Prosody's module writes an incomplete service into the log as a whole, with its password.
local function check_services(result, report)
	for _, services in each_value(result, "PROSODY_EXTERNAL_SERVICES") do
		for index, service in ipairs(services.value) do
			local is_complete = type(service) == "table" and type(service.type) == "string"
				and type(service.transport) == "string" and type(service.port) == "number"
			if not is_complete then
				report.problem("%s: service %d needs a type, a transport (both texts) and a port (a number)", services.name, index)
			end
		end
	end
end

--- Addresses of uploads begin with the one that is set for everything, while requests are told apart by their host.
local function check_uploads(result, report)
	local built = result.built
	local address = built.global.options.http_external_url
	local published = address and address:match("^%a+://([^/:]+)")
	for _, component in ipairs(published and built.components or {}) do
		local options = component.options
		if component.module == "http_file_share"
			and not options.http_external_url and not options.http_file_share_base_url
			and (options.http_host or component.name) ~= published then
			report.note("%s: addresses of uploads begin with %s, where none are; set PROSODY_UPLOAD_EXTERNAL_URL",
				component.name, address)
		end
	end
end

--- An onion address is half a key: one wrong character, and nobody is there.
local function check_onions(result, report)
	local values, sha3 = result.values, result.surroundings.sha3
	if values.PROSODY_TOR and not values.PROSODY_TOR_PROXY_HOST then
		report.problem("PROSODY_TOR needs PROSODY_TOR_PROXY_HOST: the host of Tor's SOCKS proxy")
	end
	local serves_onion = false
	for _, name in ipairs(hosts.names(result.plan)) do
		if onion.is_onion(name) then
			serves_onion = true
			local fault = onion.fault(name, sha3)
			if fault then report.problem("%s: %s", name, fault) end
		end
	end
	for domain, service in pairs(values.PROSODY_TOR_SERVICES or {}) do
		local address = service:gsub(":%d+$", "")
		if not onion.is_onion(address) then
			report.problem("PROSODY_TOR_SERVICES: %s: %s is not an onion address", domain, types.printable(address))
		else
			local fault = onion.fault(address, sha3)
			if fault then report.problem("PROSODY_TOR_SERVICES: %s: %s", domain, fault) end
		end
	end
	if serves_onion and not values.PROSODY_TOR then
		report.note("onion services are served here, but PROSODY_TOR is not set: there are no connections with others")
	elseif values.PROSODY_TOR == "only" and not serves_onion then
		report.note("PROSODY_TOR=only, but no domain here is an onion address: other servers cannot answer")
	end
end

local function check_rest(result, report)
	local values, surroundings = result.values, result.surroundings
	local names, directories = values.PROSODY_IMPORT_CERTIFICATE_HOSTNAMES, values.PROSODY_IMPORT_CERTIFICATE_DIRECTORIES
	if (names or directories) and #(names or {}) ~= #(directories or {}) then
		report.problem("PROSODY_IMPORT_CERTIFICATE_HOSTNAMES has %d items and PROSODY_IMPORT_CERTIFICATE_DIRECTORIES has %d:"
			.. " there must be as many of both", #(names or {}), #(directories or {}))
	end
	if values.TZ and not surroundings.has_time_zone(values.TZ) then
		report.problem("TZ: there is no time zone %s", types.printable(values.TZ))
	end
	for index, component in ipairs(result.plan.components) do
		if not component.module and not result.built.components[index].options.component_secret then
			report.problem("the external component %s has no secret: write %s:SECRET, or set PROSODY_COMPONENT_SECRET",
				component.name, component.name)
		end
	end
end

local function check_gateways(result, report)
	local names = {}
	for _, component in ipairs(result.plan.components) do
		if not component.module then names[#names + 1] = component.name end
	end
	gateways.check(result, names, report)
end

--- Without its files the web client would be a page that stays empty.
local function check_web_client(result, report)
	for _, switch in each_value(result, "PROSODY_WEB_CLIENT") do
		local directory = result.values.PROSODY_WEB_CLIENT_DIR
		for _, other in ipairs(result.others) do
			if other.variable.name == "PROSODY_WEB_CLIENT_DIR" and other.host == switch.host then directory = other.value end
		end
		if switch.value and directory and not result.surroundings.is_file(directory .. "/converse.min.js") then
			report.problem("%s: there is no converse.min.js in %s: mount the folder dist of converse.js there, or name its"
				.. " place in PROSODY_WEB_CLIENT_DIR", switch.name, directory)
		end
	end
end

--- Returns problems and notes, one line of text each. result: what container/settings.lua reads.
function checks.find(result, catalogue)
	local report = new_report(result.surroundings)
	for _, fault in ipairs(result.surroundings.faults) do report.problem("%s", fault) end
	for _, remark in ipairs(result.surroundings.remarks) do report.note("%s", remark) end
	-- Where a value is missing because it was wrong, what depends on it would only be confusing.
	local function is_any_invalid(...)
		for _, name in ipairs { ... } do
			if (result.invalid or {})[name] then return true end
		end
		return false
	end
	if not is_any_invalid("DOMAIN", "PROSODY_DOMAIN", "PROSODY_VIRTUAL_HOSTS", "PROSODY_COMPONENTS", "PROSODY_MUC_DOMAIN",
		"PROSODY_EXTERNAL_COMPONENTS", "PROSODY_UPLOAD_DOMAIN", "PROSODY_PROXY65_DOMAIN", "PROSODY_PUBSUB_DOMAIN") then
		check_names(result, report)
		check_accounts(result, report)
		check_options(result, catalogue, report)
		check_gateways(result, report)
		development.check(result, report)
	end
	check_modules(result, catalogue, report)
	if not is_any_invalid("PROSODY_SQL_DRIVER", "PROSODY_SQL_DB", "PROSODY_SQL_USERNAME", "PROSODY_STORAGE") then
		check_storage(result, report)
	end
	if not next(result.invalid or {}) then check_effects(result, catalogue, report) end
	check_services(result, report)
	check_uploads(result, report)
	check_web_client(result, report)
	jitsi.check(result, catalogue, report)
	token_checks.check(result, report)
	check_onions(result, report)
	check_confinement(result, report)
	check_rest(result, report)
	return report.problems, report.notes
end

return checks
