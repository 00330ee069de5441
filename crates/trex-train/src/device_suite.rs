//! The code for cards, held against transformers, PEFT and the code for the processor.
//!
//! `TREX_TEST_DEVICE` names the device: `cuda`, `cuda:N` or `metal`. Without it, or with `cpu`, the same code (composed
//! operations, frozen projections in half precision, the model placed as on a card) runs on the processor, which is all
//! that was ever run here. `cargo xtask gpu-suite` runs these tests on a card and makes a table of what they print.
//!
//! Every measure prints what is off, and the limit. Limits for bfloat16 and f16 are about three times what the processor
//! shows; those of a card are wider by [`slack`], because its sums have another order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use trex_domain::{
    Backend, DeviceChoice, EvalJob, EvalMode, Example, ItemScore, Message, Metric, Origin, Precision, TrainConfig,
    TrainJob, WorkerEvent,
};
use trex_fs::BlobStore;

use crate::autograd::{Autograd, adapter_parameters};
use crate::backend::{Numbers, load_weights};
use crate::batch::TrainBatch;
use crate::decoder::Decoder;
use crate::device::Placement;
use crate::golden::{Case, SEQUENCES, supervised, values};
use crate::layout::TokenTree;
use crate::ops::testing::{as_on_a_card, random, takes_composed};
use crate::ops::{self, HeadShape, RopeTable, Sight};
use crate::optimizer::{AdamW, Gradients};
use crate::step::{Objective, TrainStep as _};
use crate::{Activation, RopeFrequencies, TrainError};

const FORMATS: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::F16];

/// The device of the suite.
fn device() -> Device {
    let name = std::env::var("TREX_TEST_DEVICE").unwrap_or_default();
    let choice: DeviceChoice = if name.is_empty() { DeviceChoice::Cpu } else { name.parse().unwrap() };
    match choice {
        DeviceChoice::Cuda(number) => Device::new_cuda(number).expect("TREX_TEST_DEVICE names a card that opens"),
        DeviceChoice::Metal => Device::new_metal(0).expect("TREX_TEST_DEVICE names a device that opens"),
        DeviceChoice::Auto | DeviceChoice::Cpu => Device::Cpu,
    }
}

/// Runs a test with the code for cards on the device of the suite.
pub(crate) fn on_the_device(test: impl FnOnce(&Device)) {
    let device = device();
    as_on_a_card(|| test(&device));
}

/// Where a model lies: on the device of the suite within [`on_the_device`], on the processor outside.
pub(crate) fn placement_of(precision: Precision) -> Placement {
    if takes_composed() { Placement::card(device(), precision) } else { Placement::cpu() }
}

/// How much wider limits are on a card.
fn slack(device: &Device) -> f64 {
    if device.is_cpu() { 1.0 } else { 10.0 }
}

/// A limit by number format.
fn by_format(precision: Precision, limits: [f64; 3]) -> f64 {
    match precision {
        Precision::F32 => limits[0],
        Precision::Bf16 => limits[1],
        Precision::F16 => limits[2],
    }
}

/// Prints a measure for the table and holds it against its limit.
#[track_caller]
fn measure(what: &str, of: &str, precision: Precision, off: f64, limit: f64, device: &Device) {
    let limit = limit * slack(device);
    println!("suite|{what}|{of}|{precision:?}|{off:.1e}|{limit:.1e}");
    assert!(off <= limit, "{what} of {of} in {precision:?}: off by {off:.2e}, at most {limit:.1e}");
}

/// Largest difference over the largest expected value.
#[track_caller]
fn relative(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let top = expected.iter().fold(1e-9f32, |top, x| top.max(x.abs()));
    let off = found.iter().zip(expected).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
    if found.iter().all(|x| x.is_finite()) { f64::from(off / top) } else { f64::INFINITY }
}

