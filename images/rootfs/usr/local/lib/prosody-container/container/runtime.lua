-- The private folder for what this container makes anew at each start: certificates that are ready to be served.
--
-- Every process of the container finds the same one, the health check among them, so this loads next to nothing.

local lfs = require "lfs"

local runtime = {}

local data_directory = "/var/lib/prosody"

--- Where it may be, best first. The data is the last resort: secrets would outlive the container there.
local function candidates(data)
	-- Several servers may see the same /dev/shm (--ipc=host), but never the same data.
	local attributes = lfs.attributes(data) or {}
	local name = ("prosody-%d-%d"):format(attributes.dev or 0, attributes.ino or 0)
	return {
		{ parent = "/run/prosody", path = "/run/prosody/" .. name };
		{ parent = "/dev/shm", path = "/dev/shm/" .. name };
		-- No folder of a host has a name like this: Prosody writes its hyphens in another way.
		{ parent = data, path = data .. "/container-runtime" };
	}
end

--- The user the server runs as: ours, or where we are root the one that a server started as root becomes.
local function expected_owner()
	-- A process is owned by the user that it runs as, which Lua has no other way to tell.
	local uid = lfs.attributes("/proc/self", "uid")
	if uid ~= 0 then return uid end
	local owner = lfs.attributes(data_directory, "uid")
	return owner and owner ~= 0 and owner or 5222
end

--- Whether a folder is ours alone. Others may write to /dev/shm, and may have put theirs in its place.
local function is_private(path)
	local attributes = lfs.symlinkattributes(path)
	return attributes ~= nil
		and attributes.mode == "directory"
		and attributes.permissions == "rwx------"
		and attributes.uid == expected_owner()
end

local function is_writable(path)
	local probe = path .. "/.probe"
	local made = lfs.mkdir(probe)
	-- It exists when another process was killed in between, which is just as well.
	return lfs.rmdir(probe) or made or false
end

--- The folder that was made at the start, or nil when there is none.
function runtime.directory(data)
	for _, candidate in ipairs(candidates(data or data_directory)) do
		if is_private(candidate.path) then return candidate.path end
	end
	return nil
end

--- Makes the folder unless it exists. Returns its path, or nil and the reason.
-- umask: of prosody.util.pposix
function runtime.prepare(umask, data)
	local reasons = {}
	local previous_umask = umask("077")
	local found
	for _, candidate in ipairs(candidates(data or data_directory)) do
		local _, reason = lfs.mkdir(candidate.path)
		if is_private(candidate.path) and is_writable(candidate.path) then
			found = candidate.path
			break
		end
		-- One that cannot be written must not be found by the others either; it may also be somebody else's.
		lfs.rmdir(candidate.path)
		reasons[#reasons + 1] = ("%s: %s"):format(candidate.parent, reason or "not writable")
	end
	umask(previous_umask)
	if not found then return nil, table.concat(reasons, "; ") end
	return found
end

return runtime
