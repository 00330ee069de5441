//! Workspaces that cannot be used: not there, damaged, too new, locked, full, read-only. Nothing in them changes.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use trex_domain::{EvalJob, EvalMode, EventLog as _, Job, Metric, Millis};
use trex_store::Workspace;
use trex_testkit::{FixedClock, run_id};

use crate::program::{Program, files_below, parse};

/// Commands that only look.
const READERS: [&[&str]; 5] = [&["status"], &["watch", "--no-follow"], &["tree"], &["report"], &["show", "s1"]];

/// Every command on `w`, those that write too.
fn all_commands() -> Vec<Vec<&'static str>> {
    let writers: [&[&str]; 3] = [&["run", "tiny.toml"], &["resume"], &["repro", "s1.e1"]];
    let all = READERS.into_iter().chain(writers);
    all.map(|command| [command, &["--workspace", "w"]].concat()).collect()
}

fn with_workspace() -> Program {
    let program = Program::with_tiny_task();
    program.succeed(&["init", "--workspace", "w"]);
    program
}

/// A workspace with a run that ended before it had data.
fn with_begun_run() -> Program {
    let program = with_workspace();
    program.write("none.toml", crate::program::TINY.replace("ftbench/mini-1", "ftbench/mini-0"));
    assert_eq!(program.run(&["run", "none.toml", "--workspace", "w"]).code, Some(3));
    program
}

/// Changes the database and expects every command to refuse it and to leave every file as it is.
#[track_caller]
fn check_database(change: impl Fn(&mut Vec<u8>), code: &str) {
    let program = with_workspace();
    let path = program.path("w/workspace.db");
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    for command in all_commands() {
        program.refused(&command, 3, code);
        assert!(fs::read(&path).unwrap() == bytes, "{command:?} changed the database");
    }
}

#[test]
fn damaged_databases_are_refused_and_kept() {
    check_database(|bytes| bytes.fill(0x55), "store.damaged");
    check_database(|bytes| bytes.truncate(50), "store.damaged");
    check_database(|bytes| bytes.truncate(bytes.len() / 2), "store.damaged");
    check_database(|bytes| bytes[4096..].fill(0x55), "store.damaged");
}

#[test]
fn databases_of_a_newer_version_are_refused_and_kept() {
    // The user version: https://www.sqlite.org/fileformat.html#the_database_header
    check_database(|bytes| bytes[60..64].copy_from_slice(&99_u32.to_be_bytes()), "store.newer_version");
}

#[test]
fn a_folder_without_a_workspace_is_refused() {
    let program = Program::with_tiny_task();
    fs::create_dir(program.path("w")).unwrap();
    for command in all_commands().iter().filter(|command| command[0] != "run") {
        program.refused(command, 3, "store.not_a_workspace");
    }
    assert!(files_below(&program.path("w")).is_empty());
}

#[test]
fn a_workspace_without_a_run_says_so() {
    let program = with_workspace();
    for command in all_commands().iter().filter(|command| command[0] != "run") {
        program.refused(command, 3, "run.none");
    }
}

#[test]
fn unknown_nodes_are_refused() {
    let program = with_begun_run();
    for name in ["s9", "s9.e9", "s9.e9.a", "nonsense"] {
        program.refused(&["show", name, "--workspace", "w"], 3, "run.unknown_node");
    }
    for name in ["base", "s9", "s9.e9", "s9.e9.a"] {
        program.refused(&["repro", name, "--workspace", "w"], 3, "run.nothing_to_reproduce");
    }
    let refusal = program.refused(&["repro", "nonsense", "--workspace", "w"], 3, "domain.bad_node_id");
    assert!(refusal.hint.contains("trex tree"), "{refusal:?}");
}

#[test]
fn a_disk_without_room_is_refused_before_a_run_begins() {
    let program = Program::with_tiny_task();
    let args = ["run", "tiny.toml", "--workspace", "w", "--reserve-bytes", "9000000000000000000"];
    let refusal = program.refused(&args, 4, "store.disk_full");
    assert!(refusal.message.contains("9000000000000000000"), "{refusal:?}");
    program.refused(&["status", "--workspace", "w"], 3, "run.none");
    program.refused(&["resume", "--workspace", "w", "--reserve-bytes", "9000000000000000000"], 4, "store.disk_full");
}

