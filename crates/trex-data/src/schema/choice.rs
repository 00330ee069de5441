//! Options that stand in one column as a list, and answers that point into them. Renders no prompt.

use serde_json::Value;

/// An option as a prompt shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// A letter, or what the data calls it.
    pub(super) label: String,
    pub(super) text: String,
}

/// The options of a list (`["…", "…"]`, as MMLU has it) or of two (`{"text": […], "label": […]}`, as ARC has it).
pub(super) fn list(json: &str) -> Result<Vec<Choice>, String> {
    let value: Value = serde_json::from_str(json).map_err(|err| format!("the options are no list: {err}"))?;
    let (texts, labels) = match &value {
        Value::Array(texts) => (texts, None),
        Value::Object(lists) => {
            let texts = lists.get("text").and_then(Value::as_array).ok_or("the options have no list \"text\"")?;
            (texts, lists.get("label").and_then(Value::as_array))
        }
        _ => return Err("the options are no list".to_owned()),
    };
    if !(2..=26).contains(&texts.len()) {
        return Err(format!("{} options instead of 2 to 26", texts.len()));
    }
    let choice = |(at, (text, letter)): (usize, (&Value, char))| {
        let label = labels.and_then(|labels| labels.get(at)).and_then(Value::as_str);
        Choice { label: label.map_or_else(|| letter.to_string(), str::to_owned), text: plain(text) }
    };
    Ok(texts.iter().zip('A'..='Z').enumerate().map(choice).collect())
}

/// The label of the right option: from its label, its number from 0, or its text.
pub(super) fn answer(raw: &str, choices: &[Choice]) -> Result<String, String> {
    let raw = raw.trim();
    let by_label = || choices.iter().find(|choice| choice.label.eq_ignore_ascii_case(raw));
    let by_number = || raw.parse::<usize>().ok().and_then(|number| choices.get(number));
    let by_text = || choices.iter().find(|choice| choice.text.trim() == raw);
    let found = by_label().or_else(by_number).or_else(by_text);
    found.map(|choice| choice.label.clone()).ok_or_else(|| {
        let start: String = raw.chars().take(60).collect();
        format!("the answer {start:?} is none of the options")
    })
}

/// The first text of answers that stand in a list, as SQuAD has them; any other answer as it is.
pub(super) fn first_answer(raw: &str) -> String {
    let value = raw.starts_with(['{', '[']).then(|| serde_json::from_str::<Value>(raw).ok()).flatten();
    let texts = value.as_ref().and_then(|value| value.get("text").unwrap_or(value).as_array());
    texts.and_then(|texts| texts.first()).map_or_else(|| raw.to_owned(), plain)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
