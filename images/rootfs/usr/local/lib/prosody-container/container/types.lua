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
-- Items of these types may contain blanks, so only commas and line breaks separate them.
local blank_types = { string = true, text = true, pattern = true, uri = true, url = true, enum = true, script = true }

--- What a JSON null becomes where it has a meaning of its own: "take the option away".
types.null = setmetatable({}, { __tostring = function() return "null" end })

--- The text made fit for one line of output: control characters escaped, long texts cut.
function types.printable(text)
	local shown = #text > 80 and text:sub(1, 77) .. "..." or text
	shown = shown:gsub("[%c\"\\]", function(character)
		if character == "\n" then return "\\n" end
		if character == "\"" or character == "\\" then return "\\" .. character end
		return ("\\x%02X"):format(character:byte())
	end)
	-- A text that was cut within a character, or is no UTF-8 at all, must not spoil the output.
	if not utf8.len(shown) then
		shown = shown:gsub("[\128-\255]", function(byte) return ("\\x%02X"):format(byte:byte()) end)
	end
	return '"' .. shown .. '"'
end

--- Without blanks around it; in a time that grows with the length only, which the obvious pattern does not do.
local function trim(text)
	local first = text:match("^%s*()")
	return first <= #text and text:match("^.*%S", first) or ""
end

local function unquote(text)
	return text:match('^"(.*)"$') or text:match("^'(.*)'$") or text
end

-- Without Prosody's libraries only the ASCII subset of the preparations is available, and no JSON.
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
	json = function()
		return nil
	end;
}

local function is_domain(ascii)
	if not ascii or #ascii > 255 then return false end
	for label in (ascii .. "."):gmatch("([^.]*)%.") do
		if #label > 63 or not (label:find("^%w[%w-]*%w$") or label:find("^%w$")) then return false end
	end
	return true
end

local function is_ipv4(text)
	local count = 0
	for part in (text .. "."):gmatch("([^.]*)%.") do
		count = count + 1
		-- A leading zero would mean octal to some, and nothing to Prosody.
		if not part:find("^%d%d?%d?$") or part:find("^0%d") or tonumber(part) > 255 then return false end
	end
	return count == 4
end

-- RFC 4291, 2.2: eight groups, of which one run of zeros may be "::", the last two may be an IPv4 address.
local function is_ipv6(text)
	if text:find(":::", 1, true) or not text:find(":", 1, true) then return false end
	local address, tail = text:match("^(.*:)([%d.]+%.%d+)$")
	if address then
		if not is_ipv4(tail) then return false end
		text = address .. "0:0"
	end
	local left, right = text:match("^(.-)::(.*)$")
	local function count_groups(part)
		local count = 0
		if part == "" then return 0 end
		for group in (part .. ":"):gmatch("([^:]*):") do
			if not group:find("^%x%x?%x?%x?$") then return nil end
			count = count + 1
		end
		return count
	end
	if left then
		local before, after = count_groups(left), count_groups(right)
		return before ~= nil and after ~= nil and before + after <= 7
	end
	return count_groups(text) == 8
end

--- A product of factors, 10 * 1024 * 1024, as people write sizes and times in Prosody's own files; nil when it is none.
local function product_of(text)
	if not text:find("^%d[%d*%s]*%d$") or not text:find("*", 1, true) then return nil end
	local product = 1
	for factor in (text .. "*"):gmatch("([^*]*)%*") do
		local digits = trim(factor)
		if not digits:find("^%d+$") or #digits > 12 then return nil end
		-- As floats, which do not wrap around.
		if product * (tonumber(digits) + 0.0) > 2 ^ 50 then return nil end
		product = product * math.tointeger(tonumber(digits))
	end
	return product
end

