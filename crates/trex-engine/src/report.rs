//! The report of a run: built from its folded state, rendered as Markdown and as one self-contained HTML file.
//!
//! Everything here is a pure function of its arguments: nothing is read, written or scored, so a stored report renders
//! to the same bytes on every machine.

mod html;
mod markdown;
#[cfg(test)]
pub(crate) mod sample;
mod schema;
mod svg_curves;
mod svg_tree;
mod text;

use std::collections::BTreeMap;

use trex_domain::{
    BestModel, Cost, DuplicateCounts, NodeId, NodeRecord, NodeReport, Report, ReportScore, RunId, RunState, SeedNoise,
    TrialRecord, VariantDiff, VariantId, VariantRecord, VariantReport,
};

pub use html::report_html;
pub use markdown::report_markdown;
#[cfg(test)]
pub(crate) use schema::check_committed;
pub use schema::{report_schema, schema_text};
pub(crate) use text::duration;
pub use text::why_best;

/// Version of the report's schema.
pub const REPORT_SCHEMA: &str = "trex.report.v1";

/// Says of an unfinished report that no program works on its run, which the events alone cannot tell.
pub fn mark_interrupted(report: &mut Report) {
    if report.verdict.is_none() {
        let status = if report.failure.is_some() { text::FAILED } else { text::INTERRUPTED };
        status.clone_into(&mut report.status);
    }
}

/// Builds the report of a run as far as it has come; `files` are the deliverables by kind, relative to the workspace.
///
/// Nodes come in order of creation, the root `base` first. The value of the root is the base's own select score; the
/// value of any other node is the best select score below it.
pub fn build_report(state: &RunState, run: RunId, files: BTreeMap<String, String>) -> Report {
    let task = state.task.as_ref();
    let base = state.final_scores.get(&None).or_else(|| state.select_score(None)).map(ReportScore::from);
    let final_ = match &state.incumbent {
        Some(_) => state.final_scores.get(&state.incumbent).map(ReportScore::from),
        None => base.clone(),
    };
    Report {
        schema: REPORT_SCHEMA.to_owned(),
        run: run.to_string(),
        task: task.map(|task| task.name.clone()).unwrap_or_default(),
        goal: task.map(|task| task.goal.clone()).unwrap_or_default(),
        model: task.map(|task| task.model.0.clone()).unwrap_or_default(),
        seed: state.seed,
        version: state.version.clone(),
        status: if state.verdict.is_some() { "finished" } else { "running" }.to_owned(),
        started: state.started,
        base,
        final_,
        gain: state.final_comparison,
        judgement: state.judgement,
        verdict: state.verdict,
        stopped: state.stopped.clone(),
        trials: state.trials.len(),
        duplicates: DuplicateCounts { avoided: state.duplicates_avoided, run: state.duplicates_run },
        cost: state.cost,
        cost_by_phase: state.cost_by_phase.clone(),
        noise: noise(state),
        nodes: nodes(state),
        insights: state.insights.clone(),
        warm_start: state.warm_start.as_ref().map(trex_domain::WarmStart::lines).unwrap_or_default(),
        best: best_model(state),
        final_opened: state.final_opened,
        rows: rows(state),
        profiles: state.data.as_ref().map(|data| data.profiles.clone()).unwrap_or_default(),
        warnings: warnings(state),
        files,
        resumed: state.resumed,
        failure: state.failure.clone(),
    }
}

fn noise(state: &RunState) -> Vec<SeedNoise> {
    let entries = state.noise.iter().map(|(of, scores, sd)| {
        // The base is repeated on the split that drives the search, a variant on the one that re-scores winners.
        let score = match of.parse::<VariantId>() {
            Ok(variant) => state.select_score(Some(&variant)),
            Err(_) => state.base_scores.get(&("search".to_owned(), 0)),
        };
        let (split, n) = score.map(|score| (score.split.clone(), score.n)).unzip();
        SeedNoise { of: of.clone(), split, n, scores: scores.clone(), sd: *sd }
    });
    entries.collect()
}

fn rows(state: &RunState) -> BTreeMap<String, usize> {
    let Some(data) = &state.data else {
        return BTreeMap::new();
    };
    ["pool", "search", "select", "final"].into_iter().map(str::to_owned).zip(data.rows).collect()
}

fn warnings(state: &RunState) -> Vec<String> {
    let mut all = state.warnings.clone();
    for (id, record) in &state.variants {
        all.extend(record.warnings.iter().map(|warning| format!("{id}: {warning}")));
    }
    all
}

fn nodes(state: &RunState) -> Vec<NodeReport> {
    let mut reports = vec![root_node(state)];
    for id in &state.node_order {
        if let Some(record) = state.nodes.get(id) {
            reports.push(node_report(state, id, record));
        }
    }
    reports
}

