-- A server for tests: parses values as container/types.lua does, for as long as there is input.
--
-- A message is one value, written so that any bytes can be in it: "n" nil, "t" true, "f" false, "i" an integer and ";",
-- "d" a float and ";", "s" a length, ":" and as many bytes, "l" a count, ";" and as many values, "m" a count, ";" and
-- as many keys, each followed by its value. The question is a list of a specification and a text; the answer a map
-- with value, expected, failure (of the parser itself), and globals that were not there before.
--
-- A question that is a list of a pattern and subjects behind false asks whether the pattern can be used.

local types = require "container.types"

local parse = types.new()
local input, output = io.stdin, io.stdout
output:setvbuf("full")

local readers, writers = {}, {}

local function read_until(stop)
	local characters = {}
	for character in function() return input:read(1) end do
		if character == stop then break end
		characters[#characters + 1] = character
	end
	return table.concat(characters)
end

local function read()
	local kind = input:read(1)
	if not kind then return nil, true end
	return readers[kind]()
end

function readers.n() return nil end
function readers.t() return true end
function readers.f() return false end
function readers.i() return math.tointeger(tonumber(read_until(";"))) end
function readers.d() return tonumber(read_until(";")) + 0.0 end

function readers.s()
	local length = tonumber(read_until(":"))
	return length == 0 and "" or input:read(length)
end

function readers.l()
	local list = {}
	for index = 1, tonumber(read_until(";")) do list[index] = read() end
	return list
end

function readers.m()
	local map = {}
	for _ = 1, tonumber(read_until(";")) do
		local key = read()
		map[key] = read()
	end
	return map
end

local function write(value)
	writers[math.type(value) or type(value)](value)
end

writers["nil"] = function() output:write("n") end
function writers.boolean(value) output:write(value and "t" or "f") end
function writers.integer(value) output:write(("i%d;"):format(value)) end
function writers.float(value) output:write(("d%.17g;"):format(value)) end
function writers.string(value) output:write("s", #value, ":", value) end

function writers.table(value)
	local count = 0
	for _ in pairs(value) do count = count + 1 end
	if count > 0 and count == #value then
		output:write("l", count, ";")
		for _, item in ipairs(value) do write(item) end
	else
		output:write("m", count, ";")
		for key, item in pairs(value) do
			write(key)
			write(item)
		end
	end
end

local known = {}
for name in pairs(_G) do known[name] = true end

--- Whether a pattern raises an error on any of the subjects.
local function try_pattern(pattern, subjects)
	for _, subject in ipairs(subjects) do
		local matched, failure = pcall(string.find, subject, pattern)
		if not matched then return failure end
	end
	return nil
end

while true do
	local question, is_end = read()
	if is_end then break end
	local answer = {}
	if question[1] == false then
		answer.failure = try_pattern(question[2], question[3])
	else
		local parsed, value, expected = xpcall(parse, debug.traceback, question[1], question[2])
		if parsed then
			answer.value, answer.expected = value, expected
		else
			answer.failure = value
		end
	end
	for name in pairs(_G) do
		if not known[name] then
			answer.globals = answer.globals or {}
			table.insert(answer.globals, name)
		end
	end
	write(answer)
	output:flush()
end
