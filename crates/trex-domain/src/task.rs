//! What the person wants: goal, metric, data, model and limits. Parsing files is the engine's business.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Budget, ContentHash, DataTerms, DeviceChoice, DomainError, EvalMode, GenerationConfig, Metric, TrainConfig,
    TrainMethod,
};

/// What a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowForm {
    /// A prompt and its answer.
    Answers,
    /// A prompt with a better and a worse answer.
    Pairs,
    /// Raw text without an answer.
    Text,
}

/// What evaluation items are and how they are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// One of a list of options; evaluated by log-likelihood.
    Choice,
    /// Free text; evaluated by generation.
    Generate,
    /// Preference pairs; right where the better answer has the higher mean log-likelihood per token.
    Preference,
    /// Raw text; evaluated by bits per byte.
    Text,
}

impl TaskKind {
    /// What its evaluation items must be.
    pub fn row_form(self) -> RowForm {
        match self {
            Self::Choice | Self::Generate => RowForm::Answers,
            Self::Preference => RowForm::Pairs,
            Self::Text => RowForm::Text,
        }
    }

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Choice => "choice",
            Self::Generate => "generate",
            Self::Preference => "preference",
            Self::Text => "text",
        }
    }
}

/// Names a model of the registry (`bundled`, or a name given by `trex model add`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ModelRef(pub String);

/// Which columns of a file hold what. A column is its name, or its number from 0 where the file has no header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FieldMap {
    /// The column that fills `{input}` of the prompt; detected where absent.
    pub input: Option<String>,
    /// The column with the gold answer; detected where absent.
    pub answer: Option<String>,
    /// The column whose equal values must stay in one split.
    pub group: Option<String>,
    /// Raw answer → answer the model should give, such as `"1" = "positive"`.
    pub labels: BTreeMap<String, String>,
}

/// Where an evaluation split comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitSource {
    /// A file of its own.
    File(PathBuf),
    /// Held out of the training file by hash of the group key.
    HeldOut,
}

/// Where the rows come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum DataSource {
    /// A generated task of this project, such as `ftbench/mini-1`.
    Builtin {
        /// Its name.
        name: String,
    },
    /// Files of the person.
    Files {
        /// Training rows.
        train: PathBuf,
        /// Rows for the search and select splits.
        dev: SplitSource,
        /// Rows for the sealed final split.
        test: SplitSource,
        /// Columns.
        fields: FieldMap,
        /// Licence of the rows, and what is to be done with the result.
        #[serde(default, skip_serializing_if = "DataTerms::is_silent")]
        terms: DataTerms,
    },
}

impl DataSource {
    /// Under which terms the rows are trained on. Those of a generated task are this project's own.
    pub fn terms(&self) -> DataTerms {
        match self {
            Self::Builtin { .. } => DataTerms { license: Some("MIT OR Apache-2.0".to_owned()), commercial_use: false },
            Self::Files { terms, .. } => terms.clone(),
        }
    }
}

/// Upper limits on the evaluation splits; 0 means all rows there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SplitSizes {
    /// Items that drive the search.
    pub search: usize,
    /// Items that re-score winners.
    pub select: usize,
    /// Items of the sealed split.
    #[serde(rename = "final")]
    pub final_: usize,
}

impl Default for SplitSizes {
    fn default() -> Self {
        Self { search: 300, select: 400, final_: 0 }
    }
}

/// How a row becomes a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptSpec {
    /// System turn; none where absent.
    #[serde(default)]
    pub system: Option<String>,
    /// User turn. `{input}` is the input column, `{COLUMN}` any column, `{options}` the options in an order drawn per seed.
    /// Raw text passes no template.
    #[serde(default = "default_template")]
    pub template: String,
    /// The closed answer space; empty for open answers.
    #[serde(default)]
    pub options: Vec<String>,
    /// Longest generated answer in tokens, for open answers.
    #[serde(default = "default_max_new_tokens")]
    pub max_new_tokens: usize,
}

fn default_max_new_tokens() -> usize {
    48
}

fn default_template() -> String {
    "{input}".to_owned()
}

impl Default for PromptSpec {
    /// The input and nothing else.
    fn default() -> Self {
        Self {
            system: None,
            template: default_template(),
            options: Vec::new(),
            max_new_tokens: default_max_new_tokens(),
        }
    }
}

