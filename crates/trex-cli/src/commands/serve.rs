//! `trex serve NODE`: a trained model behind OpenAI's chat completions, for programs of this machine.
//!
//! The model runs in this process, which has nothing else to lose: a workspace is only read.

mod protocol;
mod voice;
mod web;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use trex_domain::{Backend, Clock as _, EvalJob, EvalMode, Metric, ModelFacts, RunState, WorkerEvent};
use trex_engine::trained_weights;
use trex_fs::BlobStore;
use trex_train::{EventSink, Speaker};

use self::voice::Voice;
use self::web::Service;
use crate::args::serve::ServeArgs;
use crate::commands::report::latest;
use crate::error::{CliError, CommandError};
use crate::output::Output;
use crate::researcher as models;
use crate::system::{self, SystemClock};
use crate::wiring;

/// Name of the untouched model on the command line.
const BASE: &str = "base";

pub(crate) fn run(args: &ServeArgs, output: &mut Output) -> Result<(), CliError> {
    check_reach(args)?;
    let state = latest(&args.workspace)?.state;
    let task = state.task()?.clone();
    let model = wiring::find_model(&task.model.0)?;
    if state.model.is_some_and(|hash| hash != model.hash) {
        return Err(trex_engine::EngineError::ModelChanged { name: model.name }.into());
    }
    let (name, adapter) = wanted(args, &state)?;
    // A port that is taken is said before the model is loaded.
    let address = SocketAddr::new(args.host, args.port);
    let no_port = |source| CommandError::CannotListen { address, source };
    let listener = TcpListener::bind(address).map_err(no_port)?;
    let bound = listener.local_addr().map_err(no_port)?;
    system::catch_stop_signals();
    if args.until_input_ends {
        std::thread::spawn(|| {
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
            system::request_stop();
        });
    }
    let job = loading(args, &state, &model, adapter)?;
    let speaker = Speaker::open(&job, &mut Told)?;
    let room = speaker.room();
    let (voice, thread) = Voice::start(speaker);
    let url = format!("http://{bound}/v1");
    let said = serde_json::json!({ "type": "serving", "url": url, "model": name, "max_tokens": room });
    output.result(&said, || format!("{name} is served at {url}, with room for {room} tokens; Ctrl-C ends it"))?;
    let service = Service {
        voice,
        name,
        generation: task.generation,
        started: SystemClock.now(),
        host: args.host,
        key: args.key.clone().filter(|key| !key.is_empty()),
        answered: AtomicU64::new(0),
    };
    web::serve(listener, service).map_err(no_port)?;
    // The thread ends when nobody can ask any more; what it was about to say is said to nobody.
    drop(thread);
    Ok(())
}

/// Who may be reached by other machines asks them for a key, and the switch that keeps this one offline is off.
fn check_reach(args: &ServeArgs) -> Result<(), CliError> {
    if args.host.is_loopback() {
        return Ok(());
    }
    if models::net_gate()?.is_offline() {
        return Err(CommandError::ServeOffline { host: args.host }.into());
    }
    if args.key.as_ref().is_none_or(String::is_empty) {
        return Err(CommandError::ServeWithoutKey { host: args.host }.into());
    }
    Ok(())
}

/// The name that clients see, and what was trained.
fn wanted(args: &ServeArgs, state: &RunState) -> Result<(String, Option<PathBuf>), CliError> {
    let task = &state.task()?.name;
    if args.node == BASE {
        return Ok((format!("{task}:{BASE}"), None));
    }
    let (key, adapter) = trained_weights(state, &args.node)?;
    let blobs = BlobStore::new(args.workspace.workspace.join("blobs"));
    Ok((format!("{task}:{}", key.0), Some(blobs.path(&adapter))))
}

/// What a job of scoring would load.
fn loading(
    args: &ServeArgs,
    state: &RunState,
    model: &ModelFacts,
    adapter: Option<PathBuf>,
) -> Result<EvalJob, CliError> {
    let task = state.task()?;
    Ok(EvalJob {
        model_dir: model.dir.clone(),
        adapter,
        items: PathBuf::new(),
        take: 0,
        metric: Metric::ExactMatch,
        mode: EvalMode::Choice,
        seed: 0,
        blobs_dir: PathBuf::new(),
        threads: args.threads.unwrap_or_else(system::num_processors),
        backend: Backend::Auto,
        device: args.device.unwrap_or(task.device),
        precision: task.train.precision,
        quantization: task.train.quantization,
    })
}

/// Notes of loading go where errors go, so that what is printed stays one document.
struct Told;

impl EventSink for Told {
    fn send(&mut self, event: WorkerEvent) -> bool {
        if let WorkerEvent::Warning { message } = event {
            eprintln!("{message}");
        }
        true
    }
}
