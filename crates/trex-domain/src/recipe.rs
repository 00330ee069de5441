//! A data recipe: which operators a training pool passes, in order, and how much of it is used. Runs nothing itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ContentHash, DomainError};

/// How label counts are evened out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalanceMode {
    /// Keeps at most `max_ratio` times the rarest label's count of every label.
    Down,
    /// Repeats rare rows until no label has less than the largest count divided by `max_ratio`.
    Up,
}

/// How a language model writes an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerStyle {
    /// Steps first, and the gold answer on a last line that begins with `Answer:`. Suits metrics that look for the answer
    /// at the end, such as `numeric_match`.
    #[default]
    Rationale,
    /// The answer alone, in the words of the model.
    Direct,
}

/// One step of a recipe. Adding one is a variant here and one file in `trex-data`.
///
/// A parameter that a recipe file leaves out has the default that stands beside it with its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Operator {
    /// Unicode NFC, white space folded, control characters removed, common mojibake repaired.
    Normalise,
    /// Drops rows whose prompt and answer together are shorter or longer (characters; half open: `min <= n < max`).
    LengthFilter {
        /// Fewest characters kept; 1 drops nothing but empty rows.
        #[serde(default = "one")]
        min_chars: usize,
        /// First length that is too long; 8000 characters are about 2000 tokens of English, a usual context to train with.
        #[serde(default = "default_max_chars")]
        max_chars: usize,
    },
    /// Drops rows with an empty answer, or with an answer outside a closed answer space.
    ValidAnswer,
    /// Rewrites answers that differ from one option only by case, quotes, punctuation or a leading phrase.
    CanonicalAnswer,
    /// Keeps the first of rows with equal normalised prompt and answer.
    ExactDedup,
    /// Keeps the first of rows whose prompts have an estimated Jaccard similarity of at least `threshold` (MinHash-LSH).
    NearDedup {
        /// Similarity in (0, 1]; 0.8 is the choice of most published corpora (Lee and others, 2022).
        #[serde(default = "default_threshold")]
        threshold: f64,
        /// Words per shingle; 3 suits short instructions, 5 long documents.
        #[serde(default = "default_shingle_words")]
        shingle_words: usize,
    },
    /// Drops every row whose prompt appears with two different answers, unless one answer has a majority of `min_share`.
    ResolveConflicts {
        /// Share in (0.5, 1] that the kept answer must have; two of three are enough.
        #[serde(default = "default_min_share")]
        min_share: f64,
    },
    /// Drops rows that share an n-gram run with an evaluation item, or nearly equal one.
    Decontaminate {
        /// Words per n-gram; 8 suits short prompts (GPT-3 used 13 on documents).
        #[serde(default = "default_ngram_words")]
        ngram_words: usize,
        /// Share of the evaluation item's n-grams that counts as a leak, in (0, 1]; as in the Llama 2 report.
        #[serde(default = "default_max_overlap")]
        max_overlap: f64,
    },
    /// Drops rows that repeat one word, are mostly symbols, or are boilerplate.
    QualityFilter {
        /// Largest share of one word among all words, in (0, 1]; Gopher drops near 0.3 on documents, prompts are shorter.
        #[serde(default = "half")]
        max_repetition: f64,
        /// Largest share of characters that are neither letters, digits nor white space, in (0, 1]; formulas stay below.
        #[serde(default = "half")]
        max_symbol_ratio: f64,
    },
    /// Drops rows whose vocabulary is far from that of the pool's answers and prompts (off-topic rows).
    TopicFilter {
        /// Smallest share of a row's words that must also occur in at least `min_rows` other rows.
        #[serde(default = "default_min_known_share")]
        min_known_share: f64,
        /// Rows in which a word must occur to count as known; 2 forgives a word that one other row has by chance.
        #[serde(default = "two")]
        min_rows: usize,
    },
    /// Drops rows whose answer disagrees with most of their nearest neighbours (likely wrong labels); closed answers only.
    NeighbourAgreement {
        /// Neighbours asked, by TF-IDF cosine; an odd number has no ties between two labels.
        #[serde(default = "default_neighbours")]
        neighbours: usize,
        /// Smallest share of neighbours that must agree, in (0, 1].
        #[serde(default = "default_min_agreement")]
        min_agreement: f64,
    },
    /// Drops rows whose prompt matches the expression.
    RegexDrop {
        /// A regular expression in the syntax of the `regex` crate.
        pattern: String,
    },
    /// Evens out label counts; closed answers only.
    LabelBalance {
        /// Down- or up-sampling.
        mode: BalanceMode,
        /// Largest ratio between two label counts that is left alone, at least 1.
        #[serde(default = "default_max_ratio")]
        max_ratio: f64,
    },
    /// Takes about `rows` rows with each label's share kept.
    StratifiedSample {
        /// Rows wanted.
        rows: usize,
    },
    /// Writes `shots` other examples of the pool before each prompt.
    FewShotPack {
        /// Examples shown, at least 1.
        #[serde(default = "two")]
        shots: usize,
    },
    /// Adds a copy of each row with its options in another order, where the prompt lists them.
    ShuffleOptions,
    /// Keeps the first `rows` rows.
    Cap {
        /// Rows kept.
        rows: usize,
    },
    /// Puts rows in a random order that depends on the seed only.
    Shuffle,
    /// Writes the last turn of the person anew from a template, and the system turn where one is given.
    TemplateRender {
        /// The new turn; `{input}` is the old one.
        template: String,
        /// The new system turn; the old one stays where this is absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        system: Option<String>,
    },
    /// Rewrites answers by a table, such as labels as numbers to labels as words; options likewise.
    MapAnswer {
        /// Answer → new answer; answers that are not listed stay.
        labels: std::collections::BTreeMap<String, String>,
    },
    /// Drops rows whose prompt is in none of the languages to keep.
    LanguageFilter {
        /// Languages to keep, as ISO 639-3 codes such as `eng`, `deu`, `cmn`.
        keep: Vec<String>,
        /// Whether rows are kept whose language cannot be told; short prompts mostly cannot.
        #[serde(default = "yes")]
        keep_unknown: bool,
    },
    /// Drops rows whose prompt does not match the expression.
    RegexKeep {
        /// A regular expression in the syntax of the `regex` crate.
        pattern: String,
    },
    /// Puts placeholders such as `[EMAIL]` in the place of personal data and secrets, in all turns and open answers.
    RedactPii {
        /// Kinds to redact: email, phone, card, iban, ip_address, national_id, secret; all where empty.
        #[serde(default)]
        kinds: Vec<String>,
    },
    /// Drops rows whose prompt nearly equals that of an evaluation item (MinHash-LSH); fails without evaluation items.
    DecontaminateNear {
        /// Similarity in (0, 1] from which a row is a leak.
        #[serde(default = "default_threshold")]
        threshold: f64,
        /// Words per shingle.
        #[serde(default = "default_shingle_words")]
        shingle_words: usize,
    },
    /// Makes preference pairs of closed rows: the options become the gold answer and one other option, drawn.
    PreferencePairs,
    /// Orders rows by length, the shortest first: a curriculum from easy to hard by the simplest measure there is.
    SortByLength {
        /// The longest first instead.
        #[serde(default)]
        descending: bool,
    },
    /// Keeps rows whose loss under the base model lies between two quantiles; fails where losses are not at hand.
    DifficultyFilter {
        /// Share of the easiest rows that go, from 0 to 1.
        #[serde(default)]
        drop_easiest: f64,
        /// Share of the hardest rows that go, from 0 to 1: what the base finds hardest is often wrong.
        #[serde(default = "default_drop_hardest")]
        drop_hardest: f64,
    },
    /// Drops rows whose prompt and answer together have too few or too many tokens (half open); fails without tokenizer.
    TokenFilter {
        /// Fewest tokens kept.
        #[serde(default = "one")]
        min_tokens: usize,
        /// First length that is too long; 1024 is the default context of TRL.
        #[serde(default = "default_max_tokens")]
        max_tokens: usize,
    },
    /// Keeps the first of rows whose prompts mean nearly the same, by the cosine of their embeddings; rows with a closed
    /// answer only where the answers are equal too. Passes rows on unchanged, and says so, without an embedding model.
    SemanticDedup {
        /// Cosine in (0, 1] from which two prompts are the same. Of twelve short questions in two wordings 0.95 joined 3
        /// and 0.9 joined 7; of twelve pairs about different things of one kind 0.95 joined none and 0.9 one.
        #[serde(default = "default_same_meaning")]
        threshold: f64,
    },
    /// Keeps rows whose prompts resemble one of some texts in meaning: what the task is about. Passes rows on unchanged,
    /// and says so, without an embedding model.
    SemanticFilter {
        /// Texts that say what is looked for.
        like: Vec<String>,
        /// Smallest cosine with the nearest text, in (-1, 1]; questions of other topics lay below 0.16, half of those of a
        /// topic that was named in two words above 0.25. Examples of what is looked for tell more than names.
        #[serde(default = "default_related")]
        min_similarity: f64,
        /// Whether such rows are dropped instead.
        #[serde(default)]
        drop: bool,
    },
    /// Chooses rows that differ as much as possible: each next one is farthest in meaning from all chosen before
    /// (k-center, Gonzalez 1985; Sener and Savarese 2018). Passes rows on unchanged, and says so, without an embedding model.
    DiverseSample {
        /// Rows wanted.
        rows: usize,
    },
    /// Has a language model write open answers anew, with the steps that lead there or in its own words, and takes only
    /// what comes to the gold answer (rejection sampling: Zelikman and others, 2022; Yuan and others, 2023). Rows for which
    /// nothing does keep their answer. Fails without a writing model.
    AnswerSynthesis {
        /// With steps, or the answer alone.
        #[serde(default)]
        style: AnswerStyle,
        /// Texts that are written for a row at most; most of what a model can solve it solves within four tries.
        #[serde(default = "four")]
        samples: usize,
        /// Different texts that are taken of a row: the first is its answer, further ones become rows of their own.
        #[serde(default = "one")]
        keep: usize,
        /// Smallest share of words (F1, as in SQuAD) that the answer of a text has in common with the gold one, in (0, 1];
        /// 1 asks for the same words or the same number, which suits short answers.
        #[serde(default = "whole")]
        min_agreement: f64,
        /// Whether rows go for which no text was taken.
        #[serde(default)]
        drop_unsolved: bool,
        /// Temperature of the draws, above 0; 0.7 is that of the papers.
        #[serde(default = "default_writing_temperature")]
        temperature: f64,
        /// Longest text in tokens; 256 are about 180 words of English.
        #[serde(default = "default_written_tokens")]
        max_new_tokens: usize,
    },
    /// Has a language model say the last turn of the person in other words, and adds a row for each text that keeps numbers
    /// and length, does not name the answer, and from which the model still comes to the gold answer. Stands before
    /// `template_render`. Fails without a writing model.
    Paraphrase {
        /// Rows that are added for each row at most.
        #[serde(default = "one")]
        copies: usize,
        /// Texts that are written for a row at most.
        #[serde(default = "four")]
        samples: usize,
        /// As in `answer_synthesis`, for what the model answers to the new question, from 0 to 1; 0 does not ask it, which
        /// suits models that cannot do the task yet and answers of many words.
        #[serde(default = "whole")]
        min_agreement: f64,
        /// Temperature of the draws, above 0.
        #[serde(default = "default_writing_temperature")]
        temperature: f64,
        /// Longest text in tokens.
        #[serde(default = "default_written_tokens")]
        max_new_tokens: usize,
    },
    /// Makes preference pairs of open rows: the first answer of a language model that does not come to the gold answer
    /// becomes the rejected one. Rows that have one, and rows for which there is none, stay as they are. Fails without a
    /// writing model.
    RejectedSynthesis {
        /// Texts that are written for a row at most.
        #[serde(default = "four")]
        samples: usize,
        /// Temperature of the draws, above 0; 1 draws what the model itself would say, which is what a pair is to change.
        #[serde(default = "whole")]
        temperature: f64,
        /// Longest text in tokens.
        #[serde(default = "default_written_tokens")]
        max_new_tokens: usize,
    },
}

