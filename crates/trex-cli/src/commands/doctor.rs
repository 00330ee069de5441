//! `trex doctor`: what this machine offers, what is missing, and what to do about it. Changes nothing.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use trex_domain::{DeviceChoice, Hardware, NvidiaCard, Precision, Problem as _};
use trex_research::KeyPlace;
use trex_store::{Workspace, check_writable, free_bytes};
use trex_train::{DeviceBuild, PlannedDevice, ThisMachine, check_model_files, inspect_hardware, plan_device};

use crate::args::DoctorArgs;
use crate::commands::data_rows;
use crate::error::{CliError, with_causes};
use crate::output::Output;
use crate::worker_program::WorkerProgram;
use crate::{measures, researcher, system, wiring};

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) enum Subject {
    /// The processors and their vector instructions.
    #[serde(rename = "processors")]
    Processors,
    /// Main memory.
    #[serde(rename = "memory")]
    Memory,
    /// The NVIDIA driver and its cards.
    #[serde(rename = "nvidia")]
    Nvidia,
    /// Graphics processors that take Metal.
    #[serde(rename = "metal")]
    Metal,
    /// What jobs are computed on.
    #[serde(rename = "device")]
    Device,
    /// The program that runs the jobs.
    #[serde(rename = "worker")]
    Worker,
    /// The folder for models.
    #[serde(rename = "model folder")]
    ModelFolder,
    /// The models that tasks can name.
    #[serde(rename = "models")]
    Models,
    /// The model that compares meanings.
    #[serde(rename = "embedding model")]
    EmbeddingModel,
    /// The workspace.
    #[serde(rename = "workspace")]
    Workspace,
    /// Its disk.
    #[serde(rename = "disk")]
    Disk,
    /// Where keys of services lie.
    #[serde(rename = "keys")]
    Keys,
    /// What uses the network.
    #[serde(rename = "network")]
    Network,
    /// The machine as facts.
    #[serde(rename = "hardware")]
    Hardware,
}

impl Subject {
    /// As a person reads it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Processors => "processors",
            Self::Memory => "memory",
            Self::Nvidia => "nvidia",
            Self::Metal => "metal",
            Self::Device => "device",
            Self::Worker => "worker",
            Self::ModelFolder => "model folder",
            Self::Models => "models",
            Self::EmbeddingModel => "embedding model",
            Self::Workspace => "workspace",
            Self::Disk => "disk",
            Self::Keys => "keys",
            Self::Network => "network",
            Self::Hardware => "hardware",
        }
    }
}

/// What was found, by a name that does not change, for whoever says it in another language. `detail` and `hint` say the same in
/// English; where they tell an error, or facts alone, there is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Situation {
    /// Processors without vector instructions that the engine has kernels for: `model`, `threads`.
    PlainProcessors,
    /// Processors with half of the width: `model`, `threads`, `vectors`.
    NarrowProcessors,
    /// Processors with instructions for single precision: `model`, `threads`, `vectors`.
    WideProcessors,
    /// Processors on which bfloat16 is fastest: `model`, `threads`, `vectors`.
    Bf16Processors,
    /// The size of the memory is not known.
    MemoryUnknown,
    /// There is no NVIDIA driver, and none is missed.
    NoDriver,
    /// nvidia-smi is there, and no driver answers.
    DriverSilent,
    /// A driver that lists no card: `driver`.
    NoCard,
    /// No graphics processor takes Metal.
    NoMetal,
    /// Jobs are computed on the processor, because there is nothing else.
    OnProcessor,
    /// A card is left unused.
    CardUnused,
    /// This program runs the jobs: `path`.
    WorkerIsThis,
    /// Models whose files are gone or broken: `models`, `broken`.
    ModelsBroken,
    /// The embedding model is there: `name`, `millions`, `width`.
    Embedder,
    /// There is none.
    NoEmbedder,
    /// So much of the disk is free: `free`.
    DiskFree,
    /// A secret store answers and holds all keys: `store`, `count`.
    KeysInStore,
    /// A secret store answers, and keys lie in a file beside it: `store`, `file`, `names`.
    KeysInFile,
    /// No secret store answers, so keys go into a file: `why`, `file`.
    NoKeyStore,
    /// The secret store that holds keys does not answer: `why`, `names`.
    KeyStoreSilent,
    /// What uses the network, and what forbids it.
    NetworkUse,
}

