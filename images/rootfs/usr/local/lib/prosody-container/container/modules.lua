-- The modules of Prosody in this image.
--
-- Generated from images/modules.yaml. Do not edit: change that file and run scripts/nox -s generate

return {
	{
		name = "account_activity";
		summary = "Records when each account was last used, so that operators can find and clean up idle ones.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "adhoc";
		summary = "Lets other modules offer commands that clients can run (XEP-0050).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "adhoc_blacklist";
		summary = "Lets administrators block whole remote servers with a command from their client (XEP-0133).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "adhoc_oauth2_client";
		summary = "Lets users register OAuth 2.0 clients with a command from their XMPP client.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "admin_adhoc";
		summary = "Offers administrators commands in their client: add users, reload modules and more (XEP-0133).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "admin_shell";
		summary = "The commands behind `prosodyctl shell`, with which operators inspect and steer a running server.";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "admin_socket";
		summary = "The local socket through which `prosodyctl` reaches a running server.";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "admin_telnet";
		summary = "Opens the administration shell on a local TCP port (5582) for telnet.";
		origin = "prosody";
		scope = "global";
		obsolete = "admin_shell, with `prosodyctl shell`";
	};
	{
		name = "admin_web";
		summary = "Web page that shows connections and runs administrators' commands.";
		origin = "prosody-modules";
		scope = "host";
		broken = "Its page lacks its JavaScript libraries, and it asks for administrators in an old way.";
		obsolete = "admin_shell and admin_adhoc";
	};
	{
		name = "announce";
		summary = "Lets administrators send a message to all users of a host (XEP-0133).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "anti_spam";
		summary = "Filters spam from strangers by block lists published over XMPP and by text patterns.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "atom";
		summary = "Publishes users' microblogs as Atom feeds over HTTP (XEP-0277).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "auth_anonymous";
		summary = "Lets anybody in without a password, each under a random address (SASL ANONYMOUS).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "auth_ccert";
		summary = "Logs users in by their TLS client certificate instead of a password.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "auth_cyrus";
		summary = "Checks passwords with the Cyrus SASL library.";
		origin = "prosody-modules";
		scope = "host";
		broken = "The Lua library cyrussasl is not in the image.";
	};
	{
		name = "auth_dovecot";
		summary = "Checks passwords with a Dovecot authentication service.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "auth_ha1";
		summary = "Checks passwords against a text file of HA1 hashes, such as one shared with a TURN server.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "auth_insecure";
		summary = "Accepts any password for any account, for tests and development only.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "auth_internal_hashed";
		summary = "Keeps accounts in Prosody's own storage with hashed passwords; the default.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "auth_internal_plain";
		summary = "Keeps accounts in Prosody's own storage with readable passwords.";
		origin = "prosody";
		scope = "host";
		obsolete = "auth_internal_hashed";
	};
	{
		name = "auth_json_web_token";
		summary = "Lets people in who have a signed JSON Web Token (RFC 7519), in their web address or as password.";
		origin = "image";
		scope = "host";
	};
	{
		name = "auth_ldap";
		summary = "Checks passwords in an LDAP directory.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "auth_ldap2";
		summary = "Checks passwords in an LDAP directory, with groups and settings shared with storage_ldap.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "auth_oauthbearer";
		summary = "Lets clients log in with a token that an OAuth 2.0 provider confirms.";
		origin = "prosody-modules";
		scope = "host";
		broken = "Written for an older OAUTHBEARER: it sends the provider the host's name instead of the token.";
	};
	{
		name = "auth_sql";
		summary = "Checks readable passwords in the table `authreg` of an SQL database, as jabberd2 had it.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "authz_internal";
		summary = "Decides what users may do by their roles; administrators come from the option `admins`.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "block_strangers";
		summary = "Drops messages and requests from senders who are not in the receiver's contact list.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "blocking";
		summary = "Blocks contacts through privacy lists (XEP-0191).";
		origin = "prosody-modules";
		scope = "host";
		obsolete = "blocklist";
	};
	{
		name = "blocklist";
		summary = "Lets users block other addresses (XEP-0191).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "bob";
		summary = "Caches small images sent in rooms, so that they are fetched from the sender once (XEP-0231).";
		origin = "prosody-modules";
		scope = "muc";
		broken = "Needs mod_cache_c2s_caps, which Debian does not package.";
	};
	{
		name = "bookmarks";
		summary = "Keeps users' bookmarked rooms in step between old and new clients (XEP-0402, XEP-0411).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "bosh";
		summary = "Lets web clients connect over HTTP requests (XEP-0124, XEP-0206).";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "broadcast";
		summary = "Passes a message on to every user who is online.";
		origin = "prosody-modules";
		scope = "component";
		broken = "Every message to it ends in an error: it asks for administrators in an old way.";
		obsolete = "announce";
	};
	{
		name = "c2s";
		summary = "Accepts connections of clients.";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "c2s_conn_throttle";
		summary = "Refuses clients from addresses that connect too often.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "carbons";
		summary = "Delivers copies of messages to all of a user's devices (XEP-0280).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "carbons_adhoc";
		summary = "Shows users which of their devices receive copies of messages (XEP-0280).";
		origin = "prosody-modules";
		scope = "host";
		broken = "Does not say who may run its command, which Prosody 13 insists on.";
	};
	{
		name = "carbons_copies";
		summary = "Turns copies of messages on for clients that cannot ask for them.";
		origin = "prosody-modules";
		scope = "host";
		obsolete = "carbons";
	};
	{
		name = "client_certs";
		summary = "Lets users register TLS client certificates for logging in without a password (XEP-0257).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "cloud_notify";
		summary = "Wakes sleeping mobile clients through their push services (XEP-0357).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "cloud_notify_encrypted";
		summary = "Encrypts the content of push notifications for the receiving device.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "cloud_notify_extensions";
		summary = "Loads the push extensions that clients for iOS want: encryption, filters and priorities.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "cloud_notify_filters";
		summary = "Lets clients say which messages are to cause a push notification.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "cloud_notify_priority_tag";
		summary = "Tells push services which notifications are important.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "component";
		summary = "Accepts connections of external components such as gateways (XEP-0114).";
		origin = "prosody";
		scope = "component";
	};
	{
		name = "cron";
		summary = "Runs the hourly, daily and weekly tasks of other modules.";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "csi";
		summary = "Learns from clients whether their user is looking, for other modules to use (XEP-0352).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "csi_battery_saver";
		summary = "Holds unimportant traffic back while a mobile client sleeps, more thoroughly than csi_simple.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "csi_simple";
		summary = "Holds unimportant traffic back while a mobile client sleeps (XEP-0352).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "debug_reset";
		summary = "Restarts all hosts whenever the last client has left, to isolate runs of tests.";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "debug_sql";
		summary = "Logs every SQL query, for developers.";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "default_bookmarks";
		summary = "Gives users without bookmarks a set of rooms to start with.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "delegation";
		summary = "Lets external components answer for parts of the server (XEP-0355).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "dialback";
		summary = "Verifies other servers by asking the domain they claim to be (XEP-0220).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "disco";
		summary = "Tells clients and servers what this server offers (XEP-0030, XEP-0115).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "dnsbl";
		summary = "Flags accounts that were registered from IP addresses on DNS block lists.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "e2e_policy";
		summary = "Recommends or requires that messages are end-to-end encrypted, in conversations and in rooms.";
		origin = "image";
		scope = "host";
	};
	{
		name = "external_services";
		summary = "Tells clients about services beside the server, such as STUN and TURN (XEP-0215).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "filter_chatstates";
		summary = "Drops typing notifications while a client is inactive (XEP-0085).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "firewall";
		summary = "Blocks, bounces, changes or logs stanzas by rules in script files.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "flags";
		summary = "Keeps marks on accounts that other modules and operators set.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "focus_proxy";
		summary = "Component that stands for an account, so that participants of a Jitsi conference find Jicofo.";
		origin = "image";
		scope = "component";
	};
	{
		name = "groups";
		summary = "Puts users into each other's contact lists by groups written in a file.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "host_guard";
		summary = "Restricts which remote servers may talk to which local hosts.";
		origin = "prosody-modules";
		scope = "global";
	};
	{
		name = "http";
		summary = "The HTTP server inside Prosody that other modules use.";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "http_altconnect";
		summary = "Tells web clients where BOSH and WebSocket are (XEP-0156).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "http_errors";
		summary = "Makes error pages of the HTTP server readable for people.";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "http_file_share";
		summary = "Lets users upload files to share them in chats (XEP-0363).";
		origin = "prosody";
		scope = "component";
	};
	{
		name = "http_files";
		summary = "Serves files of a folder over HTTP.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "http_libjs";
		summary = "Serves JavaScript libraries that are installed on the system over HTTP.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "http_muc_log";
		summary = "Shows the archives of public rooms as web pages.";
		origin = "prosody-modules";
		scope = "muc";
	};
	{
		name = "http_oauth2";
		summary = "OAuth 2.0 and OpenID Connect provider for the accounts of this server.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "http_openmetrics";
		summary = "Exports statistics in the OpenMetrics format that Prometheus reads.";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "http_pep_avatar";
		summary = "Serves users' avatars over HTTP (XEP-0084).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "http_upload_external";
		summary = "Hands file uploads over to a separate web service (XEP-0363).";
		origin = "prosody-modules";
		scope = "component";
	};
	{
		name = "invites";
		summary = "Makes and checks invitations to the server, also from the command line.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "invites_adhoc";
		summary = "Lets users invite contacts and new users from their client (XEP-0401).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "invites_api";
		summary = "Lets other programs make invitations over HTTP with a key.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "invites_page";
		summary = "Web page that an invitation's link leads to.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "invites_register";
		summary = "Lets clients register an account with an invitation (XEP-0401, XEP-0379).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "invites_register_web";
		summary = "Lets invited people register an account on a web page.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "invites_tracking";
		summary = "Records which invitation each account was made with.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "ipcheck";
		summary = "Tells clients their own public IP address (XEP-0279).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "iq";
		summary = "Passes requests and answers between clients on; always loaded.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "lastactivity";
		summary = "Tells contacts how long a user has been away (XEP-0012).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "lastlog";
		summary = "Records when users last logged in or out.";
		origin = "prosody-modules";
		scope = "host";
		obsolete = "account_activity";
	};
	{
		name = "lastlog2";
		summary = "Records the last login, logout and registration of each user.";
		origin = "prosody-modules";
		scope = "host";
		obsolete = "account_activity";
	};
	{
		name = "legacyauth";
		summary = "Logs in clients from before SASL (XEP-0078).";
		origin = "prosody";
		scope = "host";
		obsolete = "saslauth";
	};
	{
		name = "limits";
		summary = "Limits the bandwidth of each connection.";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "list_inactive";
		summary = "Adds a `prosodyctl` command that lists users by the last activity that lastlog has recorded.";
		origin = "prosody-modules";
		scope = "host";
		obsolete = "account_activity, with `prosodyctl shell user list_inactive`";
	};
	{
		name = "log_auth";
		summary = "Logs failed logins with the client's IP address, for fail2ban and the like.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "mam";
		summary = "Archives users' messages on the server for their devices to fetch (XEP-0313).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "mam_adhoc";
		summary = "Lets users change what is archived with a command from their client (XEP-0313).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "measure_active_users";
		summary = "Counts users active in the last day, week and month for the statistics.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "message";
		summary = "Delivers messages to the right devices of a user; always loaded.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "migrate_http_upload";
		summary = "Adds a `prosodyctl` command that moves files of the old http_upload to http_file_share.";
		origin = "prosody-modules";
		scope = "component";
	};
	{
		name = "mimicking";
		summary = "Refuses new accounts whose names look like existing ones.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "motd";
		summary = "Sends a message of the day to users who log in.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "muc";
		summary = "Chat rooms (XEP-0045).";
		origin = "prosody";
		scope = "component";
	};
	{
		name = "muc_activity";
		summary = "Shows how busy public rooms are (XEP-0502).";
		origin = "prosody-modules";
		scope = "muc";
		broken = "Destroying a room ends in an error: it calls a function that its storage does not have.";
	};
	{
		name = "muc_cache_media";
		summary = "Keeps copies of media linked in rooms on the server.";
		origin = "prosody-modules";
		scope = "muc";
	};
	{
		name = "muc_invite_affiliated";
		summary = "Invites remote members back into their rooms when the server starts.";
		origin = "prosody-modules";
		scope = "muc";
	};
	{
		name = "muc_json_web_token";
		summary = "Opens rooms for those whose JSON Web Token names them, with the affiliation that it gives.";
		origin = "image";
		scope = "muc";
	};
	{
		name = "muc_limits";
		summary = "Limits how fast messages and joins come into a room.";
		origin = "prosody-modules";
		scope = "muc";
	};
	{
		name = "muc_mam";
		summary = "Archives messages of rooms for members to fetch (XEP-0313).";
		origin = "prosody";
		scope = "muc";
	};
	{
		name = "muc_mav";
		summary = "Sends clients only the changes of a room's member list (XEP-0463).";
		origin = "prosody-modules";
		scope = "muc";
	};
	{
		name = "muc_moderation";
		summary = "Lets moderators retract messages of others in rooms (XEP-0425).";
		origin = "prosody-modules";
		scope = "muc";
	};
	{
		name = "muc_notifications";
		summary = "Tells members who are not in a room about new messages there.";
		origin = "prosody-modules";
		scope = "muc";
	};
	{
		name = "muc_occupant_limit";
		summary = "Limits how many people can be in a room at the same time.";
		origin = "image";
		scope = "muc";
	};
	{
		name = "muc_restrict_avatars";
		summary = "Hides avatars of people who are not members of a room, where the room says so.";
		origin = "prosody-modules";
		scope = "muc";
	};
	{
		name = "muc_restrict_media";
		summary = "Hides inline images and videos of people who are not members of a room.";
		origin = "prosody-modules";
		scope = "muc";
	};
	{
		name = "muc_restrict_nick";
		summary = "Admits only nicknames that match a pattern to rooms.";
		origin = "prosody-modules";
		scope = "muc";
	};
	{
		name = "muc_restrict_rooms";
		summary = "Forbids rooms whose names match patterns.";
		origin = "prosody-modules";
		scope = "muc";
		broken = "Its options for exceptions and for administrators end in errors; the patterns alone work.";
	};
	{
		name = "muc_rtbl";
		summary = "Bans people from all rooms by block lists published over XMPP.";
		origin = "prosody-modules";
		scope = "muc";
		broken = "Needs mod_rtbl, which Debian does not package.";
	};
	{
		name = "muc_search";
		summary = "Lets clients search for public rooms by words.";
		origin = "prosody-modules";
		scope = "muc";
	};
	{
		name = "muc_unique";
		summary = "Makes up unused room names for clients (XEP-0307).";
		origin = "prosody";
		scope = "muc";
	};
	{
		name = "net_dovecotauth";
		summary = "Offers the accounts to mail servers by Dovecot's authentication protocol.";
		origin = "prosody-modules";
		scope = "global";
	};
	{
		name = "net_multiplex";
		summary = "Serves clients, servers and HTTP on the same port.";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "net_proxy";
		summary = "Learns the clients' addresses from a load balancer that speaks the PROXY protocol.";
		origin = "prosody-modules";
		scope = "global";
	};
	{
		name = "offline";
		summary = "Keeps messages for users who are offline; always loaded (XEP-0160).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "onions";
		summary = "Connects to other servers at .onion addresses through Tor.";
		origin = "prosody-modules";
		scope = "host";
		broken = "The second message to a server ends in an error: it replaces the queue by a plain table.";
	};
	{
		name = "password_policy";
		summary = "Refuses passwords that are too short or too simple.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "password_reset";
		summary = "Lets administrators make links with which users can choose a new password.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "pastebin";
		summary = "Replaces long messages by a link to a page with their text.";
		origin = "prosody-modules";
		scope = "muc";
	};
	{
		name = "pep";
		summary = "Lets users publish avatars, keys, moods and more to their contacts (XEP-0163).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "pep_plus";
		summary = "The former name of pep.";
		origin = "prosody";
		scope = "host";
		broken = "Nothing but an error in the log and a dependency on pep.";
		obsolete = "pep";
	};
	{
		name = "pep_simple";
		summary = "An early, incomplete form of pep that keeps nothing on disk (XEP-0163).";
		origin = "prosody";
		scope = "host";
		obsolete = "pep";
	};
	{
		name = "ping";
		summary = "Answers pings of clients and servers (XEP-0199).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "ping_muc";
		summary = "Checks in the place of sleeping clients that they are still in their rooms (XEP-0410).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "posix";
		summary = "Does nothing any more: its tasks have become part of the server itself.";
		origin = "prosody";
		scope = "global";
		obsolete = "nothing; it can be left out";
	};
	{
		name = "post_msg";
		summary = "Sends messages that arrive as HTTP POST requests.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "presence";
		summary = "Tells contacts who is online and handles contact requests; always loaded.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "privacy_lists";
		summary = "Lets users filter traffic by lists of rules (XEP-0016).";
		origin = "prosody-modules";
		scope = "host";
		obsolete = "blocklist";
	};
	{
		name = "private";
		summary = "Lets clients keep private XML on the server (XEP-0049).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "private_adhoc";
		summary = "Shows users their private XML with a command from their client (XEP-0049).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "privilege";
		summary = "Gives external components rights over contact lists, messages and presence (XEP-0356).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "proctitle";
		summary = "Names the process `prosody` in the list of processes.";
		origin = "prosody-modules";
		scope = "host";
		broken = "The Lua library proctitle is not in the image.";
	};
	{
		name = "proxy65";
		summary = "Passes file transfers on between clients that cannot reach each other (XEP-0065).";
		origin = "prosody";
		scope = "component";
	};
	{
		name = "pubsub";
		summary = "Publishing and subscribing service for anybody and anything (XEP-0060).";
		origin = "prosody";
		scope = "component";
	};
	{
		name = "pubsub_feeds";
		summary = "Publishes the entries of Atom and RSS feeds on pubsub nodes.";
		origin = "prosody-modules";
		scope = "component";
	};
	{
		name = "pubsub_forgejo";
		summary = "Publishes events of Forgejo, which come in as webhooks, on pubsub nodes.";
		origin = "prosody-modules";
		scope = "component";
	};
	{
		name = "pubsub_mqtt";
		summary = "Opens pubsub nodes to MQTT clients.";
		origin = "prosody-modules";
		scope = "component";
	};
	{
		name = "pubsub_serverinfo";
		summary = "Publishes which servers this one is connected to (XEP-0485).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "pubsub_subscription";
		summary = "Lets other modules subscribe to pubsub nodes elsewhere.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "pubsub_text_interface";
		summary = "Lets people manage pubsub subscriptions with plain chat messages.";
		origin = "prosody-modules";
		scope = "component";
	};
	{
		name = "register";
		summary = "Lets clients make, change and delete accounts; loads the modules for each part (XEP-0077).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "register_apps";
		summary = "List of clients, with logos and links, for the web pages about invitations.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "register_ibr";
		summary = "Lets clients make an account (XEP-0077).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "register_json";
		summary = "Takes registrations from web pages as encoded JSON over HTTP.";
		origin = "prosody-modules";
		scope = "host";
		broken = "Uses global variables that Prosody no longer has.";
	};
	{
		name = "register_limits";
		summary = "Limits how many accounts an IP address may make.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "register_redirect";
		summary = "Sends people who try to register in their client to a web page instead.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "register_web";
		summary = "Lets people register an account on a web page, with a captcha.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "reload_modules";
		summary = "Reloads chosen modules whenever the configuration is reloaded.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "report_forward";
		summary = "Forwards reports of spam to the sender's server and to other addresses (XEP-0377).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "rest";
		summary = "HTTP API with which other programs send and receive stanzas.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "roster";
		summary = "Keeps users' contact lists (RFC 6121).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "s2s";
		summary = "Connects to other servers and accepts their connections.";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "s2s_auth_certs";
		summary = "Checks the certificates of other servers.";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "s2s_auth_dane_in";
		summary = "Accepts certificates of other servers that signed DNS records (DANE) vouch for.";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "s2s_bidi";
		summary = "Uses one connection between servers for both directions (XEP-0288).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "s2s_idle_timeout";
		summary = "Closes connections to other servers that have been idle for a while.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "s2s_smacks_timeout";
		summary = "Closes connections to servers that do not acknowledge what they are sent.";
		origin = "prosody-modules";
		scope = "host";
		obsolete = "s2s, which does it itself";
	};
	{
		name = "sasl2";
		summary = "Logs clients in with fewer round trips (XEP-0388).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "sasl2_bind2";
		summary = "Lets clients set everything up within the login itself (XEP-0386).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "sasl2_fast";
		summary = "Lets clients log in again quickly with a token instead of the password (XEP-0484).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "sasl2_sm";
		summary = "Lets clients resume a session within the login itself (XEP-0198, XEP-0388).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "sasl_oauthbearer";
		summary = "The login mechanism OAUTHBEARER, for auth_oauthbearer.";
		origin = "prosody-modules";
		scope = "host";
		broken = "Replaces Prosody's own OAUTHBEARER until a restart, and its clients' tokens are refused.";
		obsolete = "saslauth and tokenauth, which offer OAUTHBEARER themselves";
	};
	{
		name = "sasl_ssdp";
		summary = "Lets clients notice when somebody tampers with the offered login mechanisms (XEP-0474).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "saslauth";
		summary = "Logs clients and servers in (SASL) and gives clients their address.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "scansion_record";
		summary = "Records sessions as scripts for the test tool Scansion, for developers.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "seclabels";
		summary = "Offers clients a catalogue of security labels for messages (XEP-0258).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "server_contact_info";
		summary = "Tells others how to reach the server's operators (XEP-0157).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "server_info";
		summary = "Puts facts that other modules supply into the server's description (XEP-0128).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "server_status";
		summary = "Shows over HTTP which hosts are up, and counts of stanzas, as XML or JSON.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "smacks";
		summary = "Keeps sessions alive over short losses of connection, without losing messages (XEP-0198).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "spam_reporting";
		summary = "Takes reports of spam and abuse from users who block somebody (XEP-0377).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "stanza_counter";
		summary = "Counts stanzas, for server_status to show.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "stanza_debug";
		summary = "Logs every stanza sent and received, for developers.";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "storage_internal";
		summary = "Keeps data in files; the default.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "storage_ldap";
		summary = "Reads contact lists, groups and vCards from an LDAP directory.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "storage_memory";
		summary = "Keeps data in memory only, until the server stops.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "storage_none";
		summary = "Keeps nothing and refuses what it is to keep.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "storage_sql";
		summary = "Keeps data in SQLite, PostgreSQL or MySQL.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "storage_xep0227";
		summary = "Keeps data in portable XML files, for moving between servers (XEP-0227).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "support_contact";
		summary = "Puts a support address into the contact lists of new users.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "throttle_presence";
		summary = "Holds changes of contacts' presence back while a client is inactive.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "time";
		summary = "Tells clients the server's time (XEP-0202).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "tls";
		summary = "Encrypts connections of clients and servers (STARTTLS).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "tokenauth";
		summary = "Makes and checks the tokens that other modules let people log in with.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "tombstones";
		summary = "Keeps the names of deleted accounts from being registered again.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "track_muc_joins";
		summary = "Keeps track of the rooms that users are in, for other modules.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "turn_external";
		summary = "Gives clients short-lived passwords for a TURN server for calls (XEP-0215).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "turncredentials";
		summary = "Gives clients short-lived passwords for a TURN server for calls (XEP-0215).";
		origin = "prosody-modules";
		scope = "host";
		obsolete = "turn_external";
	};
	{
		name = "unified_push";
		summary = "Delivers UnifiedPush notifications of other apps over XMPP.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "unknown";
		summary = "Does nothing: it stands for systems that Prosody does not know.";
		origin = "prosody";
		scope = "global";
		obsolete = "nothing; it can be left out";
	};
	{
		name = "uptime";
		summary = "Tells how long the server has been running (XEP-0012).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "user_account_management";
		summary = "Lets users change their password and delete their account (XEP-0077).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "vcard";
		summary = "Keeps users' profiles in the old format (XEP-0054).";
		origin = "prosody";
		scope = "host";
		obsolete = "vcard_legacy";
	};
	{
		name = "vcard4";
		summary = "Lets clients read profiles in the new format by a simple request (XEP-0292).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "vcard_legacy";
		summary = "Keeps old and new profiles and avatars in step (XEP-0054, XEP-0398).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "version";
		summary = "Tells the server's version (XEP-0092).";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "vjud";
		summary = "Directory in which users can search for each other (XEP-0055).";
		origin = "prosody-modules";
		scope = "component";
	};
	{
		name = "watch_spam_reports";
		summary = "Tells administrators about reports of spam (XEP-0377).";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "watchregistrations";
		summary = "Tells administrators about new accounts.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "webpresence";
		summary = "Shows a user's status on web pages as an icon or text.";
		origin = "prosody-modules";
		scope = "host";
	};
	{
		name = "websocket";
		summary = "Lets web clients connect over WebSocket (RFC 7395).";
		origin = "prosody";
		scope = "global";
	};
	{
		name = "welcome";
		summary = "Greets new users with a message.";
		origin = "prosody";
		scope = "host";
	};
	{
		name = "windows";
		summary = "Does nothing: it stands for Windows.";
		origin = "prosody";
		scope = "global";
		obsolete = "nothing; it can be left out";
	};
}
