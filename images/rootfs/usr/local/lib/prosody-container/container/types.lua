-- Turns the text of an environment variable into a typed value.
--
-- parse(specification, text) gives the value, or nil and what was expected. It never puts the text
-- itself into that answer when the specification says that it is secret.

local types = {}

local second, minute, hour, day = 1, 60, 3600, 86400
local duration_units = {
	[""] = second, s = second, sec = second, second = second, seconds = second;
	min = minute, mins = minute, minute = minute, minutes = minute;
	h = hour, hour = hour, hours = hour;
	d = day, day = day, days = day;
	w = 7 * day, week = 7 * day, weeks = 7 * day;
	mon = 31 * day, month = 31 * day, months = 31 * day;
	y = 365 * day, year = 365 * day, years = 365 * day;
}
local size_units = { [""] = 1, k = 1024, m = 1024 ^ 2, g = 1024 ^ 3 }
local booleans = {
	["true"] = true, yes = true, on = true, ["1"] = true;
	["false"] = false, no = false, off = false, ["0"] = false;
}

--- The text made fit for one line of output: control characters escaped, long texts cut.
function types.printable(text)
	local shown = #text > 80 and text:sub(1, 77) .. "..." or text
	shown = shown:gsub("[%c\"\\]", function(character)
		if character == "\n" then return "\\n" end
		if character == "\"" or character == "\\" then return "\\" .. character end
		return ("\\x%02X"):format(character:byte())
	end)
	return '"' .. shown .. '"'
end

local function trim(text)
	return (text:match("^%s*(.-)%s*$"))
end

local function unquote(text)
	return text:match('^"(.*)"$') or text:match("^'(.*)'$") or text
end

-- Without Prosody's libraries only the ASCII subset of the preparations is available.
local plain_preparations = {
	host = function(text)
		return not text:find("[^%w.-]") and text:lower() or nil
	end;
	node = function(text)
		return not text:find("[%c%s\"&'/:<>@\128-\255]") and text:lower() or nil
	end;
	password = function(text)
		return not text:find("%c") and text or nil
	end;
	ascii = function(host)
		return host
	end;
}

local function is_domain(ascii)
	if not ascii or #ascii > 255 then return false end
	for label in (ascii .. "."):gmatch("([^.]*)%.") do
		if #label > 63 or not (label:find("^%w[%w-]*%w$") or label:find("^%w$")) then return false end
	end
	return true
end

