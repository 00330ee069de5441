//! Gates for a person: how risky a decision is, what share of decisions may pass alone, and what a person said.
//!
//! Pure: nobody is asked and nothing waits here. What a decision changes in a run is folded by [`RunState`](crate::RunState).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{DomainError, Millis, NodeId, PassageId, VariantId};

/// The stages at which a person may want to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateStage {
    /// The task itself, before anything is done.
    Requirement,
    /// Claims that were found in documents.
    Literature,
    /// Hypotheses.
    Strategy,
    /// Variants that change the data.
    Data,
    /// Variants that change the training only.
    Training,
    /// Opening the sealed split.
    Evaluation,
}

impl GateStage {
    /// All, in order of a run.
    pub const ALL: [Self; 6] =
        [Self::Requirement, Self::Literature, Self::Strategy, Self::Data, Self::Training, Self::Evaluation];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requirement => "requirement",
            Self::Literature => "literature",
            Self::Strategy => "strategy",
            Self::Data => "data",
            Self::Training => "training",
            Self::Evaluation => "evaluation",
        }
    }

    /// Percent of its decisions that pass without a person by default; the degrees of automation of the TREX article.
    pub fn default_autonomy(self) -> u8 {
        match self {
            Self::Requirement => 80,
            Self::Literature | Self::Training => 90,
            Self::Strategy => 70,
            Self::Data => 60,
            Self::Evaluation => 85,
        }
    }
}

impl FromStr for GateStage {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text).ok_or_else(|| DomainError::OutOfRange {
            field: "stage",
            value: text.to_owned(),
            allowed: "requirement, literature, strategy, data, training or evaluation",
        })
    }
}

/// What happens to a decision that nobody made in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutChoice {
    /// It passes.
    Approve,
    /// It does not.
    Reject,
    /// The run ends, to be resumed.
    #[default]
    Stop,
}

/// How much a run decides alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatePolicy {
    /// Percent of the decisions of a stage that pass without a person; the default of the stage where absent.
    pub autonomy: BTreeMap<GateStage, u8>,
    /// Minutes that a decision waits for a person; for ever where absent.
    pub wait_min: Option<f64>,
    /// What happens then.
    pub then: TimeoutChoice,
}

impl GatePolicy {
    /// Percent of the decisions of a stage that pass without a person.
    pub fn percent(&self, stage: GateStage) -> u8 {
        self.autonomy.get(&stage).copied().unwrap_or_else(|| stage.default_autonomy())
    }

    /// Checks every number.
    pub fn validate(&self) -> Result<(), DomainError> {
        if let Some(percent) = self.autonomy.values().find(|percent| **percent > 100) {
            let value = percent.to_string();
            return Err(DomainError::OutOfRange { field: "autonomy", value, allowed: "from 0 to 100 percent" });
        }
        if let Some(minutes) = self.wait_min.filter(|minutes| !(minutes.is_finite() && *minutes >= 0.0)) {
            let value = minutes.to_string();
            return Err(DomainError::OutOfRange { field: "wait_min", value, allowed: "0 or more minutes" });
        }
        Ok(())
    }

    /// Whether a decision that stands alone waits for a person: where its risk is above the share that may pass.
    pub fn holds_alone(&self, stage: GateStage, risk: &Risk) -> bool {
        risk.score() * 100.0 > f64::from(self.percent(stage))
    }

    /// The places of those of a batch that wait for a person: its riskiest, so many that of all decisions of the stage, the
    /// `before` earlier ones with `held` of them held included, no larger share passes than may.
    pub fn held(&self, stage: GateStage, risks: &[Risk], before: usize, held: usize) -> Vec<usize> {
        let all = before + risks.len();
        let wanted = (all * usize::from(100 - self.percent(stage).min(100))).div_ceil(100);
        let mut places: Vec<usize> = (0..risks.len()).collect();
        places.sort_by(|a, b| risks[*b].score().total_cmp(&risks[*a].score()).then(a.cmp(b)));
        places.truncate(wanted.saturating_sub(held));
        places.sort_unstable();
        places
    }
}

/// How risky a decision is: four numbers in [0, 1], each with what it stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Risk {
    /// Share of the budget that it may spend.
    pub cost: f64,
    /// How far it is from what was tried before.
    pub novelty: f64,
    /// How unsure whoever proposes it is.
    pub doubt: f64,
    /// How little of it can be taken back.
    pub irreversibility: f64,
}

