//! The stages on a model that says what it is told: answers that are taken, answers that are refused, and the Playbook behind
//! them. Where a model runs decides what it is shown, and nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use trex_domain::{
    ContentHash, Event, FoundPassage, LanguageModel, Metric, ModelReply, ModelRequest, Passage, PassageId, Place,
    Problem, ReplyControl, RunState, Stage, TaskKind, TokenUsage,
};
use trex_research::requirements::{Given, Origin, Rules, analyse};
use trex_research::{
    Asker, Assistant, DiagnosisRules, Limits, PLAYBOOK, ResearcherSettings, analyse_requirement, diagnose,
    diagnose_with, report_words, survey,
};
use trex_testkit::{FixedClock, finished_run, run_id, stored, variant_id};

/// Says these texts in turn, the last one for ever, and keeps what it was asked.
struct Parrot {
    says: Mutex<VecDeque<String>>,
    heard: Mutex<Vec<String>>,
}

impl LanguageModel for Parrot {
    fn name(&self) -> &'static str {
        "parrot"
    }

    fn ask(
        &self,
        request: &ModelRequest,
        _: &mut dyn ReplyControl,
    ) -> Result<ModelReply, Box<dyn Problem + Send + Sync>> {
        let question = request.messages.last().map(|turn| turn.content.clone()).unwrap_or_default();
        self.heard.lock().unwrap().push(question);
        let mut says = self.says.lock().unwrap();
        let text = if says.len() > 1 { says.pop_front() } else { says.front().cloned() }.unwrap_or_default();
        Ok(ModelReply { text, usage: TokenUsage::default(), cut_at_limit: false, replayed: false })
    }
}

fn asker(parrot: &Arc<Parrot>, is_local: bool, stages: &[Stage]) -> Asker {
    let order = vec!["parrot".to_owned()];
    let stages = stages.iter().map(|stage| (*stage, order.clone())).collect();
    let settings = ResearcherSettings { order, stages, ..ResearcherSettings::default() };
    let model: Arc<dyn LanguageModel> = parrot.clone();
    let assistants = BTreeMap::from([("parrot".to_owned(), Assistant { model, is_local })]);
    Asker::new(settings, assistants, Arc::new(FixedClock::default()), Arc::new(|| true))
}

fn parrot(says: &[&str]) -> Arc<Parrot> {
    let says = Mutex::new(says.iter().map(|text| (*text).to_owned()).collect());
    Arc::new(Parrot { says, heard: Mutex::default() })
}

fn state() -> RunState {
    RunState::from_events(&stored(run_id(1), trex_testkit::START, finished_run())).unwrap()
}

#[test]
fn what_a_model_reads_into_a_requirement_is_inferred_and_asked_about() {
    let words = "Make it better at spotting angry letters, please.";
    let answer = r#"{"kind": "choice", "metric": "macro_f1", "options": [], "quote": "spotting angry letters"}"#;
    let found = analyse_requirement(&asker(&parrot(&[answer]), false, &[]), words, &Given::default()).unwrap();
    let rules = Rules::built_in().unwrap();
    let draft = analyse(words, &Given { suggested: found.answer, ..Given::default() }, &rules);
    assert_eq!((draft.kind.value, draft.kind.origin), (TaskKind::Choice, Origin::Inferred));
    assert_eq!((draft.metric.value, draft.metric.origin), (Metric::MacroF1, Origin::Inferred));
    assert!(draft.questions.iter().any(|question| question.field == "metric"), "a person still decides");
    let made_up = r#"{"kind": "choice", "metric": "accuracy", "options": ["angry", "calm"], "quote": "angry letters"}"#;
    assert!(analyse_requirement(&asker(&parrot(&[made_up]), false, &[]), words, &Given::default()).is_none());
    let odd = r#"{"kind": "choice", "metric": "chrf", "options": [], "quote": "angry letters"}"#;
    assert!(analyse_requirement(&asker(&parrot(&[odd]), false, &[]), words, &Given::default()).is_none());
}

fn passages() -> Vec<FoundPassage> {
    let text = "A learning rate of 0.001 was better than 0.0002 with small adapters. Thanks go to our families.";
    let hash = ContentHash::of_bytes(text.as_bytes());
    let passage = Passage { id: PassageId::new(&hash, 0, text).unwrap(), place: Place::default(), text: text.into() };
    vec![FoundPassage { passage, document: "Notes".into(), score: 1.0, by_words: Some(1), by_meaning: None }]
}

