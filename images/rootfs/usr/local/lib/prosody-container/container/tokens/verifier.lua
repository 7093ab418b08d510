-- Signatures of JSON Web Tokens. Which algorithms are accepted is said by the configuration, never by the token
-- (RFC 8725, 3.1), and a key is used for what it is made for only. Needs Prosody's libraries.

local base64 = require "prosody.util.encodings".base64
local crypto = require "prosody.util.crypto"
local json = require "prosody.util.json"
local jwk = require "container.tokens.jwk"
local jwt = require "prosody.util.jwt"

local verifier = {}

local longest_token = 16384
local half_of_es384 = 48

local function decode(part)
	local text = jwk.bytes(part, base64)
	local decoded, value = pcall(json.decode, text or "")
	return decoded and type(value) == "table" and value or nil
end

--- ES384, which prosody.util.jwt lacks.
local function new_es384(pem)
	local key = assert(crypto.import_public_pem(pem))
	return function(token)
		local signed, payload, signature = token:match("^([^.]+%.([^.]+))%.([^.]+)$")
		signature = jwk.bytes(signature, base64)
		if not signature or #signature ~= 2 * half_of_es384 then return nil end
		local der = crypto.build_ecdsa_signature(signature:sub(1, half_of_es384), signature:sub(half_of_es384 + 1))
		if not crypto.ecdsa_sha384_verify(key, signed, der) then return nil end
		return true, decode(payload)
	end
end

--- A key, { kind, pem } or { secret }, for one algorithm; made once.
local function verify_with(key, algorithm)
	key.verifiers = key.verifiers or {}
	if not key.verifiers[algorithm] then
		key.verifiers[algorithm] = algorithm == "ES384" and new_es384(key.pem)
			-- Times are looked at with the other claims.
			or jwt.new_verifier(algorithm, key.secret or key.pem, { accept_expired = true })
	end
	return key.verifiers[algorithm]
end

local function is_usable(key, algorithm)
	if algorithm:find("^HS") then return key.secret ~= nil end
	return key.pem ~= nil and jwk.is_for(key.kind, algorithm) and (key.algorithm or algorithm) == algorithm
end

--- Returns a function(token) → claims, or nil and the reason. It has to be called where find_keys may wait.
-- algorithms: list; find_keys: function(key id or nil) → list of keys
function verifier.new(algorithms, find_keys)
	local accepted = {}
	for _, name in ipairs(algorithms) do accepted[name] = true end

	return function(token)
		if #token > longest_token then return nil, "it is too long" end
		local first = token:match("^([%w_-]+)%.[%w_-]+%.[%w_-]+$")
		local header = first and decode(first)
		if not header then return nil, "it is not a signed token" end
		if not accepted[header.alg] then return nil, "its algorithm is not accepted (alg)" end
		-- Extensions that must be understood (RFC 7515, 4.1.11): none is.
		if header.crit ~= nil then return nil, "it needs an extension that is not known (crit)" end
		if header.kid ~= nil and type(header.kid) ~= "string" then return nil, "the name of its key is not a text (kid)" end
		local keys = find_keys(header.kid)
		local tried = false
		for _, key in ipairs(keys) do
			if is_usable(key, header.alg) then
				tried = true
				-- Keys that are none, and malformed parts, make the library raise an error.
				local called, is_good, claims = pcall(function() return verify_with(key, header.alg)(token) end)
				if called and is_good and type(claims) == "table" then return claims end
			end
		end
		return nil, tried and "its signature is wrong" or "there is no key for it (kid, alg)"
	end
end

return verifier
