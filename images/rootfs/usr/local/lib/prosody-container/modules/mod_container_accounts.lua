-- Makes the accounts named in the environment, unless they exist, and watches over how passwords are stored.
--
-- An account that exists is never touched: its password belongs to its user.

-- luacheck: globals module

local usermanager = require "prosody.core.usermanager"

local retry_after = 15
local key_lengths = { ["SHA-1"] = 40, ["SHA-256"] = 64 }

local store = module:open_store("accounts")

--- Whether there was an answer from the storage: only then is it known that an account is missing.
local function ensure_account(account)
	local stored, failure = store:get(account.username)
	if failure then
		module:log("warn", "Cannot look for the account %s@%s yet: %s", account.username, module.host, failure)
		return false
	elseif stored or usermanager.user_exists(account.username, module.host) then
		return true
	end
	local created, reason = usermanager.create_user(account.username, account.password, module.host)
	if not created then
		module:log("error", "The account %s@%s could not be made: %s", account.username, module.host, reason)
		return false
	end
	return true
end

--- With the wrong hash every login fails and nothing says why.
local function check_password_hash()
	if usermanager.get_provider(module.host).name ~= "internal_hashed" then return end
	local hash = module:get_option_string("password_hash", "SHA-1")
	local iterate, state, first = store:users()
	local username = iterate and iterate(state, first)
	local stored = username and store:get(username)
	local key = stored and stored.stored_key
	if key and key_lengths[hash] and #key ~= key_lengths[hash] then
		module:log("error", "Passwords are stored with another hash than %s: nobody can log in. Set PROSODY_PASSWORD_HASH=%s",
			hash, hash == "SHA-1" and "SHA-256" or "SHA-1")
	end
end

local is_retry_pending = false

--- Tries again later while the storage does not answer, for a database may start after this server.
local function prepare()
	local complete = true
	for _, account in ipairs(module:get_option("container_accounts", {})) do
		complete = ensure_account(account) and complete
	end
	-- Storage drivers raise errors where they have no other way to report them.
	complete = complete and pcall(check_password_hash)
	if not complete and not is_retry_pending then
		is_retry_pending = true
		module:add_timer(retry_after, function()
			is_retry_pending = false
			prepare()
		end)
	end
end

module.ready = prepare
module:hook_global("config-reloaded", prepare)
