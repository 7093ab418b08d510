local expect = require "expect"
local stand_ins = require "container_stand_ins"
local types = require "container.types"

local parse = stand_ins.parse

local accepted = {
	{ { type = "boolean" }, "Yes", true }, { { type = "boolean" }, "0", false }, { { type = "boolean" }, " on ", true },
	{ { type = "boolean" }, "TRUE", true }, { { type = "boolean" }, "off", false },

	{ { type = "integer", minimum = 1, maximum = 65535 }, "5432", 5432 }, { { type = "integer" }, "-3", -3 },
	{ { type = "integer" }, " 007 ", 7 }, { { type = "integer", minimum = 0, maximum = 5 }, "0", 0 },
	{ { type = "number", minimum = 0.001 }, "2.5", 2.5 }, { { type = "number" }, "0", 0 },
	{ { type = "port" }, "1", 1 }, { { type = "port" }, "65535", 65535 },

	{ { type = "enum", allowed = { "SQLite3", "MySQL" } }, "mysql", "MySQL" },
	{ { type = "enum", allowed = { "a", "b" }, values = { a = true, b = false } }, "B", false },
	{ { type = "enum", allowed = { "a", "b" }, values = { a = true, b = false } }, "a", true },

	{ { type = "host" }, "Example.ORG", "example.org" }, { { type = "host", none = true }, "none", false },
	{ { type = "host", none = true }, " None ", false }, { { type = "host" }, "none", "none" },
	{ { type = "host" }, "localhost", "localhost" },
	{ { type = "host" }, "xn--bcher-kva.example", "xn--bcher-kva.example" },
	{ { type = "host" }, ("a"):rep(63) .. ".org", ("a"):rep(63) .. ".org" },
	{ { type = "jid" }, "Admin@Example.org", "admin@example.org" },
	{ { type = "address" }, "Admin@Example.org", "admin@example.org" },
	{ { type = "address" }, "Example.org", "example.org" },
	{ { type = "node" }, "julia", "julia" },

	{ { type = "module" }, "mod_mam", "mam" }, { { type = "module" }, " s2s_auth_certs ", "s2s_auth_certs" },
	{ { type = "provider" }, "ldap", "ldap" }, { { type = "provider" }, "mod_auth_internal_hashed", "internal_hashed" },
	{ { type = "provider" }, "auth_sql", "sql" },
	{ { type = "role" }, "prosody:member", "prosody:member" },
	{ { type = "mechanism" }, "scram-sha-1-plus", "SCRAM-SHA-1-PLUS" },

	{ { type = "path" }, "/run/x y", "/run/x y" }, { { type = "path", base = "/etc/prosody" }, "/x", "/x" },
	{ { type = "path", base = "/etc/prosody" }, "certs", "/etc/prosody/certs" },
	{ { type = "url" }, "https://[2001:db8::1]:5281/x?y=z", "https://[2001:db8::1]:5281/x?y=z" },
	{ { type = "url" }, " http://chat.example ", "http://chat.example" },
	{ { type = "uri" }, "xmpp:a@b.example", "xmpp:a@b.example" }, { { type = "uri" }, "tel:+41", "tel:+41" },
	{ { type = "pattern" }, "^buy%s+now", "^buy%s+now" },
	{ { type = "script" }, "/etc/prosody/a b.pfw", "/etc/prosody/a b.pfw" },
	{ { type = "script" }, "module:scripts/spam.pfw", "module:scripts/spam.pfw" },
	{ { type = "timezone" }, "America/Port-au-Prince", "America/Port-au-Prince" }, { { type = "timezone" }, "UTC", "UTC" },
	{ { type = "timezone" }, "Etc/GMT+1", "Etc/GMT+1" },
	{ { type = "umask" }, "027", "027" }, { { type = "umask" }, "0077", "077" }, { { type = "umask" }, "000", "000" },

	{ { type = "duration" }, "90", 90 }, { { type = "duration" }, "2 days", 172800 }, { { type = "duration" }, "0", 0 },
	{ { type = "duration" }, "1w", 604800 }, { { type = "duration" }, "1 mon", 2678400 },
	{ { type = "duration" }, "30 MIN", 1800 }, { { type = "duration" }, "1y", 31536000 },
	{ { type = "duration" }, "never", "never" }, { { type = "duration" }, "60 * 60 * 24 * 7", 604800 },
	{ { type = "duration" }, "60*60", 3600 },
	{ { type = "seconds" }, "12h", 43200 }, { { type = "seconds", words = { "manual" } }, " Manual ", "manual" },
	{ { type = "seconds", words = { "manual" } }, "60", 60 },
	{ { type = "days" }, "7", 604800 }, { { type = "days" }, "0.5", 43200 }, { { type = "days" }, "9999", 863913600 },

	{ { type = "size" }, "10 MB", 10485760 }, { { type = "size" }, "512KiB", 524288 }, { { type = "size" }, "7", 7 },
	{ { type = "size" }, "1.5k", 1536 }, { { type = "size" }, "2G", 2147483648 }, { { type = "size" }, "0", 0 },
	{ { type = "size" }, "10 * 1024 * 1024", 10485760 }, { { type = "size" }, "10*1024*1024", 10485760 },
	{ { type = "size", minimum = 10000 }, "10000", 10000 }, { { type = "size" }, "1.9", 1 },
	{ { type = "mebibytes" }, "10", 10485760 }, { { type = "mebibytes" }, "0.5", 524288 },
	{ { type = "gibibytes" }, "2", 2147483648 }, { { type = "gibibytes" }, "999999999", 1073741822926258176 },
	{ { type = "rate" }, "1.5 MB/s", "1500kb/s" }, { { type = "rate" }, "10kb/s", "10kb/s" },
	{ { type = "rate" }, "1gb/s", "1000000kb/s" }, { { type = "rate" }, "1.9kb/s", "1kb/s" },
	{ { type = "burst" }, "2s", "2s" }, { { type = "burst" }, "007", "7s" },

	{ { type = "string" }, 'a"]]b', 'a"]]b' }, { { type = "string" }, "grüezi", "grüezi" },
	{ { type = "text" }, "a\nb", "a\nb" }, { { type = "text" }, " a ", " a " },
}

