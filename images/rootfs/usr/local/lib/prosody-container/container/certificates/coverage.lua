-- Whether the names of a certificate cover a host.

local coverage = {}

--- "exact", "wildcard", or nil. identities: as Prosody's util.x509 gives them, host: as Prosody spells it.
function coverage.of(identities, host)
	-- Names for single services are passed over: the file is for all of them.
	local function names(name)
		local services = identities[name]
		return services ~= nil and services["*"] ~= nil
	end
	if names(host) then return "exact" end
	if names((host:gsub("^[^.]+%.", "*."))) then return "wildcard" end
	return nil
end

--- The names, sorted.
function coverage.list(identities)
	local names = {}
	for name in pairs(identities) do names[#names + 1] = name end
	table.sort(names)
	return names
end

return coverage