/// Among whom a variant must stand out to go up a rung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Promotion {
    /// Among its batch, so that every batch has a winner at the top.
    #[default]
    Batch,
    /// Among all variants of the run, so that a weak batch ends early.
    Asynchronous,
}

/// How the tree is explored. Every default has its source beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SearchSettings {
    /// Policy: `puct`, `uct`, `greedy`, `sequential`, `thompson`, `tpe`, `asha` or `random`.
    pub policy: String,
    /// Exploration constant of PUCT; 0.25 follows the search-over-experiments literature (AIDE, TREX).
    pub exploration: f64,
    /// Share of the surrogate in PUCT's prior, from 0 (the Researcher's word alone) to 1; 0.5 trusts both alike.
    pub surrogate_weight: f64,
    /// Weight of the best score in a strategy's value, the mean having the rest, from 0 to 1; 0.5 as in TREX, which wants the
    /// best node and not the best average.
    pub best_weight: f64,
    /// Normalised value of an experiment that brought no score; a little under the worst score seen (TREX).
    pub failure_value: f64,
    /// Normalised value of a failed experiment after which the same strategy brought a score; a little above (TREX).
    pub repair_value: f64,
    /// Normalised value of an experiment in flight: a lost visit, so that several workers spread (virtual loss, Chaslot et
    /// al., 2008).
    pub virtual_loss: f64,
    /// Experiments in a row without gain after which another kind of strategy, or a fusion, goes first.
    pub stagnation: usize,
    /// Share of the finished experiments that TPE takes for good; 0.25 is the default of hyperopt (Bergstra et al., 2011).
    pub tpe_gamma: f64,
    /// Standard deviation of Thompson sampling before anything is known, as a share of the range of values; half the range.
    pub thompson_sd: f64,
    /// Who goes up a rung: the best of a `batch`, or (`asynchronous`) who is among the best of all variants that were scored at
    /// the rung (ASHA, Li et al., 2020).
    pub promotion: Promotion,
    /// A variant goes no further where the probability that it reaches the best variant, extrapolated from its rung, is
    /// below this; 0.05 is the choice of Domhan et al. (2015), 0 never ends one.
    pub min_reach: f64,
    /// Successive-halving factor η; 3 is the choice of Hyperband (Li et al., 2018).
    pub eta: usize,
    /// Fidelity levels; the lowest costs η^-(rungs-1) of a full trial. 1 trains every variant in full: on the surfaces that were
    /// recorded, low rungs mislead more than they save; 2 or 3 pay where a full trial is dear and the search split is large.
    pub rungs: usize,
    /// Variants per experiment; TREX uses 3 to 5.
    pub batch: usize,
    /// Progressive widening: at most ⌈k · visits^α⌉ experiments below a strategy (Coulom, 2007).
    pub widening_k: f64,
    /// Exponent α of progressive widening.
    pub widening_alpha: f64,
    /// Stops after so many finished experiments in a row without a significant gain.
    pub plateau: usize,
    /// Seeds on which the untouched base is measured, at least 2.
    pub base_seeds: usize,
    /// Training seeds of a finalist beyond the first. The first winner is repeated on one of them for the noise floor. On recorded
    /// trainings the luck of a single seed is up to 0.027 of accuracy, and the choice of the best brings luck along; three
    /// trainings in all keep verdicts right 95 times in 100 (`trex bench honesty`).
    pub finalist_seeds: usize,
    /// Score at which the search may stop; none where absent.
    pub target: Option<f64>,
}

impl Default for SearchSettings {
    fn default() -> Self {
        Self {
            policy: "puct".to_owned(),
            exploration: 0.25,
            surrogate_weight: 0.5,
            best_weight: 0.5,
            failure_value: -0.1,
            repair_value: 0.1,
            virtual_loss: 0.0,
            stagnation: 2,
            tpe_gamma: 0.25,
            thompson_sd: 0.5,
            promotion: Promotion::Batch,
            min_reach: 0.05,
            eta: 3,
            rungs: 1,
            batch: 3,
            widening_k: 1.0,
            widening_alpha: 0.6,
            plateau: 4,
            base_seeds: 3,
            finalist_seeds: 2,
            target: None,
        }
    }
}

impl SearchSettings {
    /// Training seeds of the first winner beyond the first, for the noise floor.
    pub fn noise_seeds(&self) -> usize {
        self.finalist_seeds.min(1)
    }

