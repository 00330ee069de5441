//! A screen that nobody sees, a window manager on it, and the driver of the window: what a test of the real window takes.
//! Everything that is started here ends with the [`Stage`], in its own process group, and nothing else is touched.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::webdriver::Session;
use crate::command::{answer, command};
use crate::project::Project;

/// What the test of the window needs beside the window, on Debian; a font with Chinese signs for its pictures.
pub(super) const PACKAGES: &str = "webkit2gtk-driver xvfb openbox xdotool python3-gi gir1.2-gtk-3.0 fonts-dejavu-core \
                                   fonts-droid-fallback libgl1-mesa-dri libegl1 libgles2";

const PROGRAMS: &[&str] = &["Xvfb", "WebKitWebDriver", "openbox", "xdotool"];

/// The system's own Python, for which Debian packs GTK.
const PYTHON: &str = "/usr/bin/python3";

/// Size of the screen; the window is a little smaller, so that there is room to drag from.
const SCREEN: &str = "1600x1000x24";
const WINDOW: [&str; 2] = ["1400", "880"];
/// Where files are dragged from: beside the window.
const SOURCE: [i32; 2] = [1480, 930];

/// What a program in a tree of its own is told of its surroundings.
pub(super) const TREE_ENVIRONMENT: [(&str, &str); 3] =
    [("HOME", "/root"), ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "en_US.UTF-8")];

/// Why there can be no stage on this machine.
pub(super) fn missing(project: &Project) -> Option<String> {
    let absent = |name: &&&str| answer(command("which", &project.root).arg(name)).is_none();
    let mut absent: Vec<&str> = PROGRAMS.iter().filter(absent).copied().collect();
    let gtk = "import gi; gi.require_version('Gtk', '3.0'); from gi.repository import Gtk";
    if answer(command(PYTHON, &project.root).args(["-c", gtk])).is_none() {
        absent.push("GTK 3 for Python");
    }
    (!absent.is_empty()).then(|| format!("{} missing (on Debian: apt-get install {PACKAGES})", absent.join(", ")))
}

/// A screen with a driver; folders and environment of the window.
pub(super) struct Stage {
    root: PathBuf,
    display: String,
    port: u16,
    children: Vec<Child>,
    /// Everything of this stage: settings, workspaces, knowledge, models.
    pub(super) folder: PathBuf,
}

impl Stage {
    /// Sets it up for a window that finds `trex` at a place.
    pub(super) fn new(project: &Project, trex: &Path, folder: &Path) -> Result<Self> {
        let mut stage = Self::with_screen(project, folder)?;
        let driver = stage.driver(trex);
        stage.start_driver(driver)?;
        Ok(stage)
    }

    fn driver(&self, trex: &Path) -> Command {
        let mut driver = self.command("WebKitWebDriver");
        driver
            .env("TREX_PROGRAM", trex)
            .env("TREX_APP_CONFIG", self.folder.join("settings"))
            .env("TREX_WORKSPACES", self.folder.join("workspaces"))
            .envs(self.places());
        driver
    }

