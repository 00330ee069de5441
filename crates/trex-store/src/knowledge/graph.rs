//! The knowledge as a graph, derived from the records each time it is asked for, so that it can never contradict them.
//!
//! Tasks have datasets and models; changes of operators and parameters improve or hurt tasks, with effect, interval and
//! number of items; evidence of tasks speaks for insights; papers mention operators and parameters. A paper's mention is
//! called so: that it is evidence is for whoever reads it to say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;
use trex_domain::{ContentHash, DocumentKind, Effect, InsightKey, TaskFeatures, pool, similarity};

use super::{KnowledgeBase, column, from_json, number};
use crate::StoreError;

/// Tasks that resemble each other less have no edge.
const SIMILAR: f64 = 0.5;

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// A past task.
    Task,
    /// Its training pool.
    Dataset,
    /// Its base model.
    Model,
    /// A data operator.
    Operator,
    /// A training setting.
    Parameter,
    /// What was learned of a change.
    Insight,
    /// A document of the library.
    Paper,
}

/// A node of the graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GraphNode {
    /// Its name, such as `task:1a2b3c4d5e6f` or `operator:exact_dedup`.
    pub id: String,
    /// What it stands for.
    pub kind: NodeKind,
    /// In words.
    pub label: String,
}

/// What joins two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeKind {
    /// The change raised the score, and the interval excludes zero.
    Improves,
    /// It lowered it.
    Hurts,
    /// Either may be.
    Undecided,
    /// Two tasks alike.
    SimilarTo,
    /// What was measured on a task speaks for or against an insight.
    EvidenceFor,
    /// A task has a dataset or a model; an insight is about an operator or a parameter.
    Has,
    /// A document names an operator or a parameter.
    Mentions,
}

impl EdgeKind {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Improves => "improves",
            Self::Hurts => "hurts",
            Self::Undecided => "undecided",
            Self::SimilarTo => "similar-to",
            Self::EvidenceFor => "evidence-for",
            Self::Has => "has",
            Self::Mentions => "mentions",
        }
    }
}

/// An edge of the graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GraphEdge {
    /// Where it begins.
    pub from: String,
    /// Where it ends.
    pub to: String,
    /// What it says.
    pub kind: EdgeKind,
    /// The effect with its interval and items, where it was measured.
    pub effect: Option<Effect>,
    /// Similarity of two tasks, or passages that mention something.
    pub weight: Option<f64>,
}

/// Nodes and edges, sorted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Graph {
    /// Nodes by name.
    pub nodes: Vec<GraphNode>,
    /// Edges by their ends.
    pub edges: Vec<GraphEdge>,
}

impl Graph {
    /// What can be reached from a node in so many steps, along edges in either direction; none where there is no such node.
    pub fn around(&self, from: &str, depth: usize) -> Option<Self> {
        self.nodes.iter().find(|node| node.id == from)?;
        let mut reached = BTreeSet::from([from]);
        for _ in 0..depth {
            let step: Vec<&str> = self
                .edges
                .iter()
                .filter(|edge| reached.contains(edge.from.as_str()) != reached.contains(edge.to.as_str()))
                .flat_map(|edge| [edge.from.as_str(), edge.to.as_str()])
                .collect();
            reached.extend(step);
        }
        let has = |id: &String| reached.contains(id.as_str());
        Some(Self {
            nodes: self.nodes.iter().filter(|node| has(&node.id)).cloned().collect(),
            edges: self.edges.iter().filter(|edge| has(&edge.from) && has(&edge.to)).cloned().collect(),
        })
    }

    /// The graph in the language of Graphviz.
    pub fn to_dot(&self) -> String {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " "));
        let mut dot = "digraph knowledge {\n  rankdir=LR;\n".to_owned();
        for node in &self.nodes {
            writeln!(dot, "  {} [label={}];", quoted(&node.id), quoted(&node.label))
                .expect("writing to a string cannot fail");
        }
        for edge in &self.edges {
            let label = edge.text();
            writeln!(dot, "  {} -> {} [label={}];", quoted(&edge.from), quoted(&edge.to), quoted(&label))
                .expect("writing to a string cannot fail");
        }
        dot + "}\n"
    }
}

