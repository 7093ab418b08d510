-- Lists all modules that can be loaded, with what they do, where they come from and what they load themselves.

local surroundings = require "container.surroundings"

local module_list = {}

local own_origin = "your own"

--- The names in module:depends("…") of a module's files.
local function dependencies_of(directory, name)
	local found, seen = {}, {}
	for _, path in ipairs { directory .. "/mod_" .. name .. ".lua", directory .. "/mod_" .. name .. "/mod_" .. name .. ".lua" } do
		local file = io.open(path, "rb")
		local text = file and file:read("a") or ""
		if file then file:close() end
		for dependency in text:gmatch("module:depends%s*%(?%s*[\"']([%w_-]+)[\"']") do
			if not seen[dependency] then
				seen[dependency] = true
				found[#found + 1] = dependency
			end
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
		local facts = known[name] or { origin = own_origin, summary = "" }
		local is_part = name:find("^container_")
		if not is_part then
			local columns = { name, facts.origin, facts.summary }
			if facts.broken then columns[#columns + 1] = "broken: " .. facts.broken end
			if facts.obsolete then columns[#columns + 1] = "obsolete: " .. facts.obsolete end
			local dependencies = dependencies_of(directory_of[name], name)
			if #dependencies > 0 then columns[#columns + 1] = "loads " .. table.concat(dependencies, ", ") end
			lines[#lines + 1] = table.concat(columns, "\t")
		end
	end
	return lines
end

return module_list
