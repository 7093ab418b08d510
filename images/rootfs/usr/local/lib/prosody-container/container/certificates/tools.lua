-- What the choice of certificates needs of the real world. Needs Prosody's libraries, see container/libraries.lua.

local files = require "container.files"

local tools = {}

-- A file of Traefik's holds all its certificates.
local most_mebibytes = 8
local day = 86400

--- Makes a self-signed certificate for names (ASCII form, the first one is the subject). Returns it and its key.
local function make_pair(names, now, lifetime, has_authority)
	-- Loaded only here: it costs more than all the rest of the start and is needed once in ten years.
	local altname, bignum = require "openssl.x509.altname", require "openssl.bignum"
	local extension, name = require "openssl.x509.extension", require "openssl.x509.name"
	local pkey, rand, x509 = require "openssl.pkey", require "openssl.rand", require "openssl.x509"

	local key = pkey.new { type = "EC", curve = "prime256v1" }
	local validity = { now - day, now + lifetime }
	local subject, alternatives = name.new(), altname.new()
	-- A common name holds 64 characters at most; it is for human eyes only.
	subject:add("CN", #names[1] <= 64 and names[1] or "self-signed")
	for _, alternative in ipairs(names) do alternatives:add("DNS", alternative) end

	-- A clock that runs behind must not make it invalid.
	local function new_certificate(subject_name, issuer_name, public_key)
		local certificate = x509.new()
		certificate:setVersion(3)
		certificate:setSerial(bignum.fromBinary("\1" .. rand.bytes(15)))
		certificate:setSubject(subject_name)
		certificate:setIssuer(issuer_name)
		certificate:setLifetime(table.unpack(validity))
		certificate:setPublicKey(public_key)
		return certificate
	end

	local authority, authority_key
	if has_authority then
		-- RFC 5280, 4.2.1: what verifiers that are strict want of an authority. It goes for no other names.
		authority_key = pkey.new { type = "EC", curve = "prime256v1" }
		local authority_name, permitted = name.new(), {}
		authority_name:add("CN", "Authority of " .. (#names[1] <= 51 and names[1] or "a server"))
		for index, permitted_name in ipairs(names) do permitted[index] = "permitted;DNS:" .. permitted_name end
		authority = new_certificate(authority_name, authority_name, authority_key)
		authority:setBasicConstraints { CA = true, pathLen = 0 }
		authority:setBasicConstraintsCritical(true)
		authority:addExtension(extension.new("keyUsage", "critical,keyCertSign,cRLSign"))
		authority:addExtension(extension.new("nameConstraints", "critical," .. table.concat(permitted, ",")))
		authority:addExtension(extension.new("subjectKeyIdentifier", "hash", { subject = authority }))
		authority:sign(authority_key, "SHA256")
	end

	local certificate = new_certificate(subject, authority and authority:getSubject() or subject, key)
	certificate:setSubjectAlt(alternatives)
	certificate:setBasicConstraints { CA = false }
	certificate:setBasicConstraintsCritical(true)
	certificate:addExtension(extension.new("extendedKeyUsage", "serverAuth,clientAuth"))
	if authority then
		certificate:addExtension(extension.new("authorityKeyIdentifier", "keyid:always", { issuer = authority }))
	end
	certificate:sign(authority_key or key, "SHA256")
	return certificate:toPEM() .. (authority and authority:toPEM() or ""), key:toPEM("private")
end

--- The tools, with the time as it is now.
function tools.new()
	local crypto = require "prosody.util.crypto"
	local encodings = require "prosody.util.encodings"
	local json = require "prosody.util.json"
	local pposix = require "prosody.util.pposix"
	local ssl = require "ssl"

	local function load(text)
		local succeeded, certificate = pcall(ssl.loadcertificate, text)
		return succeeded and certificate or nil
	end

	--- The public part of an unencrypted private key.
	local function public_key_of(text)
		local succeeded, key = pcall(crypto.import_private_pem, text)
		local exported, public_key = pcall(function() return succeeded and key and key:public_pem() end)
		return exported and public_key or nil
	end

	return {
		now = os.time();
		uid = pposix.getuid();
		umask = pposix.umask;
		lfs = require "lfs";
		read = function(path) return files.read(path, most_mebibytes) end;
		write = files.write, rename = os.rename, remove = os.remove;
		load = load;
		identities = require("prosody.util.x509").get_identities;
		public_key = function(certificate) return (certificate:pubkey()) end;
		public_key_of = public_key_of;
		newcontext = ssl.newcontext;
		make_pair = make_pair;
		ascii = encodings.idna.to_ascii;
		decode_json = json.decode;
		decode_base64 = encodings.base64.decode;
	}
end

return tools