/// One finding; a later version may add keys and findings, and takes none away.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// What was looked at.
    what: Subject,
    /// Whether nothing has to be done about it.
    ok: bool,
    /// What was found.
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// What was found, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    situation: Option<Situation>,
    /// The values in it, by name.
    values: BTreeMap<&'static str, String>,
    /// The machine as facts; with the finding `hardware` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<Hardware>,
}

impl Finding {
    fn good(what: Subject, detail: String) -> Self {
        Self { what, ok: true, detail, hint: None, situation: None, values: BTreeMap::new(), facts: None }
    }

    /// An error with its code and its causes as the detail.
    fn error(what: Subject, err: &CliError) -> Self {
        Self::note(what, err.told(), err.hint())
    }

    fn note(what: Subject, detail: String, hint: Option<String>) -> Self {
        Self { ok: false, hint, ..Self::good(what, detail) }
    }

    /// The same with a name and the values in it.
    fn named<const N: usize>(self, situation: Situation, values: [(&'static str, String); N]) -> Self {
        Self { situation: Some(situation), values: values.into(), ..self }
    }
}

pub(crate) fn run(args: &DoctorArgs, output: &mut Output) -> Result<(), CliError> {
    let hardware = inspect_hardware(&ThisMachine);
    let mut findings = machine(&hardware, DeviceBuild::THIS);
    findings.push(worker(args.device.unwrap_or_default()));
    findings.extend([cache(), models(), embedder(), workspace(args), disk(args), keys(), network()]);
    let facts = Finding { facts: Some(hardware.clone()), ..Finding::good(Subject::Hardware, hardware.system) };
    findings.push(facts);
    output.result(&findings, || findings.iter().filter(|finding| finding.facts.is_none()).map(text_of).collect())
}

fn text_of(finding: &Finding) -> String {
    let mark = if finding.ok { "ok  " } else { "note" };
    let hint = finding.hint.as_ref().map_or_else(String::new, |hint| format!("     → {hint}\n"));
    format!("{mark} {}: {}\n{hint}", finding.what.as_str(), finding.detail)
}

/// What follows from the hardware and from what this program was built with.
fn machine(hardware: &Hardware, build: DeviceBuild) -> Vec<Finding> {
    let mut findings = vec![processors(hardware), memory(hardware), nvidia(hardware)];
    if hardware.system.starts_with("macos") {
        findings.push(if hardware.metal.is_empty() {
            Finding::good(Subject::Metal, "no device".to_owned()).named(Situation::NoMetal, [])
        } else {
            Finding::good(Subject::Metal, hardware.metal.join(", "))
        });
    }
    findings.push(device(hardware, build));
    findings
}

fn processors(hardware: &Hardware) -> Finding {
    let processor = &hardware.processor;
    let model = processor.model.as_deref().unwrap_or("model unknown");
    let (vectors, note, situation) = vector_width(&processor.vector_instructions);
    let detail = format!("{model}, {} threads, {vectors}{note}", processor.threads);
    let values =
        [("model", model.to_owned()), ("threads", processor.threads.to_string()), ("vectors", vectors.to_owned())];
    Finding::good(Subject::Processors, detail).named(situation, values)
}

/// The widest vector instructions that the engine uses here, and what that means.
fn vector_width(instructions: &[String]) -> (&str, &'static str, Situation) {
    const FASTEST: &str = " (precision = \"bf16\" is fastest)";
    match instructions.last().map(String::as_str) {
        None => (
            "no vector instructions that the engine has kernels for",
            "; training is slower",
            Situation::PlainProcessors,
        ),
        Some("AVX2") => ("AVX2", " (training is about half as fast as with AVX-512)", Situation::NarrowProcessors),
        Some("AVX-512 BF16") => ("AVX-512 with BF16", FASTEST, Situation::Bf16Processors),
        Some("AMX BF16") => ("AVX-512 with matrix tiles of BF16", FASTEST, Situation::Bf16Processors),
        Some(widest) => (widest, "", Situation::WideProcessors),
    }
}

fn memory(hardware: &Hardware) -> Finding {
    if hardware.memory_bytes == 0 {
        let detail = "unknown on this system: the verifier cannot refuse what does not fit".to_owned();
        return Finding::note(Subject::Memory, detail, None).named(Situation::MemoryUnknown, []);
    }
    Finding::good(Subject::Memory, gibibytes(hardware.memory_bytes))
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1u32 << 30))
}

