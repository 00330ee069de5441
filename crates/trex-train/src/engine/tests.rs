//! The engine against autograd: the same loss and the same gradients.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use trex_domain::{GenerationConfig, LoraConfig, Quantization, TargetModules};

use super::*;
use crate::autograd::{Autograd, adapter_parameters};
use crate::decoder::{Decoder, initial_weights};
use crate::generate::{generate, greedy};
use crate::layout::TokenTree;
use crate::lora::Adapter;
use crate::ops::testing::random;
use crate::optimizer::AdamW;
use crate::sampling::Choice;

fn config() -> ModelConfig {
    ModelConfig {
        hidden_size: 24,
        intermediate_size: 40,
        num_layers: 3,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 6,
        vocab_size: 300,
        max_position: 512,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
        variant: Variant::default(),
    }
}

fn adapter(config: &ModelConfig, lora: &LoraConfig) -> Adapter {
    let mut adapter = Adapter::new(config, lora, 5, &Device::Cpu).unwrap();
    for (module, pair) in &mut adapter.pairs {
        pair.b = (random(pair.b.dims(), module) * 0.1).unwrap();
    }
    adapter
}

fn weights(config: &ModelConfig) -> BTreeMap<String, Tensor> {
    let weights = initial_weights(config, 3, &Device::Cpu).unwrap();
    weights.into_iter().map(|(name, w)| (name, (w * 4.0).unwrap())).collect()
}

/// A batch of unrelated rows, some of them long, and one whose rows share a beginning.
fn batches(vocab: usize) -> Vec<TrainBatch> {
    let token = |i: usize| crate::batch::row((i * 7919 + 13) % vocab);
    let tokens = |first: usize, len: usize| (first..first + len).map(token).collect::<Vec<_>>();
    let mut apart = TokenTree::default();
    apart.push(None, &tokens(0, 120));
    apart.push(None, &tokens(7, 60));
    apart.push(None, &tokens(3, 1));
    let mut shared = TokenTree::default();
    let root = shared.push(None, &tokens(1, 50));
    let item = shared.push(Some(root), &tokens(60, 9));
    shared.push(Some(item), &tokens(90, 3));
    shared.push(Some(item), &tokens(95, 55));
    shared.push(Some(root), &tokens(200, 70));
    let batch = |tree: TokenTree, rows: Vec<u32>| {
        let targets = (0..rows.len()).map(|i| token(1000 + i)).collect();
        TrainBatch { tree, rows, targets: Arc::new(targets) }
    };
    vec![batch(apart, (0..181).filter(|row| row % 3 == 1).collect()), batch(shared, vec![49, 58, 59, 61, 80, 150, 186])]
}

fn engine(config: &ModelConfig, lora: &LoraConfig, parameters: &[Parameter], bf16: bool) -> CpuEngine {
    CpuEngine::new(config.clone(), weights(config), parameters, lora, bf16).unwrap()
}

/// Largest difference over the largest value of each parameter's gradient.
fn worst(found: &Gradients, expected: &Gradients, names: &[Parameter]) -> (f32, String) {
    let mut worst = (0.0, String::new());
    for ((found, expected), parameter) in found.values.iter().zip(&expected.values).zip(names) {
        let top = expected.iter().fold(1e-6f32, |top, x| top.max(x.abs()));
        let off = found.iter().zip(expected).fold(0f32, |off, (a, b)| off.max((a - b).abs())) / top;
        if off > worst.0 {
            worst = (off, parameter.name.clone());
        }
    }
    worst
}

