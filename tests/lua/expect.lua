-- The few comparisons the specs need.

local expect = {}

local function show(value)
	if type(value) ~= "table" then return type(value) == "string" and ("%q"):format(value) or tostring(value) end
	local keys = {}
	for key in pairs(value) do keys[#keys + 1] = key end
	table.sort(keys, function(left, right) return tostring(left) < tostring(right) end)
	for index, key in ipairs(keys) do keys[index] = tostring(key) .. " = " .. show(value[key]) end
	return "{ " .. table.concat(keys, ", ") .. " }"
end

function expect.equal(actual, expected)
	if show(actual) ~= show(expected) then
		error(("got %s, expected %s"):format(show(actual), show(expected)), 2)
	end
end

function expect.contains(text, part)
	if not tostring(text):find(part, 1, true) then error(("%q does not contain %q"):format(tostring(text), part), 2) end
end

function expect.lacks(text, part)
	if tostring(text):find(part, 1, true) then error(("%q contains %q"):format(tostring(text), part), 2) end
end

return expect
