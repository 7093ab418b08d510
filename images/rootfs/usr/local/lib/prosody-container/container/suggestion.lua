-- Finds what somebody probably meant.

local suggestion = {}

--- Number of single-character edits (insert, delete, replace, swap of neighbours) between two texts.
function suggestion.distance(left, right)
	local before, previous = {}, {}
	for column = 0, #right do previous[column] = column end
	for row = 1, #left do
		local current = { [0] = row }
		for column = 1, #right do
			local same = left:byte(row) == right:byte(column)
			local best = math.min(previous[column] + 1, current[column - 1] + 1, previous[column - 1] + (same and 0 or 1))
			if row > 1 and column > 1 and left:byte(row) == right:byte(column - 1)
				and left:byte(row - 1) == right:byte(column) then
				best = math.min(best, before[column - 2] + 1)
			end
			current[column] = best
		end
		before, previous = previous, current
	end
	return previous[#right]
end

--- The candidate nearest to the name, or nil when none is near.
function suggestion.nearest(name, candidates)
	-- More than a quarter of the letters wrong is a guess, not a slip.
	local farthest = math.max(2, #name // 4)
	local best, best_distance
	for _, candidate in ipairs(candidates) do
		if math.abs(#candidate - #name) <= farthest then
			local distance = suggestion.distance(name, candidate)
			if not best_distance or distance < best_distance or (distance == best_distance and candidate < best) then
				best, best_distance = candidate, distance
			end
		end
	end
	if best and best_distance <= farthest then return best end
	return nil
end

return suggestion
