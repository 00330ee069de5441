//! Forward and backward pass by candle's autograd: any device, any supported model, the oracle of the tests.
//!
//! With gradient checkpointing the forward pass keeps the input of every layer and nothing else; the backward pass runs
//! each layer again, from the last to the first.

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use crate::TrainError;
use crate::batch::TrainBatch;
use crate::decoder::{Decoder, Dropout, Tables};
use crate::lora::{Adapter, LoraPair};
use crate::ops::{self, Sight};
use crate::optimizer::{Gradients, Parameter};
use crate::step::{Objective, TrainStep, Weigh};

/// Rows whose logits exist at the same time where no gradient is wanted.
const ROWS_AT_ONCE: usize = 128;

/// A decoder whose trained tensors are tracked variables.
#[derive(Debug)]
pub(crate) struct Autograd {
    model: Decoder,
    /// In the order of the parameters.
    vars: Vec<Var>,
    trains_all: bool,
    checkpoints: bool,
}

/// The function of hidden states that is minimised: turns them into a scalar to differentiate and the loss itself.
type LossOf<'a> = &'a dyn Fn(&Decoder, &Tensor) -> Result<(Tensor, f64), TrainError>;

/// What a layer is run with.
struct Scene {
    tables: Tables,
    sight: Sight,
}

impl Autograd {
    /// Trains adapters on a frozen model; the parameters are those of [`adapter_parameters`].
    pub(crate) fn with_adapter(mut model: Decoder, adapter: &Adapter) -> Result<Self, TrainError> {
        let mut vars = Vec::with_capacity(2 * adapter.pairs.len());
        let mut tracked = adapter.on(model.device())?;
        for pair in tracked.pairs.values_mut() {
            let (a, b) = (Var::from_tensor(&pair.a)?, Var::from_tensor(&pair.b)?);
            *pair = LoraPair { a: a.as_tensor().clone(), b: b.as_tensor().clone() };
            vars.extend([a, b]);
        }
        model.attach(&tracked);
        Ok(Self { model, vars, trains_all: false, checkpoints: false })
    }

    /// Trains the weights of a model that was made for it; the variables are those that came with it.
    pub(crate) fn with_all_weights(model: Decoder, vars: Vec<Var>) -> Self {
        Self { model, vars, trains_all: true, checkpoints: false }
    }

    /// Whether activations are computed again instead of kept.
    #[must_use]
    pub(crate) fn with_gradient_checkpointing(self, checkpoints: bool) -> Self {
        Self { checkpoints, ..self }
    }

    fn differentiate(
        &mut self,
        batch: &TrainBatch,
        mut dropout: Option<Dropout>,
        gradients: &mut Gradients,
        loss_of: LossOf<'_>,
    ) -> Result<f64, TrainError> {
        let mut collector = Collector { vars: &self.vars, seen: vec![false; self.vars.len()], gradients };
        let loss = if self.checkpoints {
            self.backward_by_layer(batch, dropout, &mut collector, loss_of)?
        } else {
            let hidden = self.model.hidden(&batch.tree, dropout.as_mut())?;
            let (scalar, loss) = loss_of(&self.model, &hidden)?;
            collector.collect(&scalar.backward()?)?;
            loss
        };
        collector.finish()?;
        Ok(loss)
    }

    fn backward_by_layer(
        &self,
        batch: &TrainBatch,
        mut dropout: Option<Dropout>,
        collector: &mut Collector<'_>,
        loss_of: LossOf<'_>,
    ) -> Result<f64, TrainError> {
        let tokens = batch.tree.tokens();
        let scene = Scene { tables: self.model.rotations(batch.tree.positions()), sight: Sight::of(&batch.tree) };
        let num_layers = self.model.config().num_layers;
        let mut kept: Vec<(Tensor, Option<Dropout>)> = Vec::with_capacity(num_layers);
        let start = dropout.clone();
        let mut x = self.model.embed(tokens, dropout.as_ref())?.detach();
        for number in 0..num_layers {
            kept.push((x.clone(), dropout.clone()));
            x = self.run_layer(number, &x, &scene, dropout.as_mut())?.detach();
        }
        let top = Var::from_tensor(&x)?;
        let (scalar, loss) = loss_of(&self.model, &self.model.last_norm(top.as_tensor())?)?;
        let grads = scalar.backward()?;
        collector.collect(&grads)?;
        let mut upper = gradient_of(&grads, &top)?;
        drop((grads, scalar, x, top));
        for number in (0..num_layers).rev() {
            let Some((x, mut dropout)) = kept.pop() else { break };
            let input = Var::from_tensor(&x)?;
            let output = self.run_layer(number, input.as_tensor(), &scene, dropout.as_mut())?;
            let grads = (output * &upper)?.sum_all()?.backward()?;
            collector.collect(&grads)?;
            upper = gradient_of(&grads, &input)?;
        }
        if self.trains_all {
            let embedded = self.model.embed(tokens, start.as_ref())?;
            collector.collect(&(embedded * &upper)?.sum_all()?.backward()?)?;
        }
        Ok(loss)
    }

