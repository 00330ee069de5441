//! A running search as text for a terminal: the tree as it stands and one line of progress. Pure: moves no cursor, asks
//! no terminal for its size, reads no clock.

use trex_domain::{Millis, NodeId, NodeState, RunState, Score, VariantId, VariantRecord};

use crate::report::duration;

/// How much of the limits is used, for [`progress_line`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BudgetUse {
    /// Trials that were started.
    pub trials: usize,
    /// Trials that may be started.
    pub max_trials: usize,
    /// Wall seconds that were spent.
    pub wall_s: f64,
    /// Wall seconds that may be spent.
    pub max_wall_s: Option<f64>,
}

impl BudgetUse {
    /// What a run at work has used at this moment.
    pub fn at(state: &RunState, now: Millis) -> Self {
        let budget = state.task.as_ref().map(|task| &task.budget);
        Self {
            trials: state.trials.len(),
            max_trials: budget.map_or(0, |budget| budget.trials),
            wall_s: state.wall_s_at(now),
            max_wall_s: budget.and_then(|budget| budget.wall_s),
        }
    }
}

/// How a tree is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeLook {
    /// Characters of the longest line.
    pub width: usize,
    /// Adds ANSI colours; the glyphs say the same without them.
    pub colour: bool,
    /// Whether a program works on the run. Where none does, what has begun is interrupted, not running.
    pub at_work: bool,
}

/// The tree as text, one node or variant per line.
///
/// A variant's line shows its state as glyph and word, its rung, its last search score, its select score, and a star
/// where it is the best so far. What a person pinned is marked with ⚑, what a person forbade with ⊘.
pub fn tree_text(state: &RunState, look: TreeLook) -> String {
    let TreeLook { width, colour, at_work } = look;
    let mut lines = vec![base_line(state)];
    let strategies: Vec<_> = state.strategies().map(|(id, ..)| id).collect();
    for (index, strategy) in strategies.iter().enumerate() {
        let last_strategy = index + 1 == strategies.len();
        lines.push(strategy_line(state, strategy, branch(last_strategy)));
        let experiments: Vec<_> = state.experiments(strategy).collect();
        for (index, (id, node)) in experiments.iter().enumerate() {
            let last_experiment = index + 1 == experiments.len();
            let before = trunk(last_strategy);
            lines.push(Line {
                lead: format!("{before}{}", branch(last_experiment)),
                style: if node.finished || !at_work { Style::Plain } else { Style::Active },
                text: format!(
                    "{id}{} {}{}",
                    marks(state, id.as_str()),
                    one_line(&node.title),
                    if node.finished || !at_work { "" } else { " …" }
                ),
            });
            for (index, variant) in node.variants.iter().enumerate() {
                let lead = format!("{before}{}{}", trunk(last_experiment), branch(index + 1 == node.variants.len()));
                lines.extend(variant_line(state, variant, lead, at_work));
            }
        }
    }
    lines.iter().map(|line| line.render(width, colour) + "\n").collect()
}

/// One line: phase, bar, done of total, rate, time left, and how much of the budget is used.
///
/// `rate` is in units per second; a rate of zero gives no time left rather than a guess.
pub fn progress_line(phase: &str, done: usize, total: usize, rate: f64, budget: &BudgetUse) -> String {
    const CELLS: usize = 16;
    let done_or_total = done.min(total);
    let filled = (done_or_total * CELLS).checked_div(total).unwrap_or(0);
    let percent = (done_or_total * 100).checked_div(total).unwrap_or(0);
    let left = (total - done_or_total) as f64 / rate;
    let left = if rate > 0.0 && left.is_finite() { duration(left) } else { "unknown".to_owned() };
    let rate = if rate.is_finite() && rate >= 0.0 { rate } else { 0.0 };
    let wall = match budget.max_wall_s {
        Some(limit) => format!("{} of {}", duration(budget.wall_s), duration(limit)),
        None => duration(budget.wall_s),
    };
    format!(
        "{} [{}{}] {done}/{total} {percent:>3} %  {rate:.1}/s  left {left}  trials {}/{}  time {wall}",
        one_line(phase),
        "#".repeat(filled),
        "-".repeat(CELLS - filled),
        budget.trials,
        budget.max_trials
    )
}

#[derive(Clone, Copy)]
enum Style {
    Plain,
    Best,
    Active,
    Good,
    Bad,
    Dim,
}

impl Style {
    /// The ANSI code (ECMA-48, "select graphic rendition").
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Best => "1;36",
            Self::Active => "33",
            Self::Good => "36",
            Self::Bad => "31",
            Self::Dim => "2",
        }
    }
}

struct Line {
    lead: String,
    style: Style,
    text: String,
}

impl Line {
    fn render(&self, width: usize, colour: bool) -> String {
        let room = width.saturating_sub(self.lead.chars().count());
        let text = shortened(&self.text, room);
        let lead: String = self.lead.chars().take(width).collect();
        if !colour || matches!(self.style, Style::Plain) {
            return format!("{lead}{text}");
        }
        format!("{lead}\u{1b}[{}m{text}\u{1b}[0m", self.style.code())
    }
}

fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let head: String = text.chars().take(room.saturating_sub(1)).collect();
    if room == 0 { String::new() } else { format!("{head}…") }
}

fn branch(last: bool) -> &'static str {
    if last { "└─ " } else { "├─ " }
}

fn trunk(last: bool) -> &'static str {
    if last { "   " } else { "│  " }
}

fn base_line(state: &RunState) -> Line {
    let mut text = "base".to_owned();
    for split in ["search", "select"] {
        if let Some(score) = state.base_scores.get(&(split.to_owned(), 0)) {
            text.push_str(&format_score(split, score));
        }
    }
    if state.incumbent.is_none() {
        text.push_str(" ★");
    }
    Line { lead: String::new(), style: Style::Plain, text }
}

fn strategy_line(state: &RunState, id: &NodeId, lead: &str) -> Line {
    let node = state.nodes.get(id);
    let title = node.map(|node| one_line(&node.title)).unwrap_or_default();
    let kind = node.and_then(|node| node.strategy.as_ref()).map(|strategy| strategy.kind.as_str()).unwrap_or_default();
    let best = state
        .experiments(id)
        .flat_map(|(_, node)| &node.variants)
        .filter_map(|variant| state.select_score(Some(variant)))
        .max_by(|a, b| a.merit().total_cmp(&b.merit()));
    let best = best.map(|score| format!(" best {:.3}", score.value)).unwrap_or_default();
    Line {
        lead: lead.to_owned(),
        style: Style::Plain,
        text: format!("{id}{} {title} ({kind}){best}", marks(state, id.as_str())),
    }
}

fn variant_line(state: &RunState, id: &VariantId, lead: String, at_work: bool) -> Option<Line> {
    let record = state.variants.get(id)?;
    let is_best = state.incumbent.as_ref() == Some(id);
    let is_interrupted = record.state == NodeState::Running && !at_work;
    let (glyph, style) = if is_interrupted { ('‖', Style::Dim) } else { glyph_of(record.state) };
    let word = if is_interrupted { "interrupted" } else { record.state.as_str() };
    let mut text = format!("{glyph} {id}{} {word}", marks(state, id.as_str()));
    let measured = record.duplicate_of.as_ref().unwrap_or(id);
    if let Some((rung, score)) = last_search_score(state, measured) {
        text = format!("{text} r{rung}");
        text.push_str(&format_score("search", score));
    } else if matches!(record.state, NodeState::Running) {
        text = format!("{text} r{}", record.rung);
    }
    if let Some(score) = state.select_score(Some(measured)) {
        text.push_str(&format_score("select", score));
    }
    if is_best {
        text.push_str(" ★");
    }
    text.push_str(&remark(record));
    Some(Line { lead, style: if is_best { Style::Best } else { style }, text })
}

/// What a person ordered of a node or variant itself, each with a blank before it.
fn marks(state: &RunState, name: &str) -> String {
    let is_forbidden = state.forbidden.keys().any(|part| part.as_str() == name);
    format!("{}{}", if state.is_pinned(name) { " ⚑" } else { "" }, if is_forbidden { " ⊘" } else { "" })
}

/// What ended it; for the others, what it changes.
fn remark(record: &VariantRecord) -> String {
    if let Some(note) = &record.note {
        return format!(" ({})", one_line(note));
    }
    let changes: Vec<_> = record.variant.diff.iter().map(|(setting, (_, to))| format!("{setting}={to}")).collect();
    if changes.is_empty() { String::new() } else { format!(" {}", one_line(&changes.join(" "))) }
}

fn last_search_score<'a>(state: &'a RunState, id: &VariantId) -> Option<(usize, &'a Score)> {
    let from = (id.clone(), 0, 0);
    let to = (id.clone(), usize::MAX, u64::MAX);
    let trials = state.trials.range(from..=to).rev().filter(|((_, _, seed), _)| *seed == 0);
    trials
        .map(|((_, rung, _), trial)| (*rung, trial.scores.get("search")))
        .find_map(|(rung, score)| Some((rung, score?)))
}

fn format_score(split: &str, score: &Score) -> String {
    format!(" {split} {:.3} [{:.3}, {:.3}]", score.value, score.ci95[0], score.ci95[1])
}

fn glyph_of(state: NodeState) -> (char, Style) {
    match state {
        NodeState::Proposed => ('·', Style::Dim),
        NodeState::Verified => ('○', Style::Plain),
        NodeState::Rejected => ('✗', Style::Dim),
        NodeState::Cached => ('=', Style::Dim),
        NodeState::Running => ('▶', Style::Active),
        NodeState::Evaluated => ('●', Style::Good),
        NodeState::Promoted => ('▲', Style::Good),
        NodeState::Pruned => ('▽', Style::Dim),
        NodeState::Failed => ('!', Style::Bad),
    }
}

