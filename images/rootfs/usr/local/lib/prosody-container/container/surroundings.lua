-- What is true of this container: files, folders, libraries. Only looks, never changes anything.

local confinement = require "container.confinement"
local drop_ins = require "container.drop_ins"
local lfs = require "lfs"
local runtime = require "container.runtime"

local surroundings = {}

surroundings.data_directory = "/var/lib/prosody"
surroundings.own_certificates = surroundings.data_directory .. "/certificates"

local image_modules = "/usr/local/lib/prosody-container/modules"
local stock_modules = "/usr/lib/prosody/modules"
local installed_modules = surroundings.data_directory .. "/custom_plugins"
local authorities_file = "/etc/ssl/certs/ca-certificates.crt"
local trust_anchors = "/usr/share/dns/root.key"
local time_zones = "/usr/share/zoneinfo/"

local function is_readable(path)
	local file = io.open(path, "rb")
	local content = file and file:read(1)
	if file then file:close() end
	return content ~= nil
end

--- What the kernel tells in a file, or nothing.
local function ask_kernel(path)
	local file = io.open(path, "rb")
	local content = file and file:read("a")
	if file then file:close() end
	return content or ""
end

--- The host name of the container if somebody chose it: what a runtime makes up has no dot.
function surroundings.host_name()
	local name = ask_kernel("/proc/sys/kernel/hostname"):match("^[^\n]*")
	return name and name:find(".", 1, true) and name or nil
end

