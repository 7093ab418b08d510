-- What the container could do although the server does not need it, as the kernel tells of this process. Pure.

local confinement = {}

-- Capabilities that are held, and those that a program that is run could get (capabilities(7)).
local capability_sets = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" }

local function has_capabilities(status)
	for _, name in ipairs(capability_sets) do
		local bits = status:match("\n" .. name .. ":%s*(%x+)")
		-- A set that is not told counts as one that is not empty.
		if not bits or bits:find("[^0]") then return true end
	end
	return false
end

--- Whether the last mount at the root, which covers those before, is not read-only (proc_pid_mounts(5)).
local function is_root_writable(mounts)
	local options
	for line in mounts:gmatch("[^\n]+") do
		local place, found = line:match("^%S+ (%S+) %S+ (%S+)")
		if place == "/" then options = found end
	end
	return not options or not ("," .. options .. ","):find(",ro,", 1, true)
end

--- Lines of text, each with what to do about it. status, mounts: content of these files in /proc/self
function confinement.gaps(status, mounts)
	local gaps = {}
	if is_root_writable(mounts) then
		gaps[#gaps + 1] = "the root file system can be written: run the container with --read-only (Kubernetes:"
			.. " readOnlyRootFilesystem: true)"
	end
	if has_capabilities(status) then
		gaps[#gaps + 1] = "capabilities can be had: run the container with --cap-drop ALL (Kubernetes: capabilities:"
			.. " {drop: [ALL]})"
	end
	if status:match("\nNoNewPrivs:%s*(%d)") ~= "1" then
		gaps[#gaps + 1] = "programs can gain rights: run the container with --security-opt no-new-privileges (Kubernetes:"
			.. " allowPrivilegeEscalation: false)"
	end
	return gaps
end

return confinement
