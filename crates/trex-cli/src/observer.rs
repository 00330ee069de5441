//! Shows a run as it happens: the live tree on a terminal, a line per event elsewhere, JSON lines for scripts.

use std::time::{Duration, Instant};

use serde_json::json;
use trex_domain::{
    Clock as _, DecidedBy, DryRunDone, Event, ModelCall, Phase, RunState, Score, StopReason, StoredEvent, Verdict,
    WorkerEvent,
};
use trex_engine::{BudgetUse, Observer, TreeLook, order_text, progress_line, tree_text};

use crate::output::Output;
use crate::system::{self, SystemClock};

/// Shortest time between two progress lines where they are not redrawn.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Columns that the tree is drawn for where the terminal does not tell.
const WIDTH: usize = 110;

/// Prints events and progress.
pub(crate) struct LiveObserver<'a> {
    output: &'a mut Output,
    last_progress: Option<Instant>,
    last_tree: String,
    status_shown: bool,
    /// Devices that were spoken of.
    devices: Vec<String>,
    /// What sensors said last.
    temperature_c: Option<f64>,
    power_w: Option<f64>,
}

impl<'a> LiveObserver<'a> {
    pub(crate) fn new(output: &'a mut Output) -> Self {
        Self {
            output,
            last_progress: None,
            last_tree: String::new(),
            status_shown: false,
            devices: Vec::new(),
            temperature_c: None,
            power_w: None,
        }
    }

    /// Prints a line, in place of the status line where one is shown.
    fn say(&mut self, text: &str) {
        const UP_AND_CLEAR: &str = "\x1b[1A\x1b[2K";
        let before = if std::mem::take(&mut self.status_shown) { UP_AND_CLEAR } else { "" };
        self.output.line(&format!("{before}{text}")).ok();
    }

    /// Says once what every worker of a run says: what is computed on, where that is not as one would think.
    fn show_device(&mut self, device: &str, why: &str, card_unused: bool) {
        let is_news = device != "cpu" || card_unused;
        if !is_news || self.devices.iter().any(|known| known == device) {
            return;
        }
        self.devices.push(device.to_owned());
        if self.output.is_json() {
            let line = json!({"type": "device", "device": device, "why": why, "card_unused": card_unused});
            self.output.line(&line.to_string()).ok();
            return;
        }
        let note = if card_unused { "a graphics card is left unused: " } else { "" };
        self.say(&format!("  computing on {device}: {note}{why}"));
    }

    fn show_tree(&mut self, state: &RunState) {
        let look = TreeLook { width: WIDTH, colour: self.output.is_terminal(), at_work: true };
        let tree = tree_text(state, look);
        if tree != self.last_tree {
            self.say(&format!("\n{}", tree.trim_end()));
            self.last_tree = tree;
        }
    }
}

impl Observer for LiveObserver<'_> {
    fn recorded(&mut self, event: &StoredEvent, state: &RunState) {
        if self.output.is_json() {
            if let Ok(line) = serde_json::to_string(event) {
                self.output.line(&line).ok();
            }
            return;
        }
        // The error that ends the run is told when the program ends.
        let told_later = matches!(event.event, Event::RunFailed(_));
        if let Some(text) = describe(&event.event).filter(|_| !told_later) {
            self.say(&text);
        }
        let tree_changed = matches!(
            event.event,
            Event::PhaseStarted { phase: Phase::Search } | Event::ExperimentFinished { .. } | Event::RunFinished { .. }
        );
        if tree_changed {
            self.show_tree(state);
        }
    }

    fn progress(&mut self, what: &str, event: &WorkerEvent, state: &RunState) -> bool {
        self.show_progress(what, event, state);
        !system::stop_requested()
    }
}

impl LiveObserver<'_> {
    fn show_progress(&mut self, what: &str, event: &WorkerEvent, state: &RunState) {
        match event {
            WorkerEvent::Progress { phase, done, total, rate, tokens_per_s, peak_rss_bytes, loss_ema } => {
                if self.output.is_json() {
                    let line = json!({
                        "type": "progress", "what": what, "phase": phase, "done": done, "total": total, "rate": rate,
                        "tokens_per_s": tokens_per_s, "peak_rss_bytes": peak_rss_bytes, "loss_ema": loss_ema,
                        "temperature_c": self.temperature_c, "power_w": self.power_w,
                    });
                    self.output.line(&line.to_string()).ok();
                    return;
                }
                let redraws = self.output.is_terminal();
                let recent = self.last_progress.is_some_and(|last| last.elapsed() < PLAIN_EVERY);
                if !redraws && recent {
                    return;
                }
                self.last_progress = Some(Instant::now());
                let line = progress_line(
                    &format!("{what}: {phase}"),
                    *done,
                    *total,
                    *rate,
                    &BudgetUse::at(state, SystemClock.now()),
                );
                self.say(&format!("  {line}"));
                self.status_shown = redraws;
            }
            WorkerEvent::Sensors { temperature_c, power_w } => {
                (self.temperature_c, self.power_w) = (*temperature_c, *power_w);
            }
            WorkerEvent::Warning { message } if !self.output.is_json() => self.say(&format!("  warning: {message}")),
            WorkerEvent::Device { device, why, card_unused } => self.show_device(device, why, *card_unused),
            _ => {}
        }
    }
}

