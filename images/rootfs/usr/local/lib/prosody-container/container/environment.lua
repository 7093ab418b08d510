-- Reads the variables of a catalogue out of an environment. Pure: the environment, the files and the
-- parser are handed in, so it runs anywhere and can be tested without a server.

local suggestion = require "container.suggestion"
local types = require "container.types"

local environment = {}

local prefix = "PROSODY_"
-- Where a variant of the image has defaults of its own, it sets these.
local default_prefix = "DEFAULT_"

-- Read by Prosody itself or set by the image.
local reserved = { PROSODY_CONFIG = true, PROSODY_VERSION = true }

-- A service called "prosody…" makes Kubernetes and linked containers set variables that nobody chose.
local injected_patterns = {
	"_SERVICE_HOST$", "_SERVICE_PORT$", "_SERVICE_PORT_[%w_]+$",
	"_PORT_%d+_%u+$", "_PORT_%d+_%u+_PROTO$", "_PORT_%d+_%u+_PORT$", "_PORT_%d+_%u+_ADDR$", "_ENV_[%w_]+$",
}

local function is_injected(name, value)
	if name:find("_PORT$") and value:find("^%l+://") then return true end
	if name:find("_NAME$") and value:find("^/[^/]+/[^/]+$") then return true end
	for _, pattern in ipairs(injected_patterns) do
		if name:find(pattern) then return true end
	end
	return false
end

--- The beginning of the names of a family of variables, PROSODY_OPTION_<NAME>; nil for a single variable.
local function family_prefix(variable)
	return variable.name:match("^(.-)<")
end

