//! `trex export`: a trained node in the forms that other tools load, scored anew before it appears.

use std::io::{ErrorKind, IsTerminal as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;
use trex_domain::{
    ItemScore, JobControl, ModelCard, ModelFacts, Problem as _, Quantization, RunState, TrainMethod, TrialKey,
    WorkerEvent,
};
use trex_engine::{
    ExportCheck, ExportPrecision, RunSettings, Weights, WorkerProcesses, score_on_select, trained_weights,
};
use trex_fs::{BlobStore, FsError};
use trex_train::{
    ExportForm, ExportSource, Exported, FloatType, GgufEncoding, MAX_SHARD_BYTES, TrainError, export_model,
};

use crate::args::MachineArgs;
use crate::args::export::{ExportArgs, FloatName, FormName, QuantName};
use crate::commands::report::{Latest, latest};
use crate::error::{CliError, CommandError};
use crate::output::Output;
use crate::wiring;

/// One form that was written and agreed.
#[derive(Debug, Serialize)]
struct FormResult {
    form: &'static str,
    encoding: String,
    path: PathBuf,
    check: ExportCheck,
    warnings: Vec<String>,
}

pub(crate) fn run(args: &ExportArgs, output: &mut Output) -> Result<(), CliError> {
    let Latest { run, state, .. } = latest(&args.workspace)?;
    let dir = args.workspace.workspace.as_path();
    let (key, adapter) = trained_weights(&state, &args.node)?;
    let model = wiring::find_model(&state.task()?.model.0)?;
    if state.model.is_some_and(|hash| hash != model.hash) {
        return Err(trex_engine::EngineError::ModelChanged { name: model.name }.into());
    }
    let forms = forms_of(&state, &key, args)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => dir.join("exports").join(run.to_string()).join(format!("{}-{}", key.0, args.format.name())),
    };
    let place = Place::prepare(&out)?;
    let mut card = ModelCard::of_variant(&state, &run.to_string(), &key.0);
    wiring::name_base(&mut card, &model)?;
    card.license.clone_from(&model.license);
    let machine = MachineArgs { threads: args.threads, device: args.device, reserve_bytes: 0, workers: 1 };
    let settings = wiring::run_settings(dir, model.clone(), &machine);
    let adapter = BlobStore::new(dir.join("blobs")).path(&adapter);
    let workers = wiring::workers(&settings, state.task()?)?;
    let mut job =
        ExportJob { state: &state, settings: &settings, workers, model: &model, adapter, card, place: &place };
    let expected = job.expected(&key)?;
    let mut results = Vec::new();
    for form in forms {
        results.push(job.export(form, args, &expected)?);
    }
    place.finish()?;
    let value = json!({"type": "export", "node": key.0, "out": out, "forms": results});
    output.result(&value, || text(&out, &results))
}

/// The forms that are wanted and can be had: where all weights were trained there is no adapter to write.
fn forms_of(state: &RunState, key: &TrialKey, args: &ExportArgs) -> Result<Vec<FormName>, CliError> {
    let method = state.variants.get(&key.0).map(|record| record.variant.config.method);
    let mut forms = args.format.forms();
    if method == Some(TrainMethod::Full) {
        if args.format.needs_adapter() {
            let name = key.0.to_string();
            return Err(CommandError::NoAdapter { name, form: args.format.name() }.into());
        }
        forms.retain(|form| !form.needs_adapter());
    }
    Ok(forms)
}

fn text(out: &Path, results: &[FormResult]) -> String {
    let mut lines = Vec::new();
    for result in results {
        let ExportCheck { n, expected, found, gold_logprob_diff, .. } = &result.check;
        let likelihood = gold_logprob_diff.map_or_else(String::new, |diff| format!(", gold log-likelihood ±{diff:.5}"));
        lines.push(format!(
            "{} ({}): {}\n  agrees on {n} items: {expected:.4} trained, {found:.4} exported{likelihood}",
            result.form,
            result.encoding,
            result.path.display()
        ));
        lines.extend(result.warnings.iter().map(|warning| format!("  warning: {warning}")));
    }
    lines.push(format!("written: {}", out.display()));
    lines.join("\n")
}

/// Where the export appears, all at once: it is made beside that place and moved there at the end.
struct Place {
    out: PathBuf,
    unfinished: PathBuf,
}

