//! Numbers of transformers and PEFT, and what must hold for every family.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use trex_domain::{Quantization, TrainConfig};

use super::{Case, SEQUENCES, batch, difference, first_logits, largest, loss, values};
use crate::autograd::{Autograd, adapter_parameters};
use crate::batch::{TrainBatch, row};
use crate::decoder::Decoder;
use crate::engine::CpuEngine;
use crate::generate::greedy;
use crate::layout::TokenTree;
use crate::ops::testing::assert_close;
use crate::optimizer::AdamW;
use crate::optimizer::Parameter;
use crate::step::{Objective, TrainStep};
use crate::weights;

/// As in the script.
const LEARNING_RATE: f64 = 2e-3;
const WEIGHT_DECAY: f64 = 0.01;

#[test]
fn logits_are_those_of_transformers() {
    for case in Case::all() {
        let expected = case.expected();
        let plain = difference(&first_logits(&case.model()), &expected["logits"]);
        let mut model = case.model();
        model.attach(&case.adapter());
        let adapted = difference(&first_logits(&model), &expected["adapted_logits"]);
        println!("{}: {plain:.1e} without adapters, {adapted:.1e} with", case.name);
        assert!(plain < 1e-4 && adapted < 1e-4, "{}: {plain} {adapted}", case.name);
    }
}

#[test]
fn losses_and_adapter_gradients_are_those_of_peft() {
    for case in Case::all() {
        let expected = case.expected();
        let (model, vars) = case.adapted();
        let loss = loss(&model);
        let first = values(&expected["losses"])[0];
        let off = (loss.to_scalar::<f32>().unwrap() / first - 1.0).abs();
        assert!(off < 1e-5, "{}: loss differs by {off}", case.name);
        let grads = loss.backward().unwrap();
        let config = case.config();
        assert_eq!(vars.len(), 2 * config.num_layers * config.projections().len());
        let mut worst = 0f32;
        for (name, var) in &vars {
            let grad = grads.get(var).unwrap_or_else(|| panic!("{}: {name} got no gradient", case.name));
            let reference = &expected[&format!("grad.{name}")];
            let size = largest(reference);
            assert!(size > 0.0 && largest(grad) > 0.0, "{}: {name} has no gradient", case.name);
            worst = worst.max(difference(grad, reference) / size);
        }
        println!("{}: loss off by {off:.1e}, gradients by {worst:.1e}", case.name);
        assert!(worst < 1e-3, "{}: gradients differ by {worst}", case.name);
    }
}

