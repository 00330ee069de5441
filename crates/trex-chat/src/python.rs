//! What chat templates expect of Python: `json.dumps` and `strftime`, over template values.
//!
//! Only what templates use. Text is never escaped for HTML, as transformers does not either.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};
use trex_domain::Millis;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The filter `tojson`: `json.dumps(value, ensure_ascii=False, indent=indent)`.
#[expect(clippy::needless_pass_by_value, reason = "the template engine passes options owned")]
pub(crate) fn tojson(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let indent = indent.or(options.get::<Option<Value>>("indent")?);
    // Accepted as transformers does; both are what is done anyway, or make no difference for what templates pass.
    options.get::<Option<bool>>("ensure_ascii")?;
    options.get::<Option<bool>>("sort_keys")?;
    options.assert_all_used()?;
    let indent = match indent.filter(|value| !value.is_none() && !value.is_undefined()) {
        Some(width) => Some(usize::try_from(width)?),
        None => None,
    };
    let mut out = String::new();
    write_json(&mut out, value, indent, 0)?;
    Ok(Value::from(out))
}

fn write_json(out: &mut String, value: &Value, indent: Option<usize>, depth: usize) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&value.to_string()),
        ValueKind::String => write_string(out, value.as_str().unwrap_or_default())?,
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            write_items(out, ['[', ']'], items.len(), indent, depth, |out, index| match items.get(index) {
                Some(item) => write_json(out, item, indent, depth + 1),
                None => Ok(()),
            })?;
        }
        ValueKind::Map => {
            let keys: Vec<Value> = value.try_iter()?.collect();
            write_items(out, ['{', '}'], keys.len(), indent, depth, |out, index| match keys.get(index) {
                Some(key) => {
                    write_string(out, &key.to_string())?;
                    out.push_str(": ");
                    write_json(out, &value.get_item(key)?, indent, depth + 1)
                }
                None => Ok(()),
            })?;
        }
        kind => return Err(Error::new(ErrorKind::BadSerialization, format!("{kind} has no JSON form"))),
    }
    Ok(())
}

fn write_items(
    out: &mut String,
    [open, close]: [char; 2],
    len: usize,
    indent: Option<usize>,
    depth: usize,
    mut write_item: impl FnMut(&mut String, usize) -> Result<(), Error>,
) -> Result<(), Error> {
    out.push(open);
    for index in 0..len {
        match indent {
            Some(width) => {
                out.push_str(if index > 0 { ",\n" } else { "\n" });
                out.push_str(&" ".repeat(width * (depth + 1)));
            }
            None if index > 0 => out.push_str(", "),
            None => {}
        }
        write_item(out, index)?;
    }
    if let Some(width) = indent.filter(|_| len > 0) {
        out.push('\n');
        out.push_str(&" ".repeat(width * depth));
    }
    out.push(close);
    Ok(())
}

fn write_string(out: &mut String, text: &str) -> Result<(), Error> {
    let quoted = serde_json::to_string(text)
        .map_err(|err| Error::new(ErrorKind::BadSerialization, "text has no JSON form").with_source(err))?;
    out.push_str(&quoted);
    Ok(())
}

/// The function `strftime_now` for a given time, in UTC.
pub(crate) fn strftime(now: Millis, format: &str) -> Result<String, Error> {
    let date = Date::of(now);
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut directive = letters.next();
        let unpadded = directive == Some('-');
        if unpadded {
            directive = letters.next();
        }
        let text = directive.and_then(|directive| date.text_of(directive)).ok_or_else(|| {
            let message = format!("strftime_now knows no directive of {format:?} like %{}", directive.unwrap_or(' '));
            Error::new(ErrorKind::InvalidOperation, message)
        })?;
        let trimmed = if unpadded { text.trim_start_matches('0') } else { &text };
        out.push_str(if trimmed.is_empty() { "0" } else { trimmed });
    }
    Ok(out)
}

struct Date {
    year: i64,
    /// From 1.
    month: i64,
    /// Of the month, from 1.
    day: i64,
    /// From Sunday = 0.
    weekday: i64,
    /// From 1.
    day_of_year: i64,
    second_of_day: i64,
}

