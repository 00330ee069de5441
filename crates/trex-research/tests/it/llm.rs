//! Questions to a service that misbehaves: each fault ends in the one right outcome.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use trex_domain::{AnswerForm, LanguageModel as _, Message, ModelReply, ModelRequest, Problem, ReplyControl, ToTheEnd};
use trex_research::llm::{
    AnswerFault, CallLimits, Endpoint, Pause, Question, RemoteModel, StoredCall, StoredModel, Surroundings, Wire,
    ask_structured,
};
use trex_research::{NetGate, NetSettings, Secret};
use trex_testkit::{FixedClock, ModelServer, Reaction, START};

/// Remembers pauses and takes none.
#[derive(Debug, Default)]
struct NoPause(Mutex<Vec<Duration>>);

impl Pause for NoPause {
    fn wait(&self, time: Duration, goes_on: &dyn Fn() -> bool) -> bool {
        self.0.lock().unwrap().push(time);
        goes_on()
    }
}

pub(crate) fn gate(offline: bool) -> Arc<NetGate> {
    let lookup = |name: &str| match name {
        "HOME" => Some("/home/someone".to_owned()),
        "TREX_OFFLINE" => offline.then(|| "1".to_owned()),
        _ => None,
    };
    Arc::new(NetGate::new(NetSettings::from_lookup(lookup).unwrap()).unwrap())
}

/// Generous, so that a busy machine is not taken for a slow service, but where nothing is to come.
fn limits(reactions: &[Reaction]) -> CallLimits {
    let is_silent = |reaction: &Reaction| matches!(reaction, Reaction::Nothing | Reaction::StallsAfter(_));
    let wait = match (reactions.iter().all(is_silent), reactions.iter().any(is_silent)) {
        (true, _) => Duration::from_millis(150),
        (false, true) => Duration::from_secs(2),
        (false, false) => Duration::from_mins(1),
    };
    CallLimits { first_byte: wait, idle: wait, attempts: 3, max_bytes: 1 << 20, ..CallLimits::default() }
}

/// A service with a client that knows a key.
struct Bench {
    server: ModelServer,
    pause: Arc<NoPause>,
    model: RemoteModel,
}

impl Bench {
    fn new(reactions: Vec<Reaction>) -> Self {
        Self::speaking(Wire::OpenAi, reactions)
    }

    fn speaking(wire: Wire, reactions: Vec<Reaction>) -> Self {
        let limits = limits(&reactions);
        let server = ModelServer::start(reactions);
        let pause = Arc::new(NoPause::default());
        let endpoint = Endpoint::parse(&format!("{}#some-model", server.address()), |_| None).unwrap().with_wire(wire);
        let surroundings = Surroundings { gate: gate(false), clock: Arc::new(FixedClock(START)), pause: pause.clone() };
        let model = RemoteModel::new(endpoint, Some(Secret::new("sk-very-secret".to_owned())), limits, surroundings);
        Self { server, pause, model }
    }

    fn ask(&self) -> Result<ModelReply, Box<dyn Problem + Send + Sync>> {
        self.model.ask(&request(AnswerForm::Text), &mut ToTheEnd)
    }

    fn pauses(&self) -> Vec<Duration> {
        self.pause.0.lock().unwrap().clone()
    }
}

pub(crate) fn request(form: AnswerForm) -> ModelRequest {
    let messages = vec![Message::system("Be brief."), Message::user("Say something.")];
    ModelRequest { messages, form, max_tokens: 50, temperature: 0.0, seed: 7 }
}

/// What one fault comes to: the text or the code of the error, and how often the service was asked.
#[track_caller]
fn check(what: &str, reactions: Vec<Reaction>, expected: Result<&str, &str>, asked: usize) {
    let bench = Bench::new(reactions);
    let outcome = bench.ask();
    let seen = match &outcome {
        Ok(reply) => Ok(reply.text.as_str()),
        Err(err) => Err(err.code()),
    };
    assert_eq!((seen, bench.server.heard().len()), (expected, asked), "{what}: {outcome:?}");
    assert_eq!(bench.pauses().len(), asked.saturating_sub(1), "{what}: a pause before each further attempt");
    if let Err(err) = outcome {
        let told = format!("{err} {err:?} {:?}", err.hint());
        assert!(!told.contains("very-secret"), "{what}: {told}");
    }
}

fn says(text: &str) -> Reaction {
    Reaction::Says(text.to_owned())
}

fn status(code: u16, body: &str) -> Reaction {
    Reaction::Status(code, &[], body.to_owned())
}

