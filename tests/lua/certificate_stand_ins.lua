-- A world for the specs of certificates: files in a table, and certificates that are texts.
--
-- The body of a certificate block tells its fields, with "0" between them as Base64 has few characters to offer.

local stand_ins = {}

local now = 1795600000
local day = 86400
local months = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }

stand_ins.now = now

--- Text that Base64 allows, and back.
local function encode(text)
	local hex = text:gsub(".", function(character) return ("%02x"):format(character:byte()) end)
	return hex .. ("A"):rep(-#hex % 4)
end

local function decode(digits)
	return (digits:gsub("%s", ""):gsub("A", ""):gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function block(label, text)
	local lines = encode(text):gsub(("."):rep(64), "%0\n")
	return ("-----BEGIN %s-----\n%s\n-----END %s-----\n"):format(label, lines, label)
end

--- A certificate: names separated by blanks, the name of its key, days of begin and end counted from now.
function stand_ins.certificate(names, key, first_day, last_day)
	return block("CERTIFICATE", table.concat({ names, key, first_day or -1, last_day or 89 }, "|"))
end

function stand_ins.key(name)
	return block("PRIVATE KEY", name)
end

stand_ins.block = block

local function show_time(time)
	local date = os.date("!*t", time)
	return ("%s %2d %02d:%02d:%02d %d GMT"):format(
		months[date.month], date.day, date.hour, date.min, date.sec, date.year)
end

local function load(text)
	local body = text:match("^%-%-%-%-%-BEGIN CERTIFICATE%-%-%-%-%-(.-)%-%-%-%-%-END")
	local names, key, first_day, last_day = decode(body or ""):match("^(.-)|(.-)|(.-)|(.-)$")
	if not names then return nil end
	local not_before, not_after = now + first_day * day, now + last_day * day
	return {
		names = names, key = key;
		validat = function(_, time) return time >= not_before and time <= not_after end;
		notbefore = function() return show_time(not_before) end;
		notafter = function() return show_time(not_after) end;
		digest = function() return encode(names .. key .. first_day):sub(1, 64) end;
		issuer = function() return { { name = "commonName", value = "Authority" } } end;
		subject = function() return { { name = "commonName", value = names } } end;
	}
end

--- Makes tools over files (path → text). unreadable: set of paths, links: path → target (false: leads nowhere).
function stand_ins.tools(files, unreadable, links)
	unreadable, links = unreadable or {}, links or {}
	local made, inodes, inode_count = {}, {}, 0

	local function inode_of(path)
		if not inodes[path] then
			inode_count = inode_count + 1
			inodes[path] = inode_count
		end
		return inodes[path]
	end

	local function mode_of(path)
		if files[path] then return "file" end
		if made[path] then return "directory" end
		for name in pairs(files) do
			if name:sub(1, #path + 1) == path .. "/" then return "directory" end
		end
		return nil
	end

	local tools = { now = now, uid = 1000, writes = {} }
	tools.lfs = {
		attributes = function(path, wanted)
			local attributes = {
				mode = mode_of(path), size = #(files[path] or ""), dev = 1, ino = inode_of(path);
				modification = now - day, change = now - day;
			}
			if not attributes.mode then return nil, "cannot obtain information", 2 end
			if wanted then return attributes[wanted] end
			return attributes
		end;
		symlinkattributes = function(path, wanted)
			local mode = links[path] ~= nil and "link" or mode_of(path)
			if not mode then return nil end
			return wanted and mode or { mode = mode }
		end;
		dir = function(path)
			assert(mode_of(path) == "directory" and not unreadable[path])
			local names, seen = { ".", ".." }, {}
			local function add(name)
				local entry = name:sub(1, #path + 1) == path .. "/" and name:sub(#path + 2):match("^[^/]+")
				if entry and not seen[entry] then
					seen[entry] = true
					names[#names + 1] = entry
				end
			end
			for name in pairs(files) do add(name) end
			for name in pairs(links) do add(name) end
			local index = 0
			return function()
				index = index + 1
				return names[index]
			end
		end;
		mkdir = function(path) made[path] = true end;
	}
	function tools.read(path)
		if unreadable[path] then return nil, "Permission denied" end
		if not files[path] then return nil, "No such file or directory" end
		return files[path]
	end
	function tools.write(path, content)
		table.insert(tools.writes, path)
		files[path] = content
		return true
	end
	function tools.rename(from, to)
		files[to], files[from] = files[from], nil
		return true
	end
	function tools.remove(path)
		local existed = files[path] ~= nil
		files[path] = nil
		return existed
	end
	function tools.umask() return "022" end
	function tools.ascii(host) return host end
	tools.load = load
	function tools.identities(certificate)
		local identities = {}
		for name in certificate.names:gmatch("%S+") do identities[name] = { ["*"] = true } end
		return identities
	end
	function tools.public_key(certificate) return certificate.key end
	function tools.public_key_of(text)
		local body = text:match("^%-%-%-%-%-BEGIN [%u ]*PRIVATE KEY%-%-%-%-%-(.-)%-%-%-%-%-END")
		return body and decode(body)
	end
	function tools.newcontext(options)
		if files[options.certificate]:find(encode("weak"), 1, true) then return nil, "ee key too small" end
		return {}
	end
	function tools.make_pair(names)
		return stand_ins.certificate(table.concat(names, " "), "own", -1, 3650), stand_ins.key("own")
	end
	-- What the store of Traefik needs: Lua in the place of JSON, and the texts as they are.
	function tools.decode_json(text)
		local chunk = _G.load("return " .. text, "json", "t", {})
		return chunk and chunk()
	end
	function tools.decode_base64(text) return text end
	return tools
end

return stand_ins
