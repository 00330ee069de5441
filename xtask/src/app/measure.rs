//! What the window costs and how fast it is: start, memory, frames, rest, the way of an event to the screen, and size.
//!
//! The screen has no graphics card, so frames are those of software rendering; a card is never slower.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::bundle::{Packages, megabytes};
use super::stage::{self, Stage};
use super::webdriver::Session;
use crate::bench::Measurement;
use crate::demo::fresh_folder;
use crate::project::Project;
use crate::steps::Steps;

const STARTS: usize = 5;
const SIZES: [usize; 3] = [10, 1_000, 10_000];
const REST_S: u64 = 10;
const MANY_ROWS: usize = 260_000;

/// Measures the optimised window.
pub(crate) fn measure(project: &Project, steps: &mut Steps, folder: &Path) -> Result<Measurement> {
    if let Some(why) = super::unready(project).or_else(|| stage::missing(project)) {
        bail!("the window cannot be measured here: {why}");
    }
    let app = super::build(project, steps, true)?;
    let folder = folder.join("app-stage");
    fresh_folder(&folder)?;
    let stage = Stage::new(project, &project.trex(), &folder)?;
    let mut rows: Vec<(String, String)> = Vec::new();
    let starts = steps.step("bench app: starts", || measure_starts(&stage, &app))?;
    rows.push((format!("start to usable, median of {STARTS}"), format!("{:.2} s", median(&starts))));
    let session = stage.open(&app, &[])?;
    let delays = steps.step("bench app: events", || measure_events(&session, &folder))?;
    steps.step("bench app: rows", || measure_rows(&stage, &session, &folder, &mut rows))?;
    // A window of its own: what many rows took would be counted as memory of the trees.
    session.end()?;
    let workspace = folder.join("workspaces/events");
    let session = stage.open(&app, &[&workspace.to_string_lossy()])?;
    session.click("[data-screen=explore]")?;
    steps.step("bench app: trees", || measure_trees(&session, &app, &mut rows))?;
    steps.step("bench app: rest", || measure_rest(&session, &app, &mut rows))?;
    rows.push((format!("event to screen, median of {}", delays.len()), format!("{:.0} ms", median(&delays))));
    let most = delays.iter().copied().fold(0.0, f64::max);
    rows.push(("event to screen, largest".to_owned(), format!("{most:.0} ms")));
    session.end()?;
    rows.extend(sizes(project, &app)?);
    Ok(Measurement { name: "app", rows, details: json!({ "starts_s": starts, "delays_ms": delays }) })
}

/// From the start of the process until the page says that it is ready, by the driver, which adds its own share.
fn measure_starts(stage: &Stage, app: &Path) -> Result<Vec<f64>> {
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let begun = Instant::now();
        let session = stage.open_unplaced(app, &[])?;
        starts.push(begun.elapsed().as_secs_f64());
        session.end()?;
    }
    Ok(starts)
}

/// The tree of the finished run on the canvas is replaced by larger ones; the list beside it stays as it is.
fn measure_trees(session: &Session, app: &Path, rows: &mut Vec<(String, String)>) -> Result<()> {
    for size in SIZES {
        show_tree(session, size)?;
        rows.push((format!("memory with {size} nodes on the canvas"), format!("{:.0} MB", memory_mb(app)?)));
        for (name, fit) in [("whole tree in view", true), ("near by", false)] {
            let frames = frames_per_s(session, fit)?;
            rows.push((format!("frames per second, {size} nodes, {name}, software rendering"), format!("{frames:.0}")));
        }
    }
    Ok(())
}

fn show_tree(session: &Session, size: usize) -> Result<()> {
    let script = "const [size] = arguments; const nodes = [{ id: 'base', parent: null, kind: 'base' }]; \
        for (let s = 1; nodes.length < size; s += 1) { \
          nodes.push({ id: `s${s}`, parent: 'base', kind: 'strategy' }, { id: `s${s}.e1`, parent: `s${s}`, kind: 'experiment' }); \
          for (let v = 0; v < 20; v += 1) nodes.push({ id: `s${s}.e1.${v}`, parent: `s${s}.e1`, kind: 'variant' }) } \
        const whole = nodes.slice(0, size).map((node, at) => ({ state: 'evaluated', title: 'learning_rate=0.001', \
          strategy: null, score: { split: 'select', value: 0.5 + (at % 7) / 50, low: 0.45, high: 0.6, n: 400 }, \
          gain: (at % 7) / 50, cost_s: at % 5, on_best_path: false, is_best: false, spark: [3, 2, 1.5], note: null, ...node })); \
        window.trexExplorer.set_tree(JSON.stringify({ metric: 'accuracy', nodes: whole })); window.trexExplorer.fit()";
    session.wait("the canvas", "window.trexExplorer", 30)?;
    session.run(script, &[json!(size)])?;
    std::thread::sleep(Duration::from_millis(1500));
    Ok(())
}