#[track_caller]
fn check(config: &ModelConfig, lora: &LoraConfig, smoothing: f64, bf16: bool, tolerance: f32) {
    let adapter = adapter(config, lora);
    let optimizer = AdamW::new(adapter_parameters(&adapter).unwrap());
    let model = Decoder::frozen(config.clone(), weights(config), &Device::Cpu).unwrap();
    let mut oracle = Autograd::with_adapter(model, &adapter).unwrap();
    let mut engine = engine(config, lora, &optimizer.parameters, bf16);
    for batch in batches(config.vocab_size) {
        let objective = Objective { divisor: 7.0, label_smoothing: smoothing };
        let (mut expected, mut found) = (optimizer.zero_gradients(), optimizer.zero_gradients());
        let loss = oracle.accumulate(&batch, objective, None, &mut expected).unwrap();
        let ours = engine.accumulate(&batch, objective, None, &mut found).unwrap();
        assert!((loss - ours).abs() < f64::from(tolerance) * loss, "loss {ours}, expected {loss}");
        let (off, name) = worst(&found, &expected, &optimizer.parameters);
        assert!(off < tolerance * 5.0, "{name} is off by {off}");
    }
}

#[test]
fn loss_and_gradients_are_those_of_autograd() {
    let all = LoraConfig { r: 3, lora_alpha: 5, ..LoraConfig::default() };
    let some = LoraConfig {
        r: 2,
        target_modules: TargetModules::List(vec!["q_proj".into(), "v_proj".into(), "up_proj".into()]),
        use_rslora: true,
        ..LoraConfig::default()
    };
    check(&config(), &all, 0.0, false, 2e-5);
    check(&config(), &all, 0.1, false, 2e-5);
    check(&config(), &some, 0.0, false, 2e-5);
    check(&ModelConfig { tie_word_embeddings: false, num_kv_heads: 4, ..config() }, &all, 0.0, false, 2e-5);
    check(&ModelConfig { hidden_size: 64, head_dim: 32, num_kv_heads: 1, ..config() }, &all, 0.0, false, 2e-5);
}

