-- Runs the *_spec.lua files beside this one: lua5.4 tests/lua/run.lua [PART OF A FILE NAME]
--
-- A spec is a file that returns a list of { "what is expected", function() … end }. No server and none of its
-- libraries are needed.

local here = arg[0]:match("^(.*)/[^/]*$") or "."
local image = here .. "/../../images/rootfs/usr/local/lib/prosody-container"
package.path = here .. "/?.lua;" .. image .. "/?.lua;" .. package.path

local wanted = arg[1] or ""
local passed, failed = 0, 0

local listing = assert(io.popen("ls '" .. here .. "'"))
for file_name in listing:lines() do
	if file_name:find("_spec%.lua$") and file_name:find(wanted, 1, true) then
		for _, case in ipairs(dofile(here .. "/" .. file_name)) do
			local succeeded, failure = xpcall(case[2], debug.traceback)
			if succeeded then
				passed = passed + 1
			else
				failed = failed + 1
				print(("FAILED %s: %s\n%s"):format(file_name, case[1], failure))
			end
		end
	end
end
listing:close()

print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0 and passed > 0)
