//! `trex doctor`: what this machine offers, what is missing, and what follows.

use serde::Serialize;
use trex_store::{Workspace, free_bytes};

use crate::args::DoctorArgs;
use crate::commands::data_rows;
use crate::error::CliError;
use crate::output::Output;
use crate::{measures, system, wiring};

/// One finding.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    ok: bool,
    detail: String,
}

pub(crate) fn run(args: &DoctorArgs, output: &mut Output) -> Result<(), CliError> {
    let machine = [processors(), memory(), device()];
    let files = [cache(), models(), embedder(), workspace(args), disk(args), network()];
    let findings: Vec<Finding> = machine.into_iter().chain(files).collect();
    output.result(&findings, || {
        let line = |finding: &Finding| {
            format!("{} {}: {}\n", if finding.ok { "ok  " } else { "note" }, finding.what, finding.detail)
        };
        findings.iter().map(line).collect()
    })
}

fn processors() -> Finding {
    let count = system::num_processors();
    Finding { what: "processors", ok: true, detail: format!("{count} threads, {}", vector_width()) }
}

/// The widest vector instructions that the matrix product will pick at run time.
fn vector_width() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") {
            return "AVX-512";
        }
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            return "AVX2 (training is about half as fast as with AVX-512)";
        }
    }
    "no wide vector instructions of x86; training is slower"
}

fn memory() -> Finding {
    let bytes = system::machine_bytes();
    if bytes == 0 {
        let detail = "unknown on this system: the verifier cannot refuse what does not fit".to_owned();
        return Finding { what: "memory", ok: false, detail };
    }
    Finding { what: "memory", ok: true, detail: format!("{:.1} GiB", bytes as f64 / f64::from(1u32 << 30)) }
}

fn device() -> Finding {
    let detail = "cpu: this build has no CUDA or Metal worker".to_owned();
    Finding { what: "device", ok: true, detail }
}

fn cache() -> Finding {
    match system::cache_dir() {
        Ok(dir) => Finding { what: "model folder", ok: true, detail: dir.display().to_string() },
        Err(err) => Finding { what: "model folder", ok: false, detail: err.text() },
    }
}

fn models() -> Finding {
    match wiring::known_models() {
        Ok(models) => {
            let names: Vec<_> = models.into_keys().collect();
            Finding { what: "models", ok: true, detail: names.join(", ") }
        }
        Err(err) => Finding { what: "models", ok: false, detail: err.text() },
    }
}

fn embedder() -> Finding {
    let what = "embedding model";
    match measures::find_embedder() {
        Ok(Some(facts)) => {
            let size = facts.num_parameters as f64 / 1e6;
            let detail = format!("{}, {size:.0} M parameters, {} dimensions", measures::EMBEDDER, facts.width);
            Finding { what, ok: true, detail }
        }
        Ok(None) => {
            let detail = format!("{}: semantic steps pass rows on, search compares words", data_rows::no_embedder());
            Finding { what, ok: false, detail }
        }
        Err(err) => Finding { what, ok: false, detail: err.text() },
    }
}

fn workspace(args: &DoctorArgs) -> Finding {
    let dir = &args.workspace.workspace;
    match Workspace::open_reader(dir).and_then(|reader| reader.runs()) {
        Ok(runs) => Finding {
            what: "workspace",
            ok: true,
            detail: format!("{}, number of runs: {}", dir.display(), runs.len()),
        },
        Err(err) => Finding { what: "workspace", ok: false, detail: CliError::from(err).text() },
    }
}

fn disk(args: &DoctorArgs) -> Finding {
    match free_bytes(&args.workspace.workspace) {
        Ok(bytes) => {
            Finding { what: "disk", ok: true, detail: format!("{:.1} GiB free", bytes as f64 / f64::from(1u32 << 30)) }
        }
        Err(err) => Finding { what: "disk", ok: false, detail: CliError::from(err).text() },
    }
}

fn network() -> Finding {
    let detail = "used by `trex model add hub:…` only; HF_HUB_OFFLINE=1 or TREX_OFFLINE=1 forbids it".to_owned();
    Finding { what: "network", ok: true, detail }
}
