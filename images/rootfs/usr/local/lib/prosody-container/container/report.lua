-- Shows the effective configuration: each variable with its origin, and each option of Prosody, secrets masked.

local configmanager = require "prosody.core.configmanager"
local json = require "prosody.util.json"
local types = require "container.types"

local report = {}

local mask = "********"
local secret_words = { "password$", "secret$", "token$", "credential", "_key$", "^key$", "private" }
local shortest_secret = 3

--- All texts in a value.
local function collect_texts(value, texts)
	if type(value) == "table" then
		for _, item in pairs(value) do collect_texts(item, texts) end
	elseif type(value) == "string" and #value >= shortest_secret then
		texts[value] = true
	end
end

--- What must not be shown, wherever it turns up: every text of every secret variable.
local function secrets_of(result, catalogue)
	local texts = {}
	for _, variable in ipairs(catalogue) do
		if variable.secret then
			local value = result.values[variable.name]
			if variable.type == "accounts" then
				for _, account in ipairs(value or {}) do collect_texts(account.password, texts) end
			else
				collect_texts(value, texts)
			end
		end
	end
	for _, other in ipairs(result.others) do
		if other.variable.secret then collect_texts(other.value, texts) end
	end
	return texts
end

local function sounds_secret(name)
	for _, word in ipairs(secret_words) do
		if tostring(name):lower():find(word) then return true end
	end
	return false
end

--- A copy without secrets, fit for JSON.
local function masked(name, value, secrets)
	if type(value) == "table" then
		local copy = {}
		for key, item in pairs(value) do copy[key] = masked(type(key) == "number" and name or key, item, secrets) end
		return copy
	elseif type(value) == "string" and (secrets[value] or sounds_secret(name)) then
		return mask
	elseif type(value) == "number" and (value ~= value or value == math.huge or value == -math.huge) then
		return tostring(value)
	elseif type(value) == "string" or type(value) == "number" or type(value) == "boolean" then
		return value
	end
	return tostring(value)
end

local function sorted_keys(map)
	local keys = {}
	for key in pairs(map) do keys[#keys + 1] = key end
	table.sort(keys, function(left, right) return tostring(left) < tostring(right) end)
	return keys
end

--- JSON with sorted keys: util.json's own order is that of a hash.
local function encode(value)
	if type(value) ~= "table" then return json.encode(value) end
	local parts = {}
	if #value > 0 or next(value) == nil then
		for index, item in ipairs(value) do parts[index] = encode(item) end
		return "[" .. table.concat(parts, ",") .. "]"
	end
	for index, key in ipairs(sorted_keys(value)) do parts[index] = json.encode(tostring(key)) .. ":" .. encode(value[key]) end
	return "{" .. table.concat(parts, ",") .. "}"
end

local function shown_value(variable, value, secrets)
	if variable.secret then return mask end
	if value == false and variable.none then return "none" end
	return masked("", value, secrets)
end

--- Variables that have a value: list of { name, value, origin }.
local function variables_of(result, catalogue, secrets)
	local shown = {}
	for _, variable in ipairs(catalogue) do
		local value = result.values[variable.name]
		if value ~= nil then
			shown[#shown + 1] = {
				name = variable.name, value = shown_value(variable, value, secrets), origin = result.origins[variable.name];
			}
		end
	end
	for _, other in ipairs(result.others) do
		local value = other.value ~= types.null and masked(other.key or "", other.value, secrets) or "null"
		shown[#shown + 1] = { name = other.name, value = other.variable.secret and mask or value, origin = other.origin }
	end
	return shown
end

--- The options that Prosody really gets, files of conf.d included: { section → { option → value } }, and whether the
-- files could be read.
local function effective_options(secrets)
	local loaded, _, failure = configmanager.load(os.getenv("PROSODY_CONFIG"))
	if not loaded then return {}, failure end
	local sections = {}
	for name, options in pairs(configmanager.getconfig()) do
		sections[name] = {}
		for option, value in pairs(options) do sections[name][option] = masked(option, value, secrets) end
	end
	return sections
end

local function origin_of(result, section, option)
	local target = section == "*" and result.built.global or result.built.section_of[section]
	local built = target and target.options[option]
	if built == nil and not (target and (option == "defined" or option:find("^component_module$"))) then
		return target and option ~= "load_global_modules" and "conf.d" or "conf.d or the image"
	end
	return target.origins[option] or "image"
end

local function as_text(value)
	local text = type(value) == "table" and encode(value) or tostring(value)
	return (text:gsub("%c", function(character) return ("\\x%02X"):format(character:byte()) end))
end

--- Lines for people: variables, then options by section.
function report.lines(result, catalogue)
	local secrets = secrets_of(result, catalogue)
	local lines = {}
	for _, variable in ipairs(variables_of(result, catalogue, secrets)) do
		lines[#lines + 1] = ("%s=%s  (%s)"):format(variable.name, as_text(variable.value), variable.origin)
	end
	if not result.built then return lines end
	local sections, failure = effective_options(secrets)
	if failure then table.insert(result.problems, failure) end
	for _, section in ipairs(sorted_keys(sections)) do
		lines[#lines + 1] = ""
		lines[#lines + 1] = ("[%s]"):format(section)
		for _, option in ipairs(sorted_keys(sections[section])) do
			lines[#lines + 1] = ("%s = %s  (%s)"):format(option, as_text(sections[section][option]), origin_of(result, section, option))
		end
	end
	return lines
end

--- One JSON object: variables with value and origin, options by section.
function report.json(result, catalogue)
	local secrets = secrets_of(result, catalogue)
	local variables = {}
	for _, variable in ipairs(variables_of(result, catalogue, secrets)) do
		variables[variable.name] = { value = variable.value, origin = variable.origin }
	end
	return encode { variables = variables, options = (effective_options(secrets)) }
end

return report
