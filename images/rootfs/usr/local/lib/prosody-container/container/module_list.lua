-- Lists all modules that can be loaded, with what they do, where they come from and what they load themselves.

local surroundings = require "container.surroundings"

local module_list = {}

-- Folders of the image; a module in any other is somebody's own, even if it is called like one of the image.
local image_directories = {
	["/usr/lib/prosody/modules"] = true;
	["/usr/local/lib/prosody-container/modules"] = true;
}
local own_origin = "your own"

--- The source of a module; nil for a folder of that name that only holds parts of others.
local function read_source(directory, name)
	local file_name = "mod_" .. name .. ".lua"
	for _, middle in ipairs { "/", "/mod_" .. name .. "/", "/mod_" .. name .. "/" .. name .. "/", "/" .. name .. "/" } do
		local file = io.open(directory .. middle .. file_name, "rb")
		if file then
			local text = file:read("a")
			file:close()
			return text or ""
		end
	end
	return nil
end

--- The names in module:depends("…") of a module.
local function dependencies_of(source)
	local found, seen = {}, {}
	for dependency in source:gmatch("module:depends%s*%(?%s*[\"']([%w_-]+)[\"']") do
		if not seen[dependency] then
			seen[dependency] = true
			found[#found + 1] = dependency
		end
	end
	table.sort(found)
	return found
end

--- One line a module: name, origin, summary, what is wrong with it, dependencies; separated by tabs.
function module_list.lines(paths)
	local known = {}
	for _, module in ipairs(require "container.modules") do known[module.name] = module end
	local lines = {}
	local names, directory_of = surroundings.list_modules(paths)
	for _, name in ipairs(names) do
		local directory = directory_of[name]
		local source = read_source(directory, name)
		-- The image's own parts are not for anybody to load.
		if source and not (image_directories[directory] and name:find("^container_")) then
			local facts = image_directories[directory] and known[name] or { origin = own_origin, summary = "" }
			local columns = { name, facts.origin, facts.summary }
			if facts.broken then columns[#columns + 1] = "broken: " .. facts.broken end
			if facts.obsolete then columns[#columns + 1] = "obsolete: " .. facts.obsolete end
			local dependencies = dependencies_of(source)
			if #dependencies > 0 then columns[#columns + 1] = "loads " .. table.concat(dependencies, ", ") end
			lines[#lines + 1] = table.concat(columns, "\t")
		end
	end
	return lines
end

return module_list
