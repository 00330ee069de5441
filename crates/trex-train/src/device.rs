//! Chooses the device of a job, says why, and opens it; decides in which number format frozen weights lie there.
//!
//! What a machine has is found out in [`crate::hardware`]; what is computed on the device is the business of
//! [`crate::autograd`]. Numbers of cards are those of CUDA, which counts as `nvidia-smi` does where
//! `CUDA_DEVICE_ORDER=PCI_BUS_ID` is set.

use std::fmt;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use trex_domain::{DeviceChoice, Hardware, NvidiaCard, Precision, WorkerEvent};

use crate::hardware::{DRIVER_VERSION, ThisMachine, inspect_hardware};
use crate::trainer::EventSink;
use crate::{TrainError, ops};

/// Compute capability from which cards multiply bfloat16.
const BF16_CAPABILITY: (u32, u32) = (8, 0);

/// The devices that a build of this program can use beside the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceBuild {
    /// NVIDIA cards.
    pub cuda: bool,
    /// Apple's graphics processors.
    pub metal: bool,
}

impl DeviceBuild {
    /// This program.
    pub const THIS: Self = Self { cuda: cfg!(feature = "cuda"), metal: cfg!(feature = "metal") };
}

/// Why a device cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceFault {
    /// Nothing of NVIDIA answers.
    #[error("no NVIDIA driver: neither /proc/driver/nvidia/version nor nvidia-smi answers{}", said(trouble.as_deref()))]
    NoDriver {
        /// What was said instead of an answer.
        trouble: Option<String>,
    },
    /// A driver that lists no card.
    #[error("the NVIDIA driver {driver} lists no card{}", said(trouble.as_deref()))]
    NoCard {
        /// Its version.
        driver: String,
        /// What was said instead of an answer.
        trouble: Option<String>,
    },
    /// A number that no card has.
    #[error("there is no card {number}: the driver lists {count}")]
    NoSuchCard {
        /// As given.
        number: usize,
        /// Cards.
        count: usize,
    },
    /// A card without bfloat16.
    #[error(
        "{name} has compute capability {}.{}, and products of bfloat16 need {}.{}",
        capability.0, capability.1, BF16_CAPABILITY.0, BF16_CAPABILITY.1
    )]
    NoBf16 {
        /// The card.
        name: String,
        /// What it has.
        capability: (u32, u32),
    },
    /// The program was built without it.
    #[error("this build has no {feature} feature")]
    NotInBuild {
        /// Cargo feature.
        feature: &'static str,
    },
    /// No graphics processor of this machine takes Metal.
    #[error("no graphics processor of this machine ({system}) takes Metal")]
    NoMetal {
        /// Operating system and instruction set.
        system: String,
    },
    /// The device is there and does not open.
    #[error("the device is there and does not open")]
    Failed {
        /// Why.
        #[from]
        source: candle_core::Error,
    },
}

fn said(trouble: Option<&str>) -> String {
    trouble.map_or_else(String::new, |trouble| format!(" ({trouble})"))
}

impl DeviceFault {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoDriver { .. } => "device.no_driver",
            Self::NoCard { .. } => "device.no_card",
            Self::NoSuchCard { .. } => "device.no_such_card",
            Self::NoBf16 { .. } => "device.no_bf16",
            Self::NotInBuild { .. } => "device.not_in_build",
            Self::NoMetal { .. } => "device.no_metal",
            Self::Failed { .. } => "device.failed",
        }
    }

    /// What a person can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoDriver { .. } => "install the NVIDIA driver, or write --device cpu".to_owned(),
            Self::NoCard { .. } => "see what nvidia-smi says, or write --device cpu".to_owned(),
            Self::NoSuchCard { count, .. } => format!("write cuda:N with N from 0 to {}", count.saturating_sub(1)),
            Self::NoBf16 { .. } => "set precision = \"f16\" or \"f32\"".to_owned(),
            Self::NotInBuild { feature: "cuda" } => {
                "build with `cargo build --release --features cuda` where nvcc is, and place the program beside trex as \
                 trex-worker-cuda or name it in TREX_WORKER; or write --device cpu"
                    .to_owned()
            }
            Self::NotInBuild { feature } => format!("build with `--features {feature}`, or write --device cpu"),
            Self::NoMetal { .. } => "write --device auto".to_owned(),
            Self::Failed { .. } => {
                "compare the driver with the CUDA version of the build (`trex doctor`), or write --device cpu".to_owned()
            }
        }
    }
}

/// A device that a job will be computed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlannedDevice {
    /// The processor.
    Cpu,
    /// An NVIDIA card by its number.
    Cuda(usize),
    /// Apple's graphics processor.
    Metal,
}

