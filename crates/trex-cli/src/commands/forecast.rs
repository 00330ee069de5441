//! `trex forecast`: what a task would take on this machine, in numbers and in words. Keeps nothing.

use std::path::PathBuf;

use trex_engine::{Forecast, ForecastRequest, Need, TimeForecast, forecast};

use crate::args::{ForecastArgs, MachineArgs};
use crate::commands::run::resolve_task;
use crate::error::CliError;
use crate::output::Output;
use crate::system::{self, SystemClock};
use crate::wiring::{self, DataPorts};

pub(crate) fn run(args: &ForecastArgs, output: &mut Output) -> Result<(), CliError> {
    let task = resolve_task(&args.task)?;
    task.validate()?;
    task.check_trials()?;
    let model = wiring::find_model(&task.model.0)?;
    let scratch = Scratch::new()?;
    let machine = MachineArgs { threads: args.threads, device: args.device, reserve_bytes: 0, workers: 1 };
    let mut settings = wiring::run_settings(&scratch.0, model, &machine);
    settings.disk_bytes = trex_store::free_bytes(&args.workspace).unwrap_or(0);
    let workers = wiring::workers(&settings, &task)?;
    system::catch_stop_signals();
    let data = DataPorts::new(&scratch.0, &settings.model)?;
    let request = ForecastRequest {
        task: &task,
        seed: args.task.seed,
        settings: &settings,
        clock: &SystemClock,
        goes_on: &|| !system::stop_requested(),
    };
    let found = forecast(&request, &data, &workers)?;
    output.result(&found, || text(&found))
}

/// A folder of this process below the cache folder, which goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, CliError> {
        let folder = system::cache_dir()?.join("forecast").join(std::process::id().to_string());
        // What a process with the same number may have left when it was killed.
        trex_fs::remove_dir_all(&folder)?;
        trex_fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by a later process with this number.
        trex_fs::remove_dir_all(&self.0).ok();
    }
}

fn text(found: &Forecast) -> String {
    let [_, search, select, sealed] = found.rows;
    let mut lines = vec![
        format!(
            "task     {} on {}: {} rows to train on, {search}, {select} and {sealed} to score on",
            found.task, found.model, found.train_rows
        ),
        format!("memory   {}", need(&found.memory, "the machine has")),
        format!("disk     a trial writes {}", need(&found.disk, "free are")),
    ];
    if let Some(time) = &found.time {
        lines.extend(time_lines(time));
    }
    if let Some(no) = &found.refused {
        lines.push(format!("refused  [{}] {}", no.code, no.reason));
    }
    lines.extend(found.warnings.iter().map(|warning| format!("note     {warning}")));
    lines.join("\n")
}

fn need(need: &Need, there: &str) -> String {
    match need.available_bytes {
        0 => format!("about {}", mib(need.needed_bytes)),
        bytes => format!("about {}, {there} {}", mib(need.needed_bytes), mib(bytes)),
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn time_lines(time: &TimeForecast) -> Vec<String> {
    let mut lines = vec![format!(
        "time     about {} with all {} trials, {} for a full one",
        span(time.run_s),
        time.trials,
        span(time.trial_s)
    )];
    if let Some(limit) = time.limit_s {
        let word = if time.run_s > limit { "which ends the run before that" } else { "which is enough" };
        lines.push(format!("limit    {}, {word}", span(limit)));
    }
    lines.push(format!(
        "measured {:.1} ms a step over {} steps, {:.1} ms an item over {} items",
        time.step_s * 1e3,
        time.steps_measured,
        time.item_s * 1e3,
        time.items_measured
    ));
    lines
}

/// Rounded as a forecast deserves.
fn span(secs: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 3600.0;
    if secs < 1.5 * MINUTE {
        return format!("{secs:.1} s");
    }
    if secs < 1.5 * HOUR { format!("{:.1} min", secs / MINUTE) } else { format!("{:.1} h", secs / HOUR) }
}

#[cfg(test)]
mod tests {
    use trex_engine::Refused;

    use super::*;

    fn found() -> Forecast {
        Forecast {
            task: "films".to_owned(),
            model: "bundled".to_owned(),
            rows: [800, 200, 300, 400],
            train_rows: 796,
            memory: Need { needed_bytes: 90 << 20, available_bytes: 8 << 30 },
            disk: Need { needed_bytes: 1, available_bytes: 0 },
            refused: None,
            warnings: vec!["few rows".to_owned()],
            time: Some(TimeForecast {
                step_s: 0.0215,
                item_s: 0.001,
                steps_measured: 41,
                items_measured: 64,
                trial_s: 2.06,
                trials: 40,
                run_s: 100.0,
                limit_s: Some(60.0),
            }),
        }
    }

    #[test]
    fn a_forecast_says_what_is_needed_and_what_is_there() {
        let expected = "\
task     films on bundled: 796 rows to train on, 200, 300 and 400 to score on
memory   about 90 MiB, the machine has 8192 MiB
disk     a trial writes about 1 MiB
time     about 1.7 min with all 40 trials, 2.1 s for a full one
limit    60.0 s, which ends the run before that
measured 21.5 ms a step over 41 steps, 1.0 ms an item over 64 items
note     few rows";
        assert_eq!(text(&found()), expected);
    }

    #[test]
    fn a_refusal_stands_with_its_code_and_without_times() {
        let refused = Some(Refused { code: "verify.memory".to_owned(), reason: "too large".to_owned() });
        let shown = text(&Forecast { refused, time: None, ..found() });
        assert!(shown.contains("\nrefused  [verify.memory] too large\n") && !shown.contains("time "), "{shown}");
    }

    #[test]
    fn spans_are_rounded() {
        assert_eq!([4.26, 100.0, 6000.0].map(span), ["4.3 s", "1.7 min", "1.7 h"]);
    }
}
