//! Every kind of bad model, data or configuration has its own error.

use std::path::Path;

use trex_domain::{Example, Problem as _, SchedulerType, TrainJob, TrainMethod, TrainObjective};
use trex_train::{model_facts, train};

use crate::fixture::{Fixture, Sink, animals, example};

#[track_caller]
fn check_model(break_it: impl FnOnce(&Path), code: &str) {
    let fixture = Fixture::new();
    break_it(&fixture.model_dir());
    let err = train(&fixture.train_job("bad", 2), &mut Sink::default()).unwrap_err();
    assert_eq!(err.code(), code, "{err}");
}

#[track_caller]
fn check_job(break_it: impl FnOnce(&mut TrainJob), code: &str) {
    let fixture = Fixture::new();
    let mut job = fixture.train_job("bad", 3);
    break_it(&mut job);
    let Err(err) = train(&job, &mut Sink::default()) else { panic!("{code} was expected") };
    assert_eq!(err.code(), code, "{err}");
}

fn edit(dir: &Path, name: &str, from: &str, to: &str) {
    let path = dir.join(name);
    let text = trex_fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{name} holds no {from}");
    trex_fs::write_atomic(&path, text.replace(from, to).as_bytes()).unwrap();
}

fn truncate(dir: &Path) {
    let path = dir.join("model.safetensors");
    let bytes = trex_fs::read(&path).unwrap();
    trex_fs::write_atomic(&path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn a_model_that_is_missing_or_broken_is_named() {
    check_model(|dir| std::fs::remove_file(dir.join("model.safetensors")).unwrap(), "model.not_a_model");
    check_model(|dir| std::fs::remove_file(dir.join("config.json")).unwrap(), "fs.not_found");
    check_model(truncate, "model.damaged");
    check_model(
        |dir| edit(dir, "config.json", "\"LlamaForCausalLM\"", "\"MambaForCausalLM\""),
        "model.unknown_architecture",
    );
    check_model(
        |dir| edit(dir, "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
        "model.missing_tensor",
    );
    check_model(
        |dir| edit(dir, "config.json", "\"intermediate_size\": 48", "\"intermediate_size\": 50"),
        "model.wrong_shape",
    );
    check_model(
        |dir| edit(dir, "config.json", "\"vocab_size\": ", "\"vocab_size\": 1, \"was\": "),
        "chat.tokenizer_mismatch",
    );
}

#[test]
fn facts_notice_a_truncated_file_without_loading_it() {
    let fixture = Fixture::new();
    let facts = model_facts("tiny", &fixture.model_dir()).unwrap();
    assert_eq!((facts.num_layers, facts.max_position), (2, 96));
    truncate(&fixture.model_dir());
    assert_eq!(model_facts("tiny", &fixture.model_dir()).unwrap_err().code(), "model.damaged");
}

#[test]
fn a_job_that_cannot_work_is_refused_before_the_first_step() {
    check_job(|job| job.config.learning_rate = 0.0, "config.out_of_range");
    check_job(|job| job.config.lora.r = 0, "config.out_of_range");
    check_job(|job| job.data = "nowhere.jsonl".into(), "fs.not_found");
    check_job(|job| trex_fs::write_atomic(&job.data, b"").unwrap(), "train.no_rows");
    check_job(|job| trex_fs::write_atomic(&job.data, b"{").unwrap(), "fs.bad_line");
}

#[test]
fn a_checkpoint_of_another_job_is_refused() {
    let fixture = Fixture::new();
    let done = train(&fixture.train_job("one", 2), &mut Sink::default()).unwrap();
    let mut other = fixture.train_job("two", 4);
    other.seed = 9;
    other.resume_from = Some(fixture.blobs().path(&done.checkpoint));
    assert_eq!(train(&other, &mut Sink::default()).unwrap_err().code(), "train.mismatch");
}

#[test]
fn a_loss_that_is_no_number_stops_at_the_step() {
    check_job(
        |job| {
            // The first update makes products that no f32 holds.
            job.config.lora.lora_alpha = usize::MAX;
            job.config.learning_rate = 0.9;
            job.config.warmup_ratio = 0.0;
        },
        "train.not_finite",
    );
}

#[test]
fn divergence_stops_at_the_step() {
    check_job(
        |job| {
            job.config.method = TrainMethod::Full;
            (job.config.learning_rate, job.config.warmup_ratio) = (0.9, 0.0);
            job.config.lr_scheduler_type = SchedulerType::Constant;
            (job.total_steps, job.stop_step) = (40, 40);
        },
        "train.diverged",
    );
}

#[test]
fn rows_that_the_objective_cannot_use_are_named() {
    let put = |job: &mut TrainJob, change: &dyn Fn(&mut Example)| {
        let mut rows = animals();
        rows.iter_mut().for_each(change);
        let lines: Vec<String> = rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect();
        trex_fs::write_atomic(&job.data, lines.join("\n").as_bytes()).unwrap();
    };
    check_job(
        |job| {
            job.config.objective = TrainObjective::Dpo;
            put(job, &|row| row.options.push("huge".to_owned()));
        },
        "train.no_rejected",
    );
    check_job(
        |job| {
            job.config.objective = TrainObjective::Orpo;
            put(job, &|row| row.rejected = Some(row.answer.clone()));
        },
        "train.no_rejected",
    );
    check_job(|job| put(job, &|row| row.answer = "  ".to_owned()), "chat.no_supervised_tokens");
    check_job(|job| put(job, &|row| row.answer = "big ".repeat(200)), "train.too_long");
    check_job(|job| job.config.eval_steps = 2, "train.no_dev_rows");
}

#[test]
fn texts_without_anything_to_predict_are_refused() {
    check_job(
        |job| {
            job.config.objective = TrainObjective::Pretrain;
            job.config.max_length = 8;
            let row = Example { prompt: Vec::new(), ..example(0, "", "", &[]) };
            trex_fs::write_atomic(&job.data, serde_json::to_string(&row).unwrap().as_bytes()).unwrap();
        },
        "train.nothing_supervised",
    );
}

#[test]
fn a_checkpoint_that_is_cut_short_or_of_other_shapes_is_refused() {
    let fixture = Fixture::new();
    let job = fixture.train_job("cut", 12);
    train(&job, &mut Sink { stop_after: Some(4), ..Sink::default() }).unwrap_err();
    let path = fixture.scratch("cut").join("checkpoint-4.safetensors");
    let bytes = trex_fs::read(&path).unwrap();
    trex_fs::write_atomic(&path, &bytes[..bytes.len() / 2]).unwrap();
    let err = train(&job, &mut Sink::default()).unwrap_err();
    assert_eq!(err.code(), "model.damaged");
    assert!(err.to_string().contains("checkpoint-4.safetensors"), "{err}");
}
