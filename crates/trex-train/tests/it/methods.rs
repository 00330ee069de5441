//! Methods and objectives through whole jobs: they learn, go on after a stop to the same bytes, and refuse what is wrong.

use trex_domain::{
    Backend, EvalJob, EvalMode, Example, LoraConfig, Metric, Problem as _, SchedulerType, TrainConfig, TrainDone,
    TrainJob, TrainMethod, TrainObjective, WorkerEvent,
};
use trex_train::{evaluate, train};

use crate::fixture::{Fixture, Sink, animals, example};

fn run(job: &TrainJob) -> TrainDone {
    train(job, &mut Sink::default()).unwrap()
}

/// The animals with the other option as rejected answer.
fn pairs() -> Vec<Example> {
    let other = |answer: &str| if answer == "big" { "small" } else { "big" };
    let pair = |row: Example| Example { rejected: Some(other(&row.answer).to_owned()), ..row };
    animals().into_iter().map(pair).collect()
}

/// Raw texts of different lengths.
fn texts() -> Vec<Example> {
    let text = |(index, row): (usize, Example)| {
        let text = format!("{} {}. ", row.question(), row.answer).repeat(index % 3 + 1);
        Example { prompt: Vec::new(), ..example(index, "", &text, &[]) }
    };
    animals().into_iter().enumerate().map(text).collect()
}

fn job_with(fixture: &Fixture, scratch: &str, rows: &[Example], change: impl FnOnce(&mut TrainConfig)) -> TrainJob {
    let mut job = fixture.train_job(scratch, 12);
    let data = fixture.blobs().put_lines(rows).unwrap();
    job.data = fixture.blobs().path(&data);
    change(&mut job.config);
    job
}

/// The settings that a training may be interrupted under.
fn settings(fixture: &Fixture, scratch: &str) -> Vec<TrainJob> {
    let name = |index: usize| format!("{scratch}-{index}");
    let mut jobs = vec![
        job_with(fixture, &name(0), &animals(), |config| config.method = TrainMethod::Full),
        job_with(fixture, &name(1), &texts(), |config| {
            (config.objective, config.max_length) = (TrainObjective::Pretrain, 24);
        }),
        job_with(fixture, &name(2), &pairs(), |config| config.objective = TrainObjective::Dpo),
        job_with(fixture, &name(3), &pairs(), |config| {
            (config.objective, config.method) = (TrainObjective::Orpo, TrainMethod::Full);
        }),
        job_with(fixture, &name(4), &animals(), |config| {
            config.neftune_noise_alpha = 5.0;
            config.gradient_checkpointing = true;
            config.lora = LoraConfig { lora_dropout: 0.2, ..LoraConfig::default() };
            (config.group_by_length, config.max_tokens_per_micro_batch) = (true, 40);
            config.lr_scheduler_type = SchedulerType::WarmupStableDecay;
        }),
        job_with(fixture, &name(5), &animals(), |config| {
            (config.eval_steps, config.load_best_model_at_end, config.save_total_limit) = (2, true, 2);
        }),
    ];
    jobs[5].dev = Some(jobs[5].data.clone());
    jobs
}

#[test]
fn every_method_goes_on_after_a_stop_to_the_same_bytes() {
    let fixture = Fixture::new();
    for (whole, cut) in settings(&fixture, "whole").iter().zip(settings(&fixture, "cut")) {
        let expected = run(whole);
        let mut sink = Sink { stop_after: Some(5), ..Sink::default() };
        assert_eq!(train(&cut, &mut sink).unwrap_err().code(), "train.cancelled");
        let found = run(&cut);
        assert_eq!(found.adapter, expected.adapter, "{:?}", cut.config);
        assert_eq!(found.checkpoint, expected.checkpoint, "{:?}", cut.config);
        // A rung below, and the rest from its checkpoint.
        let low = run(&TrainJob { stop_step: 7, scratch_dir: fixture.scratch("low"), ..cut.clone() });
        let high = TrainJob {
            resume_from: Some(fixture.blobs().path(&low.checkpoint)),
            scratch_dir: fixture.scratch("high"),
            ..cut
        };
        assert_eq!(run(&high).checkpoint, expected.checkpoint, "{:?}", high.config);
        for name in ["low", "high"] {
            trex_fs::remove_dir_all(&fixture.scratch(name)).unwrap();
        }
    }
}

fn accuracy(fixture: &Fixture, trained: Option<&TrainDone>, backend: Backend) -> f64 {
    let items = fixture.blobs().put_lines(&animals()).unwrap();
    let job = EvalJob {
        model_dir: fixture.model_dir(),
        adapter: trained.map(|done| fixture.blobs().path(&done.adapter)),
        items: fixture.blobs().path(&items),
        take: usize::MAX,
        metric: Metric::Accuracy,
        mode: EvalMode::Choice,
        seed: 0,
        blobs_dir: fixture.blobs().root().to_owned(),
        threads: 1,
        backend,
        device: trex_domain::DeviceChoice::Auto,
        precision: trex_domain::Precision::F32,
        quantization: trex_domain::Quantization::None,
    };
    let done = evaluate(&job, &mut Sink::default()).unwrap();
    let items: Vec<trex_domain::ItemScore> = fixture.blobs().get_lines(&done.items).unwrap();
    trex_eval::aggregate(Metric::Accuracy, &items)
}

#[track_caller]
fn check_learns(fixture: &Fixture, name: &str, change: impl FnOnce(&mut TrainConfig)) -> TrainDone {
    let mut job = job_with(fixture, name, &pairs(), |config| {
        (config.learning_rate, config.per_device_train_batch_size) = (3e-3, 6);
        change(config);
    });
    (job.total_steps, job.stop_step) = (120, 120);
    let done = run(&job);
    let (first, last) = (done.curve[0].loss, done.curve[119].loss);
    assert!(last < 0.6 * first, "{name}: {first} to {last}");
    done
}

