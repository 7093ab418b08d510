-- Finds the files in Prosody's own language that are read after everything else.

local lfs = require "lfs"

local drop_ins = {}

-- Where tobi312's image has its files.
local entrypoint_directory = "/entrypoint.d"
-- A configuration of its own, not an addition.
local whole_configuration = entrypoint_directory .. "/prosody.cfg.lua"

--- The names in a folder, sorted; an empty list when it cannot be read.
function drop_ins.list(directory)
	local names = {}
	local listed, iterate, state = pcall(lfs.dir, directory)
	if listed then
		for name in iterate, state do
			if name ~= "." and name ~= ".." then names[#names + 1] = name end
		end
	end
	table.sort(names)
	return names
end

--- Files of a folder whose names match a shell pattern (only * and ?), hidden ones never.
local function matching(directory, pattern)
	local lua_pattern = "^" .. pattern:gsub("[%^%$%(%)%%%.%[%]%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".") .. "$"
	local paths = {}
	for _, name in ipairs(drop_ins.list(directory)) do
		if name:sub(1, 1) ~= "." and name:find(lua_pattern) then paths[#paths + 1] = directory .. "/" .. name end
	end
	return paths
end

--- Files that name hosts and components, as OpusVL's image has them.
function drop_ins.host_files(values)
	local directory = values.PROSODY_CONFIGDIR or "/etc/prosody"
	local paths = matching(directory .. "/vhost.d", "*.cfg.lua")
	for _, path in ipairs(matching(directory .. "/cmpt.d", "*.cfg.lua")) do paths[#paths + 1] = path end
	return paths
end

--- All files, in the order in which they are read; and what is wrong with them: cannot be read, or is no Lua.
function drop_ins.find(values)
	local paths, faults, seen = {}, {}, {}
	local extra_file = (values.PROSODY_CONFIGDIR or "/etc/prosody") .. "/conf.d/extra.cfg.lua"
	local function add(path)
		if seen[path] or path == extra_file and values.PROSODY_EXTRA_CFG == false then return end
		seen[path] = true
		paths[#paths + 1] = path
		-- Only compiled here, for the message; running it is Prosody's part.
		local chunk, failure = loadfile(path, "t")
		if not chunk then faults[#faults + 1] = failure end
	end
	for _, path in ipairs(drop_ins.host_files(values)) do add(path) end
	for _, path in ipairs(matching(entrypoint_directory, "*.cfg.lua")) do
		if path ~= whole_configuration then add(path) end
	end
	if values.ENABLE_CONFD ~= false then
		local is_named = values.PROSODY_EXTRA_CONFIG ~= nil
		local patterns = values.PROSODY_EXTRA_CONFIG
			or { (values.PROSODY_CONFIGDIR or "/etc/prosody") .. "/conf.d/*.cfg.lua" }
		for _, pattern in ipairs(patterns) do
			local directory, name = pattern:match("^(.*)/([^/]*)$")
			if name:find("[*?]") then
				if lfs.attributes(directory, "mode") and not pcall(lfs.dir, directory) then
					faults[#faults + 1] = directory .. " cannot be read: permission denied"
				end
				for _, path in ipairs(matching(directory, name)) do add(path) end
			elseif lfs.attributes(pattern, "mode") == "file" or is_named then
				add(pattern)
			end
		end
	end
	return paths, faults
end

--- Names of the hosts that files define, as far as they are written out: what a program computes is not seen.
function drop_ins.hosts_in(paths)
	local names, seen = {}, {}
	for _, path in ipairs(paths) do
		local file = io.open(path, "rb")
		for line in (file and file:read("a") or ""):gmatch("[^\n]+") do
			local name = line:match("^%s*VirtualHost%s*%(?%s*[\"']([^\"']+)[\"']")
			if name and not seen[name] then
				seen[name] = true
				names[#names + 1] = name
			end
		end
		if file then file:close() end
	end
	return names
end

--- What is there but cannot be used, one line each.
function drop_ins.remarks()
	local remarks = {}
	for _, path in ipairs(matching(entrypoint_directory, "*.sh")) do
		remarks[#remarks + 1] = path .. " is not run: there is no shell in this image"
	end
	for _, path in ipairs { "/etc/prosody/prosody.cfg.lua", whole_configuration } do
		if lfs.attributes(path, "mode") then
			remarks[#remarks + 1] = ("%s is not read: put what you need of it into conf.d, or set PROSODY_CONFIG=%s to run with"
				.. " that file alone"):format(path, path)
		end
	end
	return remarks
end

return drop_ins
