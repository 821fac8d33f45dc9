//! The two clocks of a run; everything else is told the time.

use std::time::{Duration, Instant, SystemTime};

/// Now, for intervals.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the run owns the clock of its script")]
pub fn now() -> Instant {
    Instant::now()
}

/// Since the Unix epoch, for tokens and reports.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "tokens and reports carry the time of day")]
pub fn wall() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// UTC as `2026-01-31 09:05:07`.
#[must_use]
pub fn utc(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60)
}

/// The date of a day since 1970-01-01, by eras of 400 years that begin on 1 March (146,097 days each).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(Duration::ZERO), "1970-01-01 00:00:00");
        assert_eq!(utc(Duration::from_secs(951_782_399)), "2000-02-28 23:59:59");
        assert_eq!(utc(Duration::from_secs(951_782_400)), "2000-02-29 00:00:00");
        assert_eq!(utc(Duration::from_secs(1_798_761_599)), "2026-12-31 23:59:59");
    }
}
