-- Prosody's configuration, made from environment variables on every start and every reload.
--
-- Nothing here is meant to be edited: put files into /etc/prosody/conf.d, they are read last.
-- On a reload an error leaves the running configuration as it is, so this file must never end the process.

-- luacheck: globals Lua, read globals VirtualHost Component Include

local module_pattern = "/usr/local/lib/prosody-container/?.lua"
if not Lua.package.path:find(module_pattern, 1, true) then
	Lua.package.path = module_pattern .. ";" .. Lua.package.path
end

local settings = Lua.require "container.settings"

local result = settings.read()
if #result.problems > 0 then
	Lua.error(Lua.table.concat(result.problems, "; "), 0)
end

-- Relative paths in files of conf.d are meant from where other images have their configuration.
if Lua.prosody then Lua.prosody.paths.config = result.values.PROSODY_CONFIGDIR end
Lua.require("container.logging").register()
if result.values.PROSODY_SQL_DRIVER == "SQLite3" then
	Lua.require("container.database").wait(result.values.PROSODY_SQLITE_BUSY_TIMEOUT_MS or 1000)
end

local built = result.built
for name, value in Lua.pairs(built.global.options) do
	_ENV[name] = value
end
for _, host in Lua.ipairs(built.hosts) do
	VirtualHost(host.name)(host.options)
end
for _, component in Lua.ipairs(built.components) do
	if component.module then
		Component(component.name)(component.module)(component.options)
	else
		Component(component.name)(component.options)
	end
end

-- One by one instead of with a pattern: in the order of their names, and a missing folder is fine.
for _, path in Lua.ipairs(result.surroundings.drop_ins) do
	Include(path)
end
