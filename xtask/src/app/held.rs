//! A run that holds its strategies for a person, in the real window: one is edited, one rejected, the others approved; and the
//! search is steered from the tree, by keyboard and by mouse. What came of it is read from the events of the run.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::measure::wait_for_file;
use super::webdriver::Session;

/// A task of seconds.
pub(super) const TASK: &str = r#"
name = "held"
goal = "Choose the missing word."
kind = "choice"
metric = "accuracy"

[data]
builtin = "ftbench/mini-1"

[prompt]
template = "{input}"

[splits]
search = 40
select = 40
final = 40

[train]
learning_rate = 2e-4
max_steps = 6
per_device_train_batch_size = 6
max_length = 224

[budget]
trials = 9

[search]
rungs = 2
batch = 2
base_seeds = 2
finalist_seeds = 1
"#;

/// Shift and F10, which open the menu of what has the focus.
const MENU_KEY: &str = "\u{e008}\u{e03a}";

/// Plays it in a window that is open; leaves pictures of what waits and of the steered tree.
pub(super) fn play(session: &Session, folder: &Path, pictures: &Path) -> Result<()> {
    let workspace = folder.join("workspaces/held");
    let asked = hold(session, folder, &workspace)?;
    let [edited, rejected, forbidden, pinned] = &asked[..] else {
        bail!("{} strategies wait, not four at least", asked.len());
    };
    session.click("[data-screen=review]")?;
    choose(session, &edited.review)?;
    session.picture(&pictures.join("review-waits.png"))?;
    session.fill("input[aria-label=title]", "\"Edited by a person\"")?;
    decide(session, &edited.review, "edit", "edited")?;
    choose(session, &rejected.review)?;
    session.keys("[data-reason]", "we tried that")?;
    decide(session, &rejected.review, "reject", "rejected")?;
    steer(session, &forbidden.node, &pinned.node, pictures)?;
    session.click("[data-screen=review]")?;
    for one in waiting(session, &workspace)? {
        choose(session, &one.review)?;
        decide(session, &one.review, "approve", "approved")?;
    }
    session.click("[data-screen=explore]")?;
    session.wait("the finished run", "document.querySelector('[data-status=finished]')", 300)?;
    let mut settings = session.ask("settings", json!({}))?;
    settings["review"] = json!(false);
    session.ask("set_settings", json!({ "settings": settings }))?;
    check(session, &workspace, [&edited.node, &rejected.node, &forbidden.node, &pinned.node])
}

/// A strategy that waits.
struct Asked {
    review: String,
    node: String,
}

/// Starts the run and waits until its strategies wait; the first four of them in the order of their names.
fn hold(session: &Session, folder: &Path, workspace: &Path) -> Result<Vec<Asked>> {
    let file = folder.join("held.toml");
    std::fs::write(&file, TASK).context("cannot write the task")?;
    let mut settings = session.ask("settings", json!({}))?;
    settings["review"] = json!(true);
    let stages = ["requirement", "literature", "data", "training", "evaluation"];
    settings["autonomy"] = stages.iter().map(|stage| ((*stage).to_owned(), json!(100))).collect();
    settings["autonomy"]["strategy"] = json!(0);
    session.ask("set_settings", json!({ "settings": settings }))?;
    let request =
        json!({ "workspace": workspace, "task": file, "seed": 1, "model": null, "trials": null, "new": false });
    session.ask("start_run", json!({ "request": request }))?;
    wait_for_file(&workspace.join("workspace.db"))?;
    // What is at work is shown when the page comes up.
    session.reload()?;
    session.wait("the run", "document.querySelector('[data-seq]')", 60)?;
    session.click("[data-screen=review]")?;
    session.wait("what waits", "document.querySelectorAll('[data-review]').length > 3", 120)?;
    let mut asked = waiting(session, workspace)?;
    asked.sort_by(|a, b| a.node.cmp(&b.node));
    asked.truncate(4);
    Ok(asked)
}

