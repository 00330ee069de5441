//! What a run remembers for the next question: where it stands, what was tried beside it, what worked and what failed, what
//! was learned, what a person did not want. Within a fixed number of tokens; of the search split alone.

use trex_domain::{NodeId, NodeState, RunState, VariantId, VariantRecord};

use crate::asking::CHARS_PER_TOKEN;
use crate::diagnosis::Diagnosis;
use crate::prompts::quoted;

/// Tokens of a memory; small local models have room for some two thousand in all.
const TOKENS: usize = 600;

/// The memory below a strategy, the most telling lines first; what does not fit is left out and counted.
pub(crate) fn memory(state: &RunState, strategy: &NodeId, diagnosis: Option<&Diagnosis>) -> String {
    let mut lines = Vec::new();
    lines.extend(path(state, strategy));
    lines.extend(diagnosed(diagnosis));
    lines.extend(rejected(state));
    lines.extend(failures(state));
    lines.extend(learned(state));
    lines.extend(claimed(state));
    within(&lines, TOKENS * CHARS_PER_TOKEN)
}

/// The first lines that fit.
fn within(lines: &[String], max_chars: usize) -> String {
    let mut used = 0;
    let fits = |line: &&String| {
        used += line.chars().count() + 1;
        used <= max_chars
    };
    let kept: Vec<&str> = lines.iter().take_while(fits).map(String::as_str).collect();
    let left_out = lines.len() - kept.len();
    match (kept.is_empty(), left_out) {
        (true, 0) => "nothing yet".to_owned(),
        (_, 0) => kept.join("\n"),
        _ => format!("{}\n({left_out} more lines left out)", kept.join("\n")),
    }
}

/// From the incumbent back to where the task starts, and the strategy with its best.
fn path(state: &RunState, strategy: &NodeId) -> Vec<String> {
    const LONGEST: usize = 6;
    let mut lines = Vec::new();
    let mut next = state.incumbent.as_ref();
    while let Some(record) = next.and_then(|id| state.variants.get(id)).filter(|_| lines.len() < LONGEST) {
        let what = if lines.is_empty() { "best so far" } else { "before it" };
        lines.push(format!("{what}: {}", told(state, record)));
        next = record.variant.parent.as_ref();
    }
    let below = state.experiments(strategy).filter_map(|(_, node)| node.winner.as_ref());
    lines.extend(below.filter_map(|id| state.variants.get(id)).map(|one| format!("here: {}", told(state, one))));
    lines
}

fn told(state: &RunState, record: &VariantRecord) -> String {
    let changes: Vec<String> = record.variant.diff.iter().map(|(name, (_, to))| format!("{name} {to}")).collect();
    let score = last_search_score(state, &record.variant.id).map(|score| format!(": {score:.3}")).unwrap_or_default();
    format!("{} {}{score}", record.variant.id, quoted(&changes.join(", "), 160))
}

fn last_search_score(state: &RunState, id: &VariantId) -> Option<f64> {
    let own = state.trials.iter().filter(|((variant, _, seed), _)| variant == id && *seed == 0);
    own.filter_map(|(_, trial)| trial.scores.get("search")).next_back().map(|score| score.value)
}

fn diagnosed(diagnosis: Option<&Diagnosis>) -> Vec<String> {
    let findings = diagnosis.into_iter().flat_map(|one| one.findings.iter().take(3));
    findings.map(|finding| format!("found wrong: {}: {}", finding.code, quoted(&finding.cause, 160))).collect()
}

fn rejected(state: &RunState) -> Vec<String> {
    let line = |(request, reason): (&trex_domain::ReviewRequest, &str)| {
        format!("a person rejected this: {} because {}", quoted(&request.question, 140), quoted(reason, 140))
    };
    let before = state.warm_start.iter().flat_map(|warm| &warm.rejections);
    let before = before.map(|text| format!("a person rejected this in a similar task: {}", quoted(text, 280)));
    state.rejections().map(line).chain(before).collect()
}

fn failures(state: &RunState) -> Vec<String> {
    const MOST: usize = 4;
    let is_failure = |record: &&VariantRecord| matches!(record.state, NodeState::Failed | NodeState::Rejected);
    let failed = state.variants.values().rev().filter(is_failure).take(MOST);
    failed
        .map(|record| {
            let why = record.note.as_deref().unwrap_or_default();
            format!("did not work: {} ({})", told(state, record), quoted(why, 120))
        })
        .collect()
}