fn frames_per_s(session: &Session, fit: bool) -> Result<f64> {
    const SECONDS: u64 = 3;
    let view = if fit { "window.trexExplorer.fit()" } else { "window.trexExplorer.zoom_by(20)" };
    session.run(view, &[])?;
    std::thread::sleep(Duration::from_millis(500));
    let frames = |session: &Session| -> Result<f64> {
        let stats = session.run("return window.trexExplorer.stats()[0]", &[])?;
        stats.as_f64().context("the canvas counts no frames")
    };
    session.run("window.trexExplorer.set_busy(true)", &[])?;
    let (before, begun) = (frames(session)?, Instant::now());
    std::thread::sleep(Duration::from_secs(SECONDS));
    let (after, took) = (frames(session)?, begun.elapsed().as_secs_f64());
    session.run("window.trexExplorer.set_busy(false)", &[])?;
    Ok((after - before) / took)
}

fn measure_rest(session: &Session, app: &Path, rows: &mut Vec<(String, String)>) -> Result<()> {
    let drawn = |session: &Session| session.run("return window.trexExplorer.stats()[1]", &[]);
    std::thread::sleep(Duration::from_secs(2));
    let (drawn_before, cpu_before) = (drawn(session)?, cpu_s(app)?);
    std::thread::sleep(Duration::from_secs(REST_S));
    let (cpu, drawn_after) = (cpu_s(app)? - cpu_before, drawn(session)?);
    let repaints = drawn_after.as_f64().unwrap_or(0.0) - drawn_before.as_f64().unwrap_or(0.0);
    rows.push((format!("drawings in {REST_S} s at rest"), format!("{repaints:.0}")));
    let share = cpu / REST_S as f64 * 100.0;
    rows.push(("processor at rest, with the shell's looks for events".to_owned(), format!("{share:.1} % of one core")));
    Ok(())
}

/// A run is started from the page; for each state that the page shows, the time since its last event was written.
fn measure_events(session: &Session, folder: &Path) -> Result<Vec<f64>> {
    let workspace = folder.join("workspaces/events");
    let request = json!({
        "workspace": workspace, "task": crate::demo::DEMO_TASK, "seed": 0, "model": null, "trials": 8, "new": false,
    });
    session.ask("start_run", json!({ "request": request }))?;
    wait_for_file(&workspace.join("workspace.db"))?;
    // What is at work is shown when the page comes up.
    session.reload()?;
    session.wait("the run", "document.querySelector('[data-seq]')", 60)?;
    session.run(
        "window.trexSeen = []; const look = () => { const shown = document.querySelector('[data-seq]')?.dataset.seq; \
         if (shown && window.trexSeen.at(-1)?.[0] !== shown) window.trexSeen.push([shown, Date.now()]) }; \
         new MutationObserver(look).observe(document.body, { attributes: true, subtree: true, attributeFilter: ['data-seq'] })",
        &[],
    )?;
    session.wait("the finished run", "document.querySelector('[data-status=finished]')", 600)?;
    let seen = session.run("return window.trexSeen", &[])?;
    let log = session.ask("run_log", json!({ "workspace": workspace, "after": 0 }))?;
    Ok(delays(&seen, &log))
}

fn delays(seen: &Value, log: &Value) -> Vec<f64> {
    let written = |seq: u64| {
        let line = log.as_array()?.iter().find(|line| line["seq"].as_u64() == Some(seq))?;
        line["at_ms"].as_f64()
    };
    let delay = |one: &Value| Some(one[1].as_f64()? - written(one[0].as_str()?.parse().ok()?)?);
    seen.as_array().into_iter().flatten().filter_map(delay).collect()
}

/// A large file is dropped on the window; then its list is scrolled to places that nobody asked for before, and the time
/// until every row in view has its words is taken within the page.
fn measure_rows(stage: &Stage, session: &Session, folder: &Path, rows: &mut Vec<(String, String)>) -> Result<()> {
    const PLACES: u32 = 20;
    let file = folder.join("many-rows.jsonl");
    write_many_rows(&file)?;
    let begun = Instant::now();
    stage.drag(&[&file], || Ok(()))?;
    session.wait("the profile of many rows", "document.querySelector('[data-profiled=true]')", 180)?;
    rows.push((format!("{MANY_ROWS} rows: dropped and profiled"), format!("{:.1} s", begun.elapsed().as_secs_f64())));
    let all = format!("document.querySelector('[data-total=\"{MANY_ROWS}\"]')");
    session.wait("the list of many rows", &format!("{all} && document.querySelector('.rows .words')"), 180)?;
    let script = "new Promise((done) => { const box = document.querySelector('.rows'); const begun = performance.now(); \
        box.scrollTop = arguments[0] * (box.scrollHeight - box.clientHeight); const frame = box.getBoundingClientRect(); \
        const look = () => { const seen = [...box.querySelectorAll('.item')].filter((item) => { \
            const at = item.getBoundingClientRect(); return at.bottom > frame.top && at.top < frame.bottom }); \
          const shown = performance.now() - begun > 30 && seen.length > 3 && seen.every((item) => item.querySelector('.words')); \
          if (shown) done([performance.now() - begun, box.querySelectorAll('.item').length]); else requestAnimationFrame(look) }; \
        requestAnimationFrame(look) })";
    let (mut waits, mut most_items) = (Vec::new(), 0.0_f64);
    for place in 1..=PLACES {
        // Back and forth, so that no page lies beside the one before.
        let share = f64::from(place * 7 % PLACES + 1) / f64::from(PLACES);
        let seen = session.promise(script, &[json!(share)])?;
        waits.push(seen[0].as_f64().context("the page says no time")?);
        most_items = most_items.max(seen[1].as_f64().unwrap_or_default());
    }
    let most = waits.iter().copied().fold(0.0, f64::max);
    rows.push((
        format!("{MANY_ROWS} rows: from a jump to its rows, {PLACES} places, median and largest"),
        format!("{:.0} ms, {most:.0} ms", median(&waits)),
    ));
    rows.push((format!("{MANY_ROWS} rows: rows in the document at most"), format!("{most_items:.0}")));
    Ok(())
}

