//! Finds out what computes in this machine: processor, memory, NVIDIA cards, Metal.
//!
//! It asks files and programs of the system through [`HardwareSource`], so that recorded answers can stand in, and links
//! no driver: a program without any GPU library can say what a machine has. It starts nothing on a card, so a card that
//! is listed here may still refuse to work.

pub(crate) mod sensors;

use std::path::Path;
use std::process::{Command, Stdio};

use trex_domain::{Hardware, Nvidia, NvidiaCard, Processor};

use crate::engine::Level;

/// Where the kernel module of NVIDIA says what it is.
pub(crate) const DRIVER_VERSION: &str = "/proc/driver/nvidia/version";

/// A folder with one folder per card.
const DRIVER_CARDS: &str = "/proc/driver/nvidia/gpus";

/// What is asked of `nvidia-smi`. Drivers before 510 do not know the last one.
const QUERIES: [&str; 2] =
    ["--query-gpu=name,driver_version,memory.total,compute_cap", "--query-gpu=name,driver_version,memory.total"];

/// Longest piece of a foreign program's text that is passed on.
const MAX_QUOTE: usize = 200;

/// What a program of the system answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is not there.
    Absent,
    /// It ended well; what it wrote.
    Said(String),
    /// It ended badly; what it wrote.
    Refused(String),
}

/// The system as this module sees it.
pub trait HardwareSource {
    /// Operating system and instruction set.
    fn system(&self) -> String;
    /// The text of a file; `None` where it cannot be read.
    fn read(&self, path: &str) -> Option<String>;
    /// Names in a folder, sorted; none where it cannot be read.
    fn list(&self, folder: &str) -> Vec<String>;
    /// Runs a program to its end.
    fn ask(&self, program: &str, arguments: &[&str]) -> Answer;
    /// Threads that this process may use.
    fn threads(&self) -> usize;
    /// Vector instructions that the engine would use.
    fn vector_instructions(&self) -> Vec<String>;
}

/// The machine that this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisMachine;

impl HardwareSource for ThisMachine {
    fn system(&self) -> String {
        format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
    }

    fn read(&self, path: &str) -> Option<String> {
        trex_fs::read_to_string(Path::new(path)).ok()
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
        names.sort();
        names
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> Answer {
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
        let Ok(output) = output else { return Answer::Absent };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Answer::Said(text);
        }
        Answer::Refused(text + &String::from_utf8_lossy(&output.stderr))
    }

