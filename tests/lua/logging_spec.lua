local expect = require "expect"
local logging = require "container.logging"

-- 2026-03-04 05:06:07.089 UTC, as seconds
local moment = 1772600767.0894

--- What a sink writes for messages, each { name, level, message, … }.
local function written(rule, messages, more)
	local lines = {}
	local tools = {
		format = string.format;
		now = function() return moment end;
		write = function(text) lines[#lines + 1] = text end;
	}
	for name, tool in pairs(more or {}) do tools[name] = tool end
	local sink = logging.new_sink(rule, tools)
	for _, message in ipairs(messages) do sink(table.unpack(message)) end
	return lines
end

--- Which of the levels are written for the logger of a name.
local function levels_of(name, rule)
	local messages = {}
	for index, level in ipairs { "debug", "info", "warn", "error" } do messages[index] = { name, level, level } end
	local lines = written(rule, messages)
	for index, line in ipairs(lines) do lines[index] = line:match("\t(.*)\n$") end
	return table.concat(lines, " ")
end

local cases = {}

local function case(title, check)
	table.insert(cases, { title, check })
end

case("a text line has the name, the level and the message", function()
	expect.equal(written({ level = "info" }, { { "startup", "info", "port %d", 5222 } }),
		{ "startup             info\tport 5222\n" })
end)

case("the column of names grows with the longest name and stays", function()
	local lines = written({}, { { "a.rather.long.example:mam", "info", "x" }, { "mam", "info", "x" } })
	expect.equal(lines, { "a.rather.long.example:mam  info\tx\n", "mam" .. (" "):rep(24) .. "info\tx\n" })
end)

case("time stamps are ISO 8601 in UTC, or follow a pattern", function()
	local message = { { "x", "info", "y" } }
	expect.equal(written({ timestamps = true }, message)[1]:sub(1, 26), "2026-03-04T05:06:07.089Z x")
	expect.equal(written({ timestamps = "!%H.%M" }, message)[1]:sub(1, 7), "05.06 x")
	expect.equal(written({ timestamps = false }, message)[1]:sub(1, 2), "x ")
end)

case("a pattern that os.date does not know costs no message", function()
	expect.equal(written({ timestamps = "%Q" }, { { "x", "info", "y" } })[1]:sub(1, 4), "2026")
end)

case("colours are used when there is a terminal", function()
	local lines = written({}, { { "x", "warn", "<a/>" } }, {
		paint = function(level) return "(" .. level .. ")" end;
		prettify = function(message) return message:upper() end;
	})
	expect.contains(lines[1], "(warn)\t<A/>\n")
end)

case("a JSON line has time, level, name, host, module and message", function()
	expect.equal(written({ format = "json" }, { { "chat.example:mam", "warn", "%s left", "7" } }), {
		'{"time":"2026-03-04T05:06:07.089Z","level":"warn","name":"chat.example:mam","host":"chat.example",'
			.. '"module":"mam","message":"7 left"}\n',
	})
end)

case("host and module are missing where there are none", function()
	local lines = written({ format = "json" }, { { "mod_c2s", "info", "a" }, { "startup", "info", "b" } })
	expect.contains(lines[1], '"name":"mod_c2s","module":"c2s","message":"a"}')
	expect.contains(lines[2], '"name":"startup","message":"b"}')
end)

case("JSON has no control character and only valid UTF-8", function()
	local lines = written({ format = "json" }, { { "x", "info", 'a"b\\c\n\t\27[2J\127 ü\255\xC3(\xED\xA0\x80 🙂\xF0' } })
	expect.contains(lines[1], [["message":"a\"b\\c\n\t\u001b[2J\u007f ü]])
	expect.contains(lines[1], "ü\u{FFFD}\u{FFFD}(\u{FFFD}\u{FFFD}\u{FFFD} 🙂\u{FFFD}\"}")
	expect.equal(utf8.len(lines[1]) ~= nil, true)
end)

case("JSON always has the time", function()
	expect.contains(written({ format = "json", timestamps = false }, { { "x", "info", "y" } })[1], '{"time":"2026')
end)

case("without anything else every level is written", function()
	expect.equal(levels_of("startup", {}), "debug info warn error")
end)

case("the level of the rule counts, though Prosody lets more through", function()
	expect.equal(levels_of("startup", { level = "warn", levels = { min = "debug" } }), "warn error")
end)

local by_name = {
	level = "info";
	levels_by_name = {
		mod_s2s = "debug", mam = "warn", ["other.example:mam"] = "debug", http = "warn", mod_http = "debug",
		c2s = "debug", c2sff = "error", startup = "error",
	};
}

for name, expected in pairs {
	["mod_s2s"] = "debug info warn error";
	["chat.example:s2s"] = "debug info warn error";
	["s2sout55d1"] = "info warn error";
	["mod_s2s_bidi"] = "info warn error";
	["chat.example:mam"] = "warn error";
	["mod_mam"] = "warn error";
	["other.example:mam"] = "debug info warn error";
	["mam.example:ping"] = "info warn error";
	["chat.example:muc_mam"] = "info warn error";
	["c2s55d1a0"] = "debug info warn error";
	["c2sff55d1"] = "error";
	["startup"] = "error";
	["http.server"] = "warn error";
	["mod_http"] = "debug info warn error";
	["mod_http_files"] = "info warn error";
	["general"] = "info warn error";
} do
	case("the level of " .. name, function() expect.equal(levels_of(name, by_name), expected) end)
end

case("what is not written is not formatted", function()
	local function refuse() error("formatted") end
	expect.equal(written({ level = "warn" }, { { "x", "info", "y" } }, { format = refuse }), {})
end)

case("names beyond number are forgotten, and still right", function()
	local messages = {}
	for number = 1, 5000 do messages[number] = { ("c2s%x"):format(number), "debug", "m" } end
	expect.equal(#written({ level = "info", levels_by_name = { c2s = "debug" } }, messages), 5000)
end)

for text, expected in pairs {
	["Connection from IP 192.0.2.1 opened"] = "Connection from IP [address] opened";
	["from 192.0.2.1."] = "from [address].";
	["192.0.2.1"] = "[address]";
	["192.0.2.1:5222, (192.0.2.1), 192.0.2.0/24"] = "[address]:5222, ([address]), [address]/24";
	["[192.0.2.1]:5269"] = "[[address]]:5269";
	["ip=192.0.2.1;peer:192.0.2.2"] = "ip=[address];peer:[address]";
	["192.0.2.1-192.0.2.9"] = "[address]-[address]";
	["1.2.0.192.in-addr.arpa"] = "[address].in-addr.arpa";
	["1.2.0.192.list.example"] = "[address].list.example";
	["juliet@192.0.2.1/phone"] = "juliet@[address]/phone";
	["2001:db8::1"] = "[address]";
	["from 2001:db8::1."] = "from [address].";
	["2001:db8::1: refused"] = "[address]: refused";
	["[2001:db8::1]:5222"] = "[[address]]:5222";
	["2001:db8:0:0:0:0:0:1:5222"] = "[address]:5222";
	["address:2001:db8::1"] = "address:[address]";
	["fe80::1%eth0 up"] = "[address] up";
	["::1 and fe80:: and ::ffff:192.0.2.1"] = "[address] and [address] and [address]";
	["2001:DB8:1:2:3:4:5:6/64"] = "[address]/64";
	["b.a.9.8.7.6.5.4.3.2.1.0.1.2.3.4.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"] = "[address].ip6.arpa";
} do
	case(("addresses are hidden in %q"):format(text), function() expect.equal(logging.hide_addresses(text), expected) end)
end

for _, text in ipairs {
	"Prosody 13.0.6", "OpenSSL 3.5.9, release v1.2.3.4", "5.1.2.3.4", "1.2.3.400", "12:30:45", "2026-03-04T05:06:07.089Z",
	"took 12:30:45.123 in all", "Activated service 'c2s' on [*]:5222, [::]:5222", "juliet@chat.example/phone.1.2",
	"1.2.3.4@chat.example", "urn:xmpp:mam:2", "urn:xmpp:bookmarks:1#compat", "http://jabber.org/protocol/muc#user",
	"AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99", "aa:bb:cc:dd:ee:ff",
	"std::string", "Foo::bad", "mod::add", "table: 0x55d1aabbccdd", "[string \"x\"]:12: attempt to call a nil value",
	"c2s55d1aabb: 1:2:3", "a:::b", "1.2.3", "",
} do
	case(("%q stays as it is"):format(text), function() expect.equal(logging.hide_addresses(text), text) end)
end

case("addresses are hidden in the lines only where that is asked for", function()
	local message = { { "x", "info", "from %s", "192.0.2.1" } }
	for _, format in ipairs { "text", "json" } do
		expect.contains(written({ format = format, addresses = true }, message)[1], "192.0.2.1")
		expect.contains(written({ format = format }, message)[1], "192.0.2.1")
		expect.contains(written({ format = format, addresses = false }, message)[1], "from [address]")
	end
end)

case("without a server nothing is registered", function()
	expect.equal(logging.register(), nil)
end)

return cases
