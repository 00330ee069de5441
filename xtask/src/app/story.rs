//! What a person does with the window, from a dropped file to an exported model, in the real window on a screen that nobody
//! sees: with a killed worker and a killed window on the way. Pictures of every screen are left in `target/story`.
//!
//! It looks at what the page shows and at what lies on the disk; it knows no rule of the engine.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::stage::Stage;
use super::webdriver::Session;
use super::{held, screens};
use crate::command::{answer, command};
use crate::demo::fresh_folder;
use crate::project::Project;
use crate::steps::Steps;

/// Plays the story with a window and a `trex` that are built.
pub(super) fn play(project: &Project, steps: &mut Steps, app: &Path, trex: &Path) -> Result<()> {
    let folder = project.target.join("story");
    steps.step("story: stage", || fresh_folder(&folder))?;
    let stage = Stage::new(project, trex, &folder)?;
    let mut story = Story { stage, app, trex, pictures: folder.join("pictures"), session: None };
    std::fs::create_dir_all(&story.pictures).context("cannot create the folder of pictures")?;
    let played = story.acts(steps);
    if played.is_err()
        && let Some(session) = &story.session
    {
        // What was on the screen says more than the error; where even that fails there is only the error.
        session.picture(&story.pictures.join("failed.png")).ok();
        let shown = session.run("return location.hash + '\\n' + document.body.innerText.slice(0, 3000)", &[]);
        println!("the window shows:\n{}", shown.ok().as_ref().and_then(|text| text.as_str()).unwrap_or("nothing"));
    }
    played
}

struct Story<'a> {
    stage: Stage,
    app: &'a Path,
    trex: &'a Path,
    pictures: PathBuf,
    session: Option<Session>,
}