fn waiting(session: &Session, workspace: &Path) -> Result<Vec<Asked>> {
    let list = session.ask("review_list", json!({ "workspace": workspace }))?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a review has no name or no node");
    let open = list.as_array().into_iter().flatten().filter(|one| one["status"] == "waiting");
    open.map(|one| Ok(Asked { review: text(&one["id"])?, node: text(&one["subject"]["node"])? })).collect()
}

fn choose(session: &Session, review: &str) -> Result<()> {
    session.click(&format!("[data-review={review}]"))?;
    session.wait("the decision", &format!("document.querySelector('[data-shown={review}]')"), 20).map(drop)
}

/// Gives the word and waits until the run has taken it.
fn decide(session: &Session, review: &str, word: &str, status: &str) -> Result<()> {
    session.click(&format!("[data-word={word}]:not(:disabled)"))?;
    let taken =
        format!("document.querySelector('[data-review={review}]').closest('li').querySelector('.badge.{status}')");
    session.wait(&format!("{review} is {status}"), &taken, 60).map(drop)
}

/// Forbids a strategy by keyboard, pins another one by mouse, and has a variant of it trained next.
fn steer(session: &Session, forbidden: &str, pinned: &str, pictures: &Path) -> Result<()> {
    session.click("[data-screen=explore]")?;
    session.click(&format!("#node-{forbidden}"))?;
    session.keys("[role=tree]", MENU_KEY)?;
    let focused = format!("document.activeElement?.closest('[data-menu={forbidden}]')");
    session.wait("the menu has the focus", &focused, 10)?;
    session.picture(&pictures.join("menu.png"))?;
    session.keys("[data-order=forbid]", "\u{e007}")?;
    session.keys("[data-dialog=forbid] textarea", "not this time")?;
    session.click("[data-give]")?;
    session.wait("the mark", &format!("document.querySelector('#node-{forbidden} .forbidden')"), 20)?;
    session.click(&format!("#node-{pinned}"))?;
    session.click("[data-orders]")?;
    session.click("[data-order=pin]")?;
    session.wait("the pin", &format!("document.querySelector('#node-{pinned} .pinned')"), 20)?;
    session.click("[data-orders]")?;
    session.click("[data-order=branch]")?;
    session.fill("[data-setting=\"config.learning_rate\"]", "0.0003")?;
    session.wait("the change", "document.querySelector('[data-give]:not(:disabled)')", 10)?;
    session.run("document.querySelector('tr.changed').scrollIntoView({ block: 'center' })", &[])?;
    session.picture(&pictures.join("branch.png"))?;
    session.click("[data-give]")?;
    let made = format!("document.getElementById('node-{pinned}.e1.a')");
    session.wait("the branch in the tree", &made, 20)?;
    session.wait("the picture of the tree", "window.trexExplorer?.node_pos('base')", 30)?;
    session.picture(&pictures.join("steered.png"))
}

/// What the run did, by its events.
fn check(session: &Session, workspace: &Path, [edited, rejected, forbidden, pinned]: [&str; 4]) -> Result<()> {
    let shown = session.ask("show_node", json!({ "workspace": workspace, "id": edited }))?;
    if shown["node"]["title"] != "Edited by a person" {
        bail!("the edited strategy is called {}", shown["node"]["title"]);
    }
    let log = session.ask("run_log", json!({ "workspace": workspace, "after": 0 }))?;
    let proposed = log.as_array().into_iter().flatten().filter(|line| line["kind"] == "experiment_proposed");
    let nodes: Vec<&str> = proposed.filter_map(|line| line["node"].as_str()).collect();
    if nodes.first() != Some(&&*format!("{pinned}.e1")) {
        bail!("the branch of {pinned} is not the first experiment: {nodes:?}");
    }
    let below = |strategy: &str| nodes.iter().any(|node| node.split('.').next() == Some(strategy));
    if below(rejected) || below(forbidden) {
        bail!("{rejected} was rejected and {forbidden} forbidden, and one of them was searched: {nodes:?}");
    }
    Ok(())
}
