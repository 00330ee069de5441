//! `trex doctor`: what this machine offers, what is missing, and what to do about it. Changes nothing.

use schemars::JsonSchema;
use serde::Serialize;
use trex_domain::{DeviceChoice, Hardware, NvidiaCard, Precision, Problem as _};
use trex_research::KeyPlace;
use trex_store::{Workspace, check_writable, free_bytes};
use trex_train::{DeviceBuild, ThisMachine, check_model_files, inspect_hardware, plan_device};

use crate::args::DoctorArgs;
use crate::commands::data_rows;
use crate::error::{CliError, with_causes};
use crate::output::Output;
use crate::worker_program::WorkerProgram;
use crate::{measures, researcher, system, wiring};

/// One finding; a later version may add keys and findings, and takes none away.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// What was looked at, such as `device`.
    what: &'static str,
    /// Whether nothing has to be done about it.
    ok: bool,
    /// What was found.
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The machine as facts; with the finding `hardware` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<Hardware>,
}

impl Finding {
    fn good(what: &'static str, detail: String) -> Self {
        Self { what, ok: true, detail, hint: None, facts: None }
    }

    /// An error with its code and its causes as the detail.
    fn error(what: &'static str, err: &CliError) -> Self {
        Self::note(what, err.told(), err.hint())
    }

    fn note(what: &'static str, detail: String, hint: Option<String>) -> Self {
        Self { what, ok: false, detail, hint, facts: None }
    }
}

pub(crate) fn run(args: &DoctorArgs, output: &mut Output) -> Result<(), CliError> {
    let hardware = inspect_hardware(&ThisMachine);
    let mut findings = machine(&hardware, DeviceBuild::THIS);
    findings.push(worker(args.device.unwrap_or_default()));
    findings.extend([cache(), models(), embedder(), workspace(args), disk(args), keys(), network()]);
    let facts = Finding { facts: Some(hardware.clone()), ..Finding::good("hardware", hardware.system) };
    findings.push(facts);
    output.result(&findings, || findings.iter().filter(|finding| finding.facts.is_none()).map(text_of).collect())
}

fn text_of(finding: &Finding) -> String {
    let mark = if finding.ok { "ok  " } else { "note" };
    let hint = finding.hint.as_ref().map_or_else(String::new, |hint| format!("     → {hint}\n"));
    format!("{mark} {}: {}\n{hint}", finding.what, finding.detail)
}

/// What follows from the hardware and from what this program was built with.
fn machine(hardware: &Hardware, build: DeviceBuild) -> Vec<Finding> {
    let mut findings = vec![processors(hardware), memory(hardware), nvidia(hardware)];
    if hardware.system.starts_with("macos") {
        let detail = if hardware.metal.is_empty() { "no device".to_owned() } else { hardware.metal.join(", ") };
        findings.push(Finding::good("metal", detail));
    }
    findings.push(device(hardware, build));
    findings
}

fn processors(hardware: &Hardware) -> Finding {
    let processor = &hardware.processor;
    let name = processor.model.as_deref().unwrap_or("model unknown");
    let detail = format!("{name}, {} threads, {}", processor.threads, vector_width(&processor.vector_instructions));
    Finding::good("processors", detail)
}

/// The widest vector instructions that the engine uses here.
fn vector_width(instructions: &[String]) -> String {
    match instructions.last().map(String::as_str) {
        None => "no vector instructions that the engine has kernels for; training is slower".to_owned(),
        Some("AVX2") => "AVX2 (training is about half as fast as with AVX-512)".to_owned(),
        Some("AVX-512 BF16") => "AVX-512 with BF16 (precision = \"bf16\" is fastest)".to_owned(),
        Some("AMX BF16") => "AVX-512 with matrix tiles of BF16 (precision = \"bf16\" is fastest)".to_owned(),
        Some(widest) => widest.to_owned(),
    }
}

fn memory(hardware: &Hardware) -> Finding {
    if hardware.memory_bytes == 0 {
        let detail = "unknown on this system: the verifier cannot refuse what does not fit".to_owned();
        return Finding::note("memory", detail, None);
    }
    Finding::good("memory", gibibytes(hardware.memory_bytes))
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1u32 << 30))
}

