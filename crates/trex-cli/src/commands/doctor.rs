//! `trex doctor`: what this machine offers, what is missing, and what follows.

use serde::Serialize;
use trex_domain::Problem as _;
use trex_store::{Workspace, check_writable, free_bytes};
use trex_train::check_model_files;

use crate::args::DoctorArgs;
use crate::error::CliError;
use crate::output::Output;
use crate::{system, wiring};

/// One finding.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    ok: bool,
    detail: String,
    /// What to do, where something is to be done.
    hint: Option<String>,
}

impl Finding {
    fn good(what: &'static str, detail: String) -> Self {
        Self { what, ok: true, detail, hint: None }
    }

    fn bad(what: &'static str, detail: String, hint: Option<String>) -> Self {
        Self { what, ok: false, detail, hint }
    }

    /// An error with its code and its causes as the detail.
    fn error(what: &'static str, err: &CliError) -> Self {
        Self::bad(what, err.told(), err.hint())
    }

    fn text(&self) -> String {
        let word = if self.ok { "ok  " } else { "note" };
        let hint = self.hint.as_ref().map(|hint| format!("     hint: {hint}\n")).unwrap_or_default();
        format!("{word} {}: {}\n{hint}", self.what, self.detail)
    }
}

pub(crate) fn run(args: &DoctorArgs, output: &mut Output) -> Result<(), CliError> {
    let findings = vec![processors(), memory(), device(), cache(), models(), workspace(args), disk(args), network()];
    output.result(&findings, || findings.iter().map(Finding::text).collect())
}

fn processors() -> Finding {
    let count = system::num_processors();
    Finding::good("processors", format!("{count} threads, {}", vector_width()))
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
        return Finding::bad("memory", detail, None);
    }
    Finding::good("memory", format!("{:.1} GiB", bytes as f64 / f64::from(1u32 << 30)))
}

fn device() -> Finding {
    let detail = "cpu: this build has no CUDA or Metal worker".to_owned();
    Finding::good("device", detail)
}

fn cache() -> Finding {
    match system::cache_dir() {
        Ok(dir) => Finding::good("model folder", dir.display().to_string()),
        Err(err) => Finding::error("model folder", &err),
    }
}

/// Folders are used where they lie, so one may have been moved or deleted since it was taken in.
fn models() -> Finding {
    let models = match wiring::known_models() {
        Ok(models) => models,
        Err(err) => return Finding::error("models", &err),
    };
    let names: Vec<_> = models.keys().cloned().collect();
    let broken: Vec<_> = models
        .into_iter()
        .filter_map(|(name, dir)| Some((CliError::from(check_model_files(&dir).err()?).told(), name)))
        .collect();
    let Some((_, first)) = broken.first() else {
        return Finding::good("models", names.join(", "));
    };
    let told: Vec<_> = broken.iter().map(|(told, name)| format!("{name} cannot be used, {told}")).collect();
    let hint = format!(
        "put the files back where they were, or take the model in anew with `trex model add SOURCE --name {first}`"
    );
    Finding::bad("models", format!("{}; {}", names.join(", "), told.join("; ")), Some(hint))
}

fn workspace(args: &DoctorArgs) -> Finding {
    let dir = &args.workspace.workspace;
    let runs = match Workspace::open_reader(dir).and_then(|reader| reader.runs()) {
        Ok(runs) => runs,
        Err(err) => return Finding::error("workspace", &err.into()),
    };
    let detail = format!("{}, number of runs: {}", dir.display(), runs.len());
    match check_writable(dir) {
        Ok(()) => Finding::good("workspace", detail),
        Err(err) => {
            let hint = err.hint();
            let detail = format!("{detail}; it can only be looked at, {}", CliError::from(err).told());
            Finding::bad("workspace", detail, hint)
        }
    }
}

fn disk(args: &DoctorArgs) -> Finding {
    match free_bytes(&args.workspace.workspace) {
        Ok(bytes) => Finding::good("disk", format!("{:.1} GiB free", bytes as f64 / f64::from(1u32 << 30))),
        Err(err) => Finding::error("disk", &err.into()),
    }
}

fn network() -> Finding {
    let detail = "used by `trex model add hub:…` only; HF_HUB_OFFLINE=1 or TREX_OFFLINE=1 forbids it".to_owned();
    Finding::good("network", detail)
}
