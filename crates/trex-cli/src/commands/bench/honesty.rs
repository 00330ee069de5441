//! `trex bench honesty`: how often the verdict of a run is right, by simulation on recorded item scores.

use serde_json::json;
use trex_engine::{HonestySettings, HonestySummary, Truth, simulate_honesty};

use crate::args::bench::HonestyArgs;
use crate::commands::bench::surfaces;
use crate::error::CliError;
use crate::output::Output;

/// Share of searches without gain in which "no real gain" must be said.
const NULL_BAR: f64 = 0.95;

/// Share of searches with a gain in which it must be found.
const POWER_BAR: f64 = 0.80;

pub(crate) fn run(args: &HonestyArgs, output: &mut Output) -> Result<(), CliError> {
    let (name, surface) = surfaces::from_file(&args.surface)?;
    let settings = HonestySettings {
        searches: args.searches,
        experiments: args.experiments,
        batch: args.batch,
        gain_se: args.gain_se,
        finalist_seeds: args.finalist_seeds,
    };
    let truths = [Truth::Null, Truth::AllBetter, Truth::OneBetter];
    let found: Vec<HonestySummary> =
        truths.iter().map(|truth| simulate_honesty(&surface, *truth, settings)).collect::<Result<_, _>>()?;
    output.result(&json!({"surface": name, "truths": found}), || text(&name, args, &found))
}

fn text(name: &str, args: &HonestyArgs, found: &[HonestySummary]) -> String {
    let mut lines = vec![format!(
        "{name}: {} searches of {} experiments with {} variants each",
        args.searches, args.experiments, args.batch
    )];
    for one in found {
        let [low, high] = one.gains_ci95;
        let (right, interval, what) = match one.truth {
            Truth::Null => (1.0 - one.gains, [1.0 - high, 1.0 - low], "all equal: \"no real gain\" is said".to_owned()),
            Truth::AllBetter => (one.gains, [low, high], format!("all better by {:.3}: the gain is found", one.gain)),
            Truth::OneBetter => {
                (one.gains, [low, high], format!("one experiment better by {:.3}: the gain is found", one.gain))
            }
        };
        let bar = match one.truth {
            Truth::Null => format!(", at least {:.0} % wanted", 100.0 * NULL_BAR),
            Truth::AllBetter => format!(", at least {:.0} % wanted", 100.0 * POWER_BAR),
            Truth::OneBetter => String::new(),
        };
        lines.push(format!(
            "{what} in {:.1} % [{:.1}, {:.1}]{bar}; an incumbent in {:.1} %, the sealed split alone significant in {:.1} %",
            100.0 * right,
            100.0 * interval[0],
            100.0 * interval[1],
            100.0 * one.incumbents,
            100.0 * one.sealed_alone
        ));
    }
    lines.join("\n")
}
