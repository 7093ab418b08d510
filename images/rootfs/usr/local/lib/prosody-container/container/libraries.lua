-- Makes Prosody's libraries loadable in a process that is not Prosody (yet).

local libraries = {}

local source_directory = "/usr/lib/prosody"

--- Returns a function that undoes it, for Prosody's own start-up to do the same again from a clean state.
function libraries.prepare()
	local searchers = table.move(package.searchers, 1, #package.searchers, 1, {})
	local path, cpath = package.path, package.cpath
	package.path = source_directory .. "/?.lua;" .. path
	package.cpath = source_directory .. "/?.so;" .. cpath
	dofile(source_directory .. "/loader.lua")
	return function()
		for index = #package.searchers, 1, -1 do package.searchers[index] = searchers[index] end
		package.path, package.cpath = path, cpath
	end
end

return libraries
