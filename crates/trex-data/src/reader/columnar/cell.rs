//! One cell of an Arrow array as text. Reads no file.

use std::fmt::Write as _;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Date32Type, Date64Type, Decimal128Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};

/// Deepest nesting that is written.
const MAX_DEPTH: usize = 64;

const SECONDS_PER_DAY: i64 = 86_400;

/// Whether cells of this type have a text.
pub(super) fn is_read(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            is_read(field.data_type())
        }
        DataType::Map(entries, _) => is_read(entries.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| is_read(field.data_type())),
        DataType::Dictionary(_, values) => is_read(values),
        DataType::Null
        | DataType::Boolean
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::Date32
        | DataType::Date64
        | DataType::Decimal128(_, _)
        | DataType::Timestamp(_, _) => true,
        other => other.is_numeric() && !matches!(other, DataType::Decimal256(_, _)),
    }
}

/// The text of a cell; nothing for null and for types that are not read.
pub(super) fn text_of(array: &dyn Array, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    if let DataType::Dictionary(_, _) = array.data_type() {
        let (values, key) = dictionary_entry(array, row)?;
        return text_of(values, key);
    }
    match scalar(array, row) {
        Some(Scalar::Text(text)) => Some(text),
        Some(Scalar::Literal(literal)) => Some(literal),
        None => {
            let mut json = String::new();
            write_nested(&mut json, array, row, 0)?;
            Some(json)
        }
    }
}

enum Scalar {
    /// A string, in quotes within JSON.
    Text(String),
    /// A number or a truth value.
    Literal(String),
}

fn scalar(array: &dyn Array, row: usize) -> Option<Scalar> {
    let text = |text: &str| Some(Scalar::Text(text.to_owned()));
    match array.data_type() {
        DataType::Utf8 => text(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => text(array.as_string::<i64>().value(row)),
        DataType::Utf8View => text(array.as_string_view().value(row)),
        DataType::Binary => Some(bytes_text(array.as_binary::<i32>().value(row))),
        DataType::LargeBinary => Some(bytes_text(array.as_binary::<i64>().value(row))),
        DataType::BinaryView => Some(bytes_text(array.as_binary_view().value(row))),
        DataType::Boolean => Some(Scalar::Literal(array.as_boolean().value(row).to_string())),
        DataType::Date32 => Some(Scalar::Text(date(i64::from(array.as_primitive::<Date32Type>().value(row))))),
        DataType::Date64 => Some(Scalar::Text(timestamp(array.as_primitive::<Date64Type>().value(row), 1_000))),
        DataType::Timestamp(unit, _) => Some(Scalar::Text(timestamp_of(array, row, *unit))),
        DataType::Decimal128(_, scale) => {
            Some(Scalar::Literal(decimal(array.as_primitive::<Decimal128Type>().value(row), *scale)))
        }
        other if other.is_numeric() => number(array, row).map(Scalar::Literal),
        _ => None,
    }
}

fn bytes_text(bytes: &[u8]) -> Scalar {
    let text = std::str::from_utf8(bytes).map(str::to_owned);
    Scalar::Text(text.unwrap_or_else(|_not_text| format!("<{} bytes>", bytes.len())))
}

fn number(array: &dyn Array, row: usize) -> Option<String> {
    Some(match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).to_string(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).to_string(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).to_string(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
        DataType::Float16 => float(f64::from(array.as_primitive::<Float16Type>().value(row).to_f32())),
        DataType::Float32 => format!("{:?}", array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        _ => return None,
    })
}

/// The shortest digits that give the number back.
fn float(value: f64) -> String {
    format!("{value:?}")
}

/// `value · 10^-scale`.
fn decimal(value: i128, scale: i8) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    if scale == 0 {
        return value.to_string();
    }
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{whole}.{fraction}")
}

fn timestamp_of(array: &dyn Array, row: usize, unit: TimeUnit) -> String {
    match unit {
        TimeUnit::Second => timestamp(array.as_primitive::<TimestampSecondType>().value(row), 1),
        TimeUnit::Millisecond => timestamp(array.as_primitive::<TimestampMillisecondType>().value(row), 1_000),
        TimeUnit::Microsecond => timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row), 1_000_000),
        TimeUnit::Nanosecond => timestamp(array.as_primitive::<TimestampNanosecondType>().value(row), 1_000_000_000),
    }
}

