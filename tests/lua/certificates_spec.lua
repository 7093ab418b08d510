local certificates = require "container.certificates"
local expect = require "expect"
local stand_ins = require "certificate_stand_ins"

local certificate, key = stand_ins.certificate, stand_ins.key
local host = "a.example"
local served = "/run/served/a.example.pem"

local function plan_for(changes)
	local plan = {
		directory = "/run/served";
		sources = { { path = "/certs", optional = true } };
		hosts = { host };
		own = "/data/certificates/a.example";
	}
	for name, value in pairs(changes or {}) do plan[name] = value end
	return plan
end

local function refresh(files, changes, unreadable)
	return certificates.refresh(plan_for(changes), stand_ins.tools(files, unreadable))
end

--- Two certificates that both cover the host; expects the one in /certs/good.pem to be taken, wherever it sorts.
local function expect_preferred(good, other)
	for _, other_path in ipairs { "/certs/a.pem", "/certs/z.pem" } do
		local files = { ["/certs/good.pem"] = good .. key "good", [other_path] = other .. key "other" }
		expect.equal(refresh(files).hosts[1].source, "/certs/good.pem")
	end
end

return {
	{ "a pair is copied as certificate and key", function()
		local pair = { ["/certs/x.crt"] = certificate(host, "k"), ["/certs/x.key"] = key "k" }
		local report = refresh(pair)
		expect.equal(pair[served], certificate(host, "k") .. key "k")
		expect.equal({ report.changed, #report.problems, #report.warnings, #report.notes }, { true, 0, 0, 0 })
		expect.equal({ report.hosts[1].days, report.hosts[1].issuer, report.hosts[1].not_after },
			{ 89, "Authority", stand_ins.now + 89 * 86400 })
	end },
	{ "what is the same is not written again", function()
		local files = { ["/certs/x.crt"] = certificate(host, "k"), ["/certs/x.key"] = key "k" }
		refresh(files)
		local tools = stand_ins.tools(files)
		expect.equal(certificates.refresh(plan_for(), tools).changed, false)
		expect.equal(tools.writes, {})
	end },
	{ "nothing is written by looking", function()
		local files = { ["/certs/x.crt"] = certificate("b.example", "k"), ["/certs/x.key"] = key "k" }
		local tools = stand_ins.tools(files)
		local report = certificates.inspect(plan_for(), tools)
		expect.equal(tools.writes, {})
		expect.contains(certificates.lines(report)[1], "a certificate will be made")
	end },
	{ "a valid one is preferred to one that is not", function()
		expect_preferred(certificate(host, "good", -50, 40), certificate(host, "other", -10, -1))
		expect_preferred(certificate(host, "good", -50, 40), certificate(host, "other", 1, 90))
	end },
	{ "then the newest", function()
		expect_preferred(certificate(host, "good", -1, 30), certificate(host, "other", -2, 90))
	end },
	{ "then the one that lasts longest", function()
		expect_preferred(certificate(host, "good", -1, 31), certificate(host, "other", -1, 30))
	end },
	{ "then one that names the host", function()
		expect_preferred(certificate(host, "good"), certificate("*.example", "other"))
	end },
	{ "then one that brings its chain", function()
		expect_preferred(certificate(host, "good") .. certificate("Authority", "ca"), certificate(host, "other"))
	end },
	{ "then the first path", function()
		local files = {}
		for _, name in ipairs { "c", "a", "b" } do
			files["/certs/" .. name .. ".pem"] = certificate(host, name) .. key(name)
		end
		expect.equal(refresh(files).hosts[1].source, "/certs/a.pem")
	end },
	{ "a source named for the host is preferred, and not for others", function()
		local files = {
			["/certs/x.pem"] = certificate("a.example b.example", "new", -1, 90) .. key "new";
			["/mine/x.pem"] = certificate("a.example b.example", "old", -9, 80) .. key "old";
		}
		local report = refresh(files, {
			hosts = { host, "b.example" }, sources = { { path = "/certs" }, { path = "/mine", hosts = { host } } };
		})
		expect.equal({ report.hosts[1].source, report.hosts[2].source }, { "/mine/x.pem", "/certs/x.pem" })
	end },
	{ "a source named for the host must name it as well", function()
		local files = { ["/mine/x.pem"] = certificate("b.example", "k") .. key "k" }
		local report = refresh(files, { sources = { { path = "/mine", hosts = { host } } } })
		expect.equal(report.hosts[1].is_own, true)
	end },
	{ "a wildcard covers one label", function()
		local files = { ["/certs/x.pem"] = certificate("*.a.example", "k") .. key "k" }
		local report = refresh(files, { hosts = { host, "b.a.example", "c.b.a.example" } })
		expect.equal({ report.hosts[1].is_own, report.hosts[2].source, report.hosts[3].source },
			{ true, "/certs/x.pem", "/certs/x.pem" })
		expect.equal(report.hosts[3].shared_with, "b.a.example")
	end },
	{ "a component without one shows that of its parent, with a note", function()
		local files = { ["/certs/x.pem"] = certificate(host, "k") .. key "k" }
		local report = refresh(files, { hosts = { host, "rooms.a.example" } })
		expect.equal(files["/run/served/rooms.a.example.pem"], files[served])
		expect.equal(report.hosts[2].shared_with, host)
		expect.contains(report.notes[1], "rooms.a.example has no certificate of its own")
	end },
	{ "without any the server makes one itself and keeps it", function()
		local files = {}
		local report = refresh(files, { hosts = { host, "rooms.a.example", "other.example" } })
		expect.equal({ report.own.made, #report.own.hosts, report.hosts[3].is_own }, { true, 3, true })
		expect.contains(certificates.lines(report)[1], "made a self-signed certificate")
		expect.contains(certificates.lines(report)[2], report.own.fingerprint)
		expect.equal(files["/run/served/other.example.pem"], files[served])
		report = refresh(files, { hosts = { host } })
		expect.equal({ report.own.made, files["/run/served/other.example.pem"] }, { false, nil })
		expect.contains(certificates.lines(report)[1], "made earlier")
	end },
	{ "the server's own is made anew when it expires or does not cover a host", function()
		for _, text in ipairs { certificate(host, "own", -9, 0.5), certificate("b.example", "own", -9, 900) } do
			local files = { ["/data/certificates/a.example.crt"] = text, ["/data/certificates/a.example.key"] = key "own" }
			expect.equal(refresh(files).own.made, true)
		end
	end },
	{ "an expired one is served rather than the server's own, with a warning", function()
		local report = refresh { ["/certs/x.pem"] = certificate(host, "k", -90, -1) .. key "k" }
		expect.equal({ report.hosts[1].source, report.hosts[1].is_valid, report.own }, { "/certs/x.pem", false, nil })
		expect.contains(report.warnings[1], "not valid now")
		expect.contains(certificates.lines(report)[1], "expired on")
	end },
	{ "a damaged one is a problem where there is no other", function()
		local half = certificate(host, "k"):sub(1, -40)
		local files = { ["/certs/x.crt"] = half, ["/certs/x.key"] = key "k" }
		local report = refresh(files, { hosts = { host, "b.example" } })
		expect.equal(#report.problems, 1)
		expect.contains(report.problems[1], "/certs/x.crt is damaged or incomplete")
		expect.contains(report.problems[1], "a.example, b.example")
		expect.equal({ files[served], files["/data/certificates/a.example.crt"] }, {})
	end },
	{ "a damaged one is a note where there is another", function()
		local report = refresh {
			["/certs/x.crt"] = certificate(host, "k"):sub(1, -40), ["/certs/x.key"] = key "k";
			["/certs/y.pem"] = certificate(host, "y") .. key "y";
		}
		expect.equal({ #report.problems, #report.warnings, #report.notes }, { 0, 0, 1 })
	end },
	{ "a running server keeps what it has while a new one is half written", function()
		local first, second = certificate(host, "k", -9), certificate(host, "l", -1)
		local files = { ["/certs/x.crt"] = first, ["/certs/x.key"] = key "k" }
		refresh(files)
		for _, half in ipairs { second:sub(1, -40), second, "" } do
			files["/certs/x.crt"] = half
			local report = refresh(files, { running = true })
			expect.equal({ report.changed, #report.problems, report.hosts[1].is_earlier }, { false, 0, true })
			expect.equal(files[served], first .. key "k")
			expect.contains(report.warnings[#report.warnings], "stays")
		end
		files["/certs/x.crt"], files["/certs/x.key"] = second, key "l"
		local report = refresh(files, { running = true })
		expect.equal({ report.changed, #report.warnings, files[served] }, { true, 0, second .. key "l" })
	end },
	{ "a running server keeps what it has when the file is gone, a new one does not", function()
		local files = { ["/certs/x.pem"] = certificate(host, "k") .. key "k" }
		refresh(files)
		files["/certs/x.pem"] = nil
		expect.equal(refresh(files, { running = true }).hosts[1].is_earlier, true)
		expect.equal(refresh(files).hosts[1].is_own, true)
	end },
	{ "what has expired meanwhile is not kept", function()
		local files = { [served] = certificate(host, "k", -90, -1) .. key "k" }
		expect.equal(refresh(files, { running = true }).hosts[1].is_own, true)
	end },
	{ "a running server with its own certificate goes on with it", function()
		local files = {}
		refresh(files)
		files["/certs/x.crt"] = certificate(host, "k"):sub(1, -40)
		local report = refresh(files, { running = true })
		expect.equal({ #report.problems, report.hosts[1].is_own, report.changed }, { 0, true, false })
		expect.contains(report.warnings[1], "damaged")
	end },
	{ "what the library refuses is not served, and nothing is left of it", function()
		local files = { ["/certs/x.pem"] = certificate(host, "weak") .. key "weak" }
		local report = refresh(files)
		expect.contains(report.problems[1], "ee key too small")
		expect.equal({ files[served], files["/run/served/a.example.new"] }, {})
	end },
	{ "hosts that are not served any more lose their copy", function()
		local files = { ["/certs/x.pem"] = certificate("a.example b.example", "k") .. key "k" }
		refresh(files, { hosts = { host, "b.example" } })
		expect.equal(refresh(files).changed, true)
		expect.equal({ files["/run/served/b.example.pem"], files[served] ~= nil }, { nil, true })
	end },
	{ "a folder that cannot be written is told", function()
		local tools = stand_ins.tools { ["/certs/x.pem"] = certificate(host, "k") .. key "k" }
		function tools.write() return nil, "No space left on device" end
		local report = certificates.refresh(plan_for(), tools)
		expect.equal(report.unwritable, true)
		expect.contains(report.problems[1], "No space left on device")
	end },
	{ "the signature changes with the files, and only then", function()
		local files = { ["/certs/x.pem"] = "1" }
		local tools = stand_ins.tools(files)
		local function signature() return certificates.signature(plan_for(), tools) end
		local first = signature()
		expect.equal(signature(), first)
		files["/certs/x.pem"] = "12"
		local second = signature()
		files["/certs/y.pem"] = "1"
		assert(first ~= second and second ~= signature(), "a change was not noticed")
	end },
	{ "a file that was written this moment is looked at again", function()
		local tools = stand_ins.tools { ["/certs/x.pem"] = "1" }
		local settled = certificates.signature(plan_for(), tools)
		tools.now = tools.now - 86400
		assert(certificates.signature(plan_for(), tools) ~= settled, "it may have changed within the same second")
	end },
}