impl fmt::Display for PlannedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

/// What was chosen, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePlan {
    /// The device.
    pub device: PlannedDevice,
    /// The reason in words.
    pub why: String,
    /// Whether the machine has something faster that is left unused.
    pub leaves_card_unused: bool,
}

/// Chooses a device. A wish is granted or refused with the reason; `auto` takes the first of CUDA, Metal and the
/// processor that nothing speaks against.
pub fn plan_device(
    choice: DeviceChoice,
    build: DeviceBuild,
    hardware: &Hardware,
    precision: Precision,
) -> Result<DevicePlan, DeviceFault> {
    let asked = |device| DevicePlan { device, why: format!("{choice} was asked for"), leaves_card_unused: false };
    match choice {
        DeviceChoice::Cpu => Ok(asked(PlannedDevice::Cpu)),
        // A card may be there although nothing lists it (WSL), so a build that can tries; opening it is the proof.
        DeviceChoice::Cuda(number) => match cuda_fault(number, build, hardware, precision) {
            None => Ok(asked(PlannedDevice::Cuda(number))),
            Some(DeviceFault::NoDriver { .. }) if build.cuda => Ok(asked(PlannedDevice::Cuda(number))),
            Some(fault) => Err(fault),
        },
        DeviceChoice::Metal => match metal_fault(build, hardware) {
            None => Ok(asked(PlannedDevice::Metal)),
            Some(fault) => Err(fault),
        },
        DeviceChoice::Auto => Ok(automatic(build, hardware, precision)),
    }
}

fn automatic(build: DeviceBuild, hardware: &Hardware, precision: Precision) -> DevicePlan {
    let Some(cuda) = cuda_fault(0, build, hardware, precision) else {
        let card = hardware.nvidia.cards.first().map_or_else(|| "a card".to_owned(), shown);
        let why = format!("{card}, driver {}", hardware.nvidia.driver.as_deref().unwrap_or("unknown"));
        return DevicePlan { device: PlannedDevice::Cuda(0), why, leaves_card_unused: false };
    };
    let Some(metal) = metal_fault(build, hardware) else {
        let why = hardware.metal.join(", ");
        return DevicePlan { device: PlannedDevice::Metal, why, leaves_card_unused: false };
    };
    let leaves_card_unused = !hardware.nvidia.cards.is_empty() || !hardware.metal.is_empty();
    DevicePlan { device: PlannedDevice::Cpu, why: format!("{cuda}; {metal}"), leaves_card_unused }
}

/// What speaks against an NVIDIA card, what lies deepest first.
fn cuda_fault(number: usize, build: DeviceBuild, hardware: &Hardware, precision: Precision) -> Option<DeviceFault> {
    let nvidia = &hardware.nvidia;
    let trouble = nvidia.trouble.clone();
    let Some(driver) = nvidia.driver.clone() else { return Some(DeviceFault::NoDriver { trouble }) };
    if nvidia.cards.is_empty() {
        return Some(DeviceFault::NoCard { driver, trouble });
    }
    let Some(card) = nvidia.cards.get(number) else {
        return Some(DeviceFault::NoSuchCard { number, count: nvidia.cards.len() });
    };
    if !build.cuda {
        return Some(DeviceFault::NotInBuild { feature: "cuda" });
    }
    let capability = card.compute_capability.filter(|has| precision == Precision::Bf16 && *has < BF16_CAPABILITY);
    capability.map(|capability| DeviceFault::NoBf16 { name: card.name.clone(), capability })
}

fn metal_fault(build: DeviceBuild, hardware: &Hardware) -> Option<DeviceFault> {
    if hardware.metal.is_empty() {
        return Some(DeviceFault::NoMetal { system: hardware.system.clone() });
    }
    (!build.metal).then_some(DeviceFault::NotInBuild { feature: "metal" })
}

/// A card in words.
fn shown(card: &NvidiaCard) -> String {
    let memory = card.memory_bytes.map(|bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1u32 << 30)));
    let capability = card.compute_capability.map(|(major, minor)| format!("compute capability {major}.{minor}"));
    [Some(card.name.clone()), memory, capability].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Where a model lies, and in which number format.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    device: Device,
    /// Whether the code for cards is taken: automatic differentiation over composed operations, with frozen projections
    /// in the format below. Tests take it on the processor.
    is_card: bool,
    /// Format of frozen projections on a card.
    projections: DType,
}

impl Placement {
    /// The processor, with the operations that are made for it.
    pub(crate) fn cpu() -> Self {
        Self { device: Device::Cpu, is_card: false, projections: DType::F32 }
    }

