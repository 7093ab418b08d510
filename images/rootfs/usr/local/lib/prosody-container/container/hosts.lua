-- Decides which domains are served, and which components they have. Pure.

local hosts = {}

local default_components = {
	{ variable = "PROSODY_MUC_DOMAIN", module = "muc" },
	{ variable = "PROSODY_UPLOAD_DOMAIN", module = "http_file_share" },
	{ variable = "PROSODY_PROXY65_DOMAIN", module = "proxy65" },
	{ variable = "PROSODY_PUBSUB_DOMAIN", module = "pubsub" },
}

--- The domain served when PROSODY_DOMAIN is not set, for environment.read.
-- host_name is the container's, as a domain, or nil when nobody can have chosen it.
function hosts.derive(host_name)
	return {
		PROSODY_DOMAIN = function(values)
			local listed = values.PROSODY_VIRTUAL_HOSTS
			if listed and listed[1] then return listed[1], "PROSODY_VIRTUAL_HOSTS" end
			if values.DOMAIN then return values.DOMAIN, "DOMAIN" end
			if host_name then return host_name, "the container's host name" end
			return "localhost", "default"
		end;
	}
end

local function sorted_keys(map)
	local keys = {}
	for key in pairs(map or {}) do keys[#keys + 1] = key end
	table.sort(keys)
	return keys
end

local function is_disabled_by_files(values, origins, has_host_files)
	if values.PROSODY_ENABLE_DEFAULT_VIRTUALHOST ~= nil then return not values.PROSODY_ENABLE_DEFAULT_VIRTUALHOST end
	-- Nobody named a domain, and files name hosts: then those are all.
	return has_host_files and origins.PROSODY_DOMAIN == "default"
end

--- Returns { main, virtual = names, file_hosts = names, components }; a component is { name, module (nil: external),
-- origin, secret }.
-- has_host_files: whether there are files in vhost.d; file_hosts: names of hosts that stand in files
function hosts.plan(values, origins, has_host_files, file_hosts)
	local plan = { virtual = {}, components = {}, file_hosts = {} }
	local taken, has_module = {}, {}
	if not is_disabled_by_files(values, origins, has_host_files) then
		plan.virtual = values.PROSODY_VIRTUAL_HOSTS or { values.PROSODY_DOMAIN }
	end
	plan.main = plan.virtual[1] and (values.PROSODY_DOMAIN or plan.virtual[1])
	-- Where variables name no host, certificates are looked for and made for those of the files.
	if not plan.main then plan.file_hosts = file_hosts or {} end
	for _, name in ipairs(plan.virtual) do taken[name] = true end

	local function add(component)
		plan.components[#plan.components + 1] = component
		taken[component.name] = true
		if component.module then has_module[component.module] = true end
	end
	for _, name in ipairs(sorted_keys(values.PROSODY_COMPONENTS)) do
		add { name = name, module = values.PROSODY_COMPONENTS[name], origin = "PROSODY_COMPONENTS" }
	end
	for _, name in ipairs(sorted_keys(values.PROSODY_EXTERNAL_COMPONENTS)) do
		local secret = values.PROSODY_EXTERNAL_COMPONENTS[name]
		add { name = name, secret = secret ~= "" and secret or nil, origin = "PROSODY_EXTERNAL_COMPONENTS" }
	end
	for _, default in ipairs(default_components) do
		local name, origin = values[default.variable], origins[default.variable]
		local is_wanted = name
		if is_wanted and origin == "default" then
			is_wanted = plan.main and not taken[name] and not has_module[default.module]
			-- Only the image that is configured by DOMAIN alone has these.
			if default.module == "proxy65" or default.module == "pubsub" then
				is_wanted = is_wanted and origins.PROSODY_DOMAIN == "DOMAIN"
			end
		end
		if is_wanted then add { name = name, module = default.module, origin = default.variable } end
	end
	return plan
end

--- How a host is spelled at the end of the name of a variable: CHAT_EXAMPLE. ascii: host → A-labels
function hosts.key_of(name, ascii)
	return ((ascii(name) or name):upper():gsub("[^%w]", "_"))
end

--- Names of a plan, in order: hosts, then components.
function hosts.names(plan)
	local names = table.move(plan.virtual, 1, #plan.virtual, 1, {})
	table.move(plan.file_hosts, 1, #plan.file_hosts, #names + 1, names)
	for _, component in ipairs(plan.components) do names[#names + 1] = component.name end
	return names
end

return hosts
