//! Losses, gradients and curves against transformers, PEFT and TRL, and steps that are cut in other ways.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use candle_core::{Device, Tensor};
use serde::Deserialize;
use trex_domain::{Backend, LoraConfig, SchedulerType, TrainMethod, TrainObjective};

use super::*;
use crate::backend::Base;
use crate::batch::TrainBatch;
use crate::ops::single;
use crate::rows::Sequence;
use crate::step::Weigh;
use crate::trained::Trained;
use crate::weights::FrozenWeights;
use crate::{ModelConfig, Variant};

/// `tests/golden/methods.json`, written by `methods.py` beside it.
#[derive(Deserialize)]
struct Golden {
    rows: Vec<[Vec<u32>; 3]>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    losses: Vec<f64>,
    grad_norms: Vec<f64>,
    /// Norm, and product with `fill("probe")`, of the first gradient of every trained tensor.
    gradients: BTreeMap<String, [f64; 2]>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../tests/golden/methods.json")).unwrap()
}

/// The same numbers as `fill` of `methods.py`.
fn fill(name: &str, count: usize, scale: f64) -> Vec<f64> {
    let seed = name.bytes().fold(2_166_136_261u32, |seed, byte| (seed ^ u32::from(byte)).wrapping_mul(16_777_619));
    let value = |index: usize| {
        let mut x = u32::try_from(index).unwrap().wrapping_mul(0x9E37_79B9).wrapping_add(seed);
        for (shift, factor) in [(16, 0x85EB_CA6B), (13, 0xC2B2_AE35)] {
            x = (x ^ (x >> shift)).wrapping_mul(factor);
        }
        x ^= x >> 16;
        (f64::from(x >> 8) / 2f64.powi(23) - 1.0) * scale
    };
    (0..count).map(value).collect()
}

