//! One line that says on what was measured, without the name of the machine or of its owner.

use std::path::Path;
use std::thread::available_parallelism;

use crate::command::{answer, command};

/// Processor model, cores, operating system and compiler.
pub(super) fn describe(folder: &Path) -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let from_sysctl = || answer(command("sysctl", folder).args(["-n", "machdep.cpu.brand_string"]));
    let model = cpu_model(&cpuinfo).map(str::to_owned).or_else(from_sysctl);
    let cores = available_parallelism().map_or_else(|_| "?".to_owned(), |cores| cores.to_string());
    let rustc = answer(command("rustc", folder).arg("--version"));
    format!(
        "{}, {cores} logical cores, {} {}, {}",
        model.as_deref().unwrap_or("unknown processor"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        rustc.as_deref().unwrap_or("unknown compiler"),
    )
}

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_read() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n"), Some("Some CPU @ 2 GHz"));
        assert_eq!(cpu_model("processor : 0\n"), None);
    }
}
