-- Shows the effective configuration: each variable with its origin, and each option of Prosody, secrets masked.

local configmanager = require "prosody.core.configmanager"
local json = require "prosody.util.json"
local types = require "container.types"

local report = {}

local mask = "********"
local secret_words = { "password$", "secret$", "token$", "credential", "_key$", "^key$", "private" }
-- Shorter ones turn up everywhere: as a whole value, and as a part of one.
local shortest_secret, shortest_part = 3, 8
-- What VirtualHost and Component set by themselves.
local given_by_section = { defined = true, component_module = true, load_global_modules = true }

local function sounds_secret(name)
	for _, word in ipairs(secret_words) do
		if tostring(name):lower():find(word) then return true end
	end
	return false
end

--- Adds the texts in a value; is_named: only those whose name sounds like a secret's.
local function collect_texts(value, texts, is_named, name)
	if type(value) == "table" then
		for key, item in pairs(value) do collect_texts(item, texts, is_named, type(key) == "number" and name or key) end
	elseif type(value) == "string" and #value >= shortest_secret and (not is_named or sounds_secret(name)) then
		texts[value] = true
	end
end

local function collect_secrets(variable, value, secrets)
	if variable.type == "accounts" then
		for _, account in ipairs(value) do collect_texts(account.password, secrets.texts) end
		return
	end
	-- JSON also says what is no secret, a domain for example, which must not be masked all over.
	local is_json = variable.type == "json"
	collect_texts(value, secrets.texts, is_json)
	for _, path in ipairs(is_json and variable.option or {}) do secrets.options[path] = true end
end

