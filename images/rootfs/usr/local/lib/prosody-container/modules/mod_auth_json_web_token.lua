-- Lets people in who have a signed JSON Web Token (RFC 7519): with SASL ANONYMOUS and the token in the address of BOSH
-- or WebSocket, as clients of Jitsi do, or with the token as the password (PLAIN) or bearer token (OAUTHBEARER).
--
-- Options that Jitsi's own module has are called as there, so that configurations fit both.

-- luacheck: globals module prosody

local async = require "prosody.util.async"
local base64 = require "prosody.util.encodings".base64
local cache = require "prosody.util.cache"
local claims = require "container.tokens.claims"
local encodings = require "prosody.util.encodings"
local http = require "prosody.net.http"
local json = require "prosody.util.json"
local jwk = require "container.tokens.jwk"
local key_store = require "container.tokens.key_store"
local new_sasl = require "prosody.util.sasl".new
local sha256 = require "prosody.util.hashes".sha256
local ssl = require "ssl"
local throttle = require "prosody.util.throttle"
local timer = require "prosody.util.timer"
local verifier = require "container.tokens.verifier"

local longest_wait = 8
-- Of a server that has a file for each key, where tokens say which: kept at most, and asked for in a minute.
local most_keys, most_unknown_keys = 128, 30

local secret = module:get_option_string("app_secret")
local public_key = module:get_option_string("jwt_public_key")
local set_url = module:get_option_string("jwt_jwks_url")
local server_url = module:get_option_string("asap_key_server")
local application = module:get_option_string("app_id")
local algorithms = module:get_option_array("jwt_algorithms", { secret and "HS256" or "RS256" })
local issuers = module:get_option_array("asap_accepted_issuers", application and { application } or nil)
local audiences = module:get_option_array("asap_accepted_audiences", { application or module.host })
local leeway = module:get_option_period("jwt_leeway", 30)
local is_token_optional = module:get_option_boolean("allow_empty_token", false)
local username_claim = module:get_option_string("jwt_username_claim", "context.user.id")
local policy = { issuers = issuers, audiences = audiences, leeway = leeway }

local function public_key_of(certificate)
	local loaded = ssl.loadcertificate(certificate)
	return loaded and loaded:pubkey()
end

--- Loads a file; has to be called where it may wait.
local function load(url, headers)
	local wait, done = async.waiter()
	local answer, failure
	local function finish(response, reason)
		if answer or failure then return end
		answer, failure = response, reason
		done()
	end
	local request = http.request(url, { headers = headers }, function(body, code, response)
		if code == 0 then finish(nil, tostring(body)) else finish(response) end
	end)
	local timeout = timer.add_task(longest_wait, function()
		finish(nil, ("no answer within %d seconds"):format(longest_wait))
		-- It can be cancelled once it is connected; before that the network's own time limit ends it.
		if request and request.cancel then request:cancel() end
	end)
	wait()
	timer.stop(timeout)
	return answer, failure
end

local function new_store(url, parse)
	local enter = async.guarder()
	return key_store.new {
		load = function(headers) return load(url, headers) end;
		parse = parse;
		now = os.time;
		enter = function() return enter() end;
		report = function(reason) module:log("warn", "No keys from %s: %s", url, reason) end;
	}
end

local function parse_set(body)
	local decoded, set = pcall(json.decode, body)
	return jwk.read(decoded and set, base64)
end

local function parse_file(body)
	local key, reason = jwk.from_pem(body, base64, public_key_of)
	return key and { key }, reason
end

--- Jitsi's key server has each key in a file called by the SHA-256 of its id.
local function new_server(url)
	local stores = cache.new(most_keys)
	local unknown = throttle.create(most_unknown_keys, 60)
	return function(id)
		if not id then return {} end
		local name = sha256(id, true)
		local store = stores:get(name)
		if not store then
			if not unknown:poll(1) then return {} end
			store = new_store(url:gsub("/$", "") .. "/" .. name .. ".pem", parse_file)
			stores:set(name, store)
		end
		return store:find(nil)
	end
end

--- Where keys come from: function(key id or nil) → list of keys.
local function new_source()
	if secret then
		local keys = { { secret = secret } }
		return function() return keys end
	elseif public_key then
		local key, reason = jwk.from_pem(public_key, base64, public_key_of)
		if not key then error("the public key of tokens cannot be used: " .. reason, 0) end
		return function() return { key } end
	elseif set_url then
		local store = new_store(set_url, parse_set)
		return function(id) return store:find(id) end
	elseif server_url then
		return new_server(server_url)
	end
	error("there is no key for tokens: set PROSODY_JWT_SECRET, PROSODY_JWT_PUBLIC_KEY, PROSODY_JWT_JWKS_URL or"
		.. " PROSODY_JWT_KEY_SERVER", 0)
