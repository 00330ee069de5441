//! The stage that reads documents: claims, each with the passage that it cites and the words of it that say so.
//!
//! Whether a passage contains its claim is checked by code: the quote stands in the passage, the words and numbers of the
//! claim are in the quote, and neither negation nor direction is turned round. That is less than understanding; a claim that
//! does not pass is left out and counted. Text of passages is data and never obeyed.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trex_domain::{Claim, FoundPassage, Stage};

use super::{check_text, ensure, numbers_in};
use crate::asking::{Answered, Asker, Limits};
use crate::llm::{AnswerFault, Question};
use crate::prompts::{Prompt, quoted};

/// Most claims of one answer.
const MAX_CLAIMS: usize = 8;

/// Characters of a passage that are shown.
const PASSAGE_CHARS: usize = 700;

/// Share of a claim's words that its quote must hold.
const MIN_SUPPORT: f64 = 0.6;

/// One claim of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimIdea {
    /// One sentence.
    #[schemars(length(min = 1, max = 300))]
    pub statement: String,
    /// Number of the passage, as the question counts them.
    #[schemars(range(min = 1, max = 20))]
    pub passage: usize,
    /// Words of the passage that say it.
    #[schemars(length(min = 1, max = 400))]
    pub quote: String,
}

/// The answer of `survey`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SurveyAnswer {
    /// Claims; none where the passages say nothing useful.
    #[schemars(length(max = 8))]
    pub claims: Vec<ClaimIdea>,
}

impl SurveyAnswer {
    /// Checks number and form. Whether a claim is supported is looked at one by one later: one bad claim spoils no answer.
    pub fn check(&self, num_passages: usize) -> Result<(), AnswerFault> {
        let count = self.claims.len();
        ensure(count <= MAX_CLAIMS, "claims", || format!("has {count} entries, allowed are {MAX_CLAIMS}"))?;
        for claim in &self.claims {
            check_text("statement", &claim.statement, 300)?;
            check_text("quote", &claim.quote, 400)?;
            ensure((1..=num_passages).contains(&claim.passage), "passage", || {
                format!("is {}; there are 1 to {num_passages}", claim.passage)
            })?;
        }
        Ok(())
    }
}

/// What documents say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// Claims that their passages contain.
    pub claims: Vec<Claim>,
    /// Claims that were left out.
    pub unsupported: usize,
}

/// Reads passages for a task with the models of the stage; by picking sentences where none answers.
pub fn survey(asker: &Asker, limits: Option<Limits<'_>>, goal: &str, passages: &[FoundPassage]) -> Answered<Survey> {
    let by_playbook = || Answered { answer: pick_sentences(goal, passages), by: crate::PLAYBOOK.to_owned() };
    if passages.is_empty() {
        return by_playbook();
    }
    let shown = |(number, found): (usize, &FoundPassage)| {
        format!("{number}. <data>{}</data>", quoted(&found.passage.text, PASSAGE_CHARS))
    };
    let lines: Vec<String> = (1..).zip(passages).map(shown).collect();
    let values = BTreeMap::from([("goal", quoted(goal, 300)), ("passages", lines.join("\n"))]);
    let question = Question {
        name: Stage::Survey.as_str(),
        messages: Prompt::of(Stage::Survey).filled(&values),
        max_tokens: 900,
        seed: 1,
    };
    let check = |answer: &SurveyAnswer| answer.check(passages.len());
    let Some(Answered { answer, by }) = asker.ask(Stage::Survey, limits, &question, &check) else {
        return by_playbook();
    };
    let mut survey = Survey::default();
    for idea in answer.claims {
        let cited = idea.passage.checked_sub(1).and_then(|place| passages.get(place));
        match cited.and_then(|found| Some((found, support(&idea.statement, &idea.quote, &found.passage.text).ok()?))) {
            Some((found, share)) => survey.claims.push(claim(&idea.statement, &idea.quote, share, found)),
            None => survey.unsupported += 1,
        }
    }
    Answered { answer: survey, by }
}

