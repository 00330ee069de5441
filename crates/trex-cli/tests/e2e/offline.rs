//! With the network switched off nothing leaves: held by the system's own account of what the program asks of it.

use std::process::{Command, Stdio};

use crate::program::{Done, Program};

/// Whether system calls can be traced here: the program is there, and the system allows it.
fn can_trace(program: &Program) -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-f", "-o"]).arg(program.path("probe")).arg("true").stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// Runs the program with all its workers under a trace of sockets and starts of programs; returns the lines of the trace.
fn traced(program: &Program, args: &[&str]) -> (Done, Vec<String>) {
    let plain = program.command(args);
    let file = program.path("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf", "-e", "trace=socket,connect,sendto,execve", "-o"]).arg(&file);
    command.arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
    command.current_dir(plain.get_current_dir().unwrap());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // The secret store is asked over the session bus, which is a socket of this machine.
    command.env("TREX_OFFLINE", "1").env("TREX_SECRET_STORE", "system");
    let done = Done::new(args, command.output().unwrap());
    let lines = std::fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
    (done, lines)
}

#[track_caller]
fn check_silent(lines: &[String], args: &[&str]) {
    assert!(lines.iter().any(|line| line.contains("execve")), "the trace is one of {args:?}");
    let spoken: Vec<&String> = lines.iter().filter(|line| line.contains("AF_INET")).collect();
    assert!(spoken.is_empty(), "{args:?} opened {spoken:?}");
}

#[test]
fn no_command_opens_a_socket_when_the_network_is_off() {
    let program = Program::with_tiny_task();
    if !can_trace(&program) {
        println!("skipped: 1 trace (strace is missing or not allowed; `cargo xtask setup` installs it)");
        return;
    }
    let run = ["run", "tiny.toml", "--workspace", "w"];
    let (done, lines) = traced(&program, &run);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(lines.iter().filter(|line| line.contains("execve")).count() > 3, "workers are traced, too");
    check_silent(&lines, &run);
    let rest: [&[&str]; 10] = [
        &["status", "--workspace", "w"],
        &["report", "--workspace", "w"],
        &["report", "--words", "--workspace", "w"],
        &["doctor", "--workspace", "w"],
        &["model", "list"],
        &["model", "add", "hub:someone/something"],
        &["researcher", "test", "openai:some-model"],
        &["researcher", "key", "list"],
        &["net", "papers", "adapters"],
        &["net", "datasets", "adapters"],
    ];
    for args in rest {
        check_silent(&traced(&program, args).1, args);
    }
    let log = program.json(&["net", "log"]);
    let refused: Vec<_> = log.as_array().unwrap().iter().map(|one| one["refused"].as_str()).collect();
    assert_eq!(refused, [Some("net.offline"); 4], "{log}");
}