    /// A card, or what a test takes for one.
    pub(crate) fn card(device: Device, precision: Precision) -> Self {
        let projections = match precision {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
            Precision::F16 => DType::F16,
        };
        Self { device, is_card: true, projections }
    }

    /// The same place with projections in single precision.
    pub(crate) fn in_single_precision(&self) -> Self {
        Self { projections: DType::F32, ..self.clone() }
    }

    /// The device.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Whether the code for cards is taken.
    pub(crate) fn is_card(&self) -> bool {
        self.is_card
    }

    /// A frozen weight as it lies on the device: projections in the number format of the job, all else in `f32`.
    ///
    /// Embedding and head stay in single precision: a head in half precision would round logits to two digits.
    pub(crate) fn frozen(&self, name: &str, tensor: &Tensor) -> Result<Tensor, TrainError> {
        if self.projections == DType::F32 || !is_projection(name) {
            return Ok(tensor.to_device(&self.device)?);
        }
        let rounded = tensor.to_dtype(self.projections)?;
        if !ops::is_finite(&rounded)? {
            let dtype = self.projections.as_str();
            return Err(TrainError::BeyondFormat { name: name.to_owned(), dtype });
        }
        Ok(rounded.to_device(&self.device)?)
    }
}

/// Whether a weight is one of those that adapters sit beside.
pub(crate) fn is_projection(name: &str) -> bool {
    name.contains("_proj.weight")
}

/// Opens the device of a job and says which it is. Where `auto` meets a device that does not open, it falls back to the
/// processor and says so.
pub(crate) fn open(
    choice: DeviceChoice,
    precision: Precision,
    sink: &mut dyn EventSink,
) -> Result<Placement, TrainError> {
    // Asking programs takes time, which a job on the processor need not spend where nothing hints at a card.
    let build = DeviceBuild::THIS;
    let hints = cfg!(target_os = "macos") || Path::new(DRIVER_VERSION).exists();
    let knows = choice == DeviceChoice::Cpu || (choice.is_auto() && !build.cuda && !build.metal && !hints);
    let hardware = if knows { Hardware::default() } else { inspect_hardware(&ThisMachine) };
    let refused = |fault| TrainError::Device { choice, fault };
    let mut plan = plan_device(choice, build, &hardware, precision).map_err(refused)?;
    if choice.is_auto() && knows {
        "this build computes on the processor only, and there is no NVIDIA driver".clone_into(&mut plan.why);
    }
    let opened = match plan.device {
        PlannedDevice::Cpu => Ok(processor(precision)),
        PlannedDevice::Cuda(number) => Device::new_cuda(number).map(|device| Placement::card(device, precision)),
        PlannedDevice::Metal => Device::new_metal(0).map(|device| Placement::card(device, precision)),
    };
    let placement = match opened {
        Ok(placement) => placement,
        Err(source) if choice.is_auto() => {
            plan.why = format!("{} does not open: {source}", plan.device);
            plan.leaves_card_unused = true;
            plan.device = PlannedDevice::Cpu;
            Placement::cpu()
        }
        Err(source) => return Err(refused(DeviceFault::Failed { source })),
    };
    let DevicePlan { device, why, leaves_card_unused: card_unused } = plan;
    sink.send(WorkerEvent::Device { device: device.to_string(), why, card_unused });
    Ok(placement)
}

/// The processor; where a test asks for what cards compute, with the code for cards.
#[cfg_attr(not(test), expect(unused_variables, reason = "the format matters for cards only"))]
fn processor(precision: Precision) -> Placement {
    #[cfg(test)]
    if ops::testing::takes_composed() {
        return Placement::card(Device::Cpu, precision);
    }
    Placement::cpu()
}

#[cfg(test)]
mod tests {
    use trex_domain::Problem as _;

    use super::*;
    use crate::hardware::Answer;
    use crate::hardware::tests::Recorded;

    const NONE: DeviceBuild = DeviceBuild { cuda: false, metal: false };
    const CUDA: DeviceBuild = DeviceBuild { cuda: true, metal: false };
    const METAL: DeviceBuild = DeviceBuild { cuda: false, metal: true };

    fn plan(
        choice: &str,
        build: DeviceBuild,
        machine: &Recorded,
        precision: Precision,
    ) -> Result<DevicePlan, DeviceFault> {
        plan_device(choice.parse().unwrap(), build, &inspect_hardware(machine), precision)
    }

    #[track_caller]
    fn check_device(choice: &str, build: DeviceBuild, machine: &Recorded, expected: PlannedDevice) {
        assert_eq!(plan(choice, build, machine, Precision::F32).unwrap().device, expected);
    }