/// An event in words; `None` for those that the tree shows.
pub(crate) fn describe(event: &Event) -> Option<String> {
    let shown = |score: &Score| format!("{} {}", score.metric, score.display());
    Some(match event {
        Event::RunStarted { task, seed, .. } => format!("run of {} with seed {seed}: {}", task.name, task.goal),
        Event::RunResumed { times: 1 } => "resumed once".to_owned(),
        Event::RunResumed { times } => format!("resumed {times} times"),
        Event::PhaseStarted { phase } => format!("── {}", phase.as_str()),
        Event::DataImported { rows: [pool, search, select, final_], .. } => {
            format!("data: {pool} training rows; {search} search, {select} select, {final_} sealed final items")
        }
        Event::BaseScored { seed, score, .. } => format!("base, {} split, seed {seed}: {}", score.split, shown(score)),
        Event::NoiseMeasured { of, scores, sd } => format!("spread of {of} over {} seeds: sd {sd:.4}", scores.len()),
        Event::WarmStarted { warm_start } => format!("warm start:\n  {}", warm_start.lines().join("\n  ")),
        Event::StrategyProposed { node, strategy } => {
            format!("{node} {} ({}): {}", strategy.title, strategy.kind.as_str(), strategy.hypothesis)
        }
        Event::Decided { node, because, .. } => format!("next {node}: {because}"),
        Event::DryRun { variant, done, .. } => format!("{variant} dry run: {}", tried(done)),
        Event::DryRunFailed { variant, failure, .. } => {
            format!("{variant} dry run failed [{}]: {}", failure.code, failure.message)
        }
        Event::VariantRejected { variant, code, reason } => format!("{variant} rejected [{code}]: {reason}"),
        Event::DuplicateAvoided { variant, of } => format!("{variant} equals {of}: not run"),
        Event::TrialInterrupted { variant, rung, message, .. } => {
            format!("{variant} rung {rung} interrupted: {message}")
        }
        Event::TrialScored { variant, rung, seed, score, .. } => {
            format!("{variant} rung {rung} seed {seed}, {} split: {}", score.split, shown(score))
        }
        Event::TrialFailed { variant, rung, message, .. } => format!("{variant} rung {rung} failed: {message}"),
        Event::IncumbentCompared { candidate, comparison, replaced, .. } => {
            let [low, high] = comparison.effect.ci95;
            let verdict = if *replaced { "new incumbent" } else { "not significant" };
            format!(
                "{candidate} against the incumbent: {:+.3} [{low:+.3}, {high:+.3}], {verdict}",
                comparison.effect.diff
            )
        }
        Event::InsightDistilled { insight } => format!("learned: {}", insight.statement),
        Event::ModelCalled { call } => called(call),
        Event::Surveyed { claims, unsupported } => {
            format!("documents: {} claims with a passage, {unsupported} left out without support", claims.len())
        }
        Event::ReviewAsked(request) => format!(
            "waits for a person: {} ({}, risk {:.2}): {}; see `trex review show {}`",
            request.id,
            request.stage.as_str(),
            request.score,
            request.question,
            request.id
        ),
        Event::ReviewDecided(decision) => {
            let who = if decision.by == DecidedBy::Person { "a person" } else { "the time-out" };
            let reason = decision.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{who} {} {}{reason}", decision.verdict.as_str(), decision.id)
        }
        Event::Ordered(record) => order_text(record),
        Event::SearchStopped { reason } => format!("search ended: {}", why_stopped(reason)),
        Event::FinalOpened { times, reason } => format!("sealed split opened (time {times}): {reason}"),
        Event::FinalistChosen { variant, value, of } => {
            format!(
                "{variant} is taken to the sealed split: the best of {of} on search and select together ({value:.3})"
            )
        }
        Event::FinalScored { variant, seed, score, .. } => {
            let who = variant.as_ref().map_or("base", |id| id.as_str());
            let which = if *seed > 0 { format!(", trained on seed {seed},") } else { String::new() };
            format!("{who}{which} on the sealed split: {}", shown(score))
        }
        Event::Delivered { folder } => format!("delivered to {folder}"),
        Event::RunFinished { verdict: Verdict::Gain, .. } => "verdict: gain".to_owned(),
        Event::RunFinished { verdict: Verdict::NoRealGain, .. } => "verdict: no real gain".to_owned(),
        Event::RunFailed(failure) => format!("ended with error[{}]: {}", failure.code, failure.message),
        Event::Warned { message, .. } => format!("note: {message}"),
        _ => return None,
    })
}

/// A question to a language model: what for, what it took, and what came of it.
fn tried(done: &DryRunDone) -> String {
    format!(
        "{} rows with {} of {} tokens trained; a micro-batch of {} took {:.2} s, {} MiB at most",
        done.rows,
        done.row_supervised,
        done.row_tokens,
        done.micro_batch_rows,
        done.micro_batch.wall_s,
        done.peak_rss_bytes >> 20
    )
}

fn called(call: &ModelCall) -> String {
    let outcome = match (&call.failure, call.replayed) {
        (Some(code), _) => format!("no usable answer [{code}]"),
        (None, true) => "its stored answer is used again".to_owned(),
        (None, false) => "answered".to_owned(),
    };
    let repairs = if call.repairs > 0 { format!(", sent back {} times", call.repairs) } else { String::new() };
    let money = match call.money {
        Some(0.0) => String::new(),
        Some(money) => format!(", {money:.4} USD"),
        None => ", price not known".to_owned(),
    };
    let tokens = call.usage.total();
    format!(
        "{} asked to {}: {outcome}{repairs}, {tokens} tokens, {:.1} s{money}",
        call.model,
        call.stage.as_str(),
        call.seconds
    )
}

fn why_stopped(reason: &StopReason) -> String {
    match reason {
        StopReason::TargetReached => "the target score is reached".to_owned(),
        StopReason::Budget { limit } => {
            format!("what is left of the budget ({limit:?}) buys no further batch").to_lowercase()
        }
        StopReason::Plateau { experiments } => format!("{experiments} experiments in a row without a significant gain"),
        StopReason::Exhausted => "nothing is left to try".to_owned(),
    }
}