/// Rows of words that a counter chooses, so that none is like another.
fn write_many_rows(file: &Path) -> Result<()> {
    const SYLLABLES: [&str; 16] =
        ["ba", "ce", "di", "fo", "gu", "ha", "ke", "li", "mo", "nu", "pa", "re", "si", "to", "vu", "za"];
    let mut text = String::new();
    let mut state = 1_u64;
    for row in 0..MANY_ROWS {
        let mut prompt = format!("Review {row}:");
        for _ in 0..8 {
            // The constants of Knuth's MMIX; what it draws only has to differ.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let syllable = |shift: u32| SYLLABLES[usize::try_from(state >> shift & 15).unwrap_or_default()];
            write!(prompt, " {}{}{}", syllable(32), syllable(40), syllable(48)).context("cannot write to a text")?;
        }
        let label = if row % 2 == 0 { "positive" } else { "negative" };
        writeln!(text, "{}", json!({ "prompt": prompt, "completion": label })).context("cannot write to a text")?;
    }
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

pub(super) fn wait_for_file(file: &Path) -> Result<()> {
    for _ in 0..600 {
        if file.is_file() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("{} does not appear", file.display())
}

/// The window's processes: the program, and what WebKit started for it.
fn family(app: &Path) -> Result<Vec<u32>> {
    let all = super::story::processes();
    let name = app.to_string_lossy();
    let root = all.iter().find(|process| process.line.split(' ').next() == Some(&*name)).context("no window runs")?.pid;
    let mut family = vec![root];
    while let Some(next) = all.iter().find(|process| {
        family.contains(&process.parent) && !family.contains(&process.pid) && !process.line.contains("trex run")
    }) {
        family.push(next.pid);
    }
    Ok(family)
}

/// Memory that belongs to the window, with its share of what is shared.
fn memory_mb(app: &Path) -> Result<f64> {
    let share = |pid: u32| -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    Ok(family(app)?.into_iter().map(share).sum::<f64>() * 1024.0 / 1e6)
}

fn cpu_s(app: &Path) -> Result<f64> {
    const TICKS_PER_S: f64 = 100.0;
    let ticks = |pid: u32| -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = text.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
        [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum()
    };
    Ok(family(app)?.into_iter().map(ticks).sum::<f64>() / TICKS_PER_S)
}

fn sizes(project: &Project, app: &Path) -> Result<Vec<(String, String)>> {
    let mb = |path: &Path| -> Result<String> { Ok(format!("{:.1} MB", megabytes(path)?)) };
    let mut rows = vec![
        ("size of the window's program, with page and picture".to_owned(), mb(app)?),
        ("size of the trex program, with the bundled model".to_owned(), mb(&project.trex())?),
    ];
    let both = app.metadata()?.len() + project.trex().metadata()?.len();
    rows.push(("installed: both programs".to_owned(), format!("{:.1} MB", both as f64 / 1e6)));
    // Only where packages were made before.
    if let Ok(packages) = Packages::find(project) {
        rows.push(("size of the .deb".to_owned(), mb(&packages.deb)?));
        rows.push(("size of the .rpm".to_owned(), mb(&packages.rpm)?));
    }
    rows.push(("published size of Unsloth Desktop, for comparison".to_owned(), "8.2 GB".to_owned()));
    Ok(rows)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_the_time_from_the_event_to_the_screen() {
        let seen = json!([["3", 1_050], ["9", 2_000], ["5", 1_300]]);
        let log = json!([{ "seq": 3, "at_ms": 1_000 }, { "seq": 4, "at_ms": 1_100 }, { "seq": 5, "at_ms": 1_200 }]);
        assert_eq!(delays(&seen, &log), [50.0, 100.0]);
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
    }
}