fn claim(statement: &str, quote: &str, support: f64, found: &FoundPassage) -> Claim {
    Claim {
        statement: quoted(statement, 300),
        passage: found.passage.id.clone(),
        title: quoted(&found.document, 120),
        quote: quoted(quote, 400),
        support,
        rejected: None,
    }
}

/// Why a passage does not contain a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// The quote is not in the passage.
    NotQuoted,
    /// Words of the claim are missing in the quote.
    OtherWords,
    /// The claim has a number that the quote has not.
    OtherNumber,
    /// One of the two denies what the other says.
    Negation,
    /// One says up and the other down.
    Direction,
}

/// Share of a claim's telling words that its quote holds, or why the passage does not contain the claim.
pub fn support(statement: &str, quote: &str, passage: &str) -> Result<f64, Unsupported> {
    if quote.trim().is_empty() || !bare(passage).contains(&bare(quote)) {
        return Err(Unsupported::NotQuoted);
    }
    let known = numbers_in(quote);
    if numbers_in(statement).iter().any(|number| !known.contains(number)) {
        return Err(Unsupported::OtherNumber);
    }
    if is_negated(statement) != is_negated(quote) {
        return Err(Unsupported::Negation);
    }
    if let (Some(ours), Some(theirs)) = (direction(statement), direction(quote))
        && ours != theirs
    {
        return Err(Unsupported::Direction);
    }
    let (claimed, said) = (stems(statement), stems(quote));
    let share = claimed.intersection(&said).count() as f64 / claimed.len().max(1) as f64;
    if share >= MIN_SUPPORT { Ok(share) } else { Err(Unsupported::OtherWords) }
}

/// Letters and digits in lower case with single spaces between words, so that line breaks and dashes tell nothing.
fn bare(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

/// Words that tell nothing.
const SMALL_WORDS: [&str; 44] = [
    "a", "an", "and", "are", "as", "at", "be", "been", "by", "can", "for", "from", "has", "have", "in", "into", "is",
    "it", "its", "of", "on", "one", "or", "our", "over", "so", "than", "that", "the", "their", "there", "these",
    "they", "this", "to", "was", "we", "were", "when", "which", "while", "will", "with", "would",
];

/// Words without their endings, small ones left out: enough to see "raised" in "raises".
fn stems(text: &str) -> BTreeSet<String> {
    let words = bare(text);
    let telling = words.split(' ').filter(|word| !word.is_empty() && !SMALL_WORDS.contains(word));
    telling.map(stem).collect()
}

fn stem(word: &str) -> String {
    let ending = ["ing", "ies", "ed", "es", "s"].into_iter().find(|ending| {
        word.len() > ending.len() + 3 && word.ends_with(ending) && word.is_char_boundary(word.len() - ending.len())
    });
    let stem = &word[..word.len() - ending.map_or(0, str::len)];
    stem.trim_end_matches('e').to_owned()
}

fn is_negated(text: &str) -> bool {
    const WORDS: [&str; 9] = ["not", "no", "never", "without", "cannot", "neither", "nor", "fails", "hardly"];
    let lower = text.to_lowercase();
    let contracted = lower.contains("n't") || lower.contains("n’t");
    let words = bare(text);
    // An odd number of denials denies.
    let denials = words.split(' ').filter(|word| WORDS.contains(word)).count() + usize::from(contracted);
    denials % 2 == 1
}

/// Whether a text speaks of more or of less; none where it speaks of neither or of both.
fn direction(text: &str) -> Option<bool> {
    const UP: [&str; 9] = ["increas", "rais", "higher", "improv", "better", "more", "larger", "gain", "outperform"];
    const DOWN: [&str; 10] =
        ["decreas", "lower", "reduc", "wors", "less", "smaller", "hurt", "degrad", "harm", "underperform"];
    let words = bare(text);
    let has = |list: &[&str]| words.split(' ').any(|word| list.iter().any(|start| word.starts_with(start)));
    match (has(&UP), has(&DOWN)) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        _ => None,
    }
}