/// One matrix under AdamW as torch computes it.
struct Moments {
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Moments {
    fn step(&mut self, var: &Var, grad: &Tensor, step: i32) {
        let (beta1, beta2): (f64, f64) = (0.9, 0.999);
        let (bias1, bias2) = (1.0 - beta1.powi(step), 1.0 - beta2.powi(step));
        let mut weights = values(var.as_tensor());
        for (index, (weight, grad)) in weights.iter_mut().zip(values(grad)).enumerate() {
            let grad = f64::from(grad);
            let first = &mut self.first[index];
            *first = beta1 * *first + (1.0 - beta1) * grad;
            let second = &mut self.second[index];
            *second = beta2 * *second + (1.0 - beta2) * grad * grad;
            let decayed = f64::from(*weight) * (1.0 - LEARNING_RATE * WEIGHT_DECAY);
            let update = (*first / bias1) / ((*second / bias2).sqrt() + 1e-8);
            *weight = crate::ops::single(decayed - LEARNING_RATE * update);
        }
        let shape = var.shape().clone();
        var.set(&Tensor::from_vec(weights, shape, &Device::Cpu).unwrap()).unwrap();
    }
}

#[test]
fn twenty_steps_of_adamw_have_the_losses_of_torch() {
    for case in Case::all() {
        let (model, vars) = case.adapted();
        let zeros = |var: &Var| vec![0.0; var.elem_count()];
        let mut moments: Vec<_> =
            vars.iter().map(|(_, var)| Moments { first: zeros(var), second: zeros(var) }).collect();
        let expected = values(&case.expected()["losses"]);
        assert_eq!(expected.len(), 21);
        let mut worst = 0f32;
        for (step, expected) in (1..).zip(&expected) {
            let loss = loss(&model);
            let off = (loss.to_scalar::<f32>().unwrap() / expected - 1.0).abs();
            assert!(off < 1e-4, "{}: loss before step {step} differs by {off}", case.name);
            worst = worst.max(off);
            let grads = loss.backward().unwrap();
            for (moments, (_, var)) in moments.iter_mut().zip(&vars) {
                moments.step(var, grads.get(var).unwrap(), step);
            }
        }
        println!("{}: losses of 20 steps off by at most {worst:.1e}", case.name);
        assert!(expected[20] < 0.9 * expected[0], "{}: the script trains nothing", case.name);
    }
}

#[test]
fn a_shared_beginning_changes_no_number_in_any_family() {
    for case in Case::all() {
        let (model, _) = case.adapted();
        let [shared, apart] = [true, false].map(|is_shared| {
            let (tree, rows) = batch(is_shared);
            let hidden = model.hidden(&tree, None).unwrap();
            rows.map(|rows| model.logits(&hidden, &rows).unwrap())
        });
        for (shared, apart) in shared.iter().zip(&apart) {
            assert_close(shared, apart, &case.name);
        }
    }
}

#[test]
fn the_engine_gives_the_losses_and_gradients_of_autograd_in_any_family() {
    for case in Case::all() {
        let adapter = case.adapter();
        let parameters = adapter_parameters(&adapter).unwrap();
        let optimizer = AdamW::new(parameters);
        let weights = || crate::weights::load(&case.dir, &case.config(), &Device::Cpu).unwrap();
        let model = Decoder::frozen(case.config(), weights(), &Device::Cpu).unwrap();
        let mut oracle = Autograd::with_adapter(model, &adapter).unwrap();
        let mut engine =
            CpuEngine::new(case.config(), weights(), &optimizer.parameters, &adapter.config, false).unwrap();
        for is_shared in [true, false] {
            let (tree, rows) = batch(is_shared);
            let mut rows = rows.concat();
            rows.sort_unstable();
            rows.dedup();
            let targets = Arc::new(rows.iter().map(|row| row % 7 + 1).collect());
            let batch = TrainBatch { tree, rows, targets };
            let objective = Objective { divisor: 3.0, label_smoothing: 0.0 };
            let (mut expected, mut found) = (optimizer.zero_gradients(), optimizer.zero_gradients());
            let loss = oracle.accumulate(&batch, objective, None, &mut expected).unwrap();
            let ours = engine.accumulate(&batch, objective, None, &mut found).unwrap();
            assert!((loss - ours).abs() < 1e-5 * loss, "{}: loss {ours}, expected {loss}", case.name);
            for ((found, expected), p) in found.values.iter().zip(&expected.values).zip(&optimizer.parameters) {
                let top = expected.iter().fold(1e-6f32, |top, x| top.max(x.abs()));
                let off = found.iter().zip(expected).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
                assert!(off < 2e-4 * top, "{}: {} is off by {off} of {top}", case.name, p.name);
            }
        }
        let prompts: Vec<Vec<u32>> = vec![SEQUENCES[0][..9].to_vec(), SEQUENCES[1].to_vec(), vec![5]];
        let (model, _) = case.adapted();
        let expected = crate::generate::greedy(&model, &prompts, 10, &[79]).unwrap();
        assert_eq!(greedy(&mut engine, &prompts, 10, &[79]).unwrap(), expected, "{}", case.name);
    }
}

/// Twenty steps of AdamW on the sequences of the script: losses, and the adapters at the end.
fn twenty_steps(mut step: Box<dyn TrainStep>, start: &[Parameter]) -> (Vec<f64>, Vec<Parameter>) {
    let mut optimizer = AdamW::new(start.to_vec());
    let (tree, rows) = batch(true);
    let mut rows = rows.concat();
    rows.sort_unstable();
    rows.dedup();
    let targets = Arc::new(rows.iter().map(|row| row % 7 + 1).collect());
    let batch = TrainBatch { tree, rows, targets };
    let objective = Objective { divisor: batch.rows.len() as f64, label_smoothing: 0.0 };
    let mut losses = Vec::new();
    for number in 0..20 {
        let mut gradients = optimizer.zero_gradients();
        losses.push(step.accumulate(&batch, objective, None, &mut gradients).unwrap());
        optimizer.step(&mut gradients, &TrainConfig::default(), LEARNING_RATE, number + 1);
        step.set_parameters(&optimizer.parameters).unwrap();
    }
    (losses, optimizer.parameters)
}

#[test]
fn the_engine_follows_autograd_on_a_quantised_base_of_any_family() {
    let mut count = 0;
    for case in Case::all() {
        let gguf = case.dir.join("gguf");
        let bases = [
            (&case.dir, Quantization::Q8_0),
            (&case.dir, Quantization::Q4K),
            (&case.dir, Quantization::Q4_0),
            (&gguf, Quantization::AsStored),
        ];
        for (dir, quantization) in bases.into_iter().filter(|(dir, _)| dir.is_dir()) {
            let adapter = case.adapter();
            let start = adapter_parameters(&adapter).unwrap();
            let frozen = || weights::load_frozen(dir, &case.config(), quantization).unwrap();
            assert!(!frozen().blocks.is_empty(), "{}: nothing is quantised", case.name);
            let engine = CpuEngine::new(case.config(), frozen(), &start, &adapter.config, false).unwrap();
            let model = Decoder::frozen(case.config(), frozen(), &Device::Cpu).unwrap();
            let oracle = Autograd::with_adapter(model, &adapter).unwrap();
            let (losses, found) = twenty_steps(Box::new(engine), &start);
            let (expected_losses, expected) = twenty_steps(Box::new(oracle), &start);
            for (loss, expected) in losses.iter().zip(&expected_losses) {
                assert!((loss - expected).abs() < 1e-4 * expected, "{} {quantization}: {loss} {expected}", case.name);
            }
            assert!(losses[19] < 0.9 * losses[0], "{}: nothing is learned: {losses:?}", case.name);
            for (found, expected) in found.iter().zip(&expected) {
                let top = expected.values.iter().fold(1e-6f32, |top, x| top.max(x.abs()));
                let pairs = found.values.iter().zip(&expected.values);
                let off = pairs.fold(0f32, |off, (a, b)| off.max((a - b).abs()));
                assert!(off < 1e-3 * top, "{} {quantization}: {} is off by {off} of {top}", case.name, found.name);
            }
            count += 1;
        }
    }
    assert_eq!(count, 11 * 3 + 6);
}

#[test]
fn greedy_generation_with_a_cache_equals_full_runs_in_any_family() {
    let prompts: Vec<Vec<u32>> =
        vec![SEQUENCES[0][..9].to_vec(), SEQUENCES[1].to_vec(), SEQUENCES[0][..8].to_vec(), vec![5]];
    for case in Case::all() {
        let (model, _) = case.adapted();
        let fast = crate::generate::greedy(&model, &prompts, 10, &[79]).unwrap();
        for (prompt, fast) in prompts.iter().zip(fast) {
            let mut tokens = prompt.clone();
            while tokens.len() < prompt.len() + 10 {
                let next = most_likely(&model, &tokens);
                if next == 79 {
                    break;
                }
                tokens.push(next);
            }
            assert_eq!(fast, tokens[prompt.len()..], "{}", case.name);
        }
    }
}

fn most_likely(model: &Decoder, tokens: &[u32]) -> u32 {
    let mut tree = TokenTree::default();
    tree.push(None, tokens);
    let hidden = model.hidden(&tree, None).unwrap();
    let logits = values(&model.logits(&hidden, &[row(tokens.len() - 1)]).unwrap());
    let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a)));
    row(best.unwrap())
}

