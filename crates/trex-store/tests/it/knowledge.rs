//! The knowledge base: lessons in, insights and similar tasks out; passages by words and by meaning; merges.

use std::sync::Arc;

use trex_domain::{
    ContentHash, Document, DocumentKind, Effect, Embedder, Evidence, InsightKey, InsightStatus, Knowledge as _, Lesson,
    MeasureError, Memory as _, Metric, Passage, PassageId, Place, Problem as _, TaskKind, Vectors,
};
use trex_store::{AddedDocument, EdgeKind, KnowledgeBase, KnowledgeRecords, LabLesson, NodeKind};
use trex_testkit::{FixedClock, START, TempWorkspace, finished_run, run_id, stored};

fn base(folder: &TempWorkspace, name: &str) -> KnowledgeBase {
    KnowledgeBase::open(&folder.path().join(name), &FixedClock::default()).unwrap()
}

fn lesson(run: u8) -> Lesson {
    Lesson::of(&stored(run_id(run), START, finished_run())).unwrap().unwrap()
}

/// A lesson with one comparison of a change that the sample run did not try.
fn compared(run: u8, diff: f64) -> Lesson {
    let mut lesson = lesson(run);
    let key =
        InsightKey { changes: vec!["exact_dedup added".to_owned()], kind: TaskKind::Choice, metric: Metric::Accuracy };
    lesson.evidence = vec![Evidence {
        id: ContentHash::of_bytes(format!("{run} {diff}").as_bytes()),
        key,
        task: lesson.task.key().unwrap(),
        run: lesson.run,
        variant: trex_testkit::variant_id("s1.e1.a"),
        effect: Effect { diff, ci95: [diff - 0.02, diff + 0.02], n: 400 },
    }];
    lesson
}

#[test]
fn a_lesson_is_taken_in_once_however_often_it_is_taught() {
    let folder = TempWorkspace::empty();
    let base = base(&folder, "k.db");
    let lesson = lesson(1);
    assert!(!lesson.experiments.is_empty() && lesson.evidence.len() == 1, "{lesson:?}");
    base.learn(&lesson).unwrap();
    let (tasks, insights) = (base.known_tasks().unwrap(), base.all_insights().unwrap());
    assert_eq!((tasks.len(), insights.len()), (1, 1));
    base.learn(&lesson).unwrap();
    // The same training in another run is the same evidence, and the same experiment.
    base.learn(&self::lesson(2)).unwrap();
    assert_eq!(base.all_insights().unwrap(), insights);
    assert_eq!(base.experiments_of(&tasks[0].0).unwrap(), lesson.experiments);
    let detail = base.insight(&insights[0].id.short()).unwrap().unwrap();
    assert_eq!((detail.evidence.len(), detail.changes.len()), (1, 1));
    assert_eq!(detail.changes[0].what, "found");
}

#[test]
fn what_the_sealed_split_said_is_not_in_a_lesson() {
    let text = serde_json::to_string(&lesson(1)).unwrap();
    // 0.54 and 0.69 are the sealed scores of the sample run.
    assert!(!text.contains("0.69") && !text.contains("0.54") && !text.contains("\"final\""), "{text}");
}

#[test]
fn insights_are_strengthened_weakened_retired_and_revived() {
    let folder = TempWorkspace::empty();
    let base = base(&folder, "k.db");
    let life = [0.03, 0.03, -0.03, -0.015, -0.02, 0.12, 0.13, 0.12, 0.12, 0.13];
    for (run, diff) in (1..).zip(life) {
        base.learn(&compared(run, diff)).unwrap();
    }
    let insight = base.all_insights().unwrap().pop().unwrap();
    let detail = base.insight(&insight.id.to_string()).unwrap().unwrap();
    let steps: Vec<&str> = detail.changes.iter().map(|change| change.what.as_str()).collect();
    assert_eq!(steps[..3], ["found", "strengthened", "weakened"]);
    assert!(steps.contains(&"retired") && steps.contains(&"revived"), "{steps:?}");
    assert_eq!(insight.pooled.status, InsightStatus::Established, "{insight:?}");
    assert_eq!((insight.pooled.supporting, insight.pooled.contradicting), (7, 1), "{insight:?}");
}

#[test]
fn retired_insights_are_not_offered() {
    let folder = TempWorkspace::empty();
    let base = base(&folder, "k.db");
    for (run, diff) in (1..).zip([0.001, -0.001, 0.0]) {
        base.learn(&compared(run, diff)).unwrap();
    }
    assert_eq!(base.all_insights().unwrap()[0].pooled.status, InsightStatus::Retired);
    assert!(base.insights(&lesson(1).task, 10).unwrap().is_empty());
}

#[test]
fn similar_tasks_come_first_with_what_was_tried() {
    let folder = TempWorkspace::empty();
    let base = base(&folder, "k.db");
    let mut other = lesson(2);
    other.task.goal = "find the root of an equation".to_owned();
    other.task.data.rows = 90_000;
    other.evidence.clear();
    for lesson in [lesson(1), other] {
        base.learn(&lesson).unwrap();
    }
    let similar = base.similar_tasks(&lesson(3).task, 5).unwrap();
    assert_eq!(similar.len(), 2);
    assert!((similar[0].similarity - 1.0).abs() < 1e-9 && similar[1].similarity < 0.9, "{similar:?}");
    assert!(!similar[0].experiments.is_empty());
}

