//! A real llama.cpp server with a real small model. Skips itself, and says so, where either is absent.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use trex_domain::{AnswerForm, LanguageModel as _, ToTheEnd};
use trex_research::llm::{CallLimits, Endpoint, RemoteModel, SleepingPause, Surroundings, ask_structured};
use trex_testkit::{FixedClock, START};

use crate::llm::{gate, in_range, question, request};

/// Serves the model on a free port, says which, and ends when its input does.
const SCRIPT: &str = r#"
import sys
try:
    import xllamacpp
except ImportError:
    print("no xllamacpp", flush=True)
    sys.exit(0)
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx = 2048
params.n_parallel = 1
params.port = 0
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"#;

struct Served {
    child: Child,
    address: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn model_file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("TREX_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("trex")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache").join("trex")))?;
    let entries = std::fs::read_dir(cache.join("smollm2-135m-instruct")).ok()?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "gguf"))
}

fn serve() -> Option<Served> {
    let model = model_file()?;
    let python = std::env::var("TREX_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut command = Command::new(python);
    command.arg("-c").arg(SCRIPT).arg(model).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let output = BufReader::new(child.stdout.take()?);
    let address = output.lines().map_while(Result::ok).find(|line| line.starts_with("http://"));
    let Some(address) = address else {
        child.kill().ok();
        child.wait().ok();
        return None;
    };
    Some(Served { child, address })
}

#[test]
fn a_real_server_answers_in_text_and_in_the_schema() {
    let Some(served) = serve() else {
        println!(
            "skipped: 1 server (llama.cpp with smollm2-135m-instruct); `cargo xtask setup` fetches the model, \
             TREX_BENCH_PYTHON names a python with xllamacpp"
        );
        return;
    };
    let endpoint = Endpoint::parse(&served.address, |_| None).unwrap();
    let surroundings =
        Surroundings { gate: gate(true), clock: Arc::new(FixedClock(START)), pause: Arc::new(SleepingPause) };
    let model = RemoteModel::new(endpoint, None, CallLimits::default(), surroundings);
    let reply = model.ask(&request(AnswerForm::Text), &mut ToTheEnd).unwrap();
    assert!(!reply.text.is_empty() && reply.usage.prompt_tokens > 5 && reply.usage.completion_tokens > 0, "{reply:?}");
    let asked = ask_structured(&model, &question(), &in_range, &mut ToTheEnd);
    let choice = asked.answer.unwrap();
    assert!((1..=3).contains(&choice.number), "{choice:?}");
}