fn one() -> usize {
    1
}

fn two() -> usize {
    2
}

fn four() -> usize {
    4
}

fn whole() -> f64 {
    1.0
}

fn half() -> f64 {
    0.5
}

fn yes() -> bool {
    true
}

fn default_max_chars() -> usize {
    8000
}

fn default_threshold() -> f64 {
    0.8
}

fn default_shingle_words() -> usize {
    3
}

fn default_min_share() -> f64 {
    0.66
}

fn default_ngram_words() -> usize {
    8
}

fn default_max_overlap() -> f64 {
    0.7
}

fn default_min_known_share() -> f64 {
    0.3
}

fn default_neighbours() -> usize {
    5
}

fn default_min_agreement() -> f64 {
    0.4
}

fn default_max_ratio() -> f64 {
    1.5
}

fn default_drop_hardest() -> f64 {
    0.05
}

fn default_max_tokens() -> usize {
    1024
}

fn default_same_meaning() -> f64 {
    0.95
}

fn default_related() -> f64 {
    0.2
}

fn default_writing_temperature() -> f64 {
    0.7
}

fn default_written_tokens() -> usize {
    256
}

impl Operator {
    /// The stable name used in files, ledgers and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Normalise => "normalise",
            Self::LengthFilter { .. } => "length_filter",
            Self::ValidAnswer => "valid_answer",
            Self::CanonicalAnswer => "canonical_answer",
            Self::ExactDedup => "exact_dedup",
            Self::NearDedup { .. } => "near_dedup",
            Self::ResolveConflicts { .. } => "resolve_conflicts",
            Self::Decontaminate { .. } => "decontaminate",
            Self::QualityFilter { .. } => "quality_filter",
            Self::TopicFilter { .. } => "topic_filter",
            Self::NeighbourAgreement { .. } => "neighbour_agreement",
            Self::RegexDrop { .. } => "regex_drop",
            Self::LabelBalance { .. } => "label_balance",
            Self::StratifiedSample { .. } => "stratified_sample",
            Self::FewShotPack { .. } => "few_shot_pack",
            Self::ShuffleOptions => "shuffle_options",
            Self::Cap { .. } => "cap",
            Self::Shuffle => "shuffle",
            Self::TemplateRender { .. } => "template_render",
            Self::MapAnswer { .. } => "map_answer",
            Self::LanguageFilter { .. } => "language_filter",
            Self::RegexKeep { .. } => "regex_keep",
            Self::RedactPii { .. } => "redact_pii",
            Self::DecontaminateNear { .. } => "decontaminate_near",
            Self::PreferencePairs => "preference_pairs",
            Self::SortByLength { .. } => "sort_by_length",
            Self::DifficultyFilter { .. } => "difficulty_filter",
            Self::TokenFilter { .. } => "token_filter",
            Self::SemanticDedup { .. } => "semantic_dedup",
            Self::SemanticFilter { .. } => "semantic_filter",
            Self::DiverseSample { .. } => "diverse_sample",
            Self::AnswerSynthesis { .. } => "answer_synthesis",
            Self::Paraphrase { .. } => "paraphrase",
            Self::RejectedSynthesis { .. } => "rejected_synthesis",
        }
    }

    /// Whether it compares the meaning of texts, and so needs an embedding model.
    pub fn needs_embeddings(&self) -> bool {
        matches!(self, Self::SemanticDedup { .. } | Self::SemanticFilter { .. } | Self::DiverseSample { .. })
    }

    /// Whether it needs the losses of the base model.
    pub fn needs_losses(&self) -> bool {
        matches!(self, Self::DifficultyFilter { .. })
    }

    /// Whether a language model writes texts for it.
    pub fn needs_writer(&self) -> bool {
        matches!(self, Self::AnswerSynthesis { .. } | Self::Paraphrase { .. } | Self::RejectedSynthesis { .. })
    }
}

