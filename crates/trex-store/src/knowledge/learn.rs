//! Lessons in: tasks, datasets, recipes, experiments and evidence of a run, and what the evidence makes of insights.
//! Pooling and status are the domain's rules; this module keeps what they say and when it changed.

use rusqlite::{OptionalExtension as _, Transaction};
use serde::Serialize;
use trex_domain::{
    ContentHash, Effect, Evidence, InsightKey, KnownInsight, Lesson, Millis, PastExperiment, PastRejection, Pooled,
    TaskFeatures, Vectors,
};

use super::{KnowledgeBase, column, from_json, json, number};
use crate::StoreError;

/// A step in the life of an insight.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InsightChange {
    /// When the evidence was taken in.
    pub at: Millis,
    /// `found`, `strengthened`, `weakened`, `retired` or `revived`.
    pub what: String,
    /// The run that brought the evidence.
    pub run: String,
    /// The pooled effect from then on.
    pub diff: f64,
    /// Its interval.
    pub ci95: [f64; 2],
}

/// An insight with everything behind it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InsightDetail {
    /// The insight.
    pub insight: KnownInsight,
    /// What speaks for and against it: name of the task, run and variant, lab, effect.
    pub evidence: Vec<InsightEvidence>,
    /// How it came to be what it is.
    pub changes: Vec<InsightChange>,
}

/// One comparison behind an insight.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InsightEvidence {
    /// Name of the task.
    pub task: String,
    /// The run.
    pub run: String,
    /// The variant that was compared.
    pub variant: String,
    /// Where it was run.
    pub lab: String,
    /// The effect.
    pub effect: Effect,
}

impl KnowledgeBase {
    /// Takes in what a run of this machine taught so far; what it taught before is replaced.
    pub(super) fn take_lesson(&self, lesson: &Lesson) -> Result<(), StoreError> {
        self.write("learn", |tx| {
            let known: Option<String> =
                self.found(
                    tx.query_row("SELECT lab FROM lessons WHERE run = ?1", [lesson.run.to_string()], |row| row.get(0)),
                )?;
            // A run of this id that came with a bundle stays what it was.
            if known.is_some_and(|lab| lab != self.lab) {
                return Ok(());
            }
            self.keep_lesson(tx, lesson, &self.lab)
        })
    }

    /// Writes a lesson and everything derived from it.
    pub(super) fn keep_lesson(&self, tx: &Transaction<'_>, lesson: &Lesson, lab: &str) -> Result<(), StoreError> {
        let sqlite = self.sqlite("learn");
        let task = lesson.task.key()?.to_string();
        let run = lesson.run.to_string();
        tx.execute(
            "INSERT INTO lessons (run, lab, task, until_ms, ended, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (run) DO UPDATE SET until_ms = ?4, ended = ?5, body = ?6",
            (&run, lab, &task, lesson.until.0, lesson.verdict.is_some(), json(lesson)?),
        )
        .map_err(&sqlite)?;
        tx.execute(
            "INSERT OR IGNORE INTO tasks (key, name, lab, features) VALUES (?1, ?2, ?3, ?4)",
            (&task, &lesson.task.name, lab, json(&lesson.task)?),
        )
        .map_err(&sqlite)?;
        let dataset = lesson.task.data.hash.to_string();
        tx.execute(
            "INSERT OR IGNORE INTO datasets (hash, facts) VALUES (?1, ?2)",
            (&dataset, json(&lesson.task.data)?),
        )
        .map_err(&sqlite)?;
        for one in &lesson.experiments {
            let recipe = one.recipe.hash()?.to_string();
            tx.execute("INSERT OR IGNORE INTO recipes (hash, recipe) VALUES (?1, ?2)", (&recipe, json(&one.recipe)?))
                .map_err(&sqlite)?;
            tx.execute(
                "INSERT INTO experiments (run, variant, task, dataset, recipe, key, gain, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (run, variant) DO UPDATE SET gain = ?7, body = ?8",
                (&run, one.variant.as_str(), &task, &dataset, &recipe, one.key.to_string(), one.gain, json(one)?),
            )
            .map_err(&sqlite)?;
        }
        for evidence in &lesson.evidence {
            self.keep_evidence(tx, evidence, lab, lesson.until)?;
        }
        Ok(())
    }

