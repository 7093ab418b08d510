-- Looks whether there is a certificate for the domain, and makes a self-signed one when there is none.
--
-- Serving is Prosody's own business: it searches the folder by itself and prefers what it finds there to the
-- certificate made here. What matters here is to say aloud what Prosody would pass over in silence.

local certificates = {}

local first_line = "-----BEGIN CERTIFICATE-----"
local search_depth = 3
local validity_days = 3650
local day = 86400

local function key_path_of(path)
	return (path:gsub("%.crt$", ".key"):gsub("fullchain", "privkey"))
end

--- Whether the names of a certificate (as Prosody's util.x509 gives them) cover a domain.
local function covers(identities, domain)
	local services = identities[domain] or identities[domain:gsub("^[^.]+%.", "*.")]
	return services ~= nil and services["*"] ~= nil
end

--- Searches a folder the way Prosody does: three levels deep, *.crt and *fullchain* with a key beside it.
-- tools: lfs, read (path → text, or nil and reason), load (PEM → certificate or nil), identities (certificate →
--        names), newcontext (of LuaSec), uid, now
-- returns { covering = paths, problems = lines, notes = lines }
function certificates.inspect(directory, domain, tools)
	local found = { covering = {}, problems = {}, notes = {} }
	local function problem(...) table.insert(found.problems, string.format(...)) end
	local function note(...) table.insert(found.notes, string.format(...)) end

	local function inspect_file(path)
		local content, reason = tools.read(path)
		if not content then
			return note("the certificate %s cannot be read by uid %d: %s", path, tools.uid, reason)
		end
		if content:match("^[^\n]*") ~= first_line then
			if content:find(first_line, 1, true) then
				note("the certificate %s is passed over: its first line must be exactly %s", path, first_line)
			end
			return nil
		end
		local key_path = key_path_of(path)
		if tools.lfs.attributes(key_path, "mode") ~= "file" then
			return note("the certificate %s is passed over: there is no key %s", path, key_path)
		end
		local certificate = tools.load(content)
		if not certificate then
			return problem("the certificate %s is damaged or incomplete", path)
		end
		if not covers(tools.identities(certificate), domain) then return nil end
		if not certificate:validat(tools.now) then
			return note("the certificate %s is passed over: it is not valid now (valid from %s to %s)",
				path, certificate:notbefore(), certificate:notafter())
		end
		local key, key_reason = tools.read(key_path)
		if not key then
			return problem("the key %s cannot be read by uid %d: %s", key_path, tools.uid, key_reason)
		end
		local context, mismatch = tools.newcontext {
			mode = "server", protocol = "any", certificate = path, key = key_path,
			-- Without it the library would ask for a passphrase on the terminal.
			password = function() return nil end,
		}
		if not context then
			return problem("the certificate %s and the key %s cannot be used: %s", path, key_path, mismatch)
		end
		table.insert(found.covering, path)
	end

	local function inspect_directory(path, depth)
		local listed, iterate, state = pcall(tools.lfs.dir, path)
		if not listed then
			local report = depth == 1 and problem or note
			return report("the folder of certificates %s cannot be read by uid %d", path, tools.uid)
		end
		for name in iterate, state do
			local full = path .. "/" .. name
			if tools.lfs.attributes(full, "mode") == "directory" then
				if name:sub(1, 1) ~= "." and depth < search_depth then inspect_directory(full, depth + 1) end
			elseif name:find("%.crt$") or name:find("fullchain", 1, true) then
				inspect_file(full)
			end
		end
	end

	inspect_directory(directory, 1)
	table.sort(found.covering)
	if #found.covering > 1 then
		note("several certificates cover %s and Prosody takes any of them: %s", domain, table.concat(found.covering, ", "))
	end
	return found
end

--- SHA-256 fingerprint in the usual notation.
local function fingerprint_of(certificate)
	return (certificate:digest("sha256"):upper():gsub("..", "%0:"):gsub(":$", ""))
end

--- The fingerprint of a pair made earlier, or nil when it cannot be used (any more).
function certificates.check_own(pair, names, tools)
	local content = tools.read(pair .. ".crt")
	local certificate = content and tools.load(content)
	if not certificate or not certificate:validat(tools.now + day) then return nil end
	local identities = tools.identities(certificate)
	for _, name in ipairs(names) do
		if not covers(identities, name) then return nil end
	end
	local context = tools.newcontext {
		mode = "server", protocol = "any", certificate = pair .. ".crt", key = pair .. ".key",
	}
	return context and fingerprint_of(certificate)
end

--- Writes beside the file and renames, so that nobody ever sees half of it.
local function write(path, content)
	local temporary = path .. ".new"
	os.remove(temporary)
	local file, reason = io.open(temporary, "wb")
	if not file then return nil, reason end
	local written, failure = file:write(content)
	local closed, close_failure = file:close()
	if not written or not closed then
		os.remove(temporary)
		return nil, failure or close_failure
	end
	return os.rename(temporary, path)
end

--- Makes a self-signed certificate for names (ASCII form, the first one is the subject).
local function make(names, now)
	-- Loaded only here: it costs more than all the rest of the start and is needed once in ten years.
	local altname, bignum = require "openssl.x509.altname", require "openssl.bignum"
	local extension, name = require "openssl.x509.extension", require "openssl.x509.name"
	local pkey, rand, x509 = require "openssl.pkey", require "openssl.rand", require "openssl.x509"

	local key = pkey.new { type = "EC", curve = "prime256v1" }
	local subject, alternatives = name.new(), altname.new()
	-- A common name holds 64 characters at most; it is for human eyes only.
	subject:add("CN", #names[1] <= 64 and names[1] or "self-signed")
	for _, alternative in ipairs(names) do alternatives:add("DNS", alternative) end

	local certificate = x509.new()
	certificate:setVersion(3)
	certificate:setSerial(bignum.fromBinary("\1" .. rand.bytes(15)))
	certificate:setSubject(subject)
	certificate:setIssuer(subject)
	certificate:setSubjectAlt(alternatives)
	certificate:setBasicConstraints { CA = false }
	certificate:setBasicConstraintsCritical(true)
	certificate:addExtension(extension.new("extendedKeyUsage", "serverAuth,clientAuth"))
	-- A clock that runs behind must not make it invalid.
	certificate:setLifetime(now - day, now + validity_days * day)
	certificate:setPublicKey(key)
	certificate:sign(key, "SHA256")
	return certificate:toPEM(), key:toPEM("private")
end

--- Makes a pair anew. Returns its fingerprint, or nil and the reason.
-- tools also needs umask (from prosody.util.pposix) and ascii (host → ASCII form)
function certificates.make_own(pair, names, tools)
	local ascii_names = {}
	for index, name in ipairs(names) do ascii_names[index] = tools.ascii(name) end
	local certificate, key = make(ascii_names, tools.now)

	local directory = pair:match("^(.*)/")
	tools.lfs.mkdir(directory)
	local previous_umask = tools.umask("077")
	-- Gone first: a crash in between must not leave a pair that does not belong together.
	os.remove(pair .. ".crt")
	local written, reason = write(pair .. ".key", key)
	if written then written, reason = write(pair .. ".crt", certificate) end
	tools.umask(previous_umask)
	if not written then return nil, reason end
	return fingerprint_of(tools.load(certificate))
end

return certificates