impl Risk {
    /// One number in [0, 1): `1 - Π (1 - wᵢ·xᵢ)`. What cannot be taken back weighs most, so that it alone is risky enough.
    pub fn score(&self) -> f64 {
        let parts = [(0.5, self.cost), (0.4, self.novelty), (0.5, self.doubt), (0.9, self.irreversibility)];
        1.0 - parts.into_iter().map(|(weight, part)| 1.0 - weight * part.clamp(0.0, 1.0)).product::<f64>()
    }
}

/// Names a review of a run: `r1`, `r2` and so on, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ReviewId(u32);

impl ReviewId {
    /// The review with this number, from 1.
    pub fn new(number: usize) -> Self {
        Self(u32::try_from(number).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for ReviewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl From<ReviewId> for String {
    fn from(id: ReviewId) -> Self {
        id.to_string()
    }
}

impl FromStr for ReviewId {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        let digits = text.strip_prefix('r').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok()).filter(|number| *number > 0);
        number.map(Self).ok_or_else(|| DomainError::BadReviewId { text: text.to_owned() })
    }
}

impl TryFrom<String> for ReviewId {
    type Error = DomainError;

    fn try_from(text: String) -> Result<Self, DomainError> {
        text.parse()
    }
}

/// What a person is asked about. Its content is in the state of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ReviewSubject {
    /// The task.
    Task,
    /// A claim that was found in a document, by its place among the claims of the run, from 0.
    Claim {
        /// Place.
        place: usize,
    },
    /// A strategy.
    Strategy {
        /// Its node.
        node: NodeId,
    },
    /// A variant.
    Variant {
        /// Which.
        variant: VariantId,
    },
    /// Whether the sealed split is opened.
    Final,
}

impl ReviewSubject {
    /// Whether a rejection can be taken back: the run waits for that, and for nothing else.
    pub fn can_be_reopened(&self) -> bool {
        matches!(self, Self::Task | Self::Final)
    }

    /// The settings that a person may change: roots of dotted names. None where it is only approved or rejected.
    pub fn editable(&self) -> &'static [&'static str] {
        match self {
            Self::Strategy { .. } => &["title", "hypothesis", "rationale", "expected_effect", "prior"],
            Self::Variant { .. } => &["why", "recipe", "config"],
            Self::Task | Self::Claim { .. } | Self::Final => &[],
        }
    }
}

/// A statement of what documents say about a task, with the passage that contains it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    /// One sentence.
    pub statement: String,
    /// The passage that it cites.
    #[schemars(with = "String")]
    pub passage: PassageId,
    /// Title of its document.
    pub title: String,
    /// The words of the passage that support it.
    pub quote: String,
    /// Share of the statement's words that the quote holds, in [0, 1].
    pub support: f64,
    /// Why a person does not want it to count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

/// A decision that waits for a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReviewRequest {
    /// Its name.
    pub id: ReviewId,
    /// Stage.
    pub stage: GateStage,
    /// About what.
    pub subject: ReviewSubject,
    /// The question in a sentence.
    pub question: String,
    /// Why it is thought risky.
    pub risk: Risk,
    /// The risk as one number.
    pub score: f64,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum ReviewVerdict {
    /// As it is.
    Approve,
    /// With other values.
    Edit {
        /// Dotted names of settings with their new values.
        changes: BTreeMap<String, Value>,
    },
    /// Not at all.
    Reject,
}

impl ReviewVerdict {
    /// What happened, in a word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Edit { .. } => "edited",
            Self::Reject => "rejected",
        }
    }
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    /// A person.
    Person,
    /// Nobody did in time, so the chosen default.
    Timeout,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReviewDecision {
    /// Of which review.
    pub id: ReviewId,
    /// What.
    #[serde(flatten)]
    pub verdict: ReviewVerdict,
    /// Why; a rejection always has one.
    pub reason: Option<String>,
    /// By whom.
    pub by: DecidedBy,
    /// Minutes of the person's attention.
    pub person_min: f64,
}

/// A review as a run knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReviewRecord {
    /// What was asked.
    pub request: ReviewRequest,
    /// When.
    pub asked: Millis,
    /// What was decided.
    pub decision: Option<ReviewDecision>,
}

impl ReviewRecord {
    /// Whether a decision may still come.
    pub fn is_open(&self) -> bool {
        match &self.decision {
            None => true,
            Some(decision) => decision.verdict == ReviewVerdict::Reject && self.request.subject.can_be_reopened(),
        }
    }

    /// Whether the run waits for it.
    pub fn is_pending(&self) -> bool {
        self.decision.is_none()
    }

    /// Whether it was rejected.
    pub fn is_rejected(&self) -> bool {
        self.decision.as_ref().is_some_and(|decision| decision.verdict == ReviewVerdict::Reject)
    }
}