    fn keep_evidence(
        &self,
        tx: &Transaction<'_>,
        evidence: &Evidence,
        lab: &str,
        at: Millis,
    ) -> Result<(), StoreError> {
        let sqlite = self.sqlite("learn");
        let insight = evidence.key.id()?.to_string();
        let Effect { diff, ci95: [low, high], n } = evidence.effect;
        let is_known: bool = tx
            .query_row("SELECT EXISTS (SELECT 1 FROM evidence WHERE id = ?1)", [evidence.id.to_string()], |row| {
                row.get(0)
            })
            .map_err(&sqlite)?;
        if is_known {
            return Ok(());
        }
        let before = self.pooled(tx, &insight)?;
        tx.execute(
            "INSERT OR IGNORE INTO insights (id, key, kind, statement, status, diff, lo, hi, num_evidence)
             VALUES (?1, ?2, ?3, '', 'tentative', 0, 0, 0, 0)",
            (&insight, json(&evidence.key)?, evidence.key.kind.as_str()),
        )
        .map_err(&sqlite)?;
        let row = (
            evidence.id.to_string(),
            &insight,
            evidence.task.to_string(),
            evidence.run.to_string(),
            evidence.variant.as_str(),
            lab,
            diff,
            low,
            high,
            column(n),
        );
        tx.execute(
            "INSERT INTO evidence (id, insight, task, run, variant, lab, diff, lo, hi, n)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            row,
        )
        .map_err(&sqlite)?;
        self.repool(tx, &evidence.key, before, evidence, at)
    }

    /// Pools the evidence of an insight anew and writes down what changed.
    fn repool(
        &self,
        tx: &Transaction<'_>,
        key: &InsightKey,
        before: Option<Pooled>,
        evidence: &Evidence,
        at: Millis,
    ) -> Result<(), StoreError> {
        let sqlite = self.sqlite("learn");
        let id = key.id()?.to_string();
        let (effects, labs) = self.effects(tx, &id)?;
        let Some(insight) = KnownInsight::of(key.clone(), &effects, labs)? else { return Ok(()) };
        let Effect { diff, ci95: [low, high], .. } = insight.pooled.effect;
        let status = insight.pooled.status.as_str();
        tx.execute(
            "UPDATE insights SET statement = ?2, status = ?3, diff = ?4, lo = ?5, hi = ?6, num_evidence = ?7 WHERE id = ?1",
            (&id, &insight.statement, status, diff, low, high, column(effects.len())),
        )
        .map_err(&sqlite)?;
        let what = change(before.as_ref(), &insight.pooled);
        tx.execute(
            "INSERT INTO insight_changes (insight, seq, at_ms, what, run, diff, lo, hi)
             VALUES (?1, (SELECT count(*) + 1 FROM insight_changes WHERE insight = ?1), ?2, ?3, ?4, ?5, ?6, ?7)",
            (&id, at.0, what, evidence.run.to_string(), diff, low, high),
        )
        .map_err(&sqlite)?;
        Ok(())
    }

    fn pooled(&self, connection: &rusqlite::Connection, insight: &str) -> Result<Option<Pooled>, StoreError> {
        Ok(trex_domain::pool(&self.effects(connection, insight)?.0))
    }