#[test]
fn full_training_learns_and_scoring_loads_its_weights() {
    let fixture = Fixture::pretrained();
    let done = check_learns(&fixture, "full", |config| config.method = TrainMethod::Full);
    let before = accuracy(&fixture, None, Backend::Auto);
    for backend in [Backend::Auto, Backend::Autograd] {
        let after = accuracy(&fixture, Some(&done), backend);
        assert!(after > before && after > 0.8, "{before} before, {after} after");
    }
    let bytes = trex_fs::read(&fixture.blobs().path(&done.adapter)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert!(file.tensor("model.layers.1.mlp.down_proj.weight").is_ok());
    let out = fixture.dir.path().join("export");
    let path = fixture.blobs().path(&done.adapter);
    let err = trex_train::write_peft_folder(&path, &fixture.model_dir(), "base", &out).unwrap_err();
    assert_eq!(err.code(), "export.unsupported", "{err}");
}

#[test]
fn preference_pairs_teach_the_preferred_answer() {
    let fixture = Fixture::pretrained();
    let dpo = check_learns(&fixture, "dpo", |config| config.objective = TrainObjective::Dpo);
    assert!((dpo.curve[0].loss - std::f64::consts::LN_2).abs() < 1e-5, "the policy begins as the reference");
    assert!(accuracy(&fixture, Some(&dpo), Backend::Auto) > 0.8);
    check_learns(&fixture, "orpo", |config| config.objective = TrainObjective::Orpo);
}

#[test]
fn raw_text_is_trained_on_in_full_blocks() {
    let fixture = Fixture::new();
    let mut job = job_with(&fixture, "text", &texts(), |config| {
        (config.objective, config.max_length) = (TrainObjective::Pretrain, 16);
    });
    job.config.per_device_train_batch_size = 1;
    let done = run(&job);
    assert_eq!((done.tokens, done.truncated), (done.supervised_tokens, 0));
    assert!(done.tokens > 12 * 10 && done.tokens <= 12 * 15, "{} tokens in 12 blocks of 16", done.tokens);
    assert!(done.curve[11].loss < done.curve[0].loss);
}

#[test]
fn a_smaller_micro_batch_is_the_same_job_with_the_same_curve() {
    let fixture = Fixture::new();
    let whole = run(&fixture.train_job("whole", 12));
    let mut job = fixture.train_job("small", 12);
    train(&job, &mut Sink { stop_after: Some(4), ..Sink::default() }).unwrap_err();
    job.micro_batch = Some(1);
    let small = run(&job);
    for (whole, small) in whole.curve.iter().zip(&small.curve) {
        assert!((whole.loss - small.loss).abs() < 1e-4 * whole.loss, "{} against {}", whole.loss, small.loss);
    }
}

#[test]
fn training_stops_when_the_dev_loss_does_not_fall_and_keeps_the_best() {
    let fixture = Fixture::new();
    let job = |scratch: &str, best: bool| {
        let mut job = job_with(&fixture, scratch, &animals(), |config| {
            // So high a rate that the dev loss soon rises.
            (config.learning_rate, config.lr_scheduler_type) = (0.3, SchedulerType::Constant);
            (config.eval_steps, config.early_stopping_patience) = (1, 3);
            config.load_best_model_at_end = best;
        });
        (job.total_steps, job.stop_step, job.dev) = (60, 60, Some(job.data.clone()));
        job
    };
    let mut sink = Sink::default();
    let best = train(&job("best", true), &mut sink).unwrap();
    let said = |event: &WorkerEvent| matches!(event, WorkerEvent::Warning { message } if message.contains("early"));
    assert!(best.steps < 60 && sink.events.iter().any(said), "{} steps", best.steps);
    let losses: Vec<f64> = best.curve.iter().map(|point| point.eval_loss.unwrap()).collect();
    let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let at = losses.iter().position(|loss| loss.total_cmp(&lowest).is_eq()).unwrap();
    assert_eq!(at + 1 + 3, best.steps, "{losses:?}");
    // The best weights are those of a training that ends there.
    let last = run(&job("last", false));
    assert_eq!((last.steps, last.curve == best.curve), (best.steps, true));
    assert_ne!(last.adapter, best.adapter);
    let mut short = job("short", false);
    short.stop_step = at + 1;
    assert_eq!(run(&short).adapter, best.adapter);
    // What was stopped early stays so.
    let mut again = job("again", true);
    again.resume_from = Some(fixture.blobs().path(&best.checkpoint));
    let again = run(&again);
    assert_eq!((again.steps, again.adapter), (best.steps, best.adapter));
}

#[test]
fn the_newest_checkpoints_are_kept() {
    let fixture = Fixture::new();
    let mut job = fixture.train_job("kept", 12);
    (job.checkpoint_every, job.config.save_total_limit) = (2, 3);
    run(&job);
    let entries = std::fs::read_dir(fixture.scratch("kept")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["checkpoint-10.safetensors", "checkpoint-6.safetensors", "checkpoint-8.safetensors"]);
}

#[test]
fn the_mean_of_the_loss_moves_by_a_tenth() {
    let fixture = Fixture::new();
    let curve = run(&fixture.train_job("mean", 5)).curve;
    let mut mean = curve[0].loss;
    for point in curve {
        mean += 0.1 * (point.loss - mean);
        assert!((point.loss_ema - mean).abs() < 1e-12);
    }
}
