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

/// One step of a recipe. Adding one is a variant here and one file in `trex-data`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Operator {
    /// Unicode NFC, white space folded, control characters removed, common mojibake repaired.
    Normalise,
    /// Drops rows whose prompt and answer together are shorter or longer (characters; half open: `min <= n < max`).
    LengthFilter {
        /// Fewest characters kept.
        min_chars: usize,
        /// First length that is too long.
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
        /// Similarity in (0, 1].
        threshold: f64,
        /// Words per shingle.
        shingle_words: usize,
    },
    /// Drops every row whose prompt appears with two different answers, unless one answer has a majority of `min_share`.
    ResolveConflicts {
        /// Share in (0.5, 1] that the kept answer must have.
        min_share: f64,
    },
    /// Drops rows that share an n-gram run with an evaluation item, or nearly equal one.
    Decontaminate {
        /// Words per n-gram.
        ngram_words: usize,
        /// Share of the evaluation item's n-grams that counts as a leak, in (0, 1].
        max_overlap: f64,
    },
    /// Drops rows that repeat one word, are mostly symbols, or are boilerplate.
    QualityFilter {
        /// Largest share of one word among all words, in (0, 1].
        max_repetition: f64,
        /// Largest share of characters that are neither letters, digits nor white space, in (0, 1].
        max_symbol_ratio: f64,
    },
    /// Drops rows whose vocabulary is far from that of the pool's answers and prompts (off-topic rows).
    TopicFilter {
        /// Smallest share of a row's words that must also occur in at least `min_rows` other rows.
        min_known_share: f64,
        /// Rows in which a word must occur to count as known.
        min_rows: usize,
    },
    /// Drops rows whose answer disagrees with most of their nearest neighbours (likely wrong labels); closed answers only.
    NeighbourAgreement {
        /// Neighbours asked, by TF-IDF cosine.
        neighbours: usize,
        /// Smallest share of neighbours that must agree, in (0, 1].
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
        }
    }
}

/// Rows before and after one operator; `rows_in = rows_out + dropped - added`.
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
}

impl OperatorCount {
    /// Whether every row is accounted for.
    pub fn balances(&self) -> bool {
        self.rows_in + self.added == self.rows_out + self.dropped.values().sum::<usize>()
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

    /// Whether an operator of this name is part of the recipe.
    pub fn has(&self, operator: &str) -> bool {
        self.operators.iter().any(|step| step.name() == operator)
    }
}
