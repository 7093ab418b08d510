local expect = require "expect"

local nothing = setmetatable({}, { __index = function(_, name) error("used: " .. name) end })
local environment = setmetatable({ require = function() return nothing end }, { __index = _G })
local lists = assert(loadfile(assert(package.searchpath("container.lists", package.path)), "t", environment))()

local first, second = 'item({\n\t["key"] = "a);\\nitem(";\n});\n', 'item({\n\t["key"] = "b";\n});\n'

return {
	{ "what is whole stays", function()
		expect.equal(lists.whole(first .. second), first .. second)
	end },
	{ "zeros after the last item go", function()
		expect.equal(lists.whole(first .. second .. ("\0"):rep(5000)), first .. second)
	end },
	{ "an item that is not complete goes, wherever it ends", function()
		for length = 1, #second - 1 do
			expect.equal(lists.whole(first .. second:sub(1, length)), first)
			expect.equal(lists.whole(first .. second:sub(1, length) .. ("\0"):rep(100)), first)
		end
	end },
	{ "of a single item that is not complete nothing stays", function()
		for length = 0, #first - 1 do
			expect.equal(lists.whole(first:sub(1, length)), "")
			expect.equal(lists.whole(first:sub(1, length) .. "\0"), "")
		end
	end },
}
