-- Reads the variables of a catalogue out of an environment. Pure: the environment, the files and the
-- parser are handed in, so it runs anywhere and can be tested without a server.

local suggestion = require "container.suggestion"
local types = require "container.types"

local environment = {}

local prefix = "PROSODY_"

-- Read by Prosody itself or set by the image.
local reserved = { PROSODY_CONFIG = true, PROSODY_VERSION = true }

-- A service called "prosody…" makes Kubernetes and linked containers set variables that nobody chose.
local injected_patterns = {
	"_SERVICE_HOST$", "_SERVICE_PORT$", "_SERVICE_PORT_[%w_]+$",
	"_PORT_%d+_%u+$", "_PORT_%d+_%u+_PROTO$", "_PORT_%d+_%u+_PORT$", "_PORT_%d+_%u+_ADDR$", "_ENV_[%w_]+$",
}

local function is_injected(name, value)
	if name:find("_PORT$") and value:find("^%l+://") then return true end
	if name:find("_NAME$") and value:find("^/") then return true end
	for _, pattern in ipairs(injected_patterns) do
		if name:find(pattern) then return true end
	end
	return false
end

local function names_of(variable)
	local names = { variable.name }
	for _, alias in ipairs(variable.aliases or {}) do names[#names + 1] = alias end
	return names
end

--- Text and origin of one variable: nil when it is not set, false when it is set in a way that cannot be used.
local function find_text(source, variable, problems)
	local found
	local function take(name, text, origin)
		if found and found.text ~= text then
			problems[#problems + 1] = ("%s and %s are both set and differ: set only one"):format(found.name, name)
			return
		end
		found = found or { name = name, text = text, origin = origin }
	end
	local count = #problems
	for _, name in ipairs(names_of(variable)) do
		local text, path = source.get(name), source.get(name .. "_FILE")
		if text == "" or text and name:find("_PORT$") and is_injected(name, text) then text = nil end
		if path == "" then path = nil end
		if text and path then
			problems[#problems + 1] = ("%s and %s_FILE are both set: set only one"):format(name, name)
		elseif text then
			take(name, text, "environment")
		elseif path then
			local content, reason = source.read_file(path)
			content = content and content:gsub("\r?\n$", "")
			if not content then
				problems[#problems + 1] = ("%s_FILE: %s cannot be read: %s"):format(
					name, types.printable(path), reason or "unknown reason")
			elseif content == "" then
				problems[#problems + 1] = ("%s_FILE: %s is empty"):format(name, types.printable(path))
			else
				take(name, content, path)
			end
		end
	end
	if #problems > count then return false end
	return found
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

--- Adds a problem for each variable with our prefix that means nothing to us: it is likely a slip.
local function find_unknown(source, catalogue, problems)
	local known, candidates = {}, {}
	for _, variable in ipairs(catalogue) do
		for _, name in ipairs(names_of(variable)) do
			known[name], known[name .. "_FILE"] = true, true
			candidates[#candidates + 1] = name
			candidates[#candidates + 1] = name .. "_FILE"
		end
	end
	table.sort(source.names)
	for _, name in ipairs(source.names) do
		if name:sub(1, #prefix) == prefix and not known[name] and not reserved[name]
			and not is_injected(name, source.get(name) or "") and source.get(name) ~= "" then
			local nearest = suggestion.nearest(name, candidates)
			problems[#problems + 1] = ("%s is not a variable of this image%s"):format(types.printable(name):sub(2, -2),
				nearest and ": did you mean " .. nearest .. "?"
				or ": variables of your own must not begin with " .. prefix)
		end
	end
end

--- Reads the whole catalogue.
-- source     get(name) → text or nil; read_file(path) → text, or nil and reason; names: all names that are set
-- parse      what container.types makes
-- returns { values = {name → typed value}, origins = {name → "default", "environment", a variable or a path} },
--         and a list of problems, each one line of text
function environment.read(source, catalogue, parse)
	local values, origins, problems = {}, {}, {}
	for _, variable in ipairs(catalogue) do
		local name = variable.name
		local found = find_text(source, variable, problems)
		if found then
			local value, expected = parse(variable, found.text)
			if value == nil then
				local shown = variable.secret and "(a secret, not shown)" or types.printable(found.text)
				problems[#problems + 1] = ("%s: %s is not valid, expected %s"):format(found.name, shown, expected)
			else
				values[name] = value
				origins[name] = found.name == name and found.origin or found.name
			end
		elseif found == nil then
			if variable.fallback and values[variable.fallback] ~= nil then
				values[name], origins[name] = values[variable.fallback], variable.fallback
			elseif variable.default then
				local text = expand(variable.default, values)
				if text then
					local value, expected = parse(variable, text)
					if value == nil then
						problems[#problems + 1] = ("%s: its default %s is not valid, expected %s"):format(
							name, types.printable(text), expected)
					end
					values[name], origins[name] = value, "default"
				end
			end
		end
	end
	find_unknown(source, catalogue, problems)
	return { values = values, origins = origins }, problems
end

local function describe(value)
	if type(value) == "table" then
		return table.concat(value, ", ")
	elseif value == false or value == true then
		return tostring(value)
	end
	return tostring(value)
end

--- One line for each variable that has a value, secrets masked.
function environment.describe(result, catalogue)
	local lines = {}
	for _, variable in ipairs(catalogue) do
		local name = variable.name
		local value = result.values[name]
		if value ~= nil then
			local shown = describe(variable.secret and "********" or value == false and variable.none and "none" or value)
			lines[#lines + 1] = ("%s=%s  (%s)"):format(name, types.printable(shown):sub(2, -2), result.origins[name])
		end
	end
	return lines
end

return environment