#[test]
fn a_folder_that_cannot_be_made_is_refused() {
    let program = Program::with_tiny_task();
    let refusal = program.refused(&["run", "tiny.toml", "--workspace", "tiny.toml/w"], 3, "fs.io");
    assert!(refusal.message.contains("tiny.toml/w"), "{refusal:?}");
    program.refused(&["init", "--workspace", "tiny.toml/w"], 3, "fs.io");
    program.refused(&["resume", "--workspace", "tiny.toml/w"], 3, "store.not_a_workspace");
}

#[test]
#[cfg(unix)]
fn a_folder_that_may_not_be_written_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let program = Program::with_tiny_task();
    let dir = program.path("w");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(dir.join("probe"), "").is_ok() {
        println!("skipped: permissions do not bind this user");
        return;
    }
    program.refused(&["run", "tiny.toml", "--workspace", "w"], 3, "store.read_only");
    program.refused(&["init", "--workspace", "w/deeper"], 3, "store.read_only");
    assert!(files_below(&dir).is_empty());
}

/// A copy of the database alone, as it lies on read-only media: it can be looked at, not written to.
#[test]
#[cfg(unix)]
fn a_workspace_that_may_not_be_written_can_be_read() {
    use std::os::unix::fs::PermissionsExt as _;

    let program = with_begun_run();
    let events = program.events("w");
    program.write("copy/workspace.db", fs::read(program.path("w/workspace.db")).unwrap());
    program.write("copy/workspace.db-wal", fs::read(program.path("w/workspace.db-wal")).unwrap_or_default());
    let dir = program.path("copy");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o555)).unwrap();
    let binds = fs::write(dir.join("probe"), "").is_err();
    let before = files_below(&dir);
    for command in READERS.iter().filter(|command| command[0] != "show") {
        program.succeed(&[command, &["--workspace", "copy"][..]].concat());
    }
    assert_eq!(program.events("copy"), events);
    if !binds {
        println!("skipped in part: permissions do not bind this user");
        return;
    }
    program.refused(&["resume", "--workspace", "copy"], 3, "store.read_only");
    assert!(files_below(&dir) == before);
}

/// A second writer is told so; who only looks is not disturbed.
#[test]
fn a_locked_workspace_can_be_read_only() {
    let program = with_begun_run();
    let events = program.events("w");
    let lock = File::options().write(true).open(program.path("w/workspace.lock")).unwrap();
    lock.lock().unwrap();
    for command in [&["run", "tiny.toml", "--workspace", "w"][..], &["resume", "--workspace", "w"]] {
        let refusal = program.refused(command, 4, "store.locked");
        assert!(refusal.hint.contains("trex watch"), "{refusal:?}");
    }
    for command in READERS.iter().filter(|command| command[0] != "show") {
        program.succeed(&[command, &["--workspace", "w"][..]].concat());
    }
    program.succeed(&["doctor", "--workspace", "w"]);
    program.succeed(&["init", "--workspace", "w"]);
    assert_eq!(program.events("w"), events);
    drop(lock);
    assert_eq!(program.run(&["resume", "--workspace", "w"]).code, Some(3), "what stopped the run is still there");
}