    fn run_layer(
        &self,
        number: usize,
        x: &Tensor,
        scene: &Scene,
        dropout: Option<&mut Dropout>,
    ) -> Result<Tensor, TrainError> {
        let mut attend = |layer: usize, q: &Tensor, k: &Tensor, v: &Tensor| {
            ops::attention(q, k, v, &scene.sight, self.model.layer_shape(layer))
        };
        self.model.layer(number, x, &scene.tables, &mut attend, dropout)
    }
}

fn gradient_of(grads: &GradStore, var: &Var) -> Result<Tensor, TrainError> {
    let grad = grads.get(var).cloned();
    Ok(grad.ok_or_else(|| candle_core::Error::Msg("a layer passed no gradient on".to_owned()))?)
}

/// Adds gradients up and remembers who got one.
struct Collector<'a> {
    vars: &'a [Var],
    seen: Vec<bool>,
    gradients: &'a mut Gradients,
}

impl Collector<'_> {
    fn collect(&mut self, grads: &GradStore) -> Result<(), TrainError> {
        for ((var, sum), seen) in self.vars.iter().zip(&mut self.gradients.values).zip(&mut self.seen) {
            let Some(grad) = grads.get(var) else { continue };
            *seen = true;
            ops::with_slices([grad], |[grad]| {
                sum.iter_mut().zip(grad).for_each(|(sum, g)| *sum += g);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Several stock operations drop gradients without a word, so every parameter must have got one.
    fn finish(self) -> Result<(), TrainError> {
        match self.seen.iter().position(|seen| !seen) {
            None => Ok(()),
            Some(index) => Err(candle_core::Error::Msg(format!("parameter {index} got no gradient")).into()),
        }
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

/// Cross-entropies of rows as numbers.
fn numbers(losses: &Tensor) -> Result<Vec<f64>, TrainError> {
    Ok(losses.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}

impl TrainStep for Autograd {
    fn accumulate(
        &mut self,
        batch: &TrainBatch,
        objective: Objective,
        dropout: Option<Dropout>,
        gradients: &mut Gradients,
    ) -> Result<f64, TrainError> {
        self.differentiate(batch, dropout, gradients, &|model, hidden| {
            let logits = model.logits(hidden, &batch.rows)?;
            let losses = ops::cross_entropy(&logits, &batch.targets, objective.label_smoothing)?;
            let loss = (losses.sum_all()? / objective.divisor)?;
            let value = f64::from(loss.to_scalar::<f32>()?);
            Ok((loss, value))
        })
    }

    fn accumulate_weighed(
        &mut self,
        batch: &TrainBatch,
        weigh: Weigh<'_>,
        dropout: Option<Dropout>,
        gradients: &mut Gradients,
    ) -> Result<f64, TrainError> {
        self.differentiate(batch, dropout, gradients, &|model, hidden| {
            let logits = model.logits(hidden, &batch.rows)?;
            let losses = ops::cross_entropy(&logits, &batch.targets, 0.0)?;
            let weighed = weigh(&numbers(&losses)?);
            let weights = Tensor::from_vec(weighed.weights, losses.shape(), losses.device())?;
            Ok(((losses * weights)?.sum_all()?, weighed.loss))
        })
    }

    fn row_losses(&mut self, batch: &TrainBatch) -> Result<Vec<f64>, TrainError> {
        let hidden = self.model.hidden(&batch.tree, None)?.detach();
        let mut found = Vec::with_capacity(batch.rows.len());
        for (rows, targets) in batch.rows.chunks(ROWS_AT_ONCE).zip(batch.targets.chunks(ROWS_AT_ONCE)) {
            let logits = self.model.logits(&hidden, rows)?;
            found.extend(numbers(&ops::cross_entropy(&logits, &Arc::new(targets.to_vec()), 0.0)?)?);
        }
        Ok(found)
    }

    fn set_parameters(&mut self, parameters: &[Parameter]) -> Result<(), TrainError> {
        for (var, parameter) in self.vars.iter().zip(parameters) {
            var.set(&Tensor::from_slice(&parameter.values, var.shape(), var.device())?)?;
        }
        Ok(())
    }
}
