//! AdamW with decoupled weight decay (Loshchilov & Hutter, 2019) and clipping by the global norm. State is plain `f32`.

use rayon::prelude::*;
use trex_domain::TrainConfig;

use crate::ops::single;

/// One trained tensor with Adam's moments, row-major `f32`.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    /// Tensor name: PEFT's for adapters, Hugging Face's for full training.
    pub(crate) name: String,
    /// Extents.
    pub(crate) shape: Vec<usize>,
    /// The weights themselves.
    pub(crate) values: Vec<f32>,
    /// First moment.
    pub(crate) m: Vec<f32>,
    /// Second moment.
    pub(crate) v: Vec<f32>,
}

impl Parameter {
    /// A parameter with moments at zero.
    pub(crate) fn new(name: String, shape: Vec<usize>, values: Vec<f32>) -> Self {
        let count = values.len();
        Self { name, shape, values, m: vec![0.0; count], v: vec![0.0; count] }
    }

    /// Whether weight decay applies: matrices yes, norms and biases no.
    fn decays(&self) -> bool {
        self.shape.len() > 1
    }
}

/// The optimiser over a list of parameters in a fixed order.
#[derive(Debug)]
pub(crate) struct AdamW {
    pub(crate) parameters: Vec<Parameter>,
}

/// Gradients of all parameters, summed over micro-batches, in the order of the parameters.
#[derive(Debug)]
pub(crate) struct Gradients {
    /// Row-major like the parameters.
    pub(crate) values: Vec<Vec<f32>>,
}

impl AdamW {
    /// The order of `parameters` is the order of everything.
    pub(crate) fn new(parameters: Vec<Parameter>) -> Self {
        Self { parameters }
    }

    /// Zero gradients.
    pub(crate) fn zero_gradients(&self) -> Gradients {
        Gradients { values: self.parameters.iter().map(|p| vec![0.0; p.values.len()]).collect() }
    }

    /// One step with bias correction; `step` counts from 1. Returns the gradient norm before clipping.
    ///
    /// `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `θ ← θ − lr·(m̂/(√v̂ + ε) + λθ)`.
    pub(crate) fn step(
        &mut self,
        gradients: &mut Gradients,
        config: &TrainConfig,
        learning_rate: f64,
        step: usize,
    ) -> f64 {
        let norm = gradients.norm();
        if config.max_grad_norm > 0.0 && norm > config.max_grad_norm {
            gradients.scale(config.max_grad_norm / (norm + 1e-6));
        }
        let exponent = i32::try_from(step).unwrap_or(i32::MAX);
        let correct1 = 1.0 - config.adam_beta1.powi(exponent);
        let correct2 = 1.0 - config.adam_beta2.powi(exponent);
        for (parameter, grad) in self.parameters.iter_mut().zip(&gradients.values) {
            let decay = if parameter.decays() { config.weight_decay * learning_rate } else { 0.0 };
            let update = Update {
                beta1: single(config.adam_beta1),
                beta2: single(config.adam_beta2),
                rate: single(learning_rate / correct1),
                scale2: single(1.0 / correct2),
                epsilon: single(config.adam_epsilon),
                keep: single(1.0 - decay),
            };
            update.apply(&mut parameter.values, &mut parameter.m, &mut parameter.v, grad);
        }
        norm
    }
}

struct Update {
    beta1: f32,
    beta2: f32,
    rate: f32,
    scale2: f32,
    epsilon: f32,
    keep: f32,
}

impl Update {
    fn apply(&self, values: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32]) {
        const CHUNK: usize = 16 * 1024;
        let moments = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK)).zip(grad.par_chunks(CHUNK));
        values.par_chunks_mut(CHUNK).zip(moments).for_each(|(values, ((m, v), grad))| {
            for (((x, m), v), g) in values.iter_mut().zip(m).zip(v).zip(grad) {
                *m = self.beta1 * *m + (1.0 - self.beta1) * g;
                *v = self.beta2 * *v + (1.0 - self.beta2) * g * g;
                *x = *x * self.keep - self.rate * *m / ((*v * self.scale2).sqrt() + self.epsilon);
            }
        });
    }
}

impl Gradients {
    /// Two of them at once.
    ///
    /// # Panics
    /// When both are the same.
    pub(crate) fn two(&mut self, a: usize, b: usize) -> (&mut Vec<f32>, &mut Vec<f32>) {
        let [a, b] = self.values.get_disjoint_mut([a, b]).expect("different parameters");
        (a, b)
    }

    /// L2 norm over all parameters.
    fn norm(&self) -> f64 {
        self.values.iter().flatten().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt()
    }

    fn scale(&mut self, factor: f64) {
        let factor = single(factor);
        self.values.iter_mut().flatten().for_each(|g| *g *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PyTorch 2: `torch.optim.AdamW([p], lr=0.1, weight_decay=0.01)` on `p = [[1, -2]]` with `loss = (p * [[3, 0.5]]).sum()`,
    /// three steps: the gradient is constant, so Adam moves by lr in the direction of its sign.
    #[test]
    fn follows_the_definition() {
        let mut adam = AdamW::new(vec![Parameter::new("p".into(), vec![1, 2], vec![1.0, -2.0])]);
        let config = TrainConfig { weight_decay: 0.01, max_grad_norm: 0.0, ..TrainConfig::default() };
        let mut expected = [1f64, -2.0];
        for step in 1..=3 {
            let mut gradients = Gradients { values: vec![vec![3.0, 0.5]] };
            let norm = adam.step(&mut gradients, &config, 0.1, step);
            assert!((norm - 9.25f64.sqrt()).abs() < 1e-6);
            expected = expected.map(|x| x * (1.0 - 0.001) - 0.1);
        }
        let found = &adam.parameters[0].values;
        assert!(found.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5), "{found:?} {expected:?}");
    }

    #[test]
    fn clipping_keeps_the_direction() {
        let mut gradients = Gradients { values: vec![vec![3.0], vec![4.0]] };
        assert!((gradients.norm() - 5.0).abs() < 1e-9);
        gradients.scale(0.2);
        assert!((gradients.norm() - 1.0).abs() < 1e-6);
    }
}
