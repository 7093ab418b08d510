local expect = require "expect"
local suggestion = require "container.suggestion"

local names = { "PROSODY_DOMAIN", "PROSODY_ADMINS", "PROSODY_MUC_DOMAIN", "PROSODY_ADMINS_FILE" }

return {
	{ "distances are counted in edits", function()
		expect.equal(suggestion.distance("", "abc"), 3)
		expect.equal(suggestion.distance("abc", "abc"), 0)
		expect.equal(suggestion.distance("domian", "domain"), 1)
		expect.equal(suggestion.distance("kitten", "sitting"), 3)
	end },
	{ "a slip finds its name", function()
		expect.equal(suggestion.nearest("PROSODY_DOMIAN", names), "PROSODY_DOMAIN")
		expect.equal(suggestion.nearest("PROSODY_ADMIN", names), "PROSODY_ADMINS")
		expect.equal(suggestion.nearest("PROSODY_ADMIN_FILE", names), "PROSODY_ADMINS_FILE")
	end },
	{ "something else finds nothing", function()
		expect.equal(suggestion.nearest("PROSODY_COMPLETELY_DIFFERENT", names), nil)
		expect.equal(suggestion.nearest("x", {}), nil)
	end },
}
