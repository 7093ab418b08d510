local certificate_stand_ins = require "certificate_stand_ins"
local expect = require "expect"

--- The module over files (path → content); unreadable: set of paths.
local function over(files, unreadable)
	local tools = certificate_stand_ins.tools(files, unreadable)
	local world = { lfs = tools.lfs }
	local environment = setmetatable({
		require = function(name) return world[name] or require(name) end;
		loadfile = function(path, mode)
			local content, reason = tools.read(path)
			if not content then return nil, ("cannot open %s: %s"):format(path, reason) end
			return load(content, "@" .. path, mode, {})
		end;
		io = {
			open = function(path)
				local content, reason = tools.read(path)
				if not content then return nil, path .. ": " .. reason end
				return { read = function() return content end, close = function() end }
			end;
		};
	}, { __index = _G })
	return assert(loadfile(assert(package.searchpath("container.drop_ins", package.path)), "t", environment))()
end

--- Paths and faults that are found among files with nothing in them, given as a list of paths.
local function find(paths, values, unreadable)
	local files = {}
	for _, path in ipairs(paths) do files[path] = "" end
	return over(files, unreadable).find(values or {})
end

local everywhere = {
	"/etc/prosody/conf.d/b.cfg.lua", "/etc/prosody/conf.d/a.cfg.lua", "/etc/prosody/conf.d/extra.cfg.lua";
	"/etc/prosody/vhost.d/y.cfg.lua", "/etc/prosody/vhost.d/x.cfg.lua", "/etc/prosody/cmpt.d/a.cfg.lua",
	"/entrypoint.d/z.cfg.lua";
}

