//! Keys in the secret store of a real session: D-Bus and gnome-keyring in a folder of their own; and sessions without one.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use trex_testkit::{ModelServer, Reaction};

use crate::program::{Done, Program};

/// Longer than the store has to answer, and much shorter than a hang.
const NO_HANG: Duration = Duration::from_mins(1);

/// What a session needs.
const PROGRAMS: [&str; 2] = ["dbus-run-session", "gnome-keyring-daemon"];

/// The program that is missing for a session of our own, said once where there is one.
fn skipped() -> bool {
    let is_there = |name: &&&str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(**name).is_file())
    };
    let missing: Vec<_> = PROGRAMS.iter().filter(|name| !is_there(name)).copied().collect();
    if !missing.is_empty() {
        println!("skipped: 1 session ({} missing; on Debian: dbus gnome-keyring)", missing.join(", "));
    }
    !missing.is_empty()
}

/// Runs a script in a session of its own, whose keyring lies in the folder of the test. `unlocks` makes a keyring with a
/// password; without it the secret store is there and nobody can unlock it.
fn in_session(program: &Program, unlocks: bool, script: &str) -> Done {
    let plain = program.command(&[]);
    let start = if unlocks { "printf pw | gnome-keyring-daemon --unlock" } else { "gnome-keyring-daemon --start" };
    // What the bus and the daemon print is kept apart from what the program says.
    let whole = format!("set -e\n{start} --components=secrets >/dev/null 2>&1\nexec >said\n{script}\n");
    let home = program.path("home");
    let runtime = program.path("run");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::create_dir_all(&runtime).unwrap();
    let mut command = Command::new("dbus-run-session");
    command.args(["--", "sh", "-c", &whole]).stdin(Stdio::null()).current_dir(plain.get_current_dir().unwrap());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("TREX", plain.get_program()).env("TREX_SECRET_STORE", "system").env("HOME", &home);
    command.env("XDG_RUNTIME_DIR", &runtime).env("XDG_DATA_HOME", home.join("share"));
    command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    let mut done = Done::new(&["session"], command.output().unwrap());
    done.stdout = std::fs::read_to_string(program.path("said")).unwrap();
    done
}

#[test]
fn a_key_lies_in_the_secret_store_of_the_session_and_is_used_from_there() {
    if skipped() {
        return;
    }
    let program = Program::new();
    let server = ModelServer::start(vec![
        Reaction::Says("Hello.".to_owned()),
        Reaction::Says(r#"{"colour": "blue"}"#.to_owned()),
    ]);
    let script = format!(
        r#"printf sk-very-secret | "$TREX" researcher key set 127.0.0.1 --json
"$TREX" researcher key list --json
"$TREX" researcher test {} --json
"$TREX" doctor --json
"$TREX" researcher key remove 127.0.0.1 --json
"$TREX" researcher key list --json"#,
        server.address()
    );
    let done = in_session(&program, true, &script);
    assert_eq!(done.code, Some(0), "{done:?}");
    let lines = done.lines();
    let [set, listed, tested, doctor, removed, left] = lines.as_slice() else { panic!("six documents: {done:?}") };
    assert_eq!((&set["place"], &set["encrypted"]), (&"secret_store".into(), &true.into()));
    assert_eq!(listed[0]["place"], "secret_store");
    assert_eq!(tested["colour"], "blue");
    assert_eq!(server.heard()[0].header("authorization"), Some("Bearer sk-very-secret"));
    let keys = doctor.as_array().unwrap().iter().find(|one| one["what"] == "keys").unwrap();
    assert_eq!(
        (&keys["ok"], keys["detail"].as_str()),
        (&true.into(), Some("the Secret Service answers; keys in it: 1"))
    );
    assert_eq!((&removed["removed"], left), (&true.into(), &Value::Array(Vec::new())));
    for (path, content) in crate::program::files_below(&program.path("")) {
        let content = String::from_utf8_lossy(&content).into_owned();
        assert!(!content.contains("sk-very-secret"), "{}", path.display());
    }
}

#[test]
fn a_store_that_nobody_unlocks_refuses_and_does_not_hang() {
    if skipped() {
        return;
    }
    let program = Program::new();
    let began = Instant::now();
    let script = r#"printf sk-very-secret | "$TREX" researcher key set openai --json || true
printf sk-very-secret | "$TREX" researcher key set openai --file --json"#;
    let done = in_session(&program, false, script);
    assert!(began.elapsed() < NO_HANG, "{:?}", began.elapsed());
    let lines = done.lines();
    let [refused, kept] = lines.as_slice() else { panic!("two documents: {done:?}") };
    assert_eq!(refused["code"], "researcher.store_locked", "{done:?}");
    assert!(refused["hint"].as_str().unwrap().contains("--file") && !done.stderr.contains("very-secret"), "{done:?}");
    assert_eq!((&kept["place"], &kept["encrypted"]), (&"file".into(), &false.into()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_bus_that_is_absent_silent_or_far_away_leaves_the_file() {
    let program = Program::new();
    let silent = program.path("silent.socket");
    // Connections are taken by the system and never answered.
    let _held = std::os::unix::net::UnixListener::bind(&silent).unwrap();
    let silent = format!("unix:path={}", silent.display());
    let absent = format!("unix:path={}", program.path("absent.socket").display());
    for (address, why) in [
        (absent, "no secret store answers"),
        (silent, "did not answer"),
        ("tcp:host=192.0.2.1,port=1".to_owned(), "tcp"),
    ] {
        let began = Instant::now();
        let mut command = program.command(&["researcher", "key", "set", "openai", "--json"]);
        command.env("TREX_SECRET_STORE", "system").env("DBUS_SESSION_BUS_ADDRESS", &address).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"sk-very-secret").unwrap();
        let done = Done::new(&[&address], child.wait_with_output().unwrap());
        assert!(began.elapsed() < NO_HANG, "{address}: {:?}", began.elapsed());
        let said = done.lines().remove(0);
        assert_eq!((&said["place"], &said["encrypted"]), (&"file".into(), &false.into()), "{done:?}");
        assert!(said["why"].as_str().unwrap().contains(why), "{said}");
    }
}
