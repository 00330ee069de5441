//! Replaces personal data by placeholders. Rows are never dropped, and closed answers never changed.

use super::{Context, Outcome};
use crate::DataError;
use crate::pii::{PiiKind, pii_spans};
use crate::pool::Pool;

/// Replaces the given kinds in all turns, and in answers and options that are the row's own.
pub(super) fn redact(rows: Pool, kinds: &[String], context: &Context<'_>) -> Result<Outcome, DataError> {
    let wanted: Vec<PiiKind> = match kinds {
        [] => PiiKind::ALL.to_vec(),
        names => names.iter().filter_map(|name| PiiKind::from_name(name)).collect(),
    };
    Outcome::edited(rows, context, |row| {
        let mut is_changed = false;
        for turn in &mut row.prompt {
            is_changed |= redact_text(&mut turn.content, &wanted);
        }
        if row.options.is_empty() {
            is_changed |= redact_text(&mut row.answer, &wanted);
        }
        is_changed
    })
}

/// Replaces what stands in a text; whether something did.
fn redact_text(text: &mut String, wanted: &[PiiKind]) -> bool {
    let spans: Vec<_> = pii_spans(text).into_iter().filter(|(kind, _)| wanted.contains(kind)).collect();
    for (kind, range) in spans.iter().rev() {
        text.replace_range(range.clone(), kind.placeholder());
    }
    !spans.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{choice_row, context, made, open_row};
    use super::*;

    #[test]
    fn finds_become_placeholders_in_prompt_and_open_answer() {
        let rows = vec![
            open_row(0, "mail ada@example.org or call +44 20 7946 0958", "sent to ada@example.org"),
            choice_row(1, "from 203.0.113.9", "yes"),
        ];
        let outcome = made(redact(rows.into(), &[], &context("redact_pii")));
        assert_eq!(outcome.rows[0].prompt_text(), "mail [EMAIL] or call [PHONE]");
        assert_eq!(outcome.rows[0].answer, "sent to [EMAIL]");
        assert_eq!((outcome.rows[1].prompt_text().as_str(), outcome.changed), ("from [IP_ADDRESS]", 2));
        let rows = vec![open_row(0, "mail ada@example.org or call +44 20 7946 0958", "a")];
        let outcome = made(redact(rows.into(), &["phone".to_owned()], &context("redact_pii")));
        assert_eq!(outcome.rows[0].prompt_text(), "mail ada@example.org or call [PHONE]");
    }

    proptest! {
        #[test]
        fn nothing_is_left_to_redact(text in "[a-c0-9@. +-]{0,40}|call \\+44 20 7946 0958|[a-z]{3}@[a-z]{3}\\.org( and [a-z]{2}@x\\.de)?") {
            let once = made(redact(vec![open_row(0, &text, "a")].into(), &[], &context("redact_pii")));
            let twice = made(redact(once.rows.clone().into(), &[], &context("redact_pii")));
            prop_assert_eq!(twice.rows[0].prompt_text(), once.rows[0].prompt_text());
        }
    }
}
