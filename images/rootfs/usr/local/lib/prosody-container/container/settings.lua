-- Reads the real environment of this process. Needs Prosody's libraries, see container/libraries.lua.

local catalogue = require "container.catalogue"
local checks = require "container.checks"
local configuration = require "container.configuration"
local encodings = require "prosody.util.encodings"
local environment = require "container.environment"
local files = require "container.files"
local hosts = require "container.hosts"
local jitsi = require "container.jitsi"
local json = require "prosody.util.json"
local drop_ins = require "container.drop_ins"
local storage = require "container.storage"
local surroundings = require "container.surroundings"
local types = require "container.types"

local settings = {}

local most_mebibytes = 1
local secret_directory = "/run/secrets"

--- Plain tables; null as types.null where it stands alone, left out of objects.
local function plain(value, is_inner)
	if value == json.null then
		if is_inner then return nil end
		return types.null
	elseif type(value) ~= "table" then
		return value
	end
	local copied = {}
	for key, item in pairs(value) do copied[key] = plain(item, true) end
	return copied
end

local preparations = {
	-- Prosody wants international names in Unicode, whichever way they were written.
	host = function(text)
		local unicode = encodings.idna.to_unicode(text)
		return unicode and encodings.stringprep.nameprep(unicode)
	end;
	node = function(text)
		return encodings.stringprep.nodeprep(text, true)
	end;
	password = encodings.stringprep.saslprep;
	ascii = encodings.idna.to_ascii;
	json = function(text)
		local decoded, value = pcall(json.decode, text)
		if not decoded or value == nil then return nil end
		return plain(value)
	end;
}

local parse = types.new(preparations)

--- The names of all environment variables, which Lua itself cannot list.
local function list_names()
	local names = {}
	local file = io.open("/proc/self/environ", "rb")
	if file then
		for name in (file:read("a") or ""):gmatch("([^%z=]+)=[^%z]*") do names[#names + 1] = name end
		file:close()
	end
	return names
end

--- Files of secrets that are called like a variable, in upper or lower case: NAME → path.
local function list_secrets()
	local secret_names, found = {}, {}
	for _, variable in ipairs(catalogue) do
		if variable.secret then
			secret_names[variable.name] = true
			for _, alias in ipairs(variable.aliases or {}) do secret_names[alias] = true end
		end
	end
	for _, directory in ipairs { os.getenv("CREDENTIALS_DIRECTORY") or secret_directory, secret_directory } do
		for _, file_name in ipairs(drop_ins.list(directory)) do
			local name = file_name:upper()
			local is_ours = secret_names[name] or name:find("^PROSODY_")
			if is_ours and not found[name] then found[name] = directory .. "/" .. file_name end
		end
	end
	return found
end

--- Reads everything. get, names: in place of the process's own environment, for tests.
-- Returns { values, origins, others, plan, storage, surroundings, built, problems, notes }.
function settings.read(get, names)
	local source = {
		get = get or os.getenv;
		read_file = function(path) return files.read(path, most_mebibytes) end;
		names = names or list_names();
		secrets = list_secrets();
	}
	local host_name = surroundings.host_name()
	local derive = hosts.derive(host_name and parse({ type = "host" }, host_name))
	local result, problems = environment.read(source, catalogue, parse, derive)
	if next(result.invalid) then
		-- Whatever else is wrong is to be told at the same time.
		local invalid = result.invalid
		result = environment.read(environment.without(source, catalogue, invalid), catalogue, parse, derive)
		result.invalid = invalid
	end
	result.ascii = preparations.ascii
	result.is_jitsi = jitsi.is_on(result, catalogue)
	result.surroundings = surroundings.gather(result.values, result.is_jitsi)
	result.source_texts = jitsi.find_source_texts(source.get)
	jitsi.complete(result)
	result.storage = storage.decide(result.values, result.origins, result.others, result.surroundings)
	result.plan = hosts.plan(result.values, result.origins, #drop_ins.host_files(result.values) > 0,
		drop_ins.hosts_in(result.surroundings.drop_ins))
	local host_of = {}
	for _, name in ipairs(hosts.names(result.plan)) do host_of[hosts.key_of(name, preparations.ascii)] = name end
	for _, other in ipairs(result.others) do other.host = other.host_key and host_of[other.host_key:upper()] end
	result.built = configuration.build(result, catalogue)
	local conflicts
	conflicts, result.notes = checks.find(result, catalogue)
	result.problems = table.move(conflicts, 1, #conflicts, #problems + 1, problems)
	return result
end

return settings
