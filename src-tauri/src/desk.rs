//! What the desktop is told of the run that is shown: a line and a number in the tray, and a notification when a run ends
//! or waits for a person while nobody looks at the window. Decides nothing about the run.

use tauri::menu::MenuItem;
use tauri::tray::TrayIcon;
use tauri::{AppHandle, Manager as _, Runtime};
use tauri_plugin_notification::NotificationExt as _;

use crate::follow::Update;
use crate::view::RunView;

/// The tray, where the desktop has one.
pub(crate) struct Tray<R: Runtime> {
    pub(crate) icon: TrayIcon<R>,
    pub(crate) status: MenuItem<R>,
}

/// Tells the desktop about one run after the other.
pub(crate) struct Desk<R: Runtime> {
    app: AppHandle<R>,
    line: String,
    before: Option<Before>,
}

/// What was told of a run before.
#[derive(Clone)]
struct Before {
    run: String,
    status: String,
    waits: usize,
}

impl Before {
    fn of(run: &RunView) -> Self {
        Self { run: run.run.clone(), status: run.status.clone(), waits: run.waits }
    }
}

impl<R: Runtime> Desk<R> {
    pub(crate) fn new(app: AppHandle<R>) -> Self {
        Self { app, line: String::new(), before: None }
    }

    pub(crate) fn tell(&mut self, update: &Update) {
        let Update::Run { run } = update else { return };
        self.show_line(&line(run), &short(run));
        let before = self.before.replace(Before::of(run));
        if let Some(news) = news(before.as_ref(), run).filter(|_| !self.is_looked_at()) {
            // A desktop without notifications is no failure.
            self.app.notification().builder().title("TREX").body(news).show().ok();
        }
    }

    fn show_line(&mut self, line: &str, short: &str) {
        if self.line == line {
            return;
        }
        line.clone_into(&mut self.line);
        if let Some(tray) = self.app.try_state::<Tray<R>>() {
            // A tray that was taken away takes its line with it.
            tray.status.set_text(line).and_then(|()| tray.icon.set_title(Some(short))).ok();
        }
    }

    fn is_looked_at(&self) -> bool {
        self.app.webview_windows().into_values().any(|window| window.is_focused().unwrap_or(false))
    }
}

fn line(run: &RunView) -> String {
    format!("{}: {}, {} of {} trials", run.task, run.status, run.budget.trials, run.budget.max_trials)
}

/// What fits beside an icon; nothing where nothing runs.
fn short(run: &RunView) -> String {
    if run.status != "running" {
        return String::new();
    }
    format!("{}/{}", run.budget.trials, run.budget.max_trials)
}

/// What a person wants to hear who is not looking: that a run came to an end, or waits for a decision.
fn news(before: Option<&Before>, run: &RunView) -> Option<String> {
    let before = before.filter(|before| before.run == run.run)?;
    if run.status == "running" && before.waits == 0 && run.waits > 0 {
        let (noun, verb) = if run.waits == 1 { ("decision", "waits") } else { ("decisions", "wait") };
        return Some(format!("{}: {} {noun} {verb} for you", run.task, run.waits));
    }
    if before.status == run.status || before.status != "running" {
        return None;
    }
    let best =
        run.best.as_ref().map(|best| format!(" {:.3} [{:.3}, {:.3}], n={}", best.value, best.low, best.high, best.n));
    match run.status.as_str() {
        "finished" => Some(format!("{} is finished:{}", run.task, best.unwrap_or_default())),
        "failed" => {
            let why = run.failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default();
            Some(format!("{} failed: {why}", run.task))
        }
        _ => Some(format!("{} was interrupted", run.task)),
    }
}

#[cfg(test)]
mod tests {
    use trex_domain::{Millis, RunId, RunState};

    use crate::view::{Moment, run_view};

    use super::*;

    fn run(status: &str) -> RunView {
        let id: RunId = "01a217fd-d2fb-7301-9470-f393d495bdc2".parse().unwrap();
        let mut view = run_view(&RunState::default(), id, Moment { at_work: true, now: Millis(0) });
        view.task = "mini".to_owned();
        view.status = status.to_owned();
        view
    }

    #[track_caller]
    fn check(before: &str, after: &str, expected: Option<&str>) {
        let after = run(after);
        let before = Before { status: before.to_owned(), ..Before::of(&after) };
        assert_eq!(news(Some(&before), &after).as_deref(), expected);
    }

    #[test]
    fn a_run_that_ends_is_news_and_one_that_was_over_is_not() {
        check("running", "finished", Some("mini is finished:"));
        check("running", "interrupted", Some("mini was interrupted"));
        check("running", "failed", Some("mini failed: "));
        check("running", "running", None);
        check("interrupted", "running", None);
        assert_eq!(news(None, &run("finished")), None);
        let other = Before { run: "another run".to_owned(), ..Before::of(&run("running")) };
        assert_eq!(news(Some(&other), &run("finished")), None);
    }

    #[test]
    fn decisions_that_begin_to_wait_are_news() {
        let waits = |waits: usize| RunView { waits, ..run("running") };
        let told = |before: usize, after: usize| news(Some(&Before::of(&waits(before))), &waits(after));
        assert_eq!(told(0, 1).as_deref(), Some("mini: 1 decision waits for you"));
        assert_eq!(told(0, 4).as_deref(), Some("mini: 4 decisions wait for you"));
        for (before, after) in [(0, 0), (4, 3), (1, 2), (1, 0)] {
            assert_eq!(told(before, after), None, "{before} {after}");
        }
    }

    #[test]
    fn the_tray_counts_while_a_run_is_at_work() {
        assert_eq!(short(&run("running")), "0/0");
        assert_eq!(short(&run("finished")), "");
        assert_eq!(line(&run("running")), "mini: running, 0 of 0 trials");
    }
}
