-- Writes the log: a line is out when it is logged, as text or as JSON, with a level for each module, and without
-- the addresses of people if that is wanted.
--
-- A rule of Prosody's option "log" asks for it:
--   to = "container"
--   levels = { min = … }      the lowest of all levels below, as Prosody itself drops what is less important
--   level = "info"            what counts where levels_by_name says nothing
--   levels_by_name = { … }    name of a logger → level, see new_thresholds
--   format = "text" | "json"
--   timestamps = false | true | pattern of os.date       of text; JSON always has the time
--   addresses = true | false

local logging = {}

local ranks = { debug = 1, info = 2, warn = 3, error = 4 }
local rank_of_all = 1
local hidden = "[address]"
local replacement = "\u{FFFD}"
-- Every session has a logger of its own, so what is known about names must not grow for ever.
local most_names = 512
local first_width = 20

--- A table that computes what it does not know yet, and forgets everything when it has become too large.
local function new_memory(compute)
	local size = 0
	return setmetatable({}, {
		__index = function(known, name)
			if size >= most_names then
				for other in next, known do known[other] = nil end
				size = 0
			end
			size = size + 1
			local value = compute(name)
			known[name] = value
			return value
		end;
	})
end

--- The host and the module that a logger belongs to, as far as its name tells: "chat.example:mam", "mod_c2s".
local function split_name(name)
	local host, module = name:match("^(.*):([^:]+)$")
	if host == "*" then host = nil end
	return host, module or name:match("^mod_(.+)$")
end

--- Name of a logger → rank of the least important message to be written.
-- A level is given for the whole name, or for a module with or without mod_, or for the beginning of a name, such as
-- c2s for the sessions of clients. The longest beginning wins.
local function new_thresholds(rule)
	local by_name = rule.levels_by_name or {}
	local default = ranks[rule.level] or rank_of_all
	return new_memory(function(name)
		local _, module = split_name(name)
		local level = by_name[name] or module and (by_name["mod_" .. module] or by_name[module])
		local length = module and 0 or #name - 1
		while not level and length > 0 do
			level = by_name[name:sub(1, length)]
			length = length - 1
		end
		return ranks[level] or default
	end)
end

--- The time in UTC, to the millisecond (RFC 3339). now gives seconds with their fraction.
local function new_clock(now)
	local second, text
	return function()
		local time = now()
		local whole = math.floor(time)
		if whole ~= second then second, text = whole, os.date("!%Y-%m-%dT%H:%M:%S", whole) end
		return ("%s.%03dZ"):format(text, math.floor((time - whole) * 1000))
	end
end

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function escape(character)
	return escapes[character] or ("\\u%04x"):format(character:byte())
end

