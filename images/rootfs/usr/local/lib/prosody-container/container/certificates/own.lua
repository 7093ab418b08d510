-- The certificate that the image makes for hosts that have no other: self-signed, or signed by an authority that is
-- made for it, stands behind it in the file, and cannot sign anything else any more as its key is not kept.

local coverage = require "container.certificates.coverage"
local pem = require "container.certificates.pem"

local own = {}

local validity_days = 3650
local day = 86400

--- Writes beside the file and renames, so that nobody ever sees half of it.
local function replace(path, content, tools)
	local temporary = path .. ".new"
	tools.remove(temporary)
	local written, reason = tools.write(temporary, content)
	if not written then return nil, reason end
	return tools.rename(temporary, path)
end

--- The certificate to import for those who are to trust the pair, as text; nil and the reason when there is none.
function own.anchor(pair, tools)
	local text, reason = tools.read(pair .. ".crt")
	local texts = text and pem.parse(text).certificates or {}
	if #texts == 0 then return nil, reason or "no certificate in it" end
	return texts[#texts]
end

--- The pair made earlier as { certificate, text, key }, or nil when it cannot be used (any more).
function own.load(pair, names, has_authority, tools)
	local text, key = tools.read(pair .. ".crt"), tools.read(pair .. ".key")
	local certificate = text and tools.load(text)
	if not certificate or not key or not certificate:validat(tools.now + day) then return nil end
	if has_authority and #pem.parse(text).certificates < 2 then return nil end
	local identities = tools.identities(certificate)
	for _, name in ipairs(names) do
		if not coverage.of(identities, name) then return nil end
	end
	if tools.public_key_of(key) ~= tools.public_key(certificate) then return nil end
	return { certificate = certificate, text = text, key = key }
end

--- Makes a pair anew. Returns the same as own.load, or nil and the reason.
function own.make(pair, names, has_authority, tools)
	local ascii_names = {}
	for index, name in ipairs(names) do ascii_names[index] = tools.ascii(name) end
	local text, key = tools.make_pair(ascii_names, tools.now, validity_days * day, has_authority)

	tools.lfs.mkdir((pair:match("^(.*)/")))
	local previous_umask = tools.umask("077")
	-- Gone first: a crash in between must not leave a pair that does not belong together.
	tools.remove(pair .. ".crt")
	local written, reason = replace(pair .. ".key", key, tools)
	if written then written, reason = replace(pair .. ".crt", text, tools) end
	tools.umask(previous_umask)
	if not written then return nil, reason end
	return { certificate = tools.load(text), text = text, key = key }
end

return own
