local catalogue = require "container.catalogue"
local configuration = require "container.configuration"
local expect = require "expect"
local stand_ins = require "container_stand_ins"

local has = stand_ins.has

--- What is built of variables; surroundings: changes to the container that is not there.
local function build(variables, surroundings)
	return stand_ins.build(variables, { surroundings = surroundings }).built
end

local function options_of(variables, surroundings)
	return build(variables, surroundings).global.options
end

--- Options of the section of a name.
local function section_of(name, variables, surroundings)
	return build(variables, surroundings).section_of[name].options
end

local function read_well(variables)
	local result, problems = stand_ins.read(variables)
	expect.equal(problems, {})
	return result.values
end

local chat = "a.example"
local rooms = "conference.a.example"
local uploads = "upload.a.example"

local function with_domain(variables)
	variables.PROSODY_DOMAIN = chat
	return variables
end

--- All tables below a value.
local function tables_in(value, found)
	if type(value) == "table" and not found[value] then
		found[value] = true
		for _, item in pairs(value) do tables_in(item, found) end
	end
	return found
end

-- How long the resolver waits for a name server, in milliseconds, and remembers one that is away, in seconds
local resolving = { ["infra-cache-max-rtt:"] = "4000", ["infra-host-ttl:"] = "5" }

return {
	{ "defaults are safe", function()
		local built = build {}
		local options = built.global.options
		expect.equal(options.c2s_require_encryption, true)
		expect.equal(options.s2s_require_encryption, true)
		expect.equal(options.s2s_secure_auth, true)
		expect.equal(options.allow_unencrypted_plain_auth, false)
		expect.equal(options.allow_registration, false)
		expect.equal(options.registration_invite_only, true)
		expect.equal(options.authentication, "internal_hashed")
		expect.equal(options.limits, { c2s = { rate = "10kb/s" }, s2sin = { rate = "30kb/s" } })
		expect.equal(options.c2s_close_timeout + options.s2s_close_timeout < 8, true)
		expect.equal({ options.pidfile, options.sql, options.use_dane }, { nil, nil, false })
		expect.equal({ options.prosodyctl_service_warnings, options.hide_os_type }, { false, true })
		expect.equal(options.plugin_paths, { "/etc/prosody/modules", "/image/modules" })
		expect.equal(built.components[1].options.restrict_room_creation, "local")
	end },
	{ "hosts and components have their names", function()
		local built = build(with_domain {})
		expect.equal({ built.hosts[1].name, built.hosts[1].module }, { chat })
		expect.equal({ built.components[1].name, built.components[1].module }, { rooms, "muc" })
		expect.equal({ built.components[2].name, built.components[2].module }, { uploads, "http_file_share" })
		assert(built.section_of[chat] == built.hosts[1] and built.section_of[uploads] == built.components[2])
		expect.equal({ built.global.options.http_default_host, built.global.options.container_health_host }, { chat, chat })
		expect.equal(#build({ PROSODY_MUC_DOMAIN = "none", PROSODY_UPLOAD_DOMAIN = "none" }).components, 0)
	end },
	{ "every option of a variable is written where its scope says, and nowhere else", function()
		local result = stand_ins.build(with_domain {
			PROSODY_EXTERNAL_COMPONENTS = "x.a.example:s", PROSODY_PROXY65_DOMAIN = "proxy.a.example",
			PROSODY_C2S_PORTS = "5222";
			PROSODY_MUC_NAME = "Rooms", PROSODY_UPLOAD_NAME = "Files", PROSODY_PROXY65_ACL = "a.example";
			PROSODY_COMPONENT_CONFLICT_RESOLVE = "kick_old", PROSODY_PUBSUB_DOMAIN = "news.a.example",
			PROSODY_PUBSUB_MAX_ITEMS = "7";
			PROSODY_NAME = "Chat";
		})
		local built, written = result.built, {}
		for name, section in pairs(built.section_of) do
			local options = section.options
			written[name] = { options.name, options.proxy65_acl, options.component_conflict_resolve, options.pubsub_max_items }
		end
		expect.equal(written, {
			[chat] = { "Chat" }, [rooms] = { "Rooms" }, [uploads] = { "Files" }, ["proxy.a.example"] = { nil, { "a.example" } };
			["x.a.example"] = { nil, nil, "kick_old" }, ["news.a.example"] = { nil, nil, nil, 7 };
		})
		expect.equal({ built.global.options.c2s_ports, built.global.options.name }, { { 5222 } })
	end },
	{ "a component without a secret of its own has the common one", function()
		local built = build(with_domain {
			PROSODY_EXTERNAL_COMPONENTS = "b.example:own, c.example", PROSODY_COMPONENT_SECRET = "common";
		})
		local own, common = built.section_of["b.example"], built.section_of["c.example"]
		expect.equal({ own.options.component_secret, common.options.component_secret }, { "own", "common" })
		expect.equal({ own.secrets.component_secret, common.secrets.component_secret, own.origins.component_secret },
			{ true, true, "PROSODY_EXTERNAL_COMPONENTS" })
		built = build(with_domain { PROSODY_EXTERNAL_COMPONENTS = "b.example:own" })
		expect.equal(built.section_of["b.example"].secrets.component_secret, true)
	end },
	{ "modules are added and taken away", function()
		local options = options_of { PROSODY_ENABLE_MODULES = "firewall,mam", PROSODY_DISABLE_MODULES = "bosh,offline,bosh" }
		expect.equal(has(options.modules_enabled, "firewall"), true)
		expect.equal(has(options.modules_enabled, "bosh"), false)
		local count = 0
		for _, name in ipairs(options.modules_enabled) do count = count + (name == "mam" and 1 or 0) end
		expect.equal(count, 1)
		expect.equal(options.modules_disabled, { "bosh", "offline" })
	end },
	{ "modules are added and taken away for one host", function()
		local built = build(with_domain {
			PROSODY_DISABLE_MODULES = "bosh", PROSODY_ENABLE_MODULES__A_EXAMPLE = "firewall";
			PROSODY_DISABLE_MODULES__CONFERENCE_A_EXAMPLE = "muc_mam,mam", PROSODY_DISABLE_MODULES__A_EXAMPLE = "mam";
		})
		-- The list of a host is added to the global one; what is disabled there takes the place of the global list.
		expect.equal(built.section_of[chat].options.modules_enabled, { "firewall" })
		expect.equal(built.section_of[chat].options.modules_disabled, { "bosh", "mam" })
		expect.equal(built.section_of[rooms].options.modules_disabled, { "bosh", "muc_mam", "mam" })
		expect.equal(has(built.section_of[rooms].options.modules_enabled, "muc_mam"), false)
		expect.equal(has(built.section_of[rooms].options.modules_enabled, "muc_moderation"), true)
		local of_uploads, of_all = built.section_of[uploads].options, built.global.options
		expect.equal({ of_uploads.modules_enabled, of_uploads.modules_disabled }, {})
		expect.equal({ has(of_all.modules_enabled, "mam"), has(of_all.modules_enabled, "firewall") }, { true, false })
	end },
	{ "what is disabled for all is loaded nowhere", function()
		local built = build(with_domain {
			PROSODY_DISABLE_MODULES = "muc_limits, mam", PROSODY_MUC_MODULES = "vcard_muc";
			PROSODY_ENABLE_MODULES__A_EXAMPLE = "mam";
		})
		expect.equal(built.section_of[rooms].options.modules_enabled, { "muc_mam", "muc_moderation", "vcard_muc" })
		expect.equal(built.section_of[chat].options.modules_enabled, nil)
	end },
	{ "modules come with the variables that need them", function()
		for _, variable in ipairs(catalogue) do
			local enables = variable.enables
			if enables then
				local text = ({
					PROSODY_PASSWORD_MINIMUM_LENGTH = "8", PROSODY_SERVER_INFO = "{}", PROSODY_PROXY_PORTS = "5222:c2s";
				})[variable.name] or variable.type == "enum" and variable.allowed[1] or variable.type == "path" and "/a"
					or variable.of == "script" and "/a.pfw" or variable.type == "integer" and "5" or variable.type == "seconds" and "5"
					or variable.of == "address" and "a.example" or variable.of == "host" and "a.example" or "text"
				local function is_enabled(variables)
					local built = build(with_domain(variables))
					local target = variable.scope == "muc" and built.section_of[rooms] or built.global
					return has(target.options.modules_enabled, enables)
				end
				expect.equal({ variable.name, is_enabled {} }, { variable.name, false })
				expect.equal({ variable.name, is_enabled { [variable.name] = text } }, { variable.name, true })
			end
		end
	end },
	{ "switches load modules or take them away", function()
		local function modules(variables)
			local options = options_of(variables)
			return function(name) return has(options.modules_enabled, name), has(options.modules_disabled, name) end
		end
		local without_federation = modules { PROSODY_FEDERATION = "false" }
		for _, name in ipairs { "s2s", "dialback", "s2s_bidi", "s2s_auth_certs" } do
			expect.equal({ without_federation(name) }, { false, true })
		end
		expect.equal({ modules({ PROSODY_FEDERATION = "true" }) "dialback" }, { true, false })
		for name, module in pairs {
			PROSODY_BLOCK_STRANGERS = "block_strangers", PROSODY_WEB_INVITES = "invites_page",
			PROSODY_WEB_REGISTRATION = "register_web";
		} do
			expect.equal({ modules { [name] = "true" }(module) }, { true, false })
			expect.equal({ modules { [name] = "false" }(module) }, { false, false })
			expect.equal({ modules({})(module) }, { false, false })
		end
	end },
	{ "two builds share nothing that could be changed", function()
		local result = stand_ins.build(with_domain {
			PROSODY_ACCOUNTS = "x@a.example:1", PROSODY_ADMINS = "x@a.example", PROSODY_C2S_PORTS = "5222",
			PROSODY_OPTION_X = "[[1]]";
			PROSODY_DISCO_ITEMS = "b.example:B", PROSODY_CONTACT_ADMIN = "mailto:a@a.example",
			PROSODY_STORAGE_ARCHIVE = "memory";
			PROSODY_CONTACT_ADMIN__A_EXAMPLE = "mailto:b@a.example", PROSODY_ACCOUNT_ROLES = "x@a.example=prosody:admin";
			PROSODY_LOG_LEVELS = "c2s=debug", PROSODY_SERVER_INFO = '{"a": ["b"]}', PROSODY_INTERFACES = "::1";
		})
		local function written(built)
			local all = { global = built.global.options }
			for name, section in pairs(built.section_of) do all[name] = section.options end
			return all
		end
		local first = tables_in(written(configuration.build(result, catalogue)), {})
		local second = tables_in(written(configuration.build(result, catalogue)), {})
		-- Prosody may change all that it was given, but not what it was made from, and not the same for two sections.
		local sources = tables_in({ result.values, catalogue }, {})
		for _, other in ipairs(result.others) do tables_in(other.value, sources) end
		local count = 0
		for shared in pairs(first) do
			count = count + 1
			assert(not second[shared] and not sources[shared])
		end
		assert(count > 30)
	end },
	{ "no two sections share a table", function()
		local built = build(with_domain {
			PROSODY_VIRTUAL_HOSTS = "a.example, b.example", PROSODY_COMPONENTS = "c.example:muc, d.example:muc";
			PROSODY_CONTACT_ADMIN = "mailto:a@a.example", PROSODY_CONTACT_SALES__A_EXAMPLE = "mailto:b@a.example";
			PROSODY_CONTACT_SALES__B_EXAMPLE = "mailto:b@a.example", PROSODY_MUC_MODULES = "vcard_muc";
		})
		local seen = {}
		for _, section in pairs { built.global, table.unpack(built.hosts) } do
			for found in pairs(tables_in(section.options, {})) do
				assert(not seen[found])
				seen[found] = true
			end
		end
		assert(built.components[1].options.modules_enabled ~= built.components[2].options.modules_enabled)
	end },
	{ "missing files are not asked for", function()
		local options = options_of({}, { has_resolver_file = false, has_hosts_file = false, has_ipv6 = false })
		expect.equal(options.unbound, { resolvconf = false, hoststxt = false, options = resolving })
		expect.equal(options.use_ipv6, false)
		expect.equal({ options.http_interfaces, options.component_interfaces }, { { "*" }, { "*" } })
		expect.equal({ options.s2s_ssl, options.s2s_direct_tls_ssl, options.client_https_ssl }, {})
		local others = options_of({}, { authorities_file = "/ca.crt" })
		for _, name in ipairs { "s2s_ssl", "s2s_direct_tls_ssl", "client_https_ssl" } do
			expect.equal(others[name], { cafile = "/ca.crt" })
		end
		expect.equal(others.ssl, nil)
	end },
	{ "HTTP and components listen everywhere unless told otherwise", function()
		expect.equal(options_of({}).http_interfaces, { "*", "::" })
		expect.equal(options_of({}).use_ipv6, nil)
		local options = options_of { PROSODY_HTTP_INTERFACES = "127.0.0.1", PROSODY_COMPONENT_INTERFACES = "::1, 192.0.2.1" }
		expect.equal({ options.http_interfaces, options.component_interfaces }, { { "127.0.0.1" }, { "::1", "192.0.2.1" } })
		options = options_of { PROSODY_INTERFACES = "192.0.2.1" }
		expect.equal({ options.interfaces, options.http_interfaces, options.component_interfaces },
			{ { "192.0.2.1" }, { "192.0.2.1" }, { "192.0.2.1" } })
	end },
	{ "the resolver is told what is there, and what is wanted", function()
		expect.equal(options_of({}).unbound, { resolvconf = true, hoststxt = true, options = resolving })
		expect.equal(options_of({ PROSODY_DNS_HOSTS_FILE = "false" }).unbound.hoststxt, false)
		expect.equal(options_of({ PROSODY_DNS_RESOLVERS = "192.0.2.1, ::1" }).unbound.forward, { "192.0.2.1", "::1" })
		expect.equal(options_of({ PROSODY_USE_DANE = "true" }).unbound.trustfile, nil)
		local anchors = { trust_anchors = "/root.key" }
		expect.equal(options_of({ PROSODY_USE_DANE = "true" }, anchors).unbound.trustfile, "/root.key")
		expect.equal(options_of({ PROSODY_USE_DANE = "true" }, anchors).use_dane, true)
		expect.equal(options_of({}, anchors).unbound.trustfile, nil)
		local options = options_of({ PROSODY_USE_DANE = "true", PROSODY_DNSSEC_TRUST_ANCHORS = "/own.key" }, anchors)
		expect.equal(options.unbound.trustfile, "/own.key")
	end },
	{ "certificates are all in one folder, with a plan of where they come from", function()
		local options = options_of(with_domain {})
		expect.equal(options.certificates, "/run/certificates")
		expect.equal(options.container_certificates, {
			directory = "/run/certificates", sources = { { path = "/etc/prosody/certs", optional = true } };
			hosts = { chat, rooms, uploads }, own = "/var/lib/prosody/certificates/a.example";
		})
		for _, service in ipairs { "c2s_direct_tls", "s2s_direct_tls", "https" } do
			expect.equal(options[service .. "_certificate"], "/run/certificates/a.example.pem")
		end
		expect.equal({ options.certificate, section_of(chat, with_domain {}).certificate }, {})
	end },
	{ "a certificate of one's own is made unless that is switched off", function()
		expect.equal(options_of({ PROSODY_SELF_SIGNED = "false" }).container_certificates.own, nil)
	end },
	{ "outside of a running server there is no plan", function()
		local built = build(with_domain {}, { certificate_directory = false })
		expect.equal({ built.global.options.certificates, built.global.options.container_certificates },
			{ "/var/lib/prosody/certificates" })
		expect.equal(built.global.options.https_certificate, nil)
	end },
	{ "certificates of hosts that files name are served as well", function()
		local result = stand_ins.build({}, { host_files = true, file_hosts = { "b.example", "c.example" } })
		local options = result.built.global.options
		expect.equal(options.container_certificates.hosts, { "b.example", "c.example" })
		expect.equal(options.container_certificates.own, "/var/lib/prosody/certificates/b.example")
		expect.equal(options.https_certificate, "/run/certificates/b.example.pem")
		expect.equal({ options.http_default_host, options.container_health_host }, {})
	end },
	{ "OpusVL's lists of certificates are sources for one host each", function()
		local result = stand_ins.build(with_domain {
			PROSODY_IMPORT_CERTIFICATE_HOSTNAMES = "a.example b.example", PROSODY_IMPORT_CERTIFICATE_DIRECTORIES = "/x y";
			PROSODY_CERTIFICATES = "certs, /z";
		}, { surroundings = { is_default_certificates = false } })
		expect.equal(configuration.certificate_plan(result.values, result.plan, result.surroundings).sources, {
			{ path = "/etc/prosody/certs", optional = false }, { path = "/z", optional = false };
			{ path = "/x", hosts = { "a.example" } }, { path = "/etc/prosody/y", hosts = { "b.example" } };
		})
	end },
	{ "the hash of passwords follows what is stored", function()
		local sql = { PROSODY_SQL_DRIVER = "SQLite3" }
		expect.equal(options_of({}).password_hash, "SHA-256")
		expect.equal(options_of({}, { stored_hash = "SHA-1" }).password_hash, "SHA-1")
		expect.equal(options_of({}, { stored_hash = "SHA-256" }).password_hash, "SHA-256")
		expect.equal(options_of(sql).password_hash, "SHA-1")
		expect.equal(options_of({ PROSODY_STORAGE_ACCOUNTS = "sql", PROSODY_SQL_DRIVER = "SQLite3" }).password_hash, "SHA-1")
		expect.equal(options_of({ PROSODY_STORAGE_ARCHIVE = "sql", PROSODY_DB_DRIVER = "SQLite3" }).password_hash, "SHA-256")
		expect.equal(options_of({ PROSODY_STORAGE_ACCOUNTS = "internal", PROSODY_SQL_DRIVER = "SQLite3" }).password_hash,
			"SHA-256")
		sql.PROSODY_PASSWORD_HASH = "SHA-256"
		expect.equal(options_of(sql).password_hash, "SHA-256")
		expect.equal(section_of(chat, with_domain { PROSODY_PASSWORD_HASH__A_EXAMPLE = "sha-1" }).password_hash, "SHA-1")
	end },
	{ "naming a driver makes the database the storage", function()
		local options = options_of {
			PROSODY_SQL_DRIVER = "PostgreSQL", PROSODY_SQL_DB = "d", PROSODY_SQL_USERNAME = "u", PROSODY_SQL_PASSWORD = "]]\n\"";
			PROSODY_SQL_PORT = "5433", PROSODY_SQL_HOST = "db";
		}
		expect.equal({ options.storage, options.default_storage }, { "sql" })
		expect.equal(options.sql, {
			driver = "PostgreSQL", database = "d", username = "u", password = "]]\n\"", port = 5433, host = "db";
		})
	end },
	{ "an unused database is not configured", function()
		expect.equal(options_of({ PROSODY_SQL_DB = "d", PROSODY_SQL_PASSWORD = "x", PROSODY_SQL_PORT = "1" }).sql, nil)
	end },
	{ "a database in a file has no server", function()
		local options = options_of {
			DB_DRIVER = "SQLite3", DB_USERNAME = "u", DB_PASSWORD = "p", DB_HOST = "h", DB_PORT = "1";
		}
		expect.equal(options.sql, { driver = "SQLite3", database = "prosody.sqlite" })
	end },
	{ "stores can be elsewhere, and hosts as well", function()
		local options = options_of { PROSODY_STORAGE_ARCHIVE = "memory", PROSODY_STORAGE_PEP_DATA = "none" }
		expect.equal({ options.storage, options.default_storage }, { { archive = "memory", pep_data = "none" }, "internal" })
		local built = build(with_domain { PROSODY_STORAGE = "internal", PROSODY_STORAGE__CONFERENCE_A_EXAMPLE = "memory" })
		expect.equal(built.global.options.storage, "internal")
		expect.equal({ built.section_of[rooms].options.storage, built.section_of[chat].options.storage }, { "memory" })
	end },
	{ "accounts come from both sources", function()
		local variables = with_domain { PROSODY_ACCOUNTS = "x@a.example:1\nz@a.example", LOCAL = "y", PASSWORD = "2" }
		local section = build(variables).section_of[chat]
		expect.equal(section.options.container_accounts, {
			{ username = "x", host = chat, password = "1" }, { username = "z", host = chat };
			{ username = "y", host = chat, password = "2" };
		})
		expect.equal(section.secrets.container_accounts, true)
		expect.equal(configuration.accounts(read_well { DOMAIN = "b.example", LOCAL = "y", PASSWORD = "2" }),
			{ { username = "y", host = "b.example", password = "2" } })
		expect.equal(configuration.accounts(read_well { LOCAL = "y" }), {})
		expect.equal(configuration.accounts(read_well { PASSWORD = "y" }), {})
	end },
	{ "each host has its own accounts and roles", function()
		local built = build {
			PROSODY_VIRTUAL_HOSTS = "a.example, b.example", PROSODY_ACCOUNTS = "x@b.example:1\ny@a.example:2";
			PROSODY_ACCOUNT_ROLES = "x@b.example=prosody:admin, y@a.example=prosody:operator",
			PROSODY_ACCOUNTS_OVERWRITE = "true";
		}
		expect.equal(built.section_of[chat].options.container_accounts, { { username = "y", host = chat, password = "2" } })
		expect.equal(built.section_of[chat].options.container_account_roles, { y = "prosody:operator" })
		expect.equal(built.section_of["b.example"].options.container_account_roles, { x = "prosody:admin" })
		expect.equal(built.global.options.container_accounts_overwrite, true)
	end },
	{ "whoever has no account is invited, once", function()
		expect.equal(section_of(chat, with_domain {}).container_admin_invite, 86400)
		expect.equal(section_of(chat, with_domain { PROSODY_ADMIN_INVITE_EXPIRES_AFTER = "1 h" }).container_admin_invite,
			3600)
		expect.equal(section_of(chat, with_domain { PROSODY_ADMIN_INVITE = "false" }).container_admin_invite, nil)
		expect.equal(section_of(chat, with_domain { PROSODY_ACCOUNTS = "x@a.example:1" }).container_admin_invite, nil)
	end },
	{ "registration is by invitation until it is opened, for all or for one host", function()
		expect.equal(options_of({ PROSODY_ALLOW_REGISTRATION = "true" }).registration_invite_only, false)
		local options = options_of { PROSODY_ALLOW_REGISTRATION = "true", PROSODY_REGISTRATION_INVITE_ONLY = "true" }
		expect.equal({ options.allow_registration, options.registration_invite_only }, { true, true })
		local built = build(with_domain { PROSODY_ALLOW_REGISTRATION__A_EXAMPLE = "true" })
		expect.equal({ built.global.options.allow_registration, built.global.options.registration_invite_only },
			{ false, true })
		local own = built.section_of[chat].options
		expect.equal({ own.allow_registration, own.registration_invite_only }, { true, false })
	end },
	{ "a policy for encryption in rooms is enforced by the rooms", function()
		local built = build(with_domain { PROSODY_E2E_POLICY_MUC = "required" })
		expect.equal({ built.global.options.e2e_policy_muc, built.global.options.e2e_policy_chat }, { "required", "none" })
		expect.equal(has(built.section_of[rooms].options.modules_enabled, "e2e_policy"), true)
		built = build(with_domain { PROSODY_E2E_POLICY_CHAT = "optional" })
		expect.equal({ built.global.options.e2e_policy_muc, built.global.options.e2e_policy_chat }, { "none", "optional" })
		expect.equal(has(built.section_of[rooms].options.modules_enabled, "e2e_policy"), false)
	end },
	{ "items and information have the form that Prosody wants", function()
		expect.equal(options_of({ PROSODY_DISCO_ITEMS = "c.example:Gateway, b.example" }).disco_items,
			{ { "b.example" }, { "c.example", "Gateway" } })
		local options = options_of { PROSODY_SERVER_INFO = '{"country": "CH", "languages": ["de", "fr"]}' }
		expect.equal(options.server_info_extensions, {
			{ name = "country", var = "country", type = "text-single" };
			{ name = "languages", var = "languages", type = "list-multi" };
		})
	end },
	{ "the log has the lowest level that anything wants", function()
		local log = options_of({ PROSODY_LOGLEVEL = "warn", PROSODY_LOG_LEVELS = "c2s=error,mam=debug" }).log[1]
		expect.equal({ log.to, log.level, log.levels, log.levels_by_name }, {
			"container", "warn", { min = "debug" }, { c2s = "error", mam = "debug" };
		})
		log = options_of({ PROSODY_LOG_FORMAT = "json", PROSODY_LOG_ADDRESSES = "no", PROSODY_LOG_TIMESTAMPS = "yes" }).log[1]
		expect.equal({ log.format, log.addresses, log.timestamps, log.levels, log.levels_by_name },
			{ "json", false, true, { min = "info" }, {} })
	end },
	{ "a value for one host is in its section alone", function()
		local built = build(with_domain {
			PROSODY_ARCHIVE_EXPIRES_AFTER__A_EXAMPLE = "1d", PROSODY_AUTHENTICATION__a_example = "ldap";
			PROSODY_UPLOAD_SIZE_LIMIT__UPLOAD_A_EXAMPLE = "5 MB", PROSODY_TURN_SECRET__A_EXAMPLE = "hunter2";
			PROSODY_NAME__A_EXAMPLE = "Chat";
		})
		expect.equal({ built.section_of[chat].options.name, built.section_of[rooms].options.name }, { "Chat" })
		local own = built.section_of[chat]
		expect.equal({ own.options.archive_expires_after, own.options.authentication, own.options.turn_external_secret },
			{ 86400, "ldap", "hunter2" })
		expect.equal({ own.secrets.turn_external_secret, own.origins.turn_external_secret },
			{ true, "PROSODY_TURN_SECRET__A_EXAMPLE" })
		expect.equal({ built.global.options.archive_expires_after, built.global.options.authentication },
			{ 604800, "internal_hashed" })
		expect.equal({ built.global.options.turn_external_secret, built.section_of[rooms].options.turn_external_secret }, {})
		expect.equal(built.section_of[uploads].options.http_file_share_size_limit, 5242880)
		expect.equal(own.options.modules_enabled, { "turn_external" })
		expect.equal(has(built.global.options.modules_enabled, "turn_external"), false)
	end },
	{ "a table of one host has what the global one has", function()
		local built = build(with_domain {
			PROSODY_CONTACT_ABUSE = "mailto:x@a.example", PROSODY_CONTACT_ADMIN__A_EXAMPLE = "mailto:y@a.example";
		})
		expect.equal(built.section_of[chat].options.contact_info, {
			abuse = { "mailto:x@a.example" }, admin = { "mailto:y@a.example" };
		})
		expect.equal(built.global.options.contact_info, { abuse = { "mailto:x@a.example" } })
		expect.equal(built.section_of[rooms].options.contact_info, nil)
	end },
	{ "any option can be set, for all and for one host", function()
		local built = build(with_domain {
			PROSODY_OPTION_C2S_TIMEOUT = "30", PROSODY_OPTION_NEW = '{"a": [1, {"b": false}]}', PROSODY_OPTION_OFF = "false";
			PROSODY_OPTION_OFF__A_EXAMPLE = "false", PROSODY_OPTION_NAME__CONFERENCE_A_EXAMPLE = '"Rooms"';
		})
		local options = built.global.options
		expect.equal({ options.c2s_timeout, options.new, options.off }, { 30, { a = { 1, { b = false } } }, false })
		expect.equal(built.section_of[chat].options.off, false)
		expect.equal(built.section_of[rooms].options.name, "Rooms")
		expect.equal(built.global.origins.c2s_timeout, "PROSODY_OPTION_C2S_TIMEOUT")
	end },
	{ "null takes an option away", function()
		local built = build(with_domain {
			PROSODY_OPTION_LIMITS = "null", PROSODY_MUC_NAME = "Rooms", PROSODY_OPTION_NAME__CONFERENCE_A_EXAMPLE = "null";
		})
		expect.equal({ built.global.options.limits, built.section_of[rooms].options.name }, {})
		expect.equal(built.section_of[rooms].options.restrict_room_creation, "local")
	end },
	{ "what is given as an option has the last word, whatever its form", function()
		local built = build(with_domain {
			PROSODY_OPTION_SSL__A_EXAMPLE = '"x"', PROSODY_TLS_CIPHERS__A_EXAMPLE = "HIGH", PROSODY_OPTION_SSL = '"y"';
			PROSODY_TLS_CIPHERS__CONFERENCE_A_EXAMPLE = "HIGH";
		})
		expect.equal({ built.global.options.ssl, built.section_of[chat].options.ssl, built.section_of[rooms].options.ssl },
			{ "y", "x", { ciphers = "HIGH" } })
	end },
	{ "lists of modules that are given as options stay as they are", function()
		local built = build(with_domain {
			PROSODY_OPTION_MODULES_ENABLED = '["disco", "roster", "disco"]',
			PROSODY_OPTION_MODULES_DISABLED__A_EXAMPLE = '["c2s"]';
			PROSODY_OPTION_MODULES_ENABLED__A_EXAMPLE = '["mam"]', PROSODY_WEB_INVITES__A_EXAMPLE = "true";
			PROSODY_DISABLE_MODULES = "mam";
		})
		expect.equal(built.global.options.modules_enabled, { "disco", "roster", "disco" })
		expect.equal(built.global.options.modules_disabled, { "mam" })
		expect.equal(built.section_of[chat].options.modules_enabled, { "mam" })
		expect.equal(built.section_of[chat].options.modules_disabled, { "c2s" })
	end },
	{ "a value for a host that is not there changes nothing", function()
		local built = build(with_domain { PROSODY_NAME__B_EXAMPLE = "b", PROSODY_OPTION_NAME__B_EXAMPLE = '"b"' })
		for _, section in pairs { built.global, table.unpack(built.hosts) } do expect.equal(section.options.name, nil) end
	end },
	{ "without a host of ours there are options for those of the files", function()
		local built = stand_ins.build({ PROSODY_VIRTUAL_HOSTS = "none", PROSODY_ACCOUNTS = "x@b.example:1" }).built
		expect.equal({ #built.hosts, #built.components, built.global.options.container_certificates }, { 0, 0 })
		expect.equal(built.global.options.authentication, "internal_hashed")
	end },
	{ "where block lists are asked, what they say can be noted", function()
		local built = build(with_domain { PROSODY_DNSBLS = "dnsbl.example" })
		for _, module in ipairs { "dnsbl", "container_dnsbl" } do
			expect.equal(has(built.global.options.modules_enabled, module), true)
		end
	end };
	{ "a server can keep to itself what it is", function()
		local built = build(with_domain { PROSODY_DISCREET = "true", PROSODY_MUC_NAME = "Rooms" })
		for _, module in ipairs { "version", "time", "uptime", "lastactivity" } do
			expect.equal(has(built.global.options.modules_enabled, module), false)
		end
		for _, name in ipairs { chat, rooms, uploads } do
			expect.equal(has(built.section_of[name].options.modules_enabled, "container_discretion"), true)
		end
		expect.equal({ built.section_of[chat].options.name, built.section_of[rooms].options.name }, { chat, "Rooms" })
		local named = build(with_domain {
			PROSODY_DISCREET = "true", PROSODY_NAME = "Chat", PROSODY_NAME__UPLOAD_A_EXAMPLE = "F";
		})
		expect.equal({ named.section_of[chat].options.name, named.section_of[uploads].options.name }, { "Chat", "F" })
		local open = build(with_domain {})
		expect.equal({ has(open.global.options.modules_enabled, "version"), open.section_of[chat].options.name }, { true })
	end },
	{ "a login can be tied to its connection", function()
		local offered = options_of { PROSODY_CHANNEL_BINDING = "optional", PROSODY_DISABLE_SASL_MECHANISMS = "PLAIN" }
		expect.equal(offered.disable_sasl_mechanisms, { "PLAIN" })
		local required = options_of { PROSODY_CHANNEL_BINDING = "required", PROSODY_DISABLE_SASL_MECHANISMS = "X-TEST" }
		for _, mechanism in ipairs { "X-TEST", "PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "OAUTHBEARER" } do
			expect.equal(has(required.disable_sasl_mechanisms, mechanism), true)
		end
		expect.equal(has(required.disable_sasl_mechanisms, "SCRAM-SHA-256-PLUS"), false)
	end },
	{ "ways to connect over HTTP, and statistics, can be left out", function()
		local options = options_of { PROSODY_BOSH = "false" }
		expect.equal({ has(options.modules_enabled, "bosh"), has(options.modules_enabled, "http_altconnect") },
			{ false, true })
		options = options_of { PROSODY_BOSH = "false", PROSODY_WEBSOCKET = "false", PROSODY_METRICS = "false" }
		expect.equal({ has(options.modules_enabled, "websocket"), has(options.modules_enabled, "http_altconnect") },
			{ false, false })
		expect.equal({ options.statistics, has(options.modules_enabled, "http_openmetrics") }, { nil, false })
		expect.equal(options_of({}).statistics, "internal")
	end },
	{ "modules of the community are loaded where the image has them", function()
		local function without() return false end
		local built = build(with_domain {}, { has_module = without })
		expect.equal(built.section_of[rooms].options.modules_enabled, { "muc_mam" })
		expect.equal(has(built.global.options.modules_enabled, "spam_reporting"), false)
		expect.equal(has(options_of({}).modules_enabled, "spam_reporting"), true)
	end },
	{ "hostile values are values in the options", function()
		local text = '"]] os.exit(1) --\\'
		local options = options_of { PROSODY_WELCOME_MESSAGE = text, PROSODY_STATSD_PREFIX = text }
		expect.equal({ options.welcome_message, options.statistics_config.prefix }, { text, text })
	end },
}
