-- Reads Traefik's store of certificates, acme.json, as its versions 1 to 3 write it.

local acme = {}

--- Traefik 1 begins the names of fields with upper case letters.
local function field(object, name)
	return object[name] or object[name:gsub("^%l", string.upper)]
end

local function add_certificates(entries, resolver, store, tools)
	local list = type(store) == "table" and field(store, "certificates")
	if type(list) ~= "table" then return end
	for _, item in ipairs(list) do
		local domain = type(item) == "table" and field(item, "domain")
		local main = type(domain) == "table" and field(domain, "main")
		local certificate = type(item) == "table" and tools.decode_base64(tostring(field(item, "certificate")))
		local key = type(item) == "table" and tools.decode_base64(tostring(field(item, "key")))
		entries[#entries + 1] = {
			label = (resolver and resolver .. ", " or "") .. tostring(main or "no name");
			certificate = certificate or "";
			key = key or "";
		}
	end
end

--- Returns { { label, certificate, key } … } in a fixed order, or nil and the reason.
-- tools: decode_json (text → table, or nil), decode_base64 (text → text, or nil)
function acme.parse(content, tools)
	-- Traefik makes the file empty and fills it later.
	if not content:find("%S") then return {} end
	local data = tools.decode_json(content)
	if type(data) ~= "table" then return nil, "it is no JSON, or half of it" end
	local entries, resolvers = {}, {}
	add_certificates(entries, nil, data, tools)
	for name in pairs(data) do
		if type(name) == "string" then resolvers[#resolvers + 1] = name end
	end
	table.sort(resolvers)
	for _, name in ipairs(resolvers) do add_certificates(entries, name, data[name], tools) end
	return entries
end

return acme
