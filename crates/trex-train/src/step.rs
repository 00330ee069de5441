//! What a training loop needs from an implementation of forward and backward pass.
//!
//! Two implementations stand behind this door and are held against each other by tests: [`crate::autograd`] runs on any
//! device, for every model and method, and is the oracle; the hand-written CPU engine takes what it can do faster.
//! Neither knows the optimiser, the schedule or the order of the data.

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

    /// Takes new values of the trained parameters, in the order in which they were given at the start.
    fn set_parameters(&mut self, parameters: &[Parameter]) -> Result<(), TrainError>;
}
