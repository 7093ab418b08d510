-- Turns the values of the environment into Prosody's options. Pure: tables in, tables out, so that a value
-- can never become anything but a value.
--
-- surroundings (see container/surroundings.lua) tells what is true of this container.

local suggestion = require "container.suggestion"

local configuration = {}

local host_modules = {
	-- Required of a modern server
	"disco", "roster", "saslauth", "tls", "dialback", "limits",
	-- What people expect of a client's server
	"blocklist", "bookmarks", "carbons", "pep", "private", "smacks", "vcard4", "vcard_legacy", "mam",
	"account_activity", "cloud_notify", "csi_simple", "lastactivity", "ping", "time", "uptime", "version",
	"external_services", "server_contact_info", "s2s_bidi",
	-- Accounts; nobody can register without an invitation unless PROSODY_ALLOW_REGISTRATION says so
	"register", "invites", "invites_adhoc", "invites_register", "watchregistrations", "tombstones", "mimicking",
	-- Administration
	"admin_adhoc", "admin_shell", "spam_reporting", "watch_spam_reports", "container_accounts",
	-- Over HTTP
	"bosh", "websocket", "http_altconnect", "http_openmetrics",
}
local room_modules = { "muc_mam", "muc_moderation", "muc_limits" }

local sql_libraries = { SQLite3 = "dbd.sqlite3", PostgreSQL = "dbd.postgresql", MySQL = "dbd.mysql" }

local function set_of(list)
	local set = {}
	for _, item in ipairs(list or {}) do set[item] = true end
	return set
end

