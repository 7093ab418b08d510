-- What is wrong with the variables of JSON Web Tokens. Pure.

local types = require "container.types"

local token_checks = {}

local key_sources = { "PROSODY_JWT_SECRET", "PROSODY_JWT_PUBLIC_KEY", "PROSODY_JWT_JWKS_URL", "PROSODY_JWT_KEY_SERVER" }

local function is_used(result)
	if result.values.PROSODY_AUTHENTICATION == "json_web_token" then return true end
	for _, other in ipairs(result.others) do
		if other.variable.name == "PROSODY_AUTHENTICATION" and other.value == "json_web_token" then return true end
	end
	return false
end

local function check_sources(values, report)
	local found = {}
	for _, name in ipairs(key_sources) do
		if values[name] then found[#found + 1] = name end
	end
	if #found == 0 then
		report.problem("tokens need a key: set %s", table.concat(key_sources, " or "))
	elseif #found > 1 then
		report.problem("%s are both set: tokens are verified with one kind of key only", table.concat(found, " and "))
	end
end

--- A public key must never be taken for a shared secret, or everybody could sign (RFC 8725, 2.1).
local function check_algorithms(values, report)
	for _, name in ipairs(values.PROSODY_JWT_ALGORITHMS or {}) do
		local is_shared = name:find("^HS") ~= nil
		if is_shared and not values.PROSODY_JWT_SECRET then
			report.problem("PROSODY_JWT_ALGORITHMS: %s is for a shared secret (PROSODY_JWT_SECRET), not for public keys", name)
		elseif not is_shared and values.PROSODY_JWT_SECRET then
			report.problem("PROSODY_JWT_ALGORITHMS: %s is for public keys, not for a shared secret", name)
		end
	end
end

local function check_public_key(values, report)
	local key = values.PROSODY_JWT_PUBLIC_KEY
	if not key then return end
	if key:find("PRIVATE KEY-----", 1, true) then
		report.problem("PROSODY_JWT_PUBLIC_KEY holds a private key: only the issuer may have that")
	elseif not (key:find("-----BEGIN PUBLIC KEY-----", 1, true) or key:find("-----BEGIN CERTIFICATE-----", 1, true)) then
		report.problem("PROSODY_JWT_PUBLIC_KEY is neither a public key nor a certificate in PEM")
	end
end

--- result: what container/settings.lua reads
function token_checks.check(result, report)
	local values = result.values
	if not is_used(result) then return end
	check_sources(values, report)
	check_algorithms(values, report)
	check_public_key(values, report)
	local secret = values.PROSODY_JWT_SECRET
	if secret and #secret < 32 then
		-- RFC 7518, 3.2
		report.note("PROSODY_JWT_SECRET has %d characters: it should have 32 at least, or it can be guessed from one token",
			#secret)
	end
	for _, name in ipairs { "PROSODY_JWT_JWKS_URL", "PROSODY_JWT_KEY_SERVER" } do
		if values[name] and values[name]:find("^http:") then
			report.note("%s=%s: without TLS whoever is on the way can put own keys in place of these", name,
				types.printable(values[name]))
		end
	end
end

return token_checks