    /// Effects of an insight in the order of their names, and the labs that they come from.
    fn effects(
        &self,
        connection: &rusqlite::Connection,
        insight: &str,
    ) -> Result<(Vec<Effect>, Vec<String>), StoreError> {
        let sqlite = self.sqlite("read evidence");
        let sql = "SELECT diff, lo, hi, n, lab FROM evidence WHERE insight = ?1 ORDER BY id";
        let mut statement = connection.prepare_cached(sql).map_err(&sqlite)?;
        let rows = statement
            .query_map([insight], |row| {
                let n: i64 = row.get(3)?;
                let effect = Effect { diff: row.get(0)?, ci95: [row.get(1)?, row.get(2)?], n: number(n) };
                Ok((effect, row.get::<_, String>(4)?))
            })
            .map_err(&sqlite)?;
        let (effects, mut labs): (Vec<Effect>, Vec<String>) =
            rows.collect::<rusqlite::Result<Vec<_>>>().map_err(&sqlite)?.into_iter().unzip();
        labs.sort();
        labs.dedup();
        Ok((effects, labs))
    }

    /// All insights, in the order of their names.
    pub fn all_insights(&self) -> Result<Vec<KnownInsight>, StoreError> {
        let sqlite = self.sqlite("read insights");
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT id, key FROM insights ORDER BY id").map_err(&sqlite)?;
        let rows =
            statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).map_err(&sqlite)?;
        let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>().map_err(&sqlite)?;
        let mut insights = Vec::new();
        for (id, key) in rows {
            let (effects, labs) = self.effects(&connection, &id)?;
            insights.extend(KnownInsight::of(from_json(&self.path, &key)?, &effects, labs)?);
        }
        Ok(insights)
    }

    /// The insight whose name begins so, with its evidence; none where there is none or more than one.
    pub fn insight(&self, prefix: &str) -> Result<Option<InsightDetail>, StoreError> {
        let mut found = self.all_insights()?;
        found.retain(|one| one.id.to_string().starts_with(prefix));
        let (Some(insight), true) = (found.pop(), found.is_empty()) else { return Ok(None) };
        let id = insight.id.to_string();
        let sqlite = self.sqlite("read insights");
        let connection = self.connection();
        let sql = "SELECT tasks.name, run, variant, evidence.lab, diff, lo, hi, n FROM evidence JOIN tasks ON tasks.key = task
                   WHERE insight = ?1 ORDER BY run, variant";
        let mut statement = connection.prepare(sql).map_err(&sqlite)?;
        let rows = statement.query_map([&id], |row| {
            let n: i64 = row.get(7)?;
            let effect = Effect { diff: row.get(4)?, ci95: [row.get(5)?, row.get(6)?], n: number(n) };
            let (task, run, variant, lab) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(InsightEvidence { task, run, variant, lab, effect })
        });
        let evidence = rows.and_then(Iterator::collect).map_err(&sqlite)?;
        let sql = "SELECT at_ms, what, run, diff, lo, hi FROM insight_changes WHERE insight = ?1 ORDER BY seq";
        let mut statement = connection.prepare(sql).map_err(&sqlite)?;
        let rows = statement.query_map([&id], |row| {
            let (at, what, run) = (Millis(row.get(0)?), row.get(1)?, row.get(2)?);
            Ok(InsightChange { at, what, run, diff: row.get(3)?, ci95: [row.get(4)?, row.get(5)?] })
        });
        let changes = rows.and_then(Iterator::collect).map_err(&sqlite)?;
        Ok(Some(InsightDetail { insight, evidence, changes }))
    }

    /// All tasks with the lab that they were first seen in.
    pub fn known_tasks(&self) -> Result<Vec<(ContentHash, String, TaskFeatures)>, StoreError> {
        let sqlite = self.sqlite("read tasks");
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT key, lab, features FROM tasks ORDER BY key").map_err(&sqlite)?;
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?)));
        let rows: Vec<_> = rows.and_then(Iterator::collect).map_err(&sqlite)?;
        let task =
            |(key, lab, features): (String, String, String)| Ok((key.parse()?, lab, from_json(&self.path, &features)?));
        rows.into_iter().map(task).collect()
    }

    /// What a person did not want in runs of a task, oldest run first.
    pub fn rejections_of(&self, task: &ContentHash) -> Result<Vec<PastRejection>, StoreError> {
        let sqlite = self.sqlite("read rejections");
        let connection = self.connection();
        let sql =
            "SELECT body FROM lessons WHERE task = ?1 AND json_array_length(body, '$.rejections') > 0 ORDER BY run";
        let mut statement = connection.prepare(sql).map_err(&sqlite)?;
        let bodies = statement.query_map([task.to_string()], |row| row.get::<_, String>(0));
        let bodies: Vec<String> = bodies.and_then(Iterator::collect).map_err(&sqlite)?;
        let mut all = Vec::new();
        for body in bodies {
            let lesson: Lesson = from_json(&self.path, &body)?;
            all.extend(lesson.rejections);
        }
        Ok(all)
    }

    /// What was tried on a task; each training once, whatever number of runs it was part of.
    pub fn experiments_of(&self, task: &ContentHash) -> Result<Vec<PastExperiment>, StoreError> {
        let sqlite = self.sqlite("read experiments");
        let connection = self.connection();
        let sql = "SELECT body FROM experiments WHERE rowid IN
                   (SELECT min(rowid) FROM experiments WHERE task = ?1 GROUP BY key) ORDER BY run, variant";
        let mut statement = connection.prepare(sql).map_err(&sqlite)?;
        let rows = statement.query_map([task.to_string()], |row| row.get::<_, String>(0));
        let rows: Vec<String> = rows.and_then(Iterator::collect).map_err(&sqlite)?;
        rows.iter().map(|body| from_json(&self.path, body)).collect()
    }

    pub(super) fn has_goal_vector(&self, task: &ContentHash, model: &str) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM task_vectors WHERE task = ?1 AND model = ?2)";
        let found = self.connection().query_row(sql, (task.to_string(), model), |row| row.get(0));
        found.map_err(self.sqlite("read tasks"))
    }

    pub(super) fn keep_goal_vector(
        &self,
        task: &ContentHash,
        model: &str,
        vectors: &Vectors,
    ) -> Result<(), StoreError> {
        let sqlite = self.sqlite("learn");
        self.write("learn", |tx| {
            let sql = "INSERT OR IGNORE INTO task_vectors (task, model, vector) VALUES (?1, ?2, ?3)";
            tx.execute(sql, (task.to_string(), model, vectors.to_bytes())).map_err(&sqlite)?;
            Ok(())
        })
    }

    /// Cosine of a task's goal with a vector of length 1; none where the goal has no vector of that model.
    pub(super) fn goal_cosine(
        &self,
        task: &ContentHash,
        model: &str,
        vector: &[f32],
    ) -> Result<Option<f64>, StoreError> {
        let sql = "SELECT vector FROM task_vectors WHERE task = ?1 AND model = ?2";
        let found = self.connection().query_row(sql, (task.to_string(), model), |row| row.get::<_, Vec<u8>>(0));
        let Some(bytes) = self.found(found)? else { return Ok(None) };
        let known = Vectors::from_bytes(vector.len(), &bytes);
        Ok(known.map(|known| known.row(0).iter().zip(vector).map(|(a, b)| f64::from(a * b)).sum()))
    }

    /// A row that may be absent.
    pub(super) fn found<T>(&self, row: rusqlite::Result<T>) -> Result<Option<T>, StoreError> {
        row.optional().map_err(self.sqlite("read"))
    }
}

/// What new evidence did: whether the effect lies more standard errors away from zero than before.
fn change(before: Option<&Pooled>, after: &Pooled) -> &'static str {
    use trex_domain::InsightStatus::Retired;
    let errors = |pooled: &Pooled| {
        let [low, high] = pooled.effect.ci95;
        pooled.effect.diff.abs() / (high - low).abs().max(1e-12)
    };
    match before {
        None => "found",
        Some(before) if before.status != Retired && after.status == Retired => "retired",
        Some(before) if before.status == Retired && after.status != Retired => "revived",
        Some(before) if errors(after) > errors(before) && before.effect.diff * after.effect.diff > 0.0 => {
            "strengthened"
        }
        Some(_) => "weakened",
    }
}
