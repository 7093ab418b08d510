-- Makes the accounts named in the environment, gives roles, and invites a first administrator; and watches over how
-- passwords are stored and over how often an invitation is used.
--
-- An account that exists is not touched unless the environment says so: its password belongs to its user.

-- luacheck: globals module

local jid_node = require("prosody.util.jid").node
local modulemanager = require "prosody.core.modulemanager"
local usermanager = require "prosody.core.usermanager"

local retry_after = 15
local key_lengths = { ["SHA-1"] = 40, ["SHA-256"] = 64 }
-- mod_invites has no notion of never.
local longest_invitation = 10 * 365 * 86400

local store = module:open_store("accounts")
-- Tokens by what their invitation is for, so that it is made once.
local made = module:open_store("container_invites", "map")

--- The name of one account, or nil when there is none. Raises an error where the storage does.
local function find_username()
	local iterate, state, first = store:users()
	local found
	-- To the end, as a database keeps a half-read answer open, and itself locked.
	for username in iterate or next, state or {}, first do found = found or username end
	return found
end

--- The invitation that is still open, or a new one; nil and the reason when that fails.
-- username: nil for an invitation that lets choose; role: of the account that is made with it, or nil
local function invite(key, username, role, seconds)
	if not modulemanager.is_loaded(module.host, "invites_register") then
		return nil, "the module invites_register, which would accept it, is not loaded"
	end
	local invites = module:depends("invites")
	local token, failure = made:get(nil, key)
	if failure then return nil, failure end
	local open = token and invites.get_account_invite_info(token)
	if open then return open end
	local created, reason = invites.create_account(username, role and { roles = { role } } or nil, seconds)
	if not created then return nil, reason end
	local stored, problem = made:set(nil, key, created.token)
	if not stored then return nil, problem end
	return created
end

--- Takes an invitation back that is not wanted any more, so that an old log is worth nothing.
local function withdraw(key)
	local token = made:get(nil, key)
	if not token then return end
	module:depends("invites").delete_account_invite(token)
	made:set(nil, key, nil)
end

local function announce(invitation, for_whom)
	module:log("info", "Invitation for %s, good once and until %s: %s", for_whom,
		os.date("!%Y-%m-%d %H:%M UTC", invitation.expires), invitation.landing_page or invitation.uri)
end

--- Whether nothing is left to be tried again. An account or invitation that could not be made may be one of a storage
-- that does not answer yet.
local function ensure_account(account, role)
	local address, key = account.username .. "@" .. module.host, "account:" .. account.username
	local stored, failure = store:get(account.username)
	if failure then
		module:log("warn", "Cannot look for the account %s yet: %s", address, failure)
		return false
	elseif stored or usermanager.user_exists(account.username, module.host) then
		if account.password
			and (account.overwrite or module:get_option_boolean("container_accounts_overwrite", false))
			and not usermanager.test_password(account.username, module.host, account.password) then
			local changed, reason = usermanager.set_password(account.username, account.password, module.host)
			if not changed then module:log("error", "The password of %s could not be set: %s", address, reason) end
		end
		withdraw(key)
		return true
	elseif not account.password then
		local invitation, reason = invite(key, account.username, role)
		if invitation then
			announce(invitation, address)
		else
			module:log("error", "No invitation for %s could be made: %s", address, reason)
		end
		return invitation ~= nil
	end
	local created, reason = usermanager.create_user(account.username, account.password, module.host)
	if created then
		withdraw(key)
		return true
	end
	module:log("error", "The account %s could not be made: %s", address, reason)
	-- From here on nothing will change: accounts are kept somewhere else, in a directory for example.
	return reason == "method not implemented"
end

--- Roles by user name, of those roles that exist: Prosody raises an error where it is given another.
local function read_roles()
	local roles = {}
	for username, role in pairs(module:get_option("container_account_roles", {})) do
		local exists, found = pcall(usermanager.get_role_by_name, role, module.host)
		if exists and found then
			roles[username] = role
		else
			module:log("error", "The role %s could not be given to %s@%s: there is no such role", role, username, module.host)
		end
	end
	return roles