for text, value in pairs {
	["true"] = true, yes = true, on = true, ["1"] = true, ["false"] = false, no = false, off = false, ["0"] = false;
} do
	accepted[#accepted + 1] = { { type = "boolean" }, text, value }
end

-- The longest and the largest there may be
local long_host = ("a."):rep(127) .. "b"
for _, limit in ipairs {
	{ { type = "host" }, long_host, long_host }, { { type = "node" }, ("a"):rep(1023), ("a"):rep(1023) };
	{ { type = "mechanism" }, ("A"):rep(20), ("A"):rep(20) }, { { type = "number", maximum = 2 }, "2", 2 };
	{ { type = "duration" }, "999999999", 999999999 }, { { type = "days" }, "9999999", 863999913600 };
	{ { type = "size" }, "999999999999999", 999999999999999 };
	{ { type = "size" }, "33554432 * 33554432", 1 << 50 }, { { type = "size" }, "1 * 999999999999", 999999999999 };
	{ { type = "rate" }, "1kb/s", "1kb/s" }, { { type = "rate" }, "1000gb/s", "1000000000kb/s" };
	{ { type = "burst" }, "1", "1s" }, { { type = "burst" }, "999999", "999999s" };
	{ { type = "mebibytes" }, "0.000001", 1 };
} do
	accepted[#accepted + 1] = limit
end

for _, address in ipairs {
	"::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::3:4:5:6:7:8", "fe80::1",
	"2001:DB8::A",
	"::ffff:192.0.2.1", "1:2:3:4:5:6:192.0.2.1", "64:ff9b::192.0.2.33", "0.0.0.0", "255.255.255.255", "192.0.2.1",
} do
	for _, name in ipairs { "ip", "interface", "network" } do
		accepted[#accepted + 1] = { { type = name }, " " .. address .. " ", address }
	end
end

for _, network in ipairs {
	"192.0.2.0/24", "0.0.0.0/0", "192.0.2.1/32", "::/0", "2001:db8::/32", "2001:db8::1/128", "::ffff:192.0.2.0/120",
} do
	accepted[#accepted + 1] = { { type = "cidr" }, network, network }
	accepted[#accepted + 1] = { { type = "network" }, network, network }
end
accepted[#accepted + 1] = { { type = "interface" }, "*", "*" }

local lists = {
	{ { type = "list", of = "jid" }, " a@x.example, b@x.example\nc@x.example ",
		{ "a@x.example", "b@x.example", "c@x.example" } },
	{ { type = "list", of = "jid" }, '"a@x.example", \'a@x.example\'', { "a@x.example" } },
	{ { type = "list", of = "jid" }, "a@x.example A@X.example", { "a@x.example" } },
	{ { type = "list", of = "module" }, "mod_mam bosh,,bosh", { "mam", "bosh" } },
	{ { type = "list", of = "string" }, "two words, three", { "two words", "three" } },
	{ { type = "list", of = "string" }, "one, with a comma\ntwo", { "one, with a comma", "two" } },
	{ { type = "list", of = "string" }, '["one, two", "three"]', { "one, two", "three" } },
	{ { type = "list", of = "string" }, "[not JSON], b", { "[not JSON]", "b" } },
	{ { type = "list", of = "text" }, "one two, three", { "one two", "three" } },
	{ { type = "list", of = "enum", allowed = { "one two", "three" } }, "one two, Three", { "one two", "three" } },
	{ { type = "list", of = "script" }, "/a b.pfw, module:c.pfw", { "/a b.pfw", "module:c.pfw" } },
	{ { type = "list", of = "port" }, "[5222, 5223]", { 5222, 5223 } },
	{ { type = "list", of = "port" }, "5222 5223", { 5222, 5223 } },
	{ { type = "list", of = "port", none = true }, "none", {} },
	{ { type = "list", of = "host" }, "", {} }, { { type = "list", of = "host" }, "[]", {} },
	{ { type = "list", of = "host", none = true }, "None", {} },
	{ { type = "list", of = "host" }, "none", { "none" } },
	{ { type = "list", of = "interface" }, "*, ::1", { "*", "::1" } },
	{ { type = "list", of = "path", base = "/etc/prosody" }, "a, /b", { "/etc/prosody/a", "/b" } },
	{ { type = "list", of = "pattern" }, "buy%s+now\n[Ww]in, win", { "buy%s+now", "[Ww]in, win" } },

	{ { type = "map", keys = "host", of = "module" }, "Rooms.example:muc, up.example:mod_http_file_share",
		{ ["rooms.example"] = "muc", ["up.example"] = "http_file_share" } },
	{ { type = "map", keys = "host", of = "module" }, "rooms.example : muc\nup.example:pubsub\n",
		{ ["rooms.example"] = "muc", ["up.example"] = "pubsub" } },
	{ { type = "map", keys = "host", of = "module" }, '{"rooms.example": "muc"}', { ["rooms.example"] = "muc" } },
	{ { type = "map", keys = "host", of = "text", optional = true }, "irc.example:a:b=c, x.example",
		{ ["irc.example"] = "a:b=c", ["x.example"] = "" } },
	{ { type = "map", keys = "host", of = "text", optional = true }, "irc.example:a,b\nx.example:c",
		{ ["irc.example"] = "a,b", ["x.example"] = "c" } },
	{ { type = "map", keys = "port", of = "enum", allowed = { "c2s", "s2s" } }, "5222:C2S 	,5269:s2s",
		{ [5222] = "c2s", [5269] = "s2s" } },
	{ { type = "map", keys = "port", of = "enum", allowed = { "c2s", "s2s" } }, '{"5222": "c2s"}', { [5222] = "c2s" } },
	{ { type = "map", keys = "jid", of = "role", separator = "=" }, "a@x.example=prosody:admin",
		{ ["a@x.example"] = "prosody:admin" } },
	{ { type = "map", keys = "string", of = "string", separator = "=" }, "files=/, bosh=/b=c",
		{ files = "/", bosh = "/b=c" } },
	{ { type = "map", keys = "host", of = "module" }, "", {} },

	{ { type = "json" }, "30", 30 }, { { type = "json" }, " false ", false },
	{ { type = "json" }, '"a \\"b\\""', 'a "b"' },
	{ { type = "json" }, '["a", 1, ["b"], {"c": null, "d": 0.5}]', { "a", 1, { "b" }, { d = 0.5 } } },
	{ { type = "json", of = "array" }, "[]", {} }, { { type = "json", of = "array" }, ' [{"a": true}]', { { a = true } } },
	{ { type = "json", of = "object" }, "{}", {} }, { { type = "json", of = "object" }, '{"a": []}', { a = {} } },
}
table.move(lists, 1, #lists, #accepted + 1, accepted)

local refused = {
	{ { type = "boolean" }, "maybe" }, { { type = "boolean" }, "" }, { { type = "boolean" }, "2" },
	{ { type = "integer", minimum = 1, maximum = 65535 }, "0" }, { { type = "integer", maximum = 5 }, "6" },
	{ { type = "integer" }, "0x10" }, { { type = "integer" }, "1e3" }, { { type = "integer" }, "1.0" },
	{ { type = "integer" }, "" }, { { type = "integer", minimum = 0 }, "-1" },
	{ { type = "integer" }, "99999999999999999999" },
	{ { type = "number" }, "nan" }, { { type = "number" }, "inf" }, { { type = "number" }, "-1" },
	{ { type = "number" }, "." },
	{ { type = "number", maximum = 2 }, "2.1" }, { { type = "number" }, "0x1p4" },
	{ { type = "port" }, "0" }, { { type = "port" }, "65536" }, { { type = "port" }, "http" },
	{ { type = "enum", allowed = { "a" } }, "b" }, { { type = "enum", allowed = { "a" } }, "" },

	{ { type = "host" }, "exa mple.org" }, { { type = "host" }, "-a.org" }, { { type = "host" }, "a-.org" },
	{ { type = "host" }, "a..org" }, { { type = "host" }, ".org" }, { { type = "host" }, "a.org." },
	{ { type = "host" }, "" },
	{ { type = "host" }, "none of these" }, { { type = "host" }, ("a"):rep(64) .. ".org" }, { { type = "host" }, "a/b" },
	{ { type = "host" }, ("a."):rep(127) .. "bc" }, { { type = "host" }, "a_b.org" }, { { type = "host" }, "a:5222" },
	{ { type = "host" }, '"] = 1; --' },
	{ { type = "jid" }, "admin" }, { { type = "jid" }, "a@b@c" }, { { type = "jid" }, "a@b.example/phone" },
	{ { type = "jid" }, "@b.example" }, { { type = "jid" }, "a@" },
	{ { type = "address" }, "a b" }, { { type = "address" }, "a@b.example/phone" },
	{ { type = "node" }, "a b" }, { { type = "node" }, "" }, { { type = "node" }, "a@b" },
	{ { type = "node" }, ("a"):rep(1024) },

	{ { type = "module" }, "../mod" }, { { type = "module" }, "a.b" }, { { type = "module" }, "mod_" },
	{ { type = "provider" }, "a b" }, { { type = "provider" }, "auth_" },
	{ { type = "role" }, "admin" }, { { type = "role" }, "a:b:c" },
	{ { type = "mechanism" }, "" }, { { type = "mechanism" }, "SCRAM SHA" }, { { type = "mechanism" }, ("A"):rep(21) },

	{ { type = "ip" }, "*" }, { { type = "interface" }, "eth0" }, { { type = "interface" }, "" },
	{ { type = "path" }, "relative" }, { { type = "path" }, "/a\nb" }, { { type = "path", base = "/etc" }, " " },
	{ { type = "url" }, "chat.example" }, { { type = "url" }, "ftp://x" }, { { type = "url" }, "https://" },
	{ { type = "url" }, "https://a b" }, { { type = "url" }, 'https://a/"' }, { { type = "url" }, "javascript:x" },
	{ { type = "uri" }, "admin@example.org" }, { { type = "uri" }, "mailto:" }, { { type = "uri" }, "mailto:a b" },
	{ { type = "pattern" }, "a\nb" },
	{ { type = "script" }, "spam.pfw" }, { { type = "script" }, "module:/etc/x" }, { { type = "script" }, "/a/../b" },
	{ { type = "script" }, "/" }, { { type = "script" }, "/a\nb" },
	{ { type = "timezone" }, "../etc/passwd" }, { { type = "timezone" }, "/etc/localtime" }, { { type = "timezone" }, "" },
	{ { type = "umask" }, "277" }, { { type = "umask" }, "27" }, { { type = "umask" }, "028" },
	{ { type = "umask" }, "00027" },

	{ { type = "duration" }, "1m" }, { { type = "duration" }, "soon" }, { { type = "duration" }, "-1" },
	{ { type = "duration" }, "1.5h" }, { { type = "duration" }, "" }, { { type = "duration" }, "60 * x" },
	{ { type = "duration" }, "60 ** 60" }, { { type = "duration" }, "60 * 60 s" }, { { type = "duration" }, "6 0 * 60" },
	{ { type = "duration" }, "* 60" }, { { type = "duration" }, "9999999999" },
	{ { type = "seconds" }, "never" }, { { type = "seconds", words = { "manual" } }, "automatic" },
	{ { type = "days" }, "1w" }, { { type = "days" }, "-1" }, { { type = "days" }, "99999999" },
	{ { type = "size" }, "big" }, { { type = "size" }, "" }, { { type = "size" }, "1 TB" }, { { type = "size" }, "-1" },
	{ { type = "size", minimum = 10000 }, "9999" }, { { type = "size", minimum = 10000 }, "99 * 101" },
	-- More than a computer can count
	{ { type = "size" }, "999999999999999G" }, { { type = "size" }, "9999999999999999" },
	{ { type = "size" }, "999999999999 * 999999999999" }, { { type = "size" }, "4294967296 * 4294967296" },
	{ { type = "size" }, "3037000500 * 3037000500" }, { { type = "duration" }, "1000000 * 1000000000 * 100" },
	{ { type = "mebibytes" }, "0" }, { { type = "mebibytes" }, "10MB" }, { { type = "gibibytes" }, "-1" },
	{ { type = "gibibytes" }, "9999999999" },
	{ { type = "rate" }, "10" }, { { type = "rate" }, "0kb/s" }, { { type = "rate" }, "5b/s" },
	{ { type = "rate" }, "0.5kb/s" },
	{ { type = "rate" }, "10kb" }, { { type = "rate" }, "1001gb/s" },
	{ { type = "burst" }, "0" }, { { type = "burst" }, "2m" }, { { type = "burst" }, "9999999" },

	{ { type = "string" }, "a\nb" }, { { type = "string" }, "a\0b" }, { { type = "text" }, "a\0b" },
	{ { type = "string" }, "\xFF" }, { { type = "boolean" }, "true\0" },

	{ { type = "list", of = "jid" }, "a@x.example, b" }, { { type = "list", of = "port" }, "[5222, 0]" },
	{ { type = "list", of = "host", none = true }, "a.example, b!" },
	{ { type = "list", of = "jid" }, '[["a@x.example"]]' }, { { type = "list", of = "boolean" }, "[{}]" },
	{ { type = "map", keys = "host", of = "module" }, "rooms.example" },
	{ { type = "map", keys = "host", of = "module" }, "rooms.example:" },
	{ { type = "map", keys = "host", of = "module" }, "rooms.example:m u c" },
	{ { type = "map", keys = "host", of = "module" }, "a b:muc" },
	{ { type = "map", keys = "host", of = "module" }, "a.example:muc, A.example:pubsub" },
	{ { type = "map", keys = "host", of = "module" }, '{"a.example": ["muc"]}' },
	{ { type = "map", keys = "port", of = "enum", allowed = { "c2s" } }, "0:c2s" },
	{ { type = "map", keys = "port", of = "enum", allowed = { "c2s" } }, "5222:http" },

	{ { type = "json" }, "" }, { { type = "json" }, "text" }, { { type = "json" }, "{" }, { { type = "json" }, "[1, 2" },
	{ { type = "json" }, "1 2" }, { { type = "json" }, "os.exit(1)" },
	{ { type = "json", of = "array" }, "{}" }, { { type = "json", of = "array" }, "1" },
	{ { type = "json", of = "array" }, "null" },
	{ { type = "json", of = "object" }, "[]" }, { { type = "json", of = "object" }, "[1]" },
	{ { type = "json", of = "object" }, '"a"' }, { { type = "json", of = "object" }, "null" },
}

for _, address in ipairs {
	":", ":::", "1", "1:2", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "1::2::3",
	":1::2",
	"1::2:", "12345::", "g::", "::192.0.2", "::192.0.2.256", "1:2:3:4:5:6:7:192.0.2.1", "192.0.2.1::", "fe80::1%eth0",
	"[::1]",
	"192.0.2", "192.0.2.1.1", "192.0.2.256", "192.0.2.", ".192.0.2", "192.0.2.1a", "192.0.02.1", "1234.0.0.1",
	"0x7f.0.0.1", "a.b.c.d",
} do
	for _, name in ipairs { "ip", "interface", "network" } do refused[#refused + 1] = { { type = name }, address } end
end

-- Each of these faults is at a place that a search in some text would not reach.
for _, pattern in ipairs {
	"a[b", "a[]", "a[^]", "a[%]", "a%", "(a", "a)", "((a)", "%1", "(a%1)", "a%0", "a%f", "a%fb", "a%b", "a%b(", "[a]%",
	"[a](", "[",
} do
	refused[#refused + 1] = { { type = "pattern" }, pattern }
end
refused[#refused + 1] = { { type = "pattern" }, ("()"):rep(33) }
for _, pattern in ipairs {
	"", "a[]]", "[^]a]", "[%]]", "%%", "(a)%1", "((a)%2)", "()", "%f[%w]a", "%b()", "[a-z]+$", ("()"):rep(32),
} do
	accepted[#accepted + 1] = { { type = "pattern" }, pattern, pattern }
end

for _, network in ipairs {
	"192.0.2.0/33", "2001:db8::/129", "192.0.2.0/", "192.0.2.0/-1", "192.0.2.0/a", "192.0.2.0/1/2", "/24", "x/24",
	"192.0.2.0/255.255.255.0", "2001:db8/32", "192.0.2.0/0024",
} do
	refused[#refused + 1] = { { type = "cidr" }, network }
	refused[#refused + 1] = { { type = "network" }, network }
end
refused[#refused + 1] = { { type = "cidr" }, "192.0.2.1" }

local cases = {}

local function case(title, check)
	table.insert(cases, { title, check })
end

for _, accepted_case in ipairs(accepted) do
	case(("%s takes %q"):format(accepted_case[1].type, accepted_case[2]), function()
		expect.equal({ parse(accepted_case[1], accepted_case[2]) }, { accepted_case[3] })
	end)
end

for _, refused_case in ipairs(refused) do
	case(("%s refuses %q"):format(refused_case[1].type, refused_case[2]), function()
		local value, expected = parse(refused_case[1], refused_case[2])
		expect.equal({ value, type(expected) }, { nil, "string" })
	end)
end

case("each type has been tried, with good and with bad texts", function()
	local kinds = {}
	for _, list in ipairs { accepted, refused } do
		local seen = {}
		for _, tried in ipairs(list) do seen[tried[1].type] = true end
		kinds[#kinds + 1] = seen
	end
	for _, variable in ipairs(require "container.catalogue") do
		-- Accounts are tried below; every text is good for a text.
		if variable.type ~= "accounts" then
			assert(kinds[1][variable.type] and kinds[2][variable.type], variable.type)
		end
		for _, inner in ipairs { variable.type ~= "json" and variable.of or nil, variable.keys } do
			assert(kinds[1][inner] and kinds[2][inner], inner)
		end
	end
end)

case("JSON null is a value of its own", function()
	assert(rawequal(parse({ type = "json" }, " null "), types.null))
	expect.equal(tostring(types.null), "null")
end)

case("without a decoder nothing is JSON, and lists are still lists", function()
	local plain = types.new()
	expect.equal((plain({ type = "json" }, "1")), nil)
	expect.equal(plain({ type = "list", of = "string" }, "[1, 2]"), { "[1", "2]" })
end)

case("what is expected names the limits and the words", function()
	local function expected_of(specification, text)
		local _, expected = parse(specification, text)
		return expected
	end
	expect.contains(expected_of({ type = "integer", minimum = 2, maximum = 4 }, "9"), "from 2 to 4")
	expect.contains(expected_of({ type = "integer", minimum = 2 }, "1"), "at least 2")
	expect.contains(expected_of({ type = "number", minimum = 0.5, maximum = 2 }, "9"), "from 0.5 to 2")
	expect.contains(expected_of({ type = "size", minimum = 5 }, "1"), "at least 5")
	expect.contains(expected_of({ type = "enum", allowed = { "a", "b" } }, "c"), "a, b")
	expect.contains(expected_of({ type = "seconds", words = { "manual" } }, "c"), "or manual")
	expect.lacks(expected_of({ type = "seconds" }, "c"), "never")
	expect.contains(expected_of({ type = "duration" }, "c"), "never")
	expect.contains(expected_of({ type = "host", none = true }, "a b"), "or none")
	expect.contains(expected_of({ type = "list", of = "port" }, "1, x"), '"x" to be a port')
	expect.contains(expected_of({ type = "map", keys = "host", of = "port" }, "a.example:x"), '"x" to be a port')
	expect.contains(expected_of({ type = "map", keys = "host", of = "port" }, "a.example"), "followed by : and a value")
	expect.contains(expected_of({ type = "map", keys = "host", of = "port" }, "a.example:1, a.example:2"), '"a.example"')
end)

case("what Prosody prepares is handed over as it prepared it", function()
	local prepared = types.new {
		host = function(text) return text == "bücher.example" and text or nil end;
		ascii = function(host) return host == "bücher.example" and "xn--bcher-kva.example" or nil end;
		node = function(text) return text == "Ü" and "ü" or nil end;
	}
	expect.equal(prepared({ type = "host" }, "bücher.example"), "bücher.example")
	expect.equal((prepared({ type = "host" }, "chat.example")), nil)
	expect.equal(prepared({ type = "jid" }, "Ü@bücher.example"), "ü@bücher.example")
end)

case("an account ends its address at the first colon and keeps everything after it", function()
	local accounts = parse({ type = "accounts" }, "a@x.example:p:\"]]'\\ \r\n\nb@x.example: b\n")
	expect.equal(accounts, {
		{ username = "a", host = "x.example", password = "p:\"]]'\\ " },
		{ username = "b", host = "x.example", password = " b" },
	})
end)

case("an account without a colon is an invitation", function()
	expect.equal(parse({ type = "accounts" }, " A@x.example \nb@x.example:1"), {
		{ username = "a", host = "x.example" }, { username = "b", host = "x.example", password = "1" },
	})
	for _, text in ipairs { "a@x.example:", "a", ":1", "x.example:1", "a@x.example:\1" } do
		expect.equal((parse({ type = "accounts" }, text)), nil)
	end
end)

case("accounts may be a JSON list", function()
	local with_json = types.new { json = require("container_stand_ins").json }
	expect.equal(with_json({ type = "accounts" }, '["a@x.example:p,1", "b@x.example"]'), {
		{ username = "a", host = "x.example", password = "p,1" }, { username = "b", host = "x.example" },
	})
	for _, text in ipairs { '["a@x.example:1", ""]', '["a@x.example:1", {}]', '["a@x.example:1", "a@x.example"]' } do
		local value, expected = with_json({ type = "accounts" }, text)
		expect.equal(value, nil)
		expect.contains(expected, "line 2")
	end
end)

case("a faulty account is named by its line only", function()
	for _, line in ipairs { "hunter2\n", "hunter2:x", "b@x.example:hunter2\27" } do
		local value, expected = parse({ type = "accounts", secret = true }, "a@x.example:1\n" .. line)
		expect.equal(value, nil)
		expect.contains(expected, "line 2")
		expect.lacks(expected, "hunter2")
	end
end)

case("an account named twice is refused", function()
	local value, expected = parse({ type = "accounts" }, "a@x.example:1\nA@x.example:2")
	expect.equal(value, nil)
	expect.contains(expected, "line 2")
end)

case("an item of a secret is not shown", function()
	for _, specification in ipairs {
		{ type = "list", of = "jid" }, { type = "map", keys = "host", of = "module" };
		{ type = "map", keys = "host", of = "port" };
		{ type = "json" }, { type = "json", of = "object" },
	} do
		specification.secret = true
		for _, text in ipairs { "hunter2", "a.example:hunter2!", "hunter2 x:1", "hunter2:1, hunter2:1", "hunter2,hunter2" } do
			local value, expected = parse(specification, text)
			expect.equal(value, nil)
			expect.lacks(expected, "hunter2")
		end
	end
	local _, expected = parse({ type = "map", keys = "host", of = "text", optional = true, secret = true },
		"a.example:1,xyz,xyz")
	expect.lacks(expected, "xyz")
end)

case("what is printed stays on one line", function()
	expect.equal(types.printable("a\nb\27[2J\"\0\\"), [["a\nb\x1B[2J\"\x00\\"]])
	expect.equal(#types.printable(("x"):rep(500)), 82)
	expect.equal(types.printable("ü"), '"ü"')
	expect.equal(types.printable("\xFF"), [["\xFF"]])
	expect.equal(utf8.len(types.printable(("ü"):rep(100))) ~= nil, true)
	expect.lacks(types.printable("\r\t\127"), "\127")
end)

return cases
