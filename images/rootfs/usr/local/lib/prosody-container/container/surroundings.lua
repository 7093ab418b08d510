-- What is true of this container: files, folders, libraries. Only looks, never changes anything.

local lfs = require "lfs"

local surroundings = {}

surroundings.data_directory = "/var/lib/prosody"
surroundings.own_certificates = surroundings.data_directory .. "/certificates"
surroundings.user_modules = "/etc/prosody/modules"
surroundings.drop_ins = "/etc/prosody/conf.d"

local image_modules = "/usr/local/lib/prosody-container/modules"
local stock_modules = "/usr/lib/prosody/modules"
local installed_modules = surroundings.data_directory .. "/custom_plugins"
local authorities_file = "/etc/ssl/certs/ca-certificates.crt"

local function is_readable(path)
	local file = io.open(path, "rb")
	local content = file and file:read(1)
	if file then file:close() end
	return content ~= nil
end

--- The names in a folder, sorted; an empty list when it cannot be read.
function surroundings.list(directory)
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

--- The files to be included: not hidden, *.cfg.lua, in the order of their names.
function surroundings.list_drop_ins()
	local paths = {}
	for _, name in ipairs(surroundings.list(surroundings.drop_ins)) do
		if name:find("^[^.].*%.cfg%.lua$") then paths[#paths + 1] = surroundings.drop_ins .. "/" .. name end
	end
	return paths
end

--- What is wrong with the folder of drop-ins and the files in it: closed to this user, or no Lua.
local function find_faults()
	local faults = {}
	if lfs.attributes(surroundings.drop_ins, "mode") and not pcall(lfs.dir, surroundings.drop_ins) then
		faults[1] = surroundings.drop_ins .. " cannot be read: permission denied"
	end
	for _, path in ipairs(surroundings.list_drop_ins()) do
		-- Only compiled here, for the message; running it is Prosody's part.
		local chunk, failure = loadfile(path, "t")
		if not chunk then faults[#faults + 1] = failure end
	end
	return faults
end

-- The places where Prosody's loader looks for a module.
local function has_module(name)
	local file_name = "mod_" .. name .. ".lua"
	for _, directory in ipairs { surroundings.user_modules, image_modules, installed_modules, stock_modules } do
		for _, middle in ipairs {
			"/", "/mod_" .. name .. "/", "/mod_" .. name .. "/" .. name .. "/", "/" .. name .. "/", "/share/lua/5.4/",
			"/share/lua/5.4/mod_" .. name .. "/",
		} do
			if lfs.attributes(directory .. middle .. file_name, "mode") == "file" then return true end
		end
	end
	return false
end

local function list_modules()
	local names = {}
	for _, directory in ipairs { surroundings.user_modules, image_modules, stock_modules } do
		for _, entry in ipairs(surroundings.list(directory)) do
			names[#names + 1] = entry:match("^mod_(.-)%.lua$") or entry:match("^mod_([^.]+)$")
		end
	end
	return names
end

--- The hash in which the first account found in files is stored: its key is as long as the hash.
local function find_stored_hash(domain)
	local directory = surroundings.data_directory .. "/"
		.. domain:gsub("%W", function(character) return ("%%%02x"):format(character:byte()) end) .. "/accounts"
	local listed, iterate, state = pcall(lfs.dir, directory)
	if not listed then return nil end
	for name in iterate, state do
		local file = name:find("%.dat$") and io.open(directory .. "/" .. name, "rb")
		local content = file and file:read(65536)
		if file then file:close() end
		local key = content and content:match('%["stored_key"%]%s*=%s*"(%x+)"')
		if key then return #key == 40 and "SHA-1" or "SHA-256" end
	end
	return nil
end

--- The file name, without ending, of the pair this image makes for a domain.
function surroundings.own_pair(domain)
	return surroundings.own_certificates .. "/" .. domain
end

--- Looks around, for the values of the environment.
function surroundings.gather(values)
	local own_certificate = surroundings.own_pair(values.PROSODY_DOMAIN or "localhost") .. ".crt"
	local directory_mode = lfs.attributes(values.PROSODY_CERTIFICATES or "", "mode")
	return {
		faults = find_faults();
		plugin_paths = { surroundings.user_modules, image_modules };
		-- Prosody complains about a folder that does not exist; its own holds at worst nothing.
		certificate_directory = directory_mode and values.PROSODY_CERTIFICATES or surroundings.own_certificates;
		-- Given a single file, Prosody must not find a second choice.
		own_certificate = directory_mode ~= "file" and lfs.attributes(own_certificate, "mode") == "file"
			and own_certificate or nil;
		authorities_file = is_readable(authorities_file) and authorities_file or nil;
		stored_hash = values.PROSODY_DOMAIN and find_stored_hash(values.PROSODY_DOMAIN);
		has_resolver_file = is_readable("/etc/resolv.conf");
		has_hosts_file = is_readable("/etc/hosts");
		has_ipv6 = lfs.attributes("/proc/net/if_inet6", "mode") ~= nil or lfs.attributes("/proc/net", "mode") == nil;
		has_module = has_module;
		list_modules = list_modules;
		has_library = function(name) return package.searchpath(name, package.cpath) ~= nil end;
	}
end

return surroundings
