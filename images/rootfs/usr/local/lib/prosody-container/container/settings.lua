-- Reads the real environment of this process. Needs Prosody's libraries, see container/libraries.lua.

local catalogue = require "container.catalogue"
local configuration = require "container.configuration"
local encodings = require "prosody.util.encodings"
local environment = require "container.environment"
local surroundings = require "container.surroundings"
local types = require "container.types"

local settings = {}

local largest_file = 1024 * 1024

local parse = types.new {
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
}

--- The content of a file, or nil and why not.
function settings.read_file(path)
	local file, reason = io.open(path, "rb")
	if not file then return nil, (reason:gsub("^.*: ", "")) end
	local content, failure = file:read(largest_file + 1)
	file:close()
	if failure then return nil, failure end
	-- At the end of an empty file there is nothing to read, which is no failure.
	content = content or ""
	if #content > largest_file then return nil, "it is larger than a mebibyte" end
	return content
end

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

--- Reads everything. Returns { values, origins, surroundings, problems, notes }.
function settings.read()
	local source = { get = os.getenv, read_file = settings.read_file, names = list_names() }
	local result, problems = environment.read(source, catalogue, parse)
	result.surroundings = surroundings.gather(result.values)
	local conflicts, notes = configuration.check(result.values, result.surroundings)
	table.move(conflicts, 1, #conflicts, #problems + 1, problems)
	result.problems, result.notes = problems, notes
	return result
end

return settings