impl Place {
    fn prepare(out: &Path) -> Result<Self, CliError> {
        let is_free = !out.exists() || out.read_dir().is_ok_and(|mut entries| entries.next().is_none());
        let Some(name) = out.file_name().filter(|_| is_free) else {
            return Err(CommandError::OutputExists { path: out.to_owned() }.into());
        };
        let name = format!(".{}.unfinished-{}", name.to_string_lossy(), std::process::id());
        let unfinished = out.with_file_name(name);
        let made = trex_fs::remove_dir_all(&unfinished).and_then(|()| trex_fs::create_dir_all(&unfinished));
        made.map_err(|err| unwritable(out, err))?;
        Ok(Self { out: out.to_owned(), unfinished })
    }

    fn finish(&self) -> Result<(), CliError> {
        trex_fs::remove_dir_all(&self.scratch())?;
        // An empty folder may stand there.
        trex_fs::remove_dir_all(&self.out)?;
        let renamed = std::fs::rename(&self.unfinished, &self.out);
        renamed.map_err(|err| unwritable(&self.out, FsError::io("rename to", &self.out, err)))
    }

    /// For what only the check needs.
    fn scratch(&self) -> PathBuf {
        self.unfinished.join(".check")
    }
}

fn is_full(err: &std::io::Error) -> bool {
    matches!(err.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// What is wrong with the place, where it is the place: a disk that is full is told as that.
fn unwritable(out: &Path, err: FsError) -> CliError {
    match err {
        FsError::Io { source, .. } if !is_full(&source) => {
            CommandError::OutputUnwritable { path: out.to_owned(), source }.into()
        }
        err => err.into(),
    }
}

impl Drop for Place {
    /// Whatever happened, nothing half-written is left behind.
    fn drop(&mut self) {
        trex_fs::remove_dir_all(&self.unfinished).ok();
    }
}

struct ExportJob<'a> {
    state: &'a RunState,
    settings: &'a RunSettings,
    workers: WorkerProcesses,
    model: &'a ModelFacts,
    adapter: PathBuf,
    card: ModelCard,
    place: &'a Place,
}

impl ExportJob<'_> {
    /// Scores of the trained model: as recorded, or computed now where it was never scored on the whole split.
    fn expected(&self, key: &TrialKey) -> Result<Vec<ItemScore>, CliError> {
        let recorded = self.state.trials.get(key).and_then(|trial| trial.scores.get("select"));
        let whole = self.state.data.as_ref().map_or(0, |data| data.rows[2]);
        if let Some(score) = recorded.filter(|score| score.n == whole) {
            return Ok(BlobStore::new(self.settings.workspace.join("blobs")).get_lines(&score.items)?);
        }
        let (model_dir, quantization) = (self.model.dir.clone(), self.card.quantization);
        let weights = Weights { model_dir, adapter: Some(self.adapter.clone()), quantization };
        self.score("the trained model", &weights)
    }

    fn export(&mut self, form: FormName, args: &ExportArgs, expected: &[ItemScore]) -> Result<FormResult, CliError> {
        let (export, precision) = form_and_precision(form, args);
        // A single form fills the folder, several get one each.
        let below = if args.format == FormName::All { form.name() } else { "" };
        let whole = self.place.unfinished.clone();
        let out = if below.is_empty() { whole } else { whole.join(below) };
        let source = ExportSource { model_dir: &self.model.dir, adapter: &self.adapter, card: &self.card };
        let mut progress = Progress::new(format!("writing {}", form.name()));
        let written = export_model(&source, export, &out, &mut |done, total| progress.show(done, total))?;
        let precision = precision.unwrap_or_else(|| merged_precision(&written));
        let found = self.score(form.name(), &self.weights(form, &written)?)?;
        let check = ExportCheck::new(expected, &found, precision).into_result(&format!(
            "{} ({})",
            form.name(),
            written.encoding
        ))?;
        let inside = written.weights.strip_prefix(&self.place.unfinished).unwrap_or(Path::new(""));
        // Joining an empty path would end in a slash.
        let is_whole = inside.as_os_str().is_empty();
        let path = if is_whole { self.place.out.clone() } else { self.place.out.join(inside) };
        Ok(FormResult { form: form.name(), encoding: written.encoding, path, check, warnings: written.warnings })
    }

    /// What the worker loads to check a form.
    fn weights(&self, form: FormName, written: &Exported) -> Result<Weights, CliError> {
        let base = self.model.dir.clone();
        Ok(match form {
            FormName::Peft | FormName::GgufLora => Weights {
                model_dir: base,
                adapter: Some(written.weights.clone()),
                quantization: self.card.quantization,
            },
            FormName::Gguf => {
                let model_dir = gguf_folder(&written.weights, &base, &self.place.scratch())?;
                Weights { model_dir, adapter: None, quantization: Quantization::None }
            }
            FormName::Merged | FormName::All => {
                Weights { model_dir: written.weights.clone(), adapter: None, quantization: Quantization::None }
            }
        })
    }

    fn score(&self, what: &str, weights: &Weights) -> Result<Vec<ItemScore>, CliError> {
        let mut progress = Progress::new(format!("scoring {what}"));
        Ok(score_on_select(self.state, self.settings, &self.workers, &mut progress, weights)?)
    }
}