fn nvidia(hardware: &Hardware) -> Finding {
    let nvidia = &hardware.nvidia;
    let trouble = nvidia.trouble.as_ref().map_or_else(String::new, |trouble| format!(" ({trouble})"));
    let Some(driver) = &nvidia.driver else {
        if trouble.is_empty() {
            return Finding::good(Subject::Nvidia, "no driver".to_owned()).named(Situation::NoDriver, []);
        }
        let hint = "install the NVIDIA driver anew, or restart where it was updated".to_owned();
        let detail = format!("nvidia-smi is there, and no driver answers{trouble}");
        return Finding::note(Subject::Nvidia, detail, Some(hint)).named(Situation::DriverSilent, []);
    };
    if nvidia.cards.is_empty() {
        let hint = "check that the card is seated and visible here (container, virtual machine)".to_owned();
        let detail = format!("driver {driver} lists no card{trouble}");
        let values = [("driver", driver.clone())];
        return Finding::note(Subject::Nvidia, detail, Some(hint)).named(Situation::NoCard, values);
    }
    let cards: Vec<_> = nvidia.cards.iter().map(card).collect();
    let detail = format!("driver {driver}: {}{trouble}", cards.join("; "));
    Finding { ok: trouble.is_empty(), ..Finding::good(Subject::Nvidia, detail) }
}

fn card(card: &NvidiaCard) -> String {
    let memory = card.memory_bytes.map_or_else(|| "memory unknown".to_owned(), gibibytes);
    let capability = card.compute_capability.map(|(major, minor)| format!("{major}.{minor}"));
    let capability = capability.unwrap_or_else(|| "unknown".to_owned());
    format!("cuda:{} {}, {memory}, compute capability {capability}", card.number, card.name)
}

/// What `auto` comes to in this program.
fn device(hardware: &Hardware, build: DeviceBuild) -> Finding {
    let plan = plan_device(DeviceChoice::Auto, build, hardware, Precision::F32);
    let Ok(plan) = plan else { return Finding::note(Subject::Device, "none".to_owned(), None) };
    let detail = format!("{}: {}", plan.device, plan.why);
    if !plan.leaves_card_unused {
        let found = Finding::good(Subject::Device, detail);
        let is_processor = plan.device == PlannedDevice::Cpu;
        return if is_processor { found.named(Situation::OnProcessor, []) } else { found };
    }
    let wish = if hardware.metal.is_empty() { DeviceChoice::Cuda(0) } else { DeviceChoice::Metal };
    let remedy = plan_device(wish, build, hardware, Precision::F32).err().map(|fault| fault.remedy());
    Finding::note(Subject::Device, detail, remedy).named(Situation::CardUnused, [])
}

fn worker(choice: DeviceChoice) -> Finding {
    match wiring::worker_program(choice, Precision::F32) {
        Ok(WorkerProgram { path, why }) => {
            let found = Finding::good(Subject::Worker, format!("{} ({why})", path.display()));
            let is_this = std::env::current_exe().is_ok_and(|this| this == path);
            let values = [("path", path.display().to_string())];
            if is_this { found.named(Situation::WorkerIsThis, values) } else { found }
        }
        Err(err) => {
            let problem = err.into_problem();
            Finding::note(Subject::Worker, problem.to_string(), problem.hint())
        }
    }
}