/// A worker answers whatever it is told with one line, and its exit code says that it failed.
#[track_caller]
fn check_worker(program: &Program, input: &str, code: &str) {
    let mut command = program.command(&["worker"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    stdin.write_all(b"\n").unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let event = parse(text.lines().last().unwrap());
    assert_eq!((&event["event"], &event["code"]), (&"failed".into(), &code.into()), "{text}");
    assert!(event["hint"].is_string() && event["class"] == "config", "{event}");
}

#[test]
fn a_worker_answers_garbage_with_a_failure() {
    let program = Program::new();
    for input in ["garbage", "", "{}", "[1]", "{\"type\":\"train\"}", "\"\u{1F980}\""] {
        check_worker(&program, input, "worker.bad_job");
    }
    let job = Job::Eval(EvalJob {
        model_dir: program.path("nowhere"),
        adapter: None,
        items: program.path("none.jsonl"),
        take: 1,
        metric: Metric::Accuracy,
        mode: EvalMode::Choice,
        seed: 0,
        blobs_dir: program.path("blobs"),
        threads: 1,
        backend: trex_domain::Backend::Auto,
        device: trex_domain::DeviceChoice::Auto,
        precision: trex_domain::Precision::F32,
        quantization: trex_domain::Quantization::None,
    });
    check_worker(&program, &serde_json::to_string(&job).unwrap(), "fs.not_found");
    assert!(!program.path("blobs").exists());
}

/// Whether the program could begin a run is what `trex doctor` is asked for.
#[test]
#[cfg(unix)]
fn a_doctor_notices_a_workspace_that_may_not_be_written() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;

    let program = with_begun_run();
    let open = |path: &str, mode| fs::set_permissions(program.path(path), fs::Permissions::from_mode(mode)).unwrap();
    open("", 0o755);
    open("cache", 0o777);
    let workspace = || {
        let mut command = program.command(&["doctor", "--workspace", "w", "--json"]);
        if rustix::process::getuid().is_root() {
            // Rights do not bind root, so the question is asked as nobody.
            command.uid(65534).gid(65534);
        }
        let output = command.output().ok().filter(|output| output.status.success())?;
        let findings = parse(String::from_utf8(output.stdout).unwrap().trim());
        findings.as_array().unwrap().iter().find(|finding| finding["what"] == "workspace").cloned()
    };
    for path in ["w", "w/blobs", "w/scratch", "w/exports"] {
        open(path, 0o777);
    }
    for path in ["w/workspace.db", "w/workspace.lock"] {
        open(path, 0o666);
    }
    let Some(found) = workspace() else {
        println!("skipped: another user cannot start the program here");
        return;
    };
    assert_eq!((&found["ok"], &found["hint"]), (&true.into(), &serde_json::Value::Null), "{found}");
    for (path, mode, back) in [("w", 0o555, 0o777), ("w/workspace.db", 0o444, 0o666), ("w/blobs", 0o555, 0o777)] {
        open(path, mode);
        let found = workspace().unwrap();
        open(path, back);
        assert_eq!(found["ok"], false, "{path}: {found}");
        assert!(found["detail"].as_str().unwrap().contains("number of runs: 1"), "{found}");
        assert!(found["hint"].as_str().unwrap().contains("may write"), "{found}");
    }
}

/// An import that failed ended the run; nobody has to guess why, and resuming is not the first thing to do.
#[test]
fn a_run_that_failed_says_so_and_why() {
    let program = with_begun_run();
    let status = program.json(&["status", "--workspace", "w"]);
    assert_eq!(status["status"], "failed");
    let (code, message) = (status["error"]["code"].as_str().unwrap(), status["error"]["message"].as_str().unwrap());
    let text = program.succeed(&["status", "--workspace", "w"]).stdout;
    for part in [code, message, status["error"]["hint"].as_str().unwrap(), "failed", "`trex run` again"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains("interrupted"), "{text}");
    // Whoever follows is not kept waiting.
    let watched = program.succeed(&["watch", "--workspace", "w"]).stdout;
    assert!(watched.contains(message), "{watched}");
    let report = program.json(&["report", "--workspace", "w"]);
    assert_eq!((&report["status"], &report["failure"]), (&"failed".into(), &status["error"]));
    crate::schema::check_schema(&report);
    assert!(program.succeed(&["report", "--workspace", "w"]).stdout.contains("ended with an error"));
}

/// The time of a run at work goes on between its events; that of an interrupted one stands still.
#[test]
fn time_passes_while_a_program_is_at_work_only() {
    let program = with_workspace();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let now = i64::try_from(now).unwrap();
    let ago = |secs: i64| FixedClock(Millis(now - secs * 1000));
    let wall_s = || program.json(&["status", "--workspace", "w"])["cost"]["wall_s"].as_f64().unwrap();
    let mut writer = Workspace::open_writer(&program.path("w"), &ago(600)).unwrap();
    writer.append(run_id(1), ago(100).0, vec![trex_testkit::started(1)]).unwrap();
    let at_work = wall_s();
    assert!((100.0..160.0).contains(&at_work), "{at_work}");
    drop(writer);
    assert!(wall_s().abs() < 1e-9, "nobody works on it");
    // A program that takes the workspace now has not worked in the hours before.
    let writer = Workspace::open_writer(&program.path("w"), &ago(0)).unwrap();
    assert!(wall_s().abs() < 1e-9, "it has not recorded anything yet");
    drop(writer);
}
