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
}

fn one() -> usize {
    1
}

fn two() -> usize {
    2
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