fn nvidia(hardware: &Hardware) -> Finding {
    let nvidia = &hardware.nvidia;
    let trouble = nvidia.trouble.as_ref().map_or_else(String::new, |trouble| format!(" ({trouble})"));
    let Some(driver) = &nvidia.driver else {
        if trouble.is_empty() {
            return Finding::good("nvidia", "no driver".to_owned());
        }
        let hint = "install the NVIDIA driver anew, or restart where it was updated".to_owned();
        return Finding::note("nvidia", format!("nvidia-smi is there, and no driver answers{trouble}"), Some(hint));
    };
    if nvidia.cards.is_empty() {
        let hint = "check that the card is seated and visible here (container, virtual machine)".to_owned();
        return Finding::note("nvidia", format!("driver {driver} lists no card{trouble}"), Some(hint));
    }
    let cards: Vec<_> = nvidia.cards.iter().map(card).collect();
    let detail = format!("driver {driver}: {}{trouble}", cards.join("; "));
    if trouble.is_empty() { Finding::good("nvidia", detail) } else { Finding::note("nvidia", detail, None) }
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
    let Ok(plan) = plan else { return Finding::note("device", "none".to_owned(), None) };
    let detail = format!("{}: {}", plan.device, plan.why);
    if !plan.leaves_card_unused {
        return Finding::good("device", detail);
    }
    let wish = if hardware.metal.is_empty() { DeviceChoice::Cuda(0) } else { DeviceChoice::Metal };
    let remedy = plan_device(wish, build, hardware, Precision::F32).err().map(|fault| fault.remedy());
    Finding::note("device", detail, remedy)
}

fn worker(choice: DeviceChoice) -> Finding {
    match wiring::worker_program(choice, Precision::F32) {
        Ok(WorkerProgram { path, why }) => Finding::good("worker", format!("{} ({why})", path.display())),
        Err(err) => {
            let problem = err.into_problem();
            Finding::note("worker", problem.to_string(), problem.hint())
        }
    }
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
    Finding::note("models", format!("{}; {}", names.join(", "), told.join("; ")), Some(hint))
}

fn embedder() -> Finding {
    let what = "embedding model";
    match measures::find_embedder() {
        Ok(Some(facts)) => {
            let size = facts.num_parameters as f64 / 1e6;
            let detail = format!("{}, {size:.0} M parameters, {} dimensions", measures::EMBEDDER, facts.width);
            Finding::good(what, detail)
        }
        Ok(None) => {
            let detail = format!("{}: semantic steps pass rows on, search compares words", data_rows::no_embedder());
            Finding::note(what, detail, Some("run `cargo xtask setup`, which fetches it".to_owned()))
        }
        Err(err) => Finding::error(what, &err),
    }
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
            Finding::note("workspace", detail, hint)
        }
    }
}

fn disk(args: &DoctorArgs) -> Finding {
    match free_bytes(&args.workspace.workspace) {
        Ok(bytes) => Finding::good("disk", format!("{} free", gibibytes(bytes))),
        Err(err) => Finding::error("disk", &err.into()),
    }
}

/// Where keys of services lie, and whether that place answers.
fn keys() -> Finding {
    let what = "keys";
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
    let (title, file) = (keys.store().title(), keys.path().display());
    match keys.store().check() {
        Ok(()) if in_file.is_empty() => Finding::good(what, format!("{title} answers; keys in it: {}", in_store.len())),
        Ok(()) => {
            let hint = "store them again with `trex researcher key set NAME < FILE`".to_owned();
            let detail = format!("{title} answers, and keys lie unencrypted in {file}: {}", in_file.join(", "));
            Finding::note(what, detail, Some(hint))
        }
        Err(fault) if in_store.is_empty() => {
            let why = with_causes(&fault);
            Finding::good(what, format!("{why}; keys go into {file}, which only you may read, unencrypted"))
        }
        Err(fault) => {
            let why = with_causes(&fault);
            let hint =
                "log in to a session with that store, or give the keys in the variables of the services".to_owned();
            Finding::note(what, format!("{why}, and keys lie in it: {}", in_store.join(", ")), Some(hint))
        }
    }
}

fn network() -> Finding {
    let detail = "used by `trex model add hub:…`, `trex net` and remote Researchers only; HF_HUB_OFFLINE=1 or TREX_OFFLINE=1 forbids it".to_owned();
    Finding::good("network", detail)
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
        let finding = findings.iter().find(|finding| finding.what == what).unwrap();
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
