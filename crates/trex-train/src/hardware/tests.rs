//! Recorded answers of machines. Texts of `nvidia-smi`, of `/proc/driver/nvidia` and of `system_profiler` are as people
//! published them; none was recorded by this project, which has no such machine.

use std::collections::BTreeMap;

use proptest::prelude::*;
use trex_domain::{Hardware, NvidiaCard};

use super::*;

/// A machine that says what it was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) system: &'static str,
    pub(crate) files: BTreeMap<String, String>,
    /// By program and arguments, joined by spaces.
    pub(crate) programs: BTreeMap<String, Answer>,
}

impl HardwareSource for Recorded {
    fn system(&self) -> String {
        self.system.to_owned()
    }

    fn read(&self, path: &str) -> Option<String> {
        self.files.get(path).cloned()
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let inside = self.files.keys().filter_map(|path| path.strip_prefix(&format!("{folder}/")));
        let mut names: Vec<_> = inside.filter_map(|path| path.split('/').next()).map(str::to_owned).collect();
        names.dedup();
        names
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> Answer {
        let line = [&[program], arguments].concat().join(" ");
        self.programs.get(&line).cloned().unwrap_or(Answer::Absent)
    }

    fn threads(&self) -> usize {
        8
    }

    fn vector_instructions(&self) -> Vec<String> {
        vec!["AVX2".to_owned()]
    }
}

const NEW_QUERY: &str = "nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv";
const OLD_QUERY: &str = "nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv";

impl Recorded {
    pub(crate) fn linux() -> Self {
        let mut machine = Self { system: "linux x86_64", ..Self::default() };
        machine = machine.file(
            "/proc/cpuinfo",
            "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7513 32-Core Processor\n",
        );
        machine.file("/proc/meminfo", "MemTotal:       24576000 kB\nMemFree:        20000000 kB\n")
    }

    fn file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.to_owned(), text.to_owned());
        self
    }

    fn program(mut self, line: &str, answer: Answer) -> Self {
        self.programs.insert(line.to_owned(), answer);
        self
    }

    fn said(self, line: &str, text: &str) -> Self {
        self.program(line, Answer::Said(text.to_owned()))
    }

    /// A driver, and what `nvidia-smi` says.
    pub(crate) fn with_driver(self, smi: Answer) -> Self {
        let version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.126.09  Thu Oct 19 18:56:32 UTC 2025\n\
                       GCC version:  gcc version 12.2.0 (GCC)\n";
        self.file(DRIVER_VERSION, version).program(NEW_QUERY, smi)
    }

    pub(crate) fn two_cards() -> Self {
        Self::linux().with_driver(Answer::Said(
            "name, driver_version, memory.total [MiB], compute_cap\n\
             NVIDIA L40, 580.126.09, 46068 MiB, 8.9\n\
             Tesla V100-SXM2-16GB, 580.126.09, 16384 MiB, 7.0\n"
                .to_owned(),
        ))
    }

    pub(crate) fn mac() -> Self {
        let displays = "Graphics/Displays:\n\n    Apple M2 Pro:\n\n      Chipset Model: Apple M2 Pro\n      Type: GPU\n      \
                        Bus: Built-In\n      Total Number of Cores: 16\n      Vendor: Apple (0x106b)\n      Metal Support: Metal 3\n      \
                        Displays:\n        Color LCD:\n          Resolution: 3024 x 1964 Retina\n";
        let machine = Self { system: "macos aarch64", ..Self::default() };
        machine
            .said("sysctl -n machdep.cpu.brand_string", "Apple M2 Pro\n")
            .said("sysctl -n hw.memsize", "34359738368\n")
            .said("system_profiler SPDisplaysDataType", displays)
    }
}

fn look(machine: &Recorded) -> Hardware {
    inspect_hardware(machine)
}

#[test]
fn a_machine_without_a_driver_has_no_card_and_no_trouble() {
    let found = look(&Recorded::linux());
    assert_eq!(found.nvidia, Nvidia::default());
    assert_eq!(found.processor.model.as_deref(), Some("AMD EPYC 7513 32-Core Processor"));
    assert_eq!((found.memory_bytes, found.processor.threads), (24_576_000 * 1024, 8));
    assert!(found.metal.is_empty());
}

#[test]
fn two_cards_are_listed_with_memory_and_capability() {
    let found = look(&Recorded::two_cards()).nvidia;
    assert_eq!(found.driver.as_deref(), Some("580.126.09"));
    assert_eq!(found.trouble, None);
    let card = |number, name: &str, mib: u64, capability| NvidiaCard {
        number,
        name: name.to_owned(),
        memory_bytes: Some(mib << 20),
        compute_capability: Some(capability),
    };
    assert_eq!(found.cards, [card(0, "NVIDIA L40", 46068, (8, 9)), card(1, "Tesla V100-SXM2-16GB", 16384, (7, 0))]);
}

