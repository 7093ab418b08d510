local expect = require "expect"
local types = require "container.types"

local parse = types.new()

local accepted = {
	{ { type = "boolean" }, "Yes", true }, { { type = "boolean" }, "0", false }, { { type = "boolean" }, " on ", true },
	{ { type = "integer", minimum = 1, maximum = 65535 }, "5432", 5432 }, { { type = "integer" }, "-3", -3 },
	{ { type = "number", minimum = 0.001 }, "2.5", 2.5 },
	{ { type = "enum", allowed = { "SQLite3", "MySQL" } }, "mysql", "MySQL" },
	{ { type = "host" }, "Example.ORG", "example.org" }, { { type = "host", none = true }, "none", false },
	{ { type = "host" }, "localhost", "localhost" },
	{ { type = "jid" }, "Admin@Example.org", "admin@example.org" },
	{ { type = "node" }, "julia", "julia" },
	{ { type = "list", of = "jid" }, " a@x.example, b@x.example\nc@x.example ",
		{ "a@x.example", "b@x.example", "c@x.example" } },
	{ { type = "list", of = "jid" }, '"a@x.example", \'a@x.example\'', { "a@x.example" } },
	{ { type = "list", of = "module" }, "mod_mam bosh,,bosh", { "mam", "bosh" } },
	{ { type = "list", of = "string" }, "two words, three", { "two words", "three" } },
	{ { type = "list", of = "host" }, "", {} },
	{ { type = "interface" }, "*", "*" }, { { type = "interface" }, "::1", "::1" },
	{ { type = "duration" }, "90", 90 }, { { type = "duration" }, "2 days", 172800 },
	{ { type = "duration" }, "1w", 604800 }, { { type = "duration" }, "1 mon", 2678400 },
	{ { type = "duration" }, "never", "never" },
	{ { type = "size" }, "10 MB", 10485760 }, { { type = "size" }, "512KiB", 524288 }, { { type = "size" }, "7", 7 },
	{ { type = "rate" }, "1.5 MB/s", "1500kb/s" }, { { type = "rate" }, "10kb/s", "10kb/s" },
	{ { type = "path" }, "/run/x y", "/run/x y" },
	{ { type = "path", base = "/etc/prosody" }, "certs", "/etc/prosody/certs" },
	{ { type = "string" }, 'a"]]b', 'a"]]b' }, { { type = "text" }, "a\nb", "a\nb" },
}

local refused = {
	{ { type = "boolean" }, "maybe" }, { { type = "boolean" }, "" },
	{ { type = "integer", minimum = 1, maximum = 65535 }, "0" },
	{ { type = "integer" }, "0x10" }, { { type = "integer" }, "1e3" },
	{ { type = "integer" }, "99999999999999999999" },
	{ { type = "number" }, "nan" }, { { type = "number" }, "inf" }, { { type = "number" }, "-1" },
	{ { type = "enum", allowed = { "a" } }, "b" },
	{ { type = "host" }, "exa mple.org" }, { { type = "host" }, "-a.org" }, { { type = "host" }, "a..org" },
	{ { type = "host" }, "none of these" }, { { type = "host" }, ("a"):rep(64) .. ".org" }, { { type = "host" }, "a/b" },
	{ { type = "host" }, '"] = 1; --' },
	{ { type = "jid" }, "admin" }, { { type = "jid" }, "a@b@c" }, { { type = "jid" }, "a@b.example/phone" },
	{ { type = "node" }, "a b" }, { { type = "node" }, "" },
	{ { type = "list", of = "jid" }, "a@x.example, b" },
	{ { type = "module" }, "../mod" }, { { type = "module" }, "a.b" },
	{ { type = "interface" }, "eth0" },
	{ { type = "duration" }, "1m" }, { { type = "duration" }, "soon" }, { { type = "duration" }, "-1" },
	{ { type = "size" }, "big" }, { { type = "rate" }, "10" },
	{ { type = "rate" }, "0kb/s" }, { { type = "rate" }, "5b/s" },
	{ { type = "path" }, "relative" }, { { type = "path" }, "/a\nb" },
	{ { type = "string" }, "a\nb" }, { { type = "string" }, "a\0b" }, { { type = "text" }, "a\0b" },
}

local cases = {}

for _, case in ipairs(accepted) do
	table.insert(cases, { ("%s takes %q"):format(case[1].type, case[2]), function()
		expect.equal({ parse(case[1], case[2]) }, { case[3] })
	end })
end

for _, case in ipairs(refused) do
	table.insert(cases, { ("%s refuses %q"):format(case[1].type, case[2]), function()
		local value, expected = parse(case[1], case[2])
		expect.equal(value, nil)
		expect.equal(type(expected), "string")
	end })
end

table.insert(cases, { "an account ends its address at the first colon and keeps everything after it", function()
	local accounts = parse({ type = "accounts" }, "a@x.example:p:\"]]'\\ \r\n\nb@x.example: b\n")
	expect.equal(accounts, {
		{ username = "a", host = "x.example", password = "p:\"]]'\\ " },
		{ username = "b", host = "x.example", password = " b" },
	})
end })

table.insert(cases, { "a faulty account is named by its line only", function()
	local value, expected = parse({ type = "accounts", secret = true }, "a@x.example:1\nhunter2\n")
	expect.equal(value, nil)
	expect.contains(expected, "line 2")
	expect.lacks(expected, "hunter2")
end })

table.insert(cases, { "an account named twice is refused", function()
	expect.equal((parse({ type = "accounts" }, "a@x.example:1\nA@x.example:2")), nil)
end })

table.insert(cases, { "an item of a secret list is not shown", function()
	local _, expected = parse({ type = "list", of = "jid", secret = true }, "hunter2")
	expect.lacks(expected, "hunter2")
end })

table.insert(cases, { "what is printed stays on one line", function()
	expect.equal(types.printable("a\nb\27[2J\"\0"), [["a\nb\x1B[2J\"\x00"]])
	expect.equal(#types.printable(("x"):rep(500)), 82)
end })

return cases