--- Whether a text is a pattern in Lua's notation. string.find itself notices a fault only when it comes that far.
local function is_pattern(text)
	local captures, position = {}, 1
	local function read_set()
		position = position + (text:sub(position, position) == "^" and 1 or 0)
		repeat
			if position > #text then return false end
			position = position + (text:sub(position, position) == "%" and 2 or 1)
		until text:sub(position, position) == "]"
		position = position + 1
		return true
	end
	local function read_escape()
		local character = text:sub(position, position)
		position = position + 1
		if character == "" then return false end
		if character:find("%d") then return captures[tonumber(character)] == "closed" end
		if character == "f" then return text:sub(position, position) == "[" end
		if character == "b" then position = position + 2 end
		return position <= #text + 1
	end
	local function close_capture()
		for index = #captures, 1, -1 do
			if captures[index] == "open" then
				captures[index] = "closed"
				return true
			end
		end
		return false
	end
	while position <= #text do
		local character, is_good = text:sub(position, position), true
		position = position + 1
		if character == "%" then
			is_good = read_escape()
		elseif character == "[" then
			is_good = read_set()
		elseif character == ")" then
			is_good = close_capture()
		elseif character == "(" then
			captures[#captures + 1] = "open"
		end
		if not is_good or #captures > 32 then return false end
	end
	for _, state in ipairs(captures) do
		if state == "open" then return false end
	end
	return true
end

--- Makes a parser. preparations: host, node, password (text → prepared text or nil), ascii (host → A-labels),
-- json (text → value or nil; null as types.null).
function types.new(preparations)
	preparations = setmetatable(preparations or {}, { __index = plain_preparations })
	local parsers = {}

	local function parse(specification, text)
		local parser = assert(parsers[specification.type], "unknown type in the catalogue")
		if text:find("\0", 1, true) then return nil, "text without NUL characters" end
		if specification.words then
			for _, word in ipairs(specification.words) do
				if trim(text):lower() == word then return word end
			end
		end
		local value, expected = parser(text, specification)
		if value == nil and specification.words then
			expected = expected .. ", or " .. table.concat(specification.words, ", ")
		end
		return value, expected
	end

	--- One line of any characters.
	function parsers.string(text)
		if text:find("%c") then return nil, "one line of text without control characters" end
		if not utf8.len(text) then return nil, "text in UTF-8" end
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
		local value = digits and tonumber(digits)
		-- A number too large for an integer would come back as its neighbour.
		if math.type(value) ~= "integer" then value = nil end
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

	function parsers.port(text)
		local value = parsers.integer(text, { minimum = 1, maximum = 65535 })
		if not value then return nil, "a port, 1 to 65535" end
		return value
	end

	function parsers.enum(text, specification)
		local wanted = trim(text):lower()
		for _, allowed in ipairs(specification.allowed) do
			if allowed:lower() == wanted then
				if specification.values then return specification.values[allowed] end
				return allowed
			end
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

	--- A bare address, or a domain alone.
	function parsers.address(text)
		local value = parsers.jid(text) or parsers.host(text, {})
		if not value then return nil, "an address like user@example.org, or a domain" end
		return value
	end

	function parsers.module(text)
		local name = trim(text):gsub("^mod_", "")
		if not name:find("^[%w_-]+$") then return nil, "the name of a module: letters, digits and _" end
		return name
	end

	function parsers.provider(text)
		local name = trim(text):gsub("^mod_", ""):gsub("^auth_", "")
		if not name:find("^[%w_-]+$") then return nil, "the name of a module auth_NAME, without auth_" end
		return name
	end

	function parsers.role(text)
		local name = trim(text)
		if not name:find("^[%w_.-]+:[%w_.-]+$") then return nil, "a role like prosody:member" end
		return name
	end

	--- RFC 4422, 3.1
	function parsers.mechanism(text)
		local name = trim(text):upper()
		if not name:find("^[%u%d_-]+$") or #name > 20 then return nil, "a SASL mechanism like SCRAM-SHA-1" end
		return name
	end

	function parsers.ip(text)
		local address = trim(text)
		if is_ipv4(address) or is_ipv6(address) then return address end
		return nil, "an IP address"
	end

	function parsers.interface(text)
		local address = trim(text)
		if address == "*" or is_ipv4(address) or is_ipv6(address) then return address end
		return nil, "an IP address, or *"
	end

	--- RFC 4632, 3.1 and RFC 4291, 2.3
	function parsers.cidr(text)
		local network = trim(text)
		local address, bits = network:match("^([^/]+)/(%d%d?%d?)$")
		local longest = address and (is_ipv4(address) and 32 or is_ipv6(address) and 128)
		if not longest or tonumber(bits) > longest then return nil, "a network like 192.0.2.0/24 or 2001:db8::/32" end
		return network
	end

	function parsers.network(text)
		local value = parsers.ip(text) or parsers.cidr(text)
		if not value then return nil, "an IP address, or a network like 192.0.2.0/24" end
		return value
	end

	function parsers.path(text, specification)
		local path = trim(text)
		if path:find("%c") or path == "" or not (path:find("^/") or specification.base) then
			return nil, "an absolute path"
		end
		return path:find("^/") and path or specification.base .. "/" .. path
	end

	function parsers.url(text)
		local address = trim(text)
		if not address:find("^https?://[%w%[][^%s%c\"<>\\]*$") then return nil, "an address that begins with https://" end
		return address
	end

	--- RFC 3986, 3: a scheme and something after it
	function parsers.uri(text)
		local address = trim(text)
		if not address:find("^%a[%w+.-]*:[^%s%c\"<>\\]+$") then
			return nil, "an address with its kind, like mailto:admin@example.org or xmpp:admin@example.org"
		end
		return address
	end

	--- A pattern in Lua's notation; a faulty one would be an error at each message.
	function parsers.pattern(text)
		local plain = parsers.string(text)
		if not plain or not is_pattern(plain) then return nil, "a pattern in Lua's notation" end
		return plain
	end

	--- A script of mod_firewall: module:scripts/NAME.pfw, or a path.
	function parsers.script(text)
		local script = trim(text)
		if script:find("%c") or not (script:find("^/.") or script:find("^[%w_]+:[^/].*")) or script:find("..", 1, true) then
			return nil, "an absolute path, or module:scripts/NAME.pfw"
		end
		return script
	end

	function parsers.timezone(text)
		local name = trim(text)
		if not name:find("^[%w_+/-]+$") or name:find("^/") then return nil, "a time zone like Europe/Zurich" end
		return name
	end

	function parsers.umask(text)
		local digits = trim(text):match("^0?[0-7][0-7][0-7]$")
		-- A server that cannot read its own files is no use.
		if not digits or tonumber(digits:sub(-3, -3)) ~= 0 then
			return nil, "three octal digits of which the first is 0, like 027"
		end
		return ("%03d"):format(tonumber(digits))
	end

	--- Seconds, or the word never.
	function parsers.duration(text, specification)
		local wanted = trim(text):lower()
		if wanted == "never" and not specification.finite then return "never" end
		local product = product_of(wanted)
		if product then return product end
		local count, unit = wanted:match("^(%d+)%s*(%a*)$")
		local seconds = count and duration_units[unit]
		if not seconds or #count > 9 then
			return nil, "a duration like 90, 30 min, 12h, 7 days, 2w, 1 mon, 1y" .. (specification.finite and "" or ", or never")
		end
		return math.tointeger(tonumber(count)) * seconds
	end

	--- The same for options that know no never.
	function parsers.seconds(text)
		return parsers.duration(text, { finite = true })
	end

	--- Days, as a number; seconds.
	function parsers.days(text)
		local count = tonumber(trim(text):match("^%d[%d.]*$") or "")
		if not count or #trim(text) > 7 then return nil, "a number of days" end
		return math.floor(count * day)
	end

	--- Bytes.
	function parsers.size(text, specification)
		local wanted = trim(text):lower()
		local bytes = product_of(wanted)
		if not bytes then
			local count, unit = wanted:match("^(%d[%d.]*)%s*([kmg]?)i?b?$")
			bytes = count and #count <= 15 and tonumber(count) and math.tointeger(tonumber(count) * size_units[unit] // 1)
		end
		local minimum = specification.minimum or 0
		if not bytes or bytes < minimum then
			return nil, "a size like 65536, 512 KiB, 10 MB or 1G" .. (minimum > 0 and (", at least %d"):format(minimum) or "")
		end
		return bytes
	end

	local function parse_count(text, factor, unit)
		local count = trim(text):match("^%d[%d.]*$")
		local bytes = count and #count <= 9 and tonumber(count) and math.floor(tonumber(count) * factor)
		if not bytes or bytes < 1 then return nil, "a number of " .. unit end
		return bytes
	end

	function parsers.mebibytes(text)
		return parse_count(text, 1024 ^ 2, "MiB")
	end

	function parsers.gibibytes(text)
		return parse_count(text, 1024 ^ 3, "GiB")
	end

	--- In the only spelling that mod_limits reads as meant: a whole number of thousands of bytes.
	function parsers.rate(text)
		local count, unit = trim(text):lower():match("^(%d[%d.]*)%s*([kmg])b/s$")
		local thousands = count and tonumber(count) and tonumber(count) * ({ k = 1, m = 1000, g = 1000000 })[unit]
		if not thousands or thousands < 1 or thousands > 1e9 then return nil, "a rate like 10kb/s or 1mb/s" end
		return ("%dkb/s"):format(thousands // 1)
	end

	--- Seconds, in the spelling of mod_limits.
	function parsers.burst(text)
		local count = trim(text):lower():match("^(%d+)%s*s?$")
		if not count or #count > 6 or tonumber(count) < 1 then return nil, "a number of seconds like 2s" end
		return ("%ds"):format(tonumber(count))
	end

	function parsers.json(text, specification)
		local value = preparations.json(text)
		local is_array = type(value) == "table" and value ~= types.null and (#value > 0 or trim(text):sub(1, 1) == "[")
		if value == nil then
			return nil, 'JSON: a number, true, false, "text", a list or an object'
		elseif specification.of == "array" and not is_array then
			return nil, "a JSON list: [...]"
		elseif specification.of == "object" and (type(value) ~= "table" or value == types.null or is_array) then
			return nil, "a JSON object: {...}"
		end
		return value
	end

	local function item_of(specification, item_type)
		return setmetatable({ type = item_type, none = false, words = false }, { __index = specification })
	end

	local function failed_item(specification, item, expected)
		return (specification.secret and "for each item " or types.printable(item) .. " to be ") .. expected
	end

	--- The texts in a JSON list, or nil where the text is none.
	local function json_items(text)
		local listed = text:find("^%s*%[") and preparations.json(text)
		if type(listed) ~= "table" or listed == types.null or #listed == 0 and next(listed) ~= nil then return nil end
		local items = {}
		for index, item in ipairs(listed) do items[index] = type(item) == "table" and "" or tostring(item) end
		return items
	end

	--- The items of a text: a JSON list, else one a line, else separated by commas, and by blanks where no item has any.
	local function split(text, item_type)
		local listed = json_items(text)
		if listed then return listed end
		local separators = "[^,%s]+"
		if blank_types[item_type] then separators = text:find("\n", 1, true) and "[^\n]+" or "[^,]+" end
		local items = {}
		for raw in text:gmatch(separators) do
			local item = unquote(trim(raw))
			if item ~= "" then items[#items + 1] = item end
		end
		return items
	end

	--- Doubles are dropped.
	function parsers.list(text, specification)
		if specification.none and trim(text):lower() == "none" then return {} end
		local item_specification = item_of(specification, specification.of)
		local items, seen = {}, {}
		for _, item in ipairs(split(text, specification.of)) do
			local value, expected = parse(item_specification, item)
			if value == nil then return nil, failed_item(specification, item, expected) end
			if not seen[value] then
				seen[value] = true
				items[#items + 1] = value
			end
		end
		return items
	end

	--- Pairs of a text as { key, value } texts; the value is nil where there is no separator.
	local function split_pairs(text, separator)
		local object = text:find("^%s*{") and preparations.json(text)
		local pairs_found = {}
		if type(object) == "table" and object ~= types.null then
			for key, value in pairs(object) do
				pairs_found[#pairs_found + 1] = { tostring(key), type(value) ~= "table" and tostring(value) or nil }
			end
			table.sort(pairs_found, function(left, right) return left[1] < right[1] end)
			return pairs_found
		end
		for raw in text:gmatch(text:find("\n", 1, true) and "[^\n]+" or "[^,]+") do
			local item = trim(raw)
			if item ~= "" then
				local position = item:find(separator, 1, true)
				local key = trim(position and item:sub(1, position - 1) or item)
				pairs_found[#pairs_found + 1] = { key, position and trim(item:sub(position + 1)) or nil }
			end
		end
		return pairs_found
	end

	--- A table of keys and values; the value is "" where it is optional and there is none.
	function parsers.map(text, specification)
		local separator = specification.separator or ":"
		local keys, values = item_of(specification, specification.keys), item_of(specification, specification.of)
		local map = {}
		for _, pair in ipairs(split_pairs(text, separator)) do
			local key, expected = parse(keys, pair[1])
			if key == nil then return nil, failed_item(specification, pair[1], expected) end
			if map[key] ~= nil then
				return nil, "each name once"
					.. (specification.secret and "" or "; " .. types.printable(pair[1]) .. " stands there twice")
			end
			if pair[2] == nil or pair[2] == "" then
				if not specification.optional then
					return nil, failed_item(specification, pair[1], ("followed by %s and a value"):format(separator))
				end
				map[key] = ""
			else
				map[key], expected = parse(values, pair[2])
				if map[key] == nil then return nil, failed_item(specification, pair[2], expected) end
			end
		end
		return map
	end

	--- One account a line, or in a JSON list, address:password; the address ends at the first colon, without one an
	-- invitation is made.
	function parsers.accounts(text)
		local accounts, seen = {}, {}
		local listed = json_items(text)
		local lines = listed or {}
		if not listed then
			for line in (text .. "\n"):gmatch("(.-)\r?\n") do lines[#lines + 1] = line end
		end
		for number, line in ipairs(lines) do
			if listed or line:find("%S") then
				local address, password = line:match("^([^:]+):(.+)$")
				if not address and not line:find(":", 1, true) then address = line end
				local jid = address and parsers.jid(address)
				if not jid then
					return nil, ("line %d to be an address, and a password unless it is to be an invitation,"
						.. " user@example.org:password"):format(number)
				elseif password and not preparations.password(password) then
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