#[test]
fn bfloat16_is_near_single_precision() {
    if Level::detect().has_bf16() {
        let lora = LoraConfig { r: 3, lora_alpha: 5, ..LoraConfig::default() };
        check(&config(), &lora, 0.0, true, 2e-2);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (config, lora) = (config(), LoraConfig::default());
    let adapter = adapter(&config, &lora);
    let optimizer = AdamW::new(adapter_parameters(&adapter).unwrap());
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut gradients = optimizer.zero_gradients();
            let mut engine = engine(&config, &lora, &optimizer.parameters, false);
            let objective = Objective { divisor: 3.0, label_smoothing: 0.0 };
            let losses = batches(config.vocab_size)
                .iter()
                .map(|batch| engine.accumulate(batch, objective, None, &mut gradients).unwrap())
                .collect::<Vec<_>>();
            (losses, gradients.values)
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
}

#[test]
fn generation_and_scores_are_those_of_candle() {
    let (config, lora) = (config(), LoraConfig { r: 2, ..LoraConfig::default() });
    let adapter = adapter(&config, &lora);
    let parameters = adapter_parameters(&adapter).unwrap();
    let mut model = Decoder::frozen(config.clone(), weights(&config), &Device::Cpu).unwrap();
    model.attach(&adapter);
    let mut engine = engine(&config, &lora, &parameters, false);
    let prompts = vec![vec![1, 2, 3, 4, 5, 6], vec![1, 2, 3, 4, 5, 9, 10, 11], vec![1, 2, 3, 4, 5, 7, 8]];
    let expected = crate::generate::greedy(&model, &prompts, 12, &[0]).unwrap();
    assert_eq!(greedy(&mut engine, &prompts, 12, &[0]).unwrap(), expected);
    let lens: Vec<usize> = greedy(&mut engine, &prompts, 3, &[0]).unwrap().iter().map(Vec::len).collect();
    assert!(lens.iter().all(|len| *len <= 3), "{lens:?}");

    let batch = &batches(config.vocab_size)[1];
    let needed = [(0, 5), (3, 299), (6, 255), (6, 256)];
    let ours = engine.log_probs(&batch.tree, &batch.rows, &needed);
    let hidden = model.hidden(&batch.tree, None).unwrap();
    let logits: Vec<Vec<f32>> = model.logits(&hidden, &batch.rows).unwrap().to_vec2().unwrap();
    for ((row, token), ours) in needed.into_iter().zip(ours) {
        let logits = &logits[row];
        let z = logits.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
        let expected = f64::from(logits[token as usize]) - z;
        assert!((ours - expected).abs() < 1e-4, "{ours} against {expected}");
    }
}

#[test]
fn what_is_drawn_depends_on_neither_batch_nor_threads_nor_implementation() {
    let (config, lora) = (config(), LoraConfig { r: 2, ..LoraConfig::default() });
    let adapter = adapter(&config, &lora);
    let mut model = Decoder::frozen(config.clone(), weights(&config), &Device::Cpu).unwrap();
    model.attach(&adapter);
    let mut engine = engine(&config, &lora, &adapter_parameters(&adapter).unwrap(), false);
    let prompts = [vec![1, 2, 3, 4, 5, 6], vec![1, 2, 3, 4, 5, 9, 10, 11], vec![7, 8]];
    let sampling = GenerationConfig {
        do_sample: true,
        temperature: 1.3,
        top_k: 0,
        repetition_penalty: 1.2,
        ..GenerationConfig::default()
    };
    let picked = |of: &[usize]| of.iter().map(|index| prompts[*index].clone()).collect::<Vec<_>>();
    let choice = |of: &[usize], seed, settings| {
        let ids = ["a", "b", "c"];
        Choice::new(settings, seed, of.iter().map(|index| (ids[*index], prompts[*index].as_slice())))
    };
    let all = [0, 1, 2];
    let expected = generate(&mut engine, &picked(&all), 16, &[0], choice(&all, 5, sampling)).unwrap();
    for index in all {
        let alone = generate(&mut engine, &picked(&[index]), 16, &[0], choice(&[index], 5, sampling)).unwrap();
        assert_eq!(alone[0], expected[index]);
    }
    for threads in [1, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| generate(&mut engine, &picked(&all), 16, &[0], choice(&all, 5, sampling)).unwrap());
        assert_eq!(found, expected, "{threads} threads");
    }
    assert_eq!(generate(&model, &picked(&all), 16, &[0], choice(&all, 5, sampling)).unwrap(), expected);
    assert_ne!(generate(&mut engine, &picked(&all), 16, &[0], choice(&all, 6, sampling)).unwrap(), expected);
    let top = GenerationConfig { do_sample: true, top_k: 1, ..GenerationConfig::default() };
    let most_likely = greedy(&mut engine, &picked(&all), 16, &[0]).unwrap();
    assert_eq!(generate(&mut engine, &picked(&all), 16, &[0], choice(&all, 5, top)).unwrap(), most_likely);
}

#[test]
fn every_token_of_several_long_texts_has_the_likelihood_of_candle() {
    let (config, lora) = (config(), LoraConfig { r: 2, ..LoraConfig::default() });
    let adapter = adapter(&config, &lora);
    let mut model = Decoder::frozen(config.clone(), weights(&config), &Device::Cpu).unwrap();
    model.attach(&adapter);
    let mut engine = engine(&config, &lora, &adapter_parameters(&adapter).unwrap(), false);
    let mut tree = TokenTree::default();
    for (text, len) in [96u32, 96, 70].into_iter().enumerate() {
        let tokens: Vec<u32> = (0..len).map(|at| (at * 37 + 11 * crate::batch::row(text)) % 290).collect();
        tree.push(None, &tokens);
    }
    let rows: Vec<u32> = (0..tree.tokens().len()).map(crate::batch::row).collect();
    let needed: Vec<(usize, u32)> = rows.iter().map(|row| (*row as usize, row * 7 % 290)).collect();
    let ours = engine.log_probs(&tree, &rows, &needed);
    let hidden = model.hidden(&tree, None).unwrap();
    let logits: Vec<Vec<f32>> = model.logits(&hidden, &rows).unwrap().to_vec2().unwrap();
    for ((row, token), ours) in needed.into_iter().zip(ours) {
        let z = logits[row].iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
        let expected = f64::from(logits[row][token as usize]) - z;
        assert!((ours - expected).abs() < 1e-4, "row {row}: {ours} against {expected}");
    }
}

