//! Reviews from the outside: the box in which decisions lie until a run takes them, the list of what waits, and deciding.
//!
//! The box is a folder of the workspace, `reviews/RUN`, with one file for a decision. So a person can decide while the run
//! holds the event log, and also while no program works on the run: the decision is taken when it is resumed. The run
//! alone says what a decision changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trex_domain::{
    DecidedBy, Event, Millis, Problem, ReviewDecision, ReviewDesk, ReviewId, ReviewRecord, ReviewRequest,
    ReviewSubject, ReviewVerdict, RunId, RunState,
};

use crate::EngineError;

/// Minutes that count for a decision whose content was not shown before.
const UNSEEN_MIN: f64 = 1.0;

/// Most minutes between showing and deciding that count: who comes back later has done something else in between.
const MOST_MIN: f64 = 15.0;

/// Time between two looks of a run that waits.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The box of a workspace.
#[derive(Clone, Debug)]
pub struct ReviewBox {
    folder: PathBuf,
}

/// When a review was first shown to a person.
#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    at: Millis,
}

impl ReviewBox {
    /// The box of the workspace in this folder; nothing is made before a decision is put there.
    pub fn of(workspace: &Path) -> Self {
        Self { folder: workspace.join("reviews") }
    }

    /// The decision that lies there.
    pub fn decision(&self, run: RunId, id: ReviewId) -> Option<ReviewDecision> {
        let content = trex_fs::read(&self.path(run, &format!("{id}.json"))).ok()?;
        serde_json::from_slice(&content).ok()
    }

    /// Notes that a person looks at a review; the first time counts.
    pub fn mark_seen(&self, run: RunId, id: ReviewId, now: Millis) -> Result<(), EngineError> {
        if self.seen(run, id).is_some() {
            return Ok(());
        }
        Ok(trex_fs::write_json(&self.seen_path(run, id), &Seen { at: now })?)
    }

    fn put(&self, run: RunId, decision: &ReviewDecision) -> Result<(), EngineError> {
        Ok(trex_fs::write_json(&self.path(run, &format!("{}.json", decision.id)), decision)?)
    }

    fn seen(&self, run: RunId, id: ReviewId) -> Option<Millis> {
        let content = trex_fs::read(&self.seen_path(run, id)).ok()?;
        serde_json::from_slice::<Seen>(&content).ok().map(|seen| seen.at)
    }

    fn seen_path(&self, run: RunId, id: ReviewId) -> PathBuf {
        self.path(run, &format!("{id}.seen"))
    }

    fn path(&self, run: RunId, name: &str) -> PathBuf {
        self.folder.join(run.to_string()).join(name)
    }
}

impl ReviewDesk for ReviewBox {
    /// A file that cannot be read counts as absent: the person decides once more.
    fn decisions(&self, run: RunId) -> Result<Vec<ReviewDecision>, Box<dyn Problem + Send + Sync>> {
        let Ok(entries) = std::fs::read_dir(self.folder.join(run.to_string())) else { return Ok(Vec::new()) };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let mut decisions: Vec<ReviewDecision> =
            files.filter_map(|path| serde_json::from_slice(&trex_fs::read(&path).ok()?).ok()).collect();
        decisions.sort_by_key(|decision| decision.id);
        Ok(decisions)
    }

    fn pause(&self) {
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Where a review stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewStatus {
    /// Nobody has decided.
    Waiting,
    /// A decision lies in the box and the run has not taken it yet.
    Given,
    /// As proposed.
    Approved,
    /// With other values.
    Edited,
    /// Not at all.
    Rejected,
}

impl ReviewStatus {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Given => "given",
            Self::Approved => "approved",
            Self::Edited => "edited",
            Self::Rejected => "rejected",
        }
    }
}

/// A review as a person sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReviewEntry {
    /// What is asked.
    #[serde(flatten)]
    pub request: ReviewRequest,
    /// Where it stands.
    pub status: ReviewStatus,
    /// When it was asked.
    pub asked_at: Millis,
    /// When the chosen default decides; absent where it waits for ever or is decided.
    pub expires_at: Option<Millis>,
    /// What was decided, by the run's account or as it lies in the box.
    pub decision: Option<ReviewDecision>,
    /// Roots of the names of settings that may be changed.
    pub editable: &'static [&'static str],
    /// What it is about, with every setting.
    pub content: Value,
}

