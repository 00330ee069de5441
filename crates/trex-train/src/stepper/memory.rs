//! Measured peaks of memory against the formula of `trex_domain::estimate_memory`. Linux only, where a process can set
//! its peak back; meant for one process per test, as `cargo nextest` runs them.

use std::path::Path;

use candle_core::Device;
use trex_domain::{
    Backend, ContentHash, MemoryBackend, MicroBatch, ModelFacts, Quantization, TrainMethod, estimate_memory,
};

use super::golden::stepper_of;
use super::*;
use crate::decoder::initial_weights;
use crate::golden::smollm2;
use crate::rows::Sequence;
use crate::usage::peak_rss_bytes;
use crate::weights::{FrozenWeights, load_frozen};
use crate::{ModelConfig, Variant};

fn small() -> ModelConfig {
    ModelConfig {
        hidden_size: 128,
        intermediate_size: 256,
        num_layers: 8,
        num_heads: 8,
        num_kv_heads: 4,
        head_dim: 16,
        vocab_size: 600,
        max_position: 512,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
        variant: Variant::default(),
    }
}

/// Sequences of 256 tokens, a quarter of each with loss.
fn rows(count: u32, classes: u32) -> Vec<Row> {
    let tokens = |row: u32| (0..257).map(|at| (row * 7919 + at * 31 + 5) % classes).collect::<Vec<u32>>();
    let row = |number| Row {
        sequences: vec![Sequence { tokens: tokens(number), first_loss: 193, answer: 193 }],
        truncated: false,
    };
    (0..count).map(row).collect()
}

/// Peak of the whole process over loading and two steps, in bytes; `None` where the system does not let it be set back.
fn measured<W: Into<FrozenWeights>>(
    model: &ModelConfig,
    weights: impl FnOnce() -> W,
    config: &TrainConfig,
    backend: Backend,
) -> Option<u64> {
    let classes = u32::try_from(model.vocab_size).unwrap();
    let rows = rows(u32::try_from(config.per_device_train_batch_size).unwrap(), classes);
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    let mut stepper = stepper_of(model, weights(), config, backend, rows);
    for step in 0..2 {
        stepper.step(step, &mut |_, _| true).unwrap();
    }
    Some(peak_rss_bytes())
}

fn estimated(model: &ModelConfig, config: &TrainConfig, backend: MemoryBackend) -> u64 {
    estimated_of(model, model.num_parameters() * 4, config, backend)
}

fn estimated_of(model: &ModelConfig, weights_bytes: u64, config: &TrainConfig, backend: MemoryBackend) -> u64 {
    let facts = ModelFacts {
        name: "m".into(),
        dir: "m".into(),
        hash: ContentHash::of_bytes(b"m"),
        num_parameters: model.num_parameters(),
        weights_bytes,
        hidden_size: model.hidden_size,
        intermediate_size: model.intermediate_size,
        num_layers: model.num_layers,
        num_heads: model.num_heads,
        num_kv_heads: model.num_kv_heads,
        head_dim: model.head_dim,
        vocab_size: model.vocab_size,
        max_position: model.max_position,
        license: None,
        projections: Vec::new(),
    };
    let sequences = config.per_device_train_batch_size as u64;
    estimate_memory(&facts, config, backend, MicroBatch { tokens: 256 * sequences, supervised: 64 * sequences }).total()
}

fn config(batch: usize) -> TrainConfig {
    TrainConfig { per_device_train_batch_size: batch, max_length: 512, ..TrainConfig::default() }
}

#[track_caller]
fn check_near(name: &str, found: u64, expected: u64) {
    let ratio = expected as f64 / found as f64;
    println!("{name}: measured {} MiB, estimated {} MiB, ratio {ratio:.2}", found >> 20, expected >> 20);
    assert!((0.7..1.4).contains(&ratio), "{name}: measured {found}, estimated {expected}");
}

#[test]
fn the_estimate_is_near_the_measured_peak() {
    let model = small();
    let weights = || initial_weights(&model, 3, &Device::Cpu).unwrap();
    let check = |name: &str, config: &TrainConfig, backend, estimator| {
        let Some(found) = measured(&model, weights, config, backend) else { return };
        check_near(name, found, estimated(&model, config, estimator));
    };
    // From the smallest to the largest: freed memory may stay with the process.
    check("engine", &config(6), Backend::Auto, MemoryBackend::CpuEngine);
    let again = TrainConfig { gradient_checkpointing: true, ..config(6) };
    check("checkpointed", &again, Backend::Autograd, MemoryBackend::Autograd);
    let full = TrainConfig { method: TrainMethod::Full, ..config(6) };
    check("full", &full, Backend::Autograd, MemoryBackend::Autograd);
    check("autograd", &config(6), Backend::Autograd, MemoryBackend::Autograd);
}

#[test]
fn the_estimate_is_near_for_the_bundled_model_too() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/models/trex-mini");
    let model = ModelConfig::load(&dir.join("config.json")).unwrap();
    let weights = || crate::weights::load(&dir, &model, &Device::Cpu).unwrap();
    let Some(engine) = measured(&model, weights, &config(8), Backend::Auto) else { return };
    check_near("engine", engine, estimated(&model, &config(8), MemoryBackend::CpuEngine));
    let Some(graph) = measured(&model, weights, &config(8), Backend::Autograd) else { return };
    check_near("autograd", graph, estimated(&model, &config(8), MemoryBackend::Autograd));
}

#[test]
fn gradient_checkpointing_lowers_the_peak() {
    let model = small();
    let weights = || initial_weights(&model, 3, &Device::Cpu).unwrap();
    let again = TrainConfig { gradient_checkpointing: true, ..config(8) };
    let Some(low) = measured(&model, weights, &again, Backend::Autograd) else { return };
    let Some(high) = measured(&model, weights, &config(8), Backend::Autograd) else { return };
    println!("checkpointed {} MiB, plain {} MiB", low >> 20, high >> 20);
    assert!(low * 3 < high * 2, "{low} with checkpointing, {high} without");
}

/// SmolLM2-135M with its real weights: the frozen base is most of it, so each way of keeping it shows.
#[test]
fn the_estimate_is_near_for_smollm2_and_a_quantised_base_saves_what_it_says() {
    let Some(dir) = smollm2::present() else { return };
    let model = smollm2::config();
    let stored: u64 = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    let peak = |quantization, sequences| {
        let config = TrainConfig { quantization, ..config(sequences) };
        let load = || load_frozen(&dir, &model, quantization).unwrap();
        let found = measured(&model, load, &config, Backend::Auto)?;
        let expected = estimated_of(&model, stored, &config, MemoryBackend::CpuEngine);
        check_near(&format!("smollm2, {quantization}, {sequences} sequences"), found, expected);
        Some(found)
    };
    // From the smallest to the largest: freed memory may stay with the process.
    let Some(as_stored) = peak(Quantization::AsStored, 1) else { return };
    let Some(eight) = peak(Quantization::Q8_0, 1) else { return };
    let Some(plain) = peak(Quantization::None, 1) else { return };
    let bytes = model.num_parameters() * 4;
    println!(
        "saved {} MiB as stored, {} MiB in 8 bits, of {} MiB",
        (plain - as_stored) >> 20,
        (plain - eight) >> 20,
        bytes >> 20
    );
    // Seven tenths of the base at least, with all that is packed and taken out counted against it.
    assert!(plain - as_stored > bytes / 10 * 7, "{as_stored} against {plain}");
    assert!(plain - eight > bytes / 10 * 6, "{eight} against {plain}");
}