--- Folders of modules, the user's own first.
local function plugin_paths(values, is_jitsi)
	local paths = table.move(values.PROSODY_PLUGIN_PATHS or {}, 1, #(values.PROSODY_PLUGIN_PATHS or {}), 1, {})
	if is_jitsi then
		-- Where docker-jitsi-meet has its volume, and where Jitsi's own modules are.
		table.insert(paths, 1, "/prosody-plugins-custom")
		table.move({ "/prosody-plugins", "/prosody-plugins-contrib" }, 1, 2, #paths + 1, paths)
	end
	if values.ENABLE_MODULE_PATHS then
		for _, name in ipairs { "modules-custom", "modules-community-enable" } do
			paths[#paths + 1] = "/usr/lib/prosody/" .. name
		end
	end
	paths[#paths + 1] = image_modules
	return paths
end

-- The places where Prosody's loader looks for a module.
local function has_module(name, paths)
	local file_name = "mod_" .. name .. ".lua"
	local directories = table.move(paths, 1, #paths, 1, {})
	table.move({ installed_modules, stock_modules }, 1, 2, #directories + 1, directories)
	for _, directory in ipairs(directories) do
		for _, middle in ipairs {
			"/", "/mod_" .. name .. "/", "/mod_" .. name .. "/" .. name .. "/", "/" .. name .. "/", "/share/lua/5.4/",
			"/share/lua/5.4/mod_" .. name .. "/",
		} do
			if lfs.attributes(directory .. middle .. file_name, "mode") == "file" then return true end
		end
	end
	return false
end

--- Names of all modules found, and for each the folder that it is in.
function surroundings.list_modules(paths)
	local names, directory_of = {}, {}
	local directories = table.move(paths, 1, #paths, 1, {})
	table.move({ installed_modules, stock_modules }, 1, 2, #directories + 1, directories)
	for _, directory in ipairs(directories) do
		for _, entry in ipairs(drop_ins.list(directory)) do
			local name = entry:match("^mod_(.-)%.lua$") or entry:match("^mod_([^.]+)$")
			local nested = ("%s/%s/mod_%s.lua"):format(directory, entry, entry)
			if not name and lfs.attributes(nested, "mode") == "file" then name = entry end
			if name and not directory_of[name] then
				names[#names + 1] = name
				directory_of[name] = directory
			end
		end
	end
	table.sort(names)
	return names, directory_of
end

--- Whether the data folder holds a database of SQLite and no account in files: another image's data.
local function has_sqlite_data()
	if lfs.attributes(surroundings.data_directory .. "/prosody.sqlite", "mode") ~= "file" then return false end
	for _, name in ipairs(drop_ins.list(surroundings.data_directory)) do
		local accounts = surroundings.data_directory .. "/" .. name .. "/accounts"
		if lfs.attributes(accounts, "mode") == "directory" then return false end
	end
	return true
end

--- The hash in which the first account found in files is stored: its key is as long as the hash.
-- The folders of all hosts are looked through, the main one's first.
local function find_stored_hash(domain)
	local main = domain:gsub("%W", function(character) return ("%%%02x"):format(character:byte()) end)
	local folders = { main }
	for _, name in ipairs(drop_ins.list(surroundings.data_directory)) do folders[#folders + 1] = name end
	for _, folder in ipairs(folders) do
		local directory = surroundings.data_directory .. "/" .. folder .. "/accounts"
		for _, name in ipairs(drop_ins.list(directory)) do
			local file = name:find("%.dat$") and io.open(directory .. "/" .. name, "rb")
			local content = file and file:read(65536)
			if file then file:close() end
			local key = content and content:match('%["stored_key"%]%s*=%s*"(%x+)"')
			if key then return #key == 40 and "SHA-1" or "SHA-256" end
		end
	end
	return nil
end

--- The file name, without ending, of the pair this image makes for a domain.
function surroundings.own_pair(domain)
	return surroundings.own_certificates .. "/" .. domain
end

--- Looks around, for the values of the environment. is_jitsi: whether it is a Jitsi deployment's
function surroundings.gather(values, is_jitsi)
	local paths = plugin_paths(values, is_jitsi)
	local found_drop_ins, faults = drop_ins.find(values)
	local runtime_directory = runtime.directory()
	local certificates = values.PROSODY_CERTIFICATES or {}
	return {
		faults = faults;
		remarks = drop_ins.remarks();
		confinement_gaps = confinement.gaps(ask_kernel("/proc/self/status"), ask_kernel("/proc/self/mounts"));
		drop_ins = found_drop_ins;
		has_drop_ins = #found_drop_ins > 0;
		file_hosts = drop_ins.hosts_in(found_drop_ins);
		plugin_paths = paths;
		user_modules = paths[1];
		certificate_directory = runtime_directory and runtime_directory .. "/certificates";
		spare_certificates = lfs.attributes(surroundings.own_certificates, "mode") == "directory"
			and surroundings.own_certificates or surroundings.data_directory;
		own_pair = surroundings.own_pair;
		is_default_certificates = #certificates == 1
			and certificates[1] == (values.PROSODY_CONFIGDIR or "/etc/prosody") .. "/certs";
		sha3 = function(text) return require("openssl.digest").new("sha3-256"):final(text) end;
		authorities_file = is_readable(authorities_file) and authorities_file or nil;
		trust_anchors = is_readable(trust_anchors) and trust_anchors or nil;
		stored_hash = find_stored_hash(values.PROSODY_DOMAIN or "localhost");
		has_sqlite_data = has_sqlite_data();
		has_resolver_file = is_readable("/etc/resolv.conf");
		has_hosts_file = is_readable("/etc/hosts");
		has_ipv6 = lfs.attributes("/proc/net/if_inet6", "mode") ~= nil or lfs.attributes("/proc/net", "mode") == nil;
		has_time_zone = function(name) return lfs.attributes(time_zones .. name, "mode") == "file" end;
		broken_modules = setmetatable({}, { __index = function(_, name) return surroundings.broken_modules()[name] end });
		is_file = function(path) return lfs.attributes(path, "mode") == "file" end;
		has_module = function(name) return has_module(name, paths) end;
		list_modules = function() return (surroundings.list_modules(paths)) end;
		has_library = function(name) return package.searchpath(name, package.cpath) ~= nil end;
	}
end

--- Modules that are known not to work: name → why. Loaded only when somebody asks.
function surroundings.broken_modules()
	local broken = {}
	for _, module in ipairs(require "container.modules") do broken[module.name] = module.broken end
	return broken
end

return surroundings
