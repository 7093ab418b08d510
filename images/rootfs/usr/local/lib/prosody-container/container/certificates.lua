-- Chooses a certificate for each host, tests it, and keeps a copy that is ready to be served.
--
-- Prosody's own search is not used: among several certificates that fit it takes any, one that is damaged ends the
-- process, and after a change it serves some of the old ones. It gets a private folder instead, in which each host
-- has one file, HOST.pem, that was loaded once before it got this name.
--
-- A plan is { directory = the private folder, sources = { { path, hosts = { … } or nil, optional } … },
--   hosts = { names as Prosody spells them }, own = path of the self-signed pair without ending,
--   has_authority = whether that pair is signed by an authority of its own,
--   running = whether the server runs already, so that it must not be left without what it had }.
-- tools: see container/certificates/tools.lua

local coverage = require "container.certificates.coverage"
local dates = require "container.certificates.dates"
local own = require "container.certificates.own"
local pairing = require "container.certificates.pairing"
local pem = require "container.certificates.pem"
local search = require "container.certificates.search"

local certificates = {}

local fresh_for = 2

--- SHA-256 fingerprint in the usual notation.
local function fingerprint_of(certificate)
	return (certificate:digest("sha256"):upper():gsub("..", "%0:"):gsub(":$", ""))
end