/// Rows before and after one operator; `rows_in = rows_out + dropped - added`.
///
/// Where a language model wrote, its texts are accounted for as well: `written = changed + added + rejected`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorCount {
    /// Operator name.
    pub operator: String,
    /// Rows that came in.
    pub rows_in: usize,
    /// Rows that went out.
    pub rows_out: usize,
    /// Rows that went out with other content than they came in with.
    pub changed: usize,
    /// Rows that were made here (up-sampling, copies).
    pub added: usize,
    /// Rows dropped, by reason.
    pub dropped: std::collections::BTreeMap<String, usize>,
    /// Texts that a language model wrote.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub written: usize,
    /// Of these, texts that were not taken, by reason.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub rejected: std::collections::BTreeMap<String, usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl OperatorCount {
    /// Whether every row and every written text is accounted for.
    pub fn balances(&self) -> bool {
        let total = |counts: &std::collections::BTreeMap<String, usize>| counts.values().sum::<usize>();
        let num_taken = self.changed + self.added;
        let accounts_for_texts = self.written == 0 || self.written == num_taken + total(&self.rejected);
        accounts_for_texts && self.rows_in + self.added == self.rows_out + total(&self.dropped)
    }
}

/// What happens to the training pool before training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Applied in order.
    #[serde(default)]
    pub operators: Vec<Operator>,
}

