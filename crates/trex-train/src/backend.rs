//! Chooses who computes the steps of a training, and says why where it is not the fastest.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use trex_domain::{Backend, Precision, Quantization, TrainJob, WorkerEvent};

use crate::autograd::Autograd;
use crate::decoder::Decoder;
use crate::engine::{CpuEngine, Level};
use crate::optimizer::Parameter;
use crate::step::{Needs, TrainStep};
use crate::trained::Trained;
use crate::trainer::EventSink;
use crate::weights::{self, FrozenWeights};
use crate::{ModelConfig, TrainError};

/// Makes the model of a job ready for steps, with the adapters that are trained on it where not all of it is trained.
pub(crate) fn open(
    job: &TrainJob,
    trained: &Trained<'_>,
    weights: FrozenWeights,
    parameters: &[Parameter],
    sink: &mut dyn EventSink,
) -> Result<Box<dyn TrainStep>, TrainError> {
    let config = trained.model;
    let Some(why) = refusal(config, Needs::of(&job.config), job.backend) else {
        if trained.is_full() {
            return Ok(Box::new(CpuEngine::with_all_weights(config.clone(), weights, parameters)?));
        }
        let bf16 = job.config.precision == Precision::Bf16;
        let scale = job.config.lora.scale();
        return Ok(Box::new(CpuEngine::new(config.clone(), weights, parameters, scale, bf16)?));
    };
    say(sink, job.backend, &why);
    let backend = if trained.is_full() {
        let (model, vars) = Decoder::trainable(config.clone(), weights.floats, &Device::Cpu)?;
        Autograd::with_all_weights(model, vars.into_iter().map(|(_, var)| var).collect())
    } else {
        let model = Decoder::frozen(config.clone(), weights, &Device::Cpu)?;
        Autograd::with_adapter(model, &trained.adapter(parameters)?)?
    };
    Ok(Box::new(backend.with_gradient_checkpointing(job.config.gradient_checkpointing)))
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

/// Reads the weights of a frozen model: in blocks where the base is quantised; else in single precision, rounded to
/// bfloat16 where that is asked for and not done later.
pub(crate) fn load_weights(
    dir: &Path,
    config: &ModelConfig,
    numbers: Numbers,
    backend: Backend,
) -> Result<FrozenWeights, TrainError> {
    let weights = weights::load_frozen(dir, config, numbers.quantization)?;
    if !numbers.bf16() {
        return Ok(weights);
    }
    Ok(round_weights(weights.floats, true, backend)?.into())
}

/// Rounds weights to bfloat16 where that is asked for and not done later.
pub(crate) fn round_weights(
    mut tensors: BTreeMap<String, Tensor>,
    bf16: bool,
    backend: Backend,
) -> Result<BTreeMap<String, Tensor>, TrainError> {
    let packs = Level::detect().has_bf16() && backend == Backend::Auto;
    if bf16 && !packs {
        for (_, tensor) in tensors.iter_mut().filter(|(name, _)| name.contains("_proj.weight")) {
            *tensor = tensor.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
        }
    }
    Ok(tensors)
}