end

local function ensure_role(username, role, is_invited)
	if not usermanager.user_exists(username, module.host) then
		if not is_invited then
			module:log("warn", "There is no account %s@%s to give the role %s to yet", username, module.host, role)
		end
		return
	end
	local current = usermanager.get_user_role(username, module.host)
	if current and current.name == role then return end
	local changed, reason = usermanager.set_user_role(username, module.host, role)
	if not changed then
		module:log("error", "The role %s could not be given to %s@%s: %s", role, username, module.host, reason)
	end
end

--- Somebody has to be the first, and nobody can write to anybody for an invitation yet.
-- Returns whether nothing is left to be tried again.
local function invite_administrator()
	local seconds = module:get_option_period("container_admin_invite")
	local is_kept_here = usermanager.get_provider(module.host).name:find("^internal_") ~= nil
	if not seconds or not is_kept_here or find_username() then
		withdraw("administrator")
		return true
	end
	local invitation, reason = invite("administrator", nil, "prosody:admin", math.min(seconds, longest_invitation))
	if invitation then
		announce(invitation, "the first administrator of " .. module.host)
	else
		module:log("error", "No invitation for an administrator could be made: %s", reason)
	end
	return invitation ~= nil
end

--- With the wrong hash every login fails and nothing says why.
local function check_password_hash()
	if usermanager.get_provider(module.host).name ~= "internal_hashed" then return end
	local hash = module:get_option_string("password_hash", "SHA-1")
	local username = find_username()
	local stored = username and store:get(username)
	local key = stored and stored.stored_key
	if key and key_lengths[hash] and #key ~= key_lengths[hash] then
		module:log("error", "Passwords are stored with another hash than %s: nobody can log in. Set PROSODY_PASSWORD_HASH=%s",
			hash, hash == "SHA-1" and "SHA-256" or "SHA-1")
	end
end

--- Does everything. Returns whether nothing is left to be tried again.
local function try_to_prepare()
	local roles = read_roles()
	local complete, is_invited = true, {}
	for _, account in ipairs(module:get_option("container_accounts", {})) do
		is_invited[account.username] = account.password == nil
		complete = ensure_account(account, roles[account.username]) and complete
	end
	if not complete then return false end
	for username, role in pairs(roles) do ensure_role(username, role, is_invited[username]) end
	check_password_hash()
	return invite_administrator()
end

local is_retry_pending = false

--- Tries again later while the storage does not answer, for a database may start after this server.
local function prepare()
	-- Storage drivers raise errors where they have no other way to report them, and nobody else would log them.
	local answered, outcome = pcall(try_to_prepare)
	if not answered then module:log("error", "Accounts and invitations are not complete: %s", outcome) end
	if not (answered and outcome) and not is_retry_pending then
		is_retry_pending = true
		module:add_timer(retry_after, function()
			is_retry_pending = false
			prepare()
		end)
	end
end

module.ready = prepare
module:hook_global("config-reloaded", prepare)

--- mod_invites_register remembers a token that was good when it was shown, so two people could use it at the same time;
-- and it lets anybody choose another name than the one the invitation is for.
local function check_invitation(event)
	local shown = event.validated_invite or event.session and event.session.validated_invite
	if not shown or event.allowed == false then return end
	local invitation = module:depends("invites").get_account_invite_info(shown.token)
	local username = invitation and invitation.type == "register" and jid_node(invitation.jid)
	if not invitation then
		event.allowed, event.reason = false, "This invitation was used already, or has expired"
	elseif username and username ~= event.username then
		event.allowed, event.reason = false, ("This invitation is for the name %s"):format(username)
	end
end

module:hook("user-registering", check_invitation, -1)