/// Value and gradients of an operation for inputs on a device, all in main memory.
fn run_operation(
    inputs: &[Tensor],
    device: &Device,
    f: &dyn Fn(&[Tensor]) -> candle_core::Result<Tensor>,
) -> Vec<Vec<f32>> {
    let vars: Vec<Var> =
        inputs.iter().map(|input| Var::from_tensor(&input.to_device(device).unwrap()).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let out = f(&tensors).unwrap();
    let weights = random(out.dims(), "weights").to_device(device).unwrap();
    let grads = (&out * weights).unwrap().sum_all().unwrap().backward().unwrap();
    let all = std::iter::once(&out).chain(vars.iter().map(|var| grads.get(var).expect("a gradient")));
    all.map(|tensor| values(&tensor.to_device(&Device::Cpu).unwrap())).collect()
}

#[track_caller]
fn check_operation(name: &str, inputs: &[Tensor], f: &dyn Fn(&[Tensor]) -> candle_core::Result<Tensor>) {
    let expected = run_operation(inputs, &Device::Cpu, f);
    on_the_device(|device| {
        let found = run_operation(inputs, device, f);
        let off = found.iter().zip(&expected).map(|(found, expected)| relative(found, expected)).fold(0.0, f64::max);
        measure("operation", name, Precision::F32, off, 2e-5, device);
    });
}

#[test]
fn operations_give_the_values_and_gradients_of_the_fused_ones() {
    let (x, w) = (random(&[9, 24], "x"), random(&[24], "w"));
    check_operation("rms norm", &[x.clone(), w], &|t| ops::rms_norm(&t[0], &t[1], 1e-5));
    let frequencies = RopeFrequencies { inverse: vec![1.0, 0.3], attention_factor: 1.25 };
    let table = RopeTable::new(&[0, 1, 2, 7, 3, 4, 5, 6, 8], 6, &frequencies);
    check_operation("rope", std::slice::from_ref(&x), &|t| ops::rope(&t[0], &table));
    let mut tree = TokenTree::default();
    let root = tree.push(None, &[1, 2, 3]);
    tree.push(Some(root), &[4, 5]);
    tree.push(Some(root), &[6]);
    tree.push(None, &[7, 8, 9]);
    for window in [None, Some(2)] {
        let shape = HeadShape { num_heads: 4, num_kv_heads: 2, head_dim: 6, scale: 0.4, window };
        let sight = Sight::of(&tree);
        let inputs = [x.clone(), random(&[9, 12], "k"), random(&[9, 12], "v")];
        check_operation("attention", &inputs, &|t| ops::attention(&t[0], &t[1], &t[2], &sight, shape));
    }
    for activation in [Activation::Silu, Activation::GeluTanh] {
        let inputs = [(&x * 4.0).unwrap(), random(&[9, 24], "up")];
        check_operation("gated", &inputs, &|t| ops::gated(activation, &t[0], &t[1]));
    }
    let targets = Arc::new((0..9).collect::<Vec<u32>>());
    for smoothing in [0.0, 0.1] {
        check_operation("cross-entropy", std::slice::from_ref(&x), &|t| ops::cross_entropy(&t[0], &targets, smoothing));
    }
    let weight = random(&[10, 24], "frozen");
    check_operation("frozen linear", &[x], &|t| ops::frozen_linear(&t[0], &weight.to_device(t[0].device())?));
}

/// A golden checkpoint as a training step: on the device within [`on_the_device`], else by automatic differentiation over
/// the fused operations of the processor, with the same rounding of weights.
struct Trainee {
    step: Autograd,
    optimizer: AdamW,
    batch: TrainBatch,
    objective: Objective,
}

/// A base that is not quantised.
fn floats_of(precision: Precision) -> Numbers {
    Numbers { precision, quantization: trex_domain::Quantization::None }
}

impl Trainee {
    fn new(case: &Case, precision: Precision, checkpoints: bool) -> Self {
        let placement = placement_of(precision);
        let tensors =
            load_weights(&case.dir, &case.config(), floats_of(precision), Backend::Autograd, &placement).unwrap();
        let model = Decoder::frozen(case.config(), tensors, placement.device()).unwrap();
        let adapter = case.adapter();
        let step = Autograd::with_adapter(model, &adapter).unwrap().with_gradient_checkpointing(checkpoints);
        let (tree, rows, targets) = supervised();
        let objective = Objective { divisor: targets.len() as f64, label_smoothing: 0.0 };
        let batch = TrainBatch { tree, rows, targets: Arc::new(targets) };
        Self { step, optimizer: AdamW::new(adapter_parameters(&adapter).unwrap()), batch, objective }
    }

    fn gradients(&mut self) -> (f64, Gradients) {
        let mut gradients = self.optimizer.zero_gradients();
        let loss = self.step.accumulate(&self.batch, self.objective, None, &mut gradients).unwrap();
        (loss, gradients)
    }

    /// Losses before each of some steps of AdamW as the golden script takes them.
    fn losses(&mut self, steps: usize) -> Vec<f64> {
        let config = TrainConfig { weight_decay: 0.01, max_grad_norm: 0.0, ..TrainConfig::default() };
        let mut losses = Vec::new();
        for step in 1..=steps {
            let (loss, mut gradients) = self.gradients();
            losses.push(loss);
            self.optimizer.step(&mut gradients, &config, 2e-3, step);
            self.step.set_parameters(&self.optimizer.parameters).unwrap();
        }
        losses
    }
}

/// The worst parameter.
fn gradients_off(found: &Gradients, expected: &Gradients) -> f64 {
    found.values.iter().zip(&expected.values).map(|(a, b)| relative(a, b)).fold(0.0, f64::max)
}

#[test]
fn losses_and_gradients_of_every_family_in_every_format() {
    for case in Case::all() {
        let golden = case.expected();
        for precision in FORMATS {
            let (loss, expected) = Trainee::new(&case, precision, false).gradients();
            on_the_device(|device| {
                let mut trainee = Trainee::new(&case, precision, false);
                let (found_loss, found) = trainee.gradients();
                let off = (found_loss / loss - 1.0).abs();
                measure("loss", &case.name, precision, off, by_format(precision, [1e-5, 1e-2, 1e-3]), device);
                let off = gradients_off(&found, &expected);
                measure("gradients", &case.name, precision, off, by_format(precision, [1e-4, 2e-1, 3e-2]), device);
                if precision == Precision::F32 {
                    let of_peft = |name: &String| values(&golden[&format!("grad.{name}")]);
                    let names = trainee.optimizer.parameters.iter().map(|parameter| of_peft(&parameter.name));
                    let off = names.zip(&found.values).map(|(b, a)| relative(a, &b)).fold(0.0, f64::max);
                    measure("gradients of PEFT", &case.name, precision, off, 1e-3, device);
                }
            });
        }
    }
}

#[test]
fn twenty_steps_of_every_family_in_every_format() {
    for case in Case::all() {
        let golden: Vec<f64> = values(&case.expected()["losses"]).into_iter().map(f64::from).collect();
        for precision in FORMATS {
            let of_processor = Trainee::new(&case, precision, false).losses(21);
            let expected = if precision == Precision::F32 { &golden } else { &of_processor };
            on_the_device(|device| {
                let found = Trainee::new(&case, precision, false).losses(21);
                let off = found.iter().zip(expected).map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max);
                measure("21 losses", &case.name, precision, off, by_format(precision, [1e-4, 6e-2, 8e-3]), device);
            });
        }
    }
}

