-- What the claims of a JSON Web Token (RFC 7519) mean: whether it is good here and now, for whom, and for which rooms.
-- Pure.

local claims = {}

-- Roles in a conference that issuers of tokens name → affiliations of XEP-0045. Nobody is banned by a token.
local affiliations = { owner = "owner", moderator = "owner", admin = "admin", member = "member" }

--- Whether a text is one of those accepted, in which * stands for any characters.
function claims.accepts(accepted, text)
	for _, pattern in ipairs(accepted) do
		local parts = {}
		for part in (pattern .. "*"):gmatch("([^*]*)%*") do parts[#parts + 1] = part end
		local position = #parts[1] + 1
		local matches = text:sub(1, #parts[1]) == parts[1]
		for index = 2, #parts - 1 do
			-- The first place that fits leaves the most for the rest, so nothing has to be tried twice.
			local _, last = text:find(parts[index], position, true)
			matches = matches and last ~= nil
			position = last and last + 1 or position
		end
		local rest = #parts > 1 and parts[#parts]
		if rest then
			matches = matches and #text - position + 1 >= #rest and (rest == "" or text:sub(-#rest) == rest)
		else
			matches = matches and position > #text
		end
		if matches then return true end
	end
	return false
end

local function is_time(value)
	return type(value) == "number" and value == value and math.abs(value) ~= math.huge
end

--- The audience is one text or a list of them (RFC 7519, 4.1.3).
local function is_meant_for(audience, accepted)
	-- Whoever accepts everything accepts what is meant for nobody in particular as well.
	if audience == nil then return claims.accepts(accepted, "") end
	for _, item in ipairs(type(audience) == "table" and audience or { audience }) do
		if type(item) == "string" and claims.accepts(accepted, item) then return true end
	end
	return false
end

--- Whether a token with a good signature is good here and now: true, or nil and the reason.
-- policy: { audiences = list, issuers = list or nil for anybody who has the key, leeway = seconds }
function claims.check(given, policy, now)
	if given.exp == nil then return nil, "it never expires (exp is missing)" end
	if not is_time(given.exp) then return nil, "exp is not a time" end
	if given.exp + policy.leeway <= now then return nil, "it has expired (exp)" end
	if given.nbf ~= nil and not is_time(given.nbf) then return nil, "nbf is not a time" end
	if given.nbf and given.nbf - policy.leeway > now then return nil, "it is not valid yet (nbf)" end
	if policy.issuers and not (type(given.iss) == "string" and claims.accepts(policy.issuers, given.iss)) then
		return nil, "its issuer is not accepted (iss)"
	end
	if not is_meant_for(given.aud, policy.audiences) then return nil, "it is meant for somebody else (aud)" end
	for _, name in ipairs { "sub", "room" } do
		if given[name] ~= nil and type(given[name]) ~= "string" then return nil, name .. " is not a text" end
	end
	if given.context ~= nil and type(given.context) ~= "table" then return nil, "context is not an object" end
	return true
end

--- The text or number at a path, context.user.id, as a text; nil if there is none.
function claims.at(given, path)
	local value = given
	for part in path:gmatch("[^.]+") do
		if type(value) ~= "table" then return nil end
		value = value[part]
	end
	if math.type(value) == "integer" then return tostring(value) end
	return type(value) == "string" and value ~= "" and value or nil
end

local function affiliation_of(given, user)
	for _, holder in ipairs { user, given } do
		if holder.moderator == true or holder.moderator == "true" then return "owner" end
		local found = type(holder.affiliation) == "string" and affiliations[holder.affiliation:lower()]
		if found then return found end
	end
	return nil
end

--- What a session keeps of a token: { room, domain, user, group, features, affiliation }.
-- prepare: text → the same as the name of a room, or nil
function claims.identity(given, prepare)
	local context = given.context or {}
	local user = type(context.user) == "table" and context.user or {}
	return {
		room = given.room == "*" and "*" or given.room and prepare(given.room);
		domain = given.sub and given.sub:lower();
		user = user, group = context.group, features = context.features;
		affiliation = affiliation_of(given, user);
	}
end

--- Whether a token opens a room, by the node of its address: NAME, or [TENANT]NAME where tenants share the rooms of one
-- domain as in Jitsi. domain: the main one, if the subject has to fit as well
function claims.opens(identity, node, domain)
	local tenant, name = node:match("^%[([^%]]+)%](.+)$")
	local room = identity.room
	if room == nil or room ~= "*" and room ~= node and room ~= name then return false end
	return not domain or identity.domain == "*" or identity.domain == (tenant or domain)
end

return claims