impl Date {
    /// Civil date of a time: years are counted from March so that the leap day is the last, in eras of 400 years
    /// (the method of H. Hinnant, "chrono-compatible low-level date algorithms").
    fn of(now: Millis) -> Self {
        let seconds = now.0.div_euclid(1000);
        let days = seconds.div_euclid(86_400);
        let since_march_0000 = days + 719_468;
        let era = since_march_0000.div_euclid(146_097);
        let day_of_era = since_march_0000.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_from_march + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        // January and February stand at the end of a year that starts in March.
        let day_of_year = if month > 2 { day_from_march + 60 + i64::from(is_leap) } else { day_from_march - 306 + 1 };
        Self {
            year,
            month,
            day: day_from_march - (153 * month_from_march + 2) / 5 + 1,
            weekday: (days + 4).rem_euclid(7),
            day_of_year,
            second_of_day: seconds.rem_euclid(86_400),
        }
    }

    fn text_of(&self, directive: char) -> Option<String> {
        let hour = self.second_of_day / 3600;
        let month = name_in(&MONTHS, self.month - 1);
        let weekday = name_in(&DAYS, self.weekday);
        Some(match directive {
            'Y' => self.year.to_string(),
            'y' => format!("{:02}", self.year.rem_euclid(100)),
            'm' => format!("{:02}", self.month),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'j' => format!("{:03}", self.day_of_year),
            'B' => month.to_owned(),
            'b' | 'h' => month.chars().take(3).collect(),
            'A' => weekday.to_owned(),
            'a' => weekday.chars().take(3).collect(),
            'H' => format!("{hour:02}"),
            'I' => format!("{:02}", (hour + 11) % 12 + 1),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'M' => format!("{:02}", self.second_of_day / 60 % 60),
            'S' => format!("{:02}", self.second_of_day % 60),
            'F' => format!("{}-{:02}-{:02}", self.year, self.month, self.day),
            'T' => format!("{hour:02}:{:02}:{:02}", self.second_of_day / 60 % 60, self.second_of_day % 60),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

fn name_in(names: &'static [&'static str], index: i64) -> &'static str {
    usize::try_from(index).ok().and_then(|index| names.get(index).copied()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};

    use super::*;

    #[track_caller]
    fn check_date(seconds: i64, format: &str, expected: &str) {
        assert_eq!(strftime(Millis(seconds * 1000), format).unwrap(), expected);
    }

    /// Expected values from Python's `datetime.fromtimestamp(s, timezone.utc).strftime(f)`.
    #[test]
    fn dates_are_those_of_python() {
        check_date(0, "%d %b %Y %H:%M:%S %A", "01 Jan 1970 00:00:00 Thursday");
        check_date(1_721_952_000, "%d %b %Y", "26 Jul 2024");
        check_date(1_709_210_096, "%Y-%m-%d %j %a %I:%M %p %y", "2024-02-29 060 Thu 12:34 PM 24");
        check_date(1_735_689_599, "%-d.%-m.%y %B %j %%", "31.12.24 December 366 %");
        check_date(1_740_787_200, "%F %j %-H", "2025-03-01 060 0");
        check_date(-1, "%F %T", "1969-12-31 23:59:59");
        check_date(951_782_400, "%F %j %e", "2000-02-29 060 29");
    }

    #[test]
    fn unknown_directives_are_errors() {
        assert!(strftime(Millis(0), "%Q").is_err());
        assert!(strftime(Millis(0), "100%").is_err());
    }

    #[track_caller]
    fn check_json(template: &str, expected: &str) {
        let mut env = Environment::new();
        env.add_filter("tojson", tojson);
        let value = context! { a => vec![1, 2], b => "<é\"\n'\u{1}>", c => true };
        assert_eq!(
            env.render_str(template, context! { value, none => (), empty => Vec::<i32>::new() }).unwrap(),
            expected
        );
    }

    /// Expected values from Python's `json.dumps(value, ensure_ascii=False)`.
    #[test]
    fn json_is_that_of_python() {
        check_json("{{ value | tojson }}", r#"{"a": [1, 2], "b": "<é\"\n'\u0001>", "c": true}"#);
        check_json("{{ value.a | tojson(indent=2) }}", "[\n  1,\n  2\n]");
        check_json("{{ [[], 1.5, none] | tojson }}", "[[], 1.5, null]");
        check_json("{{ {'k': empty} | tojson(indent=4) }}", "{\n    \"k\": []\n}");
    }
}
