//! The tables derived from a run's state: what a row is, and how changed rows are written. Decides nothing.
//!
//! Rows are derived from the whole state, before and after a batch; only those that differ are written. Rows never
//! vanish, because nodes, variants, trials and scores never do.

use std::collections::BTreeMap;

use rusqlite::Transaction;
use trex_domain::{NodeId, RunId, RunState, Score, TrialStatus};

use crate::database::RunStatus;

/// The rung of scores that belong to no trial.
const NO_RUNG: i64 = -1;

/// All derived rows of a run, by key.
#[derive(Debug, Default)]
pub(crate) struct Projection {
    nodes: BTreeMap<String, NodeRow>,
    variants: BTreeMap<String, VariantRow>,
    trials: BTreeMap<(String, i64, i64), TrialRow>,
    scores: BTreeMap<ScoreKey, ScoreRow>,
}

#[derive(Debug, PartialEq)]
struct NodeRow {
    parent: Option<String>,
    kind: &'static str,
    title: String,
    value: Option<f64>,
    finished: bool,
}

#[derive(Debug, PartialEq)]
struct VariantRow {
    node: String,
    state: &'static str,
    rung: i64,
    key: Option<String>,
}

#[derive(Debug, PartialEq)]
struct TrialRow {
    status: &'static str,
    attempts: i64,
    adapter: Option<String>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ScoreKey {
    subject: String,
    split: String,
    seed: i64,
    rung: i64,
}

#[derive(Debug, PartialEq)]
struct ScoreRow {
    metric: &'static str,
    value: f64,
    ci95: [f64; 2],
    n: i64,
    items: String,
}

impl Projection {
    /// Derives all rows.
    pub(crate) fn from_state(state: &RunState) -> Self {
        let mut rows = Self::default();
        rows.add_nodes(state);
        rows.add_variants_and_trials(state);
        rows.add_scores(state);
        rows
    }

    /// Writes the rows that are not in `before`.
    pub(crate) fn write_changes(&self, before: &Self, tx: &Transaction<'_>, run: &str) -> rusqlite::Result<()> {
        let mut statement = tx.prepare_cached(
            "INSERT OR REPLACE INTO nodes (run_id, node, parent, kind, title, value, finished)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        for (node, row) in changed(&self.nodes, &before.nodes) {
            statement.execute((run, node, &row.parent, row.kind, &row.title, row.value, row.finished))?;
        }
        let mut statement = tx.prepare_cached(
            "INSERT OR REPLACE INTO variants (run_id, variant, node, state, rung, key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for (variant, row) in changed(&self.variants, &before.variants) {
            statement.execute((run, variant, &row.node, row.state, row.rung, &row.key))?;
        }
        let mut statement = tx.prepare_cached(
            "INSERT OR REPLACE INTO trials (run_id, variant, rung, seed, status, attempts, adapter)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        for ((variant, rung, seed), row) in changed(&self.trials, &before.trials) {
            statement.execute((run, variant, rung, seed, row.status, row.attempts, &row.adapter))?;
        }
        let mut statement = tx.prepare_cached(
            "INSERT OR REPLACE INTO scores (run_id, subject, split, seed, rung, metric, value, lo, hi, n, items)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        for (key, row) in changed(&self.scores, &before.scores) {
            let [low, high] = row.ci95;
            let keys = (run, &key.subject, &key.split, key.seed, key.rung);
            statement.execute((
                keys.0, keys.1, keys.2, keys.3, keys.4, row.metric, row.value, low, high, row.n, &row.items,
            ))?;
        }
        Ok(())
    }

    fn add_nodes(&mut self, state: &RunState) {
        let base = NodeRow {
            parent: None,
            kind: "base",
            title: state.task.as_ref().map(|task| task.name.clone()).unwrap_or_default(),
            value: state.select_score(None).map(|score| score.value),
            finished: state.verdict.is_some(),
        };
        if state.task.is_some() {
            self.nodes.insert(NodeId::base().to_string(), base);
        }
        for (id, node) in &state.nodes {
            let row = NodeRow {
                parent: Some(node.parent.to_string()),
                kind: if node.strategy.is_some() { "strategy" } else { "experiment" },
                title: node.title.clone(),
                value: node.value,
                finished: node.finished,
            };
            self.nodes.insert(id.to_string(), row);
        }
    }

    fn add_variants_and_trials(&mut self, state: &RunState) {
        for (id, record) in &state.variants {
            let row = VariantRow {
                node: id.node().to_string(),
                state: record.state.as_str(),
                rung: integer(record.rung),
                key: record.key.map(|key| key.to_string()),
            };
            self.variants.insert(id.to_string(), row);
        }
        for ((variant, rung, seed), trial) in &state.trials {
            let row = TrialRow {
                status: status_name(trial.status),
                attempts: integer(trial.attempts),
                adapter: trial.done.as_ref().map(|done| done.adapter.to_string()),
            };
            self.trials.insert((variant.to_string(), integer(*rung), seed.cast_signed()), row);
            for score in trial.scores.values() {
                self.add_score(variant.to_string(), seed.cast_signed(), integer(*rung), score);
            }
        }
    }

    fn add_scores(&mut self, state: &RunState) {
        for ((_, seed), score) in &state.base_scores {
            self.add_score(NodeId::base().to_string(), seed.cast_signed(), NO_RUNG, score);
        }
        for (variant, score) in &state.final_scores {
            let subject = variant.as_ref().map_or_else(|| NodeId::base().to_string(), ToString::to_string);
            self.add_score(subject, 0, NO_RUNG, score);
        }
        for ((variant, seed), score) in &state.final_repeats {
            self.add_score(variant.to_string(), seed.cast_signed(), NO_RUNG, score);
        }
    }

    fn add_score(&mut self, subject: String, seed: i64, rung: i64, score: &Score) {
        let key = ScoreKey { subject, split: score.split.clone(), seed, rung };
        let row = ScoreRow {
            metric: score.metric.as_str(),
            value: score.value,
            ci95: score.ci95,
            n: integer(score.n),
            items: score.items.to_string(),
        };
        self.scores.insert(key, row);
    }
}

/// Writes the row of the run itself.
pub(crate) fn write_run(tx: &Transaction<'_>, run: RunId, state: &RunState, task: &str) -> rusqlite::Result<()> {
    let status = if state.verdict.is_some() { RunStatus::Finished } else { RunStatus::Running };
    let name = state.task.as_ref().map(|task| task.name.as_str()).unwrap_or_default();
    let mut statement = tx.prepare_cached(
        "INSERT INTO runs (id, name, status, created_ms, updated_ms, seed, task) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (id) DO UPDATE SET status = excluded.status, updated_ms = excluded.updated_ms",
    )?;
    let seed = state.seed.cast_signed();
    statement.execute((run.to_string(), name, status.as_str(), state.started.0, state.updated.0, seed, task))?;
    Ok(())
}

fn changed<'a, K: Ord, R: PartialEq>(
    after: &'a BTreeMap<K, R>,
    before: &'a BTreeMap<K, R>,
) -> impl Iterator<Item = (&'a K, &'a R)> {
    after.iter().filter(|(key, row)| before.get(key) != Some(row))
}

fn status_name(status: TrialStatus) -> &'static str {
    match status {
        TrialStatus::Running => "running",
        TrialStatus::Trained => "trained",
        TrialStatus::Scored => "scored",
        TrialStatus::Failed => "failed",
    }
}

/// Counts fit in practice; one that does not is kept as the largest.
fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