--- Makes a parser. preparations: host, node, password (text → prepared text or nil), ascii (host → A-labels).
function types.new(preparations)
	preparations = preparations or plain_preparations
	local parsers = {}

	local function parse(specification, text)
		local parser = assert(parsers[specification.type], "unknown type in the catalogue")
		if text:find("\0", 1, true) then return nil, "text without NUL characters" end
		return parser(text, specification)
	end

	--- One line of any characters.
	function parsers.string(text)
		if text:find("%c") then return nil, "one line of text without control characters" end
		return text
	end

	--- Anything, even several lines.
	function parsers.text(text)
		return text
	end

	function parsers.boolean(text)
		local value = booleans[trim(text):lower()]
		if value == nil then return nil, "true or false (also yes/no, on/off, 1/0)" end
		return value
	end

	function parsers.integer(text, specification)
		local digits = trim(text):match("^%-?%d+$")
		local value = digits and math.tointeger(tonumber(digits))
		local minimum, maximum = specification.minimum or math.mininteger, specification.maximum or math.maxinteger
		if not value or value < minimum or value > maximum then
			if specification.minimum and specification.maximum then
				return nil, ("a whole number from %d to %d"):format(minimum, maximum)
			elseif specification.minimum then
				return nil, ("a whole number of at least %d"):format(minimum)
			end
			return nil, "a whole number"
		end
		return value
	end

	function parsers.number(text, specification)
		local digits = trim(text)
		local value = (digits:find("^%d+$") or digits:find("^%d+%.%d+$")) and tonumber(digits)
		local minimum, maximum = specification.minimum or 0, specification.maximum or math.huge
		if not value or value < minimum or value > maximum then
			return nil, ("a number from %g to %g"):format(minimum, maximum)
		end
		return value
	end

	function parsers.enum(text, specification)
		local wanted = trim(text):lower()
		for _, allowed in ipairs(specification.allowed) do
			if allowed:lower() == wanted then return allowed end
		end
		return nil, "one of " .. table.concat(specification.allowed, ", ")
	end

	function parsers.host(text, specification)
		local wanted = trim(text)
		if specification.none and wanted:lower() == "none" then return false end
		local prepared = #wanted <= 255 and preparations.host(wanted)
		if not prepared or not is_domain(preparations.ascii(prepared)) then
			return nil, "a domain name" .. (specification.none and " or none" or "")
		end
		return prepared
	end

	function parsers.node(text)
		local prepared = #text <= 1023 and text ~= "" and preparations.node(text)
		if not prepared or prepared == "" then
			return nil, "the part of an address before the @, without blanks and without \" & ' / : < > @"
		end
		return prepared
	end

	--- A bare address with a local part; anything else as an operator or account would be a mistake.
	function parsers.jid(text)
		local node, host = trim(text):match("^([^@]+)@([^@/]+)$")
		node = node and parsers.node(node)
		host = host and parsers.host(host, {})
		if not node or not host then return nil, "an address like user@example.org" end
		return node .. "@" .. host
	end

	function parsers.module(text)
		local name = trim(text):gsub("^mod_", "")
		if not name:find("^[%w_-]+$") then return nil, "the name of a module: letters, digits and _" end
		return name
	end

	function parsers.interface(text)
		local address = trim(text)
		if address == "*" or address:find("^%d+%.%d+%.%d+%.%d+$") or address:find("^%x*:[%x:.]*$") then
			return address
		end
		return nil, "an IP address or *"
	end

	function parsers.path(text, specification)
		local path = trim(text)
		if path:find("%c") or path == "" or not (path:find("^/") or specification.base) then
			return nil, "an absolute path"
		end
		return path:find("^/") and path or specification.base .. "/" .. path
	end

	--- Seconds, or the word never.
	function parsers.duration(text)
		local wanted = trim(text):lower()
		if wanted == "never" then return "never" end
		local count, unit = wanted:match("^(%d+)%s*(%a*)$")
		local seconds = count and duration_units[unit]
		if not seconds or #count > 9 then
			return nil, "a duration like 90, 30 min, 12h, 7 days, 2w, 1 mon, 1y, or never"
		end
		return math.tointeger(tonumber(count)) * seconds
	end

	--- Bytes.
	function parsers.size(text)
		local count, unit = trim(text):lower():match("^(%d+%.?%d*)%s*([kmg]?)i?b?$")
		if not count or #count > 15 then return nil, "a size like 65536, 512 KiB, 10 MB or 1G" end
		return math.floor(tonumber(count) * size_units[unit])
	end

	--- In the only spelling that mod_limits reads as meant: a whole number of thousands of bytes.
	function parsers.rate(text)
		local count, unit = trim(text):lower():match("^(%d+%.?%d*)%s*([kmg])b/s$")
		local thousands = count and tonumber(count) * ({ k = 1, m = 1000, g = 1000000 })[unit]
		if not thousands or thousands < 1 or thousands > 1e9 then return nil, "a rate like 10kb/s or 1mb/s" end
		return ("%dkb/s"):format(thousands // 1)
	end

	--- Separated by commas; also by blanks where an item cannot contain any. Doubles are dropped.
	function parsers.list(text, specification)
		local separators = specification.of == "string" and "[^,\n]+" or "[^,%s]+"
		local item_specification = setmetatable({ type = specification.of }, { __index = specification })
		local items, seen = {}, {}
		for raw in text:gmatch(separators) do
			local item = unquote(trim(raw))
			if item ~= "" then
				local value, expected = parse(item_specification, item)
				if value == nil then
					return nil, (specification.secret and "for each item " or types.printable(item) .. " to be ") .. expected
				end
				if not seen[value] then
					seen[value] = true
					items[#items + 1] = value
				end
			end
		end
		return items
	end

	--- One account a line, address:password; the address ends at the first colon.
	function parsers.accounts(text)
		local accounts, seen, number = {}, {}, 0
		for line in (text .. "\n"):gmatch("(.-)\r?\n") do
			number = number + 1
			if line:find("%S") then
				local address, password = line:match("^%s*([^:]+):(.+)$")
				local jid = address and parsers.jid(address)
				if not jid then
					return nil, ("line %d to be an address and a password, user@example.org:password"):format(number)
				elseif not preparations.password(password) then
					return nil, ("the password in line %d to consist of printable characters"):format(number)
				elseif seen[jid] then
					return nil, ("each address once; line %d repeats one"):format(number)
				end
				seen[jid] = true
				local username, host = jid:match("^(.-)@(.*)$")
				accounts[#accounts + 1] = { username = username, host = host, password = password }
			end
		end
		return accounts
	end

	return parse
end

return types
