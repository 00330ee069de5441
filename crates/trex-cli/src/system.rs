//! The machine: clock, folders, processors, memory. Reads the environment here and nowhere else.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use trex_domain::{Clock, Millis, RunId};

use crate::error::{CliError, CommandError};

/// The clock of the system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A new id for a run: the time, and what tells two processes of the same millisecond apart.
pub(crate) fn new_run_id() -> RunId {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unique = trex_domain::ContentHash::of_bytes(format!("{}/{}", now.as_nanos(), std::process::id()).as_bytes());
    let mut random = [0u8; 10];
    for (byte, digits) in random.iter_mut().zip(unique.to_string().as_bytes().chunks(2)) {
        let text = String::from_utf8_lossy(digits);
        *byte = u8::from_str_radix(&text, 16).unwrap_or_default();
    }
    RunId::from_parts(SystemClock.now(), random)
}

/// Folder for models: `TREX_CACHE`, else `XDG_CACHE_HOME/trex`, else `~/.cache/trex`.
pub(crate) fn cache_dir() -> Result<PathBuf, CliError> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = set("TREX_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("trex")))
        .or_else(|| set("HOME").or_else(|| set("USERPROFILE")).map(|dir| dir.join(".cache").join("trex")));
    dir.ok_or_else(|| CommandError::NoCacheFolder.into())
}

/// Folder for settings: `TREX_CONFIG`, else `XDG_CONFIG_HOME/trex`, else `~/.config/trex`.
pub(crate) fn config_dir() -> Result<PathBuf, CliError> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = set("TREX_CONFIG")
        .or_else(|| set("XDG_CONFIG_HOME").map(|dir| dir.join("trex")))
        .or_else(|| set("HOME").or_else(|| set("USERPROFILE")).map(|dir| dir.join(".config").join("trex")));
    dir.ok_or_else(|| CommandError::NoConfigFolder.into())
}

/// The knowledge base of this machine: what `TREX_KNOWLEDGE` names, else `knowledge.db` in the cache folder; none where the
/// variable says `off`.
pub(crate) fn knowledge_file() -> Result<Option<PathBuf>, CliError> {
    match std::env::var_os("TREX_KNOWLEDGE").filter(|value| !value.is_empty()) {
        Some(value) if value == "off" => Ok(None),
        Some(value) => Ok(Some(PathBuf::from(value))),
        None => Ok(Some(cache_dir()?.join("knowledge.db"))),
    }
}

/// The program that `TREX_WORKER` names for running jobs.
pub(crate) fn named_worker() -> Option<PathBuf> {
    std::env::var_os("TREX_WORKER").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Set when the person presses Ctrl-C or the system asks the process to end.
static STOP: AtomicBool = AtomicBool::new(false);

/// Turns the first Ctrl-C into a request to stop in order; a second one ends the process at once.
pub(crate) fn catch_stop_signals() {
    const STOPPED_BY_SIGNAL: i32 = 130;
    let handler = || {
        if STOP.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "the person asked twice; the event log is safe at any moment")]
            std::process::exit(STOPPED_BY_SIGNAL);
        }
    };
    // Without a handler Ctrl-C ends the process at once, which loses nothing either.
    ctrlc::set_handler(handler).ok();
}

/// Asks for a stop, as the first Ctrl-C does.
pub(crate) fn request_stop() {
    STOP.store(true, Ordering::Relaxed);
}

/// Whether a stop was asked for.
pub(crate) fn stop_requested() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Processors that this process may use.
pub(crate) fn num_processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Memory of the machine in bytes; 0 where the system does not tell (read from Linux' `/proc`).
pub(crate) fn machine_bytes() -> u64 {
    let Ok(text) = trex_fs::read_to_string("/proc/meminfo".as_ref()) else { return 0 };
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.map_or(0, |kib| kib * 1024)
}