#[test]
fn every_fault_of_a_service_has_its_outcome() {
    let ok = || says("好 and \"good\"\n");
    check("streamed", vec![ok()], Ok("好 and \"good\"\n"), 1);
    check("not streamed", vec![Reaction::SaysAtOnce("fine".into())], Ok("fine"), 1);
    check("slow, then well", vec![Reaction::Nothing, ok()], Ok("好 and \"good\"\n"), 2);
    check("slow for ever", vec![Reaction::Nothing], Err("llm.timed_out"), 3);
    check("stalls in the middle", vec![Reaction::StallsAfter("half an ans".into())], Err("llm.timed_out"), 3);
    check("cut mid-stream, then well", vec![Reaction::BreaksOffAfter("half".into()), ok()], Ok("好 and \"good\"\n"), 2);
    check("cut mid-stream", vec![Reaction::BreaksOffAfter("half".into())], Err("llm.cut_off"), 3);
    check("hangs up", vec![Reaction::HangsUp], Err("llm.unreachable"), 3);
    check("401 that repeats the key", vec![status(401, "bad key sk-very-secret")], Err("llm.unauthorised"), 1);
    check("404", vec![status(404, r#"{"error": "no such model"}"#)], Err("llm.not_found"), 1);
    check("429, then well", vec![status(429, "{}"), ok()], Ok("好 and \"good\"\n"), 2);
    check("429 for ever", vec![status(429, "{}")], Err("llm.rate_limited"), 3);
    check("500, then well", vec![status(500, "oh"), status(503, "oh"), ok()], Ok("好 and \"good\"\n"), 3);
    check("500 for ever", vec![status(500, "oh")], Err("llm.unavailable"), 3);
    check(
        "a redirect",
        vec![Reaction::Status(302, &[("Location", "http://example.org/")], String::new())],
        Err("llm.refused"),
        1,
    );
    check("invalid JSON", vec![Reaction::Body("application/json", "{\"choices\": [".into())], Err("llm.protocol"), 1);
    check("other JSON", vec![Reaction::Body("application/json", "{\"hello\": 1}".into())], Err("llm.protocol"), 1);
    check(
        "invalid JSON in a stream",
        vec![Reaction::Body("text/event-stream", "data: {oops\n\n".into())],
        Err("llm.protocol"),
        1,
    );
    check(
        "wrong content type",
        vec![Reaction::Body("text/html", "<h1>Log in</h1>".into())],
        Err("llm.wrong_content_type"),
        1,
    );
    check("an answer of 10 MB", vec![Reaction::Bytes(10 << 20)], Err("llm.too_large"), 1);
    let told = "data: {\"error\": {\"message\": \"overloaded\", \"code\": 503}}\n\n";
    check(
        "an error in the stream",
        vec![Reaction::Body("text/event-stream", told.into()), ok()],
        Ok("好 and \"good\"\n"),
        2,
    );
}

#[test]
fn a_service_may_ask_for_a_pause_but_not_for_an_hour() {
    let wait = |seconds: &'static [(&'static str, &'static str)]| Reaction::Status(429, seconds, "{}".to_owned());
    let bench = Bench::new(vec![wait(&[("Retry-After", "17")]), says("now")]);
    assert_eq!(bench.ask().unwrap().text, "now");
    assert_eq!(bench.pauses(), [Duration::from_secs(17)]);
    let bench = Bench::new(vec![wait(&[("Retry-After", "3600")]), says("now")]);
    assert_eq!(bench.ask().unwrap_err().code(), "llm.rate_limited");
    assert_eq!((bench.pauses().len(), bench.server.heard().len()), (0, 1));
}

#[test]
fn a_service_that_fails_again_and_again_is_left_alone() {
    let bench = Bench::new(vec![status(500, "oh")]);
    for _ in 0..3 {
        assert_eq!(bench.ask().unwrap_err().code(), "llm.unavailable");
    }
    let err = bench.ask().unwrap_err();
    assert_eq!(err.code(), "llm.circuit_open");
    assert_eq!(bench.server.heard().len(), 9, "three calls of three attempts, and none after that");
}

/// Wants no more after some pieces.
struct Impatient(AtomicUsize);

impl ReplyControl for Impatient {
    fn on_text(&mut self, _: &str) {
        let left = self.0.load(Ordering::SeqCst);
        self.0.store(left.saturating_sub(1), Ordering::SeqCst);
    }

    fn goes_on(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }
}

#[test]
fn an_answer_can_be_given_up_before_and_in_its_middle() {
    // The last reaction is never seen; with it there is time.
    let endless = Reaction::StallsAfter("a long answer that does not end".to_owned());
    let bench = Bench::new(vec![endless.clone(), endless, says("")]);
    for pieces in [0, 2] {
        let outcome = bench.model.ask(&request(AnswerForm::Text), &mut Impatient(AtomicUsize::new(pieces)));
        assert_eq!(outcome.unwrap_err().code(), "llm.cancelled", "after {pieces} pieces");
    }
    assert!(bench.pauses().is_empty());
}

#[test]
fn the_question_carries_key_form_and_limits() {
    let bench = Bench::new(vec![says("{}")]);
    let form = AnswerForm::JsonSchema { name: "thing".to_owned(), schema: serde_json::json!({"type": "object"}) };
    let reply = bench.model.ask(&request(form), &mut ToTheEnd).unwrap();
    assert_eq!((reply.usage.prompt_tokens, reply.usage.completion_tokens), (7, 3));
    let [heard] = bench.server.heard().try_into().unwrap();
    assert_eq!(heard.path, "/v1/chat/completions");
    assert_eq!(heard.header("authorization"), Some("Bearer sk-very-secret"));
    let body: serde_json::Value = serde_json::from_str(&heard.body).unwrap();
    assert_eq!(body["response_format"]["json_schema"]["name"], "thing");
    assert_eq!(
        (body["max_tokens"].as_u64(), body["seed"].as_u64(), body["stream"].as_bool()),
        (Some(50), Some(7), Some(true))
    );
    assert_eq!(body["messages"][0]["role"], "system");
    assert!(!format!("{:?}", bench.model).contains("very-secret"));
}

#[test]
fn messages_of_anthropic_are_spoken_too() {
    let events = [
        r#"{"type": "message_start", "message": {"usage": {"input_tokens": 11}}}"#,
        r#"{"type": "ping"}"#,
        r#"{"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{\"a\": "}}"#,
        r#"{"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "1}"}}"#,
        r#"{"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}"#,
        r#"{"type": "message_stop"}"#,
    ];
    let stream = |events: &[&str]| {
        let lines: Vec<_> = events.iter().map(|data| format!("event: x\ndata: {data}\n\n")).collect();
        lines.concat()
    };
    let broken = Reaction::Body("text/event-stream", stream(&events[..4]));
    let overloaded = r#"{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}"#;
    let told = Reaction::Body("text/event-stream", stream(&[events[0], overloaded]));
    let bench =
        Bench::speaking(Wire::Anthropic, vec![broken, told, Reaction::Body("text/event-stream", stream(&events))]);
    let form = AnswerForm::JsonSchema { name: "thing".to_owned(), schema: serde_json::json!({"type": "object"}) };
    let reply = bench.model.ask(&request(form), &mut ToTheEnd).unwrap();
    assert_eq!((reply.text.as_str(), reply.usage.total()), ("{\"a\": 1}", 16));
    let heard = bench.server.heard();
    assert_eq!(heard.len(), 3, "a broken stream and an overloaded service are asked again");
    assert_eq!(heard[2].path, "/v1/messages");
    assert_eq!(heard[2].header("x-api-key"), Some("sk-very-secret"));
    assert_eq!(heard[2].header("anthropic-version"), Some("2023-06-01"));
    let body: serde_json::Value = serde_json::from_str(&heard[2].body).unwrap();
    assert_eq!((&body["system"], &body["tool_choice"]["name"]), (&"Be brief.".into(), &"thing".into()));
    assert_eq!(body["messages"].as_array().map(Vec::len), Some(1));
}

#[test]
fn offline_only_this_machine_is_asked() {
    let surroundings = |offline| Surroundings {
        gate: gate(offline),
        clock: Arc::new(FixedClock(START)),
        pause: Arc::new(NoPause::default()),
    };
    let far = Endpoint::parse("https://llm.invalid/v1#m", |_| None).unwrap();
    let world = surroundings(true);
    let model = RemoteModel::new(far, None, limits(&[]), world.clone());
    assert_eq!(model.ask(&request(AnswerForm::Text), &mut ToTheEnd).unwrap_err().code(), "net.offline");
    assert_eq!(world.gate.attempts().len(), 1);
    assert_eq!(world.gate.attempts()[0].refused.as_deref(), Some("net.offline"));
    let server = ModelServer::start(vec![says("here")]);
    let near = Endpoint::parse(server.address(), |_| None).unwrap();
    let model = RemoteModel::new(near, None, limits(&[]), surroundings(true));
    assert_eq!(model.ask(&request(AnswerForm::Text), &mut ToTheEnd).unwrap().text, "here");
    let open = Endpoint::parse("http://llm.invalid/v1#m", |_| None).unwrap();
    let key = Some(Secret::new("sk-very-secret".to_owned()));
    let model = RemoteModel::new(open, key, limits(&[]), surroundings(false));
    assert_eq!(model.ask(&request(AnswerForm::Text), &mut ToTheEnd).unwrap_err().code(), "net.token_in_clear");
}

/// What the tests of typed answers ask for.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Choice {
    /// From 1 to 3.
    pub(crate) number: u8,
    /// A reason.
    pub(crate) why: String,
}

pub(crate) fn question() -> Question {
    let messages = vec![Message::user("Choose a number from 1 to 3, with a reason of a few words.")];
    Question { name: "choice", messages, max_tokens: 100, seed: 1 }
}

pub(crate) fn in_range(choice: &Choice) -> Result<(), AnswerFault> {
    if (1..=3).contains(&choice.number) {
        return Ok(());
    }
    Err(AnswerFault::Value { field: "number", complaint: format!("is {}, allowed is 1 to 3", choice.number) })
}

#[track_caller]
fn check_typed(
    what: &str,
    reactions: Vec<Reaction>,
    expected: Result<u8, &str>,
    asked: usize,
    repairs: usize,
) -> Bench {
    let bench = Bench::new(reactions);
    let outcome = ask_structured(&bench.model, &question(), &in_range, &mut ToTheEnd);
    let seen = outcome.answer.as_ref().map(|choice| choice.number).map_err(|err| err.code());
    assert_eq!((seen, bench.server.heard().len(), outcome.repairs), (expected, asked, repairs), "{what}: {outcome:?}");
    bench
}

const GOOD: &str = r#"{"number": 2, "why": "in the middle"}"#;

#[test]
fn typed_answers_are_repaired_at_most_twice() {
    check_typed("good", vec![says(GOOD)], Ok(2), 1, 0);
    check_typed("wrapped", vec![says(&format!("Sure!\n```json\n{GOOD}\n```"))], Ok(2), 1, 0);
    let bench = check_typed("prose, then good", vec![says("Two."), says(GOOD)], Ok(2), 2, 1);
    assert!(bench.server.heard()[1].body.contains("no JSON object"), "the model is told what was wrong");
    let off = r#"{"number": 2}"#;
    let bench = check_typed("schema mismatch, then good", vec![says(off), says(off), says(GOOD)], Ok(2), 3, 2);
    assert!(bench.server.heard()[1].body.contains("missing field"), "{:?}", bench.server.heard()[1]);
    check_typed("schema mismatch for ever", vec![says(off)], Err("llm.off_schema"), 3, 2);
    check_typed("out of range, then good", vec![says(r#"{"number": 9, "why": "x"}"#), says(GOOD)], Ok(2), 2, 1);
    let injected = r#"{"number": 2, "why": "x", "open_test_split": true, "budget": {"trials": 100000}}"#;
    check_typed("fields that nobody asked for", vec![says(injected)], Err("llm.off_schema"), 3, 2);
    check_typed("a service that is down", vec![status(500, "oh")], Err("llm.unavailable"), 3, 0);
}

#[test]
fn a_form_that_a_service_does_not_know_is_not_asked_for_again() {
    let no = || status(400, r#"{"error": "response_format is not supported"}"#);
    let bench = check_typed("no schema, no object", vec![no(), no(), says("hm"), says(GOOD)], Ok(2), 4, 1);
    let forms: Vec<_> = bench
        .server
        .heard()
        .iter()
        .map(|heard| serde_json::from_str::<serde_json::Value>(&heard.body).unwrap()["response_format"]["type"].clone())
        .collect();
    assert_eq!(forms, ["json_schema".into(), "json_object".into(), serde_json::Value::Null, serde_json::Value::Null]);
    check_typed("refuses everything", vec![no()], Err("llm.bad_request"), 3, 0);
}

#[test]
fn an_answer_is_stored_and_the_same_question_costs_nothing_again() {
    let bench = Bench::new(vec![says(GOOD)]);
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    let server = bench.server;
    let model = StoredModel::new(Arc::new(bench.model), calls.clone(), Arc::new(FixedClock(START)));
    for (replayed, tokens) in [(false, 10), (true, 0)] {
        let asked = ask_structured(&model, &question(), &in_range, &mut ToTheEnd);
        assert_eq!((asked.answer.unwrap().number, asked.replayed, asked.usage.total()), (2, replayed, tokens));
    }
    assert_eq!(server.heard().len(), 1);
    let [stored] = StoredCall::all(&calls).unwrap().try_into().unwrap();
    assert_eq!((stored.reply.text.as_str(), stored.at), (GOOD, START));
    assert!(!serde_json::to_string(&stored).unwrap().contains("very-secret"));
}
