//! What a machine offers for computing, as facts. How they are found out, and what follows from them, is others' business.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hardware {
    /// Operating system and instruction set, such as `linux x86_64`.
    pub system: String,
    /// The processor.
    pub processor: Processor,
    /// Main memory in bytes; 0 where the system does not tell.
    pub memory_bytes: u64,
    /// What there is of NVIDIA.
    pub nvidia: Nvidia,
    /// Graphics processors that take Metal.
    pub metal: Vec<String>,
}

/// The processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Processor {
    /// What it calls itself; `None` where the system does not tell.
    pub model: Option<String>,
    /// Threads that this process may use.
    pub threads: usize,
    /// Vector instructions that the training engine would use if it were alone, widest last; empty for plain loops.
    pub vector_instructions: Vec<String>,
}

/// The NVIDIA driver and its cards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nvidia {
    /// Version of the driver; `None` where there is no driver, or none that answers.
    pub driver: Option<String>,
    /// The cards, in the order of their numbers.
    pub cards: Vec<NvidiaCard>,
    /// What the driver said instead of an answer, or what of its answer was not understood.
    pub trouble: Option<String>,
}

/// One NVIDIA card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NvidiaCard {
    /// Its number from 0, in the order of the driver.
    pub number: usize,
    /// Product name.
    pub name: String,
    /// Memory in bytes; `None` where the driver does not tell.
    pub memory_bytes: Option<u64>,
    /// Compute capability, major and minor; `None` where the driver does not tell.
    pub compute_capability: Option<(u32, u32)>,
}