    fn validate_numbers(&self) -> Result<(), DomainError> {
        let share = 0.0..=1.0;
        let checks = [
            ("search.exploration", self.exploration, self.exploration >= 0.0, "at least 0"),
            ("search.surrogate_weight", self.surrogate_weight, share.contains(&self.surrogate_weight), "from 0 to 1"),
            ("search.best_weight", self.best_weight, share.contains(&self.best_weight), "from 0 to 1"),
            ("search.failure_value", self.failure_value, (-1.0..=1.0).contains(&self.failure_value), "from -1 to 1"),
            ("search.repair_value", self.repair_value, (-1.0..=1.0).contains(&self.repair_value), "from -1 to 1"),
            ("search.virtual_loss", self.virtual_loss, (-1.0..=1.0).contains(&self.virtual_loss), "from -1 to 1"),
            ("search.tpe_gamma", self.tpe_gamma, self.tpe_gamma > 0.0 && self.tpe_gamma < 1.0, "between 0 and 1"),
            ("search.thompson_sd", self.thompson_sd, self.thompson_sd > 0.0, "above 0"),
            ("search.min_reach", self.min_reach, (0.0..0.5).contains(&self.min_reach), "from 0 to below 0.5"),
            ("search.widening_k", self.widening_k, self.widening_k > 0.0, "above 0"),
            ("search.widening_alpha", self.widening_alpha, share.contains(&self.widening_alpha), "from 0 to 1"),
        ];
        match checks.into_iter().find(|(_, value, fits, _)| !(value.is_finite() && *fits)) {
            Some((field, value, _, allowed)) => {
                Err(DomainError::OutOfRange { field, value: value.to_string(), allowed })
            }
            None => Ok(()),
        }
    }
}

/// An approved task. Its hash names it; two tasks with equal hash are the same question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskSpec {
    /// Short name.
    pub name: String,
    /// The requirement in plain words.
    pub goal: String,
    /// Closed or open answers.
    pub kind: TaskKind,
    /// What counts.
    pub metric: Metric,
    /// Base model.
    pub model: ModelRef,
    /// Rows.
    pub data: DataSource,
    /// Split limits.
    pub splits: SplitSizes,
    /// Row → conversation.
    pub prompt: PromptSpec,
    /// How open answers are generated.
    #[serde(default, skip_serializing_if = "GenerationConfig::is_default")]
    pub generation: GenerationConfig,
    /// Where training starts from; the Playbook proposes changes to it.
    pub train: TrainConfig,
    /// Limits.
    pub budget: Budget,
    /// Exploration.
    pub search: SearchSettings,
    /// What jobs are computed on.
    #[serde(default, skip_serializing_if = "DeviceChoice::is_auto")]
    pub device: DeviceChoice,
}

impl TaskSpec {
    /// The name of this task by content.
    pub fn hash(&self) -> Result<ContentHash, DomainError> {
        ContentHash::of_value("trex.task.v1", self)
    }

    /// Checks what can be checked without data or model.
    pub fn validate(&self) -> Result<(), DomainError> {
        let settings = &self.search;
        let checks = [
            ("search.eta", settings.eta, (2..=16).contains(&settings.eta), "from 2 to 16"),
            ("search.rungs", settings.rungs, (1..=6).contains(&settings.rungs), "from 1 to 6"),
            ("search.batch", settings.batch, (1..=26).contains(&settings.batch), "from 1 to 26"),
            ("search.base_seeds", settings.base_seeds, (2..=20).contains(&settings.base_seeds), "from 2 to 20"),
            ("search.finalist_seeds", settings.finalist_seeds, settings.finalist_seeds <= 20, "at most 20"),
            ("search.plateau", settings.plateau, settings.plateau >= 1, "at least 1"),
            (
                "prompt.max_new_tokens",
                self.prompt.max_new_tokens,
                (1..=4096).contains(&self.prompt.max_new_tokens),
                "from 1 to 4096",
            ),
        ];
        for (field, value, valid, allowed) in checks {
            if !valid {
                return Err(DomainError::OutOfRange { field, value: value.to_string(), allowed });
            }
        }
        settings.validate_numbers()?;
        self.generation.validate()?;
        self.train.validate()?;
        self.check_forms()?;
        self.budget.validate()
    }