#[test]
fn all_weights_of_any_family_can_be_trained() {
    for case in Case::all() {
        let initial = weights::load(&case.dir, &case.config(), &Device::Cpu).unwrap();
        let (model, vars) = Decoder::trainable(case.config(), initial, &Device::Cpu).unwrap();
        assert_close(&first_logits(&model), &case.expected()["logits"], &case.name);
        let grads = loss(&model).backward().unwrap();
        assert_eq!(vars.len(), case.config().tensor_shapes().len());
        for (name, var) in vars {
            let grad = grads.get(&var).unwrap_or_else(|| panic!("{}: {name} got no gradient", case.name));
            // A bias of all keys shifts all scores of a row alike, which changes no probability.
            let changes_nothing = name.ends_with("k_proj.bias");
            assert!(largest(grad) > 0.0 || changes_nothing, "{}: {name} has no gradient", case.name);
        }
    }
}

#[test]
fn norms_are_stored_as_they_were_read() {
    for case in Case::all() {
        let config = case.config();
        let loaded = weights::load(&case.dir, &config, &Device::Cpu).unwrap();
        let files = std::fs::read_dir(&case.dir).unwrap().map(|entry| entry.unwrap().path());
        let weights_files = files.filter(|path| {
            path.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name.starts_with("model") && name.ends_with(".safetensors")
            })
        });
        let stored: std::collections::BTreeMap<String, Tensor> =
            weights_files.flat_map(|path| super::read_safetensors(&path)).collect();
        assert_eq!(stored.len(), loaded.len());
        for (name, tensor) in loaded {
            let back = weights::stored_form(&config, &name, &tensor).unwrap();
            assert!(difference(&back, &stored[&name]) < 1e-7, "{}: {name}", case.name);
        }
    }
}