--- Common name and organisation of an issuer or a subject.
local function describe_name(parts)
	local texts = {}
	for _, wanted in ipairs { "commonName", "organizationName" } do
		for _, part in ipairs(parts) do
			if part.name == wanted then texts[#texts + 1] = search.printable(part.value) end
		end
	end
	return #texts > 0 and table.concat(texts, ", ") or "nobody by name"
end

local function describe(loaded, tools)
	return {
		loaded = loaded;
		identities = tools.identities(loaded);
		not_before = dates.parse(loaded:notbefore()) or 0;
		not_after = dates.parse(loaded:notafter()) or 0;
		is_valid = loaded:validat(tools.now);
	}
end

--- What a report says about the certificate of a host.
local function entry_of(host, source, description, tools)
	local issuer, subject = describe_name(description.loaded:issuer()), describe_name(description.loaded:subject())
	return {
		host = host;
		source = source;
		issuer = issuer;
		names = coverage.list(description.identities);
		not_before = description.not_before;
		not_after = description.not_after;
		days = dates.days_until(description.not_after, tools.now);
		fingerprint = fingerprint_of(description.loaded);
		is_valid = description.is_valid;
		self_signed = issuer == subject;
	}
end

--- Everything in the sources that is a certificate, and the faults that cannot be told to concern a certain host.
local function gather(plan, tools)
	local candidates, faults = {}, {}
	for _, source in ipairs(plan.sources) do
		local found = search.read(source, tools)
		table.move(found.faults, 1, #found.faults, #faults + 1, faults)
		local allowed
		for _, host in ipairs(source.hosts or {}) do
			allowed = allowed or {}
			allowed[host] = true
		end
		local find_key = pairing.new(found.keys, tools)
		for _, certificate in ipairs(found.certificates) do
			for position, loaded in ipairs(certificate.loaded) do
				candidates[#candidates + 1] = {
					certificate = certificate, position = position, allowed = allowed, find_key = find_key;
					description = describe(loaded, tools);
				}
			end
		end
	end
	return candidates, faults
end

--- Better ones first. Each step decides only among those that are equal in all steps before it.
local function is_better(left, right)
	local a, b = left.description, right.description
	if a.is_valid ~= b.is_valid then return a.is_valid end
	if (left.allowed ~= nil) ~= (right.allowed ~= nil) then return left.allowed ~= nil end
	if a.not_before ~= b.not_before then return a.not_before > b.not_before end
	if a.not_after ~= b.not_after then return a.not_after > b.not_after end
	if left.coverage ~= right.coverage then return left.coverage == "exact" end
	-- Beside fullchain.pem certbot has cert.pem, the same without what clients need to verify it.
	if #left.certificate.texts ~= #right.certificate.texts then
		return #left.certificate.texts > #right.certificate.texts
	end
	if left.certificate.path ~= right.certificate.path then return left.certificate.path < right.certificate.path end
	return left.position < right.position
end

local function covering(host, candidates)
	local found = {}
	for _, candidate in ipairs(candidates) do
		local kind = coverage.of(candidate.description.identities, host)
		if kind and (not candidate.allowed or candidate.allowed[host]) then
			found[#found + 1] = setmetatable({ coverage = kind }, { __index = candidate })
		end
	end
	table.sort(found, is_better)
	return found
end

--- The certificate, those that lead to its issuer, the key: what is served as one file.
local function join(candidate, key)
	local texts = { candidate.certificate.texts[candidate.position] }
	for position, text in ipairs(candidate.certificate.texts) do
		if position ~= candidate.position then texts[#texts + 1] = text end
	end
	texts[#texts + 1] = key
	return table.concat(texts)
end

local function path_of(plan, host)
	return plan.directory .. "/" .. host .. ".pem"
end

--- Makes a text what is served for a host. True and whether this changed anything; nil and the reason; the third
-- value says whether it was the folder that could not be written.
local function publish(plan, host, content, tools)
	local path = path_of(plan, host)
	if tools.read(path) == content then return true, false end
	local temporary = plan.directory .. "/" .. host .. ".new"
	tools.remove(temporary)
	local written, reason = tools.write(temporary, content)
	if not written then return nil, ("%s cannot be written: %s"):format(path, reason), true end
	local context, failure = tools.newcontext {
		mode = "server", protocol = "any", certificate = temporary, key = temporary,
		-- Without it the library would ask for a passphrase on the terminal.
		password = function() return nil end,
	}
	if not context then
		tools.remove(temporary)
		return nil, tostring(failure)
	end
	local renamed, rename_failure = tools.rename(temporary, path)
	if not renamed then return nil, ("%s cannot be written: %s"):format(path, rename_failure), true end
	return true, true
end

--- What was served for a host until now, if it is still good and not of the image's own making.
local function load_earlier(plan, host, tools)
	local content = plan.directory and tools.read(path_of(plan, host))
	local parsed = content and pem.parse(content)
	local loaded = parsed and not parsed.damaged and parsed.certificates[1] and tools.load(parsed.certificates[1])
	if not loaded then return nil end
	local description = describe(loaded, tools)
	if not description.is_valid or not coverage.of(description.identities, host) then return nil end
	local own_text = plan.own and tools.read(plan.own .. ".crt")
	local own_certificate = own_text and tools.load(own_text)
	if own_certificate and fingerprint_of(own_certificate) == fingerprint_of(loaded) then return nil end
	return description
end

--- The nearest domain above a host that has a certificate itself.
local function find_sharing(host, results)
	local parent = host:match("%.(.+)$")
	while parent do
		if results[parent] and results[parent].entry then return results[parent] end
		parent = parent:match("%.(.+)$")
	end
	return nil
end

--- Removes what belongs to hosts that are not served any more.
local function remove_others(plan, expected, tools)
	local listed, iterate, state = pcall(tools.lfs.dir, plan.directory)
	local names = {}
	if listed then
		for name in iterate, state do names[#names + 1] = name end
	end
	local has_removed = false
	for _, name in ipairs(names) do
		if name ~= "." and name ~= ".." and not expected[name] then
			has_removed = tools.remove(plan.directory .. "/" .. name) and name:find("%.pem$") ~= nil or has_removed
		end
	end
	return has_removed
end

local function make_report(plan, tools, is_writing)
	local report = { hosts = {}, problems = {}, warnings = {}, notes = {}, changed = false, now = tools.now }
	local told = {}
	local function tell(list, ...)
		local line = string.format(...)
		if not told[line] then
			told[line] = true
			list[#list + 1] = line
		end
	end
	local function tell_all(list, lines)
		for _, line in ipairs(lines) do tell(list, "%s", line) end
	end

	local candidates, general_faults = gather(plan, tools)
	local results, expected = {}, {}

	--- False and the reason unless the text is served from now on (or would be).
	local function serve(host, content)
		expected[host .. ".pem"] = true
		if not is_writing then return true end
		local served, changed_or_reason, is_folder = publish(plan, host, content, tools)
		if served then
			report.changed = report.changed or changed_or_reason
			return true
		elseif is_folder then
			report.unwritable = true
			tell(report.problems, "%s", changed_or_reason)
		end
		return false, changed_or_reason
	end

	--- The best certificate that can be served, and why better ones cannot.
	local function choose(host)
		local faults = {}
		local best_invalid
		for _, candidate in ipairs(covering(host, candidates)) do
			local key, reason = candidate.find_key(candidate.certificate, candidate.position)
			if key then
				candidate.content = join(candidate, key)
				if not candidate.description.is_valid then
					best_invalid = best_invalid or candidate
				else
					local served, failure = serve(host, candidate.content)
					if served then return candidate, faults end
					reason = ("the certificate %s cannot be used: %s"):format(
						search.printable(candidate.certificate.path), failure)
				end
			end
			faults[#faults + 1] = reason
		end
		return best_invalid, faults
	end

	local function use(host, candidate)
		local source = search.printable(candidate.certificate.path)
		results[host] = { content = candidate.content, entry = entry_of(host, source, candidate.description, tools) }
	end

	for _, host in ipairs(plan.hosts) do
		local candidate, faults = choose(host)
		if candidate and candidate.description.is_valid then
			use(host, candidate)
			tell_all(report.notes, faults)
		else
			local earlier = load_earlier(plan, host, tools)
			if earlier and (plan.running or #faults + #general_faults > 0) then
				expected[host .. ".pem"] = true
				results[host] = {
					content = tools.read(path_of(plan, host));
					entry = entry_of(host, path_of(plan, host), earlier, tools);
				}
				results[host].entry.is_earlier = true
				tell_all(report.warnings, faults)
				tell_all(report.warnings, general_faults)
				tell(report.warnings, "there is no valid certificate for %s any more: the one used until now stays (%s)",
					host, dates.show_rest(earlier.not_after, tools.now))
			elseif candidate and serve(host, candidate.content) then
				use(host, candidate)
				tell_all(report.warnings, faults)
				tell_all(report.warnings, general_faults)
				tell(report.warnings, "the certificate %s is the best there is for %s, but it is not valid now (from %s to %s)",
					search.printable(candidate.certificate.path), host, dates.show(candidate.description.not_before),
					dates.show(candidate.description.not_after))
			else
				results[host] = { faults = faults }
			end
		end
	end

	local homeless = {}
	-- Each fault once, with all hosts that are without a certificate because of it.
	local blamed, hosts_of = {}, {}
	local function blame(faults, host)
		for _, fault in ipairs(faults) do
			if not hosts_of[fault] then
				hosts_of[fault] = {}
				blamed[#blamed + 1] = fault
			end
			table.insert(hosts_of[fault], host)
		end
	end
	for _, host in ipairs(plan.hosts) do
		local result = results[host]
		if result.faults then
			result.shared = find_sharing(host, results)
			if not result.shared then
				homeless[#homeless + 1] = host
				blame(general_faults, host)
			end
			blame(result.faults, host)
		end
	end
	for _, fault in ipairs(blamed) do
		tell(plan.running and report.warnings or report.problems, "%s; there is no other certificate for %s", fault,
			table.concat(hosts_of[fault], ", "))
		told[fault] = true
	end
	tell_all(report.notes, general_faults)

	local pair
	-- A start that ends with problems leaves nothing behind.
	if #homeless > 0 and plan.own and #report.problems == 0 then
		pair = own.load(plan.own, homeless, plan.has_authority, tools)
		report.own = { path = plan.own .. ".crt", hosts = homeless, made = false }
		if not pair and is_writing then
			local reason
			pair, reason = own.make(plan.own, plan.hosts, plan.has_authority, tools)
			report.own.made = pair ~= nil
			if not pair then
				report.unwritable = true
				tell(report.problems, "the self-signed certificate %s.crt cannot be written: %s", plan.own, reason)
			end
		end
		if pair then
			local anchor = own.anchor(plan.own, tools)
			local loaded = anchor and tools.load(anchor)
			report.own.fingerprint = fingerprint_of(pair.certificate)
			report.own.anchor_fingerprint = loaded and fingerprint_of(loaded)
		end
	end

	for _, host in ipairs(plan.hosts) do
		local result = results[host]
		local entry = result.entry
		if not entry and result.shared then
			entry = {}
			for name, value in pairs(result.shared.entry) do entry[name] = value end
			entry.host, entry.shared_with = host, result.shared.entry.host
			tell(report.notes, "%s has no certificate of its own and shows that of %s, which does not name it: other servers"
				.. " will not accept it", host, entry.shared_with)
			serve(host, result.shared.content)
		elseif not entry and pair then
			entry = entry_of(host, report.own.path, describe(pair.certificate, tools), tools)
			entry.is_own = true
			serve(host, pair.text .. pair.key)
		end
		report.hosts[#report.hosts + 1] = entry or { host = host, is_own = plan.own ~= nil }
	end

	if is_writing and #report.problems == 0 then
		report.changed = remove_others(plan, expected, tools) or report.changed
	end
	return report
end

--- What each host would get. Writes nothing.
-- Returns { hosts = { { host, source, issuer, names, not_before, not_after, days, fingerprint, is_valid, self_signed,
--   is_own, is_earlier, shared_with } … }, own = { path, hosts, made, fingerprint, anchor_fingerprint } or nil,
--   problems, warnings, notes = lines, now }.
function certificates.inspect(plan, tools)
	return make_report(plan, tools, false)
end

--- Gives each host its certificate. The same report; also changed, and unwritable where that is the problem.
function certificates.refresh(plan, tools)
	local previous_umask = tools.umask("077")
	tools.lfs.mkdir(plan.directory)
	local succeeded, report = pcall(make_report, plan, tools, true)
	tools.umask(previous_umask)
	if not succeeded then error(report, 0) end
	return report
end

--- A text that differs when anything in the sources does.
function certificates.signature(plan, tools)
	local parts = {}
	local is_fresh = false
	for _, source in ipairs(plan.sources) do
		local files, faults = search.list(source, tools)
		for _, file in ipairs(files) do
			local attributes = file.attributes
			parts[#parts + 1] = ("%s %d %d %d %d"):format(
				file.path, attributes.size, attributes.modification, attributes.change, attributes.ino)
			is_fresh = is_fresh or attributes.change > tools.now - fresh_for
		end
		table.move(faults, 1, #faults, #parts + 1, parts)
	end
	-- Times are whole seconds: what was written a moment ago may change again without another time.
	if is_fresh then parts[#parts + 1] = "fresh" end
	return table.concat(parts, "\n")
end

--- One line for each host, to be printed at the start; more for a self-signed certificate.
function certificates.lines(report)
	local lines = {}
	for _, entry in ipairs(report.hosts) do
		if entry.not_after and not entry.is_own then
			lines[#lines + 1] = ("certificate of %s: %s%s, issued by %s, %s"):format(entry.host,
				entry.shared_with and "that of " .. entry.shared_with .. ", " or "", entry.source, entry.issuer,
				dates.show_rest(entry.not_after, report.now))
		end
	end
	if report.own then
		local kind = report.own.anchor_fingerprint == report.own.fingerprint and "self-signed certificate"
			or "certificate of its own authority"
		lines[#lines + 1] = ("no certificate for %s: %s"):format(table.concat(report.own.hosts, ", "),
			report.own.made and "made a " .. kind
			or report.own.fingerprint and "using the " .. kind .. " made earlier"
			or "a certificate will be made")
		if report.own.fingerprint then
			lines[#lines + 1] = ("  %s, SHA-256 fingerprint %s"):format(report.own.path, report.own.fingerprint)
			if report.own.anchor_fingerprint ~= report.own.fingerprint then
				lines[#lines + 1] = ("  signed by the authority that is last in the file, SHA-256 fingerprint %s"):format(
					report.own.anchor_fingerprint or "unknown")
			end
		end
		lines[#lines + 1] = "  Others will not trust it. Put your own into the folder of certificates, as NAME.crt and"
		lines[#lines + 1] = "  NAME.key or as fullchain.pem and privkey.pem; it is used within a minute."
	end
	return lines
end

return certificates
