//! Rows as a model is trained on them: the rendered template with the trained tokens marked, and what is suspicious.
//!
//! Uses the tokenizer and template of the model as training does; pairs and raw text are encoded by the code of the
//! training itself. Trains nothing.

use std::fmt::Write as _;

use serde::Serialize;
use trex_chat::{ChatError, ChatModel};
use trex_domain::{Example, Problem as _, TrainObjective, escape_html as escape};
use trex_train::{TrainedRow, TrainedSequence, rows_as_trained};

use crate::error::{CliError, CommandError};

/// What is shown.
#[derive(Debug, Serialize)]
pub(crate) struct View {
    /// What holds for the model whatever the row.
    warnings: Vec<String>,
    rows: Vec<Row>,
}

/// One row.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    /// What the model sees and is not trained on.
    prompt: String,
    /// What it is trained to say.
    trained: String,
    prompt_tokens: usize,
    trained_tokens: usize,
    warnings: Vec<String>,
}

/// Encodes rows as training does. Rows of which nothing is trained are an error when there is no other.
pub(crate) fn view(
    chat: &ChatModel,
    rows: &[Example],
    objective: TrainObjective,
    max_length: usize,
) -> Result<View, CliError> {
    let mut warnings = Vec::new();
    if chat.pad_id().is_some_and(|pad| chat.eos_ids().contains(&pad)) {
        warnings.push(
            "the padding token is the one that ends a turn; trainers that mask padding never teach such a model to stop"
                .to_owned(),
        );
    }
    let mut shown = Vec::with_capacity(rows.len());
    match objective {
        TrainObjective::Sft => {
            for row in rows {
                shown.push(row_of(chat, row, max_length)?);
            }
        }
        TrainObjective::Dpo | TrainObjective::Orpo => {
            for row in rows {
                shown.extend(pair_of(chat, row, objective, max_length)?);
            }
        }
        TrainObjective::Pretrain => shown = blocks_of(chat, rows, max_length)?,
    }
    if shown.iter().all(|row| row.trained_tokens == 0) {
        return Err(CommandError::NothingTrained { num_rows: rows.len() }.into());
    }
    Ok(View { warnings, rows: shown })
}

/// A pair as two rows: what becomes likelier, and what becomes less likely.
fn pair_of(
    chat: &ChatModel,
    row: &Example,
    objective: TrainObjective,
    max_length: usize,
) -> Result<Vec<Row>, CliError> {
    let encoded = match rows_as_trained(chat, std::slice::from_ref(row), objective, max_length) {
        Ok(encoded) => encoded,
        Err(err) if err.code() == "train.too_long" => {
            let warning = format!("training refuses this row: {err}");
            let prompt = chat.render(&row.rendered_prompt(0), true)?;
            let seen = chat.encode(&prompt)?.len();
            return Ok(vec![Row {
                id: row.id.clone(),
                prompt,
                trained: String::new(),
                prompt_tokens: seen,
                trained_tokens: 0,
                warnings: vec![warning],
            }]);
        }
        Err(err) => return Err(err.into()),
    };
    let mut shown = Vec::with_capacity(2);
    for TrainedRow { sequences, truncated } in encoded {
        for (sequence, side) in sequences.iter().zip(["better", "worse: made less likely"]) {
            let mut one = sequence_of(chat, format!("{} ({side})", row.id), sequence)?;
            if truncated {
                one.warnings.push(format!("the beginning of the prompt is cut off to stay within {max_length} tokens"));
            }
            shown.push(one);
        }
    }
    Ok(shown)
}

/// Raw texts as the blocks that they are laid into; no part of a block sees another.
fn blocks_of(chat: &ChatModel, rows: &[Example], max_length: usize) -> Result<Vec<Row>, CliError> {
    let blocks = rows_as_trained(chat, rows, TrainObjective::Pretrain, max_length)?;
    let mut shown = Vec::new();
    for (number, block) in blocks.iter().enumerate() {
        for (part, sequence) in block.sequences.iter().enumerate() {
            shown.push(sequence_of(chat, format!("block {}, part {}", number + 1, part + 1), sequence)?);
        }
    }
    Ok(shown)
}

fn sequence_of(chat: &ChatModel, id: String, sequence: &TrainedSequence) -> Result<Row, CliError> {
    let (read, trained) = sequence.tokens.split_at(sequence.num_read.min(sequence.tokens.len()));
    Ok(Row {
        id,
        prompt: chat.decode_with_special(read)?,
        trained: chat.decode_with_special(trained)?,
        prompt_tokens: read.len(),
        trained_tokens: trained.len(),
        warnings: Vec::new(),
    })
}

