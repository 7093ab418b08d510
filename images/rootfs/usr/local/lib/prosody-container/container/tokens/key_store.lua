-- Public keys from a web server, kept until they are stale; looked for again when a token names one that is not there.
-- Pure: time and transport are handed in.

local key_store = {}
key_store.__index = key_store

-- Seconds
local usual_lifetime, longest_lifetime = 300, 86400
-- At most one request in this time, whatever tokens name and whatever the server says about caches.
local least_interval = 10

--- options: load = function(headers) → { code, headers, body } or nil and the reason, which may wait;
-- parse = function(body) → list of keys or nil and the reason; now = function() → seconds;
-- enter = function() → function to leave: lets one in at a time; report = function(reason)
function key_store.new(options)
	return setmetatable({
		load = options.load, parse = options.parse, now = options.now, enter = options.enter, report = options.report;
		keys = {}, fresh_until = -math.huge, last_attempt = -math.huge;
	}, key_store)
end

--- The keys that a token may be signed with: the one of this id, or all if it names none.
function key_store:matching(id)
	if id == nil then return self.keys end
	local found = {}
	for _, key in ipairs(self.keys) do
		if key.id == id then found[#found + 1] = key end
	end
	return found
end

function key_store:needs_request(id)
	local now = self.now()
	if now < self.last_attempt + least_interval then return false end
	return now >= self.fresh_until or #self:matching(id) == 0
end

--- How long an answer may be used (RFC 9111, 5.2.2).
local function lifetime_of(headers)
	local control = (headers.cache_control or headers["cache-control"] or ""):lower()
	if control:find("no%-store") or control:find("no%-cache") then return 0 end
	local seconds = tonumber(control:match("max%-age%s*=%s*\"?(%d+)"))
	return math.min(seconds or usual_lifetime, longest_lifetime)
end

--- Asks the server. If it does not answer well, the keys stay as they are: an outage must not lock everybody out.
function key_store:refresh()
	self.last_attempt = self.now()
	local answer, reason = self.load(self.etag and { ["If-None-Match"] = self.etag } or {})
	self.last_attempt = self.now()
	if answer and answer.code == 200 then
		local keys
		keys, reason = self.parse(answer.body)
		if keys then self.keys, self.etag = keys, answer.headers.etag end
		answer = keys and answer
	elseif answer and not (answer.code == 304 and self.etag) then
		reason = ("the server answered with status %d"):format(answer.code)
		answer = nil
	end
	if answer then
		self.fresh_until = self.now() + lifetime_of(answer.headers)
	else
		self.report(tostring(reason))
	end
end

--- Keys by the id that a token names, or nil. Has to be called where it may wait.
function key_store:find(id)
	if self:needs_request(id) then
		local leave = self.enter()
		-- Whoever was let in before may have asked already.
		if self:needs_request(id) then self:refresh() end
		leave()
	end
	return self:matching(id)
end

return key_store
