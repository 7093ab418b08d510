-- Reads and writes whole files.

local files = {}

local mebibyte = 1024 * 1024

--- The content of a file of at most so many MiB, or nil and why not.
function files.read(path, most_mebibytes)
	local file, reason = io.open(path, "rb")
	if not file then return nil, (reason:gsub("^.*: ", "")) end
	local content, failure = file:read(most_mebibytes * mebibyte + 1)
	file:close()
	if failure then return nil, failure end
	-- At the end of an empty file there is nothing to read, which is no failure.
	content = content or ""
	if #content > most_mebibytes * mebibyte then return nil, ("it is larger than %d MiB"):format(most_mebibytes) end
	return content
end

--- Whether all of it could be written; nil and the reason if not, and then no file is left.
function files.write(path, content)
	local file, reason = io.open(path, "wb")
	if not file then return nil, (reason:gsub("^.*: ", "")) end
	local written, failure = file:write(content)
	local closed, close_failure = file:close()
	if written and closed then return true end
	os.remove(path)
	return nil, failure or close_failure
end

return files
