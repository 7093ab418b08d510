-- A world for the specs of the configuration: variables, files and secrets in tables, a container that does not exist,
-- and as much of JSON as the values of variables need.

local catalogue = require "container.catalogue"
local checks = require "container.checks"
local configuration = require "container.configuration"
local environment = require "container.environment"
local hosts = require "container.hosts"
local jitsi = require "container.jitsi"
local storage = require "container.storage"
local types = require "container.types"

local stand_ins = {}

local escapes = { n = "\n", t = "\t", r = "\r", b = "\b", f = "\f", ["/"] = "/", ["\\"] = "\\", ['"'] = '"' }
local words = { ["true"] = true, ["false"] = false, null = types.null }

--- A JSON text as plain tables, or nil. null stays where it stands alone, and is left out of lists and objects.
function stand_ins.json(text)
	local position = 1
	local read_value

	local function take(pattern)
		local _, last, found = text:find("^%s*(" .. pattern .. ")", position)
		if last then position = last + 1 end
		return found
	end
	local function need(pattern)
		return take(pattern) or error({})
	end
	local function read_string()
		local parts = {}
		while true do
			local plain = text:match('^[^"\\%c]*', position)
			parts[#parts + 1] = plain
			position = position + #plain
			local next_character = text:sub(position, position)
			position = position + 1
			if next_character == '"' then return table.concat(parts) end
			if next_character ~= "\\" then error({}) end
			parts[#parts + 1] = escapes[text:sub(position, position)] or error({})
			position = position + 1
		end
	end
	local function read_items(last, read_item)
		if take(last) then return end
		repeat read_item() until not take(",")
		need(last)
	end
	local function kept(value)
		if value == types.null then return nil end
		return value
	end
	function read_value()
		if take('"') then return read_string() end
		if take("%[") then
			local list, index = {}, 0
			read_items("%]", function()
				index = index + 1
				list[index] = kept(read_value())
			end)
			return list
		elseif take("{") then
			local object = {}
			read_items("}", function()
				need('"')
				local key = read_string()
				need(":")
				object[key] = kept(read_value())
			end)
			return object
		end
		local number = take("%-?%d+%.%d+") or take("%-?%d+")
		if number then return tonumber(number) end
		local word = need("%l+")
		if words[word] == nil then error({}) end
		return words[word]
	end

	local succeeded, value = pcall(function()
		local whole = read_value()
		if text:find("%S", position) then error({}) end
		return whole
	end)
	if succeeded then return value end
	return nil
end

stand_ins.parse = types.new { json = stand_ins.json }

--- Reads variables (name → text) with files (path → content) and secrets (name → path); result and problems.
-- more: files, secrets, catalogue, host_name (as container/hosts.lua wants it)
function stand_ins.read(variables, more)
	more = more or {}
	local names = {}
	for name in pairs(variables) do names[#names + 1] = name end
	local source = {
		get = function(name) return variables[name] end;
		read_file = function(path)
			local content = (more.files or {})[path]
			if content then return content end
			return nil, "No such file or directory"
		end;
		names = names;
		secrets = more.secrets;
	}
	return environment.read(source, more.catalogue or catalogue, stand_ins.parse, hosts.derive(more.host_name))
end

local modules = {
	"auth_internal_hashed", "auth_ldap", "bosh", "container_components", "container_onion", "e2e_policy", "firewall",
	"http_file_share", "mam", "muc", "muc_limits", "muc_moderation", "offline", "proxy65", "pubsub",
	"register_limits", "spam_reporting", "turn_external", "vcard_muc", "watch_spam_reports",
}

--- What container/surroundings.lua would see.
function stand_ins.surroundings(changes)
	local known = {}
	for _, name in ipairs(modules) do known[name] = true end
	local seen = {
		faults = {}, remarks = {}, drop_ins = {}, has_drop_ins = false, confinement_gaps = {};
		plugin_paths = { "/etc/prosody/modules", "/image/modules" }, user_modules = "/etc/prosody/modules";
		certificate_directory = "/run/certificates";
		spare_certificates = "/var/lib/prosody/certificates";
		own_pair = function(domain) return "/var/lib/prosody/certificates/" .. domain end;
		is_default_certificates = true;
		has_sqlite_data = false;
		has_resolver_file = true, has_hosts_file = true, has_ipv6 = true;
		has_time_zone = function(name) return name == "Europe/Zurich" end;
		file_hosts = {};
		is_file = function(path) return path == "/usr/share/javascript/converse.js/dist/converse.min.js" end;
		broken_modules = {};
		has_module = function(name) return known[name] or false end;
		list_modules = function() return modules end;
		sha3 = function() return "??" end;
		has_library = function() return true end;
	}
	for name, value in pairs(changes or {}) do seen[name] = value end
	return seen
end

--- Everything up to the configuration, as container/settings.lua puts it together.
-- more: as for read; surroundings: changes to them; host_files: whether there are files that name hosts;
-- file_hosts: the names in them
function stand_ins.build(variables, more)
	more = more or {}
	local result, problems = stand_ins.read(variables, more)
	assert(#problems == 0, table.concat(problems, "\n"))
	result.ascii = function(host) return host end
	result.surroundings = stand_ins.surroundings(more.surroundings)
	result.is_jitsi = jitsi.is_on(result, catalogue)
	jitsi.complete(result)
	result.storage = storage.decide(result.values, result.origins, result.others, result.surroundings)
	result.plan = hosts.plan(result.values, result.origins, more.host_files or false, more.file_hosts)
	for _, other in ipairs(result.others) do
		for _, name in ipairs(hosts.names(result.plan)) do
			if other.host_key and hosts.key_of(name, result.ascii) == other.host_key:upper() then other.host = name end
		end
	end
	result.built = configuration.build(result, catalogue)
	return result
end

--- The same, and what the checks say of it: problems, notes.
function stand_ins.check(variables, more)
	return checks.find(stand_ins.build(variables, more), catalogue)
end

--- Whether a list has an item.
function stand_ins.has(list, wanted)
	for _, item in ipairs(list or {}) do
		if item == wanted then return true end
	end
	return false
end

return stand_ins
