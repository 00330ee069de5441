//! Guesses what columns are: by their names first, by their content where the names say nothing.

use std::collections::BTreeSet;

use trex_domain::FieldMap;

use super::{SchemaGuess, SchemaKind, plain_name};
use crate::RawTable;

/// More distinct values than this make no label column.
const MAX_LABELS: usize = 50;

/// A longer value than this, in characters, makes no label column.
const MAX_LABEL_CHARS: usize = 40;

const TEXT: &[&str] = &[
    "text",
    "sentence",
    "review",
    "content",
    "tweet",
    "comment",
    "utterance",
    "title",
    "body",
    "question",
    "文本",
    "句子",
    "内容",
    "评论",
    "标题",
];
const LABEL: &[&str] = &[
    "label",
    "labels",
    "labeltext",
    "class",
    "category",
    "sentiment",
    "intent",
    "target",
    "rating",
    "stars",
    "标签",
    "类别",
    "分类",
    "情感",
];
const SYSTEM: &[&str] = &["system", "systemprompt", "systemmessage", "systeminstruction"];
const HISTORY: &[&str] = &["history", "chathistory", "conversationhistory"];
const QUESTION: &[&str] = &["question", "query", "problem", "问题"];
const ANSWER: &[&str] = &[
    "answer",
    "answers",
    "response",
    "output",
    "solution",
    "gold",
    "target",
    "correctanswer",
    "correct",
    "答案",
    "回答",
];
const OUTPUT: &[&str] = &["output", "response", "completion", "answer", "target"];
const SOURCE: &[&str] = &["input", "source", "src", "document", "article", "dialogue", "dialog", "passage", "smiles"];
const TARGET: &[&str] = &["output", "target", "tgt", "summary", "note", "highlights", "translation", "description"];

/// The schema of a table as its columns suggest it and the task overrides it.
pub(super) fn schema_of(table: &RawTable, fields: &FieldMap) -> SchemaGuess {
    let guess = by_names(&table.fields).or_else(|| by_content(table)).unwrap_or_else(|| unknown(&table.fields));
    overridden(with_verdict(guess, table), table, fields)
}

fn overridden(guess: SchemaGuess, table: &RawTable, fields: &FieldMap) -> SchemaGuess {
    let input_as_guessed = fields.input.as_ref().is_none_or(|column| guess.input == [column.clone()]);
    let answer_as_guessed = fields.answer.is_none() || fields.answer == guess.answer;
    if input_as_guessed && answer_as_guessed {
        return guess;
    }
    let answer =
        fields.answer.clone().or_else(|| guess.answer.clone().filter(|column| Some(column) != fields.input.as_ref()));
    let used: BTreeSet<&String> = fields.input.iter().chain(&fields.answer).chain(&fields.group).collect();
    let answer = answer.or_else(|| only_other(&table.fields, &used));
    if let Some(input) = &fields.input {
        let reason = "the task names the columns".to_owned();
        return SchemaGuess { kind: SchemaKind::Mapped, reason, answer, ..plain(vec![input.clone()]) };
    }
    let guess_holds =
        !guess.is_chat() && !guess.input.is_empty() && !guess.input.iter().any(|column| used.contains(column));
    if guess_holds {
        let reason = format!("{}; the task names the answer", guess.reason);
        return SchemaGuess { reason, answer, ..guess };
    }
    let input = longest_column(table, &used);
    let reason = "the task names the answer, the input is the longest other text".to_owned();
    SchemaGuess { kind: SchemaKind::Mapped, reason, answer, ..plain(input.into_iter().collect()) }
}

/// A completion with a label of yes or no beside it is one that somebody judged (TRL calls it unpaired preference).
fn with_verdict(guess: SchemaGuess, table: &RawTable) -> SchemaGuess {
    let label = find(&table.fields, &["label"]);
    let is_judged = |column: &String| {
        let mut values = table.rows.iter().filter_map(|row| row.values.get(column.as_str())).peekable();
        values.peek().is_some() && values.all(|value| matches!(value.to_lowercase().as_str(), "true" | "false"))
    };
    match label.filter(is_judged) {
        Some(column) if guess.kind == SchemaKind::PromptCompletion => SchemaGuess {
            kind: SchemaKind::UnpairedPreference,
            reason: format!("{}, and {column:?} says true or false of each", guess.reason),
            verdict: Some(column),
            ..guess
        },
        _ => guess,
    }
}