impl GraphEdge {
    /// What it says, with its numbers.
    pub fn text(&self) -> String {
        let kind = self.kind.as_str();
        match (&self.effect, self.weight) {
            (Some(Effect { diff, ci95: [low, high], n }), _) => {
                format!("{kind} {diff:+.3} [{low:+.3}, {high:+.3}] n={n}")
            }
            (None, Some(weight)) if self.kind == EdgeKind::Mentions => format!("{kind} in {weight:.0} passages"),
            (None, Some(weight)) => format!("{kind} {weight:.2}"),
            (None, None) => kind.to_owned(),
        }
    }
}

fn task_id(key: &ContentHash) -> String {
    format!("task:{}", key.short())
}

/// Collects nodes and edges.
#[derive(Default)]
struct Builder {
    nodes: BTreeMap<String, GraphNode>,
    edges: Vec<GraphEdge>,
}

impl Builder {
    fn node(&mut self, id: String, kind: NodeKind, label: String) -> String {
        self.nodes.entry(id.clone()).or_insert(GraphNode { id: id.clone(), kind, label });
        id
    }

    fn edge(&mut self, from: &str, to: &str, kind: EdgeKind, effect: Option<Effect>, weight: Option<f64>) {
        self.edges.push(GraphEdge { from: from.to_owned(), to: to.to_owned(), kind, effect, weight });
    }

    /// The operator or parameter that a change is about; none for the training itself.
    fn subject(&mut self, change: &str) -> Option<String> {
        if change.starts_with("fine-tuning") {
            return None;
        }
        let name = change.split(' ').next()?;
        // Settings have the names of training configurations; every other change is one of the recipe.
        let is_parameter = is_parameter(name);
        let (prefix, kind) =
            if is_parameter { ("parameter", NodeKind::Parameter) } else { ("operator", NodeKind::Operator) };
        Some(self.node(format!("{prefix}:{name}"), kind, name.to_owned()))
    }

    fn finish(mut self) -> Graph {
        self.edges.sort_by(|a, b| (&a.from, &a.to, a.kind).cmp(&(&b.from, &b.to, b.kind)));
        Graph { nodes: self.nodes.into_values().collect(), edges: self.edges }
    }
}

fn is_parameter(name: &str) -> bool {
    let config = serde_json::to_value(trex_domain::TrainConfig::default()).unwrap_or_default();
    let head = name.split('.').next().unwrap_or(name);
    config.get(head).is_some()
}

impl KnowledgeBase {
    /// The whole graph.
    pub fn graph(&self) -> Result<Graph, StoreError> {
        let mut builder = Builder::default();
        let tasks = self.known_tasks()?;
        for (key, _, features) in &tasks {
            add_task(&mut builder, key, features);
        }
        for (index, (key, _, features)) in tasks.iter().enumerate() {
            for (other, _, others) in tasks.iter().skip(index + 1) {
                let similar = similarity(features, others, None);
                if similar >= SIMILAR {
                    builder.edge(&task_id(key), &task_id(other), EdgeKind::SimilarTo, None, Some(similar));
                }
            }
        }
        for insight in self.all_insights()? {
            let id = format!("insight:{}", insight.id.short());
            builder.node(id.clone(), NodeKind::Insight, insight.statement.clone());
            for change in &insight.key.changes {
                if let Some(subject) = builder.subject(change) {
                    builder.edge(&id, &subject, EdgeKind::Has, None, None);
                }
            }
        }
        self.add_evidence(&mut builder)?;
        self.add_papers(&mut builder)?;
        Ok(builder.finish())
    }