impl Story<'_> {
    fn acts(&mut self, steps: &mut Steps) -> Result<()> {
        steps.step("story: the window opens", || self.open(&[]))?;
        let rows = write_rows(&self.stage.folder)?;
        steps.step("story: rows are dropped, profiled and become a task", || self.import(&rows))?;
        steps.step("story: a recipe is edited and run", || self.recipe(&rows))?;
        let workspace = steps.step("story: a run starts, its worker and the window are killed, it finishes", || {
            self.run_through(&rows)
        })?;
        steps.step("story: a node is looked at and exported", || self.inspect(&workspace))?;
        steps.step("story: a conversation with both models", || self.talk())?;
        steps.step("story: a trained model is served to other programs", || self.serve())?;
        steps.step("story: two tasks share the machine", || self.queue())?;
        steps.step("story: a second start comes to the same window", || self.start_again())?;
        steps.step("story: a run holds decisions, which are edited, rejected and approved, and is steered", || {
            held::play(self.session()?, &self.stage.folder, &self.pictures)
        })?;
        steps.step("story: an attempt to reach the network is listed", || self.attempt())?;
        steps.step("story: pictures and accessibility of every screen", || {
            screens::look_at_all(self.session()?, &self.pictures)
        })?;
        steps.step("story: quit and reopen", || self.reopen(&workspace))
    }

    fn session(&self) -> Result<&Session> {
        self.session.as_ref().context("the window is not open")
    }

    fn open(&mut self, arguments: &[&str]) -> Result<()> {
        self.session = Some(self.stage.open(self.app, arguments)?);
        Ok(())
    }

    /// By the real mouse, with a look at what the window says while the files hover.
    fn drop_files(&self, files: &[&Path]) -> Result<()> {
        let session = self.session()?;
        self.stage.drag(files, || {
            session.wait("the target of the drop", "document.querySelector('.drop li')", 10)?;
            session.picture(&self.pictures.join("drop.png"))
        })
    }

    fn import(&self, rows: &Path) -> Result<()> {
        let session = self.session()?;
        self.drop_files(&[rows])?;
        session.wait("the profile of the rows", "document.querySelector('[data-profiled=true]')", 30)?;
        session.keys("textarea", "Tell whether a review is positive or negative, by accuracy")?;
        session.wait("the drafted task", "document.querySelector('.cm-content')?.innerText.includes('metric')", 30)?;
        let said = "[...document.querySelectorAll('.fact .origin.said')].length";
        let said = session.run(&format!("return {said}"), &[])?.as_u64().unwrap_or(0);
        if said < 2 {
            bail!("{said} fields are marked as said, not kind and metric at least");
        }
        session.wait("rows in the list", "document.querySelector('.rows .words')", 20)?;
        session.click("[data-act=forecast]")?;
        session.wait("the forecast", "document.querySelector('[data-forecast=passed]')", 120)?;
        let told = session.run("return document.querySelectorAll('.forecast strong').length", &[])?;
        if told.as_u64() != Some(4) {
            bail!("the forecast tells {told} numbers, not memory, disk, time and the time of a trial");
        }
        session.run("document.querySelector('[data-forecast]').scrollIntoView({ block: 'center' })", &[])?;
        session.picture(&self.pictures.join("forecast.png"))
    }

    /// What is refused because the network is shut stands in Settings.
    fn attempt(&self) -> Result<()> {
        let mut papers = self.stage.command(&self.trex.to_string_lossy());
        let papers = papers.args(["net", "papers", "reviews"]).envs(self.stage.places()).env("TREX_OFFLINE", "1");
        if papers.status().context("trex cannot be started")?.success() {
            bail!("trex looks for papers although it is told to stay off the network");
        }
        let session = self.session()?;
        session.click("[data-screen=settings]")?;
        session.wait("the attempt", "document.querySelector('[data-attempts] .refused')", 20)?;
        let let_through = session.run("return document.querySelectorAll('[data-attempts] strong').length", &[])?;
        if let_through.as_u64() != Some(0) {
            bail!("{let_through} attempts were let through");
        }
        session.picture(&self.pictures.join("attempts.png"))
    }

    fn recipe(&self, rows: &Path) -> Result<()> {
        let session = self.session()?;
        let file = self.stage.folder.join("clean.toml");
        let text = format!(
            "name = \"clean\"\nseed = 1\n\n[[sources]]\npath = {}\n\n[[operators]]\nop = \"normalise\"\n\n\
             [[operators]]\nop = \"exact_dedup\"\n",
            json!(rows)
        );
        std::fs::write(&file, text).context("cannot write the recipe")?;
        self.drop_files(&[&file])?;
        session.wait("two steps", "document.querySelectorAll('[data-handle]').length === 2", 20)?;
        session.keys("[data-handle=\"0\"]", "\u{e015}")?;
        let moved = "document.querySelector('.cm-content')?.innerText.search('exact_dedup') \
                     < document.querySelector('.cm-content')?.innerText.search('normalise')";
        session.wait("the moved step in the text", moved, 10)?;
        session.click(".screen > .row button.primary")?;
        session.wait("rows as the model sees them", "document.querySelector('.seen mark')", 60)?;
        session.wait("rows that came out", "document.querySelector('.rows .words')", 20)?;
        let saved = std::fs::read_to_string(&file).context("the recipe is gone")?;
        if saved.find("exact_dedup") > saved.find("normalise") {
            bail!("the recipe on the disk is not the one on the screen");
        }
        Ok(())
    }

    fn run_through(&mut self, rows: &Path) -> Result<PathBuf> {
        let session = self.session()?;
        self.drop_files(&[rows])?;
        session.wait("the profile of the rows", "document.querySelector('[data-profiled=true]')", 30)?;
        session.keys("textarea", "Tell whether a review is positive or negative, by accuracy")?;
        session.wait("the drafted task", "document.querySelector('.cm-content')?.innerText.includes('metric')", 30)?;
        for (key, value) in [("trials", "6"), ("max_steps", "24"), ("per_device_train_batch_size", "8")] {
            session.fill(&format!(".form [data-key={key}]"), value)?;
        }
        session.wait("the form in the text", "document.querySelector('.cm-content').innerText.includes('= 24')", 10)?;
        session.click("section > .row button.primary")?;
        session.wait("the run", "document.querySelector('[data-status]')", 60)?;
        let workspace = newest_folder(&self.stage.folder.join("workspaces"))?;
        kill_worker(&workspace)?;
        println!("killed: a worker");
        session.wait(
            "trials after the killed worker",
            "document.querySelectorAll('[role=treeitem]').length > 2",
            120,
        )?;
        let window = pid_of(self.app)?;
        signal("-KILL", window)?;
        println!("killed: the window");
        // The session has no window any more, and says so.
        session.end().ok();
        self.session = None;
        self.open(&[])?;
        let session = self.session()?;
        session.wait("the finished run", "document.querySelector('[data-status=finished]')", 420)?;
        let outcome = session.ask("run_words", json!({ "workspace": workspace, "after": 0 }))?;
        let words = outcome.as_str().unwrap_or_default();
        for expected in ["again", "verdict"].iter().filter(|word| !words.contains(**word)) {
            println!("note: the run's words do not have {expected:?}");
        }
        Ok(workspace)
    }

    fn inspect(&self, workspace: &Path) -> Result<()> {
        let session = self.session()?;
        let variant = "[...document.querySelectorAll('[role=treeitem]')].map((item) => item.id.slice(5))\
                       .find((id) => /^s\\d+\\.e\\d+\\.[a-z]$/.test(id))";
        let id = session.wait("a variant", variant, 20)?;
        let id = id.as_str().context("a variant has no name")?;
        session.wait("the picture of the tree", "window.trexExplorer?.node_pos('base')", 30)?;
        self.click_on_canvas(id)?;
        session.wait("its details", &format!("document.querySelector('[data-node=\"{id}\"]')"), 20)?;
        session.keys("[role=tree]", "\u{e011}\u{e007}")?;
        session.wait("details of the base", "document.querySelector('[data-node=base]')", 20)?;
        let out = self.stage.folder.join("adapter");
        let arguments = json!({ "workspace": workspace, "id": id, "format": "peft", "out": out });
        session.ask("export_node", arguments)?;
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            if !out.join(file).is_file() {
                bail!("the export has no {file}");
            }
        }
        Ok(())
    }

    /// Two turns, the second with the first before it.
    fn talk(&self) -> Result<()> {
        let session = self.session()?;
        session.click("[data-screen=models]")?;
        for (at, words) in ["The scene was charming.", "And the ending?"].iter().enumerate() {
            session.keys("section form textarea", words)?;
            session.click("[data-ask]:not(:disabled)")?;
            let turns = format!("document.querySelectorAll('.talk li').length === {}", at + 1);
            session.wait("the answers", &turns, 60)?;
        }
        session.picture(&self.pictures.join("conversation.png"))
    }

    /// The address on the page is asked as another program asks it, and answers no more when the person has ended it.
    fn serve(&self) -> Result<()> {
        let session = self.session()?;
        session.click("[data-serve]")?;
        let url = session.wait("an address", "document.querySelector('[data-served]')?.dataset.served", 60)?;
        let url = url.as_str().context("the page shows no address")?.to_owned();
        let address = url.trim_start_matches("http://").trim_end_matches("/v1");
        let body = json!({ "messages": [{ "role": "user", "content": "what now?" }], "max_tokens": 4 }).to_string();
        let answer = posted(address, "/v1/chat/completions", &body)?;
        if !answer.contains("chat.completion") {
            bail!("{address} does not answer: {answer}");
        }
        session.picture(&self.pictures.join("served.png"))?;
        session.click("[data-serve-stop]")?;
        session.wait("nothing served", "!document.querySelector('[data-served]')", 20)?;
        match std::net::TcpStream::connect(address) {
            Ok(_) => bail!("{address} is still served"),
            Err(_) => Ok(()),
        }
    }

    /// The later one has the higher priority, and the list is worked off by a click.
    fn queue(&self) -> Result<()> {
        let session = self.session()?;
        let file = self.stage.folder.join("queued.toml");
        std::fs::write(&file, held::TASK).context("cannot write the task")?;
        for (name, priority) in [("queued-low", 0), ("queued-high", 1)] {
            let workspace = self.stage.folder.join("workspaces").join(name);
            let request = json!({
                "workspace": workspace, "task": file, "seed": 1, "model": null, "trials": 4, "new": false,
            });
            session.ask("queue_add", json!({ "request": request, "priority": priority }))?;
        }
        session.click("[data-screen=runs]")?;
        session.wait("both in the list", "document.querySelectorAll('[data-entry]').length === 2", 20)?;
        session.click("[data-work]")?;
        session.wait("the first turn", "document.querySelector('[data-entry=\"2\"][data-state=running]')", 30)?;
        session.picture(&self.pictures.join("queue.png"))?;
        let done = "document.querySelectorAll('[data-entry][data-state=done]').length === 2";
        session.wait("the end of both", done, 240).map(drop)
    }

    /// A node on the canvas is reached by the pointer, as by a person.
    fn click_on_canvas(&self, id: &str) -> Result<()> {
        let session = self.session()?;
        let at = session.run(
            "const box = document.querySelector('.tree-canvas canvas').getBoundingClientRect(); \
             const at = window.trexExplorer.node_pos(arguments[0]); return [box.x + at[0], box.y + at[1]]",
            &[json!(id)],
        )?;
        let place = |index: usize| at[index].as_f64().context("the node has no place");
        session.point(place(0)?, place(1)?)
    }

    fn start_again(&self) -> Result<()> {
        let mut second = self.stage.command(&self.app.to_string_lossy());
        let started = Instant::now();
        let ended = second.env("TREX_APP_CONFIG", self.stage.folder.join("settings")).status();
        if !ended.context("a second window cannot be started")?.success() {
            bail!("a second start fails");
        }
        println!("a second start ended after {:.1} s", started.elapsed().as_secs_f64());
        let request = self.stage.folder.join("settings/show-request");
        for _ in 0..40 {
            if !request.exists() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the first window does not hear the second")
    }

    fn reopen(&mut self, workspace: &Path) -> Result<()> {
        let state = |session: &Session| session.ask("run_words", json!({ "workspace": workspace, "after": 0 }));
        let before = state(self.session()?)?;
        self.session()?.end()?;
        self.session = None;
        self.open(&[&workspace.to_string_lossy()])?;
        let session = self.session()?;
        session.click("[data-screen=explore]")?;
        session.wait("the finished run", "document.querySelector('[data-status=finished]')", 30)?;
        if state(session)? != before {
            bail!("the run is not what it was before the window was closed");
        }
        session.end()
    }
}

