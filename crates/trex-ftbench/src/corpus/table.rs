//! Small tables of two columns with simple questions. Other subjects and wording than task 7 uses, sometimes in words.

use rand_chacha::ChaCha8Rng;

use super::chat::{Exchange, exchange};
use crate::words::{COLOURS, FOODS, NAMES, NOUNS, below, between, pick, sample};

/// Key column, number column and keys.
const SUBJECTS: [(&str, &str, &[&str]); 4] = [
    ("town", "people", &["rome", "paris", "oslo", "bern", "lima", "cairo", "delhi", "tokyo", "quito", "riga"]),
    ("person", "age", &NAMES),
    ("object", "size", &NOUNS),
    ("snack", "cost", &FOODS),
];

/// One question about one table.
pub(super) fn table(rng: &mut ChaCha8Rng) -> Exchange {
    if below(rng, 4) == 0 { coloured(rng) } else { numbered(rng) }
}

fn numbered(rng: &mut ChaCha8Rng) -> Exchange {
    let (key, number, keys) = *pick(rng, &SUBJECTS);
    let num_rows = 2 + below(rng, 2);
    let mut rows: Vec<(&str, i64)> = Vec::new();
    for name in sample(rng, keys, num_rows) {
        let mut value = between(rng, 1, 30);
        while rows.iter().any(|(_, other)| *other == value) {
            value += 1;
        }
        rows.push((name, value));
    }
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name},{value}")).collect();
    let data = format!("{}\n{key},{number}\n{}\n", pick(rng, &LEADS), lines.join("\n"));
    let (name, value) = *pick(rng, &rows);
    let top = rows.iter().max_by_key(|row| row.1).map_or("", |row| row.0);
    let bottom = rows.iter().min_by_key(|row| row.1).map_or("", |row| row.0);
    match below(rng, 6) {
        0 | 1 => exchange(format!("{data}look up the {number} for {name} ."), value.to_string()),
        2 => exchange(format!("{data}whose {number} is {value} ?"), name),
        3 => exchange(format!("{data}who is on top by {number} ?"), top),
        4 => exchange(format!("{data}who is at the bottom by {number} ?"), bottom),
        _ => exchange(format!("{data}count the lines below the header ."), num_rows.to_string()),
    }
}

const LEADS: [&str; 4] = ["csv :", "here is a list :", "data :", "read the rows :"];

/// A list with colours, for counting and looking up words.
fn coloured(rng: &mut ChaCha8Rng) -> Exchange {
    let colours = sample(rng, &COLOURS, 2);
    let rows: Vec<(&str, &str)> =
        sample(rng, &NOUNS, 3).into_iter().map(|noun| (*noun, **pick(rng, &colours))).collect();
    let lines: Vec<String> = rows.iter().map(|(noun, colour)| format!("{noun},{colour}")).collect();
    let data = format!("{}\nthing,paint\n{}\n", pick(rng, &LEADS), lines.join("\n"));
    let (noun, colour) = *pick(rng, &rows);
    if below(rng, 2) == 0 {
        return exchange(format!("{data}look up the paint for {noun} ."), colour);
    }
    let count = rows.iter().filter(|row| row.1 == colour).count();
    exchange(format!("{data}count the lines with {colour} ."), count.to_string())
}