/// Control characters, line breaks and escape sequences of a terminal among them, become spaces.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use trex_domain::{Event, RunFailure};

    use crate::report::sample::{running_state, sample_state};

    use super::*;

    fn plain(state: &RunState, width: usize) -> String {
        tree_text(state, TreeLook { width, colour: false, at_work: true })
    }

    #[test]
    fn a_finished_tree_reads_like_this() {
        let text = plain(&sample_state(), 100);
        let expected = "\
base search 0.510 [0.455, 0.565] select 0.520 [0.472, 0.568]
├─ s1 Find the learning rate (adjust_training) best 0.790
│  └─ s1.e1 Learning rate over two decades
│     ├─ ● s1.e1.a evaluated r2 search 0.800 [0.756, 0.844] select 0.790 [0.750, 0.830] ★ learning_…
│     ├─ ▽ s1.e1.b pruned r1 search 0.660 [0.570, 0.750] (place 2 of 2 at its rung)
│     └─ ! s1.e1.c failed (loss diverged at step 6: 41.2 after 1.4)
└─ s2 Drop rows that contradict <each other> & repeats (refine_data) best 0.740
   └─ s2.e1 Stricter cleaning
      ├─ ● s2.e1.a evaluated r2 search 0.750 [0.703, 0.798] select 0.740 [0.700, 0.780] learning_ra…
      ├─ = s2.e1.b cached r2 search 0.800 [0.756, 0.844] select 0.790 [0.750, 0.830] (equal to s1.e…
      └─ ✗ s2.e1.c rejected (11 of 2000 rows are left; lower min_known_share)
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_running_variant_is_marked() {
        let text = plain(&running_state(), 100);
        assert!(text.contains("   └─ s2.e1 Stricter cleaning …\n"), "{text}");
        assert!(text.contains("▶ s2.e1.a running r0 learning_rate=0.001 lora.r=16\n"), "{text}");
        let left = tree_text(&running_state(), TreeLook { width: 100, colour: false, at_work: false });
        assert!(left.contains("   └─ s2.e1 Stricter cleaning\n"), "{left}");
        assert!(left.contains("‖ s2.e1.a interrupted r0 learning_rate=0.001 lora.r=16\n"), "{left}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_colour_adds_no_width() {
        for width in [0, 1, 5, 20, 60] {
            let plain = plain(&sample_state(), width);
            assert!(plain.lines().all(|line| line.chars().count() <= width), "{plain}");
            let coloured = tree_text(&sample_state(), TreeLook { width, colour: true, at_work: true });
            let mut stripped = coloured;
            for code in ["0", "1;36", "33", "36", "31", "2"] {
                stripped = stripped.replace(&format!("\u{1b}[{code}m"), "");
            }
            assert_eq!(stripped, plain);
        }
    }

    #[test]
    fn an_empty_run_shows_the_base_alone() {
        assert_eq!(plain(&RunState::default(), 80), "base ★\n");
    }

    #[track_caller]
    fn check_progress(done: usize, total: usize, rate: f64, expected: &str) {
        let budget = BudgetUse { trials: 3, max_trials: 18, wall_s: 75.0, max_wall_s: Some(3600.0) };
        assert_eq!(progress_line("train s1.e1.a r1", done, total, rate, &budget), expected);
    }

    #[test]
    fn progress_says_done_rate_left_and_budget() {
        let tail = "trials 3/18  time 1 min 15 s of 1 h 0 min";
        check_progress(
            10,
            40,
            2.5,
            &format!("train s1.e1.a r1 [####------------] 10/40  25 %  2.5/s  left 12 s  {tail}"),
        );
        check_progress(
            0,
            40,
            0.0,
            &format!("train s1.e1.a r1 [----------------] 0/40   0 %  0.0/s  left unknown  {tail}"),
        );
        check_progress(
            50,
            40,
            1.0,
            &format!("train s1.e1.a r1 [################] 50/40 100 %  1.0/s  left 0 s  {tail}"),
        );
        check_progress(
            0,
            0,
            f64::NAN,
            &format!("train s1.e1.a r1 [----------------] 0/0   0 %  0.0/s  left unknown  {tail}"),
        );
    }

    #[test]
    fn the_budget_comes_from_the_state() {
        let state = sample_state();
        let used = BudgetUse::at(&state, state.updated);
        assert_eq!((used.trials, used.max_trials, used.max_wall_s), (9, 18, Some(3600.0)));
        assert!(used.wall_s > 0.0);
    }

    #[test]
    fn time_goes_on_between_events_until_the_run_ends() {
        let wall_s = |state: &RunState, millis: i64| BudgetUse::at(state, Millis(state.updated.0 + millis)).wall_s;
        let mut state = running_state();
        assert!((wall_s(&state, 90_000) - wall_s(&state, 0) - 90.0).abs() < 1e-9);
        assert!(
            (wall_s(&state, -5_000) - state.cost.wall_s).abs() < 1e-9,
            "a clock that was set back takes nothing away"
        );
        let failure = RunFailure { code: "x".to_owned(), message: "x".to_owned(), hint: None };
        state.apply(&Event::RunFailed(failure)).unwrap();
        let ended = sample_state();
        for state in [&state, &ended] {
            assert!((wall_s(state, 90_000) - state.cost.wall_s).abs() < 1e-9);
        }
    }
}
