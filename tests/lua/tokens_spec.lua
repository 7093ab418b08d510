local claims = require "container.tokens.claims"
local expect = require "expect"
local jwk = require "container.tokens.jwk"
local key_store = require "container.tokens.key_store"

local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

-- What prosody.util.encodings has, slow and simple.
local base64 = {}

function base64.encode(bytes)
	local bits = bytes:gsub(".", function(character)
		local digits = ""
		for position = 7, 0, -1 do digits = digits .. (character:byte() >> position & 1) end
		return digits
	end)
	local text = (bits .. ("0"):rep(-#bits % 6)):gsub("......", function(six)
		local index = tonumber(six, 2) + 1
		return alphabet:sub(index, index)
	end)
	return text .. ("="):rep(-#text % 4)
end

function base64.decode(text)
	if not text:find("^[%w+/]*=*$") then return nil end
	local bits = text:gsub("=", ""):gsub(".", function(character)
		local index, digits = alphabet:find(character, 1, true) - 1, ""
		for position = 5, 0, -1 do digits = digits .. (index >> position & 1) end
		return digits
	end)
	return (bits:sub(1, #bits - #bits % 8):gsub("........", function(eight) return string.char(tonumber(eight, 2)) end))
end

-- Keys as the library of Python that the other tests use writes them, in both forms
local pairs_of_forms = {
	{
		kind = "RSA";
		jwk = {
			kty = "RSA";
			n = "2AE-eiCfaMMDOHQ0MIwGWEJ-1hpmpEAyfFgy48513aIudUiQvxHQGjjUQzGDKKF0PDDIEDWGUF0MEGrYbcrXwB5n"
			.. "dI6YO-7RAgSh5ntebEmLEQLGyDemhll22gLsCZkfTek6HTfAIZ5ia2i9Ba_JTE2wPiKjJDXQRP-yHACjz_5vMUBG"
			.. "6zVwwMlIJZxhHy2aopnkC5FAtTMOmhNBHgV21Z___U-xBMQDtKVFZcS1r9aTs06tHtkuTTsvZdol8ti3pyEGGfbX"
			.. "Ut9qr1xNJ2pIncEAx-dSPE33YRIddzHo0gmBgRY9QiOjPsFKlnOkxzRStspwClePf0ZN2xodEKKhGw";
			e = "AQAB";
		};
		pem = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA2AE+eiCfaMMDOHQ0MIwGWEJ+1hpmpEAyfFgy48513aIu"
			.. "dUiQvxHQGjjUQzGDKKF0PDDIEDWGUF0MEGrYbcrXwB5ndI6YO+7RAgSh5ntebEmLEQLGyDemhll22gLsCZkfTek6"
			.. "HTfAIZ5ia2i9Ba/JTE2wPiKjJDXQRP+yHACjz/5vMUBG6zVwwMlIJZxhHy2aopnkC5FAtTMOmhNBHgV21Z///U+x"
			.. "BMQDtKVFZcS1r9aTs06tHtkuTTsvZdol8ti3pyEGGfbXUt9qr1xNJ2pIncEAx+dSPE33YRIddzHo0gmBgRY9QiOj"
			.. "PsFKlnOkxzRStspwClePf0ZN2xodEKKhGwIDAQAB";
	};
	{
		kind = "P-256";
		jwk = {
			kty = "EC";
			crv = "P-256";
			x = "RN_mFNzwsMNfgiX4ZIPUegYSmLj82bnGBfDiwwmYAEQ";
			y = "9hlkXMmd4bnBBQOvjqMlgpJAmoqPSZI7KWK6UfeBiHE";
		};
		pem = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAERN/mFNzwsMNfgiX4ZIPUegYSmLj82bnGBfDiwwmYAET2GWRcyZ3h"
			.. "ucEFA6+OoyWCkkCaio9JkjspYrpR94GIcQ==";
	};
	{
		kind = "P-384";
		jwk = {
			kty = "EC";
			crv = "P-384";
			x = "C5SFB4LN94KS-eEqNx910j5cxMuUqDnMqV_9jIFqmCVktyDIxxYnpWI9_TFi6KPR";
			y = "AS6FJdYBN9Do404jFvUwHcuS4K7hgpQWC0P74lvgtUcUjHcTAJ2DvrmXQYpVHyD3";
		};
		pem = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEC5SFB4LN94KS+eEqNx910j5cxMuUqDnMqV/9jIFqmCVktyDIxxYnpWI9"
			.. "/TFi6KPRAS6FJdYBN9Do404jFvUwHcuS4K7hgpQWC0P74lvgtUcUjHcTAJ2DvrmXQYpVHyD3";
	};
	{
		kind = "P-521";
		jwk = {
			kty = "EC";
			crv = "P-521";
			x = "AKCHrq434vUiF8oV2JJd7MZda_UjKzkkVv7c7wpbLq0ZvZRG1Ypn5Oqr0ZEoTNpdTptoWbcdgkOe2Jan8YqEFcC2";
			y = "AHV4E3IFtn8SxynnYw0zPidw6sGpauSyTPshFk9g9sAP1R5kZ4ucHgGK3fsvLhwXVxNh9Fi0Q5DLCxTmkc__tmFk";
		};
		pem = "MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAoIeurjfi9SIXyhXYkl3sxl1r9SMrOSRW/tzvClsurRm9lEbVimfk"
			.. "6qvRkShM2l1Om2hZtx2CQ57YlqfxioQVwLYAdXgTcgW2fxLHKedjDTM+J3Dqwalq5LJM+yEWT2D2wA/VHmRni5we"
			.. "AYrd+y8uHBdXE2H0WLRDkMsLFOaRz/+2YWQ=";
	};
}

local now = 1000000

--- Whether claims are good: changes to those of a good token; false takes one away.
local function check(changes, policy)
	local given = { exp = now + 60, iss = "issuer", aud = "meet" }
	for name, value in pairs(changes or {}) do
		given[name] = value
		if value == false then given[name] = nil end
	end
	local used = { audiences = { "meet" }, issuers = { "issuer" }, leeway = 10 }
	for name, value in pairs(policy or {}) do used[name] = value end
	return claims.check(given, used, now)
end

local function expect_refusal(reason, changes, policy)
	local is_good, found = check(changes, policy)
	expect.equal({ is_good, found }, { nil, reason })
end

local function identity(given) return claims.identity(given, string.lower) end

--- A store whose server answers from a list, and a clock; answers: of load, the last one again and again
local function new_store(answers)
	local world = { time = 0, asked = {}, reports = {} }
	world.store = key_store.new {
		load = function(headers)
			world.asked[#world.asked + 1] = headers["If-None-Match"] or "all"
			local answer = answers[math.min(#world.asked, #answers)]
			if type(answer) == "string" then return nil, answer end
			return answer
		end;
		parse = function(body)
			if body == "" then return nil, "it has no key" end
			local keys = {}
			for id in body:gmatch("%S+") do keys[#keys + 1] = { id = id } end
			return keys
		end;
		now = function() return world.time end;
		enter = function() return function() end end;
		report = function(reason) table.insert(world.reports, reason) end;
	}
	function world.find(id, time)
		world.time = time
		local names = {}
		for _, key in ipairs(world.store:find(id)) do names[#names + 1] = key.id end
		return table.concat(names, " ")
	end
	return world
end

local function answer(body, control, tag)
	return { code = 200, headers = { cache_control = control, etag = tag }, body = body }
end

return {
	{ "what is accepted may have any number of wildcards", function()
		local cases = {
			{ "meet", "meet", true }, { "meet", "meets", false }, { "meet", "mee", false }, { "meet", "", false };
			{ "*", "", true }, { "*", "anything", true }, { "**", "x", true };
			{ "meet-*", "meet-", true }, { "meet-*", "meet-eu", true }, { "meet-*", "a-meet-eu", false };
			{ "*.example", "a.example", true }, { "*.example", "example", false }, { "*.example", "a.example.org", false };
			{ "a*c", "ac", true }, { "a*c", "abc", true }, { "a*c", "abcd", false }, { "a*a", "a", false };
			{ "a*b*c", "a1b2c", true }, { "a*b*c", "acb", false }, { "a*b*c", "abbc", true }, { "ab*ba", "aba", false };
			{ "*a*", "bab", true }, { "*a*", "b", false }, { "%a+", "x", false }, { "a.c", "abc", false };
		}
		for _, case in ipairs(cases) do
			expect.equal({ case[1], case[2], claims.accepts({ "nothing", case[1] }, case[2]) }, case)
		end
		expect.equal(claims.accepts({}, "anything"), false)
	end },
	{ "wildcards take no more than linear time", function()
		local started = os.clock()
		expect.equal(claims.accepts({ ("*a"):rep(50) .. "b" }, ("a"):rep(100000)), false)
		assert(os.clock() - started < 1)
	end },
	{ "a token has its time, give or take the leeway", function()
		expect.equal(check(), true)
		expect.equal(check { exp = now - 9 }, true)
		expect_refusal("it has expired (exp)", { exp = now - 10 })
		expect_refusal("it has expired (exp)", { exp = now }, { leeway = 0 })
		expect_refusal("it never expires (exp is missing)", { exp = false })
		expect.equal(check { nbf = now + 10 }, true)
		expect_refusal("it is not valid yet (nbf)", { nbf = now + 11 })
		for _, wrong in ipairs { "soon", tostring(now + 60), {}, true, 0 / 0, math.huge } do
			expect_refusal("exp is not a time", { exp = wrong })
			expect_refusal("nbf is not a time", { nbf = wrong })
		end
	end },
	{ "issuers and audiences are those of the configuration", function()
		expect_refusal("its issuer is not accepted (iss)", { iss = "another" })
		expect_refusal("its issuer is not accepted (iss)", { iss = false })
		expect_refusal("its issuer is not accepted (iss)", { iss = { "issuer" } })
		expect_refusal("it is meant for somebody else (aud)", { aud = "another" })
		expect_refusal("it is meant for somebody else (aud)", { aud = false })
		expect_refusal("it is meant for somebody else (aud)", { aud = {} })
		expect_refusal("it is meant for somebody else (aud)", { aud = { 1, "another" } })
		expect.equal(check { aud = { "another", "meet" } }, true)
		expect.equal(check({ aud = false }, { audiences = { "*" } }), true)
		expect.equal(claims.check({ exp = now + 1, aud = "meet" }, { audiences = { "meet" }, leeway = 0 }, now), true)
	end },
	{ "claims of another kind are refused", function()
		expect_refusal("room is not a text", { room = 5 })
		expect_refusal("sub is not a text", { sub = {} })
		expect_refusal("context is not an object", { context = "user" })
	end },
	{ "a claim is found at its path", function()
		local given = { sub = "a", context = { user = { id = 5, name = "" } } }
		expect.equal({ claims.at(given, "sub"), claims.at(given, "context.user.id") }, { "a", "5" })
		expect.equal({ claims.at(given, "context.user.name"), claims.at(given, "context.user") }, {})
		expect.equal({ claims.at(given, "sub.a.b"), claims.at(given, "nothing") }, {})
	end },
	{ "affiliations of a token", function()
		for _, case in ipairs {
			{ { affiliation = "owner" }, "owner" }, { { affiliation = "Moderator" }, "owner" };
			{ { affiliation = "admin" }, "admin" }, { { affiliation = "member" }, "member" };
			{ { affiliation = "outcast" } }, { { affiliation = 5 } }, { {} };
			{ { moderator = true }, "owner" }, { { moderator = "true" }, "owner" };
			{ { moderator = false } }, { { moderator = "false" } }, { { moderator = 1 } };
			{ { moderator = false, affiliation = "member" }, "member" };
		} do
			expect.equal(identity({ context = { user = case[1] } }).affiliation, case[2])
			expect.equal(identity(case[1]).affiliation, case[2])
		end
		expect.equal(identity({ context = { user = "juliet" } }).affiliation, nil)
	end },
	{ "a token opens the room that it names", function()
		local function opens(room, node) return claims.opens(identity { room = room }, node) end
		expect.equal({ opens("Tea", "tea"), opens("*", "tea"), opens("tea", "[acme]tea") }, { true, true, true })
		expect.equal({ opens("tea", "coffee"), opens("tea*", "tea1"), opens(nil, "tea"), opens(nil, "[a]b") },
			{ false, false, false, false })
		expect.equal(claims.opens(claims.identity({ room = "a@b" }, function() end), "a@b"), false)
	end },
	{ "a token opens rooms of its tenant", function()
		local function opens(subject, node)
			return claims.opens(identity { room = "*", sub = subject }, node, "meet.example")
		end
		expect.equal({ opens("meet.example", "tea"), opens("*", "tea"), opens("acme", "tea"), opens(nil, "tea") },
			{ true, true, false, false })
		expect.equal({ opens("ACME", "[acme]tea"), opens("*", "[acme]tea"), opens("meet.example", "[acme]tea") },
			{ true, true, false })
	end },
	{ "a key has the same PEM whichever form it comes in", function()
		for _, forms in ipairs(pairs_of_forms) do
			local given = { kid = "name", alg = "any", use = "sig" }
			for name, value in pairs(forms.jwk) do given[name] = value end
			local keys = jwk.read({ keys = { given } }, base64)
			expect.equal({ keys[1].id, keys[1].algorithm, keys[1].kind }, { "name", "any", forms.kind })
			expect.equal(keys[1].pem:gsub("%-[^\n]*\n", ""):gsub("%s", ""), forms.pem)
			local key = jwk.from_pem(keys[1].pem, base64)
			expect.equal({ key.kind, key.pem }, { forms.kind, keys[1].pem })
		end
	end },
	{ "keys that cannot be used are passed over", function()
		local good = pairs_of_forms[2].jwk
		local function count(...)
			local keys = jwk.read({ keys = { ... } }, base64)
			return keys and #keys or 0
		end
		local function changed(name, value)
			local copy = {}
			for key, item in pairs(good) do copy[key] = item end
			copy[name] = value
			return copy
		end
		expect.equal(count(good), 1)
		expect.equal(count(changed("use", "enc"), good), 1)
		for _, wrong in ipairs {
			changed("use", "enc"), changed("kty", "oct"), changed("crv", "P-384"), changed("crv", "secp256k1");
			changed("x", "AAAA"), changed("x", "!"), changed("y", 5), changed("kty", "RSA"), "text";
			{ kty = "RSA", n = ("A"):rep(340), e = "AQAB" }, { kty = "RSA", n = ("_"):rep(170), e = "AQAB" };
		} do
			expect.equal(count(wrong), 0)
		end
		for _, set in ipairs { {}, { keys = "text" }, { keys = {} } } do
			expect.equal((jwk.read(set, base64)), nil)
		end
		expect.equal((jwk.read(nil, base64)), nil)
	end },
	{ "what is no public key is told apart", function()
		local function reason(text)
			local key, found = jwk.from_pem(text, base64, function() return nil end)
			expect.equal(key, nil)
			return found
		end
		expect.contains(reason("-----BEGIN PRIVATE KEY-----"), "private key")
		expect.contains(reason("nonsense"), "neither a public key nor a certificate")
		expect.contains(reason("-----BEGIN CERTIFICATE-----"), "neither a public key nor a certificate")
		expect.contains(reason("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"), "neither an RSA key")
	end },
	{ "each algorithm has its kind of key", function()
		expect.equal({ jwk.is_for("RSA", "RS256"), jwk.is_for("RSA", "PS512"), jwk.is_for("P-384", "ES384") },
			{ true, true, true })
		expect.equal({ jwk.is_for("RSA", "HS256"), jwk.is_for("P-256", "ES384"), jwk.is_for(nil, "RS256") },
			{ false, false, false })
	end },
	{ "keys are kept as long as the server says", function()
		local world = new_store { answer("a", "public, max-age=60") }
		expect.equal({ world.find("a", 0), world.find("a", 59), #world.asked }, { "a", "a", 1 })
		expect.equal({ world.find("a", 60), #world.asked }, { "a", 2 })
	end },
	{ "and for a while if it says nothing, but never for ever", function()
		local world = new_store { answer("a") }
		expect.equal({ world.find("a", 0), world.find("a", 299), #world.asked }, { "a", "a", 1 })
		expect.equal({ world.find("a", 300), #world.asked }, { "a", 2 })
		world = new_store { answer("a", "max-age=99999999") }
		expect.equal({ world.find("a", 0), world.find("a", 86399), #world.asked }, { "a", "a", 1 })
		expect.equal({ world.find("a", 86400), #world.asked }, { "a", 2 })
	end },
	{ "a key that is not there is looked for, at most every ten seconds", function()
		local world = new_store { answer("a", "max-age=3600"), answer("b", "max-age=3600") }
		expect.equal({ world.find("a", 0), world.find("b", 9), #world.asked }, { "a", "", 1 })
		expect.equal({ world.find("b", 10), #world.asked }, { "b", 2 })
		expect.equal({ world.find("a", 11), world.find("c", 19), #world.asked }, { "", "", 2 })
		expect.equal({ world.find("c", 20), #world.asked }, { "", 3 })
	end },
	{ "keys outlast a server that fails", function()
		for _, failure in ipairs { "no route", { code = 503, headers = {}, body = "b" }, answer("") } do
			local world = new_store { answer("a", "no-store"), failure, failure, answer("b") }
			expect.equal({ world.find("a", 0), world.find("a", 10), world.find("a", 20), #world.reports },
				{ "a", "a", "a", 2 })
			expect.equal({ world.find("a", 30), world.find("b", 31), #world.asked }, { "", "b", 4 })
		end
	end },
	{ "what has not changed is not sent again", function()
		local unchanged = { code = 304, headers = { cache_control = "max-age=100" } }
		local world = new_store { answer("a", "no-cache", '"1"'), unchanged, answer("b", nil, '"2"') }
		expect.equal({ world.find("a", 0), world.find("a", 10), world.find("a", 109) }, { "a", "a", "a" })
		expect.equal({ world.find("b", 110), world.find("b", 500) }, { "b", "b" })
		expect.equal(world.asked, { "all", '"1"', '"1"', '"2"' })
		expect.equal(world.reports, {})
		-- Nobody asked whether it has changed.
		world = new_store { { code = 304, headers = {} } }
		expect.equal({ world.find("a", 0), #world.reports }, { "", 1 })
	end },
	{ "a token that names no key may be signed with any", function()
		expect.equal(new_store({ answer("a b") }).find(nil, 0), "a b")
	end },
	{ "who waits does not ask once more", function()
		local world = new_store { answer("a", "no-cache") }
		local entered = 0
		world.store.enter = function()
			entered = entered + 1
			-- Somebody else was quicker.
			if entered == 1 then world.store:refresh() end
			return function() end
		end
		expect.equal({ world.find("a", 0), #world.asked }, { "a", 1 })
	end },
}