/// Every review of a run, the riskiest of those that wait first, then those that are decided, in order.
pub fn review_entries(state: &RunState, run: RunId, desk: &ReviewBox) -> Vec<ReviewEntry> {
    let mut entries: Vec<ReviewEntry> = state.reviews.iter().map(|review| entry(state, review, run, desk)).collect();
    entries.sort_by(|a, b| {
        let is_decided = |one: &ReviewEntry| one.status != ReviewStatus::Waiting;
        let by_risk =
            if is_decided(a) { std::cmp::Ordering::Equal } else { b.request.score.total_cmp(&a.request.score) };
        is_decided(a).cmp(&is_decided(b)).then(by_risk).then(a.request.id.cmp(&b.request.id))
    });
    entries
}

fn entry(state: &RunState, review: &ReviewRecord, run: RunId, desk: &ReviewBox) -> ReviewEntry {
    let lying = desk.decision(run, review.request.id).filter(|_| review.is_open());
    let lying = lying.filter(|decision| review.decision.as_ref() != Some(decision));
    let status = match (&lying, &review.decision) {
        (Some(_), _) => ReviewStatus::Given,
        (None, None) => ReviewStatus::Waiting,
        (None, Some(decision)) => match decision.verdict {
            ReviewVerdict::Approve => ReviewStatus::Approved,
            ReviewVerdict::Edit { .. } => ReviewStatus::Edited,
            ReviewVerdict::Reject => ReviewStatus::Rejected,
        },
    };
    let expires_at = expiry(state, review).filter(|_| status == ReviewStatus::Waiting);
    ReviewEntry {
        request: review.request.clone(),
        status,
        asked_at: review.asked,
        expires_at,
        decision: lying.or_else(|| review.decision.clone()),
        editable: review.request.subject.editable(),
        content: content(state, &review.request.subject),
    }
}

/// When nobody's decision becomes the chosen default.
pub(crate) fn expiry(state: &RunState, review: &ReviewRecord) -> Option<Millis> {
    let minutes = state.gates.as_ref()?.wait_min?;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be finite; an overlong wait saturates")]
    let millis = (minutes * 60_000.0) as i64;
    Some(Millis(review.asked.0.saturating_add(millis)))
}

fn content(state: &RunState, subject: &ReviewSubject) -> Value {
    match subject {
        ReviewSubject::Task => json!(state.task),
        ReviewSubject::Claim { place } => json!(state.claims.get(*place)),
        ReviewSubject::Strategy { node } => {
            json!(state.nodes.get(node).and_then(|record| record.strategy.as_ref()))
        }
        ReviewSubject::Variant { variant } => json!(state.variants.get(variant).map(|record| &record.variant)),
        ReviewSubject::Final => {
            let best = state.incumbent.as_ref();
            json!({
                "best": best,
                "base_select": state.select_score(None),
                "best_select": best.and_then(|best| state.select_score(Some(best))),
            })
        }
    }
}

/// What a person decides.
#[derive(Clone, Debug, PartialEq)]
pub struct PersonsWord {
    /// What.
    pub verdict: ReviewVerdict,
    /// Why; needed for a rejection.
    pub reason: Option<String>,
    /// Minutes that it took; worked out from when the review was shown where absent.
    pub minutes: Option<f64>,
}

/// Checks a decision against the run and puts it into the box, where the run finds it. One that lies there and was not
/// taken yet is replaced.
pub fn decide_review(
    state: &RunState,
    run: RunId,
    desk: &ReviewBox,
    id: ReviewId,
    word: PersonsWord,
    now: Millis,
) -> Result<ReviewDecision, EngineError> {
    let review = state.reviews.iter().find(|review| review.request.id == id);
    let review = review.ok_or(EngineError::UnknownReview { id })?;
    if !review.is_open() {
        return Err(EngineError::ReviewDecided { id });
    }
    let reason = word.reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    if word.verdict == ReviewVerdict::Reject && reason.is_none() {
        return Err(EngineError::NoReason { id });
    }
    let person_min = word.minutes.unwrap_or_else(|| attention_min(desk.seen(run, id), now));
    if !(person_min.is_finite() && person_min >= 0.0) {
        return Err(trex_domain::DomainError::OutOfRange {
            field: "minutes",
            value: person_min.to_string(),
            allowed: "0 or more",
        }
        .into());
    }
    let decision = ReviewDecision { id, verdict: word.verdict, reason, by: DecidedBy::Person, person_min };
    // What the run would refuse is refused here, where the person can still mend it.
    state.clone().apply(&Event::ReviewDecided(decision.clone())).map_err(mendable)?;
    desk.put(run, &decision)?;
    Ok(decision)
}