#[test]
fn gradients_of_all_weights_are_those_of_autograd() {
    for config in [config(), ModelConfig { tie_word_embeddings: false, ..config() }] {
        let parameters: Vec<Parameter> = weights(&config)
            .iter()
            .map(|(name, tensor)| crate::autograd::parameter(name.clone(), tensor).unwrap())
            .collect();
        let (model, vars) = Decoder::trainable(config.clone(), weights(&config), &Device::Cpu).unwrap();
        let mut oracle = Autograd::with_all_weights(model, vars.into_iter().map(|(_, var)| var).collect());
        let mut optimizer = AdamW::new(parameters);
        let mut engine = CpuEngine::with_all_weights(config.clone(), weights(&config), &optimizer.parameters).unwrap();
        for (step, batch) in batches(config.vocab_size).iter().enumerate() {
            let objective = Objective { divisor: batch.rows.len() as f64, label_smoothing: 0.0 };
            let (mut expected, mut found) = (optimizer.zero_gradients(), optimizer.zero_gradients());
            let loss = oracle.accumulate(batch, objective, None, &mut expected).unwrap();
            let ours = engine.accumulate(batch, objective, None, &mut found).unwrap();
            assert!((loss - ours).abs() < 2e-5 * loss, "loss {ours}, expected {loss}");
            let (off, name) = worst(&found, &expected, &optimizer.parameters);
            assert!(off < 1e-4, "{name} is off by {off}");
            optimizer.step(&mut expected, &trex_domain::TrainConfig::default(), 1e-3, step + 1);
            oracle.set_parameters(&optimizer.parameters).unwrap();
            engine.set_parameters(&optimizer.parameters).unwrap();
        }
    }
}

/// Rows that blocks of 256 divide.
fn wide() -> ModelConfig {
    ModelConfig {
        hidden_size: 256,
        intermediate_size: 512,
        num_layers: 2,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 64,
        ..config()
    }
}

const FORMATS: [Quantization; 5] =
    [Quantization::Q8_0, Quantization::Q6K, Quantization::Q5K, Quantization::Q4K, Quantization::Q4_0];

/// Loss and gradients of both batches.
fn results(step: &mut dyn TrainStep, optimizer: &AdamW, vocab: usize) -> Vec<(f64, Vec<Vec<f32>>)> {
    let objective = Objective { divisor: 7.0, label_smoothing: 0.1 };
    let result = |batch: &TrainBatch| {
        let mut gradients = optimizer.zero_gradients();
        (step.accumulate(batch, objective, None, &mut gradients).unwrap(), gradients.values)
    };
    batches(vocab).iter().map(result).collect()
}

#[track_caller]
fn check_quantised(config: &ModelConfig, quantization: Quantization) {
    let lora = LoraConfig { r: 3, lora_alpha: 5, ..LoraConfig::default() };
    let adapter = adapter(config, &lora);
    let optimizer = AdamW::new(adapter_parameters(&adapter).unwrap());
    let blocks = || FrozenWeights::quantized(weights(config), quantization);
    let floats = blocks().dequantized().unwrap();
    let engine =
        |weights: FrozenWeights| CpuEngine::new(config.clone(), weights, &optimizer.parameters, &lora, false).unwrap();
    let (mut quantised, mut plain) = (engine(blocks()), engine(floats.clone().into()));
    let found = results(&mut quantised, &optimizer, config.vocab_size);
    assert!(found == results(&mut plain, &optimizer, config.vocab_size), "{quantization}: engine");
    let kept = blocks().blocks;
    let saved = kept.values().map(|blocks| 4 * blocks.shape().0 * blocks.shape().1 - blocks.size_bytes());
    assert_eq!(plain.weights_bytes() - quantised.weights_bytes(), saved.sum::<usize>());

    let autograd = |weights: FrozenWeights| {
        let model = Decoder::frozen(config.clone(), weights, &Device::Cpu).unwrap();
        Autograd::with_adapter(model, &adapter).unwrap()
    };
    let expected = results(&mut autograd(blocks()), &optimizer, config.vocab_size);
    assert!(
        expected == results(&mut autograd(floats.into()), &optimizer, config.vocab_size),
        "{quantization}: autograd"
    );
    for ((loss, found), (expected_loss, expected)) in found.into_iter().zip(expected) {
        assert!((loss - expected_loss).abs() < 2e-5 * expected_loss, "{quantization}: {loss} against {expected_loss}");
        let (found, expected) = (Gradients { values: found }, Gradients { values: expected });
        let (off, name) = worst(&found, &expected, &optimizer.parameters);
        assert!(off < 5e-4, "{quantization}: {name} is off by {off}");
    }
}

