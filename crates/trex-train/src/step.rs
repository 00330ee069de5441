//! What a training loop needs from an implementation of forward and backward pass.
//!
//! Two implementations stand behind this door and are held against each other by tests: [`crate::autograd`] runs on any
//! device, for every model and method, and is the oracle; the hand-written CPU engine takes what it can do faster.
//! Neither knows the optimiser, the schedule or the order of the data.

use trex_domain::{TrainConfig, TrainMethod};

use crate::TrainError;
use crate::batch::TrainBatch;
use crate::decoder::Dropout;
use crate::optimizer::{Gradients, Parameter};

/// How the losses of a micro-batch become one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Objective {
    /// The sum of token losses is divided by this: the supervised tokens of the whole effective batch, so that
    /// accumulation equals the big batch to rounding.
    pub(crate) divisor: f64,
    /// Label smoothing in [0, 1).
    pub(crate) label_smoothing: f64,
}

/// What a job asks of an implementation beside cross-entropy of adapters; all off is what scoring needs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that an implementation has or has not")]
pub(crate) struct Needs {
    /// Random zeroing of adapter inputs.
    pub(crate) lora_dropout: bool,
    /// Every weight is trained.
    pub(crate) all_weights: bool,
    /// Losses that weigh rows by what the rows turn out to be (preference pairs).
    pub(crate) weighed_rows: bool,
    /// Noise on embeddings.
    pub(crate) embedding_noise: bool,
    /// Activations are computed again in the backward pass.
    pub(crate) gradient_checkpointing: bool,
}

impl Needs {
    /// What a training asks for.
    pub(crate) fn of(config: &TrainConfig) -> Self {
        Self {
            lora_dropout: config.lora.lora_dropout > 0.0,
            all_weights: config.method == TrainMethod::Full,
            weighed_rows: config.objective.is_preference(),
            embedding_noise: config.neftune_noise_alpha > 0.0,
            gradient_checkpointing: config.gradient_checkpointing,
        }
    }

    /// The first of the settings that is on, by the name that a person gave it.
    pub(crate) fn first(self) -> Option<&'static str> {
        let settings = [
            (self.lora_dropout, "lora_dropout is above 0"),
            (self.all_weights, "every weight is trained"),
            (self.weighed_rows, "the objective is on preference pairs"),
            (self.embedding_noise, "neftune_noise_alpha is above 0"),
            (self.gradient_checkpointing, "gradient_checkpointing is on"),
        ];
        settings.into_iter().find(|(on, _)| *on).map(|(_, name)| name)
    }
}

/// A loss as a function of the cross-entropies of all rows of a micro-batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weighed {
    /// Its value.
    pub(crate) loss: f64,
    /// Its derivative by the cross-entropy of each row.
    pub(crate) weights: Vec<f32>,
}

/// Turns the cross-entropies of rows into a loss.
pub(crate) type Weigh<'a> = &'a dyn Fn(&[f64]) -> Weighed;

/// Computes loss and gradients of micro-batches for weights that it is given.
pub(crate) trait TrainStep {
    /// Adds the gradients of one micro-batch to `gradients` and returns its share of the loss in nats.
    fn accumulate(
        &mut self,
        batch: &TrainBatch,
        objective: Objective,
        dropout: Option<Dropout>,
        gradients: &mut Gradients,
    ) -> Result<f64, TrainError>;

    /// Like [`Self::accumulate`] for a loss that depends on all rows of the micro-batch together.
    fn accumulate_weighed(
        &mut self,
        batch: &TrainBatch,
        weigh: Weigh<'_>,
        dropout: Option<Dropout>,
        gradients: &mut Gradients,
    ) -> Result<f64, TrainError>;

    /// Cross-entropies in nats of the rows of a batch, without dropout, noise or smoothing.
    fn row_losses(&mut self, batch: &TrainBatch) -> Result<Vec<f64>, TrainError>;

    /// Takes new values of the trained parameters, in the order in which they were given at the start.
    fn set_parameters(&mut self, parameters: &[Parameter]) -> Result<(), TrainError>;
}
