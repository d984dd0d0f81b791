//! When a provider's day begins: Google's does at midnight in California, summer time included.

/// Seconds that California is behind UTC at a time in seconds since the Unix epoch. Summer time is from the second
/// Sunday of March to the first of November, at two in the morning.
pub(crate) fn behind_utc(unix: u64) -> u64 {
    const HOUR: u64 = 3_600;
    let year = year_of(unix / DAY);
    let begins = sunday(year, 3, 2) * DAY + 10 * HOUR;
    let ends = sunday(year, 11, 1) * DAY + 9 * HOUR;
    if (begins..ends).contains(&unix) {
        7 * HOUR
    } else {
        8 * HOUR
    }
}

pub(crate) const DAY: u64 = 24 * 3_600;

/// Days from the Unix epoch to the `n`th Sunday of a month. The epoch was a Thursday.
fn sunday(year: u64, month: u64, n: u64) -> u64 {
    let first = days_to(year, month);
    let to_sunday = (7 - (first + 4) % 7) % 7;
    first + to_sunday + 7 * (n - 1)
}

/// Days from the Unix epoch to the first of a month.
fn days_to(year: u64, month: u64) -> u64 {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let past = year - 1;
    // 719,162 days lie between the first of January of the year 1 and the epoch.
    let years = 365 * past + past / 4 - past / 100 + past / 400 - 719_162;
    years + BEFORE[month as usize - 1] + u64::from(leap && month > 2)
}

fn year_of(day: u64) -> u64 {
    let mut year = 1970 + day / 366;
    while days_to(year + 1, 1) <= day {
        year += 1;
    }
    year
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn california_is_seven_hours_behind_in_summer_and_eight_in_winter() {
        for (unix, hours) in [
            (0, 8),
            (1_772_963_999, 8), // 2026-03-08 09:59:59 UTC
            (1_772_964_000, 7),
            (1_793_523_599, 7), // 2026-11-01 08:59:59 UTC
            (1_793_523_600, 8),
            (1_709_251_200, 8), // 2024-03-01
            (1_710_064_800, 7), // 2024-03-10 10:00:00 UTC
            (1_798_675_200, 8), // 2026-12-31
        ] {
            assert_eq!(behind_utc(unix), hours * 3_600, "{unix}");
        }
    }
}
