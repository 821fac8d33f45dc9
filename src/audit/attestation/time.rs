//! Times as they are written.

use super::word::Word;

/// RFC 3339 in UTC with milliseconds, from milliseconds since the Unix epoch.
pub(super) fn utc(ms: u64) -> Word {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second, milli) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1_000 % 60, in_day % 1_000);
    Word::new(&format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"))
        .expect("digits and separators are allowed")
}

/// Day of the Gregorian calendar, counted in eras of 400 years that begin on 1 March, where a leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let since_march_0 = days + 719_468;
    let (era, in_era) = (since_march_0 / 146_097, since_march_0 % 146_097);
    let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Hours, minutes and seconds since the opening.
pub(super) fn clock(ms: u64) -> String {
    let s = ms / 1_000;
    format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0).as_str(), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_400_000).as_str(), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(1_795_253_467_204).as_str(), "2026-11-21T09:31:07.204Z");
        assert_eq!(utc(4_107_542_399_999).as_str(), "2100-02-28T23:59:59.999Z");
        assert_eq!(utc(4_107_542_400_000).as_str(), "2100-03-01T00:00:00.000Z");
        assert_eq!(clock(3_725_999), "01:02:05");
    }
}