/// Reviews with a word that says which kind they are, some twice, and one line that is no row.
fn write_rows(folder: &Path) -> Result<PathBuf> {
    const GOOD: [&str; 4] = ["wonderful", "touching", "brilliant", "charming"];
    const BAD: [&str; 4] = ["dull", "clumsy", "tedious", "dreadful"];
    let mut text = String::new();
    for number in 0..320 {
        let (words, label) = if number % 2 == 0 { (GOOD, "positive") } else { (BAD, "negative") };
        let word = words[number / 2 % 4];
        let scene = if number % 40 == 39 { 38 } else { number };
        let row = json!({ "prompt": format!("The scene {scene} of this film was {word}."), "completion": label });
        writeln!(text, "{row}").context("cannot write to a text")?;
    }
    text.push_str("this line is no row\n");
    let file = folder.join("reviews.jsonl");
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn newest_folder(parent: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(parent).with_context(|| format!("cannot list {}", parent.display()))?;
    let folders = entries.flatten().map(|entry| entry.path()).filter(|path| path.join("workspace.db").is_file());
    folders.max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok()).context("no workspace was made")
}

/// Kills the worker of a workspace's run as soon as there is one.
fn kill_worker(workspace: &Path) -> Result<()> {
    let end = Instant::now() + Duration::from_mins(2);
    while Instant::now() < end {
        let processes = processes();
        let runs: Vec<u32> = processes
            .iter()
            .filter(|process| process.line.contains(" run ") && process.line.contains(&*workspace.to_string_lossy()))
            .map(|process| process.pid)
            .collect();
        let worker = processes.iter().find(|process| runs.contains(&process.parent) && process.line.contains("worker"));
        if let Some(worker) = worker {
            return signal("-KILL", worker.pid);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("no worker was started")
}

fn pid_of(program: &Path) -> Result<u32> {
    let name = program.to_string_lossy();
    let found = processes().into_iter().find(|process| process.line.split(' ').next() == Some(&*name));
    found.map(|process| process.pid).context("the window has no process")
}

fn signal(kind: &str, pid: u32) -> Result<()> {
    let sent = answer(command("kill", Path::new("/")).args([kind, &pid.to_string()]));
    sent.map(drop).with_context(|| format!("process {pid} cannot be sent {kind}"))
}

/// A process.
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    /// Program and arguments.
    pub(super) line: String,
}

/// What runs on this machine, by `/proc`; a process that ends while it is read is left out.
pub(super) fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let read = |entry: std::fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name in parentheses may hold blanks, so what follows is counted from its end.
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        Some(Process { pid, parent, line: line.trim_end().to_owned() })
    };
    entries.filter_map(read).collect()
}

/// What a service on this machine answers, head and body.
fn posted(address: &str, path: &str, body: &str) -> Result<String> {
    let mut stream = std::net::TcpStream::connect(address).with_context(|| format!("nothing at {address}"))?;
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close");
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).context("cannot ask")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("cannot read the answer")?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_both_labels_and_one_bad_line() {
        let folder = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(write_rows(folder.path()).unwrap()).unwrap();
        let count = |word: &str| text.lines().filter(|line| line.contains(word)).count();
        assert_eq!((count("\"positive\""), count("\"negative\""), text.lines().count()), (160, 160, 321));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_among_the_running_ones() {
        let own = std::process::id();
        assert!(processes().iter().any(|process| process.pid == own && process.parent > 0));
    }
}
