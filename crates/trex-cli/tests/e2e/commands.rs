//! A whole run, and every command that looks at it afterwards, in text and in JSON.

use std::fs;

use serde_json::Value;
use trex_domain::Report;

use crate::outcome::check_log;
use crate::program::{Done, Program};
use crate::schema::check_schema;

#[test]
fn a_run_and_everything_that_shows_it() {
    let program = Program::with_tiny_task();
    let done = program.succeed(&["run", "tiny.toml", "--workspace", "w", "--seed", "3", "--json"]);
    check_lines(&program, &done);
    check_report(&program);
    check_files(&program);
    check_tree(&program);
    check_nodes(&program);
    check_status_and_watch(&program);
    check_resume(&program);
    check_repro(&program);
}

/// Every line is JSON: events with numbers without a gap, progress, and the report at the end.
#[track_caller]
fn check_lines(program: &Program, done: &Done) {
    let mut lines = done.lines();
    let last = lines.pop().unwrap();
    assert_eq!(last["type"], "report");
    // Where the machine has a card that this build leaves unused, a line says so.
    lines.retain(|line| line["type"] != "device");
    assert_eq!(last["report"], program.json(&["report", "--workspace", "w"]));
    let (progress, events): (Vec<Value>, Vec<Value>) = lines.into_iter().partition(|line| line["type"] == "progress");
    check_log(&events);
    assert_eq!(events, program.events("w"), "what is printed is what is recorded");
    assert!(
        progress.iter().any(|line| line["phase"] == "train") && progress.iter().any(|line| line["phase"] == "score")
    );
    for line in &progress {
        let [done, total] = ["done", "total"].map(|key| line[key].as_u64().unwrap());
        assert!(done <= total && line["what"].is_string(), "{line}");
    }
}

#[track_caller]
fn check_score(score: &Value, split: &str, n: u64) {
    let value = score["score"].as_f64().unwrap();
    let [low, high] = [0, 1].map(|at| score["ci95"][at].as_f64().unwrap());
    assert!((0.0..=1.0).contains(&value) && low <= value && value <= high, "{score}");
    assert_eq!((&score["n"], &score["split"], &score["metric"]), (&n.into(), &split.into(), &"accuracy".into()));
}

/// The keys that scripts may rely on.
#[track_caller]
fn check_report(program: &Program) {
    let report = program.json(&["report", "--workspace", "w"]);
    check_schema(&report);
    check_score(&report["base"], "final", 40);
    check_score(&report["final"], "final", 40);
    assert!(["gain", "no_real_gain"].contains(&report["verdict"].as_str().unwrap()));
    let trials = report["trials"].as_u64().unwrap();
    assert!((1..=6).contains(&trials), "{trials}");
    assert!(report["duplicates"]["avoided"].is_u64());
    assert_eq!(report["duplicates"]["run"], 0);
    for key in ["wall_s", "cpu_s", "gpu_s", "money", "person_min"] {
        assert!(report["cost"][key].as_f64().is_some_and(|cost| cost >= 0.0), "{key}: {}", report["cost"]);
    }
    assert!(report["cost"]["disk_bytes"].as_u64() > Some(0), "{}", report["cost"]);
    let by_phase: f64 =
        report["cost_by_phase"].as_object().unwrap().values().map(|cost| cost["cpu_s"].as_f64().unwrap()).sum();
    assert!((by_phase - report["cost"]["cpu_s"].as_f64().unwrap()).abs() < 1e-6, "all work belongs to a phase");
    assert!(report["cost"]["cpu_s"].as_f64() > Some(0.0) && report["cost"]["wall_s"].as_f64() > Some(0.0));
    assert_eq!(
        (&report["status"], &report["final_opened"], &report["resumed"]),
        (&"finished".into(), &1.into(), &0.into())
    );
    assert_eq!(report["rows"]["final"], 40);
    assert_eq!(report["nodes"][0]["id"], "base");
    assert!(report["nodes"].as_array().unwrap().len() > 2);
    serde_json::from_value::<Report>(report).unwrap();
}

