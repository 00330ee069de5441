//! Chooses who computes the steps of a training, and says why where it is not the fastest.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use trex_domain::{Backend, Precision, TrainJob, WorkerEvent};

use crate::autograd::Autograd;
use crate::decoder::Decoder;
use crate::device::{Placement, is_projection};
use crate::engine::{CpuEngine, Level};
use crate::optimizer::Parameter;
use crate::step::{Needs, TrainStep};
use crate::trained::Trained;
use crate::trainer::EventSink;
use crate::{ModelConfig, TrainError, weights};

/// The weights of a base, and where they lie.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) tensors: BTreeMap<String, Tensor>,
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
    let Base { tensors, placement } = base;
    if placement.is_card() {
        return Ok(Box::new(autograd(job, trained, tensors, parameters, &placement)?));
    }
    let Some(why) = refusal(config, Needs::of(&job.config), job.backend) else {
        if trained.is_full() {
            return Ok(Box::new(CpuEngine::with_all_weights(config.clone(), tensors, parameters)?));
        }
        let bf16 = job.config.precision == Precision::Bf16;
        let scale = job.config.lora.scale();
        return Ok(Box::new(CpuEngine::new(config.clone(), tensors, parameters, scale, bf16)?));
    };
    say(sink, job.backend, &why);
    Ok(Box::new(autograd(job, trained, tensors, parameters, &placement)?))
}

fn autograd(
    job: &TrainJob,
    trained: &Trained<'_>,
    tensors: BTreeMap<String, Tensor>,
    parameters: &[Parameter],
    placement: &Placement,
) -> Result<Autograd, TrainError> {
    let (config, device) = (trained.model.clone(), placement.device());
    let backend = if trained.is_full() {
        let (model, vars) = Decoder::trainable(config, tensors, device)?;
        Autograd::with_all_weights(model, vars.into_iter().map(|(_, var)| var).collect())
    } else {
        let model = Decoder::frozen(config, tensors, device)?;
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

/// Reads the weights of a model to where they are used, in the number format that is asked for.
pub(crate) fn load_weights(
    dir: &Path,
    config: &ModelConfig,
    precision: Precision,
    backend: Backend,
    placement: &Placement,
) -> Result<BTreeMap<String, Tensor>, TrainError> {
    if placement.is_card() {
        return weights::load_with(dir, config, &|name, tensor| placement.frozen(name, tensor));
    }
    round_weights(weights::load(dir, config, &Device::Cpu)?, precision, backend)
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