fn document(name: &str, texts: &[&str]) -> (Document, Vec<Passage>) {
    let hash = ContentHash::of_bytes(texts.join("|").as_bytes());
    let document =
        Document { hash, title: name.to_owned(), kind: DocumentKind::Text, file: format!("{name}.txt"), bytes: 9 };
    let passage = |(number, text): (usize, &&str)| Passage {
        id: PassageId::new(&hash, number, text).unwrap(),
        place: Place { page: Some(number + 1), heading: None, offset: 7 * number },
        text: (*text).to_owned(),
    };
    (document, texts.iter().enumerate().map(passage).collect())
}

/// Texts about animals and texts about ships, told apart without a word in common.
#[derive(Debug)]
struct TwoTopics;

impl Embedder for TwoTopics {
    fn name(&self) -> ContentHash {
        ContentHash::of_bytes(b"two topics")
    }

    fn embed(&self, texts: &[String]) -> Result<Vectors, MeasureError> {
        let is_animal = |text: &str| ["cat", "dog", "feline"].iter().any(|word| text.contains(word));
        let rows = texts.iter().flat_map(|text| if is_animal(text) { [1.0, 0.0] } else { [0.0, 1.0] });
        Ok(Vectors::new(2, rows.collect()).unwrap())
    }
}

#[test]
fn passages_are_found_by_words_and_by_meaning() {
    let folder = TempWorkspace::empty();
    let (document, passages) = document("zoo", &["the cat sleeps", "quantised adapters", "a dog barks"]);
    let words_only = base(&folder, "k.db");
    assert_eq!(words_only.add_document(&document, &passages, START).unwrap(), AddedDocument::Added);
    assert_eq!(words_only.add_document(&document, &passages, START).unwrap(), AddedDocument::Known);
    // English word forms are one word, and nothing in a question is an operator.
    for question in ["adapter", "Adapters NEAR(\"", "quantised* AND"] {
        let found = words_only.passages(question, 3).unwrap();
        assert_eq!((found.len(), &found[0].passage), (1, &passages[1]), "{question}");
        assert_eq!((found[0].by_words, found[0].by_meaning, found[0].document.as_str()), (Some(1), None, "zoo"));
    }
    assert!(words_only.passages("feline", 3).unwrap().is_empty() && words_only.passages("?!", 3).unwrap().is_empty());

    let both = base(&folder, "k.db").with_embedder(Arc::new(TwoTopics));
    assert_eq!(both.embed_passages(&mut |_, _| true).unwrap(), 3);
    assert_eq!(both.embed_passages(&mut |_, _| true).unwrap(), 0);
    let found = both.passages("feline", 2).unwrap();
    assert_eq!([&found[0].passage, &found[1].passage], [&passages[0], &passages[2]]);
    let found = both.passages("a dog", 1).unwrap();
    assert_eq!((&found[0].passage, found[0].by_words), (&passages[2], Some(1)));

    // What another connection removes is found no more, by neither way.
    assert!(words_only.remove_document(&document.hash).unwrap());
    assert!(both.passages("dog feline", 3).unwrap().is_empty());
    assert!(!both.remove_document(&document.hash).unwrap());
}

#[test]
fn a_passage_is_shown_with_its_place() {
    let folder = TempWorkspace::empty();
    let base = base(&folder, "k.db");
    let (document, passages) = document("zoo", &["one", "two"]);
    base.add_document(&document, &passages, START).unwrap();
    let entry = base.passage(&passages[1].id).unwrap().unwrap();
    assert_eq!((entry.passage, entry.number, entry.of), (passages[1].clone(), 2, 2));
    assert_eq!(base.passages_of(&document.hash).unwrap(), passages);
    assert_eq!(base.documents().unwrap()[0].passages, 2);
}

#[test]
fn a_merge_adds_what_is_new_and_changes_nothing() {
    let folder = TempWorkspace::empty();
    let (ours, theirs) = (base(&folder, "ours.db"), base(&folder, "theirs.db"));
    assert_ne!(ours.lab(), theirs.lab());
    theirs.learn(&compared(1, 0.05)).unwrap();
    let (document, passages) = document("zoo", &["one", "two"]);
    theirs.add_document(&document, &passages, START).unwrap();
    assert!(theirs.records(false).unwrap().documents.is_empty());
    let records = theirs.records(true).unwrap();

    ours.learn(&compared(2, 0.04)).unwrap();
    let merged = ours.merge(&records, START).unwrap();
    assert_eq!((merged.lessons_added, merged.documents_added, merged.evidence_added), (1, 1, 1));
    let insight = ours.all_insights().unwrap().pop().unwrap();
    assert_eq!((insight.pooled.experiments, insight.labs.len()), (2, 2));
    let before = ours.records(true).unwrap();
    let again = ours.merge(&records, START).unwrap();
    assert_eq!((again.lessons_known, again.documents_known, again.evidence_added), (1, 1, 0));
    assert_eq!(ours.records(true).unwrap(), before);

    // A forged run of a known id changes nothing, and neither does teaching a run that came from elsewhere.
    let forged = LabLesson { lab: ours.lab().to_owned(), lesson: compared(2, -0.9) };
    ours.merge(&KnowledgeRecords { lessons: vec![forged], documents: Vec::new() }, START).unwrap();
    ours.learn(&compared(1, -0.9)).unwrap();
    assert_eq!(ours.records(true).unwrap(), before);
}

