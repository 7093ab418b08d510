-- Which external components there are, and what they may do for the users of this server: rights over their accounts
-- (XEP-0356), and namespaces to answer for (XEP-0355). Pure.

local gateways = {}

--- What a component may have rights over, each with a variable of its own.
local kinds = { "roster", "message", "presence", "iq" }
gateways.kinds = kinds

--- Whether a name is below one of the domains.
function gateways.is_below(name, domains)
	if name:find("[@/]") then return false end
	for _, domain in ipairs(domains or {}) do
		local label = name:sub(-#domain - 1) == "." .. domain and name:sub(1, -#domain - 2)
		if label and label ~= "" then return true end
	end
	return false
end

local function is_in(name, list)
	for _, item in ipairs(list or {}) do
		if item == name then return true end
	end
	return false
end

--- The rights of one component, as mod_privilege reads them.
local function grant_of(privileges)
	local granted = {}
	for _, kind in ipairs(kinds) do
		if kind ~= "iq" and privileges[kind] ~= "none" then granted[kind] = privileges[kind] end
	end
	for namespace, right in pairs(privileges.iq or {}) do
		if right ~= "none" then
			granted.iq = granted.iq or {}
			granted.iq[namespace] = right
		end
	end
	return granted
end

--- All grants by name. A name that is not declared has those of the domain that it is below: the module looks entities
-- up by their names, so the table answers for all that may come.
local function list_grants(values, components, template)
	local grants, domains = {}, {}
	for _, name in ipairs(values.PROSODY_PRIVILEGED_COMPONENTS or {}) do
		local is_domain = is_in(name, values.PROSODY_COMPONENT_DOMAINS)
		if is_domain then domains[#domains + 1] = name end
		grants[is_domain and "*." .. name or name] = grant_of(template.privileges)
	end
	for _, component in ipairs(components) do
		if is_in(component.name, values.PROSODY_PRIVILEGED_COMPONENTS) or gateways.is_below(component.name, domains) then
			grants[component.name] = grant_of(component.privileges)
		end
	end
	return setmetatable(grants, {
		__index = function(_, name)
			if type(name) == "string" and gateways.is_below(name, domains) then return grant_of(template.privileges) end
			return nil
		end;
	})
end

local function list_delegations(values)
	local delegations = {}
	for namespace, name in pairs(values.PROSODY_DELEGATIONS or {}) do delegations[namespace] = { jid = name } end
	return delegations
end

--- Writes grants and delegations into the sections of the hosts, and loads the modules there and on the components:
-- there they tell the hosts when a component has logged in.
-- components: sections of external components; template: the section that undeclared ones get
function gateways.apply(values, hosts, components, template)
	local features = {
		{ module = "privilege", option = "privileged_entities", origin = "PROSODY_PRIVILEGED_COMPONENTS" };
		{ module = "delegation", option = "delegations", origin = "PROSODY_DELEGATIONS" };
	}
	for _, feature in ipairs(features) do
		if values[feature.origin] then
			for _, host in ipairs(hosts) do
				-- Each host a table of its own: the modules keep their state in it.
				host.options[feature.option] = feature.module == "privilege" and list_grants(values, components, template)
					or list_delegations(values)
				host.origins[feature.option] = feature.origin
				host:enable(feature.module, feature.origin)
				if feature.module == "privilege" then host:enable("container_privileges") end
			end
			for _, component in ipairs(components) do component:enable(feature.module, feature.origin) end
			template:enable(feature.module, feature.origin)
		end
	end
end

--- What would go wrong later. components: names of external components
function gateways.check(result, components, report)
	local values = result.values
	local domains = values.PROSODY_COMPONENT_DOMAINS
	if domains and not values.PROSODY_COMPONENT_SECRET then
		report.problem("PROSODY_COMPONENT_DOMAINS needs PROSODY_COMPONENT_SECRET, with which the components log in")
	end
	local function need_component(variable, name)
		if is_in(name, components) or gateways.is_below(name, domains) then return end
		report.problem("%s: %s is no external component: name it in PROSODY_EXTERNAL_COMPONENTS, or a domain above it in"
			.. " PROSODY_COMPONENT_DOMAINS", variable, name)
	end
	for _, name in ipairs(values.PROSODY_PRIVILEGED_COMPONENTS or {}) do
		if not is_in(name, domains) then need_component("PROSODY_PRIVILEGED_COMPONENTS", name) end
	end
	for _, kind in ipairs(kinds) do
		local variable = "PROSODY_PRIVILEGE_" .. kind:upper()
		if not values.PROSODY_PRIVILEGED_COMPONENTS and result.origins[variable] ~= "default" then
			report.note("%s has no effect: PROSODY_PRIVILEGED_COMPONENTS names no component", variable)
		end
	end
	local namespaces = {}
	for namespace in pairs(values.PROSODY_DELEGATIONS or {}) do namespaces[#namespaces + 1] = namespace end
	table.sort(namespaces)
	for _, namespace in ipairs(namespaces) do
		need_component("PROSODY_DELEGATIONS", values.PROSODY_DELEGATIONS[namespace])
	end
end

return gateways