/// An event that may not follow is a defect elsewhere; here it is what the person asked for.
fn mendable(err: trex_domain::DomainError) -> EngineError {
    match err {
        trex_domain::DomainError::IllegalEvent { why, .. } => {
            trex_domain::DomainError::BadEdit { name: "this".to_owned(), why }.into()
        }
        other => other.into(),
    }
}

fn attention_min(seen: Option<Millis>, now: Millis) -> f64 {
    seen.map_or(UNSEEN_MIN, |seen| (now.secs_since(seen) / 60.0).min(MOST_MIN))
}

#[cfg(test)]
mod tests {
    use trex_domain::{GatePolicy, GateStage, Risk};
    use trex_testkit::{START, TempWorkspace, run_id, started, strategy};

    use super::*;

    fn waiting() -> RunState {
        let mut state = RunState::default();
        let node = trex_domain::NodeId::strategy(1);
        let request = ReviewRequest {
            id: ReviewId::new(1),
            stage: GateStage::Strategy,
            subject: ReviewSubject::Strategy { node: node.clone() },
            question: "is it worth a try?".to_owned(),
            risk: Risk::default(),
            score: 0.5,
        };
        let policy = GatePolicy { wait_min: Some(2.0), ..GatePolicy::default() };
        let kind = trex_domain::StrategyKind::Baseline;
        for event in [
            started(1),
            Event::GatesSet { policy },
            Event::StrategyProposed { node, strategy: strategy(kind, "light") },
            Event::ReviewAsked(request),
        ] {
            state.apply(&event).unwrap();
        }
        state
    }

    fn word(verdict: ReviewVerdict, reason: Option<&str>) -> PersonsWord {
        PersonsWord { verdict, reason: reason.map(str::to_owned), minutes: None }
    }

    #[test]
    fn a_decision_is_checked_put_down_and_listed() {
        let folder = TempWorkspace::empty();
        let desk = ReviewBox::of(folder.path());
        let (state, run, id) = (waiting(), run_id(1), ReviewId::new(1));
        let listed = review_entries(&state, run, &desk);
        assert_eq!((listed[0].status, listed[0].expires_at), (ReviewStatus::Waiting, Some(Millis(120_000))));
        assert_eq!(listed[0].content["title"], "light");
        let decide = |verdict, reason| decide_review(&state, run, &desk, id, word(verdict, reason), START);
        let code = |verdict, reason| decide(verdict, reason).unwrap_err().code();
        assert_eq!(code(ReviewVerdict::Reject, None), "review.no_reason");
        assert_eq!(code(ReviewVerdict::Reject, Some("  ")), "review.no_reason");
        let bad = [("node".to_owned(), json!("s9"))].into();
        assert_eq!(code(ReviewVerdict::Edit { changes: bad }, None), "review.bad_edit");
        let unknown = decide_review(&state, run, &desk, ReviewId::new(9), word(ReviewVerdict::Approve, None), START);
        assert_eq!(unknown.unwrap_err().code(), "review.unknown");
        assert!(desk.decisions(run).unwrap().is_empty(), "what is refused is not put down");
        let given = decide(ReviewVerdict::Reject, Some("we tried that")).unwrap();
        assert_eq!(desk.decisions(run).unwrap(), std::slice::from_ref(&given));
        assert_eq!(review_entries(&state, run, &desk)[0].status, ReviewStatus::Given);
        let mut after = state.clone();
        after.apply(&Event::ReviewDecided(given)).unwrap();
        assert_eq!(review_entries(&after, run, &desk)[0].status, ReviewStatus::Rejected);
        assert_eq!(after.nodes[&trex_domain::NodeId::strategy(1)].rejected.as_deref(), Some("we tried that"));
        let again = decide_review(&after, run, &desk, id, word(ReviewVerdict::Approve, None), START);
        assert_eq!(again.unwrap_err().code(), "review.decided");
    }

    #[test]
    fn attention_is_counted_from_the_first_look_up_to_a_limit() {
        let folder = TempWorkspace::empty();
        let desk = ReviewBox::of(folder.path());
        let (run, id) = (run_id(1), ReviewId::new(1));
        let after = |minutes: i64| Millis(START.0 + minutes * 60_000);
        let check = |now, expected: f64| assert!((attention_min(desk.seen(run, id), now) - expected).abs() < 1e-9);
        check(START, UNSEEN_MIN);
        desk.mark_seen(run, id, START).unwrap();
        desk.mark_seen(run, id, after(2)).unwrap();
        check(after(3), 3.0);
        check(after(600), MOST_MIN);
    }
}
