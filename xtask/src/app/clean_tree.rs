//! The .deb in a clean Debian: installed by apt as a person does it, then used where there is no network.
//!
//! The tree is made by debootstrap with the suite and the mirror of this machine. What is used in it runs in a network
//! namespace of its own that has a loopback and nothing else, and in a mount namespace, so that nothing of it stays mounted.
//! Needs root and Linux; the namespace is entered by starting this program anew.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::bundle::Packages;
use super::stage::{self, Stage};
use super::{apt_install, story};
use crate::command::{answer, command, run};
use crate::demo::{DEMO_TASK, fresh_folder};
use crate::project::Project;
use crate::steps::Steps;

/// What the test of the window needs in the tree beside the package; a desktop has a font and graphics anyway.
const FOR_THE_TEST: &str = "webkit2gtk-driver fonts-dejavu-core libgl1-mesa-dri desktop-file-utils";
const TOOLS: &str = "debootstrap iproute2 rpm";
const DEMO: &str = "/root/demo";
const BUNDLE: &str = "/root/lab.trexkb";
const DESKTOP_ENTRY: &str = "usr/share/applications/TREX.desktop";
const MIME: &str = "application/x-trex-knowledge";

/// Installs the package into a new tree and uses it there.
pub(super) fn check(project: &Project, steps: &mut Steps, packages: &Packages) -> Result<()> {
    if let Some(why) = stage::missing(project) {
        bail!("no screen for the window: {why}");
    }
    let folder = project.target.join("bundle");
    let tree = folder.join("tree");
    steps.step("bundle: a clean Debian", || {
        let base = folder.join("base");
        make_base(project, &base)?;
        fresh_folder(&folder.join("pictures"))?;
        remove(&tree)?;
        run(command("cp", &project.root).arg("-a").args([&base, &tree]))
    })?;
    steps.step("bundle: installed by apt", || install(project, &tree, &packages.deb))?;
    steps.step("bundle: driver for the test", || {
        run(in_tree(project, &tree)
            .args(["apt-get", "install", "-y", "-q", "--no-install-recommends"])
            .args(FOR_THE_TEST.split(' ')))?;
        run(in_tree(project, &tree).args(["desktop-file-validate"]).arg(format!("/{DESKTOP_ENTRY}")))
    })?;
    let this = std::env::current_exe().context("this program has no path")?;
    let mut inside = command("unshare", &project.root);
    inside.args(["--net", "--mount", "--"]).arg(this).arg("bundle-inside").arg(&tree);
    run(&mut inside)
}

/// Installs what looking into packages and making a tree takes, where it is missing.
pub(super) fn tools(project: &Project) -> Result<()> {
    let is_there = |program: &str| answer(command("which", &project.root).arg(program)).is_some();
    if ["debootstrap", "ip", "rpm"].into_iter().all(is_there) {
        return Ok(());
    }
    apt_install(project, TOOLS)
}