#[test]
fn checkpointing_on_the_device_changes_no_gradient() {
    on_the_device(|device| {
        for precision in FORMATS {
            let case = Case::named("gemma3");
            let (_, expected) = Trainee::new(&case, precision, false).gradients();
            let (_, found) = Trainee::new(&case, precision, true).gradients();
            measure("checkpointing", &case.name, precision, gradients_off(&found, &expected), 1e-5, device);
        }
    });
}

#[test]
fn answers_of_every_family_are_those_of_the_processor() {
    let prompts: Vec<Vec<u32>> = vec![SEQUENCES[0][..9].to_vec(), SEQUENCES[1].to_vec(), vec![5]];
    for case in Case::all() {
        let greedy = || {
            let placement = placement_of(Precision::F32);
            let tensors =
                load_weights(&case.dir, &case.config(), floats_of(Precision::F32), Backend::Autograd, &placement)
                    .unwrap();
            let mut model = Decoder::frozen(case.config(), tensors, placement.device()).unwrap();
            model.attach(&case.adapter().on(placement.device()).unwrap());
            crate::generate::greedy(&model, &prompts, 10, &[79]).unwrap()
        };
        let expected = greedy();
        on_the_device(|device| {
            let differing = greedy().iter().zip(&expected).filter(|(found, expected)| found != expected).count();
            measure("greedy answers", &case.name, Precision::F32, differing as f64, 0.0, device);
        });
    }
}