    /// Whether kind, metric, objective and files belong together.
    fn check_forms(&self) -> Result<(), DomainError> {
        let (objective, is_text) = (self.train.objective, self.kind == TaskKind::Text);
        let is_builtin = matches!(self.data, DataSource::Builtin { .. });
        let metric_fits = match self.kind {
            TaskKind::Text => self.metric == Metric::BitsPerByte,
            TaskKind::Preference => self.metric == Metric::Accuracy,
            TaskKind::Choice | TaskKind::Generate => self.metric != Metric::BitsPerByte,
        };
        let allowed_metric = match self.kind {
            TaskKind::Text => "bits_per_byte where kind is text",
            TaskKind::Preference => "accuracy where kind is preference",
            TaskKind::Choice | TaskKind::Generate => "one of the others; bits_per_byte is for kind = \"text\"",
        };
        let reads_text = objective.row_form() == RowForm::Text;
        let dev_fits = match objective.row_form() {
            RowForm::Answers => !is_text,
            RowForm::Pairs => self.kind == TaskKind::Preference || self.prompt.options.len() == 2,
            RowForm::Text => is_text,
        };
        let checks = [
            ("metric", self.metric.as_str(), metric_fits, allowed_metric),
            (
                "kind",
                self.kind.as_str(),
                !is_builtin || self.kind.row_form() == RowForm::Answers,
                "choice or generate for a built-in task",
            ),
            (
                "train.objective",
                objective.as_str(),
                reads_text == is_text || self.has_own_evaluation(),
                "pretrain with kind = \"text\" and another one without, unless data.dev and data.test name files of their \
                 own",
            ),
            (
                "train.method",
                "full",
                self.train.method == TrainMethod::Lora || self.train.adapter.is_none(),
                "lora where train.adapter names one to go on from",
            ),
            (
                "train.eval_steps",
                "set",
                self.train.eval_steps == 0 || dev_fits,
                "0 where the loss of the objective cannot be computed on rows of data.dev",
            ),
        ];
        match checks.into_iter().find(|(_, _, fits, _)| !fits) {
            Some((field, value, _, allowed)) => {
                Err(DomainError::OutOfRange { field, value: value.to_owned(), allowed })
            }
            None => Ok(()),
        }
    }

    /// Whether no evaluation row is held out of the training file.
    fn has_own_evaluation(&self) -> bool {
        let is_file = |split: &SplitSource| matches!(split, SplitSource::File(_));
        matches!(&self.data, DataSource::Files { dev, test, .. } if is_file(dev) && is_file(test))
    }

    /// How the items of this task are scored.
    pub fn eval_mode(&self) -> EvalMode {
        match self.kind {
            TaskKind::Choice => EvalMode::Choice,
            TaskKind::Generate => {
                EvalMode::Generate { max_new_tokens: self.prompt.max_new_tokens, generation: self.generation }
            }
            TaskKind::Preference => EvalMode::Preference,
            TaskKind::Text => EvalMode::Text,
        }
    }

    /// The fewest trials that carry one variant to the top rung, with its repeats on further seeds for the noise floor and as
    /// finalist. Scoring the base is no trial.
    pub fn min_trials(&self) -> usize {
        self.search.rungs + self.search.noise_seeds() + self.search.finalist_seeds
    }

    /// Refuses a budget with which no variant could be measured as the task asks for. Not a part of [`Self::validate`]: a
    /// command may replace the number that a task file states.
    pub fn check_trials(&self) -> Result<(), DomainError> {
        let (trials, needed) = (self.budget.trials, self.min_trials());
        if trials >= needed {
            return Ok(());
        }
        let SearchSettings { rungs, finalist_seeds, .. } = self.search;
        Err(DomainError::TooFewTrials { trials, needed, rungs, finalist_seeds })
    }

    /// Optimiser steps of a trial at `rung` (0 = cheapest): `max_steps · η^-(rungs-1-rung)`, at least 1.
    pub fn rung_steps(&self, max_steps: usize, rung: usize) -> usize {
        self.rung_share(max_steps, rung)
    }

    /// Items of the search split that a trial at `rung` is scored on. Never under 30, where intervals stop meaning much.
    pub fn rung_items(&self, items: usize, rung: usize) -> usize {
        self.rung_share(items, rung).max(30).min(items)
    }

    /// The highest rung: full fidelity.
    pub fn top_rung(&self) -> usize {
        self.search.rungs - 1
    }

    fn rung_share(&self, whole: usize, rung: usize) -> usize {
        let above = self.top_rung().saturating_sub(rung);
        let divisor = self.search.eta.saturating_pow(u32::try_from(above).unwrap_or(u32::MAX)).max(1);
        whole.div_ceil(divisor).max(1)
    }
}
