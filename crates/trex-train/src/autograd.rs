//! Forward and backward pass by candle's autograd: any device, any supported model, the oracle of the tests.

use candle_core::{Tensor, Var};

use crate::TrainError;
use crate::batch::TrainBatch;
use crate::decoder::{Decoder, Dropout};
use crate::lora::{Adapter, LoraPair};
use crate::ops;
use crate::optimizer::{Gradients, Parameter};
use crate::step::{Objective, TrainStep};

/// A decoder whose trained tensors are tracked variables.
#[derive(Debug)]
pub(crate) struct Autograd {
    model: Decoder,
    /// In the order of the parameters.
    vars: Vec<Var>,
}

impl Autograd {
    /// Trains adapters on a frozen model; the parameters are those of [`adapter_parameters`].
    pub(crate) fn with_adapter(mut model: Decoder, adapter: &Adapter) -> Result<Self, TrainError> {
        let mut vars = Vec::with_capacity(2 * adapter.pairs.len());
        let mut tracked = Adapter { config: adapter.config.clone(), pairs: adapter.pairs.clone() };
        for pair in tracked.pairs.values_mut() {
            let (a, b) = (Var::from_tensor(&pair.a)?, Var::from_tensor(&pair.b)?);
            *pair = LoraPair { a: a.as_tensor().clone(), b: b.as_tensor().clone() };
            vars.extend([a, b]);
        }
        model.attach(&tracked);
        Ok(Self { model, vars })
    }

    /// Trains the weights of a model that was made for it; the variables are those that came with it.
    pub(crate) fn with_all_weights(model: Decoder, vars: Vec<Var>) -> Self {
        Self { model, vars }
    }
}

/// The parameters of an adapter, sorted by module, A before B.
pub(crate) fn adapter_parameters(adapter: &Adapter) -> Result<Vec<Parameter>, TrainError> {
    adapter.named_tensors().into_iter().map(|(name, tensor)| parameter(name, &tensor)).collect()
}

/// A tensor as a parameter.
pub(crate) fn parameter(name: String, tensor: &Tensor) -> Result<Parameter, TrainError> {
    Ok(Parameter::new(name, tensor.dims().to_vec(), tensor.flatten_all()?.to_vec1()?))
}

impl TrainStep for Autograd {
    fn accumulate(
        &mut self,
        batch: &TrainBatch,
        objective: Objective,
        mut dropout: Option<Dropout>,
        gradients: &mut Gradients,
    ) -> Result<f64, TrainError> {
        let hidden = self.model.hidden(&batch.tree, dropout.as_mut())?;
        let logits = self.model.logits(&hidden, &batch.rows)?;
        let losses = ops::cross_entropy(&logits, &batch.targets, objective.label_smoothing)?;
        let loss = (losses.sum_all()? / objective.divisor)?;
        let grads = loss.backward()?;
        for (index, (var, sum)) in self.vars.iter().zip(&mut gradients.values).enumerate() {
            let Some(grad) = grads.get(var) else {
                return Err(candle_core::Error::Msg(format!("parameter {index} got no gradient")).into());
            };
            ops::with_slices([grad], |[grad]| {
                sum.iter_mut().zip(grad).for_each(|(sum, g)| *sum += g);
                Ok(())
            })?;
        }
        Ok(f64::from(loss.to_scalar::<f32>()?))
    }

    fn set_parameters(&mut self, parameters: &[Parameter]) -> Result<(), TrainError> {
        for (var, parameter) in self.vars.iter().zip(parameters) {
            var.set(&Tensor::from_slice(&parameter.values, var.shape(), var.device())?)?;
        }
        Ok(())
    }
}