fn learned(state: &RunState) -> Vec<String> {
    const MOST: usize = 5;
    let newest = state.insights.iter().rev().take(MOST);
    newest.map(|insight| format!("learned: {}", quoted(&insight.statement, 220))).collect()
}

fn claimed(state: &RunState) -> Vec<String> {
    let wanted = state.claims.iter().filter(|claim| claim.rejected.is_none()).take(4);
    wanted.map(|claim| format!("a document says: {}", quoted(&claim.statement, 200))).collect()
}

/// Other variants of the same experiment, a line each.
pub(crate) fn siblings(state: &RunState, id: &VariantId) -> Vec<String> {
    let node = id.node();
    let others = state.variants.iter().filter(|(other, _)| other.node() == node && *other != id);
    let lines: Vec<String> = others.map(|(_, record)| told(state, record)).collect();
    if lines.is_empty() { vec!["none".to_owned()] } else { lines }
}

/// One line for every variant with a score on the search split, oldest first. No other split is ever shown.
pub(crate) fn tried(state: &RunState) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, rung, seed) in &state.trial_order {
        let Some(score) = state.trial_score(&(id.clone(), *rung, *seed), "search").filter(|_| *seed == 0) else {
            continue;
        };
        let Some(record) = state.variants.get(id) else { continue };
        let is_data = |name: &str| name.starts_with("recipe.");
        let settings = record.variant.diff.iter().filter(|(name, _)| !is_data(name));
        let mut changes: Vec<String> = settings.map(|(name, (_, to))| format!("{name} {to}")).collect();
        let num_data = record.variant.diff.keys().filter(|name| is_data(name)).count();
        if num_data > 0 {
            changes.push(format!("{num_data} data steps"));
        }
        let better = if score.metric.lower_is_better() { " (lower is better)" } else { "" };
        lines.push(format!("{id} at rung {rung}, {}: {:.3}{better}", quoted(&changes.join(", "), 200), score.value));
    }
    lines
}

#[cfg(test)]
mod tests {
    use trex_domain::{
        DecidedBy, Event, GateStage, ReviewDecision, ReviewId, ReviewRequest, ReviewSubject, ReviewVerdict,
    };
    use trex_testkit::finished_run;

    use super::*;

    /// A searched run whose third review a person rejected; the sealed split is not opened yet.
    fn state() -> RunState {
        let mut state = RunState::default();
        for event in finished_run().into_iter().take_while(|event| !matches!(event, Event::FinalOpened { .. })) {
            state.apply(&event).unwrap();
        }
        let id = ReviewId::new(1);
        let request = ReviewRequest {
            id,
            stage: GateStage::Training,
            subject: ReviewSubject::Final,
            question: "may it train?".to_owned(),
            risk: trex_domain::Risk::default(),
            score: 0.5,
        };
        state.apply(&Event::ReviewAsked(request)).unwrap();
        let reason = Some("we tried that in May".to_owned());
        let verdict = ReviewVerdict::Reject;
        let decision = ReviewDecision { id, verdict, reason, by: DecidedBy::Person, person_min: 1.0 };
        state.apply(&Event::ReviewDecided(decision)).unwrap();
        state
    }

    #[test]
    fn what_worked_failed_was_learned_and_was_not_wanted_is_remembered() {
        let text = memory(&state(), &NodeId::strategy(1), None);
        for part in
            ["best so far: s1.e1.a", "did not work: s1.e1.c", "learned: a higher", "because we tried that in May"]
        {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        // Scores of the search split alone: those of other splits are 0.67 and 0.56.
        assert!(text.contains("0.680") && !text.contains("0.670") && !text.contains("0.560"), "{text}");
        assert_eq!(siblings(&state(), &trex_testkit::variant_id("s1.e1.a")).len(), 2);
    }

    #[test]
    fn a_memory_has_its_limit() {
        let lines: Vec<String> = (0..500).map(|number| format!("line {number} of a long history")).collect();
        let text = within(&lines, TOKENS * CHARS_PER_TOKEN);
        assert!(text.chars().count() <= TOKENS * CHARS_PER_TOKEN + 40 && text.contains("left out"), "{}", text.len());
        assert_eq!(within(&[], 100), "nothing yet");
    }
}
