-- The environment variables this image understands. Pure data: no code, no references to code.
--
-- name      what to set; every variable also has a <name>_FILE twin that names a file holding the value
-- aliases   other names with the same meaning
-- type      a parser of container/types.lua, with its parameters beside it (of, allowed, minimum, maximum, …)
-- default   text, read by the same parser; ${NAME} stands for the value of a variable listed further up
-- fallback  a variable whose value is taken when this one is not set
-- secret    the value never appears in any message
return {
	{
		name = "DOMAIN";
		type = "host";
		meaning = "Domain of the account made from LOCAL and PASSWORD; also the default of PROSODY_DOMAIN.";
	};
	{
		name = "LOCAL";
		type = "node";
		meaning = "Name of one account, made as LOCAL@DOMAIN when PASSWORD is set as well.";
	};
	{
		name = "PASSWORD";
		type = "text";
		secret = true;
		meaning = "Password of the account made from LOCAL and DOMAIN.";
	};
	{
		name = "PROSODY_DOMAIN";
		type = "host";
		fallback = "DOMAIN";
		default = "localhost";
		meaning = "The domain served: what stands after the @ in the addresses of its users.";
	};
	{
		name = "PROSODY_ADMINS";
		type = "list";
		of = "jid";
		default = "";
		meaning = "Addresses of the server's operators.";
	};
	{
		name = "PROSODY_ACCOUNTS";
		type = "accounts";
		secret = true;
		meaning = "Accounts made at the start unless they exist: one a line, address:password. "
			.. "A password may contain anything but a line break.";
	};
	{
		name = "PROSODY_LOGLEVEL";
		aliases = { "PROSODY_LOG_LEVEL" };
		type = "enum";
		allowed = { "debug", "info", "warn", "error" };
		default = "info";
		meaning = "The least important kind of message that is logged. debug also logs secrets.";
	};
	{
		name = "PROSODY_STORAGE";
		type = "enum";
		allowed = { "internal", "sql", "memory" };
		default = "internal";
		meaning = "Where data is kept: files in the data directory, a database, or nowhere.";
	};
	{
		name = "PROSODY_SQL_DRIVER";
		type = "enum";
		allowed = { "SQLite3", "PostgreSQL", "MySQL" };
		meaning = "Kind of database. Setting it makes sql the storage.";
	};
	{
		name = "PROSODY_SQL_DB";
		type = "string";
		meaning = "Name of the database; for SQLite3 a file, by default prosody.sqlite in the data directory.";
	};
	{
		name = "PROSODY_SQL_HOST";
		type = "string";
		meaning = "Host of the database server.";
	};
	{
		name = "PROSODY_SQL_PORT";
		type = "integer";
		minimum = 1;
		maximum = 65535;
		meaning = "Port of the database server, when it is not the usual one.";
	};
	{
		name = "PROSODY_SQL_USERNAME";
		type = "string";
		meaning = "User name at the database server.";
	};
	{
		name = "PROSODY_SQL_PASSWORD";
		type = "text";
		secret = true;
		meaning = "Password at the database server.";
	};
	{
		name = "PROSODY_PASSWORD_HASH";
		type = "enum";
		allowed = { "auto", "SHA-256", "SHA-1" };
		default = "auto";
		meaning = "Hash in which passwords are stored, and with it the SCRAM mechanism offered. It cannot change "
			.. "once there are accounts. auto: what existing accounts in files use, SHA-1 in a database, else SHA-256.";
	};
	{
		name = "PROSODY_CERTIFICATES";
		type = "path";
		base = "/etc/prosody";
		default = "/etc/prosody/certs";
		meaning = "Folder searched for certificates: *.crt with *.key, or fullchain*.pem with privkey*.pem.";
	};
	{
		name = "PROSODY_ENABLE_MODULES";
		type = "list";
		of = "module";
		default = "";
		meaning = "Modules loaded in addition.";
	};
	{
		name = "PROSODY_DISABLE_MODULES";
		type = "list";
		of = "module";
		default = "";
		meaning = "Modules not loaded.";
	};
	{
		name = "PROSODY_ALLOW_REGISTRATION";
		type = "boolean";
		default = "false";
		meaning = "Whether anybody may make an account from a client.";
	};
	{
		name = "PROSODY_C2S_RATE_LIMIT";
		type = "rate";
		default = "10kb/s";
		meaning = "Bandwidth of each client connection.";
	};
	{
		name = "PROSODY_S2S_RATE_LIMIT";
		type = "rate";
		default = "30kb/s";
		meaning = "Bandwidth of each incoming connection from another server.";
	};
	{
		name = "PROSODY_S2S_SECURE_AUTH";
		type = "boolean";
		default = "true";
		meaning = "Whether other servers must show a valid certificate.";
	};
	{
		name = "PROSODY_ARCHIVE_EXPIRES_AFTER";
		type = "duration";
		default = "1w";
		meaning = "How long messages are kept in the archives of users and rooms.";
	};
	{
		name = "PROSODY_MUC_DOMAIN";
		type = "host";
		none = true;
		default = "conference.${PROSODY_DOMAIN}";
		meaning = "Domain of the chat rooms; none for no rooms.";
	};
	{
		name = "PROSODY_UPLOAD_DOMAIN";
		type = "host";
		none = true;
		default = "upload.${PROSODY_DOMAIN}";
		meaning = "Domain of the file upload service; none for no uploads.";
	};
	{
		name = "PROSODY_UPLOAD_LIMIT_MB";
		type = "number";
		minimum = 0.001;
		maximum = 1048576;
		default = "10";
		meaning = "Largest file that can be uploaded, in MiB.";
	};
	{
		name = "PROSODY_HTTP_INTERFACES";
		type = "list";
		of = "interface";
		default = "*";
		meaning = "Addresses on which plain HTTP (port 5280) is served; * for all.";
	};
}
