//! Preference pairs: one prompt with a better and a worse answer. Ranks nothing itself.

use trex_domain::{Message, Role};

use super::chat;

/// A prompt with two answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) prompt: Vec<Message>,
    pub(super) chosen: String,
    pub(super) rejected: String,
}

/// A pair from its columns. Answers are texts, lists of messages, or the dialogues of Anthropic's HH data; the prompt may
/// be a column of its own or the beginning that both answers share.
pub(super) fn pair(prompt: Option<&str>, chosen: &str, rejected: &str) -> Result<Pair, String> {
    let mut turns = prompt.map(prompt_turns).transpose()?.unwrap_or_default();
    let (chosen_before, chosen) = answer(chosen)?;
    let (rejected_before, rejected) = answer(rejected)?;
    if chosen_before != rejected_before {
        return Err("the two answers follow different conversations".to_owned());
    }
    // TRL repeats the prompt in both answers.
    if !chosen_before.starts_with(&turns) {
        turns.extend(chosen_before);
    } else if !chosen_before.is_empty() {
        turns = chosen_before;
    }
    if turns.last().is_none_or(|turn| turn.role != Role::User) {
        return Err("there is no turn of the person before the answers".to_owned());
    }
    let (chosen, rejected) = (chosen.trim().to_owned(), rejected.trim().to_owned());
    if chosen == rejected {
        return Err("the two answers are the same".to_owned());
    }
    Ok(Pair { prompt: turns, chosen, rejected })
}

fn prompt_turns(text: &str) -> Result<Vec<Message>, String> {
    if let Some(turns) = dialogue(text) {
        return Ok(turns);
    }
    if looks_like_list(text) { chat::turns(text) } else { Ok(vec![Message::user(text.trim())]) }
}

/// The turns before an answer, and the answer.
fn answer(text: &str) -> Result<(Vec<Message>, String), String> {
    let turns = match dialogue(text) {
        Some(turns) => turns,
        None if looks_like_list(text) => chat::turns(text)?,
        None => return Ok((Vec::new(), text.to_owned())),
    };
    let mut turns = turns;
    match turns.pop() {
        Some(last) if last.role == Role::Assistant => Ok((turns, last.content)),
        _ => Err("an answer does not end with a turn of the model".to_owned()),
    }
}

fn looks_like_list(text: &str) -> bool {
    let inside = text.trim_start().strip_prefix('[').map(str::trim_start);
    inside.is_some_and(|inside| inside.starts_with('{'))
}

/// `\n\nHuman: …\n\nAssistant: …`, as Anthropic's HH data writes conversations.
fn dialogue(text: &str) -> Option<Vec<Message>> {
    const MARKS: [(&str, Role); 2] = [("\n\nHuman:", Role::User), ("\n\nAssistant:", Role::Assistant)];
    if !text.starts_with("\n\nHuman:") {
        return None;
    }
    let mut turns = Vec::new();
    let mut rest = text;
    while let Some((mark, role)) = MARKS.iter().find(|(mark, _)| rest.starts_with(mark)) {
        let after = &rest[mark.len()..];
        let end = MARKS.iter().filter_map(|(mark, _)| after.find(mark)).min().unwrap_or(after.len());
        turns.push(Message { role: *role, content: after[..end].trim().to_owned() });
        rest = &after[end..];
    }
    Some(turns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prompt: Option<&str>, chosen: &str, rejected: &str, expected: Result<(usize, &str, &str), &str>) {
        let found = pair(prompt, chosen, rejected);
        match (found, expected) {
            (Ok(found), Ok((turns, chosen, rejected))) => {
                assert_eq!(
                    (found.prompt.len(), found.chosen.as_str(), found.rejected.as_str()),
                    (turns, chosen, rejected)
                );
            }
            (Err(found), Err(reason)) => assert!(found.contains(reason), "{found}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn pairs_come_in_many_forms() {
        check(Some("q"), "good", "bad", Ok((1, "good", "bad")));
        let list =
            |answer: &str| format!(r#"[{{"role":"user","content":"q"}},{{"role":"assistant","content":"{answer}"}}]"#);
        check(None, &list("good"), &list("bad"), Ok((1, "good", "bad")));
        check(Some("q"), &list("good"), &list("bad"), Ok((1, "good", "bad")));
        let only = |answer: &str| format!(r#"[{{"role":"assistant","content":"{answer}"}}]"#);
        check(Some("q"), &only("good"), &only("bad"), Ok((1, "good", "bad")));
        let human = |answer: &str| format!("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: {answer}");
        check(None, &human("good"), &human("bad"), Ok((3, "good", "bad")));
        check(None, &human("good"), &list("bad"), Err("different conversations"));
        check(None, "good", "bad", Err("no turn of the person"));
        check(Some("q"), "same ", "same", Err("the same"));
    }
}
