-- Takes certificates and keys out of the text of a file, whatever else is in it, and writes them in one way.

local pem = {}

local certificate_labels = { ["CERTIFICATE"] = true, ["X509 CERTIFICATE"] = true }
local key_labels = { ["PRIVATE KEY"] = true, ["RSA PRIVATE KEY"] = true, ["EC PRIVATE KEY"] = true }
local encrypted_label = "ENCRYPTED PRIVATE KEY"

local first_words = "-----BEGIN "
local line_length = 64

local function is_key_label(label)
	return key_labels[label] or label == encrypted_label
end

--- A block in its usual form, or nil when what is between the lines is not Base64.
local function format_block(label, body)
	local digits = body:gsub("%s", "")
	if not digits:find("^[%w+/]+=?=?$") or #digits % 4 ~= 0 then return nil end
	local lines = { ("-----BEGIN %s-----"):format(label) }
	for start = 1, #digits, line_length do lines[#lines + 1] = digits:sub(start, start + line_length - 1) end
	lines[#lines + 1] = ("-----END %s-----\n"):format(label)
	return table.concat(lines, "\n")
end

--- Returns { certificates = texts, keys = texts, has_encrypted_key, damaged = "certificate" | "key" | nil, count }.
-- Text outside of the blocks, other kinds of blocks and any kind of line break are passed over.
function pem.parse(text)
	local found = { certificates = {}, keys = {}, has_encrypted_key = false, damaged = nil, count = 0 }
	local position = 1
	while true do
		local _, begin_end, label = text:find("%-%-%-%-%-BEGIN ([%u%d ]+)%-%-%-%-%-", position)
		if not label then break end
		found.count = found.count + 1
		local kind = certificate_labels[label] and "certificate" or is_key_label(label) and "key" or nil
		local next_begin = text:find(first_words, begin_end, true)
		local end_start, end_end = text:find(("-----END %s-----"):format(label), begin_end, true)
		if not end_start or (next_begin and next_begin < end_start) then
			found.damaged = found.damaged or kind
			position = begin_end + 1
		else
			local body = text:sub(begin_end + 1, end_start - 1)
			position = end_end + 1
			if label == encrypted_label or (kind == "key" and body:find("ENCRYPTED", 1, true)) then
				found.has_encrypted_key = true
			elseif kind then
				local block = format_block(kind == "certificate" and "CERTIFICATE" or label, body)
				local list = kind == "certificate" and found.certificates or found.keys
				if block then
					list[#list + 1] = block
				else
					found.damaged = found.damaged or kind
				end
			end
		end
	end
	-- Of a file that ends within the first line of a block there is no label yet.
	local last_line = text:sub(position):match("([^\r\n]*)[\r\n]*$")
	if last_line ~= "" and (last_line:find(first_words, 1, true) or first_words:sub(1, #last_line) == last_line) then
		found.damaged = found.damaged or (#found.keys > 0 and #found.certificates == 0 and "key" or "certificate")
	end
	return found
end

return pem