#[test]
fn only_runs_that_ended_leave() {
    let folder = TempWorkspace::empty();
    let base = base(&folder, "k.db");
    let mut events = finished_run();
    events.truncate(events.len() - 1);
    let unfinished = Lesson::of(&stored(run_id(1), START, events)).unwrap().unwrap();
    base.learn(&unfinished).unwrap();
    assert!(base.records(true).unwrap().lessons.is_empty());
    base.learn(&lesson(1)).unwrap();
    assert_eq!(base.records(true).unwrap().lessons.len(), 1);
}

#[test]
fn the_graph_says_what_the_records_say() {
    let folder = TempWorkspace::empty();
    let base = base(&folder, "k.db");
    for (run, diff) in [(1, 0.05), (2, 0.06)] {
        base.learn(&compared(run, diff)).unwrap();
    }
    let (document, passages) = document("paper", &["exact dedup helps", "other text"]);
    base.add_document(&document, &passages, START).unwrap();
    let graph = base.graph().unwrap();
    let kinds: Vec<NodeKind> = graph.nodes.iter().map(|node| node.kind).collect();
    for kind in
        [NodeKind::Task, NodeKind::Dataset, NodeKind::Model, NodeKind::Operator, NodeKind::Insight, NodeKind::Paper]
    {
        assert!(kinds.contains(&kind), "{kind:?} in {kinds:?}");
    }
    let improves = graph.edges.iter().find(|edge| edge.kind == EdgeKind::Improves).unwrap();
    let effect = improves.effect.unwrap();
    assert!(improves.from == "operator:exact_dedup" && effect.n == 800 && effect.ci95[0] > 0.0, "{improves:?}");
    let mention = graph.edges.iter().find(|edge| edge.kind == EdgeKind::Mentions).unwrap();
    assert_eq!((mention.to.as_str(), mention.weight), ("operator:exact_dedup", Some(1.0)));

    let near = graph.around(&mention.from, 1).unwrap();
    assert_eq!((near.nodes.len(), near.edges.len()), (2, 1));
    assert_eq!(graph.around(&mention.from, 9).unwrap().nodes.len(), graph.nodes.len());
    assert!(graph.around("operator:none", 1).is_none());
    let dot = graph.to_dot();
    assert!(dot.starts_with("digraph") && dot.contains("\"operator:exact_dedup\" -> \"task:"), "{dot}");
}

#[test]
fn another_database_is_refused_and_left_alone() {
    let folder = TempWorkspace::empty();
    trex_store::Workspace::init(folder.path(), &FixedClock::default()).unwrap();
    let path = folder.path().join("workspace.db");
    let before = std::fs::read(&path).unwrap();
    let err = KnowledgeBase::open(&path, &FixedClock::default()).unwrap_err();
    assert_eq!(err.code(), "store.not_a_knowledge_base");
    assert!(err.hint().is_some() && std::fs::read(&path).unwrap() == before);
    let text =
        folder.write("notes.db", "no database at all, but long enough to look like one to a hasty reader".repeat(3));
    assert!(KnowledgeBase::open(&folder.path().join("notes.db"), &FixedClock::default()).is_err(), "{text:?}");
}

/// A run whose only strategy a person did not want.
fn rejected(run: u8) -> Lesson {
    let mut lesson = lesson(run);
    lesson.rejections = vec![trex_domain::PastRejection {
        run: lesson.run,
        stage: trex_domain::GateStage::Strategy,
        question: "try a much larger rank?".to_owned(),
        reason: "our cards are small".to_owned(),
    }];
    lesson
}

#[test]
fn what_a_person_did_not_want_is_told_to_similar_tasks() {
    let folder = TempWorkspace::empty();
    let base = base(&folder, "k.db");
    let lesson = rejected(1);
    base.learn(&lesson).unwrap();
    base.learn(&self::lesson(2)).unwrap();
    let similar = base.similar_tasks(&lesson.task, 3).unwrap();
    assert_eq!(similar[0].rejections, lesson.rejections);
    let train = trex_testkit::task().train;
    let warm = trex_domain::WarmStart::of(&train, &similar, &[]).unwrap().unwrap();
    assert!(warm.rejections[0].contains("larger rank? because our cards are small"), "{:?}", warm.rejections);
    // It is part of the lesson, so it goes from lab to lab with it.
    let other = self::base(&folder, "other.db");
    other.merge(&base.records(false).unwrap(), START).unwrap();
    assert_eq!(other.similar_tasks(&lesson.task, 3).unwrap()[0].rejections, lesson.rejections);
}