--- The text with every byte that is no UTF-8 replaced.
local function to_utf8(text)
	local length, position = utf8.len(text)
	if length then return text end
	local parts, start = {}, 1
	while not length do
		parts[#parts + 1] = text:sub(start, position - 1)
		start = position + 1
		length, position = utf8.len(text, start)
	end
	parts[#parts + 1] = text:sub(start)
	return table.concat(parts, replacement)
end

--- The inside of a JSON string.
local function to_json(text)
	return (to_utf8(text):gsub('[%c"\\]', escape))
end

local function is_ipv4(text)
	local count = 0
	for number in text:gmatch("%d+") do
		count = count + 1
		if #number > 3 or tonumber(number) > 255 then return false end
	end
	return count == 4
end

--- How many groups of an IPv6 address these are, or nil.
local function count_groups(text)
	if text == "" then return 0 end
	local count = 0
	for group in (text .. ":"):gmatch("([^:]*):") do
		if not group:find("^%x%x?%x?%x?$") then return nil end
		count = count + 1
	end
	return count
end

local function is_ipv6(text)
	local dotted = text:match(":(%d+%.%d+%.%d+%.%d+)$")
	if dotted and is_ipv4(dotted) then text = text:sub(1, -#dotted - 1) .. "0:0" end
	local left, right = text:match("^(.-)::(.*)$")
	if not left then return count_groups(text) == 8 end
	local before, after = count_groups(left), count_groups(right)
	-- Alone, the two colons are nobody's address.
	return before and after and before + after >= 1 and before + after <= 7
end

--- Whether no letter stands before, and none and no @ after: then it is no part of a word, a version or a name.
local function stands_alone(text, first, last)
	return not text:sub(first - 1, first - 1):find("[%w_]") and not text:sub(last + 1, last + 1):find("[%w@]")
end

local function hide_ipv6(text)
	return (text:gsub("()(%x*:%x*:[%x:.]*)()", function(start, run, stop)
		-- The colon that ends "address:" or "key:" does not belong to what follows it, and whatever is before it is fine.
		local lead, rest = run:match("^(:?)([^:].*)$")
		if not lead then lead, rest = "", run end
		if lead == ":" then start = start + 1 end
		if not stands_alone(text, start, stop - 1) then return nil end
		-- As it is, with the end of a sentence, with a port.
		for _, candidate in ipairs { { rest, "" }, { rest:match("^(.-)([.:]+)$") }, { rest:match("^(.*)(:%d+)$") } } do
			if candidate[1] and is_ipv6(candidate[1]) then return lead .. hidden .. candidate[2] end
		end
		return nil
	end):gsub("%[address%]%%[%w_.-]+", hidden))
end

local function hide_ipv4(text)
	return (text:gsub("()(%d+%.%d+%.%d+%.%d[%d.]*)()", function(start, run, stop)
		local address, dots = run:match("^(.-)(%.*)$")
		-- After a dot anything may follow: the end of a sentence or the rest of a reverse name.
		local is_alone = stands_alone(text, start, stop - 1) or dots ~= "" and stands_alone(text, start, stop - 1 - #dots)
		return is_alone and is_ipv4(address) and hidden .. dots or nil
	end))
end

--- Reverse names of IPv6 hold the address digit by digit.
local function hide_reverse_names(text)
	return (text:gsub("%x[%x.]+", function(run)
		local digits = run:match("^[%x.]*%x")
		if #digits == 63 and not digits:find("%x%x") and not digits:find("..", 1, true) then
			return hidden .. run:sub(64)
		end
		return nil
	end))
end

--- The text without IPv4 and IPv6 addresses. Versions, times, fingerprints and names are left alone.
function logging.hide_addresses(text)
	if text:find("%x%.%x%.%x%.%x%.%x%.%x%.") then text = hide_reverse_names(text) end
	if text:find(":%x*:") then text = hide_ipv6(text) end
	if text:find("%d%.%d+%.%d+%.%d") then text = hide_ipv4(text) end
	return text
end

--- What the time stamps of text lines are: a function, or nil.
local function new_stamp(timestamps, now)
	if not timestamps then return nil end
	-- A pattern that the library does not know would raise an error for every message.
	if type(timestamps) == "string" and pcall(os.date, timestamps) then
		return function() return os.date(timestamps, math.floor(now())) end
	end
	return new_clock(now)
end

local function new_json_writer(tools)
	local clock, write = new_clock(tools.now), tools.write
	local heads = new_memory(function(name)
		local host, module = split_name(name)
		return '","name":"' .. to_json(name)
			.. (host and '","host":"' .. to_json(host) or "")
			.. (module and '","module":"' .. to_json(module) or "")
			.. '","message":"'
	end)
	return function(name, level, message)
		write('{"time":"' .. clock() .. '","level":"' .. level .. heads[name] .. to_json(message) .. '"}\n')
	end
end

local function new_text_writer(rule, tools)
	local stamp, write, paint, prettify = new_stamp(rule.timestamps, tools.now), tools.write, tools.paint, tools.prettify
	local width = first_width
	return function(name, level, message)
		-- As in Prosody's own log, the column grows with the longest name.
		if #name + 2 > width then width = #name + 2 end
		write((stamp and stamp() .. " " or "") .. name .. (" "):rep(width - #name)
			.. (paint and paint(level) or level) .. "\t" .. (prettify and prettify(message) or message) .. "\n")
	end
end

--- The function that gets every message of Prosody's, for a rule as described above.
-- tools: format (of prosody.util.format), write (text → written at once), now; on a terminal also paint (level →
--        coloured level) and prettify (message → coloured message)
function logging.new_sink(rule, tools)
	local format, hide = tools.format, rule.addresses == false and logging.hide_addresses or nil
	local thresholds = new_thresholds(rule)
	local write_line = rule.format == "json" and new_json_writer(tools) or new_text_writer(rule, tools)
	return function(name, level, message, ...)
		if ranks[level] < thresholds[name] then return end
		local text = format(message, ...)
		write_line(name, level, hide and hide(text) or text)
	end
end

--- Prosody's own libraries for the sink, and the container's output.
local function real_tools()
	local pposix = require "prosody.util.pposix"
	local output = io.stdout
	-- One line is one call of the kernel, so nothing stays behind when the process ends.
	output:setvbuf("no")
	local tools = {
		format = require("prosody.util.format").format;
		now = require("prosody.util.time").now;
		write = function(text) output:write(text) end;
	}
	if pposix.isatty(output) then
		local colours = require "prosody.util.termcolours"
		local styles = {
			info = colours.getstyle("bold");
			warn = colours.getstyle("bold", "yellow");
			error = colours.getstyle("bold", "red");
		}
		tools.paint = function(level) return styles[level] and colours.getstring(styles[level], level) or level end
		tools.prettify = require("prosody.util.stanza").pretty_print
	end
	return tools
end

--- Makes the kind of sink known to Prosody. To be called while the configuration is read, which is before the first
-- message; Prosody keeps it when it sets up its log again. Nothing happens in prosodyctl, nor the second time.
local is_registered = false

function logging.register()
	local server = rawget(_G, "prosody")
	if is_registered or not server or server.process_type ~= "prosody" then return end
	is_registered = true
	require("prosody.core.loggingmanager").register_sink_type("container", function(rule)
		return logging.new_sink(rule, real_tools())
	end)
end

return logging
