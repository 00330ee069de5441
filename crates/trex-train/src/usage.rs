//! What this process has used so far: processor time and memory.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use trex_domain::Cost;

/// Starts counting.
#[derive(Debug)]
pub(crate) struct Meter {
    started: Instant,
    cpu_s: f64,
}

impl Meter {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), cpu_s: process_cpu_s() }
    }

    /// Wall and processor seconds since the start, all threads.
    pub(crate) fn cost(&self) -> Cost {
        Cost { wall_s: self.wall_s(), cpu_s: process_cpu_s() - self.cpu_s, ..Cost::default() }
    }

    /// Wall seconds since the start.
    pub(crate) fn wall_s(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

fn process_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Largest resident memory so far in bytes; 0 where the system does not tell (read from Linux' `/proc`).
pub(crate) fn peak_rss_bytes() -> u64 {
    let Ok(status) = trex_fs::read_to_string("/proc/self/status".as_ref()) else { return 0 };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.map_or(0, |kib| kib * 1024)
}