    #[track_caller]
    fn check_fault(choice: &str, build: DeviceBuild, machine: &Recorded, code: &str, part: &str) {
        let fault = plan(choice, build, machine, Precision::Bf16).unwrap_err();
        assert_eq!(fault.code(), code);
        assert!(fault.to_string().contains(part), "{fault}");
        let err = TrainError::Device { choice: choice.parse().unwrap(), fault };
        assert_eq!(err.code(), code);
        assert!(err.hint().is_some_and(|hint| !hint.is_empty()));
        assert_eq!(err.failure_class(), trex_domain::FailureClass::Config);
    }

    #[test]
    fn a_wish_is_granted_where_nothing_speaks_against_it() {
        check_device("cpu", CUDA, &Recorded::two_cards(), PlannedDevice::Cpu);
        check_device("cuda", CUDA, &Recorded::two_cards(), PlannedDevice::Cuda(0));
        check_device("cuda:1", CUDA, &Recorded::two_cards(), PlannedDevice::Cuda(1));
        check_device("metal", METAL, &Recorded::mac(), PlannedDevice::Metal);
        // Nothing lists the cards of a WSL machine; opening is the proof.
        check_device("cuda", CUDA, &Recorded::linux(), PlannedDevice::Cuda(0));
    }

    #[test]
    fn a_wish_that_cannot_be_granted_is_refused_with_reason_and_remedy() {
        check_fault("cuda", NONE, &Recorded::linux(), "device.no_driver", "no NVIDIA driver");
        let empty = Recorded::linux().with_driver(Answer::Refused("No devices were found".to_owned()));
        check_fault("cuda", CUDA, &empty, "device.no_card", "580.126.09 lists no card (No devices were found)");
        check_fault("cuda:2", CUDA, &Recorded::two_cards(), "device.no_such_card", "no card 2: the driver lists 2");
        check_fault("cuda", NONE, &Recorded::two_cards(), "device.not_in_build", "no cuda feature");
        check_fault("cuda:1", CUDA, &Recorded::two_cards(), "device.no_bf16", "capability 7.0");
        check_fault("metal", METAL, &Recorded::linux(), "device.no_metal", "linux x86_64");
        check_fault("metal", NONE, &Recorded::mac(), "device.not_in_build", "no metal feature");
    }

    #[test]
    fn auto_takes_what_there_is_and_says_why_not_more() {
        check_device("auto", CUDA, &Recorded::two_cards(), PlannedDevice::Cuda(0));
        check_device("auto", METAL, &Recorded::mac(), PlannedDevice::Metal);
        let check_cpu = |build, machine: &Recorded, unused, parts: &[&str]| {
            let plan = plan("auto", build, machine, Precision::F32).unwrap();
            assert_eq!((&plan.device, plan.leaves_card_unused), (&PlannedDevice::Cpu, unused));
            for part in parts {
                assert!(plan.why.contains(part), "{}", plan.why);
            }
        };
        check_cpu(CUDA, &Recorded::linux(), false, &["no NVIDIA driver", "takes Metal"]);
        check_cpu(NONE, &Recorded::two_cards(), true, &["no cuda feature"]);
        check_cpu(NONE, &Recorded::mac(), true, &["no metal feature"]);
    }

    /// Remembers events.
    struct Heard(Vec<WorkerEvent>);

    impl EventSink for Heard {
        fn send(&mut self, event: WorkerEvent) -> bool {
            self.0.push(event);
            true
        }
    }

    #[test]
    fn the_device_is_said_once_with_its_reason() {
        let mut heard = Heard(Vec::new());
        let placement = open(DeviceChoice::Cpu, Precision::F16, &mut heard).unwrap();
        assert!(!placement.is_card() && placement.device().is_cpu());
        let why = "cpu was asked for".to_owned();
        assert_eq!(heard.0, [WorkerEvent::Device { device: "cpu".to_owned(), why, card_unused: false }]);
    }

    #[test]
    fn projections_are_rounded_and_what_does_not_fit_is_refused() {
        let tensor = Tensor::from_vec(vec![0.1f32, 7e4], (1, 2), &Device::Cpu).unwrap();
        let place = |precision, name| Placement::card(Device::Cpu, precision).frozen(name, &tensor);
        let projection = "model.layers.0.mlp.up_proj.weight";
        assert_eq!(place(Precision::Bf16, projection).unwrap().dtype(), DType::BF16);
        assert_eq!(place(Precision::F32, projection).unwrap().dtype(), DType::F32);
        assert_eq!(place(Precision::F16, "lm_head.weight").unwrap().dtype(), DType::F32);
        let err = place(Precision::F16, projection).unwrap_err();
        assert_eq!(err.code(), "model.beyond_format");
        assert!(err.to_string().contains(projection) && err.to_string().contains("f16"), "{err}");
    }
}