fn plain(input: Vec<String>) -> SchemaGuess {
    SchemaGuess {
        kind: SchemaKind::Unknown,
        reason: String::new(),
        input,
        choices: Vec::new(),
        answer: None,
        choice_list: None,
        system: None,
        history: None,
        tools: None,
        rejected: None,
        verdict: None,
    }
}

fn unknown(columns: &[String]) -> SchemaGuess {
    let reason = format!("{} columns with unknown names", columns.len());
    SchemaGuess { reason, ..plain(Vec::new()) }
}

/// The first column with one of these names, tried in their order.
fn find(columns: &[String], names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| columns.iter().find(|column| plain_name(column) == *name)).cloned()
}

fn by_names(columns: &[String]) -> Option<SchemaGuess> {
    preference(columns)
        .or_else(|| chat(columns))
        .or_else(|| multiple_choice(columns))
        .or_else(|| listed_choice(columns))
        .or_else(|| instruction(columns))
        .or_else(|| pair(columns, SchemaKind::PromptCompletion, &["prompt"], OUTPUT))
        .or_else(|| pair(columns, SchemaKind::Classification, TEXT, LABEL))
        .or_else(|| question_answer(columns))
        .or_else(|| pair(columns, SchemaKind::InputOutput, SOURCE, TARGET))
        .or_else(|| raw_text(columns))
}

fn preference(columns: &[String]) -> Option<SchemaGuess> {
    let chosen = find(columns, &["chosen", "chosenresponse"])?;
    let rejected = find(columns, &["rejected", "rejectedresponse"])?;
    let prompt = find(columns, &["prompt", "question", "instruction", "input", "query"]);
    let system = find(columns, SYSTEM);
    Some(SchemaGuess {
        kind: SchemaKind::Preference,
        reason: format!("there are columns {chosen:?} and {rejected:?}"),
        answer: Some(chosen),
        rejected: Some(rejected),
        system,
        ..plain(prompt.into_iter().collect())
    })
}

/// A question with its options in one list.
fn listed_choice(columns: &[String]) -> Option<SchemaGuess> {
    let question = find(columns, &["question", "query", "ctx", "questionstem", "goal", "sentence"])?;
    let list = find(columns, &["choices", "options", "endings", "candidates"])?;
    let answer = find(columns, &["answerkey", "answer", "label", "correct", "gold", "answerindex", "target"])?;
    Some(SchemaGuess {
        kind: SchemaKind::MultipleChoice,
        reason: format!("there are a question, a list {list:?} and an answer"),
        choice_list: Some(list),
        answer: Some(answer),
        system: find(columns, SYSTEM),
        ..plain(vec![question])
    })
}

fn chat(columns: &[String]) -> Option<SchemaGuess> {
    let (kind, column) = match find(columns, &["messages"]) {
        Some(column) => (SchemaKind::Messages, column),
        None => (SchemaKind::ShareGpt, find(columns, &["conversations", "conversation"])?),
    };
    let system = find(columns, SYSTEM);
    let tools = find(columns, &["tools", "functions"]);
    Some(SchemaGuess { kind, reason: format!("there is a column {column:?}"), system, tools, ..plain(vec![column]) })
}

fn multiple_choice(columns: &[String]) -> Option<SchemaGuess> {
    let question = find(columns, QUESTION)?;
    let answer = find(columns, &["answer", "label", "correct", "correctanswer", "gold", "target"])?;
    let choice = |letter: char| {
        let names = [letter.to_string(), format!("option{letter}"), format!("choice{letter}"), format!("op{letter}")];
        find(columns, &names.each_ref().map(String::as_str))
    };
    let choices: Vec<String> = ('a'..='j').map_while(choice).collect();
    if choices.len() < 2 {
        return None;
    }
    let reason = format!("there are a question, {} options and an answer", choices.len());
    Some(SchemaGuess {
        kind: SchemaKind::MultipleChoice,
        reason,
        choices,
        answer: Some(answer),
        system: find(columns, SYSTEM),
        ..plain(vec![question])
    })
}

