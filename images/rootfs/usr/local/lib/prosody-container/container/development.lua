-- Keeps servers that are open on purpose away from the public: a name that others can look up is refused. Pure.

local development = {}

-- Domains that the public name service never has: RFC 6761 (localhost, test, example, invalid), RFC 6762 (local),
-- RFC 8375 (home.arpa), and internal, which ICANN reserved for private use in 2024.
local private_domains = {
	localhost = true, test = true, example = true, invalid = true, ["local"] = true, ["home.arpa"] = true, internal = true;
}
-- RFC 6761, 6.5: below these nothing is registered.
for _, ending in ipairs { "com", "net", "org" } do private_domains["example." .. ending] = true end

--- Whether a name may be one that the public name service has.
function development.is_public(name)
	-- One label, or an address: nobody finds a server by it whom it was not told to.
	if not name:find(".", 1, true) or name:find(":", 1, true) or name:find("^[%d.]+$") then return false end
	local rest = name:lower():gsub("%.$", "")
	while rest do
		if private_domains[rest] then return false end
		rest = rest:match("%.(.+)$")
	end
	return true
end

local function is_allowed(name, allowed)
	for _, domain in ipairs(allowed) do
		if name == domain or name:sub(-#domain - 1) == "." .. domain then return true end
	end
	return false
end

--- The host of an address like https://chat.example:5281/path
local function host_of(address)
	return address:match("^%a+://%[([^%]]*)%]") or address:match("^%a+://([^:/?#]*)")
end

--- Names under which this server is served or published: list of { name, origin }
local function list_names(result)
	local values, names = result.values, {}
	local function add(name, origin)
		if name and name ~= "" then names[#names + 1] = { name = name, origin = origin } end
	end
	for _, name in ipairs(result.plan.virtual) do
		add(name, values.PROSODY_VIRTUAL_HOSTS and "PROSODY_VIRTUAL_HOSTS" or "PROSODY_DOMAIN")
	end
	for _, component in ipairs(result.plan.components) do add(component.name, component.origin) end
	for _, domain in ipairs(values.PROSODY_COMPONENT_DOMAINS or {}) do add(domain, "PROSODY_COMPONENT_DOMAINS") end
	for _, name in ipairs(result.surroundings.file_hosts or {}) do add(name, "a file of hosts") end
	add(values.PROSODY_NETWORK_HOSTNAME, "PROSODY_NETWORK_HOSTNAME")
	add(values.PROSODY_HTTP_HOST, "PROSODY_HTTP_HOST")
	for _, variable in ipairs { "PROSODY_HTTP_EXTERNAL_URL", "PROSODY_UPLOAD_EXTERNAL_URL" } do
		if values[variable] then add(host_of(values[variable]), variable) end
	end
	return names
end

--- A problem for each public name, each name once.
function development.check(result, report)
	if not result.values.PROSODY_DEVELOPMENT then return end
	local told = {}
	local allowed = table.move(result.values.PROSODY_DEVELOPMENT_DOMAINS or {}, 1,
		#(result.values.PROSODY_DEVELOPMENT_DOMAINS or {}), 1, {})
	-- The components of a host of one label have two.
	for _, name in ipairs(result.plan.virtual) do
		if not name:find(".", 1, true) then allowed[#allowed + 1] = name end
	end
	for _, found in ipairs(list_names(result)) do
		local name = found.name
		if not told[name] and development.is_public(name) and not is_allowed(name, allowed) then
			told[name] = true
			report.problem("%s: %s is a public name, and this server is open for development (PROSODY_DEVELOPMENT): anybody"
				.. " who reaches it can log in. Allow the name with PROSODY_DEVELOPMENT_DOMAINS=%s, or use one like"
				.. " localhost, chat.localhost or chat.test", found.origin, name, name)
		end
	end
end

return development