fn cache() -> Finding {
    match system::cache_dir() {
        Ok(dir) => Finding::good(Subject::ModelFolder, dir.display().to_string()),
        Err(err) => Finding::error(Subject::ModelFolder, &err),
    }
}

/// Folders are used where they lie, so one may have been moved or deleted since it was taken in.
fn models() -> Finding {
    let models = match wiring::known_models() {
        Ok(models) => models,
        Err(err) => return Finding::error(Subject::Models, &err),
    };
    let names: Vec<_> = models.keys().cloned().collect();
    let broken: Vec<_> = models
        .into_iter()
        .filter_map(|(name, dir)| Some((CliError::from(check_model_files(&dir).err()?).told(), name)))
        .collect();
    let Some((_, first)) = broken.first() else {
        return Finding::good(Subject::Models, names.join(", "));
    };
    let told: Vec<_> = broken.iter().map(|(told, name)| format!("{name} cannot be used, {told}")).collect();
    let hint = format!(
        "put the files back where they were, or take the model in anew with `trex model add SOURCE --name {first}`"
    );
    let broken: Vec<&str> = broken.iter().map(|(_, name)| name.as_str()).collect();
    let values = [("models", names.join(", ")), ("broken", broken.join(", "))];
    let detail = format!("{}; {}", names.join(", "), told.join("; "));
    Finding::note(Subject::Models, detail, Some(hint)).named(Situation::ModelsBroken, values)
}

fn embedder() -> Finding {
    let what = Subject::EmbeddingModel;
    match measures::find_embedder() {
        Ok(Some(facts)) => {
            let (name, width) = (measures::EMBEDDER, facts.width);
            let millions = format!("{:.0}", facts.num_parameters as f64 / 1e6);
            let detail = format!("{name}, {millions} M parameters, {width} dimensions");
            let values = [("name", name.to_owned()), ("millions", millions), ("width", width.to_string())];
            Finding::good(what, detail).named(Situation::Embedder, values)
        }
        Ok(None) => {
            let detail = format!("{}: semantic steps pass rows on, search compares words", data_rows::no_embedder());
            let hint = "run `cargo xtask setup`, which fetches it".to_owned();
            Finding::note(what, detail, Some(hint)).named(Situation::NoEmbedder, [])
        }
        Err(err) => Finding::error(what, &err),
    }
}

fn workspace(args: &DoctorArgs) -> Finding {
    let dir = &args.workspace.workspace;
    let runs = match Workspace::open_reader(dir).and_then(|reader| reader.runs()) {
        Ok(runs) => runs,
        Err(err) => return Finding::error(Subject::Workspace, &err.into()),
    };
    let detail = format!("{}, number of runs: {}", dir.display(), runs.len());
    match check_writable(dir) {
        Ok(()) => Finding::good(Subject::Workspace, detail),
        Err(err) => {
            let hint = err.hint();
            let detail = format!("{detail}; it can only be looked at, {}", CliError::from(err).told());
            Finding::note(Subject::Workspace, detail, hint)
        }
    }
}

fn disk(args: &DoctorArgs) -> Finding {
    match free_bytes(&args.workspace.workspace) {
        Ok(bytes) => {
            let free = gibibytes(bytes);
            Finding::good(Subject::Disk, format!("{free} free")).named(Situation::DiskFree, [("free", free)])
        }
        Err(err) => Finding::error(Subject::Disk, &err.into()),
    }
}