/// A value with some settings changed; a setting that is not there, may not be changed or does not take the value is an
/// error.
pub fn edited<T: Serialize + DeserializeOwned>(
    value: &T,
    changes: &BTreeMap<String, Value>,
    allowed: &[&str],
) -> Result<T, DomainError> {
    let mut json = serde_json::to_value(value).map_err(DomainError::NotJson)?;
    for (name, new) in changes {
        let bad = |why: String| DomainError::BadEdit { name: name.clone(), why };
        let root = name.split('.').next().unwrap_or_default();
        if !allowed.contains(&root) {
            let list = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
            return Err(bad(format!("what may be changed is {list}")));
        }
        let mut place = &mut json;
        for part in name.split('.') {
            place = place.get_mut(part).ok_or_else(|| bad("there is no such setting".to_owned()))?;
        }
        *place = new.clone();
    }
    let names = || changes.keys().cloned().collect::<Vec<_>>().join(", ");
    serde_json::from_value(json).map_err(|err| DomainError::BadEdit { name: names(), why: err.to_string() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::TrainConfig;

    #[test]
    fn what_cannot_be_taken_back_is_risky_by_itself() {
        let score = |cost, novelty, doubt, irreversibility| Risk { cost, novelty, doubt, irreversibility }.score();
        assert!(score(0.0, 0.0, 0.0, 0.0).abs() < 1e-12);
        assert!(score(0.0, 0.0, 0.0, 1.0) > 0.85, "opening the sealed split is held by default");
        assert!(score(1.0, 0.0, 0.5, 0.0) > score(0.5, 0.0, 0.5, 0.0));
        assert!(score(9.0, 9.0, 9.0, 9.0) < 1.0, "numbers out of range count as the nearest one");
    }

    #[test]
    fn the_riskiest_are_held() {
        let policy = GatePolicy::default();
        let risks: Vec<Risk> = [0.1, 0.9, 0.5, 0.2, 0.9].map(|doubt| Risk { doubt, ..Risk::default() }).into();
        assert_eq!(
            policy.held(GateStage::Strategy, &risks, 0, 0),
            [1, 4],
            "30 % of 5, rounded up; of equal ones the first"
        );
        assert_eq!(policy.held(GateStage::Training, &risks, 5, 1), Vec::<usize>::new(), "one of ten was held already");
        let all = GatePolicy { autonomy: [(GateStage::Data, 0)].into(), ..GatePolicy::default() };
        assert_eq!(all.held(GateStage::Data, &risks, 0, 0), [0, 1, 2, 3, 4]);
        let none = GatePolicy { autonomy: [(GateStage::Data, 100)].into(), ..GatePolicy::default() };
        assert!(none.held(GateStage::Data, &risks, 3, 0).is_empty());
    }

    proptest! {
        #[test]
        fn never_does_a_larger_share_pass_than_may(
            percent in 0u8..=100,
            batches in proptest::collection::vec(proptest::collection::vec(0.0f64..1.0, 0..6), 1..8),
        ) {
            let policy = GatePolicy { autonomy: [(GateStage::Data, percent)].into(), ..GatePolicy::default() };
            let (mut all, mut held) = (0, 0);
            for batch in batches {
                let risks: Vec<Risk> = batch.iter().map(|doubt| Risk { doubt: *doubt, ..Risk::default() }).collect();
                held += policy.held(GateStage::Data, &risks, all, held).len();
                all += risks.len();
                prop_assert!((all - held) * 100 <= all * usize::from(percent));
            }
        }
    }

    #[test]
    fn reviews_have_names() {
        for (text, valid) in [("r1", true), ("r12", true), ("r0", false), ("r", false), ("1", false), ("r-1", false)] {
            assert_eq!(text.parse::<ReviewId>().is_ok(), valid, "{text}");
        }
        assert_eq!(ReviewId::new(3).to_string(), "r3");
    }

    #[test]
    fn settings_are_changed_by_name_and_only_where_they_may() {
        let config = TrainConfig::default();
        let change = |name: &str, value: Value| BTreeMap::from([(name.to_owned(), value)]);
        let changed = edited(&config, &change("lora.r", 16.into()), &["lora"]).unwrap();
        assert_eq!((changed.lora.r, config.lora.r), (16, 8));
        for (name, value) in [("lora.rank", Value::from(16)), ("seed", 1.into()), ("lora.r", "much".into())] {
            let err = edited(&config, &change(name, value), &["lora"]).unwrap_err();
            assert!(matches!(err, DomainError::BadEdit { .. }), "{err}");
        }
    }
}