return {
	{ "nothing is found where nothing is", function()
		expect.equal({ find {} }, { {}, {} })
		expect.equal({ over({}).remarks(), over({}).host_files {}, over({}).list "/etc" }, { {}, {}, {} })
	end },
	{ "names in a folder are sorted", function()
		local files = { ["/d/b"] = "", ["/d/.a"] = "", ["/d/c/x"] = "" }
		expect.equal(over(files).list "/d", { ".a", "b", "c" })
		expect.equal(over(files, { ["/d"] = true }).list "/d", {})
	end },
	{ "files that name hosts come first, then components, then the rest", function()
		local paths, faults = find(everywhere)
		expect.equal(faults, {})
		expect.equal(paths, {
			"/etc/prosody/vhost.d/x.cfg.lua", "/etc/prosody/vhost.d/y.cfg.lua", "/etc/prosody/cmpt.d/a.cfg.lua";
			"/entrypoint.d/z.cfg.lua";
			"/etc/prosody/conf.d/a.cfg.lua", "/etc/prosody/conf.d/b.cfg.lua", "/etc/prosody/conf.d/extra.cfg.lua";
		})
	end },
	{ "only whole names that end in .cfg.lua count, and hidden ones never", function()
		expect.equal(find {
			"/etc/prosody/conf.d/a.lua", "/etc/prosody/conf.d/a.cfg.lua~", "/etc/prosody/conf.d/.a.cfg.lua",
			"/entrypoint.d/..x.cfg.lua";
			"/etc/prosody/conf.d/a-cfg-lua", "/etc/prosody/conf.d/aXcfgXlua", "/etc/prosody/conf.d/README";
			"/etc/prosody/conf.d/deeper/a.cfg.lua", "/etc/prosody/a.cfg.lua";
		}, {})
	end },
	{ "the folder of the configuration can be another", function()
		expect.equal(find({ "/c/conf.d/a.cfg.lua", "/c/vhost.d/b.cfg.lua", "/etc/prosody/conf.d/c.cfg.lua" },
			{ PROSODY_CONFIGDIR = "/c" }),
			{ "/c/vhost.d/b.cfg.lua", "/c/conf.d/a.cfg.lua" })
		local files = { ["/c/vhost.d/b.cfg.lua"] = "", ["/etc/prosody/vhost.d/c.cfg.lua"] = "" }
		expect.equal(over(files).host_files { PROSODY_CONFIGDIR = "/c" }, { "/c/vhost.d/b.cfg.lua" })
	end },
	{ "tobi312's image: the folder conf.d can be switched off", function()
		expect.equal(#find(everywhere, { ENABLE_CONFD = false }), 4)
		expect.equal(#find(everywhere, { ENABLE_CONFD = true }), 7)
	end },
	{ "OpusVL's image: one file can be switched off", function()
		local paths = find(everywhere, { PROSODY_EXTRA_CFG = false })
		expect.equal({ #paths, paths[6] }, { 6, "/etc/prosody/conf.d/b.cfg.lua" })
		expect.equal(#find(everywhere, { PROSODY_EXTRA_CFG = true }), 7)
		expect.equal(find({ "/c/conf.d/extra.cfg.lua" }, { PROSODY_CONFIGDIR = "/c", PROSODY_EXTRA_CFG = false }), {})
	end },
	{ "the official image: files can be named, with patterns", function()
		local files = { "/x/a.lua", "/x/b.lua", "/x/b1.lua", "/x/b12.lua", "/x/c+1.lua", "/etc/prosody/conf.d/a.cfg.lua" }
		for pattern, expected in pairs {
			["/x/*.lua"] = { "/x/a.lua", "/x/b.lua", "/x/b1.lua", "/x/b12.lua", "/x/c+1.lua" };
			["/x/b?.lua"] = { "/x/b1.lua" }, ["/x/c+*.lua"] = { "/x/c+1.lua" }, ["/x/?.lua"] = { "/x/a.lua", "/x/b.lua" };
			["/x/a.lua"] = { "/x/a.lua" }, ["/x/*b*"] = { "/x/b.lua", "/x/b1.lua", "/x/b12.lua" }, ["/x/%a*"] = {},
			["/nowhere/*"] = {};
		} do
			expect.equal({ pattern, find(files, { PROSODY_EXTRA_CONFIG = { pattern } }) }, { pattern, expected, {} })
		end
	end },
	{ "a file is read once, where it was found first", function()
		expect.equal(find({ "/x/a.lua", "/x/b.lua", "/etc/prosody/vhost.d/c.cfg.lua" },
			{ PROSODY_EXTRA_CONFIG = { "/x/b.lua", "/x/*.lua", "/etc/prosody/vhost.d/*" } }),
			{ "/etc/prosody/vhost.d/c.cfg.lua", "/x/b.lua", "/x/a.lua" })
	end },
	{ "a file that was named and is missing is a fault", function()
		local paths, faults = find({}, { PROSODY_EXTRA_CONFIG = { "/x/a.lua" } })
		expect.equal({ paths, #faults }, { { "/x/a.lua" }, 1 })
		expect.contains(faults[1], "/x/a.lua: No such file")
	end },
	{ "files that are no Lua are faults, with the place of the mistake", function()
		local files = {
			["/etc/prosody/conf.d/a.cfg.lua"] = "x = 1\ny = = 2\n",
			["/etc/prosody/conf.d/b.cfg.lua"] = string.dump(function() end);
			["/etc/prosody/conf.d/c.cfg.lua"] = 'VirtualHost "c.example"\n';
		}
		local paths, faults = over(files).find {}
		expect.equal({ #paths, #faults }, { 3, 2 })
		expect.contains(faults[1], "/etc/prosody/conf.d/a.cfg.lua:2:")
		expect.contains(faults[2], "binary chunk")
	end },
	{ "files are compiled, never run", function()
		local _, faults = over({ ["/etc/prosody/conf.d/a.cfg.lua"] = 'error "was run"' }).find {}
		expect.equal(faults, {})
	end },
	{ "what cannot be read is a fault", function()
		local path = "/etc/prosody/conf.d/a.cfg.lua"
		local _, faults = find({ path }, nil, { [path] = true })
		expect.equal(#faults, 1)
		expect.contains(faults[1], path .. ": Permission denied")
		_, faults = find({ path }, nil, { ["/etc/prosody/conf.d"] = true })
		expect.equal(faults, { "/etc/prosody/conf.d cannot be read: permission denied" })
	end },
	{ "hosts are found in files where they are written out", function()
		local files = {
			["/a"] = 'VirtualHost "a.example"\n  enabled = true\nVirtualHost("b.example")\n-- VirtualHost "c.example"\n'
				.. "\tVirtualHost 'd.example' -- here\r\nVirtualHost ( \"e.example\" )\nComponent \"f.example\" \"muc\"\n";
			["/b"] = 'VirtualHost "a.example"\nVirtualHost(name)\nVirtualHost "g.example"';
		}
		expect.equal(over(files).hosts_in { "/a", "/b", "/missing" },
			{ "a.example", "b.example", "d.example", "e.example", "g.example" })
	end },
	{ "whole configurations and scripts are not read, and that is said", function()
		local files = {
			["/etc/prosody/prosody.cfg.lua"] = "", ["/entrypoint.d/prosody.cfg.lua"] = "syntax error",
			["/entrypoint.d/b.sh"] = "";
			["/entrypoint.d/a.sh"] = "", ["/entrypoint.d/.c.sh"] = "", ["/entrypoint.d/d.cfg.lua"] = "";
		}
		local module = over(files)
		expect.equal({ module.find {} }, { { "/entrypoint.d/d.cfg.lua" }, {} })
		local remarks = module.remarks()
		expect.equal(#remarks, 4)
		for index, part in ipairs {
			"/entrypoint.d/a.sh is not run", "/entrypoint.d/b.sh is not run";
			"PROSODY_CONFIG=/etc/prosody/prosody.cfg.lua", "PROSODY_CONFIG=/entrypoint.d/prosody.cfg.lua";
		} do
			expect.contains(remarks[index], part)
		end
	end },
}