/// Where keys of services lie, and whether that place answers.
fn keys() -> Finding {
    let what = Subject::Keys;
    let keys = match researcher::keys() {
        Ok(keys) => keys,
        Err(err) => return Finding::error(what, &err),
    };
    let places = match keys.places() {
        Ok(places) => places,
        Err(err) => return Finding::error(what, &err.into()),
    };
    let names = |place: KeyPlace| -> Vec<&str> {
        places.iter().filter(|(_, lies)| **lies == place).map(|(name, _)| name.as_str()).collect()
    };
    let (in_store, in_file) = (names(KeyPlace::SecretStore), names(KeyPlace::File));
    let (store, file) = (keys.store().title().to_owned(), keys.path().display().to_string());
    match keys.store().check() {
        Ok(()) if in_file.is_empty() => {
            let count = in_store.len().to_string();
            let values = [("store", store.clone()), ("count", count.clone())];
            Finding::good(what, format!("{store} answers; keys in it: {count}")).named(Situation::KeysInStore, values)
        }
        Ok(()) => {
            let hint = "store them again with `trex researcher key set NAME < FILE`".to_owned();
            let names = in_file.join(", ");
            let detail = format!("{store} answers, and keys lie unencrypted in {file}: {names}");
            let values = [("store", store), ("file", file), ("names", names)];
            Finding::note(what, detail, Some(hint)).named(Situation::KeysInFile, values)
        }
        Err(fault) if in_store.is_empty() => {
            let why = with_causes(&fault);
            let detail = format!("{why}; keys go into {file}, which only you may read, unencrypted");
            Finding::good(what, detail).named(Situation::NoKeyStore, [("why", why), ("file", file)])
        }
        Err(fault) => {
            let (why, names) = (with_causes(&fault), in_store.join(", "));
            let hint =
                "log in to a session with that store, or give the keys in the variables of the services".to_owned();
            let detail = format!("{why}, and keys lie in it: {names}");
            let values = [("why", why), ("names", names)];
            Finding::note(what, detail, Some(hint)).named(Situation::KeyStoreSilent, values)
        }
    }
}

fn network() -> Finding {
    let detail = "used by `trex model add hub:…`, `trex net` and remote Researchers only; HF_HUB_OFFLINE=1 or TREX_OFFLINE=1 forbids it".to_owned();
    Finding::good(Subject::Network, detail).named(Situation::NetworkUse, [])
}

#[cfg(test)]
mod tests {
    use trex_domain::{Nvidia, Processor};

    use super::*;

    const PLAIN: DeviceBuild = DeviceBuild { cuda: false, metal: false };
    const CUDA: DeviceBuild = DeviceBuild { cuda: true, metal: false };

    fn hardware(nvidia: Nvidia) -> Hardware {
        let instructions = ["AVX2", "AVX-512"].map(str::to_owned).to_vec();
        let processor = Processor { model: Some("AMD EPYC".into()), threads: 8, vector_instructions: instructions };
        Hardware { system: "linux x86_64".into(), processor, memory_bytes: 24 << 30, nvidia, metal: Vec::new() }
    }

    fn two_cards() -> Hardware {
        let card = |number, name: &str, gib: u64, capability| NvidiaCard {
            number,
            name: name.to_owned(),
            memory_bytes: Some(gib << 30),
            compute_capability: Some(capability),
        };
        let cards = vec![card(0, "NVIDIA L40", 45, (8, 9)), card(1, "Tesla V100-SXM2-16GB", 16, (7, 0))];
        hardware(Nvidia { driver: Some("580.126.09".into()), cards, trouble: None })
    }

    /// The finding `what` as text.
    #[track_caller]
    fn check(hardware: &Hardware, build: DeviceBuild, what: &str, expected: &str) {
        let findings = machine(hardware, build);
        let finding = findings.iter().find(|finding| finding.what.as_str() == what).unwrap();
        assert_eq!(text_of(finding), expected);
    }