/// A time since 1970 in so many parts of a second.
fn timestamp(value: i64, per_second: i64) -> String {
    let seconds = value.div_euclid(per_second);
    let (day, in_day) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    let mut text = format!("{}T{:02}:{:02}:{:02}", date(day), in_day / 3600, in_day / 60 % 60, in_day % 60);
    let fraction = value.rem_euclid(per_second);
    if fraction > 0 {
        let digits = per_second.ilog10() as usize;
        write!(text, ".{fraction:0digits$}").ok();
    }
    text
}

/// The date of a day since 1970-01-01 in the Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms").
fn date(day: i64) -> String {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day_of_month:02}")
}

/// Writes a value as compact JSON; nothing where a type is not read or the nesting is too deep.
fn write_json(out: &mut String, array: &dyn Array, row: usize, depth: usize) -> Option<()> {
    if array.is_null(row) {
        out.push_str("null");
        return Some(());
    }
    match scalar(array, row) {
        Some(Scalar::Text(text)) => out.push_str(&serde_json::Value::String(text).to_string()),
        // JSON has no name for infinity and for what is no number.
        Some(Scalar::Literal(literal)) if literal.ends_with("inf") || literal == "NaN" => out.push_str("null"),
        Some(Scalar::Literal(literal)) => out.push_str(&literal),
        None => return write_nested(out, array, row, depth),
    }
    Some(())
}

fn write_nested(out: &mut String, array: &dyn Array, row: usize, depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    match array.data_type() {
        DataType::Null => out.push_str("null"),
        DataType::List(_) => write_list(out, &array.as_list::<i32>().value(row), depth)?,
        DataType::LargeList(_) => write_list(out, &array.as_list::<i64>().value(row), depth)?,
        DataType::FixedSizeList(_, _) => write_list(out, &array.as_fixed_size_list().value(row), depth)?,
        DataType::Struct(fields) => {
            out.push('{');
            for (at, (field, column)) in fields.iter().zip(array.as_struct().columns()).enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write!(out, "{}:", serde_json::Value::String(field.name().clone())).ok()?;
                write_json(out, column.as_ref(), row, depth + 1)?;
            }
            out.push('}');
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            out.push('{');
            for at in 0..keys.len() {
                out.push_str(if at > 0 { "," } else { "" });
                let key = text_of(keys.as_ref(), at).unwrap_or_default();
                write!(out, "{}:", serde_json::Value::String(key)).ok()?;
                write_json(out, values.as_ref(), at, depth + 1)?;
            }
            out.push('}');
        }
        DataType::Dictionary(_, _) => {
            let (values, key) = dictionary_entry(array, row)?;
            return write_json(out, values, key, depth + 1);
        }
        _ => return None,
    }
    Some(())
}

/// The values of a dictionary and the number of the one that a row has.
fn dictionary_entry(array: &dyn Array, row: usize) -> Option<(&dyn Array, usize)> {
    let dictionary = array.as_any_dictionary();
    let key = number(dictionary.keys(), row)?.parse().ok()?;
    (key < dictionary.values().len()).then_some((dictionary.values().as_ref(), key))
}

fn write_list(out: &mut String, items: &ArrayRef, depth: usize) -> Option<()> {
    out.push('[');
    for at in 0..items.len() {
        out.push_str(if at > 0 { "," } else { "" });
        write_json(out, items.as_ref(), at, depth + 1)?;
    }
    out.push(']');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times_are_iso() {
        // From Python: datetime(1970, 1, 1) + timedelta(days=…).
        for (day, expected) in [(0, "1970-01-01"), (-1, "1969-12-31"), (11_016, "2000-02-29"), (20_783, "2026-11-26")] {
            assert_eq!(date(day), expected);
        }
        assert_eq!(timestamp(-1, 1), "1969-12-31T23:59:59");
        assert_eq!(timestamp(1_500, 1_000), "1970-01-01T00:00:01.500");
    }

    #[test]
    fn decimals_keep_their_places() {
        assert_eq!(decimal(-5, 2), "-0.05");
        assert_eq!(decimal(12_345, 2), "123.45");
        assert_eq!(decimal(7, 0), "7");
    }
}