local function names_of(variable)
	local names = { variable.name }
	for _, alias in ipairs(variable.aliases or {}) do names[#names + 1] = alias end
	return names
end

--- Text and origin of one name: nil when it is not set, false when it is set in a way that cannot be used.
local function find_text(source, name, problems)
	local text, path = source.get(name), source.get(name .. "_FILE")
	if text == "" or text and (name:find("_PORT$") or name:find("_NAME$")) and is_injected(name, text) then text = nil end
	if path == "" then path = nil end
	if text and path then
		problems[#problems + 1] = ("%s and %s_FILE are both set: set only one"):format(name, name)
		return false
	elseif text then
		return { name = name, text = text, origin = "environment" }
	end
	path = path or source.secrets and source.secrets[name]
	if not path then return nil end
	local content, reason = source.read_file(path)
	content = content and content:gsub("\r?\n$", "")
	if not content then
		problems[#problems + 1] = ("%s_FILE: %s cannot be read: %s"):format(
			name, types.printable(path), reason or "unknown reason")
		return false
	elseif content == "" then
		problems[#problems + 1] = ("%s_FILE: %s is empty"):format(name, types.printable(path))
		return false
	end
	return { name = name, text = content, origin = path }
end

--- The same for a variable with all its names.
local function find_variable(source, variable, problems)
	local found
	for _, name in ipairs(names_of(variable)) do
		local candidate = find_text(source, name, problems)
		if candidate == false then return false end
		if candidate and found and found.text ~= candidate.text then
			problems[#problems + 1] = ("%s and %s are both set and differ: set only one"):format(found.name, name)
			return false
		end
		found = found or candidate
	end
	return found
end

local function parse_found(variable, found, parse, problems)
	local value, expected = parse(variable, found.text)
	if value == nil then
		-- JSON may hold a secret anywhere, and a password without quotes is the likeliest slip.
		local shown = variable.secret and "(a secret, not shown)" or variable.type == "json" and "(not shown)"
			or types.printable(found.text)
		problems[#problems + 1] = ("%s: %s is not valid, expected %s"):format(found.name, shown, expected)
	end
	return value
end

local function expand(template, values)
	local complete = true
	local text = template:gsub("%${([%w_]+)}", function(name)
		local value = values[name]
		if not value then complete = false end
		return value and tostring(value) or ""
	end)
	return complete and text or nil
end

--- Variables by name, families by the beginning of their names.
local function index_of(catalogue)
	local single, families = {}, {}
	for _, variable in ipairs(catalogue) do
		for _, name in ipairs(names_of(variable)) do
			local beginning = name:match("^(.-)<")
			if beginning then
				families[#families + 1] = { prefix = beginning, variable = variable }
			else
				single[name] = variable
			end
		end
	end
	return single, families
end

--- Splits NAME__HOST and the names of families. Returns the variable, the host part or nil, the rest or nil.
local function identify(name, single, families)
	if single[name] then return single[name] end
	local beginning, host_key = name:match("^(.-)__([%w_]+)$")
	if beginning and single[beginning] and single[beginning].scope then return single[beginning], host_key end
	for _, family in ipairs(families) do
		if name:sub(1, #family.prefix) == family.prefix and #name > #family.prefix then
			local rest = name:sub(#family.prefix + 1)
			local key, key_host = rest:match("^(.-)__([%w_]+)$")
			if key and family.variable.scope then return family.variable, key_host, key:lower() end
			return family.variable, nil, rest:lower()
		end
	end
	return nil
end

--- Values that are for one host only, or belong to a family: list of { variable, host_key, key, value, name, origin }.
-- Adds a problem for each variable with our prefix that means nothing to us: it is likely a slip.
local function find_others(source, catalogue, parse, problems)
	local single, families = index_of(catalogue)
	local others, seen = {}, {}
	local names = table.move(source.names, 1, #source.names, 1, {})
	for name in pairs(source.secrets or {}) do names[#names + 1] = name end
	table.sort(names)
	for _, full_name in ipairs(names) do
		local name = full_name
		local variable, host_key, key = identify(name, single, families)
		if name:find("_FILE$") and not (single[name] or variable and not key and not host_key) then
			name = name:sub(1, -6)
			variable, host_key, key = identify(name, single, families)
		end
		local text = source.get(full_name) or ""
		if variable and (host_key or key) then
			if not seen[name] and not is_injected(name, text) then
				seen[name] = true
				local found = find_text(source, name, problems)
				local value = found and parse_found(variable, found, parse, problems)
				if found and value ~= nil then
					others[#others + 1] = {
						variable = variable, host_key = host_key, key = key, value = value, name = name, origin = found.origin;
					}
				end
			end
		elseif not variable and name:sub(1, #prefix) == prefix and not reserved[name]
			and not is_injected(name, text) and text ~= "" then
			local candidates = {}
			for known in pairs(single) do
				candidates[#candidates + 1] = known
				candidates[#candidates + 1] = known .. "_FILE"
			end
			local nearest = suggestion.nearest(full_name, candidates)
			problems[#problems + 1] = ("%s is not a variable of this image%s"):format(types.printable(full_name):sub(2, -2),
				nearest and ": did you mean " .. nearest .. "?"
				or ": variables of your own must not begin with " .. prefix)
		end
	end
	return others
end

--- Reads the whole catalogue.
-- source     get(name) → text or nil; read_file(path) → text, or nil and reason; names: all names that are set;
--            secrets: name → path, files of a folder of secrets that are called like a variable
-- parse      what container.types makes
-- derive     name → function(values) that gives a value and its origin for a variable that is not set
-- returns { values = {name → typed value}, origins = {name → "default", "default of the image", "environment",
--           a variable or a path},
--           others = values for one host only and of families, invalid = { name → true } },
--         and a list of problems, each one line of text
function environment.read(source, catalogue, parse, derive)
	local values, origins, invalid, problems = {}, {}, {}, {}
	for _, variable in ipairs(catalogue) do
		local name = variable.name
		local found = not family_prefix(variable) and find_variable(source, variable, problems)
		if found then
			local value = parse_found(variable, found, parse, problems)
			if value ~= nil then
				values[name] = value
				origins[name] = found.name == name and found.origin or found.name
			end
			invalid[name] = value == nil or nil
		elseif found == nil then
			local derived, origin
			if derive and derive[name] then derived, origin = derive[name](values) end
			if derived ~= nil then
				values[name], origins[name] = derived, origin
			elseif variable.fallback and values[variable.fallback] ~= nil then
				values[name], origins[name] = values[variable.fallback], variable.fallback
			else
				local own = source.get(default_prefix .. name)
				local template = own or variable.default
				local text = template and expand(template, values)
				if text then
					local made = { name = name .. ", its default", text = text }
					values[name] = parse_found(variable, made, parse, problems)
					origins[name] = own and "default of the image" or "default"
				end
			end
		elseif not family_prefix(variable) then
			invalid[name] = true
		end
	end
	local others = find_others(source, catalogue, parse, problems)
	return { values = values, origins = origins, others = others, invalid = invalid }, problems
end

--- The same source without the variables that could not be read: with their defaults the rest can still be looked at.
function environment.without(source, catalogue, invalid)
	local hidden = {}
	for _, variable in ipairs(catalogue) do
		if invalid[variable.name] then
			for _, name in ipairs(names_of(variable)) do hidden[name], hidden[name .. "_FILE"] = true, true end
		end
	end
	local reduced = { names = {}, secrets = {}, read_file = source.read_file }
	function reduced.get(name)
		if hidden[name] then return nil end
		return source.get(name)
	end
	for _, name in ipairs(source.names) do
		if not hidden[name] then reduced.names[#reduced.names + 1] = name end
	end
	for name, path in pairs(source.secrets or {}) do
		if not hidden[name] then reduced.secrets[name] = path end
	end
	return reduced
end

return environment