    fn threads(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    fn vector_instructions(&self) -> Vec<String> {
        let names: &[&str] = match Level::detect() {
            Level::Portable => &[],
            Level::Avx2 => &["AVX2"],
            Level::Avx512 => &["AVX2", "AVX-512"],
            Level::Avx512Bf16 => &["AVX2", "AVX-512", "AVX-512 BF16"],
            Level::Amx => &["AVX2", "AVX-512", "AVX-512 BF16", "AMX BF16"],
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }
}

/// Looks at a machine.
pub fn inspect_hardware(source: &dyn HardwareSource) -> Hardware {
    let system = source.system();
    let is_mac = system.starts_with("macos");
    Hardware {
        processor: Processor {
            model: processor_model(source, is_mac),
            threads: source.threads(),
            vector_instructions: source.vector_instructions(),
        },
        memory_bytes: memory_bytes(source, is_mac).unwrap_or(0),
        nvidia: if is_mac { Nvidia::default() } else { inspect_nvidia(source) },
        metal: if is_mac { metal_devices(source) } else { Vec::new() },
        system,
    }
}

fn processor_model(source: &dyn HardwareSource, is_mac: bool) -> Option<String> {
    if is_mac {
        return sysctl(source, "machdep.cpu.brand_string");
    }
    let text = source.read("/proc/cpuinfo")?;
    value_of(&text, "model name").filter(|name| !name.is_empty()).map(str::to_owned)
}

fn memory_bytes(source: &dyn HardwareSource, is_mac: bool) -> Option<u64> {
    if is_mac {
        return sysctl(source, "hw.memsize")?.parse().ok();
    }
    let text = source.read("/proc/meminfo")?;
    let kib: u64 = value_of(&text, "MemTotal")?.trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn sysctl(source: &dyn HardwareSource, name: &str) -> Option<String> {
    match source.ask("sysctl", &["-n", name]) {
        Answer::Said(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Answer::Absent | Answer::Refused(_) => None,
    }
}

/// What stands behind `key :` in the first line that begins with the key.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// Graphics processors of a Mac that say that they take Metal.
fn metal_devices(source: &dyn HardwareSource) -> Vec<String> {
    let Answer::Said(text) = source.ask("system_profiler", &["SPDisplaysDataType"]) else { return Vec::new() };
    let mut found = Vec::new();
    let mut model: Option<String> = None;
    for line in text.lines() {
        let Some((name, value)) = line.trim().split_once(':') else { continue };
        let value = value.trim();
        match name {
            "Chipset Model" => model = Some(value.to_owned()),
            // Until macOS 12 the line was called `Metal` or `Metal Family`.
            "Metal Support" | "Metal" | "Metal Family" if !value.starts_with("Not") && !value.is_empty() => {
                found.extend(model.take().map(|model| format!("{model} ({value})")));
            }
            _ => {}
        }
    }
    found
}

fn inspect_nvidia(source: &dyn HardwareSource) -> Nvidia {
    let loaded = source.read(DRIVER_VERSION).and_then(|text| driver_version(&text));
    let answer = match source.ask("nvidia-smi", &[QUERIES[0], "--format=csv"]) {
        Answer::Refused(text) if text.contains("compute_cap") => {
            source.ask("nvidia-smi", &[QUERIES[1], "--format=csv"])
        }
        answer => answer,
    };
    let mut nvidia = match answer {
        Answer::Said(text) => cards_of(&text),
        Answer::Refused(text) => Nvidia { trouble: Some(quoted(&text)), ..Nvidia::default() },
        Answer::Absent => {
            let trouble = loaded.as_ref().map(|_| "nvidia-smi is not on the PATH".to_owned());
            Nvidia { trouble, ..Nvidia::default() }
        }
    };
    nvidia.driver = nvidia.driver.or(loaded);
    if nvidia.cards.is_empty() {
        nvidia.cards = cards_of_kernel_module(source);
    }
    nvidia
}

/// The version in `/proc/driver/nvidia/version`: the first word of the first line that is a number with dots.
fn driver_version(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
    line.split_whitespace().find(|word| is_version(word)).map(str::to_owned)
}

fn is_version(word: &str) -> bool {
    let parts: Vec<_> = word.split('.').collect();
    parts.len() > 1 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reads the table that `nvidia-smi --format=csv` writes; its first line names the columns.
fn cards_of(text: &str) -> Nvidia {
    let mut nvidia = Nvidia::default();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let Some(header) = lines.next() else {
        nvidia.trouble = Some("nvidia-smi wrote nothing".to_owned());
        return nvidia;
    };
    let columns: Vec<_> = header.split(',').map(column_name).collect();
    if !columns.contains(&"name") {
        nvidia.trouble = Some(quoted(header));
        return nvidia;
    }
    for line in lines {
        let cells: Vec<_> = line.split(',').map(str::trim).collect();
        if cells.len() != columns.len() {
            nvidia.trouble = Some(format!("nvidia-smi wrote a line that is not understood: {}", quoted(line)));
            continue;
        }
        let cell = |name| columns.iter().position(|column| *column == name).and_then(|at| cells.get(at).copied());
        let driver = cell("driver_version").filter(|word| is_version(word));
        nvidia.driver = nvidia.driver.or_else(|| driver.map(str::to_owned));
        nvidia.cards.push(NvidiaCard {
            number: nvidia.cards.len(),
            name: cell("name").unwrap_or_default().to_owned(),
            memory_bytes: cell("memory.total").and_then(mebibytes),
            compute_capability: cell("compute_cap").and_then(capability),
        });
    }
    nvidia
}

/// `memory.total [MiB]` is the column `memory.total`.
fn column_name(cell: &str) -> &str {
    cell.split('[').next().unwrap_or_default().trim()
}

fn mebibytes(cell: &str) -> Option<u64> {
    let number: u64 = cell.trim_end_matches("MiB").trim().parse().ok()?;
    number.checked_mul(1 << 20)
}

fn capability(cell: &str) -> Option<(u32, u32)> {
    let (major, minor) = cell.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The names of the cards as the kernel module lists them, where `nvidia-smi` does not say more.
fn cards_of_kernel_module(source: &dyn HardwareSource) -> Vec<NvidiaCard> {
    let card = |(number, folder): (usize, String)| {
        let text = source.read(&format!("{DRIVER_CARDS}/{folder}/information")).unwrap_or_default();
        let name = value_of(&text, "Model").unwrap_or("unknown").to_owned();
        NvidiaCard { number, name, memory_bytes: None, compute_capability: None }
    };
    source.list(DRIVER_CARDS).into_iter().enumerate().map(card).collect()
}

/// The first line of foreign text, shortened.
fn quoted(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("nothing");
    line.chars().filter(|c| !c.is_control()).take(MAX_QUOTE).collect()
}

#[cfg(test)]
pub(crate) mod tests;
