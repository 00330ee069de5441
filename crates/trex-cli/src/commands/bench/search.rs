//! `trex bench search`: replays simulated searches on recorded surfaces and prints regrets.

use serde::Serialize;
use trex_search::{
    CONTENDERS, ContenderSummary, Estimate, ReplaySettings, Savings, Space, Surface, compare_contenders, savings,
};

use crate::args::bench::ReplayArgs;
use crate::commands::bench::surfaces;
use crate::error::CliError;
use crate::output::Output;

/// What was found on one surface.
#[derive(Serialize)]
struct SurfaceSummary {
    surface: String,
    points: usize,
    seeds: u64,
    base: f64,
    best: f64,
    budget: f64,
    contenders: Vec<ContenderSummary>,
    savings: Savings,
}

pub(crate) fn run(args: &ReplayArgs, output: &mut Output) -> Result<(), CliError> {
    let surfaces: Vec<(String, Surface)> =
        args.surfaces.iter().map(|path| surfaces::from_file(path)).collect::<Result<_, _>>()?;
    let mut found = Vec::new();
    for (name, surface) in &surfaces {
        let summary = summarise(name, surface, args)?;
        if !output.is_json() {
            output.line(&text(&summary))?;
        }
        found.push(summary);
    }
    if output.is_json() { output.result(&found, String::new) } else { Ok(()) }
}

fn summarise(name: &str, surface: &Surface, args: &ReplayArgs) -> Result<SurfaceSummary, CliError> {
    let space = Space::new(surface)?;
    let settings = ReplaySettings { budget: args.budget, searches: args.searches };
    let given: Vec<&str> = args.contenders.iter().map(String::as_str).collect();
    let names = if given.is_empty() { CONTENDERS.to_vec() } else { given };
    Ok(SurfaceSummary {
        surface: name.to_owned(),
        points: space.num_points(),
        seeds: space.num_seeds(),
        base: space.base_truth(),
        best: space.best_truth(),
        budget: args.budget,
        contenders: compare_contenders(&space, &names, settings)?,
        savings: savings(&space, settings)?,
    })
}

fn text(found: &SurfaceSummary) -> String {
    let mut lines = vec![
        format!(
            "{}: {} points, {} seeds; base {:.3}, best {:.3} on the sealed split; {} searches each, budget {} full trainings",
            found.surface,
            found.points,
            found.seeds,
            found.base,
            found.best,
            found.contenders.first().map_or(0, |one| one.final_score.n),
            found.budget
        ),
        format!(
            "{:<11} {:>22} {:>22} {:>22} {:>24} {:>6} {:>6}",
            "contender", "regret at 25 %", "at 50 %", "at 100 %", "behind trex at 100 %", "dupl.", "final"
        ),
    ];
    for one in &found.contenders {
        let regrets: Vec<String> = one.regret.iter().map(estimate).collect();
        lines.push(format!(
            "{:<11} {:>22} {:>22} {:>22} {:>24} {:>5.1}% {:>6.3}",
            one.name,
            regrets.first().map_or("", String::as_str),
            regrets.get(1).map_or("", String::as_str),
            regrets.get(2).map_or("", String::as_str),
            one.behind_trex.last().map(estimate).unwrap_or_default(),
            100.0 * one.duplicates,
            one.final_score.mean
        ));
    }
    lines.push(savings_text(&found.savings));
    if found.seeds < 2 {
        lines.push(
            "one seed is recorded: a contender that draws nothing does the same in every search, and its interval says nothing"
                .to_owned(),
        );
    }
    lines.join("\n")
}

fn savings_text(savings: &Savings) -> String {
    let full = format!("without rungs {} full trainings end at {:.3}", savings.full_cost, savings.full_score.mean);
    match (savings.cost, savings.score) {
        (Some(cost), Some(score)) => format!(
            "{full}; with rungs and extrapolation {cost} reach {:.3}: {:.0} % of the cost saved",
            score.mean,
            100.0 * savings.saved
        ),
        _ => format!("{full}; with rungs and extrapolation the same budget does not reach that"),
    }
}

fn estimate(one: &Estimate) -> String {
    format!("{:.4} [{:.4}, {:.4}]", one.mean, one.ci95[0], one.ci95[1])
}