fn filled(name: &str, shape: &[usize], scale: f64, offset: f64) -> Tensor {
    let values: Vec<f32> = fill(name, shape.iter().product(), scale).iter().map(|x| single(x + offset)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn model() -> ModelConfig {
    ModelConfig {
        hidden_size: 16,
        intermediate_size: 24,
        num_layers: 2,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 4,
        vocab_size: 40,
        max_position: 64,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
        variant: Variant::default(),
    }
}

fn weights() -> BTreeMap<String, Tensor> {
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let tensor = if shape.len() == 1 { filled(&name, &shape, 0.1, 1.0) } else { filled(&name, &shape, 0.4, 0.0) };
        (name, tensor)
    };
    model().tensor_shapes().into_iter().map(tensor).collect()
}

fn config(objective: TrainObjective) -> TrainConfig {
    TrainConfig {
        objective,
        lora: LoraConfig { r: 3, lora_alpha: 6, ..LoraConfig::default() },
        learning_rate: 5e-3,
        lr_scheduler_type: SchedulerType::Constant,
        per_device_train_batch_size: 3,
        ..TrainConfig::default()
    }
}

fn rows(objective: TrainObjective) -> Vec<Row> {
    let row = |[prompt, answer, rejected]: &[Vec<u32>; 3]| {
        let answer = Sequence::answer(prompt, answer);
        let all = Sequence { first_loss: 1, ..answer.clone() };
        let rejected = Sequence::answer(prompt, rejected);
        let sequences = match objective {
            TrainObjective::Sft => vec![answer],
            TrainObjective::Pretrain => vec![Sequence { answer: 1, ..all }],
            TrainObjective::Dpo => vec![answer, rejected],
            TrainObjective::Orpo => vec![all, rejected],
        };
        Row { sequences, truncated: false }
    };
    golden().rows.iter().map(row).collect()
}

/// Parameters as the golden run begins with them, and those of the base.
fn start(config: &TrainConfig) -> [Vec<Parameter>; 2] {
    let model = model();
    let trained = Trained { model: &model, config };
    let base = trained.fresh(0, trained.is_full().then(weights).as_ref()).unwrap();
    let mut first = base.clone();
    if !trained.is_full() {
        for parameter in &mut first {
            let values = fill(&parameter.name, parameter.values.len(), 0.3);
            parameter.values = values.into_iter().map(single).collect();
        }
    }
    [first, base]
}

struct Silent;

impl crate::trainer::EventSink for Silent {
    fn send(&mut self, _event: trex_domain::WorkerEvent) -> bool {
        true
    }
}

/// A stepper for any model; the parameters are the base's until they are set.
pub(super) fn stepper_of(
    model: &ModelConfig,
    weights: impl Into<FrozenWeights>,
    config: &TrainConfig,
    backend: Backend,
    rows: Vec<Row>,
) -> Stepper {
    let weights = weights.into();
    let trained = Trained { model, config };
    let base = trained.fresh(0, trained.is_full().then_some(&weights.floats)).unwrap();
    let job = trex_domain::TrainJob {
        init_adapter: None,
        model_dir: "model".into(),
        data: "data".into(),
        config: config.clone(),
        seed: 4,
        total_steps: 10,
        stop_step: 10,
        resume_from: None,
        resume_config: None,
        scratch_dir: "scratch".into(),
        blobs_dir: "blobs".into(),
        checkpoint_every: 1,
        threads: 1,
        backend,
        device: trex_domain::DeviceChoice::Auto,
        dev: None,
        micro_batch: None,
    };
    let placement = crate::device_suite::placement_of(config.precision);
    let place = |(name, tensor): (String, Tensor)| {
        let placed = placement.frozen(&name, &tensor).unwrap();
        (name, placed)
    };
    let mut weights = weights;
    weights.floats = weights.floats.into_iter().map(place).collect();
    let weights = Base { weights, placement: placement.clone() };
    let step = crate::backend::open(&job, &trained, weights, &base, &mut Silent).unwrap();
    let plan = Plan { config: config.clone(), seed: 4, total_steps: 10, hidden_size: model.hidden_size };
    Stepper::new(plan, step, AdamW::new(base), rows, config.per_device_train_batch_size)
}

fn stepper(config: &TrainConfig, backend: Backend) -> Stepper {
    let mut stepper = stepper_of(&model(), weights(), config, backend, rows(config.objective));
    let [first, base] = start(config);
    stepper.optimizer = AdamW::new(first.clone());
    stepper.backend.set_parameters(&first).unwrap();
    if config.objective == TrainObjective::Dpo {
        stepper.compute_references(&base, (0, 10), &mut |_, _| true).unwrap();
    }
    stepper
}

fn gradients(stepper: &mut Stepper) -> (f64, Gradients) {
    stepper.gradients(0, &mut |_, _| true).unwrap()
}

fn near(found: f64, expected: f64, scale: f64) -> bool {
    (found - expected).abs() <= 1e-4 * scale.max(1e-3)
}

#[track_caller]
fn check(name: &str, config: &TrainConfig, backend: Backend) {
    let case = &golden().cases[name];
    let mut stepper = stepper(config, backend);
    let (_, first) = gradients(&mut stepper);
    assert_eq!(stepper.optimizer.parameters.len(), case.gradients.len());
    for (parameter, values) in stepper.optimizer.parameters.iter().zip(&first.values) {
        let [norm, product] = case.gradients[&parameter.name];
        let probe = fill("probe", values.len(), 1.0);
        let found: f64 = values.iter().zip(&probe).map(|(value, probe)| f64::from(*value) * probe).sum();
        let length = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        assert!(near(length, norm, norm), "{name} {}: norm {length} against {norm}", parameter.name);
        assert!(near(found, product, norm), "{name} {}: product {found} against {product}", parameter.name);
    }
    for (step, (loss, norm)) in case.losses.iter().zip(&case.grad_norms).enumerate() {
        let found = stepper.step(step, &mut |_, _| true).unwrap();
        assert!(near(found.loss, *loss, *loss), "{name} step {step}: loss {} against {loss}", found.loss);
        let found = found.grad_norm;
        // Norms of later steps carry the rounding of the weights.
        assert!((found - norm).abs() <= 1e-3 * norm, "{name} step {step}: norm {found} against {norm}");
    }
}

#[test]
fn answers_are_trained_on_as_in_peft() {
    check("sft_lora", &config(TrainObjective::Sft), Backend::Autograd);
    check("sft_lora", &config(TrainObjective::Sft), Backend::Auto);
}

#[test]
fn label_smoothing_is_that_of_transformers() {
    let config = TrainConfig { label_smoothing_factor: 0.1, ..config(TrainObjective::Sft) };
    check("sft_smoothing", &config, Backend::Autograd);
    check("sft_smoothing", &config, Backend::Auto);
}

#[test]
fn full_training_is_that_of_transformers() {
    let full = |objective, weight_decay| TrainConfig { method: TrainMethod::Full, weight_decay, ..config(objective) };
    check("sft_full", &full(TrainObjective::Sft, 0.1), Backend::Auto);
    check("pretrain_full", &full(TrainObjective::Pretrain, 0.0), Backend::Auto);
}

#[test]
fn preference_losses_are_those_of_trl() {
    check("dpo", &TrainConfig { beta: 0.3, ..config(TrainObjective::Dpo) }, Backend::Auto);
    check("orpo", &TrainConfig { beta: 0.2, ..config(TrainObjective::Orpo) }, Backend::Auto);
}

/// The code for cards gives the numbers of transformers, PEFT and TRL too: see [`crate::device_suite`].
#[test]
fn every_method_on_the_device_is_that_of_its_reference() {
    crate::device_suite::on_the_device(|_| {
        let smooth = TrainConfig { label_smoothing_factor: 0.1, ..config(TrainObjective::Sft) };
        let full =
            |objective, weight_decay| TrainConfig { method: TrainMethod::Full, weight_decay, ..config(objective) };
        check("sft_lora", &config(TrainObjective::Sft), Backend::Auto);
        check("sft_smoothing", &smooth, Backend::Auto);
        check("sft_full", &full(TrainObjective::Sft, 0.1), Backend::Auto);
        check("pretrain_full", &full(TrainObjective::Pretrain, 0.0), Backend::Auto);
        check("dpo", &TrainConfig { beta: 0.3, ..config(TrainObjective::Dpo) }, Backend::Auto);
        check("orpo", &TrainConfig { beta: 0.2, ..config(TrainObjective::Orpo) }, Backend::Auto);
    });
}

/// Largest difference of gradients over the largest value of each parameter's.
fn distance(a: &Gradients, b: &Gradients) -> f32 {
    let of = |(a, b): (&Vec<f32>, &Vec<f32>)| {
        let top = b.iter().fold(1e-6f32, |top, x| top.max(x.abs()));
        a.iter().zip(b).fold(0f32, |off, (a, b)| off.max((a - b).abs())) / top
    };
    a.values.iter().zip(&b.values).map(of).fold(0.0, f32::max)
}

#[track_caller]
fn check_same(one: &TrainConfig, other: &TrainConfig) {
    let (expected_loss, expected) = gradients(&mut stepper(one, Backend::Auto));
    let (loss, found) = gradients(&mut stepper(other, Backend::Auto));
    assert!((loss - expected_loss).abs() < 1e-5 * expected_loss.abs(), "loss {loss} against {expected_loss}");
    let off = distance(&found, &expected);
    assert!(off < 2e-5, "gradients are off by {off}");
}

/// Sequences in one batch and each in its own: no sequence sees another, packed or not.
#[test]
fn a_packed_batch_equals_its_sequences_one_by_one() {
    for objective in [TrainObjective::Sft, TrainObjective::Pretrain, TrainObjective::Dpo, TrainObjective::Orpo] {
        let config = config(objective);
        let apart = TrainConfig { per_device_train_batch_size: 1, gradient_accumulation_steps: 3, ..config.clone() };
        check_same(&config, &apart);
        check_same(&config, &TrainConfig { max_tokens_per_micro_batch: 12, ..config.clone() });
        check_same(&config, &TrainConfig { group_by_length: true, packing: true, ..config.clone() });
    }
}

#[test]
fn gradient_checkpointing_changes_no_gradient() {
    let lora = |share| LoraConfig { lora_dropout: share, ..config(TrainObjective::Sft).lora };
    let settings = [
        config(TrainObjective::Sft),
        config(TrainObjective::Dpo),
        TrainConfig { method: TrainMethod::Full, ..config(TrainObjective::Sft) },
        TrainConfig { lora: lora(0.3), neftune_noise_alpha: 5.0, ..config(TrainObjective::Sft) },
    ];
    for one in settings {
        check_same(&one, &TrainConfig { gradient_checkpointing: true, ..one.clone() });
    }
}

#[test]
fn noise_is_in_training_only_and_no_cut_changes_it() {
    let plain = config(TrainObjective::Sft);
    let noisy = TrainConfig { neftune_noise_alpha: 5.0, ..plain.clone() };
    let apart = TrainConfig { per_device_train_batch_size: 1, gradient_accumulation_steps: 3, ..noisy.clone() };
    check_same(&noisy, &apart);
    let (quiet, _) = gradients(&mut stepper(&plain, Backend::Auto));
    let mut stepper = stepper(&noisy, Backend::Auto);
    let (loud, _) = gradients(&mut stepper);
    assert!((loud - quiet).abs() > 1e-4 * quiet, "{loud} and {quiet}");
    stepper.dev = RowSet::new(rows(TrainObjective::Sft));
    let dev = stepper.eval_loss(0, &mut |_, _| true).unwrap();
    assert!((dev - quiet).abs() < 1e-5 * quiet, "{dev} and {quiet}");
}

/// Weights that decay are matrices; norms and biases are left alone.
#[test]
fn weight_decay_leaves_norms_alone() {
    let mut config = TrainConfig { method: TrainMethod::Full, ..config(TrainObjective::Sft) };
    let after = |config: &TrainConfig| {
        let mut stepper = stepper(config, Backend::Auto);
        stepper.step(0, &mut |_, _| true).unwrap();
        stepper.optimizer.parameters
    };
    let plain = after(&config);
    config.weight_decay = 0.5;
    for (plain, decayed) in plain.iter().zip(after(&config)) {
        assert_eq!(plain.values == decayed.values, plain.name.ends_with("norm.weight"), "{}", plain.name);
    }
}

#[test]
fn what_is_no_number_is_named() {
    let mut poisoned = stepper(&config(TrainObjective::Sft), Backend::Auto);
    let at =
        poisoned.optimizer.parameters.iter().position(|p| p.name.contains("layers.1.mlp.down_proj.lora_A")).unwrap();
    poisoned.optimizer.parameters[at].values[0] = f32::NAN;
    let parameters = poisoned.optimizer.parameters.clone();
    poisoned.backend.set_parameters(&parameters).unwrap();
    let err = poisoned.step(6, &mut |_, _| true).unwrap_err();
    assert_eq!(err.to_string(), "at step 7, the loss (NaN) is not finite");
    let mut gradients = poisoned.optimizer.zero_gradients();
    gradients.values[at][2] = f32::INFINITY;
    let err = poisoned.check_finite(0, 1.0, &gradients).unwrap_err();
    let name = "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight";
    assert_eq!(err.to_string(), format!("at step 1, the gradient of {name} [3, 24] is not finite"));
}

/// A device with room for so many tokens.
struct SmallDevice {
    inner: Box<dyn TrainStep>,
    room: usize,
    refusals: Rc<Cell<usize>>,
}

impl TrainStep for SmallDevice {
    fn accumulate(
        &mut self,
        batch: &TrainBatch,
        objective: Objective,
        dropout: Option<Dropout>,
        gradients: &mut Gradients,
    ) -> Result<f64, TrainError> {
        if batch.tree.tokens().len() > self.room {
            self.refusals.set(self.refusals.get() + 1);
            let text = "CUDA_ERROR_OUT_OF_MEMORY: out of memory".to_owned();
            return Err(candle_core::Error::Msg(text).into());
        }
        self.inner.accumulate(batch, objective, dropout, gradients)
    }

    fn accumulate_weighed(
        &mut self,
        batch: &TrainBatch,
        weigh: Weigh<'_>,
        dropout: Option<Dropout>,
        gradients: &mut Gradients,
    ) -> Result<f64, TrainError> {
        self.inner.accumulate_weighed(batch, weigh, dropout, gradients)
    }

    fn row_losses(&mut self, batch: &TrainBatch) -> Result<Vec<f64>, TrainError> {
        self.inner.row_losses(batch)
    }

    fn set_parameters(&mut self, parameters: &[Parameter]) -> Result<(), TrainError> {
        self.inner.set_parameters(parameters)
    }
}

#[test]
fn a_step_that_does_not_fit_is_taken_in_smaller_pieces() {
    let config = config(TrainObjective::Sft);
    let mut expected = stepper(&config, Backend::Auto);
    let refusals = Rc::new(Cell::new(0));
    let small = |room: usize| {
        let mut stepper = stepper(&config, Backend::Auto);
        let inner = std::mem::replace(&mut stepper.backend, Box::new(Nothing));
        stepper.backend = Box::new(SmallDevice { inner, room, refusals: refusals.clone() });
        stepper
    };
    let mut found = small(12);
    let mut pulses = Vec::new();
    for step in 0..3 {
        let (found, expected) = (
            found.step(step, &mut |pulse, _| (pulses.push(pulse), true).1).unwrap(),
            expected.step(step, &mut |_, _| true).unwrap(),
        );
        assert!((found.loss - expected.loss).abs() < 1e-5 * expected.loss);
        assert!((found.grad_norm - expected.grad_norm).abs() < 1e-4 * expected.grad_norm);
    }
    assert_eq!(refusals.get(), 1, "the smaller micro-batch is kept");
    assert_eq!(pulses.iter().filter(|pulse| **pulse == Pulse::SmallerMicroBatch(1)).count(), 1);
    assert_eq!(found.work.supervised, expected.work.supervised, "tokens of the failed try do not count");
    let err = small(1).step(0, &mut |_, _| true).unwrap_err();
    assert_eq!(err.failure_class(), trex_domain::FailureClass::OutOfMemory);
}

/// Computes nothing.
struct Nothing;

impl TrainStep for Nothing {
    fn accumulate(
        &mut self,
        _: &TrainBatch,
        _: Objective,
        _: Option<Dropout>,
        _: &mut Gradients,
    ) -> Result<f64, TrainError> {
        Ok(0.0)
    }

    fn accumulate_weighed(
        &mut self,
        _: &TrainBatch,
        _: Weigh<'_>,
        _: Option<Dropout>,
        _: &mut Gradients,
    ) -> Result<f64, TrainError> {
        Ok(0.0)
    }

    fn row_losses(&mut self, _: &TrainBatch) -> Result<Vec<f64>, TrainError> {
        Ok(Vec::new())
    }

    fn set_parameters(&mut self, _: &[Parameter]) -> Result<(), TrainError> {
        Ok(())
    }
}
