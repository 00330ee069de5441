//! What this process has used so far: processor time and memory.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use trex_domain::Cost;

use crate::hardware::ThisMachine;
use crate::hardware::sensors::EnergyCounters;

/// Starts counting.
#[derive(Debug)]
pub(crate) struct Meter {
    started: Instant,
    cpu_s: f64,
    energy: Option<EnergyCounters>,
    is_on_gpu: bool,
}

impl Meter {
    pub(crate) fn start() -> Self {
        let energy = EnergyCounters::read(&ThisMachine);
        Self { started: Instant::now(), cpu_s: process_cpu_s(), energy, is_on_gpu: false }
    }

    /// Counts the time as time of a GPU too where the work is done on one: it is held from begin to end.
    pub(crate) fn on(mut self, device: &candle_core::Device) -> Self {
        self.is_on_gpu = !device.is_cpu();
        self
    }

    /// Wall, processor (all threads) and GPU seconds since the start, and energy where it can be read.
    pub(crate) fn cost(&self) -> Cost {
        let wall_s = self.wall_s();
        let gpu_s = if self.is_on_gpu { wall_s } else { 0.0 };
        Cost { wall_s, cpu_s: process_cpu_s() - self.cpu_s, gpu_s, energy_j: self.energy_j(), ..Cost::default() }
    }

    fn energy_j(&self) -> f64 {
        let now = self.energy.as_ref().and_then(|before| Some((before, EnergyCounters::read(&ThisMachine)?)));
        now.map_or(0.0, |(before, now)| now.joules_since(before))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_as_gpu_time_on_a_gpu_only() {
        let meter = Meter::start().on(&candle_core::Device::Cpu);
        assert_eq!(meter.cost().gpu_s.to_bits(), 0.0_f64.to_bits());
        let cost = Meter { is_on_gpu: true, ..meter }.cost();
        assert!(cost.gpu_s > 0.0 && (cost.gpu_s - cost.wall_s).abs() < 1e-12, "{cost:?}");
    }
}
