-- Points in time as certificates give them ("Nov 25 13:00:00 2026 GMT"), and as people read them.

local dates = {}

local day = 86400
local months = {
	Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11, Dec = 12,
}

--- Days from 1970-01-01 to a date. os.time would take it for local time.
local function count_days(year, month, day_of_month)
	-- Counted from March, so that the day of leap years is the last one of a year.
	if month <= 2 then year, month = year - 1, month + 12 end
	local days_before_month = (153 * (month - 3) + 2) // 5
	return 365 * year + year // 4 - year // 100 + year // 400 + days_before_month + day_of_month - 719469
end

--- Seconds since 1970, or nil when the text is none of a certificate.
function dates.parse(text)
	local name, day_of_month, hour, minute, second, year =
		tostring(text):match("^(%a%a%a) +(%d+) (%d+):(%d+):(%d+)%.?%d* (%d+)")
	if not months[name] then return nil end
	local days = count_days(math.tointeger(year), months[name], math.tointeger(day_of_month))
	return days * day + math.tointeger(hour) * 3600 + math.tointeger(minute) * 60 + math.tointeger(second)
end

--- The date in UTC, year first.
function dates.show(time)
	return os.date("!%Y-%m-%d", time)
end

--- Whole days that are left; negative when it is over.
function dates.days_until(time, now)
	return (time - now) // day
end

--- How long a certificate is still valid, in words.
function dates.show_rest(not_after, now)
	local days = dates.days_until(not_after, now)
	if not_after <= now then return ("expired on %s"):format(dates.show(not_after)) end
	return ("valid until %s, %d day%s left"):format(dates.show(not_after), days, days == 1 and "" or "s")
end

return dates