fn instruction(columns: &[String]) -> Option<SchemaGuess> {
    let instruction = find(columns, &["instruction"])?;
    let answer = find(columns, OUTPUT)?;
    let input = [Some(instruction), find(columns, &["input", "question", "query", "context"])];
    Some(SchemaGuess {
        kind: SchemaKind::Instruction,
        reason: format!("there are columns \"instruction\" and {answer:?}"),
        answer: Some(answer),
        system: find(columns, SYSTEM),
        history: find(columns, HISTORY),
        ..plain(input.into_iter().flatten().collect())
    })
}

fn pair(columns: &[String], kind: SchemaKind, inputs: &[&str], answers: &[&str]) -> Option<SchemaGuess> {
    let input = find(columns, inputs)?;
    let answer = find(columns, answers)?;
    let reason = format!("there are columns {input:?} and {answer:?}");
    let (system, history) = (find(columns, SYSTEM), find(columns, HISTORY));
    Some(SchemaGuess { kind, reason, answer: Some(answer), system, history, ..plain(vec![input]) })
}

/// A question with its answer, after what it asks about where that is there.
fn question_answer(columns: &[String]) -> Option<SchemaGuess> {
    let guess = pair(columns, SchemaKind::QuestionAnswer, QUESTION, ANSWER)?;
    let context = find(columns, &["context", "passage", "paragraph"]);
    Some(SchemaGuess { input: context.into_iter().chain(guess.input).collect(), ..guess })
}

fn raw_text(columns: &[String]) -> Option<SchemaGuess> {
    let [column] = columns else {
        return None;
    };
    let reason = "there is one column only".to_owned();
    Some(SchemaGuess { kind: SchemaKind::RawText, reason, ..plain(vec![column.clone()]) })
}

/// Two columns, one of few short values, one of longer text; with more columns only where none has a name.
fn by_content(table: &RawTable) -> Option<SchemaGuess> {
    let is_named = table.fields.iter().enumerate().any(|(at, name)| *name != at.to_string());
    if table.fields.len() != 2 && is_named {
        return None;
    }
    let labels: Vec<(&String, usize)> =
        table.fields.iter().filter_map(|column| Some((column, num_labels(table, column)?))).collect();
    let [(label, num_distinct)] = labels[..] else {
        return None;
    };
    let text = longest_column(table, &BTreeSet::from([label]))?;
    if mean_chars(table, &text) < 2.0 * mean_chars(table, label) {
        return None;
    }
    let reason = format!(
        "column {label:?} has {num_distinct} distinct short values in {} rows, column {text:?} has the longest text",
        table.rows.len()
    );
    let answer = Some(label.clone());
    Some(SchemaGuess { kind: SchemaKind::Classification, reason, answer, ..plain(vec![text]) })
}

/// How many labels the column has, if it looks like a label column.
fn num_labels(table: &RawTable, column: &str) -> Option<usize> {
    let mut distinct = BTreeSet::new();
    for row in &table.rows {
        let value = row.values.get(column)?;
        distinct.insert(value);
        if distinct.len() > MAX_LABELS || value.is_empty() || value.chars().count() > MAX_LABEL_CHARS {
            return None;
        }
    }
    (distinct.len() >= 2 && distinct.len() * 2 <= table.rows.len()).then_some(distinct.len())
}

fn longest_column(table: &RawTable, except: &BTreeSet<&String>) -> Option<String> {
    let columns = table.fields.iter().filter(|column| !except.contains(column));
    let longest = columns.max_by(|a, b| mean_chars(table, a).total_cmp(&mean_chars(table, b)));
    longest.cloned()
}

fn mean_chars(table: &RawTable, column: &str) -> f64 {
    let chars = table.rows.iter().filter_map(|row| row.values.get(column)).map(|value| value.chars().count());
    chars.sum::<usize>() as f64 / table.rows.len().max(1) as f64
}

fn only_other(columns: &[String], used: &BTreeSet<&String>) -> Option<String> {
    let mut others = columns.iter().filter(|column| !used.contains(column));
    let other = others.next()?;
    others.next().is_none().then(|| other.clone())
}