    fn add_evidence(&self, builder: &mut Builder) -> Result<(), StoreError> {
        let sqlite = self.sqlite("read evidence");
        let connection = self.connection();
        let sql = "SELECT insight, insights.key, task, evidence.diff, evidence.lo, evidence.hi, n
                   FROM evidence JOIN insights ON insights.id = insight ORDER BY insight, task, evidence.id";
        let mut statement = connection.prepare(sql).map_err(&sqlite)?;
        let rows = statement.query_map([], |row| {
            let effect = Effect { diff: row.get(3)?, ci95: [row.get(4)?, row.get(5)?], n: number(row.get(6)?) };
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, effect))
        });
        let rows: Vec<_> = rows.and_then(Iterator::collect).map_err(&sqlite)?;
        let mut by_task: BTreeMap<(String, String, String), Vec<Effect>> = BTreeMap::new();
        for (insight, key, task, effect) in rows {
            by_task.entry((insight, key, task)).or_default().push(effect);
        }
        for ((insight, key, task), effects) in by_task {
            let (insight, task): (ContentHash, ContentHash) = (insight.parse()?, task.parse()?);
            let Some(pooled) = pool(&effects) else { continue };
            let insight = format!("insight:{}", insight.short());
            builder.edge(&task_id(&task), &insight, EdgeKind::EvidenceFor, Some(pooled.effect), None);
            let key: InsightKey = from_json(&self.path, &key)?;
            // An effect of several changes at once belongs to none of them alone.
            if let [change] = key.changes.as_slice()
                && let Some(subject) = builder.subject(change)
            {
                let [low, high] = pooled.effect.ci95;
                let kind = match (low > 0.0, high < 0.0) {
                    (true, _) => EdgeKind::Improves,
                    (_, true) => EdgeKind::Hurts,
                    _ => EdgeKind::Undecided,
                };
                builder.edge(&subject, &task_id(&task), kind, Some(pooled.effect), None);
            }
        }
        Ok(())
    }

    fn add_papers(&self, builder: &mut Builder) -> Result<(), StoreError> {
        let subjects: Vec<(String, String)> = builder
            .nodes
            .values()
            .filter(|node| matches!(node.kind, NodeKind::Operator | NodeKind::Parameter))
            .map(|node| (node.id.clone(), node.label.clone()))
            .collect();
        let documents = self.documents()?;
        for entry in &documents {
            let hash = entry.document.hash.short();
            let shown = if entry.document.kind == DocumentKind::Bibtex { "bibliography " } else { "" };
            builder.node(format!("paper:{hash}"), NodeKind::Paper, format!("{shown}{}", entry.document.title));
        }
        let sqlite = self.sqlite("search");
        let connection = self.connection();
        let sql = "SELECT hash, count(*) FROM passage_words JOIN passages ON passages.id = passage_words.rowid
                   JOIN documents ON documents.id = document WHERE passage_words MATCH ?1 GROUP BY hash ORDER BY hash LIMIT ?2";
        for (id, name) in subjects {
            // As a phrase: "learning rate" for learning_rate.
            let phrase = format!("\"{}\"", name.replace(|c: char| !c.is_alphanumeric(), " "));
            let mut statement = connection.prepare_cached(sql).map_err(&sqlite)?;
            let rows = statement.query_map((phrase, column(1000)), |row| Ok((row.get::<_, String>(0)?, row.get(1)?)));
            let rows: Vec<(String, i64)> = rows.and_then(Iterator::collect).map_err(&sqlite)?;
            for (hash, passages) in rows {
                let hash: ContentHash = hash.parse()?;
                let weight = Some(number(passages) as f64);
                builder.edge(&format!("paper:{}", hash.short()), &id, EdgeKind::Mentions, None, weight);
            }
        }
        Ok(())
    }
}

fn add_task(builder: &mut Builder, key: &ContentHash, features: &TaskFeatures) {
    let task = builder.node(task_id(key), NodeKind::Task, format!("{}: {}", features.name, features.goal));
    let data = &features.data;
    let dataset = builder.node(
        format!("dataset:{}", data.hash.short()),
        NodeKind::Dataset,
        format!("{} rows, {:.0} characters on average", data.rows, data.mean_chars),
    );
    let model = builder.node(format!("model:{}", features.model_hash.short()), NodeKind::Model, features.model.clone());
    builder.edge(&task, &dataset, EdgeKind::Has, None, None);
    builder.edge(&task, &model, EdgeKind::Has, None, None);
}