impl Recipe {
    /// The name of this recipe: the hash of its canonical form.
    pub fn hash(&self) -> Result<ContentHash, DomainError> {
        ContentHash::of_value("trex.recipe.v1", self)
    }

    /// Whether a step of this name comes after everything that a language model writes: what is written may repeat an
    /// evaluation item that the model has seen.
    pub fn has_after_writing(&self, operator: &str) -> bool {
        let last_writer = self.operators.iter().rposition(Operator::needs_writer);
        let last = self.operators.iter().rposition(|step| step.name() == operator);
        last.is_some() && last > last_writer
    }

    /// Whether an operator of this name is part of the recipe.
    pub fn has(&self, operator: &str) -> bool {
        self.operators.iter().any(|step| step.name() == operator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_texts_are_accounted_for_like_rows() {
        let count = |written, changed, rejected| OperatorCount {
            rows_in: 5,
            rows_out: 6,
            changed,
            added: 1,
            written,
            rejected: [("is empty".to_owned(), rejected)].into(),
            ..OperatorCount::default()
        };
        assert!(count(7, 2, 4).balances());
        assert!(!count(7, 2, 3).balances());
        assert!(count(0, 2, 0).balances(), "a step for which nothing is written changes rows of its own");
        let plain = serde_json::to_value(OperatorCount::default()).unwrap();
        assert!(plain.get("written").is_none() && plain.get("rejected").is_none(), "{plain}");
    }

    #[test]
    fn what_is_written_must_be_compared_afterwards() {
        let check = |operators: &[Operator], expected: bool| {
            let recipe = Recipe { operators: operators.to_vec() };
            assert_eq!(recipe.has_after_writing("decontaminate"), expected, "{operators:?}");
        };
        let compare = Operator::Decontaminate { ngram_words: 8, max_overlap: 0.7 };
        let write = Operator::RejectedSynthesis { samples: 1, temperature: 1.0, max_new_tokens: 9 };
        check(&[], false);
        check(std::slice::from_ref(&compare), true);
        check(&[write.clone(), compare.clone()], true);
        check(&[compare.clone(), write.clone()], false);
        check(&[compare.clone(), write, compare], true);
    }
}