    #[test]
    fn a_machine_without_a_card_has_nothing_to_mend() {
        let hardware = hardware(Nvidia::default());
        check(&hardware, PLAIN, "processors", "ok   processors: AMD EPYC, 8 threads, AVX-512\n");
        check(&hardware, PLAIN, "memory", "ok   memory: 24.0 GiB\n");
        check(&hardware, PLAIN, "nvidia", "ok   nvidia: no driver\n");
        check(
            &hardware,
            PLAIN,
            "device",
            "ok   device: cpu: no NVIDIA driver: neither /proc/driver/nvidia/version nor nvidia-smi answers; no graphics \
             processor of this machine (linux x86_64) takes Metal\n",
        );
    }

    #[test]
    fn cards_are_named_with_memory_and_capability_and_what_keeps_them_unused() {
        let cards = "ok   nvidia: driver 580.126.09: cuda:0 NVIDIA L40, 45.0 GiB, compute capability 8.9; cuda:1 Tesla \
                     V100-SXM2-16GB, 16.0 GiB, compute capability 7.0\n";
        check(&two_cards(), PLAIN, "nvidia", cards);
        let found = device(&two_cards(), PLAIN);
        assert!(!found.ok && found.detail.contains("this build has no cuda feature"), "{found:?}");
        assert!(found.hint.is_some_and(|hint| hint.contains("--features cuda") && hint.contains("trex-worker-cuda")));
        let found = device(&two_cards(), CUDA);
        assert!(found.ok && found.detail.starts_with("cuda:0: NVIDIA L40"), "{found:?}");
    }

    #[test]
    fn a_driver_that_is_not_well_is_a_note_with_a_hint() {
        let trouble = Some("Failed to initialize NVML: Driver/library version mismatch".to_owned());
        let found = nvidia(&hardware(Nvidia { trouble: trouble.clone(), ..Nvidia::default() }));
        assert!(!found.ok && found.detail.contains("version mismatch") && found.hint.is_some(), "{found:?}");
        let driver = Some("580.95".to_owned());
        let found = nvidia(&hardware(Nvidia { driver, trouble, cards: Vec::new() }));
        assert!(!found.ok && found.detail.contains("580.95 lists no card (Failed"), "{found:?}");
        assert!(found.hint.is_some());
    }

    #[test]
    fn a_finding_has_a_name_and_the_values_in_it() {
        let found = processors(&hardware(Nvidia::default()));
        assert_eq!(found.situation, Some(Situation::WideProcessors));
        assert_eq!(found.values.get("vectors").map(String::as_str), Some("AVX-512"));
        let found = serde_json::to_value(nvidia(&hardware(Nvidia::default()))).unwrap();
        assert_eq!((&found["what"], &found["situation"]), (&"nvidia".into(), &"no_driver".into()));
        assert_eq!(found["values"], serde_json::json!({}));
        let text = |subject: Subject| serde_json::to_value(subject).unwrap();
        for subject in [Subject::ModelFolder, Subject::EmbeddingModel, Subject::Disk] {
            assert_eq!(text(subject), subject.as_str());
        }
    }

    #[test]
    fn a_mac_has_a_line_of_its_own() {
        let mac = Hardware { system: "macos aarch64".into(), metal: vec!["Apple M2 (Metal 3)".into()], ..two_cards() };
        check(&mac, PLAIN, "metal", "ok   metal: Apple M2 (Metal 3)\n");
        let none = Hardware { nvidia: Nvidia::default(), ..mac };
        assert!(device(&none, PLAIN).hint.is_some_and(|hint| hint.contains("--features metal")));
    }

    #[test]
    fn the_committed_doctor_schema_is_the_generated_one() {
        let generated = trex_engine::schema_text(schemars::schema_for!(Vec<Finding>));
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/schemas/doctor.schema.json");
        if std::env::var_os("TREX_UPDATE").is_some() {
            trex_fs::write_atomic(&path, generated.as_bytes()).unwrap();
        }
        let committed = trex_fs::read_to_string(&path).unwrap();
        assert!(committed == generated, "doctor.schema.json is out of date: run this test once with TREX_UPDATE=1");
    }
}