#[test]
fn a_driver_without_a_card_says_what_the_program_said() {
    for text in ["No devices were found\n", "\nNo devices were found"] {
        for answer in [Answer::Refused(text.to_owned()), Answer::Said(text.to_owned())] {
            let found = look(&Recorded::linux().with_driver(answer)).nvidia;
            assert_eq!(found.driver.as_deref(), Some("580.126.09"));
            assert!(found.cards.is_empty());
            assert_eq!(found.trouble.as_deref(), Some("No devices were found"));
        }
    }
}

#[test]
fn a_driver_that_does_not_answer_is_quoted() {
    let text = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95\n";
    let found = look(&Recorded::linux().with_driver(Answer::Refused(text.to_owned()))).nvidia;
    assert_eq!(found.trouble.as_deref(), Some("Failed to initialize NVML: Driver/library version mismatch"));
}

#[test]
fn a_driver_that_knows_no_capability_is_asked_for_the_rest() {
    let refusal = Answer::Refused("Field \"compute_cap\" is not a valid field to query.\n\n".to_owned());
    let table = "name, driver_version, memory.total [MiB]\nGeForce RTX 3090, 470.182.03, 24576 MiB\n";
    let machine = Recorded::linux().with_driver(refusal).said(OLD_QUERY, table);
    let found = look(&machine).nvidia;
    assert_eq!(found.trouble, None);
    assert_eq!(found.cards.len(), 1);
    assert_eq!((found.cards[0].memory_bytes, found.cards[0].compute_capability), (Some(24576 << 20), None));
    assert_eq!(found.driver.as_deref(), Some("470.182.03"));
}

#[test]
fn without_the_program_the_kernel_module_names_the_cards() {
    let mut machine = Recorded::linux().with_driver(Answer::Absent);
    machine = machine.file(
        "/proc/driver/nvidia/gpus/0000:01:00.0/information",
        "Model: \t\t NVIDIA GeForce RTX 3090\nIRQ:   \t\t 154\nGPU UUID: \t GPU-x\n",
    );
    let found = look(&machine).nvidia;
    assert_eq!(found.cards[0].name, "NVIDIA GeForce RTX 3090");
    assert_eq!(found.cards[0].memory_bytes, None);
    assert_eq!(found.trouble.as_deref(), Some("nvidia-smi is not on the PATH"));
}

#[test]
fn malformed_answers_leave_what_is_understood() {
    let check = |text: &str, cards: usize, trouble: Option<&str>| {
        let found = look(&Recorded::linux().with_driver(Answer::Said(text.to_owned()))).nvidia;
        assert_eq!(found.cards.len(), cards, "{text}");
        let said = found.trouble.unwrap_or_default();
        assert!(trouble.map_or(said.is_empty(), |part| said.contains(part)), "{text}: {said}");
    };
    let header = "name, driver_version, memory.total [MiB], compute_cap";
    check("", 0, Some("wrote nothing"));
    check("<html>gateway</html>", 0, Some("<html>"));
    check(header, 0, None);
    check(&format!("{header}\nNVIDIA L4, 550.90.07, [N/A], [Not Supported]"), 1, None);
    check(&format!("{header}\nNVIDIA L4, 550.90.07\nNVIDIA L4, 550.90.07, 24564 MiB, 8.9"), 1, Some("not understood"));
    check(&format!("{header}\r\nNVIDIA L4, 550.90.07, 99999999999999999999 MiB, 8"), 1, None);
}

#[test]
fn the_version_is_found_in_both_forms_of_the_line() {
    let check = |line: &str, expected: Option<&str>| assert_eq!(driver_version(line).as_deref(), expected);
    check("NVRM version: NVIDIA UNIX x86_64 Kernel Module  384.81  Wed Aug 17 22:24:07 PDT 2016", Some("384.81"));
    check(
        "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (b@mobile-u64-6336-d8000)",
        Some("540.4.0"),
    );
    check("NVRM version: NVIDIA UNIX", None);
    check("GCC version:  gcc version 12.2.0 (GCC)", None);
}

#[test]
fn a_mac_names_its_graphics_processor() {
    let found = look(&Recorded::mac());
    assert_eq!(found.metal, ["Apple M2 Pro (Metal 3)"]);
    assert_eq!((found.processor.model.as_deref(), found.memory_bytes), (Some("Apple M2 Pro"), 32 << 30));
    let none = Recorded { system: "macos x86_64", ..Recorded::default() };
    assert!(look(&none).metal.is_empty() && look(&none).memory_bytes == 0);
}

#[test]
fn this_machine_can_be_looked_at() {
    let found = inspect_hardware(&ThisMachine);
    assert!(found.processor.threads > 0 && found.system.contains(std::env::consts::ARCH));
    assert!(found.memory_bytes > 0 || cfg!(not(target_os = "linux")));
}

proptest! {
    #[test]
    fn no_text_is_too_wild(version in "\\PC{0,80}", table in "[ -~\n,.\\[\\]]{0,200}") {
        let machine = Recorded::linux().file(DRIVER_VERSION, &version);
        inspect_hardware(&machine.said(NEW_QUERY, &table));
    }
}