/// The forms of the report are the files that the run left, and a page needs nothing from elsewhere.
#[track_caller]
fn check_files(program: &Program) {
    let report = program.json(&["report", "--workspace", "w"]);
    let files: Vec<_> = report["files"].as_object().unwrap().iter().collect();
    assert!(files.len() >= 3);
    for (kind, path) in files {
        assert!(program.path("w").join(path.as_str().unwrap()).exists(), "{kind}");
    }
    let read =
        |kind: &str| fs::read_to_string(program.path("w").join(report["files"][kind].as_str().unwrap())).unwrap();
    let html = program.succeed(&["report", "--html", "--workspace", "w"]).stdout;
    let markdown = program.succeed(&["report", "--md", "--workspace", "w"]).stdout;
    assert_eq!(html.trim_end(), read("report_html").trim_end());
    assert_eq!(markdown.trim_end(), read("report_md").trim_end());
    assert!(markdown.starts_with("# tiny") && markdown.contains("s1.e1"));
    assert!(html.contains("<svg") && html.trim_end().ends_with("</html>") && html.contains("s1.e1"));
    for foreign in ["src=", "<link", "@import", "url(", "href=\"http"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    assert!(!markdown.contains("]("), "a link out of the page");
}

#[track_caller]
fn check_tree(program: &Program) {
    let text = program.succeed(&["tree", "--workspace", "w"]).stdout;
    assert!(!text.contains('\x1b'), "colours belong on a terminal");
    let tree = program.json(&["tree", "--workspace", "w"]);
    let nodes = tree["nodes"].as_array().unwrap();
    for id in nodes.iter().map(|node| node["id"].as_str().unwrap()) {
        assert!(text.contains(id), "{id} is not in {text}");
    }
}

#[track_caller]
fn check_nodes(program: &Program) {
    let node = program.json(&["show", "s1.e1", "--workspace", "w"]);
    assert_eq!(node["node"]["id"], "s1.e1");
    assert!(!node["decision"].is_null());
    let variant = program.json(&["show", "s1.e1.a", "--workspace", "w"]);
    assert_eq!(variant["variant"]["id"], "s1.e1.a");
    assert_eq!(variant["config"]["max_steps"], 6);
    assert!(!variant["recipe"].is_null());
    for (name, expected) in [("s1", "hypothesis:"), ("s1.e1", "why now:"), ("s1.e1.a", "loss:"), ("base", "base")] {
        let text = program.succeed(&["show", name, "--workspace", "w"]).stdout;
        assert!(text.contains(expected), "{text}");
    }
}

#[track_caller]
fn check_status_and_watch(program: &Program) {
    let status = program.json(&["status", "--workspace", "w"]);
    let events = program.events("w");
    assert_eq!((&status["status"], &status["events"]), (&"finished".into(), &events.len().into()));
    assert!(program.succeed(&["status", "--workspace", "w"]).stdout.contains("tiny: finished"));
    let text = program.succeed(&["watch", "--no-follow", "--workspace", "w"]).stdout;
    assert!(text.contains("verdict:") && text.contains("base, search split"), "{text}");
    // A finished run is not waited for.
    program.succeed(&["watch", "--workspace", "w"]);
    let rest = program.succeed(&["watch", "--no-follow", "--after", "3", "--json", "--workspace", "w"]).lines();
    assert_eq!(rest, events[3..]);
}

/// Resuming what has ended changes nothing and says the same.
#[track_caller]
fn check_resume(program: &Program) {
    let (events, report) = (program.events("w"), program.json(&["report", "--workspace", "w"]));
    let resumed = program.succeed(&["resume", "--json", "--workspace", "w"]).lines();
    assert_eq!(resumed.last().unwrap()["report"], report);
    assert_eq!(resumed.len(), 1);
    assert!(program.succeed(&["resume", "--workspace", "w"]).stdout.contains("verdict:"));
    assert_eq!(program.events("w"), events);
}

/// Training a winner again from nothing gives the same bytes, although the run trained it in two parts.
#[track_caller]
fn check_repro(program: &Program) {
    let found = program.json(&["repro", "s1.e1", "--workspace", "w"]);
    assert_eq!((&found["identical"], &found["rung"]), (&true.into(), &1.into()), "{found}");
    assert_eq!(found["recorded"], found["repeated"]);
    let text = program.succeed(&["repro", "s1.e1.a", "--workspace", "w"]).stdout;
    assert!(text.contains("identical"), "{text}");
    let left: Vec<_> = fs::read_dir(program.path("w/scratch")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn commands_without_a_run() {
    let program = Program::new();
    let made = program.json(&["init", "--workspace", "w"]);
    assert_eq!(made["workspace"], "w");
    assert!(program.succeed(&["init", "--workspace", "w"]).stdout.contains("workspace w"), "a second time is no harm");

    let models = program.json(&["model", "list"]);
    assert_eq!(models[0]["name"], "bundled");
    assert!(models[0]["dir"].as_str().unwrap().starts_with(program.path("cache").to_str().unwrap()), "{models}");
    assert!(program.succeed(&["model", "list"]).stdout.starts_with("bundled\t"));

    let findings = program.json(&["doctor", "--workspace", "w"]);
    let whats: Vec<_> = findings.as_array().unwrap().iter().map(|finding| finding["what"].as_str().unwrap()).collect();
    let expected =
        ["processors", "memory", "nvidia", "device", "worker", "model folder", "models", "workspace", "disk"];
    for what in expected.into_iter().chain(["network", "hardware"]) {
        assert!(whats.contains(&what), "{whats:?}");
    }
    crate::schema::check_against("doctor.schema.json", &findings);
    let facts = findings.as_array().unwrap().iter().find(|finding| finding["what"] == "hardware").unwrap();
    assert!(facts["facts"]["processor"]["threads"].as_u64().unwrap() > 0, "{facts}");
    let text = program.succeed(&["doctor", "--workspace", "nowhere"]).stdout;
    assert!(text.contains("ok   processors") && text.contains("note workspace"), "{text}");

    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = program.succeed(&["completions", shell]).stdout;
        assert!(script.contains("resume") && script.contains("trex") && script.contains("no-follow"), "{shell}");
        for hidden in ["make-model", "practice-steps", "one job from standard input"] {
            assert!(!script.contains(hidden), "{shell} completes {hidden}");
        }
    }

    program.write("rows.csv", "text,label\ngood,1\nbad,0\ngood,1\n");
    let profile = program.json(&["data", "profile", "rows.csv"]);
    assert_eq!((&profile["rows"]["in"], &profile["exact_duplicates"]), (&3.into(), &1.into()));
    assert!(program.succeed(&["data", "profile", "rows.csv"]).stdout.contains("rows: 3 in"));
}

/// Whether the machine has a card or not: this build has none of the features, so a card cannot be had.
#[test]
fn a_device_that_cannot_be_had_is_refused_before_anything_begins() {
    let program = Program::with_tiny_task();
    for device in ["cuda", "cuda:9", "metal"] {
        let args = ["run", "tiny.toml", "--workspace", "w", "--device", device];
        let done = program.run(&[&args[..], &["--json"]].concat());
        assert_eq!(done.code, Some(3), "{done:?}");
        let error = done.lines().pop().unwrap();
        assert!(error["code"].as_str().unwrap().starts_with("device."), "{error}");
        assert!(error["message"].as_str().unwrap().contains(device) && error["hint"].is_string(), "{error}");
        assert!(!error["causes"].as_array().unwrap().is_empty(), "{error}");
        assert!(!program.path("w").exists());
    }
    let wrong = program.run(&["run", "tiny.toml", "--workspace", "w", "--device", "gpu"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("cuda:N"), "{wrong:?}");
    let findings = program.json(&["doctor", "--workspace", "nowhere", "--device", "metal"]);
    let worker = findings.as_array().unwrap().iter().find(|finding| finding["what"] == "worker").unwrap();
    assert!(worker["ok"] == false && worker["hint"].is_string(), "{worker}");
}

/// The program that runs the jobs can be another one.
#[cfg(unix)]
#[test]
fn jobs_are_run_by_the_program_that_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let program = Program::with_tiny_task();
    let args = ["run", "tiny.toml", "--workspace", "w"];
    let missing = program.command(&args).env("TREX_WORKER", "/nowhere/worker").output().unwrap();
    assert_eq!(missing.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("error[worker.missing]"));
    assert!(!program.path("w").exists());
    let event = r#"{"event":"failed","class":"config","code":"other.program","message":"it was me","hint":null}"#;
    let script = program.write("worker.sh", format!("#!/bin/sh\nread job\necho '{event}'\n"));
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let other = program.command(&args).env("TREX_WORKER", &script).output().unwrap();
    assert!(!other.status.success());
    assert!(String::from_utf8_lossy(&other.stderr).contains("it was me"), "{other:?}");
}

#[test]
fn help_and_wrong_command_lines() {
    let program = Program::new();
    let help = program.succeed(&["--help"]).stdout;
    assert!(help.contains("Exit codes:") && help.contains("ftbench/mini-1"), "{help}");
    assert!(program.succeed(&["--version"]).stdout.starts_with("trex "));
    for args in [&["rum"][..], &["run"], &["run", "x", "--seed", "minus"], &["report", "--md", "--html"], &[]] {
        let done = program.run(args);
        assert_eq!(done.code, Some(2), "{done:?}");
        assert!(done.stderr.contains("Usage") || done.stderr.contains("--help"), "{done:?}");
    }
    assert!(!program.path("cache").exists(), "a wrong command line touches nothing");
}