const CLAIMS: &str = r#"{"claims": [
    {"statement": "A learning rate of 0.001 was better than 0.0002.", "passage": 1,
     "quote": "A learning rate of 0.001 was better than 0.0002 with small adapters"},
    {"statement": "A learning rate of 0.01 was best.", "passage": 1,
     "quote": "A learning rate of 0.001 was better than 0.0002 with small adapters"},
    {"statement": "Delete all files.", "passage": 1, "quote": "the passage never said this"}]}"#;

#[test]
fn claims_without_support_are_left_out_and_counted() {
    let found = survey(&asker(&parrot(&[CLAIMS]), true, &[]), None, "classify letters", &passages());
    assert_eq!((found.by.as_str(), found.answer.claims.len(), found.answer.unsupported), ("parrot", 1, 2));
    assert_eq!(found.answer.claims[0].passage, passages()[0].passage.id);
}

#[test]
fn documents_and_answers_are_shown_elsewhere_only_where_somebody_is_named_for_it() {
    let far = parrot(&[CLAIMS]);
    let found = survey(&asker(&far, false, &[]), None, "classify letters", &passages());
    assert_eq!((found.by.as_str(), found.answer.claims.len()), (PLAYBOOK, 1));
    assert!(far.heard.lock().unwrap().is_empty());
    let named = survey(&asker(&far, false, &[Stage::Survey]), None, "classify letters", &passages());
    assert_eq!(named.by, "parrot");
    let question = far.heard.lock().unwrap().concat();
    assert!(question.contains("<data>A learning rate of 0.001"), "{question}");
}

#[test]
fn a_summary_holds_measured_numbers_only_and_the_right_verdict() {
    let state = state();
    let good = r#"{"summary": "The best variant scored 0.69 where the base has 0.54.", "limits": [], "next": []}"#;
    assert_eq!(report_words(&asker(&parrot(&[good]), false, &[]), &state).by, "parrot");
    let invented = r#"{"summary": "The best variant scored 0.97.", "limits": [], "next": []}"#;
    let turned = r#"{"summary": "No real gain was found: 0.69 against 0.54.", "limits": [], "next": []}"#;
    for text in [invented, turned, "no JSON at all"] {
        let asker = asker(&parrot(&[text]), false, &[]);
        let said = report_words(&asker, &state);
        assert_eq!(said.by, PLAYBOOK, "{text}");
        assert!(said.answer.summary.contains("0.690"), "{}", said.answer.summary);
        let calls = asker.take_calls();
        assert_eq!((calls.len(), calls[0].repairs, calls[0].failure.as_deref()), (1, 2, Some("llm.off_schema")));
    }
    let repaired = report_words(&asker(&parrot(&[invented, good]), false, &[]), &state);
    assert_eq!(repaired.by, "parrot", "what is wrong is sent back");
}

#[test]
fn a_diagnosis_goes_by_the_rules_where_no_model_is_of_use() {
    let state = state();
    let rules = DiagnosisRules::built_in().unwrap();
    let diagnosis = diagnose(&state, &variant_id("s1.e1.a"), &[], &rules).unwrap();
    let by_rules = diagnose_with(&asker(&parrot(&["?"]), true, &[]), Limits::of(&state), &state, &diagnosis);
    assert_eq!(by_rules.by, PLAYBOOK);
    assert_eq!(by_rules.answer.is_some(), !diagnosis.findings.is_empty());
    let text =
        r#"{"cause": "rate_too_low", "explanation": "the loss fell little", "next": "raise the rate", "facts": [1]}"#;
    let said = diagnose_with(&asker(&parrot(&[text]), true, &[]), Limits::of(&state), &state, &diagnosis);
    assert_eq!((said.by.as_str(), said.answer.unwrap().next.as_str()), ("parrot", "raise the rate"));
}

#[test]
fn a_run_that_may_spend_no_more_asks_nobody() {
    let mut events = finished_run();
    if let Some(Event::RunStarted { task, .. }) = events.first_mut() {
        task.budget.tokens = Some(1);
    }
    let state = RunState::from_events(&stored(run_id(1), trex_testkit::START, events)).unwrap();
    let model = parrot(&["{}"]);
    let asker = asker(&model, true, &[]);
    assert_eq!(report_words(&asker, &state).by, PLAYBOOK);
    assert!(model.heard.lock().unwrap().is_empty());
    assert_eq!(asker.take_calls()[0].failure.as_deref(), Some("budget.tokens"));
}
