local certificates = require "container.certificates"
local expect = require "expect"

local first_line = "-----BEGIN CERTIFICATE-----\n"

--- Tools over a file system given as a table of path → content; the content of a certificate names its domains.
local function tools_for(files, unreadable)
	local function mode_of(path)
		if files[path] then return "file" end
		for name in pairs(files) do
			if name:sub(1, #path + 1) == path .. "/" then return "directory" end
		end
		return nil
	end
	return {
		uid = 1000, now = 0;
		lfs = {
			attributes = mode_of;
			dir = function(path)
				assert(mode_of(path) == "directory")
				local names, seen = { ".", ".." }, {}
				for name in pairs(files) do
					local entry = name:sub(1, #path + 1) == path .. "/" and name:sub(#path + 2):match("^[^/]+")
					if entry and not seen[entry] then
						seen[entry] = true
						names[#names + 1] = entry
					end
				end
				local index = 0
				return function()
					index = index + 1
					return names[index]
				end
			end;
		};
		read = function(path)
			if unreadable == path then return nil, "Permission denied" end
			return files[path], "No such file or directory"
		end;
		load = function(content)
			local names = content:match("names ([^\n]*)")
			return names and {
				names = names;
				validat = function() return not content:find("expired", 1, true) end;
				notbefore = function() return "then" end;
				notafter = function() return "later" end;
			}
		end;
		identities = function(certificate)
			local identities = {}
			for name in certificate.names:gmatch("%S+") do identities[name] = { ["*"] = true } end
			return identities
		end;
		newcontext = function(options)
			if files[options.key] == "other" then return nil, "private key does not match public key" end
			return {}
		end;
	}
end

local function inspect(files, unreadable)
	return certificates.inspect("/certs", "a.example", tools_for(files, unreadable))
end

return {
	{ "the usual layouts are found", function()
		for certificate, key in pairs {
			["/certs/x.crt"] = "/certs/x.key",
			["/certs/fullchain.pem"] = "/certs/privkey.pem",
			["/certs/live/a.example/fullchain.pem"] = "/certs/live/a.example/privkey.pem",
		} do
			local found = inspect { [certificate] = first_line .. "names a.example", [key] = "key" }
			expect.equal(found, { covering = { certificate }, notes = {}, problems = {} })
		end
	end },
	{ "a wildcard covers the domain", function()
		expect.equal(#inspect({ ["/certs/x.crt"] = first_line .. "names *.example", ["/certs/x.key"] = "k" }).covering, 1)
	end },
	{ "another domain's certificate is no business of this one", function()
		local found = inspect { ["/certs/x.crt"] = first_line .. "names b.example", ["/certs/x.key"] = "k" }
		expect.equal(found, { covering = {}, notes = {}, problems = {} })
	end },
	{ "what the server does not look at is not found", function()
		local found = inspect {
			["/certs/1/2/3/x.crt"] = first_line .. "names a.example", ["/certs/1/2/3/x.key"] = "k",
			["/certs/..data/x.crt"] = first_line .. "names a.example", ["/certs/..data/x.key"] = "k",
			["/certs/x.pem"] = first_line .. "names a.example",
		}
		expect.equal(found, { covering = {}, notes = {}, problems = {} })
	end },
	{ "what the server passes over in silence is noted", function()
		for _, files in ipairs {
			{ ["/certs/x.crt"] = "# mine\n" .. first_line .. "names a.example", ["/certs/x.key"] = "k" },
			{ ["/certs/x.crt"] = first_line .. "names a.example" },
			{ ["/certs/x.crt"] = first_line .. "names a.example\nexpired", ["/certs/x.key"] = "k" },
		} do
			local found = inspect(files)
			expect.equal({ #found.covering, #found.notes, #found.problems }, { 0, 1, 0 })
		end
	end },
	{ "what would stop the server or leave it mute is a problem", function()
		local files = { ["/certs/x.crt"] = first_line .. "half", ["/certs/x.key"] = "k" }
		expect.contains(inspect(files).problems[1], "damaged")
		files = { ["/certs/x.crt"] = first_line .. "names a.example", ["/certs/x.key"] = "k" }
		expect.contains(inspect(files, "/certs/x.key").problems[1], "/certs/x.key cannot be read by uid 1000")
		files["/certs/x.key"] = "other"
		expect.contains(inspect(files).problems[1], "does not match")
	end },
	{ "two that fit are noted", function()
		local found = inspect {
			["/certs/x.crt"] = first_line .. "names a.example", ["/certs/x.key"] = "k",
			["/certs/y.crt"] = first_line .. "names a.example", ["/certs/y.key"] = "k",
		}
		expect.equal({ #found.covering, #found.notes }, { 2, 1 })
	end },
}