/// What fine-tuning is about, as word beginnings.
const SUBJECTS: [&str; 18] = [
    "learning rate",
    "rank",
    "lora",
    "epoch",
    "batch size",
    "dropout",
    "duplicat",
    "data quality",
    "label noise",
    "fine-tun",
    "finetun",
    "overfit",
    "imbalanc",
    "warmup",
    "warm-up",
    "weight decay",
    "curriculum",
    "augment",
];

/// Sentences of the passages that speak of fine-tuning, word for word, so that each is contained in its passage.
fn pick_sentences(goal: &str, passages: &[FoundPassage]) -> Survey {
    const MOST: usize = 6;
    let wanted = stems(goal);
    let mut scored: Vec<(usize, usize, Claim)> = Vec::new();
    for (place, found) in passages.iter().enumerate() {
        for sentence in sentences(&found.passage.text) {
            let lower = sentence.to_lowercase();
            let subjects = SUBJECTS.iter().filter(|subject| lower.contains(*subject)).count();
            let fits = (40..=300).contains(&sentence.chars().count());
            if subjects == 0 || !fits {
                continue;
            }
            let near = stems(sentence).intersection(&wanted).count();
            scored.push((2 * subjects + near, place, claim(sentence, sentence, 1.0, found)));
        }
    }
    // The most telling first; of equal ones the better passage.
    scored.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut claims: Vec<Claim> = Vec::new();
    for (_, _, claim) in scored {
        if claims.len() < MOST && claims.iter().all(|known| known.statement != claim.statement) {
            claims.push(claim);
        }
    }
    Survey { claims, unsupported: 0 }
}

fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(". ").flat_map(|part| part.split("\n\n")).map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use trex_domain::{ContentHash, Passage, PassageId, Place};

    use super::*;

    const PASSAGE: &str = "We remove near duplicates\nbefore training. A rank of 16 was as good as full fine-tuning on all \
                           tasks. Higher learning rates did not help. Label smoothing lowers accuracy by 1.5 points.";

    #[track_caller]
    fn check(statement: &str, quote: &str, expected: Option<Unsupported>) {
        assert_eq!(support(statement, quote, PASSAGE).err(), expected, "{statement}");
    }

    #[test]
    fn a_claim_must_be_in_its_passage() {
        let rank = "a rank of 16 was as good as full fine-tuning on all tasks";
        check("A rank of 16 is as good as full fine-tuning.", rank, None);
        check("Near duplicates are removed before training.", "We remove near duplicates before training", None);
        check("A rank of 64 is as good as full fine-tuning.", rank, Some(Unsupported::OtherNumber));
        check("A rank of 16 is not as good as full fine-tuning.", rank, Some(Unsupported::Negation));
        check("A rank of 16 needs little memory on graphics cards.", rank, Some(Unsupported::OtherWords));
        check("A rank of 16 works.", "a rank of 16 always works", Some(Unsupported::NotQuoted));
        let smoothing = "Label smoothing lowers accuracy by 1.5 points";
        check("Label smoothing lowers accuracy by 1.5 points.", smoothing, None);
        check("Label smoothing improves accuracy by 1.5 points.", smoothing, Some(Unsupported::Direction));
        check("Higher learning rates helped.", "Higher learning rates did not help", Some(Unsupported::Negation));
        check("anything", "", Some(Unsupported::NotQuoted));
    }

    #[test]
    fn without_a_model_sentences_are_picked_word_for_word() {
        let hash = ContentHash::of_bytes(b"paper");
        let passage =
            Passage { id: PassageId::new(&hash, 0, PASSAGE).unwrap(), place: Place::default(), text: PASSAGE.into() };
        let found =
            FoundPassage { passage, document: "A paper".into(), score: 1.0, by_words: Some(1), by_meaning: None };
        let survey = pick_sentences("tell complaints from praise", &[found]);
        assert!(!survey.claims.is_empty());
        for claim in &survey.claims {
            assert!(support(&claim.statement, &claim.quote, PASSAGE).is_ok(), "{claim:?}");
        }
    }
}