#[test]
fn trained_values_stay_in_single_precision_on_the_device() {
    on_the_device(|_| {
        // A change that half precision would swallow.
        let mut trainee = Trainee::new(&Case::named("llama"), Precision::Bf16, false);
        let (before, _) = trainee.gradients();
        for parameter in &mut trainee.optimizer.parameters {
            parameter.values.iter_mut().for_each(|value| *value *= 1.0 + 5e-4);
        }
        let parameters = trainee.optimizer.parameters.clone();
        trainee.step.set_parameters(&parameters).unwrap();
        let (after, _) = trainee.gradients();
        assert!((before - after).abs() > 0.0 && (before / after - 1.0).abs() < 1e-2, "{before} and {after}");
    });
}

/// Collects events.
#[derive(Default)]
struct Heard(Vec<WorkerEvent>);

impl crate::EventSink for Heard {
    fn send(&mut self, event: WorkerEvent) -> bool {
        self.0.push(event);
        true
    }
}

/// A folder with rows, and the model of this repository.
struct Workshop {
    dir: tempfile::TempDir,
    data: PathBuf,
}

impl Workshop {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sizes = [("elephant", "big"), ("mouse", "small"), ("whale", "big"), ("ant", "small"), ("horse", "big")];
        let row = |(index, (animal, size)): (usize, &(&str, &str))| Example {
            id: format!("t/{index}"),
            prompt: vec![Message::user(format!("how large is the {animal}?"))],
            answer: (*size).to_owned(),
            options: vec!["big".to_owned(), "small".to_owned()],
            group: None,
            rejected: None,
            origin: Origin { source: "t".to_owned(), row: index as u64, changed_by: Vec::new() },
        };
        let rows: Vec<Example> = sizes.iter().enumerate().map(row).collect();
        let blobs = BlobStore::new(dir.path().join("blobs"));
        let data = blobs.path(&blobs.put_lines(&rows).unwrap());
        Self { dir, data }
    }

    fn blobs(&self) -> BlobStore {
        BlobStore::new(self.dir.path().join("blobs"))
    }

    fn model_dir() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/models/trex-mini")
    }

    fn choice() -> DeviceChoice {
        let name = std::env::var("TREX_TEST_DEVICE").ok().filter(|name| takes_composed() && !name.is_empty());
        name.map_or(DeviceChoice::Cpu, |name| name.parse().unwrap())
    }

    /// Trains until `stop_step` of eight and returns what came of it; `name` is that of its checkpoints.
    fn train(
        &self,
        name: &str,
        precision: Precision,
        stop_step: usize,
        resume_from: Option<PathBuf>,
    ) -> trex_domain::TrainDone {
        let job = TrainJob {
            model_dir: Self::model_dir(),
            data: self.data.clone(),
            config: TrainConfig {
                learning_rate: 2e-3,
                per_device_train_batch_size: 4,
                max_steps: 8,
                precision,
                ..TrainConfig::default()
            },
            seed: 3,
            total_steps: 8,
            stop_step,
            resume_from,
            resume_config: None,
            init_adapter: None,
            scratch_dir: self.dir.path().join(name),
            blobs_dir: self.blobs().root().to_owned(),
            checkpoint_every: 100,
            threads: 2,
            backend: Backend::Auto,
            device: Self::choice(),
            dev: None,
            micro_batch: None,
        };
        let mut heard = Heard::default();
        let done = crate::train(&job, &mut heard).unwrap();
        let devices = heard.0.iter().filter(|event| matches!(event, WorkerEvent::Device { .. })).count();
        assert_eq!(devices, 1);
        done
    }

    /// Log-likelihoods of the gold answers.
    fn score(&self, precision: Precision, trained: &trex_domain::TrainDone) -> Vec<f32> {
        let job = EvalJob {
            model_dir: Self::model_dir(),
            adapter: Some(self.blobs().path(&trained.adapter)),
            items: self.data.clone(),
            take: usize::MAX,
            metric: Metric::Accuracy,
            mode: EvalMode::Choice,
            seed: 0,
            blobs_dir: self.blobs().root().to_owned(),
            threads: 2,
            backend: Backend::Auto,
            device: Self::choice(),
            precision,
            quantization: trex_domain::Quantization::None,
        };
        let done = crate::evaluate(&job, &mut Heard::default()).unwrap();
        let items: Vec<ItemScore> = self.blobs().get_lines(&done.items).unwrap();
        items.iter().map(|item| ops::single(item.gold_logprob.unwrap())).collect()
    }
}

