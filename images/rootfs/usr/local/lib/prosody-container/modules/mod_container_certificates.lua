-- Looks after the certificates while the server runs: serves renewed ones, warns of those that expire, measures.
--
-- The option container_certificates is a plan as container/certificates.lua describes it. Whatever else makes the
-- server read its configuration anew makes it look here as well.

-- luacheck: globals module prosody

module:set_global()

local certificates = require "container.certificates"
local configmanager = require "prosody.core.configmanager"
local new_tools = require("container.certificates.tools").new
local portmanager = require "prosody.core.portmanager"

local look_every = 20
-- Somebody who writes several files is not disturbed in the middle of it, but not waited for without end either.
local settle_after, most_patience = 2, 16
-- Validity begins and ends without any change of a file.
local refresh_after = 3600
local tell_after = 86400
local warn_before = 14 * 86400

local state = module:shared("/*/container_certificates/state")
local expiry_metric = module:metric("gauge", "not_after", "seconds",
	"When the certificate of a host expires, in seconds since 1970", { "host" })

local applied_signature, pending_signature, pending_since
local refreshed_at, told_at = 0, 0

--- The plan, with the hosts that files in conf.d add and leave to us.
local function get_plan()
	local option = module:get_option("container_certificates")
	if type(option) ~= "table" or not option.directory then return nil end
	local plan = {}
	for name, value in pairs(option) do plan[name] = value end
	plan.running = true
	plan.hosts = table.move(option.hosts, 1, #option.hosts, 1, {})
	local known, added = {}, {}
	for _, host in ipairs(plan.hosts) do known[host] = true end
	for host, options in pairs(configmanager.getconfig()) do
		if host ~= "*" and not known[host] and options.enabled ~= false
			and not configmanager.rawget(host, "certificate") and not configmanager.rawget(host, "ssl") then
			added[#added + 1] = host
		end
	end
	table.sort(added)
	table.move(added, 1, #added, #plan.hosts + 1, plan.hosts)
	return plan
end

--- One line for each certificate that expires soon or did.
local function tell_expiry(report)
	told_at = report.now
	local told = {}
	for _, entry in ipairs(report.hosts) do
		local rest = entry.not_after and entry.not_after - report.now
		if rest and rest < warn_before and not told[entry.fingerprint] then
			told[entry.fingerprint] = true
			if rest <= 0 then
				module:log("error", "The certificate of %s (%s) has expired: clients and servers refuse it. Renew it",
					entry.host, entry.source)
			else
				module:log("warn", "The certificate of %s (%s) expires in %d day%s: renew it",
					entry.host, entry.source, entry.days, entry.days == 1 and "" or "s")
			end
		end
	end
end

local function tell(report)
	for _, line in ipairs(certificates.lines(report)) do module:log("info", "%s", line) end
	for _, note in ipairs(report.notes) do module:log("info", "%s", note) end
	for _, warning in ipairs(report.warnings) do module:log("warn", "%s", warning) end
	for _, problem in ipairs(report.problems) do module:log("error", "%s", problem) end
	tell_expiry(report)
end

--- Brings what is served in line with the sources. Returns the report, or nil where that is impossible.
local function refresh()
	local plan = get_plan()
	if not plan then return nil end
	local tools = new_tools()
	-- Taken first: what changes meanwhile is noticed the next time.
	local signature = certificates.signature(plan, tools)
	local succeeded, report = pcall(certificates.refresh, plan, tools)
	applied_signature, pending_signature, refreshed_at = signature, nil, tools.now
	if not succeeded then
		module:log("error", "The certificates stay as they are: %s", report)
		return nil
	end
	state.report = report
	for _, entry in ipairs(report.hosts) do
		if entry.not_after then expiry_metric:with_labels(entry.host):set(entry.not_after) end
	end
	return report
end

--- Makes the server use the files. Connections stay, new ones get the new certificates.
local function reload()
	prosody.main_thread:run(function()
		if prosody.reload_config() then return end
		-- With a configuration that became wrong the earlier one stays, but an old certificate must not.
		prosody.events.fire_event("config-reloaded", {
			filename = prosody.config_file, config = configmanager.getconfig(),
		})
	end)
end

local function apply()
	local before = applied_signature
	local report = refresh()
	if not report then return end
	if report.changed then
		-- Which tells what each host got.
		reload()
	elseif before ~= applied_signature and (#report.warnings > 0 or #report.problems > 0) then
		tell(report)
	end
end

--- Lets clients find international hosts where TLS comes first: they ask for the ASCII form of a name (RFC 6066, 3),
-- and Prosody knows the other one only.
local function add_ascii_names()
	local plan = get_plan()
	if not plan then return end
	local tools = new_tools()
	for _, host in ipairs(plan.hosts) do
		local ascii = tools.ascii(host)
		local path = plan.directory .. "/" .. host .. ".pem"
		if ascii and ascii ~= host and tools.lfs.attributes(path, "mode") == "file" then
			for _, _, _, _, service in portmanager.get_active_services():iter(nil, nil, nil, nil) do
				if service.tls_cfg then
					local added, reason = service.server:sslctx():set_sni_host(ascii, path, path)
					if not added then module:log("error", "No TLS for %s as %s: %s", host, ascii, reason) end
				end
			end
		end
	end
end

--- Returns after how many seconds to look again.
local function look()
	local plan = get_plan()
	if not plan then return look_every end
	local tools = new_tools()
	if state.report and tools.now - told_at >= tell_after then
		state.report.now = tools.now
		for _, entry in ipairs(state.report.hosts) do
			if entry.not_after then entry.days = (entry.not_after - tools.now) // 86400 end
		end
		tell_expiry(state.report)
	end
	local signature = certificates.signature(plan, tools)
	if signature == applied_signature then
		pending_signature = nil
		if tools.now - refreshed_at >= refresh_after then apply() end
		return look_every
	end
	if not pending_signature then pending_since = tools.now end
	if signature ~= pending_signature and tools.now - pending_since < most_patience then
		pending_signature = signature
		return settle_after
	end
	apply()
	return look_every
end

module:add_timer(look_every, function()
	local succeeded, result = pcall(look)
	if succeeded then return result end
	module:log("error", "The certificates could not be looked at: %s", result)
	return look_every
end)

-- Before mod_tls and the ports make their contexts anew.
module:hook("config-reloaded", function()
	local report = refresh()
	if report then tell(report) end
end, 100)
-- After the ports have made theirs.
module:hook("config-reloaded", add_ascii_names, -100)
module:hook("item-added/net-provider", add_ascii_names, -100)

local first_report = refresh()

function module.ready()
	-- Hosts that were activated before this module was loaded had nothing to serve yet.
	if first_report and first_report.changed then reload() end
	add_ascii_names()
	if state.report then tell_expiry(state.report) end
end