#[test]
fn a_quantised_base_gives_the_bytes_of_the_dequantised_checkpoint() {
    for quantization in FORMATS {
        check_quantised(&wide(), quantization);
    }
    check_quantised(&ModelConfig { tie_word_embeddings: false, ..wide() }, Quantization::Q4K);
    // Blocks of 32 that stand in for those of 256, and rows that no block divides.
    check_quantised(
        &ModelConfig { hidden_size: 64, intermediate_size: 96, head_dim: 16, ..config() },
        Quantization::Q4K,
    );
    check_quantised(&ModelConfig { hidden_size: 32, head_dim: 8, ..config() }, Quantization::Q8_0);
    check_quantised(&config(), Quantization::Q8_0);
}

#[test]
fn a_head_of_more_classes_than_a_span_is_taken_out_in_parts() {
    // Two spans of 8192 classes each, and a group that is not full.
    let config = ModelConfig { vocab_size: 9000, num_layers: 1, ..wide() };
    check_quantised(&config, Quantization::Q8_0);
}

#[test]
fn the_number_of_threads_changes_no_bit_of_a_quantised_base_either() {
    let (config, lora) = (wide(), LoraConfig::default());
    let adapter = adapter(&config, &lora);
    let optimizer = AdamW::new(adapter_parameters(&adapter).unwrap());
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let weights = FrozenWeights::quantized(weights(&config), Quantization::Q4K);
            let engine = CpuEngine::new(config.clone(), weights, &optimizer.parameters, &lora, false);
            results(&mut engine.unwrap(), &optimizer, config.vocab_size)
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(5));
}

#[test]
fn generation_on_a_quantised_base_is_that_of_the_dequantised_checkpoint() {
    let (config, lora) = (wide(), LoraConfig { r: 2, ..LoraConfig::default() });
    let adapter = adapter(&config, &lora);
    let parameters = adapter_parameters(&adapter).unwrap();
    let blocks = FrozenWeights::quantized(weights(&config), Quantization::Q4_0);
    let prompts = vec![vec![1, 2, 3, 4, 5, 6], vec![1, 2, 3, 4, 5, 9, 10, 11], vec![1, 2, 3, 4, 5, 7, 8]];
    let answers = |weights: FrozenWeights| {
        let mut engine = CpuEngine::new(config.clone(), weights, &parameters, &lora, false).unwrap();
        greedy(&mut engine, &prompts, 12, &[0]).unwrap()
    };
    let expected = answers(blocks.dequantized().unwrap().into());
    let mut model = Decoder::frozen(config.clone(), blocks, &Device::Cpu).unwrap();
    model.attach(&adapter);
    assert_eq!(crate::generate::greedy(&model, &prompts, 12, &[0]).unwrap(), expected);
    assert_eq!(answers(FrozenWeights::quantized(weights(&config), Quantization::Q4_0)), expected);
    assert_ne!(answers(weights(&config).into()), expected, "rounding to four bits changes nothing");
}
