-- Answers which options Prosody has when it starts with a certain environment: lua5.4 read_back.lua FILE
--
-- FILE holds cases as JSON: [{ "environment": { NAME: value }, "files": { path: content } }, …]. For each of them the
-- real configuration file is loaded by Prosody's own configuration manager, and one line of JSON goes to the output:
-- { "sections": { section: { option: value } }, "process": … } or { "problem": text }. A last line tells what the cases
-- left behind in this process. Everything runs in one process, so that a case takes milliseconds.

local root = "/usr/local/lib/prosody-container"
package.path = root .. "/?.lua;" .. package.path
require("container.libraries").prepare()

local configmanager = require "prosody.core.configmanager"
local json = require "prosody.util.json"
local lfs = require "lfs"
local pposix = require "prosody.util.pposix"

-- A day in winter
local instant = { year = 2024, month = 1, day = 15, hour = 12 }

-- What configuration files find in a process of Prosody's; in prosodyctl nothing is set up for logging.
local prosody = { process_type = "prosodyctl", paths = {} }
_G.prosody = prosody

--- A value as JSON can tell it: keys that are no texts in brackets, numbers that are no integers marked.
local function tell(value)
	if math.type(value) == "float" then return { float = ("%.17g"):format(value) } end
	if type(value) ~= "table" then return value end
	local told, length = {}, #value
	for key, item in pairs(value) do
		if math.type(key) == "integer" and key >= 1 and key <= length then
			told[key] = tell(item)
		else
			told[type(key) == "string" and key or ("[%s]"):format(key)] = tell(item)
		end
	end
	return told
end

--- Writes a file and the folders that it needs. Returns all of them, what is inside first.
local function write(path, content)
	local made = {}
	for position in path:gmatch("()/") do
		local folder = path:sub(1, position - 1)
		if folder ~= "" and lfs.mkdir(folder) then table.insert(made, 1, folder) end
	end
	local file = assert(io.open(path, "wb"))
	assert(file:write(content))
	file:close()
	table.insert(made, 1, path)
	return made
end

--- JSON in one line of UTF-8, as logs are: other bytes are escaped as Python's surrogateescape has them.
local function line(value)
	local text, from = json.encode(value), 1
	while true do
		local length, position = utf8.len(text, from)
		if length then return text end
		local escape = ("\\udc%02x"):format(text:byte(position))
		text, from = text:sub(1, position - 1) .. escape .. text:sub(position + 1), position + #escape
	end
end

-- The kernel shows the environment that the process was started with, so the names are told in its place.
local names = {}
local open = io.open
function io.open(path, ...) -- luacheck: ignore 122
	if path ~= "/proc/self/environ" then return open(path, ...) end
	local content, file = table.concat(names, "=\0") .. "=\0", {}
	function file.read() return content end
	function file.close() end
	return file
end

--- The answer to one case.
local function answer(case)
	local made = {}
	for path, content in pairs(case.files) do table.insert(made, 1, write(path, content)) end
	for name, value in pairs(case.environment) do
		names[#names + 1] = name
		assert(pposix.setenv(name, value))
	end
	prosody.paths.config = nil
	local called, loaded, _, outcome = pcall(configmanager.load, root .. "/prosody.cfg.lua")
	os.time(instant) -- takes notice of TZ
	local told
	if not called then
		told = { crash = loaded }
	elseif not loaded then
		told = { problem = outcome }
	else
		told = {
			sections = tell(configmanager.getconfig());
			warnings = outcome;
			process = { config = prosody.paths.config, zone = os.date("%Z", os.time(instant)) };
		}
	end
	for _, paths in ipairs(made) do
		for _, path in ipairs(paths) do assert(os.remove(path)) end
	end
	for _, name in ipairs(names) do pposix.setenv(name) end
	names = {}
	return told
end

--- Options of which Prosody knows that they hold for everything.
local function list_global_options()
	local source = assert(open("/usr/lib/prosody/util/prosodyctl/check.lua", "rb"))
	local list = source:read("a"):match("known_global_options%s*=%s*set%.new(%b())")
	source:close()
	local options = {}
	for option in list:gmatch("\"([%l%d_]+)\"") do options[#options + 1] = option end
	return options
end

-- What the first program of the container does before the server starts
assert(require("container.runtime").prepare(pposix.umask))

local question = assert(open(arg[1], "rb"))
local cases = assert(json.decode(question:read("a")))
question:close()

local global_names = {}
for name in pairs(_G) do global_names[name] = true end
for _, case in ipairs(cases) do print(line(answer(case))) end

local left = {}
for name in pairs(_G) do
	if not global_names[name] then left[#left + 1] = name end
end
print(line {
	globals = left;
	global_options = list_global_options();
	sentinel = lfs.attributes("/tmp/sentinel", "mode");
})