fn row_of(chat: &ChatModel, row: &Example, max_length: usize) -> Result<Row, CliError> {
    let prompt = row.rendered_prompt(0);
    let mut warnings = Vec::new();
    let rendered = chat.encode(&chat.render(&prompt, true)?)?;
    if rendered.iter().take_while(|id| Some(**id) == chat.bos_id()).count() > 1 {
        warnings.push("the template writes the token that begins a text twice; one of them is left out".to_owned());
    }
    let nothing = |warnings: Vec<String>| -> Result<Row, CliError> {
        Ok(Row {
            id: row.id.clone(),
            prompt: chat.decode_with_special(&rendered)?,
            trained: String::new(),
            prompt_tokens: rendered.len(),
            trained_tokens: 0,
            warnings,
        })
    };
    let encoded = match chat.encode_example(&prompt, &row.answer, max_length) {
        Ok(encoded) => encoded,
        Err(ChatError::NoSupervisedTokens) => {
            warnings.push("the answer is empty: nothing of this row is trained on".to_owned());
            return nothing(warnings);
        }
        Err(ChatError::AnswerTooLong { num_tokens, max_length }) => {
            warnings
                .push(format!("the answer has {num_tokens} tokens and {max_length} are allowed: training refuses it"));
            return nothing(warnings);
        }
        Err(err) => return Err(err.into()),
    };
    if encoded.truncated {
        warnings.push(format!("the beginning of the prompt is cut off to stay within {max_length} tokens"));
    }
    Ok(Row {
        id: row.id.clone(),
        prompt: chat.decode_with_special(&encoded.prompt)?,
        trained: chat.decode_with_special(&encoded.completion)?,
        prompt_tokens: encoded.prompt.len(),
        trained_tokens: encoded.completion.len(),
        warnings,
    })
}

/// For a terminal: trained text in green where there is colour, else between `⟦` and `⟧`.
pub(crate) fn text(view: &View, has_colour: bool) -> String {
    let (begin, end) = if has_colour { ("\u{1b}[1;32m", "\u{1b}[0m") } else { ("⟦", "⟧") };
    let mut text = String::new();
    for warning in &view.warnings {
        writeln!(text, "warning: {warning}").expect("writing to a string cannot fail");
    }
    for row in &view.rows {
        writeln!(text, "── {}: {} tokens seen, {} trained", row.id, row.prompt_tokens, row.trained_tokens)
            .expect("writing to a string cannot fail");
        for warning in &row.warnings {
            writeln!(text, "warning: {warning}").expect("writing to a string cannot fail");
        }
        let (prompt, trained) = (harmless(&row.prompt), harmless(&row.trained));
        writeln!(text, "{prompt}{begin}{trained}{end}").expect("writing to a string cannot fail");
    }
    text
}

/// Control characters of the data would steer the terminal.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

/// As a page of its own.
pub(crate) fn html(view: &View) -> String {
    let mut page = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Rows as trained</title>\n<style>\n\
        body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}\n\
        pre{white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid #8886;border-radius:.4rem;padding:.7rem}\n\
        mark{background:#2f9f5f44;color:inherit;text-decoration:underline;text-decoration-color:#2f9f5f}\n\
        .warning{color:#b4540a}\n</style>\n</head>\n<body>\n<h1>Rows as trained</h1>\n<p>Underlined text is trained on; the rest is only seen.</p>\n"
        .to_owned();
    let warn = |page: &mut String, warnings: &[String]| {
        for warning in warnings {
            writeln!(page, "<p class=\"warning\">Warning: {}</p>", escape(warning))
                .expect("writing to a string cannot fail");
        }
    };
    warn(&mut page, &view.warnings);
    for row in &view.rows {
        writeln!(
            page,
            "<h2>{}</h2>\n<p>{} tokens seen, {} trained</p>",
            escape(&row.id),
            row.prompt_tokens,
            row.trained_tokens
        )
        .expect("writing to a string cannot fail");
        warn(&mut page, &row.warnings);
        writeln!(page, "<pre>{}<mark>{}</mark></pre>", escape(&row.prompt), escape(&row.trained))
            .expect("writing to a string cannot fail");
    }
    page.push_str("</body>\n</html>\n");
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(prompt: &str) -> View {
        let row = Row {
            id: "t/0".to_owned(),
            prompt: prompt.to_owned(),
            trained: "yes<|end|>".to_owned(),
            prompt_tokens: 3,
            trained_tokens: 2,
            warnings: vec!["cut".to_owned()],
        };
        View { warnings: vec!["pad".to_owned()], rows: vec![row] }
    }

    #[test]
    fn trained_text_is_marked_and_nothing_steers_the_terminal() {
        let text = text(&sample("a\u{1b}[2Jb"), false);
        assert!(text.contains("a\u{fffd}[2Jb⟦yes<|end|>⟧"), "{text}");
        assert!(
            text.contains("3 tokens seen, 2 trained") && text.contains("warning: pad") && text.contains("warning: cut")
        );
    }

    #[test]
    fn no_text_of_a_row_becomes_a_tag() {
        let page = html(&sample("<script>"));
        assert!(page.contains("&lt;script&gt;<mark>yes&lt;|end|&gt;</mark>") && !page.contains("<script"), "{page}");
    }
}