/// A model folder of a GGUF file, with tokenizer and template as the file itself holds them.
///
/// For tokenizers that cannot be read out of a GGUF file here, those of the base stand in.
pub(crate) fn gguf_folder(file: &Path, base: &Path, scratch: &Path) -> Result<PathBuf, CliError> {
    let registry = trex_train::ModelRegistry::new(scratch);
    match registry.add("check", file, "export") {
        Ok(facts) => return Ok(facts.dir),
        Err(TrainError::Chat(err)) if matches!(err.code(), "chat.gguf_tokenizer" | "chat.gguf_architecture") => {}
        Err(err) => return Err(err.into()),
    }
    let dir = scratch.join("base-files");
    let names = [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "generation_config.json",
        "chat_template.jinja",
    ];
    for name in names.into_iter().filter(|name| base.join(name).is_file()) {
        trex_fs::write_atomic(&dir.join(name), &trex_fs::read(&base.join(name))?)?;
    }
    let link = dir.join("model.gguf");
    if std::fs::hard_link(file, &link).is_err() {
        std::fs::copy(file, &link).map_err(|err| FsError::io("copy to", &link, err))?;
    }
    Ok(dir)
}

/// The form, and how closely it must agree; that of a merged folder is known when its number format is.
fn form_and_precision(form: FormName, args: &ExportArgs) -> (ExportForm, Option<ExportPrecision>) {
    match form {
        FormName::Peft => (ExportForm::Peft, Some(ExportPrecision::Adapter)),
        FormName::GgufLora => (ExportForm::GgufLora, Some(ExportPrecision::Adapter)),
        FormName::Merged | FormName::All => {
            let dtype = args.dtype.map(|name| match name {
                FloatName::F32 => FloatType::F32,
                FloatName::F16 => FloatType::F16,
                FloatName::Bf16 => FloatType::Bf16,
            });
            (ExportForm::Merged { dtype, max_shard_bytes: args.max_shard_bytes.unwrap_or(MAX_SHARD_BYTES) }, None)
        }
        FormName::Gguf => {
            let (encoding, precision) = match args.quant {
                QuantName::F32 => (GgufEncoding::F32, ExportPrecision::F32),
                QuantName::F16 => (GgufEncoding::F16, ExportPrecision::F16),
                QuantName::Bf16 => (GgufEncoding::Bf16, ExportPrecision::Bf16),
                QuantName::Q8_0 => (GgufEncoding::Q8_0, ExportPrecision::Q8_0),
                QuantName::Q4KM => (GgufEncoding::Q4KM, ExportPrecision::Q4KM),
                QuantName::Q5KM => (GgufEncoding::Q5KM, ExportPrecision::Q5KM),
                QuantName::Q6K => (GgufEncoding::Q6K, ExportPrecision::Q6K),
            };
            (ExportForm::Gguf(encoding), Some(precision))
        }
    }
}

fn merged_precision(written: &Exported) -> ExportPrecision {
    match written.encoding.as_str() {
        "float16" => ExportPrecision::F16,
        "bfloat16" => ExportPrecision::Bf16,
        _ => ExportPrecision::F32,
    }
}

/// A line on standard error: overwritten on a terminal, else written once.
struct Progress {
    what: String,
    on_terminal: bool,
    last_percent: Option<usize>,
}

impl Progress {
    fn new(what: String) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        if !on_terminal {
            eprintln!("{what}");
        }
        Self { what, on_terminal, last_percent: None }
    }

    fn show(&mut self, done: usize, total: usize) {
        let percent = 100 * done / total.max(1);
        if self.on_terminal && self.last_percent != Some(percent) {
            self.last_percent = Some(percent);
            let end = if done >= total { "\n" } else { "" };
            eprint!("\r{}: {percent} %{end}", self.what);
        }
    }
}

impl JobControl for Progress {
    fn on_event(&mut self, event: &WorkerEvent) -> bool {
        if let WorkerEvent::Progress { done, total, .. } = event {
            self.show(*done, *total);
        }
        true
    }
}
