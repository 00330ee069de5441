//! Chooses who computes the steps of a training, and says why where it is not the fastest.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use trex_domain::{Backend, Precision, Quantization, TrainJob, WorkerEvent};

use crate::autograd::Autograd;
use crate::decoder::Decoder;
use crate::device::{Placement, is_projection};
use crate::engine::{CpuEngine, Level};
use crate::optimizer::Parameter;
use crate::step::{Needs, TrainStep};
use crate::trained::Trained;
use crate::trainer::EventSink;
use crate::weights::{self, FrozenWeights};
use crate::{ModelConfig, TrainError};

/// The weights of a base, and where they lie.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) weights: FrozenWeights,
    pub(crate) placement: Placement,
}

/// Makes the model of a job ready for steps, with the adapters that are trained on it where not all of it is trained.
pub(crate) fn open(
    job: &TrainJob,
    trained: &Trained<'_>,
    base: Base,
    parameters: &[Parameter],
    sink: &mut dyn EventSink,
) -> Result<Box<dyn TrainStep>, TrainError> {
    let config = trained.model;
    let Base { weights, placement } = base;
    if placement.is_card() {
        return Ok(Box::new(autograd(job, trained, weights, parameters, &placement)?));
    }
    let Some(why) = refusal(config, Needs::of(&job.config), job.backend) else {
        if trained.is_full() {
            return Ok(Box::new(CpuEngine::with_all_weights(config.clone(), weights, parameters)?));
        }
        let bf16 = job.config.precision == Precision::Bf16 && job.config.quantization.is_none();
        return Ok(Box::new(CpuEngine::new(config.clone(), weights, parameters, &job.config.lora, bf16)?));
    };
    say(sink, job.backend, &why);
    Ok(Box::new(autograd(job, trained, weights, parameters, &placement)?))
}

fn autograd(
    job: &TrainJob,
    trained: &Trained<'_>,
    weights: FrozenWeights,
    parameters: &[Parameter],
    placement: &Placement,
) -> Result<Autograd, TrainError> {
    let (config, device) = (trained.model.clone(), placement.device());
    let backend = if trained.is_full() {
        let (model, vars) = Decoder::trainable(config, weights.floats, device)?;
        Autograd::with_all_weights(model, vars.into_iter().map(|(_, var)| var).collect())
    } else {
        let model = Decoder::frozen(config, weights, device)?;
        Autograd::with_adapter(model, &trained.adapter(parameters)?)?
    };
    Ok(backend.with_gradient_checkpointing(job.config.gradient_checkpointing))
}

/// Puts all weights of a model in training.
pub(crate) fn open_all(
    config: &ModelConfig,
    initial: BTreeMap<String, Tensor>,
    parameters: &[Parameter],
) -> Result<Box<dyn TrainStep>, TrainError> {
    if CpuEngine::refusal(config, Needs { all_weights: true, ..Needs::default() }).is_none() {
        return Ok(Box::new(CpuEngine::with_all_weights(config.clone(), initial, parameters)?));
    }
    let (model, vars) = Decoder::trainable(config.clone(), initial, &Device::Cpu)?;
    Ok(Box::new(Autograd::with_all_weights(model, vars.into_iter().map(|(_, var)| var).collect())))
}

/// Why the engine is not used; `None` where it is.
pub(crate) fn refusal(config: &ModelConfig, needs: Needs, backend: Backend) -> Option<String> {
    match backend {
        Backend::Auto => CpuEngine::refusal(config, needs),
        Backend::Autograd => Some("autograd was asked for".to_owned()),
    }
}

/// Tells the parent that the slower path is taken, unless it asked for it.
pub(crate) fn say(sink: &mut dyn EventSink, backend: Backend, why: &str) {
    if backend == Backend::Auto {
        sink.send(WorkerEvent::Warning { message: format!("autograd computes this, which is slower: {why}") });
    }
}

/// Number formats of a frozen base.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) precision: Precision,
    pub(crate) quantization: Quantization,
}

impl Numbers {
    /// Whether products are in bfloat16: a quantised base is multiplied in single precision.
    pub(crate) fn bf16(self) -> bool {
        self.precision == Precision::Bf16 && self.quantization.is_none()
    }
}

/// Reads the weights of a frozen model to where they are used: in blocks where the base is quantised; else in the
/// precision that is asked for, as far as that is not done later.
pub(crate) fn load_weights(
    dir: &Path,
    config: &ModelConfig,
    numbers: Numbers,
    backend: Backend,
    placement: &Placement,
) -> Result<FrozenWeights, TrainError> {
    if placement.is_card() {
        return load_on_card(dir, config, numbers.quantization, placement);
    }
    let weights = weights::load_frozen(dir, config, numbers.quantization)?;
    if !numbers.quantization.is_none() {
        return Ok(weights);
    }
    Ok(round_weights(weights.floats, numbers.precision, backend)?.into())
}

/// A card has no products of blocks, so it gets the checkpoint that they stand for.
fn load_on_card(
    dir: &Path,
    config: &ModelConfig,
    quantization: Quantization,
    placement: &Placement,
) -> Result<FrozenWeights, TrainError> {
    if quantization.is_none() {
        return Ok(weights::load_with(dir, config, &|name, tensor| placement.frozen(name, tensor))?.into());
    }
    let kept = weights::load_frozen(dir, config, quantization)?;
    let floats = place_weights(kept.dequantized()?, Precision::F32, Backend::Autograd, placement)?;
    let mut placed = FrozenWeights::from(floats);
    placed.warnings = kept.warnings;
    placed
        .warnings
        .push("on a card the numbers of the quantised base are kept as floats, so it takes their room".to_owned());
    Ok(placed)
}

/// Puts weights that were read before where they are used, like [`load_weights`].
pub(crate) fn place_weights(
    tensors: BTreeMap<String, Tensor>,
    precision: Precision,
    backend: Backend,
    placement: &Placement,
) -> Result<BTreeMap<String, Tensor>, TrainError> {
    if !placement.is_card() {
        return round_weights(tensors, precision, backend);
    }
    let place = |(name, tensor): (String, Tensor)| {
        let placed = placement.frozen(&name, &tensor)?;
        Ok((name, placed))
    };
    tensors.into_iter().map(place).collect()
}

/// Rounds weights of the processor to half precision where that is asked for and not done later.
fn round_weights(
    mut tensors: BTreeMap<String, Tensor>,
    precision: Precision,
    backend: Backend,
) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let packs = Level::detect().has_bf16() && backend == Backend::Auto;
    let half = match precision {
        Precision::F32 => return Ok(tensors),
        Precision::Bf16 if packs => return Ok(tensors),
        Precision::Bf16 | Precision::F16 => Placement::card(Device::Cpu, precision),
    };
    for (name, tensor) in tensors.iter_mut().filter(|(name, _)| is_projection(name)) {
        *tensor = half.frozen(name, tensor)?.to_dtype(DType::F32)?;
    }
    Ok(tensors)
}
