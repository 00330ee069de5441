//! Whether the first record of a table names its columns.

use std::collections::BTreeSet;

/// Names that columns of training data usually have, in the form of [`crate::schema::plain_name`].
const USUAL_NAMES: [&str; 64] = [
    "id",
    "text",
    "sentence",
    "label",
    "labels",
    "class",
    "category",
    "sentiment",
    "question",
    "query",
    "answer",
    "answers",
    "instruction",
    "input",
    "output",
    "response",
    "prompt",
    "completion",
    "context",
    "document",
    "article",
    "summary",
    "source",
    "target",
    "title",
    "body",
    "content",
    "comment",
    "review",
    "tweet",
    "message",
    "messages",
    "conversation",
    "conversations",
    "dialogue",
    "note",
    "system",
    "history",
    "description",
    "intent",
    "score",
    "rating",
    "stars",
    "idx",
    "index",
    "文本",
    "句子",
    "内容",
    "标题",
    "评论",
    "标签",
    "类别",
    "分类",
    "情感",
    "问题",
    "回答",
    "答案",
    "指令",
    "输入",
    "输出",
    "摘要",
    "序号",
    "编号",
    "原文",
];

/// Records in which a column of labels is told by its repetitions.
const MIN_REPEATED: usize = 10;

/// The column names, when the first record is a header, and the reason for the decision.
pub(super) fn of_sample(records: &[Vec<String>], columns: usize) -> (Option<Vec<String>>, String) {
    let Some((first, rest)) = records.split_first() else {
        return (None, "no header".to_owned());
    };
    let rest: Vec<&Vec<String>> = rest.iter().filter(|record| record.len() == columns).collect();
    match reason_against(first, &rest, columns) {
        Some(reason) => (None, format!("no header: {reason}")),
        None => match reason_for(first, &rest) {
            Some(reason) => (Some(unique_names(first)), format!("header: {reason}")),
            None => (None, "no header: the first record looks like the others".to_owned()),
        },
    }
}

fn reason_against(first: &[String], rest: &[&Vec<String>], columns: usize) -> Option<String> {
    if first.len() != columns {
        return Some("the first record has another number of columns".to_owned());
    }
    if is_numbering(first) {
        return None;
    }
    // Tables that were written with an unnamed index have an empty first name.
    if let Some(cell) = first.iter().skip(1).find(|cell| cell.trim().is_empty()) {
        return Some(format!("the first record has an empty cell {cell:?}"));
    }
    if let Some(cell) = first.iter().find(|cell| is_number(cell)) {
        return Some(format!("the first record holds the number {cell:?}"));
    }
    if has_usual_name(first) {
        return None;
    }
    if let Some(cell) = first.iter().find(|cell| !is_name_like(cell)) {
        let start: String = cell.chars().take(30).collect();
        return Some(format!("{start:?} is no name of a column"));
    }
    let repeated = first.iter().enumerate().find(|(at, cell)| rest.iter().any(|row| row.get(*at) == Some(*cell)));
    repeated.map(|(_, cell)| format!("{cell:?} occurs again below"))
}

fn reason_for(first: &[String], rest: &[&Vec<String>]) -> Option<String> {
    if is_numbering(first) {
        return Some("the first record numbers the columns".to_owned());
    }
    if let Some(cell) = first.iter().find(|cell| is_usual_name(cell)) {
        return Some(format!("{cell:?} is a usual column name"));
    }
    if rest.len() < 2 {
        return None;
    }
    for (at, name) in first.iter().enumerate() {
        let cells = || rest.iter().filter_map(|row| row.get(at));
        if cells().filter(|cell| is_number(cell)).count() * 10 >= rest.len() * 9 {
            return Some(format!("numbers stand below {name:?}"));
        }
        let distinct: BTreeSet<&String> = cells().collect();
        if rest.len() >= MIN_REPEATED && distinct.len() * 3 <= rest.len() && !distinct.contains(name) {
            return Some(format!("few different values stand below {name:?}, and it is none of them"));
        }
        let mean_chars = cells().map(|cell| cell.chars().count()).sum::<usize>() / rest.len();
        if mean_chars > 20 && mean_chars > 3 * name.chars().count() {
            return Some(format!("long texts stand below {name:?}"));
        }
    }
    None
}

fn has_usual_name(cells: &[String]) -> bool {
    let distinct: BTreeSet<&String> = cells.iter().collect();
    distinct.len() == cells.len() && cells.iter().any(|cell| is_usual_name(cell))
}

fn is_usual_name(cell: &str) -> bool {
    USUAL_NAMES.contains(&crate::schema::plain_name(cell).as_str())
}

/// Up to four words of letters, digits, `_`, `-`, `.`, `/` and brackets.
fn is_name_like(cell: &str) -> bool {
    let cell = cell.trim();
    let has_letter = cell.is_empty() || cell.chars().any(char::is_alphabetic);
    let is_short = cell.chars().count() <= 40 && cell.split_whitespace().count() <= 4;
    has_letter && is_short && cell.chars().all(|c| c.is_alphanumeric() || " _-./()[]#".contains(c))
}

fn is_number(cell: &str) -> bool {
    let cell = cell.trim().trim_end_matches('%');
    !cell.is_empty()
        && (cell.parse::<f64>().is_ok_and(f64::is_finite)
            || cell.replace(',', ".").parse::<f64>().is_ok_and(f64::is_finite))
}

/// `0`, `1`, `2`, … as some writers put for columns without names.
fn is_numbering(cells: &[String]) -> bool {
    cells.len() >= 2 && cells.iter().enumerate().all(|(at, cell)| cell.trim() == at.to_string())
}

/// The names, trimmed; an empty one becomes its number, a doubled one gets `.1`, `.2`, ….
fn unique_names(cells: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(cells.len());
    for (at, cell) in cells.iter().enumerate() {
        let base = if cell.trim().is_empty() { at.to_string() } else { cell.trim().to_owned() };
        let mut name = base.clone();
        for number in 1.. {
            if !names.contains(&name) {
                break;
            }
            name = format!("{base}.{number}");
        }
        names.push(name);
    }
    names
}
