-- Finds the key of a certificate.

local search = require "container.certificates.search"

local pairing = {}

--- Names that the key of a certificate usually has, for certificates of certbot, Kubernetes, dumpers and people.
local function usual_names(name)
	local names, seen = {}, { [name] = true }
	local function add(candidate)
		if not seen[candidate] then
			seen[candidate] = true
			names[#names + 1] = candidate
		end
	end
	local stem = name:match("^(.+)%.[^.]+$") or name
	add(stem .. ".key")
	add(stem .. "-key.pem")
	add(stem .. ".key.pem")
	add(stem .. "_key.pem")
	for _, substitution in ipairs {
		{ "fullchain", "privkey" }, { "certificate", "privatekey" }, { "certificate", "key" }, { "cert", "privkey" },
		{ "cert", "key" }, { "crt", "key" },
	} do
		local start, finish = name:lower():find(substitution[1], 1, true)
		if start then
			local changed = name:sub(1, start - 1) .. substitution[2] .. name:sub(finish + 1)
			add(changed)
			add((changed:match("^(.+)%.[^.]+$") or changed) .. ".key")
		end
	end
	return names
end

--- The files of keys to be tried: by name first, then the others of the folder, then the rest of the source.
local function order_keys(certificate, keys)
	local by_name, ordered, taken = {}, {}, {}
	for _, key in ipairs(keys) do
		if key.directory == certificate.directory then by_name[key.name] = key end
	end
	local function add(key)
		if key and not taken[key] then
			taken[key] = true
			ordered[#ordered + 1] = key
		end
	end
	for _, name in ipairs(usual_names(certificate.name)) do add(by_name[name]) end
	local usual_count = #ordered
	for _, key in ipairs(keys) do
		if key.directory == certificate.directory then add(key) end
	end
	for _, key in ipairs(keys) do add(key) end
	return ordered, usual_count
end

--- Returns a function that finds keys among those of one source and remembers what it has computed.
-- It takes a certificate of search.read and which one of its file is meant, and returns the key's text, or nil and
-- why there is none.
-- tools: public_key (certificate → text), public_key_of (key → the same text, or nil)
function pairing.new(keys, tools)
	local public_keys = {}

	local function public_key_of(text)
		if public_keys[text] == nil then public_keys[text] = tools.public_key_of(text) or false end
		return public_keys[text]
	end

	return function(certificate, position)
		local wanted = tools.public_key(certificate.loaded[position])
		local function match(texts)
			for _, text in ipairs(texts) do
				if public_key_of(text) == wanted then return text end
			end
			return nil
		end

		local text = match(certificate.keys)
		if text then return text end
		local ordered, usual_count = order_keys(certificate, keys)
		for _, key in ipairs(ordered) do
			text = match(key.texts)
			if text then return text end
		end
		local shown = search.printable(certificate.path)
		if usual_count > 0 then
			local key = ordered[1]
			return nil, key.fault or ("the certificate %s and the key %s do not belong together"):format(
				shown, search.printable(key.path))
		end
		if #certificate.keys > 0 then
			return nil, ("the certificate and the key in %s do not belong together"):format(shown)
		end
		for _, key in ipairs(ordered) do
			if key.fault and key.directory == certificate.directory then return nil, key.fault end
		end
		return nil, ("there is no key for the certificate %s: it is expected beside it, as %s"):format(
			shown, usual_names(certificate.name)[1])
	end
end

return pairing