end

-- Each source has secrets or public keys, never both, so that nobody can sign with what everybody may know.
local verify = verifier.new(algorithms, new_source())

--- Claims of a token that is good here and now; nil and the reason.
local function claims_of(token)
	local given, reason = verify(token)
	if not given then return nil, reason end
	local is_good
	is_good, reason = claims.check(given, policy, os.time())
	return is_good and given, reason
end

--- Marks a session as one of a token. The other names are those under which Jitsi's modules look for it.
local function remember(session, given)
	local identity = claims.identity(given, encodings.stringprep.nodeprep)
	session.json_web_token = identity
	session.jitsi_meet_room, session.jitsi_meet_domain = identity.room, given.sub
	session.jitsi_meet_context_user = identity.user
	session.jitsi_meet_context_group = identity.group
	session.jitsi_meet_context_features = identity.features
end

local function refuse(session, reason)
	(session.log or module._log)("info", "Token refused: %s", reason)
end

--- The name that a token gives to its owner, or nil.
local function username_in(given)
	local name = claims.at(given, username_claim)
	return name and encodings.stringprep.nodeprep(name)
end

--- Whether a session may be without a password: it brought a token with it, or needs none.
local function admit(session)
	local token = session.auth_token
	if not token then
		if is_token_optional then return true end
		return false, "a token is required"
	end
	local given, reason = claims_of(token)
	if not given then
		refuse(session, reason)
		return false, "the token is not valid: " .. reason
	end
	remember(session, given)
	return true
end

--- A token in place of a password; the name has to be the one in the token, or anybody with a token could be anybody.
local function admit_as(session, token, username)
	local given, reason = claims_of(token)
	local name = given and username_in(given)
	if given and not name then reason = "it names no user (" .. username_claim .. ")" end
	if name and username and name ~= username then name, reason = nil, "it is the token of another user" end
	if not name then
		refuse(session, reason)
		return nil
	end
	remember(session, given)
	return name
end

--- PLAIN (RFC 4616), which the library knows for passwords of less than 1024 bytes only, as long as it prepares any.
local function process_plain(handler, session, message)
	local username, token = (message or ""):match("^[^\0]*\0([^\0]+)\0([^\0]+)$")
	username = username and encodings.stringprep.nodeprep(username)
	if not username then return "failure", "malformed-request" end
	handler.username = admit_as(session, token, username)
	if not handler.username then return "failure", "not-authorized", "the token is not valid" end
	return "success"
end

local function new_handler(session)
	local handler = new_sasl(module.host, {
		anonymous = function() return true end;
		-- Offers the mechanism, which process_plain stands in for.
		plain_test = function() return nil end;
		oauthbearer = function(_, token)
			local name = token and admit_as(session, token)
			if name then return name, true, {} end
			return nil, nil, { status = "invalid_token" }
		end;
	})
	local process = handler.process
	function handler:process(message)
		if self.selected == "PLAIN" then return process_plain(self, session, message) end
		-- The mechanism itself asks again for another name when it is refused one.
		if self.selected == "ANONYMOUS" then
			local is_admitted, text = admit(session)
			if not is_admitted then return "failure", "not-authorized", text end
		end
		return process(self, message)
	end
	function handler:clean_clone() -- luacheck: ignore 212/self
		return new_handler(session)
	end
	return handler
end

local provider = {}

function provider.get_sasl_handler(session)
	return new_handler(session)
end

--- There are no accounts: whoever is connected exists.
function provider.user_exists(username)
	return prosody.hosts[module.host].sessions[username] ~= nil
end

function provider.users()
	return next, prosody.hosts[module.host].sessions, nil
end

function provider.test_password() return nil, "accounts are made by tokens" end
function provider.set_password() return nil, "accounts are made by tokens" end
function provider.create_user() return nil, "method not implemented" end

module:provides("auth", provider)

--- Keeps what the address of a connection says until somebody logs in with it.
local function take_token(event)
	local session, request = event.session, event.request
	local query = request.url and request.url.query
	if not query then return end
	local parameters = http.formdecode(query)
	if type(parameters) ~= "table" then return end
	session.auth_token = parameters.token ~= "" and parameters.token or nil
	-- Read by Jitsi's modules.
	session.jitsi_web_query_room, session.jitsi_web_query_prefix = parameters.room, parameters.prefix
end

module:hook_global("bosh-session", take_token)
module:hook_global("websocket-session", take_token)
