//! Time as data. Reading a clock is the business of whoever implements [`crate::Clock`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Millis(pub i64);

impl Millis {
    /// Seconds from `earlier` to `self`; negative clocks count as zero.
    pub fn secs_since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0).max(0) as f64 / 1000.0
    }

    /// Date and time to the second, such as `2024-07-26 09:05:00 UTC`, in the Gregorian calendar.
    pub fn to_utc_text(self) -> String {
        const DAY_S: i64 = 86_400;
        const SPAN_DAYS: i64 = 146_097;
        let seconds = self.0.div_euclid(1000);
        let (mut days, second) = (seconds.div_euclid(DAY_S), seconds.rem_euclid(DAY_S));
        // Spans of 400 years have one length, so only the place within one is counted out.
        let mut year = 1970 + 400 * days.div_euclid(SPAN_DAYS);
        days = days.rem_euclid(SPAN_DAYS);
        while days >= days_of_year(year) {
            days -= days_of_year(year);
            year += 1;
        }
        let mut month = 1;
        for length in month_lengths(year) {
            if days < length {
                break;
            }
            days -= length;
            month += 1;
        }
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{:02} {hour:02}:{minute:02}:{second:02} UTC", days + 1)
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_year(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

fn month_lengths(year: i64) -> [i64; 12] {
    let february = if is_leap(year) { 29 } else { 28 };
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values by `date -u -d @SECONDS '+%F %T UTC'`.
    #[test]
    fn times_are_written_as_date_writes_them() {
        let check = |seconds: i64, expected: &str| assert_eq!(Millis(seconds * 1000 + 999).to_utc_text(), expected);
        check(0, "1970-01-01 00:00:00 UTC");
        check(951_782_400, "2000-02-29 00:00:00 UTC");
        check(1_721_984_700, "2024-07-26 09:05:00 UTC");
        check(1_735_689_599, "2024-12-31 23:59:59 UTC");
        check(4_107_542_400, "2100-03-01 00:00:00 UTC");
        check(-1, "1969-12-31 23:59:59 UTC");
    }
}
