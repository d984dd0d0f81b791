-- A time in seconds since the Unix epoch, as RFC 3339 in UTC without what comes behind the seconds: what Message::at
-- writes in Rust.
-- Days become a date by counting years from March on, so that a leap day comes last (days_from_civil, inverted).
local function rfc3339(seconds)
  local floor = math.floor
  local days = floor(seconds / 86400)
  local second = seconds - days * 86400
  local z = days + 719468
  local era = floor(z / 146097)
  local day_of_era = z - era * 146097
  local year_of_era = floor((day_of_era - floor(day_of_era / 1460) + floor(day_of_era / 36524)
    - floor(day_of_era / 146096)) / 365)
  local day_of_year = day_of_era - (365 * year_of_era + floor(year_of_era / 4) - floor(year_of_era / 100))
  local march_month = floor((5 * day_of_year + 2) / 153)
  local day = day_of_year - floor((153 * march_month + 2) / 5) + 1
  local month = march_month < 10 and march_month + 3 or march_month - 9
  local year = year_of_era + era * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d', year, month, day,
    floor(second / 3600), floor(second / 60) % 60, second % 60)
end
