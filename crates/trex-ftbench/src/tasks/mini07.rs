//! Task 7, data analysis: one question about a small CSV table that stands in the prompt.
//!
//! Three kinds of question: look one cell up, name the row with the highest or lowest number, count the rows with a
//! value. Numbers within a table differ, so every question has one answer. There are no joins, sums or means.

use rand_chacha::ChaCha8Rng;
use trex_domain::{Metric, TaskKind};

use crate::generator::{Generator, RawItem, TaskInfo};
use crate::words::{ANIMALS, COLOURS, FOODS, NAMES, NOUNS, below, between, pick, plain, sample};

/// The task.
pub(crate) struct Mini07;

/// A kind of table: a key column, a column of classes and a column of numbers.
struct Theme {
    columns: [&'static str; 3],
    keys: &'static [&'static str],
    classes: &'static [&'static str],
}

const THEMES: [Theme; 4] = [
    Theme { columns: ["item", "colour", "price"], keys: &NOUNS, classes: &COLOURS },
    Theme { columns: ["name", "team", "points"], keys: &NAMES, classes: &["north", "south", "east", "west"] },
    Theme { columns: ["animal", "home", "weight"], keys: &ANIMALS, classes: &["farm", "zoo", "forest", "lake"] },
    Theme { columns: ["food", "store", "stock"], keys: &FOODS, classes: &["market", "corner", "station", "harbour"] },
];

const QUESTION: &str = "\nquestion: ";

impl Generator for Mini07 {
    fn info(&self) -> TaskInfo {
        TaskInfo {
            number: 7,
            title: "data analysis",
            goal: "Answer a question about a small table with one word or number.",
            kind: TaskKind::Generate,
            metric: Metric::ExactMatch,
            options: &[],
            max_new_tokens: 12,
        }
    }

    fn item(&self, rng: &mut ChaCha8Rng) -> RawItem {
        let table = draw_table(rng);
        let question = draw_question(rng, &table);
        let answer = solve(&table, &question).unwrap_or_default();
        let csv = csv_from_table(&table);
        RawItem { prompt: format!("table:\n{csv}{QUESTION}{question}"), answer, options: Vec::new(), group: csv }
    }

    fn check(&self, prompt: &str, answer: &str) -> bool {
        let Some((csv, question)) = prompt.split_once(QUESTION) else { return false };
        solve(&table_from_csv(csv), question).is_some_and(|expected| expected == plain(answer))
    }
}

/// The header and the rows below it.
#[derive(Debug, PartialEq, Eq)]
struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == name)
    }

    fn cells(&self, column: &str) -> Option<Vec<&str>> {
        let column = self.column(column)?;
        self.rows.iter().map(|row| row.get(column).map(String::as_str)).collect()
    }
}

fn draw_table(rng: &mut ChaCha8Rng) -> Table {
    let theme = pick(rng, &THEMES);
    let num_rows = 3 + below(rng, 2);
    // Fewer classes than rows make some of them repeat, so that counting is not always one.
    let classes = sample(rng, theme.classes, 2);
    let mut numbers = Vec::new();
    while numbers.len() < num_rows {
        let number = between(rng, 1, 40);
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    let keys = sample(rng, theme.keys, num_rows);
    let row = |(key, number): (&&str, i64)| vec![key.to_string(), pick(rng, &classes).to_string(), number.to_string()];
    let rows = keys.into_iter().zip(numbers).map(row).collect();
    Table { header: theme.columns.map(String::from).to_vec(), rows }
}

fn draw_question(rng: &mut ChaCha8Rng, table: &Table) -> String {
    let row = pick(rng, &table.rows).clone();
    let ([key_column, class_column, number_column], [key, class, _]) = (&table.header[..], &row[..]) else {
        return String::new();
    };
    let looked_up = if below(rng, 2) == 0 { class_column } else { number_column };
    match below(rng, 10) {
        0..2 => format!("what is the {looked_up} of {key}?"),
        2..4 => format!("which {looked_up} does {key} have?"),
        4..6 => format!("which {key_column} has the highest {number_column}?"),
        6..8 => format!("which {key_column} has the lowest {number_column}?"),
        _ => format!("how many rows have {class_column} {class}?"),
    }
}

/// The answer to a question in one of the five forms; nothing when the question or the table does not fit.
fn solve(table: &Table, question: &str) -> Option<String> {
    let words: Vec<&str> = question.trim().strip_suffix('?')?.split_whitespace().collect();
    match words[..] {
        ["what", "is", "the", column, "of", key] | ["which", column, "does", key, "have"] => {
            let row = table.cells(table.header.first()?)?.into_iter().position(|cell| cell == key)?;
            table.cells(column)?.get(row).map(|cell| (*cell).to_owned())
        }
        ["which", key_column, "has", "the", end @ ("highest" | "lowest"), number_column] => {
            let numbers: Vec<i64> =
                table.cells(number_column)?.into_iter().map(|cell| cell.parse().ok()).collect::<Option<_>>()?;
            let extreme = if end == "highest" { numbers.iter().max()? } else { numbers.iter().min()? };
            let row = numbers.iter().position(|number| number == extreme)?;
            table.cells(key_column)?.get(row).map(|cell| (*cell).to_owned())
        }
        ["how", "many", "rows", "have", column, value] => {
            Some(table.cells(column)?.into_iter().filter(|cell| *cell == value).count().to_string())
        }
        _ => None,
    }
}

fn csv_from_table(table: &Table) -> String {
    let lines: Vec<String> = std::iter::once(&table.header).chain(&table.rows).map(|row| row.join(",")).collect();
    lines.join("\n")
}

/// Reads the lines with a comma; the first is the header.
fn table_from_csv(csv: &str) -> Table {
    let cells = |line: &str| line.split(',').map(String::from).collect::<Vec<_>>();
    let mut lines = csv.lines().filter(|line| line.contains(',')).map(cells);
    Table { header: lines.next().unwrap_or_default(), rows: lines.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::mini06::testing;

    #[track_caller]
    fn check(question: &str, expected: &str) {
        let prompt = format!("table:\nitem,colour,price\nlamp,red,4\nbook,blue,12\ncup,red,7{QUESTION}{question}");
        assert!(Mini07.check(&prompt, expected), "{question}");
        assert!(!Mini07.check(&prompt, "other"), "{question}");
    }

    #[test]
    fn questions_have_the_answers_of_the_table() {
        check("what is the price of book?", "12");
        check("which colour does cup have?", "red");
        check("which item has the highest price?", "book");
        check("which item has the lowest price?", "lamp");
        check("how many rows have colour red?", "2");
        check("how many rows have colour green?", "0");
    }

    #[test]
    fn what_does_not_fit_has_no_answer() {
        let table = table_from_csv("table:\nitem,price\nlamp,4\ncup");
        assert_eq!(solve(&table, "what is the price of cup?"), None);
        assert_eq!(solve(&table, "what is the colour of lamp?"), None);
        assert_eq!(solve(&table, "which item has the highest item?"), None);
        assert_eq!(solve(&table, "why?"), None);
    }

    #[test]
    fn tables_survive_the_prompt() {
        let mut rng = trex_domain::seeded_rng(0, "tables");
        for _ in 0..200 {
            let table = draw_table(&mut rng);
            assert_eq!(table_from_csv(&csv_from_table(&table)), table);
        }
    }

    #[test]
    fn the_task_keeps_its_promises() {
        testing::check_generator(&Mini07);
    }
}
