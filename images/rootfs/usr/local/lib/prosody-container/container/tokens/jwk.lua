-- Public keys for signatures: JSON Web Keys (RFC 7517, RFC 7518) as PEM, and what a key can be used for. Pure.

local jwk = {}

-- Object identifiers in DER (RFC 8017, A.1; RFC 5480, 2.1.1)
local rsa = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
local elliptic = "\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
local curves = {
	["P-256"] = { identifier = "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", bytes = 32 };
	["P-384"] = { identifier = "\x06\x05\x2b\x81\x04\x00\x22", bytes = 48 };
	["P-521"] = { identifier = "\x06\x05\x2b\x81\x04\x00\x23", bytes = 66 };
}
-- Which algorithms a kind of key is for (RFC 7518, 3.1)
local algorithms = {
	RSA = { RS256 = true, RS384 = true, RS512 = true, PS256 = true, PS384 = true, PS512 = true };
	["P-256"] = { ES256 = true }, ["P-384"] = { ES384 = true }, ["P-521"] = { ES512 = true };
}
-- RFC 7518, 3.3: of 2048 bits at least. Such a key has so many bytes in DER, give or take a few of the exponent.
local least_modulus, least_der = 256, 290
local most_keys = 64

--- Whether a kind of key, as kind_of and read name it, is for an algorithm.
function jwk.is_for(kind, algorithm)
	return algorithms[kind] ~= nil and algorithms[kind][algorithm] == true
end

local function encode(tag, content)
	local length = #content
	if length < 128 then return string.char(tag, length) .. content end
	local bytes = ""
	while length > 0 do
		bytes = string.char(length & 0xff) .. bytes
		length = length >> 8
	end
	return string.char(tag, 0x80 | #bytes) .. bytes .. content
end

local function sequence(...) return encode(0x30, table.concat { ... }) end

--- Unsigned, so that a first bit that is set needs a zero before it.
local function integer(bytes)
	bytes = bytes:gsub("^\0+", "")
	return encode(0x02, bytes:byte() and bytes:byte() < 128 and bytes or "\0" .. bytes)
end

local function bits(content) return encode(0x03, "\0" .. content) end

--- X.509 SubjectPublicKeyInfo (RFC 5280, 4.1)
local function rsa_key(modulus, exponent)
	return sequence(sequence(rsa, "\x05\x00"), bits(sequence(integer(modulus), integer(exponent))))
end

local function elliptic_key(curve, x, y)
	return sequence(sequence(elliptic, curve.identifier), bits("\x04" .. x .. y))
end

local function as_pem(der, base64)
	local lines = base64.encode(der):gsub(("."):rep(64), "%0\n")
	return ("-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n"):format((lines:gsub("\n$", "")))
end

--- Bytes of a base64url text (RFC 4648, 5); nil if it is none.
function jwk.bytes(text, base64)
	if type(text) ~= "string" or text:find("[^%w_-]") then return nil end
	return base64.decode(text:gsub("[-_]", { ["-"] = "+", _ = "/" }) .. ("="):rep(-#text % 4))
end

--- The kind of a public key in DER: RSA, P-256, P-384, P-521; nil and the reason if it is none that can be used.
function jwk.kind_of(der)
	if der:find(rsa, 1, true) then
		if #der < least_der then return nil, "it is an RSA key of less than 2048 bits" end
		return "RSA"
	end
	for name, curve in pairs(curves) do
		if der:find(elliptic .. curve.identifier, 1, true) then return name end
	end
	return nil, "it is neither an RSA key nor one of the curves P-256, P-384, P-521"
end

--- { kind, pem } of a public key in PEM; nil and the reason.
-- base64: { encode, decode }; public_key_of: certificate in PEM → its public key in PEM, or nil
function jwk.from_pem(text, base64, public_key_of)
	if text:find("PRIVATE KEY-----", 1, true) then return nil, "it is a private key, which only the issuer may have" end
	if text:find("-----BEGIN CERTIFICATE-----", 1, true) then
		text = public_key_of(text) or ""
	end
	local block = text:match("%-%-%-%-%-BEGIN PUBLIC KEY%-%-%-%-%-([%w+/=%s]+)%-%-%-%-%-END PUBLIC KEY%-%-%-%-%-")
	local der = block and base64.decode((block:gsub("%s", "")))
	if not der then return nil, "it is neither a public key nor a certificate in PEM" end
	local kind, reason = jwk.kind_of(der)
	if not kind then return nil, reason end
	return { kind = kind, pem = as_pem(der, base64) }
end

--- One key, or nil: of another kind, or not for signatures, which are no error (RFC 7517, 5).
local function read_key(given, base64)
	if type(given) ~= "table" or given.use ~= nil and given.use ~= "sig" then return nil end
	local curve = given.kty == "EC" and curves[given.crv]
	local first, second = jwk.bytes(given.kty == "RSA" and given.n or given.x, base64),
		jwk.bytes(given.kty == "RSA" and given.e or given.y, base64)
	local der
	if given.kty == "RSA" and first and second and #first:gsub("^\0+", "") >= least_modulus then
		der = rsa_key(first, second)
	elseif curve and first and second and #first == curve.bytes and #second == curve.bytes then
		der = elliptic_key(curve, first, second)
	end
	return der and {
		id = type(given.kid) == "string" and given.kid or nil;
		algorithm = type(given.alg) == "string" and given.alg or nil;
		kind = curve and given.crv or "RSA";
		pem = as_pem(der, base64);
	}
end

--- The keys of a set that can be used here: list of { id, algorithm (of the key, if it says one), kind, pem }; nil and
-- the reason if it is no set.
function jwk.read(set, base64)
	if type(set) ~= "table" or type(set.keys) ~= "table" then return nil, "it is not a set of keys (JWKS)" end
	local keys = {}
	for index = 1, math.min(#set.keys, most_keys) do
		keys[#keys + 1] = read_key(set.keys[index], base64)
	end
	if #keys == 0 then return nil, "it has no key that can be used" end
	return keys
end

return jwk
