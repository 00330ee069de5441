//! What `trex kb` prints for people. Looks nothing up.

use std::fmt::Write as _;
use std::path::Path;

use trex_domain::{ContentHash, FoundPassage, KnownInsight, Operator, Passage, PastExperiment, TaskFeatures};
use trex_store::{DocumentEntry, Graph, InsightDetail, PassageEntry};

/// Characters of a passage that a list of hits shows.
const EXCERPT: usize = 280;

/// Insights whose statement has a word of the question, by how many.
pub(super) fn fitting_insights(all: &[KnownInsight], question: &str, limit: usize) -> Vec<KnownInsight> {
    let words: Vec<String> = question.split_whitespace().map(str::to_lowercase).filter(|word| word.len() > 2).collect();
    let hits = |one: &KnownInsight| {
        let text = format!("{} {}", one.statement, one.key.scope()).to_lowercase().replace('_', " ");
        words.iter().filter(|word| text.contains(&word.replace('_', " "))).count()
    };
    let mut found: Vec<(usize, &KnownInsight)> =
        all.iter().map(|one| (hits(one), one)).filter(|(hits, _)| *hits > 0).collect();
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.id.cmp(&b.1.id)));
    found.into_iter().take(limit).map(|(_, one)| one.clone()).collect()
}

pub(super) fn passages(found: &[FoundPassage], insights: &[KnownInsight]) -> String {
    let mut text = String::new();
    for one in found {
        let FoundPassage { passage: Passage { id, place, text: words }, document, by_words, by_meaning, .. } = one;
        let rank = |name: &str, place: &Option<usize>| place.map(|place| format!("{name} {place}"));
        let ranks: Vec<String> = [rank("words", by_words), rank("meaning", by_meaning)].into_iter().flatten().collect();
        writeln!(text, "{id}  {document}, {place}  ({})\n  {}\n", ranks.join(", "), excerpt(words))
            .expect("writing to a string cannot fail");
    }
    for one in insights {
        writeln!(text, "{}", insight_line(one)).expect("writing to a string cannot fail");
    }
    if found.is_empty() && insights.is_empty() {
        text.push_str("nothing found\n");
    }
    text
}

fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn insight_line(one: &KnownInsight) -> String {
    format!("insight {} ({}; {}): {}", one.id.short(), one.pooled.status.as_str(), one.key.scope(), one.statement)
}

pub(super) fn passage(entry: &PassageEntry) -> String {
    let PassageEntry { passage, document, number, of } = entry;
    let hash = document.hash.short();
    let (title, place) = (&document.title, &passage.place);
    format!(
        "{}\n{title} ({hash}, {}), {place}, passage {number} of {of}\n\n{}",
        passage.id, document.file, passage.text
    )
}

pub(super) fn document(entry: &DocumentEntry, passages: &[Passage]) -> String {
    let mut text = document_line(entry);
    for one in passages {
        write!(text, "\n{}  {}: {}", one.id, one.place, excerpt(&one.text)).expect("writing to a string cannot fail");
    }
    text
}

fn document_line(entry: &DocumentEntry) -> String {
    let document = &entry.document;
    let (hash, kind) = (document.hash.short(), document.kind.as_str());
    format!("{hash}  {} ({kind}, {}): {} passages, lab {}", document.title, document.file, entry.passages, entry.lab)
}

pub(super) fn insight(detail: &InsightDetail) -> String {
    let one = &detail.insight;
    let mut lines = vec![
        format!("insight {} ({})", one.id, one.pooled.status.as_str()),
        one.statement.clone(),
        format!("scope: {}; spread of the effect between tasks {:.3}", one.key.scope(), one.pooled.between),
    ];
    for evidence in &detail.evidence {
        let [low, high] = evidence.effect.ci95;
        let (diff, n) = (evidence.effect.diff, evidence.effect.n);
        lines.push(format!(
            "  {diff:+.3} [{low:+.3}, {high:+.3}] n={n}  {} of {}, run {}, lab {}",
            evidence.variant, evidence.task, evidence.run, evidence.lab
        ));
    }
    for change in &detail.changes {
        let [low, high] = change.ci95;
        let at = change.at.to_utc_text();
        lines.push(format!("{at} {}: {:+.3} [{low:+.3}, {high:+.3}]", change.what, change.diff));
    }
    lines.join("\n")
}

pub(super) fn task(key: &ContentHash, lab: &str, features: &TaskFeatures, experiments: &[PastExperiment]) -> String {
    let mut lines = vec![task_line(key, lab, features)];
    let mut sorted: Vec<&PastExperiment> = experiments.iter().collect();
    let worth = |one: &PastExperiment| one.select_gain.or(one.gain).unwrap_or(f64::NEG_INFINITY);
    sorted.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
    for one in sorted {
        let gain = one.gain.map_or("not scored".to_owned(), |gain| format!("search {gain:+.3}"));
        let select = one.select_gain.map(|gain| format!(", select {gain:+.3}")).unwrap_or_default();
        let names: Vec<_> = one.recipe.operators.iter().map(Operator::name).collect();
        let (rate, strategy) = (one.config.learning_rate, one.strategy.as_str());
        lines.push(format!(
            "  {} ({strategy}) {gain}{select}: learning rate {rate}, {}",
            one.variant,
            names.join(", ")
        ));
    }
    lines.join("\n")
}

fn task_line(key: &ContentHash, lab: &str, features: &TaskFeatures) -> String {
    let TaskFeatures { name, goal, kind, metric, model, data, .. } = features;
    let kind = kind.as_str();
    format!("{}  {name}: {goal} ({kind}, {metric}, {model}, {} rows), lab {lab}", key.short(), data.rows)
}

pub(super) fn list(
    path: &Path,
    lab: &str,
    documents: &[DocumentEntry],
    tasks: &[(ContentHash, String, TaskFeatures)],
    insights: &[KnownInsight],
) -> String {
    let mut lines = vec![format!("{} (lab {lab})", path.display()), format!("documents: {}", documents.len())];
    lines.extend(documents.iter().map(|entry| format!("  {}", document_line(entry))));
    lines.push(format!("tasks: {}", tasks.len()));
    lines.extend(tasks.iter().map(|(key, lab, features)| format!("  {}", task_line(key, lab, features))));
    lines.push(format!("insights: {}", insights.len()));
    lines.extend(insights.iter().map(|one| format!("  {}", insight_line(one))));
    lines.join("\n")
}

pub(super) fn graph(graph: &Graph) -> String {
    let mut text = String::new();
    for node in &graph.nodes {
        writeln!(text, "{}  {}", node.id, node.label).expect("writing to a string cannot fail");
        for edge in graph.edges.iter().filter(|edge| edge.from == node.id) {
            writeln!(text, "  → {} {}", edge.to, edge.text()).expect("writing to a string cannot fail");
        }
    }
    if text.is_empty() {
        text.push_str("nothing is known yet\n");
    }
    text
}
