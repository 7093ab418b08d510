-- Mends what a power cut does to lists in files (archives, messages for those who are offline). Prosody never waits for
-- the disk, so a list may end in half an item or in zeros, and then Prosody refuses it, and all that is to be added.

local drop_ins = require "container.drop_ins"
local files = require "container.files"

local lists = {}

local item_end = ");\n"

--- The last bytes of a file, and its size; nil if it cannot be read.
local function tail(path, count)
	local file = io.open(path, "rb")
	if not file then return nil end
	local size = file:seek("end")
	file:seek("set", math.max(0, size - count))
	local bytes = file:read(count) or ""
	file:close()
	return bytes, size
end

--- What is whole of a list's content. Within an item no line ends like that: texts have no line breaks.
function lists.whole(content)
	return content:sub(1, (content:match(".*%);\n()") or 1) - 1)
end

--- Cuts a list down to what is whole. Returns the number of bytes taken away; nil and why it could not be done.
local function cut(path)
	local content, reason = files.read(path, 1024)
	if not content then return nil, reason end
	local kept = lists.whole(content)
	-- As Prosody does it: nothing is lost if this is interrupted.
	local written, failure = files.write(path .. "~", kept)
	if not written then return nil, failure end
	local moved, why = os.rename(path .. "~", path)
	return moved and #content - #kept, why
end

--- Prosody finds items by the index, which ends with the size of the list; without an index it makes a new one.
local function drop_stale_index(path, size)
	local width = string.packsize("T")
	local last = tail(path, width)
	if last and (#last < width or ("T"):unpack(last) ~= size) then os.remove(path) end
end

local function mend(path, say)
	local ending, size = tail(path, #item_end)
	if not ending then return end
	if size > 0 and ending ~= item_end then
		local taken, reason = cut(path)
		if not taken then return say(("%s is damaged, and was not mended: %s"):format(path, reason)) end
		say(("%s was damaged, as by a power cut: took %d bytes away from its end"):format(path, taken))
		size = size - taken
	end
	drop_stale_index(path:gsub("list$", "lidx"), size)
end

--- Goes through the folders of all hosts and stores; tells what is done.
function lists.mend(data_directory, say)
	for _, host in ipairs(drop_ins.list(data_directory)) do
		for _, store in ipairs(drop_ins.list(data_directory .. "/" .. host)) do
			local path = ("%s/%s/%s"):format(data_directory, host, store)
			if path:find("%.list$") then mend(path, say) end
			for _, name in ipairs(drop_ins.list(path)) do
				if name:find("%.list$") then mend(path .. "/" .. name, say) end
			end
		end
	end
end

return lists
