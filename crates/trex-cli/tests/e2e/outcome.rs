//! What two runs that should be equal are compared by: reports and events without times, costs and the id of the run.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::program::Program;

/// Keys whose values belong to one execution and not to its result. The tokens of a job that goes on from a checkpoint
/// are fewer than those of one from the start.
const OF_THE_EXECUTION: [&str; 19] = [
    "run",
    "seq",
    "at",
    "started",
    "cost",
    "load",
    "encoding",
    "micro_batch",
    "cost_by_phase",
    "reserved",
    "wall_s",
    "peak_rss_bytes",
    "tokens",
    "supervised_tokens",
    "resumed",
    "forecast_wall_s",
    "forecast_cpu_s",
    "next_wall_s",
    "next_cpu_s",
];

/// Events that a run has only because it was interrupted.
const OF_INTERRUPTIONS: [&str; 3] = ["run_resumed", "run_failed", "trial_interrupted"];

/// Report and events of a finished run.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) report: Value,
    pub(crate) events: Vec<Value>,
}

impl Outcome {
    /// Reads a workspace and checks what holds for every finished run.
    #[track_caller]
    pub(crate) fn of(program: &Program, workspace: &str) -> Self {
        let report = program.json(&["report", "--workspace", workspace]);
        let events = program.events(workspace);
        check_log(&events);
        assert_eq!(report["status"], "finished");
        let run = report["run"].as_str().unwrap().to_owned();
        let is_repeated = |event: &Value| event["type"] == "trial_started" && event["attempt"] != 1;
        let is_ours =
            |event: &&Value| OF_INTERRUPTIONS.iter().all(|kind| event["type"] != *kind) && !is_repeated(event);
        let events = events.iter().filter(is_ours).map(|event| comparable(event, &run)).collect();
        Self { report: comparable(&report, &run), events }
    }

    /// Fails with the first difference.
    #[track_caller]
    pub(crate) fn assert_equals(&self, other: &Self) {
        for (ours, theirs) in self.events.iter().zip(&other.events) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(self.events.len(), other.events.len());
        assert_eq!(self.report, other.report);
    }
}

fn comparable(value: &Value, run: &str) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !OF_THE_EXECUTION.contains(&key.as_str()));
            Value::Object(kept.map(|(key, value)| (key.clone(), comparable(value, run))).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(|value| comparable(value, run)).collect()),
        Value::String(text) => Value::String(text.replace(run, "RUN")),
        other => other.clone(),
    }
}

/// Numbers without a gap, one end, one opening of the sealed split, and no work that was done twice.
#[track_caller]
pub(crate) fn check_log(events: &[Value]) {
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((count("run_started"), count("run_finished"), count("final_opened")), (1, 1, 1));
    let resumed: Vec<_> = events.iter().filter(|event| event["type"] == "run_resumed").collect();
    assert!(resumed.iter().zip(1..).all(|(event, times)| event["times"] == times), "{resumed:?}");
    check_once(events, "trial_trained", |event| format!("{} {} {}", event["variant"], event["rung"], event["seed"]));
    check_once(events, "trial_scored", |event| {
        format!("{} {} {} {}", event["variant"], event["rung"], event["seed"], event["score"]["split"])
    });
    check_once(events, "base_scored", |event| format!("{} {}", event["score"]["split"], event["seed"]));
    check_once(events, "final_scored", |event| format!("{} {}", event["variant"], event["seed"]));
    check_once(events, "experiment_finished", |event| event["node"].to_string());
}

#[track_caller]
fn check_once(events: &[Value], kind: &str, name: impl Fn(&Value) -> String) {
    let mut seen = BTreeSet::new();
    for event in events.iter().filter(|event| event["type"] == kind) {
        assert!(seen.insert(name(event)), "{kind} twice: {}", name(event));
    }
}