--- The base list without what is disabled, followed by what is added, each name once.
local function select_modules(base, added, disabled)
	local selected, seen = {}, set_of(disabled)
	for _, list in ipairs { base, added } do
		for _, name in ipairs(list) do
			if not seen[name] then
				seen[name] = true
				selected[#selected + 1] = name
			end
		end
	end
	return selected
end

--- The accounts to be made: those of PROSODY_ACCOUNTS, then the one of LOCAL, DOMAIN and PASSWORD.
local function collect_accounts(values)
	local accounts = {}
	for _, account in ipairs(values.PROSODY_ACCOUNTS or {}) do accounts[#accounts + 1] = account end
	if values.LOCAL and values.PASSWORD then
		accounts[#accounts + 1] = {
			username = values.LOCAL;
			host = values.DOMAIN or values.PROSODY_DOMAIN;
			password = values.PASSWORD;
		}
	end
	return accounts
end

local function uses_sql(values)
	-- As in the official image, naming a driver is enough.
	return values.PROSODY_STORAGE == "sql" or values.PROSODY_SQL_DRIVER ~= nil
end

local function choose_password_hash(values, surroundings)
	if values.PROSODY_PASSWORD_HASH ~= "auto" then return values.PROSODY_PASSWORD_HASH end
	-- Stored passwords do not say how they were hashed: with the wrong choice nobody can log in. Files tell it by
	-- their length; a database that may come from another image cannot be asked here, so Prosody's default holds.
	if uses_sql(values) then return "SHA-1" end
	return surroundings.stored_hash or "SHA-256"
end

--- What would go wrong later, or silently. Returns problems and notes, one line of text each.
function configuration.check(values, surroundings)
	local problems, notes = {}, {}
	local function problem(...) problems[#problems + 1] = string.format(...) end
	local function note(...) notes[#notes + 1] = string.format(...) end

	for _, fault in ipairs(surroundings.faults) do problem("%s", fault) end

	local names = {}
	for _, variable in ipairs { "PROSODY_DOMAIN", "PROSODY_MUC_DOMAIN", "PROSODY_UPLOAD_DOMAIN" } do
		local name = values[variable]
		if name then
			if names[name] then problem("%s and %s are both %s: each needs its own name", names[name], variable, name) end
			names[name] = variable
		end
	end

	if values.PROSODY_DOMAIN then
		for _, account in ipairs(collect_accounts(values)) do
			if account.host ~= values.PROSODY_DOMAIN then
				problem("the account %s@%s cannot be made: the domain served is %s (PROSODY_DOMAIN)",
					account.username, account.host, values.PROSODY_DOMAIN)
			end
		end
	end
	if (values.LOCAL == nil) ~= (values.PASSWORD == nil) then
		note("%s is set without %s: no account is made from it",
			values.LOCAL and "LOCAL" or "PASSWORD", values.LOCAL and "PASSWORD" or "LOCAL")
	end

	local disabled = set_of(values.PROSODY_DISABLE_MODULES)
	for _, name in ipairs(values.PROSODY_ENABLE_MODULES or {}) do
		if disabled[name] then
			problem("PROSODY_ENABLE_MODULES and PROSODY_DISABLE_MODULES both name %s", name)
		end
		if not surroundings.has_module(name) then
			local nearest = suggestion.nearest(name, surroundings.list_modules())
			problem("PROSODY_ENABLE_MODULES: there is no module %s in this image or in /etc/prosody/modules%s",
				name, nearest and ": did you mean " .. nearest .. "?" or "")
		end
	end
	for _, name in ipairs(values.PROSODY_DISABLE_MODULES or {}) do
		if not surroundings.has_module(name) then
			note("PROSODY_DISABLE_MODULES: there is no module %s, so nothing is disabled by it", name)
		end
	end

	local driver = values.PROSODY_SQL_DRIVER
	if uses_sql(values) then
		if not driver then
			problem("PROSODY_STORAGE=sql needs PROSODY_SQL_DRIVER: SQLite3, PostgreSQL or MySQL")
		else
			if values.PROSODY_STORAGE == "memory" then
				note("PROSODY_SQL_DRIVER is set, so data is kept in the database and not in memory")
			end
			if not surroundings.has_library(sql_libraries[driver]) then
				problem("PROSODY_SQL_DRIVER: this image has no library for %s", driver)
			end
			local is_connection_string = values.PROSODY_SQL_DB and values.PROSODY_SQL_DB:find("=", 1, true)
			if driver ~= "SQLite3" and not is_connection_string then
				for _, variable in ipairs { "PROSODY_SQL_DB", "PROSODY_SQL_USERNAME" } do
					if not values[variable] then problem("PROSODY_SQL_DRIVER=%s needs %s", driver, variable) end
				end
			end
		end
	end
	return problems, notes
end

--- Global options. Every table is made anew: Prosody keeps and changes what it is given.
local function global_options(values, surroundings)
	local options = {
		admins = values.PROSODY_ADMINS;
		plugin_paths = surroundings.plugin_paths;
		modules_enabled = select_modules(host_modules, values.PROSODY_ENABLE_MODULES, values.PROSODY_DISABLE_MODULES);
		modules_disabled = values.PROSODY_DISABLE_MODULES;

		-- The runtime adds the time; a stamp here would be the second one.
		log = { { levels = { min = values.PROSODY_LOGLEVEL }, to = "console", timestamps = false } };
		statistics = "internal";
		statistics_interval = "manual";
		prosodyctl_service_warnings = false;
		hide_os_type = true;

		-- Encryption
		c2s_require_encryption = true;
		s2s_require_encryption = true;
		allow_unencrypted_plain_auth = false;
		s2s_secure_auth = values.PROSODY_S2S_SECURE_AUTH;
		c2s_direct_tls_ports = { 5223 };
		s2s_direct_tls_ports = { 5270 };
		certificates = surroundings.certificate_directory;
		-- Services without a host name of their own; a certificate of the folder above wins over these.
		c2s_direct_tls_certificate = surroundings.own_certificate;
		s2s_direct_tls_certificate = surroundings.own_certificate;
		https_certificate = surroundings.own_certificate;

		-- Accounts
		authentication = "internal_hashed";
		password_hash = choose_password_hash(values, surroundings);
		allow_registration = values.PROSODY_ALLOW_REGISTRATION;
		registration_invite_only = not values.PROSODY_ALLOW_REGISTRATION;
		registration_throttle_max = 5;
		registration_throttle_period = 3600;

		-- Limits; both close timeouts together stay below the ten seconds a runtime grants for a stop.
		limits = {
			c2s = { rate = values.PROSODY_C2S_RATE_LIMIT };
			s2sin = { rate = values.PROSODY_S2S_RATE_LIMIT };
		};
		c2s_close_timeout = 3;
		s2s_close_timeout = 3;

		-- Archives
		archive_expires_after = values.PROSODY_ARCHIVE_EXPIRES_AFTER;
		muc_log_expires_after = values.PROSODY_ARCHIVE_EXPIRES_AFTER;

		-- libunbound ends the process when it is told to read a file that it cannot read. The table of hosts is
		-- where a runtime puts extra hosts.
		unbound = { resolvconf = surroundings.has_resolver_file, hoststxt = surroundings.has_hosts_file };
	}
	if surroundings.authorities_file then
		-- Only where Prosody verifies others. As a general option the file would be read for every context, those of
		-- clients and of HTTP as well, which makes each start noticeably longer.
		for _, name in ipairs { "s2s_ssl", "s2s_direct_tls_ssl", "client_https_ssl" } do
			options[name] = { cafile = surroundings.authorities_file }
		end
	end
	-- Binding an address of a family that the kernel lacks is an error in the log at each start.
	if not surroundings.has_ipv6 then options.use_ipv6 = false end

	local interfaces = values.PROSODY_HTTP_INTERFACES
	if #interfaces == 1 and interfaces[1] == "*" then
		interfaces = surroundings.has_ipv6 and { "*", "::" } or { "*" }
	end
	options.http_interfaces = interfaces

	if uses_sql(values) then
		options.storage = "sql"
		options.sql = {
			driver = values.PROSODY_SQL_DRIVER;
			database = values.PROSODY_SQL_DB or "prosody.sqlite";
			host = values.PROSODY_SQL_HOST;
			port = values.PROSODY_SQL_PORT;
			username = values.PROSODY_SQL_USERNAME;
			password = values.PROSODY_SQL_PASSWORD;
		}
	else
		options.storage = values.PROSODY_STORAGE
	end
	return options
end

--- Returns { global = options, hosts = { { name, options } … }, components = { { name, module, options } … } }.
function configuration.build(values, surroundings)
	local accounts = collect_accounts(values)
	local built = {
		global = global_options(values, surroundings);
		hosts = {
			{
				name = values.PROSODY_DOMAIN;
				options = { certificate = surroundings.own_certificate, container_accounts = accounts };
			};
		};
		components = {};
	}
	if values.PROSODY_MUC_DOMAIN then
		table.insert(built.components, {
			name = values.PROSODY_MUC_DOMAIN;
			module = "muc";
			options = {
				modules_enabled = select_modules(room_modules, {}, values.PROSODY_DISABLE_MODULES);
				-- Otherwise anybody on any server may open rooms here.
				restrict_room_creation = "local";
			};
		})
	end
	if values.PROSODY_UPLOAD_DOMAIN then
		table.insert(built.components, {
			name = values.PROSODY_UPLOAD_DOMAIN;
			module = "http_file_share";
			options = { http_file_share_size_limit = math.floor(values.PROSODY_UPLOAD_LIMIT_MB * 1024 * 1024) };
		})
	end
	return built
end

return configuration