/// What the worker does, from the files to the blobs: on the processor with its engine, and with the code for cards.
#[test]
fn whole_jobs_on_the_device_come_to_what_the_processor_comes_to() {
    let shop = Workshop::new();
    for precision in FORMATS {
        let expected = shop.train(&format!("processor {precision:?}"), precision, 8, None);
        let likelihoods = shop.score(precision, &expected);
        on_the_device(|device| {
            let found = shop.train(&format!("device {precision:?}"), precision, 8, None);
            let curves = found.curve.iter().zip(&expected.curve);
            let off = curves.map(|(a, b)| (a.loss - b.loss).abs()).fold(0.0, f64::max) / expected.curve[0].loss;
            assert_eq!(found.curve.len(), 8);
            assert!(expected.curve[7].loss < 0.9 * expected.curve[0].loss, "{:?}", expected.curve);
            measure("curve of a job", "trex-mini", precision, off, by_format(precision, [1e-4, 1e-2, 3e-3]), device);
            let off = relative(&shop.score(precision, &expected), &likelihoods);
            let limit = by_format(precision, [1e-4, 1e-2, 3e-3]);
            measure("likelihoods of a job", "trex-mini", precision, off, limit, device);
        });
    }
}

/// Checkpoints hold single precision in main memory, whatever computed them.
#[test]
fn a_training_goes_from_the_processor_to_the_device_and_back() {
    let shop = Workshop::new();
    let whole = shop.train("whole", Precision::F32, 8, None);
    let first = shop.train("first", Precision::F32, 3, None);
    let path = |done: &trex_domain::TrainDone| Some(shop.blobs().path(&done.checkpoint));
    let mut second = None;
    on_the_device(|_| second = Some(shop.train("second", Precision::F32, 6, path(&first))));
    let third = shop.train("third", Precision::F32, 8, second.as_ref().and_then(path));
    let off = third.curve.iter().zip(&whole.curve).map(|(a, b)| (a.loss / b.loss - 1.0).abs()).fold(0.0, f64::max);
    assert_eq!((third.steps, third.curve.len()), (8, 8));
    measure("there and back", "trex-mini", Precision::F32, off, 1e-4, &device());
}

/// A step that overflows is refused by name and not taken, in half precision as in single.
#[test]
fn numbers_beyond_the_range_are_refused_on_the_device() {
    on_the_device(|_| {
        let case = Case::named("llama");
        let place = placement_of(Precision::F16);
        let mut tensors =
            load_weights(&case.dir, &case.config(), floats_of(Precision::F16), Backend::Autograd, &place).unwrap();
        let name = "model.layers.0.mlp.down_proj.weight";
        let huge = (&tensors.floats[name].to_dtype(candle_core::DType::F32).unwrap() * 1e30).unwrap();
        let err = place.frozen(name, &huge.to_device(&Device::Cpu).unwrap()).unwrap_err();
        assert!(matches!(err, TrainError::BeyondFormat { .. }), "{err}");
        tensors.floats.insert(name.to_owned(), huge.to_dtype(candle_core::DType::F16).unwrap());
        let model = Decoder::frozen(case.config(), tensors, place.device()).unwrap();
        let mut trainee = Trainee::new(&case, Precision::F16, false);
        trainee.step = Autograd::with_adapter(model, &case.adapter()).unwrap();
        let (loss, _) = trainee.gradients();
        assert!(!loss.is_finite(), "{loss}");
    });
}
