//! Who computes a score or an answer: the hand-written engine of the CPU where it takes the model, candle otherwise.

use candle_core::Device;
use trex_domain::{EvalJob, LoraConfig};

use crate::autograd::adapter_parameters;
use crate::backend::Numbers;
use crate::decoder::Decoder;
use crate::engine::CpuEngine;
use crate::layout::TokenTree;
use crate::sampling::Choice;
use crate::step::Needs;
use crate::trained::TrainedFile;
use crate::trainer::EventSink;
use crate::weights::FrozenWeights;
use crate::{ModelConfig, TrainError, backend, generate, ops};

/// Rows whose logits candle computes at the same time.
const ROWS_AT_ONCE: usize = 128;

/// A model that is only run.
#[derive(Debug)]
pub(crate) enum Inference {
    /// On candle.
    Decoder(Box<Decoder>),
    /// On the CPU engine.
    Engine(Box<CpuEngine>),
}

impl Inference {
    /// Loads the model of a job with its adapter.
    pub(crate) fn open(job: &EvalJob, config: ModelConfig, sink: &mut dyn EventSink) -> Result<Self, TrainError> {
        let placement = crate::device::open(job.device, job.precision, sink)?;
        let numbers = Numbers { precision: job.precision, quantization: job.quantization };
        let load = || backend::load_weights(&job.model_dir, &config, numbers, job.backend, &placement);
        let trained = job.adapter.as_ref().map(|path| TrainedFile::load(path, &config)).transpose()?;
        let (adapter, weights): (_, FrozenWeights) = match trained {
            Some(TrainedFile::Weights(weights)) => {
                // Weights that were all trained are what they are, whatever becomes of frozen ones.
                (None, backend::place_weights(weights, job.precision, job.backend, &placement)?.into())
            }
            Some(TrainedFile::Adapter(adapter)) => (Some(adapter), load()?),
            None => (None, load()?),
        };
        let refused = backend::refusal(&config, Needs::default(), job.backend);
        if placement.is_card() || refused.is_some() {
            if let Some(why) = refused.filter(|_| !placement.is_card()) {
                backend::say(sink, job.backend, &why);
            }
            let mut model = Decoder::frozen(config, weights, placement.device())?;
            if let Some(adapter) = &adapter {
                model.attach(&adapter.on(placement.device())?);
            }
            return Ok(Self::Decoder(Box::new(model)));
        }
        let bf16 = numbers.bf16();
        let parameters = adapter.as_ref().map(adapter_parameters).transpose()?.unwrap_or_default();
        let lora = adapter.map_or_else(LoraConfig::default, |adapter| adapter.config);
        Ok(Self::Engine(Box::new(CpuEngine::new(config, weights, &parameters, &lora, bf16)?)))
    }

    /// The shape of the model.
    pub(crate) fn config(&self) -> &ModelConfig {
        match self {
            Self::Decoder(model) => model.config(),
            Self::Engine(engine) => engine.config(),
        }
    }

    /// What it is computed on.
    pub(crate) fn device(&self) -> &Device {
        match self {
            Self::Decoder(model) => model.device(),
            Self::Engine(_) => &Device::Cpu,
        }
    }

    /// Log-probabilities in nats of tokens after rows of a tree: `needed` are (place among `rows`, token).
    pub(crate) fn log_probs(
        &mut self,
        tree: &TokenTree,
        rows: &[u32],
        needed: &[(usize, u32)],
    ) -> Result<Vec<f64>, TrainError> {
        match self {
            Self::Decoder(model) => decoder_log_probs(model, tree, rows, needed),
            Self::Engine(engine) => Ok(engine.log_probs(tree, rows, needed)),
        }
    }

    /// Generates up to `max_new_tokens` tokens per prompt; stops at `eos` (not returned).
    pub(crate) fn generate(
        &mut self,
        prompts: &[Vec<u32>],
        max_new_tokens: usize,
        eos: &[u32],
        choice: Choice,
    ) -> Result<Vec<Vec<u32>>, TrainError> {
        match self {
            Self::Decoder(model) => generate::generate(&**model, prompts, max_new_tokens, eos, choice),
            Self::Engine(engine) => generate::generate(&mut **engine, prompts, max_new_tokens, eos, choice),
        }
    }

    /// As [`Self::generate`] for one prompt; `heard` is given the answer so far with every token, and ends it by saying no.
    pub(crate) fn speak(
        &mut self,
        prompt: &[u32],
        max_new_tokens: usize,
        eos: &[u32],
        choice: Choice,
        heard: &mut dyn FnMut(&[u32]) -> bool,
    ) -> Result<Vec<u32>, TrainError> {
        let prompts = [prompt.to_vec()];
        let answers = match self {
            Self::Decoder(model) => generate::generate_heard(&**model, &prompts, max_new_tokens, eos, choice, heard),
            Self::Engine(engine) => {
                generate::generate_heard(&mut **engine, &prompts, max_new_tokens, eos, choice, heard)
            }
        };
        Ok(answers?.into_iter().next().unwrap_or_default())
    }
}

fn decoder_log_probs(
    model: &Decoder,
    tree: &TokenTree,
    rows: &[u32],
    needed: &[(usize, u32)],
) -> Result<Vec<f64>, TrainError> {
    let hidden = model.hidden(tree, None)?;
    let mut found = vec![0.0; needed.len()];
    for (index, chunk) in rows.chunks(ROWS_AT_ONCE).enumerate() {
        let logits = model.logits(&hidden, chunk)?;
        let classes = model.config().vocab_size;
        let first = index * ROWS_AT_ONCE;
        ops::with_slices([&logits], |[logits]| {
            let log_z: Vec<f64> = logits.chunks(classes).map(log_sum_exp).collect();
            for (place, (row, token)) in needed.iter().enumerate() {
                if (first..first + chunk.len()).contains(row) {
                    let at = row - first;
                    found[place] = f64::from(logits[at * classes + *token as usize]) - log_z[at];
                }
            }
            Ok(())
        })?;
    }
    Ok(found)
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    f64::from(top) + row.iter().map(|x| f64::from((x - top).exp())).sum::<f64>().ln()
}