    /// Where programs of this stage keep what is not a workspace's, so that they neither see nor change what is a person's.
    pub(super) fn places(&self) -> [(&'static str, PathBuf); 2] {
        [("TREX_KNOWLEDGE", self.folder.join("knowledge.db")), ("TREX_CACHE", self.folder.join("cache"))]
    }

    /// What the child that was started last says first.
    fn first_line(&mut self, name: &str) -> Result<String> {
        let out = self.children.last_mut().and_then(|child| child.stdout.take());
        let mut line = String::new();
        BufReader::new(out.with_context(|| format!("{name} says nothing"))?)
            .read_line(&mut line)
            .with_context(|| format!("{name} says nothing"))?;
        Ok(line.trim().to_owned())
    }

    /// For a window that is installed in a tree of its own, with nothing of this machine but the screen.
    pub(super) fn in_tree(project: &Project, tree: &Path, folder: &Path) -> Result<Self> {
        let mut stage = Self::with_screen(project, folder)?;
        let mut driver = stage.command("chroot");
        driver.env_clear().envs(TREE_ENVIRONMENT).env("DISPLAY", &stage.display).arg(tree).arg("WebKitWebDriver");
        stage.start_driver(driver)?;
        Ok(stage)
    }

    fn with_screen(project: &Project, folder: &Path) -> Result<Self> {
        let mut stage = Self {
            root: project.root.clone(),
            display: String::new(),
            port: free_port()?,
            children: Vec::new(),
            folder: folder.to_owned(),
        };
        stage.start_screen()?;
        let mut openbox = stage.command("openbox");
        stage.start(openbox.stdout(Stdio::null()).stderr(Stdio::null()))?;
        Ok(stage)
    }

    fn start_driver(&mut self, mut driver: Command) -> Result<()> {
        let log = std::fs::File::create(self.folder.join("window.log")).context("cannot write window.log")?;
        driver
            .args(["--host=127.0.0.1", &format!("--port={}", self.port)])
            .env("TAURI_AUTOMATION", "true")
            .env("TAURI_WEBVIEW_AUTOMATION", "true")
            .stdout(Stdio::null())
            .stderr(log);
        self.start(&mut driver)?;
        self.wait_for_driver()
    }

    /// Opens the window and waits until its page is ready.
    pub(super) fn open(&self, program: &Path, arguments: &[&str]) -> Result<Session> {
        let session = self.open_unplaced(program, arguments)?;
        self.place_window()?;
        Ok(session)
    }

    /// The same, with the window wherever it comes up.
    pub(super) fn open_unplaced(&self, program: &Path, arguments: &[&str]) -> Result<Session> {
        let session = Session::begin(self.port, program, arguments)?;
        session.wait("the page is ready", "document.querySelector('main[data-ready=true]') !== null", 60)?;
        Ok(session)
    }

    /// Drags files over the window with the mouse, has a look, and drops them in its middle.
    pub(super) fn drag(&self, files: &[&Path], meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut child = self.start_source(files)?;
        pause(400);
        let [x, y] = SOURCE;
        self.mouse(&["mousemove", &(x + 20).to_string(), &(y + 15).to_string(), "mousedown", "1"])?;
        for step in 1..=12 {
            let (to_x, to_y) = (x + (700 - x) * step / 12, y + (430 - y) * step / 12);
            self.mouse(&["mousemove", &to_x.to_string(), &to_y.to_string()])?;
            pause(40);
        }
        pause(500);
        let looked = meanwhile();
        self.mouse(&["mousemove", "702", "432", "mouseup", "1"])?;
        pause(300);
        drop(child.stdin.take());
        child.wait().context("the source of the drag does not end")?;
        looked
    }

    /// A small window to drag from. On a busy machine it may fail to come up the first time.
    fn start_source(&self, files: &[&Path]) -> Result<Child> {
        const ATTEMPTS: usize = 3;
        for _ in 0..ATTEMPTS {
            let mut source = self.command(PYTHON);
            source.arg(self.root.join("scripts/drag-source.py")).args(SOURCE.map(|at| at.to_string())).args(files);
            let mut child =
                source.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start python3")?;
            let mut line = String::new();
            let said = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
            if said.is_some_and(|said| said.is_ok()) && line.trim() == "ready" {
                return Ok(child);
            }
            child.wait().context("the source of the drag does not end")?;
            pause(500);
        }
        bail!("the source of the drag does not come up")
    }

    /// A program on this screen.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = command(program, &self.root);
        command.env("DISPLAY", &self.display).env("LANG", "en_US.UTF-8").env_remove("WAYLAND_DISPLAY");
        command
    }

    fn mouse(&self, arguments: &[&str]) -> Result<()> {
        let done = self.command("xdotool").args(arguments).status().context("cannot start xdotool")?;
        if !done.success() {
            bail!("xdotool {} failed", arguments.join(" "));
        }
        Ok(())
    }

    /// The same place and size each time, so that pictures can be compared.
    fn place_window(&self) -> Result<()> {
        let found = answer(self.command("xdotool").args(["search", "--sync", "--onlyvisible", "--name", "^TREX$"]));
        let id = found.as_deref().and_then(|ids| ids.lines().next()).context("there is no window")?.to_owned();
        self.mouse(&["windowmove", &id, "0", "0"])?;
        self.mouse(&["windowsize", &id, WINDOW[0], WINDOW[1]])?;
        pause(300);
        Ok(())
    }

    /// The server says which display it took.
    fn start_screen(&mut self) -> Result<()> {
        let mut server = command("Xvfb", &self.root);
        server.args(["-displayfd", "1", "-screen", "0", SCREEN, "-nolisten", "tcp"]);
        self.start(server.stdout(Stdio::piped()).stderr(Stdio::null()))?;
        let line = self.first_line("Xvfb")?;
        let number: u32 = line.parse().context("Xvfb names no display")?;
        self.display = format!(":{number}");
        Ok(())
    }

    fn start(&mut self, command: &mut Command) -> Result<()> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let name = command.get_program().to_string_lossy().into_owned();
        self.children.push(command.spawn().with_context(|| format!("cannot start {name}"))?);
        Ok(())
    }

    fn wait_for_driver(&self) -> Result<()> {
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            pause(50);
        }
        bail!("the driver of the window does not come up")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for mut child in self.children.drain(..).rev() {
            // The group: a killed driver would leave its window behind. It may have ended by itself.
            let group = format!("-{}", child.id());
            answer(command("kill", &self.root).args(["-TERM", "--", &group]));
            child.wait().ok();
        }
    }
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr().context("no free port")?.port())
}
