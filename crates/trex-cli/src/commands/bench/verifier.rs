//! `trex bench verifier`: how many broken proposals are caught, and how many sound ones are stopped.

use trex_engine::measure_verifier;

use crate::error::CliError;
use crate::output::Output;

pub(super) fn run(seed: u64, output: &mut Output) -> Result<(), CliError> {
    let summary = measure_verifier(seed);
    output.result(&summary, || {
        let line = |what: &str, count: usize, of: usize, [low, high]: [f64; 2]| {
            let share = count as f64 / of.max(1) as f64;
            format!("{what:<28}{share:.3} [{low:.3}, {high:.3}] n={of}")
        };
        let mut lines = vec![
            line("broken proposals caught", summary.caught, summary.broken, summary.caught_ci95),
            line("sound proposals stopped", summary.false_alarms, summary.sound, summary.false_alarms_ci95),
        ];
        lines.extend(summary.by_rule.iter().map(|(rule, count)| format!("  {rule:<28}{count}")));
        lines.extend(summary.missed.iter().map(|what| format!("missed: {what}")));
        lines.extend(summary.wrong.iter().map(|what| format!("stopped for no reason: {what}")));
        lines.join("\n")
    })
}
