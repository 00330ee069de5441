//! Starts the program in a folder of its own and keeps what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A task of few items and few steps, gentle enough that no trial diverges. Prompts and options come with the items.
pub(crate) const TINY: &str = r#"
name = "tiny"
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
trials = 6

[search]
rungs = 2
batch = 2
base_seeds = 2
finalist_seeds = 1
"#;

/// A folder with everything of one test: tasks, data, workspaces and the model cache.
pub(crate) struct Program {
    dir: TempDir,
}

impl Program {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// A folder with [`TINY`] as `tiny.toml`.
    pub(crate) fn with_tiny_task() -> Self {
        let program = Self::new();
        program.write("tiny.toml", TINY);
        program
    }

    /// A path below the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file below the folder.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The program with these arguments; relative paths start from the folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trex"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("TREX_CACHE", self.path("cache"))
            .env("TREX_CONFIG", self.path("config"))
            // Runs of one test must not learn from each other unless it is about that.
            .env("TREX_KNOWLEDGE", "off")
            // The keys of whoever runs the tests are none of theirs.
            .env("TREX_SECRET_STORE", "off")
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HOME", self.path("hub"))
            .env_remove("TREX_WORKSPACE")
            .env_remove("TREX_QUEUE")
            .env_remove("TREX_DEVICE")
            .env_remove("TREX_WORKER")
            .env_remove("TREX_RESEARCHER")
            .env_remove("TREX_RESEARCHER_KEY")
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        Done::new(args, self.command(args).output().unwrap())
    }

    /// Runs it to its end and expects success.
    #[track_caller]
    pub(crate) fn succeed(&self, args: &[&str]) -> Done {
        let done = self.run(args);
        assert_eq!(done.code, Some(0), "{done:?}");
        done
    }

    /// The one JSON document of a command that succeeds.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let done = self.succeed(&[args, &["--json"]].concat());
        let [value] = done.lines().try_into().unwrap_or_else(|_| panic!("one line of JSON: {done:?}"));
        value
    }

    /// The recorded events of the last run of a workspace.
    #[track_caller]
    pub(crate) fn events(&self, workspace: &str) -> Vec<Value> {
        self.succeed(&["watch", "--no-follow", "--json", "--workspace", workspace]).lines()
    }

    /// Runs it and expects to be refused with this exit code and error code; the same in text and in JSON.
    #[track_caller]
    pub(crate) fn refused(&self, args: &[&str], exit: i32, code: &str) -> Refusal {
        let text = self.run(args);
        assert_eq!(text.code, Some(exit), "{text:?}");
        let done = self.run(&[args, &["--json"]].concat());
        assert_eq!(done.code, Some(exit), "{done:?}");
        let error = done.lines().pop().unwrap_or_else(|| panic!("no line of JSON: {done:?}"));
        assert_eq!((&error["type"], &error["code"]), (&"error".into(), &code.into()), "{done:?}");
        let field = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        let refusal = Refusal { message: field("message"), hint: field("hint") };
        assert!(!refusal.hint.is_empty() && !refusal.message.is_empty(), "{error}");
        // Numbers may differ between the two calls: the free space of a disk is never the same twice.
        let wordless = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
        for part in [&format!("error[{code}]"), &refusal.message, &refusal.hint] {
            assert!(wordless(&text.stderr).contains(&wordless(part)), "{part:?} is not in {text:?}");
        }
        refusal
    }
}

/// What an error tells.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    /// Only for messages of failed assertions.
    #[expect(dead_code, reason = "shown by Debug")]
    args: Vec<String>,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn new(args: &[&str], output: Output) -> Self {
        Self {
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output as lines of JSON.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(parse).collect()
    }
}

/// A line of JSON.
#[track_caller]
pub(crate) fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line:?}"))
}

/// Names and contents of all files below a folder; empty where there is none.
pub(crate) fn files_below(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.is_file() {
            let content = fs::read(&path).unwrap();
            files.push((path, content));
        }
    }
    files.sort();
    files
}
