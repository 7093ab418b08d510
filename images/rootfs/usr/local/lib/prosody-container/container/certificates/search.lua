-- Finds the files of the sources and reads what is in them: certificates and keys, not yet matched.
--
-- Files are judged by their content; their names only decide what is worth a message.

local acme = require "container.certificates.acme"
local pem = require "container.certificates.pem"

local search = {}

local search_depth = 5
-- A folder given by mistake, such as /, must neither delay the start nor the running server.
local most_files = 5000
local largest_file = 8 * 1024 * 1024
local permission_denied = 13

--- A path fit for one line of output.
function search.printable(path)
	return (path:gsub("%c", "?"))
end

local function looks_like_key(name)
	return name:lower():find("key", 1, true) ~= nil
end

local certificate_endings = { pem = true, crt = true, cer = true, cert = true }

--- By the ending; a secret of Docker often has none.
local function looks_like_certificate(name)
	local lower = name:lower()
	if looks_like_key(lower) then return false end
	local ending = lower:match("%.([^.]+)$")
	if ending then return certificate_endings[ending] or false end
	return (lower:find("cert", 1, true) or lower:find("crt", 1, true) or lower:find("fullchain", 1, true)) ~= nil
end

local function list_names(directory, lfs)
	local listed, iterate, state = pcall(lfs.dir, directory)
	if not listed then return nil end
	local names = {}
	for name in iterate, state do
		-- Also what Kubernetes keeps its versions in, to which the visible names lead.
		if name:sub(1, 1) ~= "." then names[#names + 1] = name end
	end
	table.sort(names)
	return names
end

--- Beside certificates certbot keeps much that is closed to others and no business of a server.
local function without_other_business_of_certbot(names)
	local has = {}
	for _, name in ipairs(names) do has[name] = true end
	return has.live and has.archive and { "archive", "live" } or names
end

--- Why a path cannot be looked at: a link that leads nowhere, or a folder on the way that is closed.
local function explain_missing(path, tools)
	local is_link = tools.lfs.symlinkattributes(path, "mode") == "link"
	local _, _, code = tools.lfs.attributes(path)
	if not is_link and code ~= permission_denied then return nil end
	if code == permission_denied then
		return ("%s cannot be read by uid %d: Permission denied"):format(search.printable(path), tools.uid)
	end
	return ("the link %s leads nowhere in this container: mount the folder that it leads to as well"
		.. " (of certbot all of /etc/letsencrypt)"):format(search.printable(path))
end

--- Lists a source. Returns files ({ path, directory, name, attributes } …, in a fixed order) and faults (lines).
function search.list(source, tools)
	local files, faults, visited = {}, {}, {}

	local function add_file(path, directory, name, attributes)
		files[#files + 1] = { path = path, directory = directory, name = name, attributes = attributes }
	end

	local function list_directory(directory, depth)
		local attributes = tools.lfs.attributes(directory)
		local identity = attributes.dev .. ":" .. attributes.ino
		if visited[identity] or #files >= most_files then return end
		visited[identity] = true
		local names, explained = list_names(directory, tools.lfs), nil
		if not names then
			faults[#faults + 1] = ("the folder %s cannot be read by uid %d"):format(search.printable(directory), tools.uid)
			return
		end
		for _, name in ipairs(without_other_business_of_certbot(names)) do
			if #files >= most_files then
				faults[#faults + 1] = ("there are more than %d files in %s, the rest is not looked at"):format(
					most_files, search.printable(source.path))
				return
			end
			local path = directory .. "/" .. name
			local found = tools.lfs.attributes(path)
			if not found then
				-- Once for a folder is enough: certbot has three of them in each.
				if looks_like_certificate(name) and not explained then
					explained = explain_missing(path, tools)
					faults[#faults + 1] = explained
				end
			elseif found.mode == "directory" then
				if depth < search_depth then list_directory(path, depth + 1) end
			elseif found.mode == "file" then
				add_file(path, directory, name, found)
			end
		end
	end

	local root = #source.path > 1 and source.path:gsub("/+$", "") or source.path
	local attributes = tools.lfs.attributes(root)
	if not attributes then
		if not source.optional then
			faults[1] = explain_missing(root, tools) or ("there is no file or folder %s"):format(search.printable(root))
		end
	elseif attributes.mode == "directory" then
		list_directory(root, 1)
	elseif attributes.mode == "file" then
		local directory, name = root:match("^(.*)/([^/]*)$")
		add_file(root, directory, name, attributes)
		-- The key may be in a file of its own.
		for _, other in ipairs(list_names(directory, tools.lfs) or {}) do
			local path = directory .. "/" .. other
			local found = path ~= root and tools.lfs.attributes(path)
			if found and found.mode == "file" and #files < most_files then
				add_file(path, directory, other, found)
				files[#files].only_key = true
			end
		end
	end
	return files, faults
end

--- Certificates of a file as objects; nil if one of them is none.
local function load_all(texts, tools)
	local loaded = {}
	for index, text in ipairs(texts) do
		loaded[index] = tools.load(text)
		if not loaded[index] then return nil end
	end
	return loaded
end

--- Reads a source. Returns {
--   certificates = { { path, directory, name, texts, loaded, keys = texts in the same file } … },
--   keys = { { path, directory, name, texts, fault = why it cannot be used } … }, faults = lines }
function search.read(source, tools)
	local files, faults = search.list(source, tools)
	local found = { certificates = {}, keys = {}, faults = faults }
	local function fault(...) faults[#faults + 1] = string.format(...) end

	local function add_certificates(file, path, texts, keys)
		local loaded = load_all(texts, tools)
		if not loaded then return fault("the certificate %s is damaged or incomplete", search.printable(path)) end
		table.insert(found.certificates, {
			path = path; directory = file.directory; name = file.name;
			texts = texts; loaded = loaded; keys = keys;
		})
	end

	local function add_key(file, texts, why)
		table.insert(found.keys, {
			path = file.path; directory = file.directory; name = file.name; texts = texts; fault = why;
		})
	end

	local function read_acme(file, content, is_expected)
		local entries, reason = acme.parse(content, tools)
		if not entries then
			if is_expected then fault("%s cannot be read as Traefik's store: %s", search.printable(file.path), reason) end
			return
		end
		for _, entry in ipairs(entries) do
			local path = ("%s (%s)"):format(file.path, entry.label)
			local certificate, key = pem.parse(entry.certificate), pem.parse(entry.key)
			if certificate.damaged or key.damaged or #certificate.certificates == 0 then
				fault("the certificate %s is damaged or incomplete", search.printable(path))
			else
				add_certificates(file, path, certificate.certificates, key.keys)
			end
		end
	end

	local function read_pem(file, content)
		local shown = search.printable(file.path)
		local parsed = pem.parse(content)
		if parsed.damaged == "key" and #parsed.certificates == 0 then
			return add_key(file, {}, ("the key %s is damaged or incomplete"):format(shown))
		elseif parsed.damaged and not file.only_key then
			return fault("the certificate %s is damaged or incomplete", shown)
		elseif #parsed.certificates > 0 and not file.only_key then
			add_certificates(file, file.path, parsed.certificates, parsed.keys)
		elseif parsed.count == 0 and looks_like_certificate(file.name) and not file.only_key then
			return fault("%s holds no certificate in PEM form", shown)
		end
		if parsed.has_encrypted_key then
			add_key(file, {}, ("the key %s is encrypted, and nobody is there to give the password:"
				.. " put a key without one in its place"):format(shown))
		elseif #parsed.keys > 0 then
			add_key(file, parsed.keys)
		end
	end

	for _, file in ipairs(files) do
		local is_json = file.name:lower():find("%.json$") ~= nil
		if file.attributes.size <= largest_file and not (file.only_key and is_json) then
			local content, reason = tools.read(file.path)
			local is_given = file.path == source.path
			if not content then
				local line = ("%s cannot be read by uid %d: %s"):format(search.printable(file.path), tools.uid, reason)
				if looks_like_key(file.name) then
					add_key(file, {}, "the key " .. line)
				elseif not file.only_key
					and (is_given or looks_like_certificate(file.name) or file.name:lower():find("acme.*%.json$")) then
					fault("%s", line)
				end
			elseif is_json or (is_given and content:find("^%s*{")) then
				read_acme(file, content, is_given or file.name:lower():find("acme", 1, true))
			else
				read_pem(file, content)
			end
		end
	end
	return found
end

return search
