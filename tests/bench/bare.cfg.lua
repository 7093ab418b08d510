-- What an administrator would write by hand for the server that the image makes of PROSODY_DOMAIN=chat.example:
-- the configuration that the container is measured against.
--
-- It was made equivalent by going through what the image's command "config" prints, option by option, and it stays so:
-- before anything is measured, bare.py has the image print both configurations as Prosody reads them. Every option must
-- be the same in both, the list of modules but for the image's own (container_…), unless bare.py names the option as
-- one that has to differ: addresses and ports, the log, and what speaks of files of the image.

-- The server shares the machine's network, so it keeps to the loopback, and to ports that others do not use. There are
-- as many sockets as in the container, which listens on all addresses of both families.
interfaces = { "127.0.0.1", "::1" }
http_interfaces = { "127.0.0.1", "::1" }
component_interfaces = { "127.0.0.1", "::1" }
c2s_ports = { 15222 }
c2s_direct_tls_ports = { 15223 }
s2s_ports = { 15269 }
s2s_direct_tls_ports = { 15270 }
http_ports = { 15280 }
https_ports = { 15281 }
http_default_host = "chat.example"

admins = { }

modules_enabled = {
	-- Required of a modern server
	"disco"; "roster"; "saslauth"; "tls"; "dialback"; "limits";
	-- For clients
	"blocklist"; "bookmarks"; "carbons"; "pep"; "private"; "smacks"; "vcard4"; "vcard_legacy"; "mam";
	"account_activity"; "cloud_notify"; "csi_simple"; "lastactivity"; "ping"; "time"; "uptime"; "version";
	"external_services"; "server_contact_info"; "s2s_bidi";
	-- Accounts
	"register"; "invites"; "invites_adhoc"; "invites_register"; "watchregistrations"; "tombstones"; "mimicking";
	-- Administration
	"admin_adhoc"; "admin_shell";
	-- HTTP
	"bosh"; "websocket"; "http_altconnect"; "http_openmetrics";
	-- Reports of spam
	"spam_reporting"; "watch_spam_reports";
}
modules_disabled = { }

authentication = "internal_hashed"
password_hash = "SHA-256"
allow_unencrypted_plain_auth = false
allow_registration = false
registration_invite_only = true
registration_throttle_max = 5
registration_throttle_period = 3600

storage = "internal"
umask = "027"
gc = { threshold = 150 }
archive_expires_after = 604800

-- The pair that the container made for itself lies in the data, of which this server has a copy.
certificates = "/var/lib/prosody/certificates"
c2s_direct_tls_certificate = "/var/lib/prosody/certificates/chat.example.crt"
s2s_direct_tls_certificate = "/var/lib/prosody/certificates/chat.example.crt"
https_certificate = "/var/lib/prosody/certificates/chat.example.crt"
c2s_require_encryption = true
s2s_require_encryption = true
s2s_secure_auth = true
s2s_ssl = { cafile = "/etc/ssl/certs/ca-certificates.crt" }
s2s_direct_tls_ssl = { cafile = "/etc/ssl/certs/ca-certificates.crt" }
client_https_ssl = { cafile = "/etc/ssl/certs/ca-certificates.crt" }
use_dane = false
unbound = {
	resolvconf = true;
	hoststxt = true;
	options = { ["infra-cache-max-rtt:"] = "4000"; ["infra-host-ttl:"] = "5" };
}

limits = {
	c2s = { rate = "10kb/s" };
	s2sin = { rate = "30kb/s" };
}
c2s_close_timeout = 3
s2s_close_timeout = 3

hide_os_type = true
statistics = "internal"
statistics_interval = "manual"
log = { info = "*stdout" }

VirtualHost "chat.example"

Component "conference.chat.example" "muc"
	modules_enabled = { "muc_mam", "muc_moderation", "muc_limits" }
	muc_log_expires_after = 604800
	restrict_room_creation = "local"

Component "upload.chat.example" "http_file_share"
	http_file_share_size_limit = 10485760