fn root_node(state: &RunState) -> NodeReport {
    NodeReport {
        id: NodeId::base(),
        parent: None,
        title: "untouched base model".to_owned(),
        strategy: None,
        value: state.select_score(None).map(|score| score.value),
        variants: Vec::new(),
        comparison: None,
        cost: state.base_cost,
    }
}

fn node_report(state: &RunState, id: &NodeId, record: &NodeRecord) -> NodeReport {
    let variants: Vec<_> = record.variants.iter().filter_map(|id| variant_report(state, id)).collect();
    NodeReport {
        id: id.clone(),
        parent: Some(record.parent.clone()),
        title: record.title.clone(),
        strategy: record.strategy.clone(),
        value: best_value_below(state, id, record),
        variants,
        comparison: record.comparison,
        cost: cost_below(state, id, record),
    }
}

/// The variants of an experiment, or of all experiments below a strategy.
fn variants_below<'a>(state: &'a RunState, id: &'a NodeId, record: &'a NodeRecord) -> Vec<&'a VariantId> {
    if record.strategy.is_none() {
        return record.variants.iter().collect();
    }
    state.experiments(id).flat_map(|(_, experiment)| &experiment.variants).collect()
}

fn best_value_below(state: &RunState, id: &NodeId, record: &NodeRecord) -> Option<f64> {
    let variants = variants_below(state, id, record).into_iter();
    let scores = variants.filter_map(|variant| state.select_score(Some(variant)));
    scores.max_by(|a, b| a.merit().total_cmp(&b.merit())).map(|score| score.value)
}

fn cost_below(state: &RunState, id: &NodeId, record: &NodeRecord) -> Cost {
    let mut sum = Cost::default();
    for variant in variants_below(state, id, record) {
        if let Some(record) = state.variants.get(variant) {
            sum += record.cost;
        }
    }
    sum
}

fn variant_report(state: &RunState, id: &VariantId) -> Option<VariantReport> {
    let record = state.variants.get(id)?;
    // The result of the variant that a duplicate equals stands for both.
    let measured = record.duplicate_of.as_ref().unwrap_or(id);
    let search = trials_of(state, measured).rev().find_map(|(_, trial)| trial.scores.get("search"));
    let trained = trials_of(state, id).rev().find_map(|(_, trial)| trial.done.as_ref());
    Some(VariantReport {
        id: id.clone(),
        state: record.state,
        diff: record.variant.diff.clone(),
        why: record.variant.why.clone(),
        rung: trials_of(state, id).map(|(rung, _)| rung).next_back(),
        search: search.map(ReportScore::from),
        select: state.select_score(Some(measured)).map(ReportScore::from),
        curve: trained.map(|done| done.curve.clone()).unwrap_or_default(),
        ledger: record.ledger.clone(),
        note: record.note.clone(),
        cost: record.cost,
    })
}