/// Made once; every check works on a copy of it. It has its name only when it is whole.
fn make_base(project: &Project, base: &Path) -> Result<()> {
    if base.is_dir() {
        println!("found: {}", project.shown(base));
        return Ok(());
    }
    let sites = answer(command("apt-get", &project.root).args(["indextargets", "--format", "$(SITE) $(CODENAME)"]));
    let sites = sites.context("apt-get names no mirror")?;
    let (mirror, suite) = sites.lines().find_map(main_suite).context("no mirror of Debian is known")?;
    let part = base.with_extension("part");
    remove(&part)?;
    run(command("debootstrap", &project.root).args(["--variant=minbase", suite]).arg(&part).arg(mirror))?;
    std::fs::rename(&part, base).with_context(|| format!("cannot place {}", base.display()))
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
            Err(err).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The mirror of a release itself, not of its updates or of another maker's packages.
fn main_suite(line: &str) -> Option<(&str, &str)> {
    let (mirror, suite) = line.split_once(' ')?;
    let is_debian = mirror.trim_end_matches('/').ends_with("/debian");
    (is_debian && !suite.is_empty() && !suite.contains(['-', '/'])).then_some((mirror, suite))
}

/// A command in the tree, with nothing of this machine's environment.
fn in_tree(project: &Project, tree: &Path) -> Command {
    let mut command = command("chroot", &project.root);
    command.arg(tree).env_clear().envs(stage::TREE_ENVIRONMENT).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn install(project: &Project, tree: &Path, deb: &Path) -> Result<()> {
    std::fs::copy(deb, tree.join("root/trex.deb")).context("cannot copy the package into the tree")?;
    run(in_tree(project, tree).args(["apt-get", "update", "-qq"]))?;
    run(in_tree(project, tree).args(["apt-get", "install", "-y", "-q", "--no-install-recommends", "/root/trex.deb"]))?;
    for program in ["/usr/bin/trex", "/usr/bin/trex-app"] {
        let libraries = answer(in_tree(project, tree).args(["ldd", program])).context("ldd says nothing")?;
        let missing: Vec<&str> = libraries.lines().filter(|line| line.contains("not found")).collect();
        if !missing.is_empty() {
            bail!("{program} lacks\n{}", missing.join("\n"));
        }
    }
    let size = answer(in_tree(project, tree).args(["dpkg-query", "-W", "-f", "${Installed-Size} ${Depends}", "trex"]));
    println!("installed size in kB, and dependencies: {}", size.context("the package is not installed")?);
    check_desktop(tree)
}

/// The desktop finds the program, its icon and its kind of file.
fn check_desktop(tree: &Path) -> Result<()> {
    let read = |path: &str| {
        let file = tree.join(path);
        std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    let entry = read(DESKTOP_ENTRY)?;
    let value =
        |key: &str| entry.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
    let program = value("Exec").strip_suffix(" %f").context("the desktop entry hands no file over")?;
    if !tree.join("usr/bin").join(program).is_file() {
        bail!("the desktop entry starts {program}, which is not installed");
    }
    let icon = format!("usr/share/icons/hicolor/128x128/apps/{}.png", value("Icon"));
    if !tree.join(&icon).is_file() {
        bail!("the desktop entry has an icon that is not there: {icon}");
    }
    if !value("MimeType").split(';').any(|one| one == MIME) {
        bail!("the desktop entry opens no {MIME}: {}", value("MimeType"));
    }
    let globs = read("usr/share/mime/globs2")?;
    if !globs.lines().any(|line| line.ends_with(&format!("{MIME}:*.trexkb"))) {
        bail!("the desktop does not know *.trexkb as {MIME}");
    }
    println!("the desktop starts {program} with files of {MIME} (*.trexkb)");
    Ok(())
}

/// What happens in the namespace: the demo, and the window on its workspace and on a bundle.
pub(crate) fn inside(project: &Project, steps: &mut Steps, tree: &Path) -> Result<()> {
    steps.step("bundle: no network", || shut_in(project, tree))?;
    steps.step("bundle: the demo", || demo(project, tree))?;
    steps.step("bundle: the window", || window(project, tree))
}

/// Loopback only, and the file systems that programs expect.
fn shut_in(project: &Project, tree: &Path) -> Result<()> {
    let links = answer(command("ip", &project.root).args(["-o", "link"])).context("ip says nothing")?;
    if links.lines().any(|line| !line.contains(" lo:")) {
        bail!("this is no namespace of its own: {links}");
    }
    run(command("ip", &project.root).args(["link", "set", "lo", "up"]))?;
    let mount = |arguments: &[&str], at: &str| run(command("mount", &project.root).args(arguments).arg(tree.join(at)));
    mount(&["-t", "proc", "proc"], "proc")?;
    mount(&["--rbind", "/dev"], "dev")?;
    // Programs of the tree find the screen by its socket.
    let sockets = Path::new("/tmp/.X11-unix");
    std::fs::create_dir_all(sockets).context("no folder for the sockets of screens")?;
    std::fs::create_dir_all(tree.join("tmp/.X11-unix")).context("no folder for the sockets of screens")?;
    mount(&["--bind", "/tmp/.X11-unix"], "tmp/.X11-unix")
}

fn demo(project: &Project, tree: &Path) -> Result<()> {
    let program = |arguments: &[&str]| {
        let mut command = in_tree(project, tree);
        command.arg("trex").args(arguments);
        command
    };
    run(&mut program(&["run", DEMO_TASK, "--seed", "0", "--workspace", DEMO]))?;
    let ask = |arguments: &[&str]| -> Result<Value> {
        let said = answer(&mut program(arguments)).with_context(|| format!("no answer of trex {}", arguments[0]))?;
        serde_json::from_str(&said).context("the answer is not JSON")
    };
    let report = ask(&["report", "--json", "--workspace", DEMO])?;
    if report["status"] != "finished" {
        bail!("the demo is {}", report["status"]);
    }
    println!("verdict: {}, trials: {}", report["verdict"], report["trials"]);
    let attempts = ask(&["net", "log", "--json"])?;
    if attempts != json!([]) {
        bail!("something tried to leave the machine: {attempts}");
    }
    run(&mut program(&["kb", "export", BUNDLE]))
}

fn window(project: &Project, tree: &Path) -> Result<()> {
    let pictures = tree.parent().context("the tree lies in a folder")?.join("pictures");
    let stage = Stage::in_tree(project, tree, &pictures)?;
    let program = Path::new("/usr/bin/trex-app");
    let session = stage.open(program, &[DEMO])?;
    let home = session.ask("home", json!({}))?;
    if !home["problem"].is_null() {
        bail!("the window does not find its program: {}", home["problem"]);
    }
    session.click("[data-screen=explore]")?;
    session.wait("the finished run", "document.querySelector('[data-status=finished]')", 30)?;
    session.wait("the picture of the tree", "window.trexExplorer?.node_pos('base')", 30)?;
    std::thread::sleep(std::time::Duration::from_secs(1));
    session.picture(&pictures.join("explore.png"))?;
    println!("the window shows the demo's tree");
    session.end()?;
    // A start beside a window that is about to end would only call that one.
    wait_until_gone(program)?;
    let session = stage.open(program, &[BUNDLE])?;
    session.wait("what is in the bundle", "document.querySelector('[aria-labelledby=in-title] .records pre')", 30)?;
    session.picture(&pictures.join("bundle.png"))?;
    println!("the window shows what is in the bundle that it was started with");
    session.end()
}

fn wait_until_gone(program: &Path) -> Result<()> {
    let name = program.to_string_lossy();
    for _ in 0..300 {
        if !story::processes().iter().any(|process| process.line.split(' ').next() == Some(&*name)) {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    bail!("the first window does not end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_the_release() {
        let main = main_suite("http://mirror.example/debian bookworm");
        assert_eq!(main, Some(("http://mirror.example/debian", "bookworm")));
        for other in
            ["http://mirror.example/debian bookworm-updates", "http://x.example/node nodistro", "http://x/debian "]
        {
            assert_eq!(main_suite(other), None, "{other}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_desktop_entry_without_its_program_or_kind_of_file_is_refused() {
        let tree = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let file = tree.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        write("usr/share/mime/globs2", "50:application/x-trex-knowledge:*.trexkb\n");
        write("usr/share/icons/hicolor/128x128/apps/trex-app.png", "");
        let entry = |exec: &str, mime: &str| format!("[Desktop Entry]\nExec={exec}\nIcon=trex-app\nMimeType={mime}\n");
        let cases = [
            ("trex-app", MIME, "hands no file over"),
            ("trex-app %f", MIME, "which is not installed"),
            ("trex-app %f", "text/plain;", "opens no"),
        ];
        for (exec, mime, expected) in cases {
            write(DESKTOP_ENTRY, &entry(exec, mime));
            let err = check_desktop(tree.path()).unwrap_err().to_string();
            assert!(err.contains(expected), "{err}");
            if expected == "which is not installed" {
                write("usr/bin/trex-app", "");
            }
        }
        write(DESKTOP_ENTRY, &entry("trex-app %f", &format!("text/plain;{MIME};")));
        check_desktop(tree.path()).unwrap();
    }
}
