local certificates = require "container.certificates"
local expect = require "expect"
local pem = require "container.certificates.pem"
local stand_ins = require "certificate_stand_ins"

local certificate, key = stand_ins.certificate, stand_ins.key
local host = "a.example"

--- Source taken for the host, the problems and the notes; files below /certs.
local function inspect(files, unreadable, links, path)
	local placed = {}
	for name, content in pairs(files) do placed["/certs/" .. name] = content end
	local plan = { sources = { { path = path or "/certs" } }, hosts = { host }, own = "/data/a.example" }
	local report = certificates.inspect(plan, stand_ins.tools(placed, unreadable, links))
	return report.hosts[1].source, report.problems, report.notes
end

return {
	{ "the usual names of pairs are understood", function()
		for certificate_name, key_name in pairs {
			["x.crt"] = "x.key", ["chat.pem"] = "chat-key.pem", ["x.cer"] = "x.key", ["cert.pem"] = "key.pem",
			["live/x/fullchain.pem"] = "live/x/privkey.pem", ["archive/x/fullchain2.pem"] = "archive/x/privkey2.pem",
			["tls.crt"] = "tls.key", ["secret/tls.crt"] = "secret/tls.key",
			["certificate.crt"] = "privatekey.key", ["chat_cert"] = "chat_key", ["certs/x.crt"] = "private/x.key",
			["caddy/certificates/ca/x/x.crt"] = "caddy/certificates/ca/x/x.key",
			["server.pem"] = "whatever",
		} do
			local source, problems, notes = inspect {
				[certificate_name] = certificate(host, "k"), [key_name] = key "k", ["other.key"] = key "other";
			}
			expect.equal({ source, #problems, #notes }, { "/certs/" .. certificate_name, 0, 0 })
		end
	end },
	{ "one file may hold everything, in any order", function()
		local leaf, chain = certificate(host, "k"), certificate("Authority", "ca")
		for _, text in ipairs { leaf .. chain .. key "k", key "k" .. leaf .. chain, chain .. leaf .. key "k" } do
			local files = { ["/certs/x.pem"] = text }
			local plan = { directory = "/run", sources = { { path = "/certs" } }, hosts = { host } }
			certificates.refresh(plan, stand_ins.tools(files))
			expect.equal(files["/run/a.example.pem"], leaf .. chain .. key "k")
		end
	end },
	{ "comments, other blocks, byte order marks and line breaks of Windows do not matter", function()
		local text = "\xEF\xBB\xBF# mine\n" .. certificate(host, "k") .. stand_ins.block("EC PARAMETERS", "p") .. key "k"
		expect.equal(inspect { ["x.pem"] = text:gsub("\n", "\r\n") }, "/certs/x.pem")
	end },
	{ "blocks are written in one way", function()
		local parsed = pem.parse("-----BEGIN CERTIFICATE-----\r\n  QUJD\r\nREVG  \n\n-----END CERTIFICATE-----")
		expect.equal(parsed.certificates, { "-----BEGIN CERTIFICATE-----\nQUJDREVG\n-----END CERTIFICATE-----\n" })
	end },
	{ "what is cut off anywhere is noticed", function()
		local text = certificate(host, "k") .. certificate("Authority", "ca")
		local first_length = #certificate(host, "k")
		for length = 1, #text - 2 do
			-- Where the cut is between two blocks, there is nothing to be noticed.
			local is_between = length == first_length or length == first_length - 1
			expect.equal({ length, pem.parse(text:sub(1, length)).damaged }, { length, not is_between and "certificate" or nil })
		end
		expect.equal(pem.parse(key("k"):sub(1, -10)).damaged, "key")
	end },
	{ "hidden names are passed over, and what lies too deep", function()
		local pair = certificate(host, "k") .. key "k"
		for _, name in ipairs { "..data/x.pem", ".git/x.pem", ".x.pem", "1/2/3/4/5/x.pem" } do
			expect.equal(inspect { [name] = pair }, nil)
		end
		expect.equal(inspect { ["1/2/3/4/x.pem"] = pair }, "/certs/1/2/3/4/x.pem")
	end },
	{ "of certbot's folder only the certificates are looked at", function()
		local source, problems, notes = inspect({
			["live/x/fullchain.pem"] = certificate(host, "k", -2), ["live/x/privkey.pem"] = key "k";
			["archive/x/fullchain1.pem"] = certificate(host, "j", -9), ["archive/x/privkey1.pem"] = key "j";
			["accounts/private_key.json"] = "{}", ["csr/0000_csr.pem"] = "closed";
		}, { ["/certs/accounts"] = true, ["/certs/csr/0000_csr.pem"] = true })
		expect.equal({ source, #problems, #notes }, { "/certs/live/x/fullchain.pem", 0, 0 })
	end },
	{ "a file may be the source, with its key beside it", function()
		local files = {
			["x.crt"] = certificate(host, "k"), ["y.key"] = key "k", ["newer.pem"] = certificate(host, "n", 0) .. key "n";
		}
		expect.equal(inspect(files, nil, nil, "/certs/x.crt"), "/certs/x.crt")
	end },
	{ "Traefik's store has several resolvers, in the format of any version", function()
		local function entry(main, days)
			return ("{ domain = { main = %q }, certificate = %q, key = %q }"):format(
				main, certificate(main, main .. days, -days), key(main .. days))
		end
		local two = ("{ le = { Certificates = { %s } }, zero = { Certificates = { %s, %s } }, none = {} }"):format(
			entry(host, 9), entry("b.example", 1), entry(host, 5))
		expect.equal(inspect { ["acme.json"] = two }, "/certs/acme.json (zero, a.example)")
		local one = ("{ Certificates = { %s } }"):format(entry(host, 1):gsub("domain", "Domain"):gsub("{ main", "{ Main")
			:gsub("certificate =", "Certificate ="):gsub("key =", "Key ="))
		expect.equal(inspect { ["acme.json"] = one }, "/certs/acme.json (a.example)")
		expect.equal({ inspect { ["acme.json"] = "" } }, { nil, {}, {} })
		local _, problems = inspect { ["acme.json"] = two:sub(1, -20) }
		expect.contains(problems[1], "/certs/acme.json cannot be read as Traefik's store")
	end },
	{ "other JSON is no business of ours", function()
		local _, problems, notes = inspect { ["x.json"] = "{", ["y.json"] = "{ sans = {} }" }
		expect.equal({ problems, notes }, { {}, {} })
	end },
	{ "why a key cannot be used is told", function()
		for reason, content in pairs {
			["do not belong together"] = key "other";
			["is encrypted"] = stand_ins.block("ENCRYPTED PRIVATE KEY", "k");
			["/certs/x.key is damaged"] = key("k"):sub(1, -20);
			["there is no key for the certificate /certs/x.crt: it is expected beside it, as x.key"] = false;
		} do
			local source, problems = inspect { ["x.crt"] = certificate(host, "k"), ["x.key"] = content or nil }
			expect.equal({ source, #problems }, { nil, 1 })
			expect.contains(problems[1], reason)
		end
	end },
	{ "what cannot be read is told", function()
		local files = { ["x.crt"] = certificate(host, "k"), ["x.key"] = key "k" }
		for _, name in ipairs { "/certs/x.key", "/certs/x.crt", "/certs" } do
			local _, problems = inspect(files, { [name] = true })
			expect.equal(#problems, 1)
			expect.contains(problems[1], name .. " cannot be read by uid 1000")
		end
		local _, problems = inspect(files, nil, nil, "/missing")
		expect.contains(problems[1], "there is no file or folder /missing")
	end },
	{ "a link that leads nowhere is told once for a folder", function()
		local _, problems = inspect({ ["live/README"] = "" }, nil, {
			["/certs/live/cert.pem"] = false, ["/certs/live/fullchain.pem"] = false;
		})
		expect.equal(#problems, 1)
		expect.contains(problems[1], "leads nowhere in this container")
	end },
	{ "a certificate that is not PEM is told, other files are not", function()
		local _, problems = inspect {
			["x.crt"] = "0\x82\x01", ["README"] = "cert", ["notes-on-certs.txt"] = "";
			["dh.pem"] = stand_ins.block("DH PARAMETERS", "d");
		}
		expect.equal(#problems, 1)
		expect.contains(problems[1], "/certs/x.crt holds no certificate in PEM form")
	end },
	{ "a damaged certificate of another host is no problem of one that has its own", function()
		local source, problems, notes = inspect {
			["x.pem"] = certificate(host, "k") .. key "k", ["y.crt"] = certificate("b.example", "j"):sub(1, 40);
		}
		expect.equal({ source, #problems, #notes }, { "/certs/x.pem", 0, 1 })
	end },
	{ "control characters in names do not reach the output", function()
		local _, problems = inspect { ["x\n\27.crt"] = "" }
		expect.contains(problems[1], "/certs/x??.crt")
	end },
}