--- What must not be shown: { texts = set of texts that are secrets, parts = those long enough to be searched for within
-- others, options = set of options of which no value is shown }.
local function secrets_of(result, catalogue)
	local secrets = { texts = {}, parts = {}, options = {} }
	for _, variable in ipairs(catalogue) do
		local value = result.values[variable.name]
		if variable.secret and value ~= nil then collect_secrets(variable, value, secrets) end
	end
	for _, other in ipairs(result.others) do
		if other.variable.secret then collect_secrets(other.variable, other.value, secrets) end
	end
	for text in pairs(secrets.texts) do
		if #text >= shortest_part then table.insert(secrets.parts, text) end
	end
	-- The longest first, so that one that is a part of another leaves nothing of that.
	table.sort(secrets.parts, function(left, right) return #left > #right end)
	return secrets
end

local function masked_text(text, secrets)
	if secrets.texts[text] then return mask end
	for _, part in ipairs(secrets.parts) do
		local position = text:find(part, 1, true)
		while position do
			text = text:sub(1, position - 1) .. mask .. text:sub(position + #part)
			position = text:find(part, position + #mask, true)
		end
	end
	-- Connection strings of databases, and addresses with a password in them.
	text = text:gsub("(%f[%w][Pp][Aa][Ss][Ss][Ww][Oo][Rr][Dd]%s*=%s*)'[^']*'", "%1" .. mask)
	text = text:gsub("(%f[%w][Pp][Aa][Ss][Ss][Ww][Oo][Rr][Dd]%s*=%s*)[^%s*]%S*", "%1" .. mask)
	text = text:gsub("(://[^/@:%s]*:)[^@/%s]+@", "%1" .. mask .. "@")
	-- JSON is UTF-8.
	if utf8.len(text) then return text end
	return (text:gsub("[\128-\255]", function(byte) return ("\\x%02X"):format(byte:byte()) end))
end

--- A copy without secrets, fit for JSON. is_secret: whether nothing but the structure is shown
local function masked(name, value, secrets, is_secret)
	if type(value) == "table" then
		local copy = {}
		for key, item in pairs(value) do
			copy[key] = masked(type(key) == "number" and name or key, item, secrets, is_secret)
		end
		return copy
	elseif type(value) == "boolean" then
		return value
	elseif is_secret or sounds_secret(name) then
		return mask
	elseif type(value) == "number" and value == value and math.abs(value) ~= math.huge then
		return value
	end
	return masked_text(tostring(value), secrets)
end

local function sorted_keys(map)
	local keys = {}
	for key in pairs(map) do keys[#keys + 1] = key end
	table.sort(keys, function(left, right) return tostring(left) < tostring(right) end)
	return keys
end

local function is_list(value)
	local count = 0
	for _ in pairs(value) do count = count + 1 end
	return count == #value
end

--- JSON with sorted keys: util.json's own order is that of a hash.
local function encode(value)
	if type(value) ~= "table" then return json.encode(value) end
	local parts = {}
	if is_list(value) then
		for index, item in ipairs(value) do parts[index] = encode(item) end
		return "[" .. table.concat(parts, ",") .. "]"
	end
	for index, key in ipairs(sorted_keys(value)) do
		parts[index] = json.encode(tostring(key)) .. ":" .. encode(value[key])
	end
	return "{" .. table.concat(parts, ",") .. "}"
end

local function shown_value(variable, value, secrets)
	if variable.secret then return mask end
	if value == false and variable.none then return "none" end
	if value == types.null then return "null" end
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
		local value = shown_value(other.variable, other.value, secrets)
		if other.key and sounds_secret(other.key) and type(value) ~= "boolean" then value = mask end
		shown[#shown + 1] = { name = other.name, value = value, origin = other.origin }
	end
	return shown
end

local function is_same(left, right)
	if type(left) ~= "table" or type(right) ~= "table" then return left == right end
	for key, value in pairs(left) do
		if not is_same(value, right[key]) then return false end
	end
	for key in pairs(right) do
		if left[key] == nil then return false end
	end
	return true
end

--- Where the value of an option comes from: a variable, "default", "image", or "conf.d" for all files.
local function origin_of(result, section, option, value)
	local built
	if section == "*" then built = result.built.global else built = result.built.section_of[section] end
	if built and built.options[option] ~= nil and is_same(built.options[option], value) then
		return built.origins[option] or "image"
	end
	return built and given_by_section[option] and "image" or "conf.d"
end

--- Has Prosody read its configuration, files of conf.d included. Returns its remarks; nil and the reason when it
-- refuses.
function report.load()
	local credentials = os.getenv("CREDENTIALS_DIRECTORY")
	if credentials then configmanager.set_credentials_directory(credentials) end
	local loaded, _, remarks = configmanager.load(os.getenv("PROSODY_CONFIG"))
	if not loaded then return nil, tostring(remarks) end
	return remarks
end

--- The options that Prosody really gets, { section → { option → { value, origin } } }, and its remarks; nil and the
-- reason when it refuses the configuration.
local function effective_options(result, secrets)
	local remarks, failure = report.load()
	if not remarks then return nil, failure end
	local sections = {}
	for name, options in pairs(configmanager.getconfig()) do
		sections[name] = {}
		for option, value in pairs(options) do
			sections[name][option] = {
				value = masked(option, value, secrets, secrets.options[option]), origin = origin_of(result, name, option, value);
			}
		end
	end
	return sections, remarks
end

local function as_text(value)
	local text = type(value) == "table" and encode(value) or tostring(value)
	return (text:gsub("%c", function(character) return ("\\x%02X"):format(character:byte()) end))
end

--- Looks at everything. result: what container/settings.lua reads.
-- Returns { variables, sections }; adds to the problems of the result what only shows when the files of conf.d are run.
function report.gather(result, catalogue)
	local secrets = secrets_of(result, catalogue)
	local gathered = { variables = variables_of(result, catalogue, secrets), sections = {} }
	-- With problems of its own the configuration would only be refused for them once more.
	if not result.built or #result.problems > 0 then return gathered end
	local sections, remarks = effective_options(result, secrets)
	if sections then
		gathered.sections = sections
		table.move(remarks, 1, #remarks, #result.notes + 1, result.notes)
	else
		table.insert(result.problems, remarks)
	end
	return gathered
end

--- Lines for people: variables, then options by section.
function report.lines(gathered)
	local lines = {}
	for _, variable in ipairs(gathered.variables) do
		lines[#lines + 1] = ("%s=%s  (%s)"):format(variable.name, as_text(variable.value), variable.origin)
	end
	for _, section in ipairs(sorted_keys(gathered.sections)) do
		lines[#lines + 1] = ""
		lines[#lines + 1] = ("[%s]"):format(section)
		local options = gathered.sections[section]
		for _, option in ipairs(sorted_keys(options)) do
			lines[#lines + 1] = ("%s = %s  (%s)"):format(option, as_text(options[option].value), options[option].origin)
		end
	end
	return lines
end

--- One JSON object: variables with value and origin, options by section.
function report.json(gathered)
	local variables, options = {}, {}
	for _, variable in ipairs(gathered.variables) do
		variables[variable.name] = { value = variable.value, origin = variable.origin }
	end
	for section, found in pairs(gathered.sections) do
		options[section] = {}
		for option, shown in pairs(found) do options[section][option] = shown.value end
	end
	return encode { variables = variables, options = options }
end

return report
