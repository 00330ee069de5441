//! One file with what is needed to understand a failure: versions, machine, the run's words, and what programs printed.
//! Plain text, so that a person can read what leaves before sending it; no row of any data is put in here.

use std::fmt::Write as _;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use trex_store::Workspace;

use crate::error::ShellError;
use crate::program::Program;

/// Bytes of the end of each log.
const TAIL_BYTES: u64 = 64 << 10;

/// Logs at most, the newest.
const MAX_LOGS: usize = 10;

/// Writes the file. A part that cannot be had is named with the reason, and the rest goes on.
pub fn write_bundle(program: &Program, version: &str, folder: Option<&Path>, out: &Path) -> Result<(), ShellError> {
    let mut text = String::new();
    part(&mut text, "window", &format!("TREX {version} on {} {}", std::env::consts::OS, std::env::consts::ARCH));
    part(&mut text, "trex --version", &told(program, &["--version"]));
    part(&mut text, "trex doctor", &told(program, &["doctor"]));
    if let Some(folder) = folder {
        let here = folder.to_string_lossy().into_owned();
        part(&mut text, "trex status", &told(program, &["status", "--workspace", &here]));
        part(&mut text, "trex watch", &told(program, &["watch", "--no-follow", "--workspace", &here]));
        for log in newest_logs(&Workspace::at(folder).logs()) {
            let name = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
            part(&mut text, &name, &tail(&log).unwrap_or_else(|err| format!("not read: {err}")));
        }
    }
    Ok(trex_fs::write_atomic(out, text.as_bytes())?)
}

fn part(text: &mut String, name: &str, content: &str) {
    // Writing to a string cannot fail.
    write!(text, "==== {name} ====\n{}\n\n", content.trim_end()).ok();
}

fn told(program: &Program, arguments: &[&str]) -> String {
    program.ask_text(arguments).unwrap_or_else(|err| format!("not told: {} ({})", err.message, err.code))
}

fn newest_logs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files.split_off(files.len().saturating_sub(MAX_LOGS))
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_bundle_holds_what_programs_said_and_printed() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("trex");
        let script = "#!/bin/sh\nif [ \"$1\" = doctor ]; then echo broken >&2; exit 4; fi\necho \"told $*\"\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let logs = Workspace::at(folder.path()).logs();
        std::fs::create_dir_all(&logs).unwrap();
        std::fs::write(logs.join("1-run.jsonl"), "x".repeat(100_000) + "the end\n").unwrap();
        let out = folder.path().join("bundle.txt");
        write_bundle(&Program::at(program), "9.9", Some(folder.path()), &out).unwrap();
        let text = std::fs::read_to_string(out).unwrap();
        for expected in ["TREX 9.9", "told --version", "not told: ", "told status", "==== 1-run.jsonl ====", "the end"]
        {
            assert!(text.contains(expected), "{expected} in {}", &text[..600]);
        }
        assert!(text.len() < 70_000);
    }
}