/// The trials of a variant with training seed 0, lowest rung first.
fn trials_of<'a>(
    state: &'a RunState,
    id: &'a VariantId,
) -> impl DoubleEndedIterator<Item = (usize, &'a TrialRecord)> + 'a {
    let from = (id.clone(), 0, 0);
    let to = (id.clone(), usize::MAX, u64::MAX);
    state.trials.range(from..=to).filter(|((_, _, seed), _)| *seed == 0).map(|((_, rung, _), trial)| (*rung, trial))
}

fn best_model(state: &RunState) -> Option<BestModel> {
    let id = state.incumbent.as_ref()?;
    let record = state.variants.get(id)?;
    let done = trials_of(state, id).rev().find_map(|(_, trial)| trial.done.as_ref())?;
    Some(BestModel {
        variant: id.clone(),
        config: record.variant.config.clone(),
        operators: record.variant.recipe.operators.iter().map(|operator| operator.name().to_owned()).collect(),
        adapter: done.adapter.to_string(),
        diff: diff_from_start(state, record),
    })
}

/// All changes on the way from the task's starting point: first "from" and last "to" of every setting.
fn diff_from_start(state: &RunState, record: &VariantRecord) -> VariantDiff {
    let mut whole = VariantDiff::new();
    let mut current = Some(record);
    // A parent is always older; the count of variants bounds the walk even if a record says otherwise.
    for _ in 0..state.variants.len() {
        let Some(record) = current else { break };
        for (setting, (from, to)) in &record.variant.diff {
            let entry = whole.entry(setting.clone()).or_insert_with(|| (from.clone(), to.clone()));
            entry.0.clone_from(from);
        }
        current = record.variant.parent.as_ref().and_then(|parent| state.variants.get(parent));
    }
    whole.retain(|_, (from, to)| from != to);
    whole
}

#[cfg(test)]
mod tests {
    use trex_domain::NodeState;

    use super::sample::{running_state, sample_report, sample_state};
    use super::*;

    fn run_id() -> RunId {
        RunId::from_parts(trex_domain::Millis(1_700_000_000_000), [7; 10])
    }

    fn variant<'a>(report: &'a Report, id: &str) -> &'a VariantReport {
        report.nodes.iter().flat_map(|node| &node.variants).find(|variant| variant.id.as_str() == id).unwrap()
    }

    #[test]
    fn nodes_stand_in_order_of_creation_below_the_root() {
        let report = sample_report();
        let ids: Vec<_> = report.nodes.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(ids, ["base", "s1", "s2", "s1.e1", "s2.e1"]);
        let values: Vec<_> = report.nodes.iter().map(|node| node.value).collect();
        assert_eq!(values, [Some(0.52), Some(0.79), Some(0.74), Some(0.79), Some(0.74)]);
    }

    #[test]
    fn the_sealed_scores_are_those_of_base_and_incumbent() {
        let report = sample_report();
        assert_eq!(report.base.as_ref().map(|score| (score.score, score.split.as_str())), Some((0.52, "final")));
        assert_eq!(report.final_.as_ref().map(|score| (score.score, score.n)), Some((0.81, 500)));
        assert_eq!(report.status, "finished");
        assert_eq!(report.final_opened, 1);
        assert_eq!(report.trials, 9);
        assert_eq!(report.duplicates, DuplicateCounts { avoided: 1, run: 0 });
    }

    #[test]
    fn before_the_end_the_base_score_is_that_of_the_select_split() {
        let state = running_state();
        let report = build_report(&state, run_id(), BTreeMap::new());
        assert_eq!(report.status, "running");
        assert_eq!(report.base.as_ref().map(|score| score.split.as_str()), Some("select"));
        assert_eq!(report.final_, None, "a sealed score that nobody has measured");
    }

    #[test]
    fn without_an_incumbent_the_final_score_is_the_bases() {
        let mut state = sample_state();
        state.incumbent = None;
        let report = build_report(&state, run_id(), BTreeMap::new());
        assert_eq!(report.final_, report.base);
        assert_eq!(report.best, None);
    }

    #[test]
    fn variants_carry_scores_curves_costs_and_notes() {
        let report = sample_report();
        let best = variant(&report, "s1.e1.a");
        assert_eq!((best.state, best.rung), (NodeState::Evaluated, Some(2)));
        assert_eq!(best.search.as_ref().map(|score| score.score), Some(0.8));
        assert!(best.curve.len() > 10 && best.ledger.is_some());
        let duplicate = variant(&report, "s2.e1.b");
        assert_eq!((duplicate.state, duplicate.rung), (NodeState::Cached, None));
        assert_eq!(duplicate.select, best.select, "the earlier result stands for both");
        assert_eq!(duplicate.note.as_deref(), Some("equal to s1.e1.a"));
        assert_eq!(duplicate.cost, Cost::default());
        assert_eq!(variant(&report, "s2.e1.c").state, NodeState::Rejected);
        assert!(variant(&report, "s1.e1.c").note.as_deref().unwrap_or_default().contains("diverged"));
        let sum: f64 = report.nodes[3].variants.iter().map(|variant| variant.cost.cpu_s).sum();
        assert!((report.nodes[3].cost.cpu_s - sum).abs() < 1e-9);
        assert!((report.nodes[1].cost.cpu_s - sum).abs() < 1e-9);
    }

    #[test]
    fn the_root_costs_what_scoring_the_base_cost() {
        let mut state = sample_state();
        let root = |state: &RunState| build_report(state, run_id(), BTreeMap::new()).nodes[0].cost;
        assert_eq!(root(&state), state.base_cost);
        let below: f64 = state.variants.values().map(|variant| variant.cost.cpu_s).sum();
        let base = root(&state).cpu_s;
        assert!(base > 0.0 && below > 0.0 && (base + below - state.cost.cpu_s).abs() < 1e-9, "{base} and {below}");
        state.variants.clear();
        assert!((root(&state).cpu_s - base).abs() < 1e-9, "it does not depend on the tree");
    }

    #[test]
    fn the_best_models_changes_are_summed_up_along_its_parents() {
        let mut state = sample_state();
        state.incumbent = Some("s2.e1.a".parse().unwrap());
        let best = build_report(&state, run_id(), BTreeMap::new()).best.unwrap();
        assert_eq!(best.diff["learning_rate"], ("0.0002".to_owned(), "0.001".to_owned()));
        assert_eq!(best.diff["lora.r"], ("8".to_owned(), "16".to_owned()));
        assert_eq!(best.operators, ["normalise", "exact_dedup", "decontaminate"]);
        assert_eq!(best.adapter.len(), 64);
    }

    #[test]
    fn a_report_survives_its_json_form() {
        let report = sample_report();
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }

    #[test]
    fn an_empty_run_still_has_a_report() {
        let report = build_report(&RunState::default(), run_id(), BTreeMap::new());
        assert_eq!(report.nodes.len(), 1);
        assert!(report_markdown(&report).contains("has not ended"));
        assert!(report_html(&report).contains("</html>"));
    }
}
