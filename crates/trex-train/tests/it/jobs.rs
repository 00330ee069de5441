//! Training, evaluation and the worker protocol.

use std::collections::BTreeMap;
use std::io::Write as _;

use trex_domain::{
    Backend, EvalJob, EvalMode, Job, JobOutcome, Metric, Problem as _, Quantization, SchedulerType, TrainDone,
    TrainJob, WorkerEvent,
};
use trex_train::{dry_run, evaluate, train};

use crate::fixture::{Fixture, Sink, animals};

fn run(job: &TrainJob) -> TrainDone {
    train(job, &mut Sink::default()).unwrap()
}

fn eval_job(fixture: &Fixture, adapter: Option<&TrainDone>, mode: EvalMode) -> EvalJob {
    let items = fixture.blobs().put_lines(&animals()).unwrap();
    EvalJob {
        model_dir: fixture.model_dir(),
        adapter: adapter.map(|done| fixture.blobs().path(&done.adapter)),
        items: fixture.blobs().path(&items),
        take: usize::MAX,
        metric: Metric::Accuracy,
        mode,
        seed: 0,
        blobs_dir: fixture.blobs().root().to_owned(),
        threads: 2,
        backend: trex_domain::Backend::Auto,
        device: trex_domain::DeviceChoice::Auto,
        precision: trex_domain::Precision::F32,
        quantization: trex_domain::Quantization::None,
    }
}

fn accuracy(fixture: &Fixture, job: &EvalJob) -> f64 {
    let done = evaluate(job, &mut Sink::default()).unwrap();
    let items: Vec<trex_domain::ItemScore> = fixture.blobs().get_lines(&done.items).unwrap();
    trex_eval::aggregate(Metric::Accuracy, &items)
}

#[test]
fn training_learns_and_both_ways_of_scoring_see_it() {
    let fixture = Fixture::pretrained();
    let mut job = fixture.train_job("learn", 240);
    job.config.learning_rate = 3e-3;
    job.total_steps = 240;
    let done = run(&job);
    let mean =
        |points: &[trex_domain::MetricPoint]| points.iter().map(|point| point.loss).sum::<f64>() / points.len() as f64;
    assert!(mean(&done.curve[232..]) < 0.5 * mean(&done.curve[..8]), "{:?}", done.curve);
    let base = accuracy(&fixture, &eval_job(&fixture, None, EvalMode::Choice));
    let chosen = accuracy(&fixture, &eval_job(&fixture, Some(&done), EvalMode::Choice));
    assert!(chosen > base && chosen > 0.8, "choice: {base} before, {chosen} after");
    let generate = EvalMode::Generate { max_new_tokens: 8, generation: trex_domain::GenerationConfig::default() };
    let before = accuracy(&fixture, &eval_job(&fixture, None, generate));
    let after = accuracy(&fixture, &eval_job(&fixture, Some(&done), generate));
    assert!(after > before, "generation: {before} before, {after} after");
}

/// Item scores of a job.
fn scores(fixture: &Fixture, job: &EvalJob) -> Vec<trex_domain::ItemScore> {
    let done = evaluate(job, &mut Sink::default()).unwrap();
    fixture.blobs().get_lines(&done.items).unwrap()
}

#[test]
fn drawn_answers_repeat_with_the_seed_and_change_with_it() {
    let fixture = Fixture::new();
    let generation = trex_domain::GenerationConfig { do_sample: true, ..Default::default() };
    let mode = |generation| EvalMode::Generate { max_new_tokens: 8, generation };
    let job = eval_job(&fixture, None, mode(generation));
    let texts = |job: &EvalJob| scores(&fixture, job).into_iter().map(|item| item.predicted).collect::<Vec<_>>();
    let drawn = texts(&job);
    assert_eq!(texts(&EvalJob { threads: 1, ..job.clone() }), drawn);
    // An item alone gets what it gets among others.
    assert_eq!(texts(&EvalJob { take: 1, ..job.clone() })[0], drawn[0]);
    assert_ne!(texts(&EvalJob { seed: 1, ..job.clone() }), drawn);
    let other = trex_domain::GenerationConfig { seed: 1, ..generation };
    assert_ne!(texts(&EvalJob { mode: mode(other), ..job.clone() }), drawn);
    let bad = trex_domain::GenerationConfig { temperature: 0.0, ..generation };
    assert_eq!(
        evaluate(&EvalJob { mode: mode(bad), ..job }, &mut Sink::default()).unwrap_err().code(),
        "config.out_of_range"
    );
}

#[test]
fn texts_are_written_in_any_company_and_a_long_prompt_ends_no_job() {
    let fixture = Fixture::pretrained();
    // The model is sure of its answers; this hot, draws differ.
    let generation = trex_domain::GenerationConfig { do_sample: true, temperature: 3.0, ..Default::default() };
    let mode = |max_new_tokens, max_length| EvalMode::Write { max_new_tokens, max_length, generation };
    let mut rows = animals();
    // A prompt is taken as it is: no options are put in.
    rows[1].prompt[0].content = "is {options} large? ".repeat(9);
    let items = fixture.blobs().put_lines(&rows).unwrap();
    let job = EvalJob { items: fixture.blobs().path(&items), ..eval_job(&fixture, None, mode(12, 60)) };
    let written = scores(&fixture, &job);
    assert_eq!(written.len(), rows.len());
    assert_eq!((written[1].predicted.as_str(), written[1].score), ("", 0.0), "there is no room behind it");
    assert!(written.iter().filter(|text| !text.predicted.is_empty()).count() > rows.len() / 2);
    assert_eq!(scores(&fixture, &EvalJob { threads: 1, ..job.clone() }), written);
    assert_eq!(scores(&fixture, &EvalJob { take: 1, ..job.clone() })[0], written[0]);
    assert_ne!(scores(&fixture, &EvalJob { seed: 1, ..job.clone() }), written);
    // The likeliest texts of a model that was taught short answers end by themselves; of one token none can.
    let greedy = |max_new_tokens| {
        let generation = trex_domain::GenerationConfig::default();
        EvalMode::Write { max_new_tokens, max_length: 99, generation }
    };
    let whole = |max_new_tokens| {
        let texts = scores(&fixture, &EvalJob { mode: greedy(max_new_tokens), ..job.clone() });
        texts.iter().filter(|text| text.score > 0.5).count()
    };
    assert!(whole(12) > 0 && whole(1) == 0, "{} and {}", whole(12), whole(1));
}

#[test]
fn a_pair_is_right_where_the_better_answer_is_likelier_per_token() {
    let fixture = Fixture::pretrained();
    let job = eval_job(&fixture, None, EvalMode::Preference);
    let forward = scores(&fixture, &job);
    assert!(forward.iter().all(|item| (item.predicted == item.gold) == (item.score > 0.5)));
    // Each pair the other way round is right exactly where it was wrong.
    let turned: Vec<_> = animals()
        .into_iter()
        .map(|row| trex_domain::Example { answer: row.rejected_answer().unwrap().to_owned(), ..row })
        .collect();
    let items = fixture.blobs().put_lines(&turned).unwrap();
    let backward = scores(&fixture, &EvalJob { items: fixture.blobs().path(&items), ..job });
    for (forward, backward) in forward.iter().zip(&backward) {
        assert!((forward.score + backward.score - 1.0).abs() < 1e-12, "{forward:?} {backward:?}");
    }
}

#[test]
fn bits_per_byte_are_the_likelihood_of_the_text_over_its_bytes() {
    let fixture = Fixture::new();
    let text = "how large is the whale? big or small. ".repeat(16);
    let row = trex_domain::Example { options: Vec::new(), ..crate::fixture::example(0, text.trim(), "", &[]) };
    let items = fixture.blobs().put_lines(std::slice::from_ref(&row)).unwrap();
    let job = EvalJob {
        items: fixture.blobs().path(&items),
        metric: Metric::BitsPerByte,
        ..eval_job(&fixture, None, EvalMode::Text)
    };
    let found = scores(&fixture, &job).remove(0);
    let bits = -found.gold_logprob.unwrap() / std::f64::consts::LN_2;
    assert!((found.score - bits / row.raw_text().len() as f64).abs() < 1e-9);
    // The text is longer than the model reads at once, so there are several windows.
    let chat = trex_chat::ChatModel::load(&fixture.model_dir()).unwrap();
    let tokens: Vec<u32> = chat.eos_ids()[..1].iter().copied().chain(chat.encode(&row.raw_text()).unwrap()).collect();
    assert!(tokens.len() > 2 * 96 && chat.bos_id().is_none(), "{}", tokens.len());
    let autograd = scores(&fixture, &EvalJob { backend: Backend::Autograd, ..job }).remove(0);
    assert!((autograd.score - found.score).abs() < 1e-5, "{} and {}", autograd.score, found.score);
}

#[test]
fn the_likelihood_of_an_option_is_the_loss_of_training_on_it() {
    let fixture = Fixture::new();
    let rows = animals();
    let scored = evaluate(&eval_job(&fixture, None, EvalMode::Choice), &mut Sink::default()).unwrap();
    let items: Vec<trex_domain::ItemScore> = fixture.blobs().get_lines(&scored.items).unwrap();
    for (row, item) in rows.iter().zip(items) {
        let data = fixture.blobs().put_lines(std::slice::from_ref(row)).unwrap();
        let mut job = fixture.train_job(&row.id, 1);
        job.data = fixture.blobs().path(&data);
        job.config.per_device_train_batch_size = 1;
        let done = run(&job);
        let loss = done.curve[0].loss * done.supervised_tokens as f64;
        let gold = item.gold_logprob.unwrap();
        assert!((gold + loss).abs() < 1e-3, "{gold} against {loss}");
    }
}

#[test]
fn a_measured_loss_is_the_likelihood_of_the_answer_per_token() {
    let fixture = Fixture::new();
    let items = |mode| -> Vec<trex_domain::ItemScore> {
        let done = evaluate(&eval_job(&fixture, None, mode), &mut Sink::default()).unwrap();
        fixture.blobs().get_lines(&done.items).unwrap()
    };
    let (chosen, measured) = (items(EvalMode::Choice), items(EvalMode::Loss { max_length: 64 }));
    assert_eq!(chosen.len(), measured.len());
    for (row, (choice, loss)) in animals().iter().zip(chosen.iter().zip(&measured)) {
        assert_eq!((&loss.id, loss.predicted.as_str()), (&row.id, ""));
        let (sum, expected) = (loss.gold_logprob.unwrap(), choice.gold_logprob.unwrap());
        assert!((sum - expected).abs() < 1e-4, "{sum} against {expected}");
        let num_tokens = sum / loss.score.ln();
        assert!((num_tokens - num_tokens.round()).abs() < 1e-6 && num_tokens >= 1.5, "{num_tokens} tokens");
    }
    let err = evaluate(&eval_job(&fixture, None, EvalMode::Loss { max_length: 2 }), &mut Sink::default()).unwrap_err();
    assert_eq!(trex_domain::Problem::code(&err), "train.too_long");
}

#[test]
fn a_rung_goes_on_from_the_one_below_to_the_same_bytes() {
    let fixture = Fixture::new();
    let whole = run(&fixture.train_job("whole", 12));
    let low = run(&fixture.train_job("low", 5));
    let mut high = fixture.train_job("high", 12);
    high.resume_from = Some(fixture.blobs().path(&low.checkpoint));
    let high = run(&high);
    assert_eq!(high.adapter, whole.adapter);
    assert_eq!(high.checkpoint, whole.checkpoint);
    assert_eq!(high.curve, whole.curve);
    assert_ne!(low.adapter, whole.adapter);
}

#[test]
fn a_longer_training_goes_on_from_a_shorter_one_where_both_are_equal_so_far() {
    let fixture = Fixture::new();
    let job = |name: &str, steps: usize, kind: SchedulerType| {
        let mut job = fixture.train_job(name, steps);
        (job.total_steps, job.config.max_steps) = (steps, steps);
        (job.config.lr_scheduler_type, job.config.warmup_ratio) = (kind, 2.0);
        job
    };
    let whole = run(&job("whole", 12, SchedulerType::ConstantWithWarmup));
    for (kind, is_equal) in [(SchedulerType::ConstantWithWarmup, true), (SchedulerType::Cosine, false)] {
        let short = job("short", 5, kind);
        let shorter = run(&short);
        let mut long = job("long", 12, kind);
        long.resume_from = Some(fixture.blobs().path(&shorter.checkpoint));
        // Without a word about whose it is, the checkpoint is that of another job.
        assert_eq!(train(&long, &mut Sink::default()).unwrap_err().code(), "train.mismatch");
        long.resume_config = Some(Box::new(short.config.clone()));
        if is_equal {
            let long = run(&long);
            assert_eq!((long.adapter, long.checkpoint, &long.curve), (whole.adapter, whole.checkpoint, &whole.curve));
        } else {
            assert_eq!(train(&long, &mut Sink::default()).unwrap_err().code(), "train.mismatch");
        }
        for name in ["short", "long"] {
            trex_fs::remove_dir_all(&fixture.scratch(name)).unwrap();
        }
    }
}

#[test]
fn a_stopped_job_goes_on_from_its_checkpoint_to_the_same_bytes() {
    let fixture = Fixture::new();
    let whole = run(&fixture.train_job("whole", 12));
    for stop_after in [1, 4, 7] {
        let scratch = format!("stopped-{stop_after}");
        let job = fixture.train_job(&scratch, 12);
        let mut sink = Sink { stop_after: Some(stop_after), ..Sink::default() };
        let err = train(&job, &mut sink).unwrap_err();
        assert_eq!(trex_domain::Problem::code(&err), "train.cancelled");
        let mut rest = Sink::default();
        assert_eq!(train(&job, &mut rest).unwrap().adapter, whole.adapter, "stopped after {stop_after}");
        let steps = rest.events.iter().filter(|event| matches!(event, WorkerEvent::Metric(_))).count();
        assert_eq!(steps, 12 - stop_after, "no step runs twice");
    }
}

#[test]
fn dropout_draws_the_same_numbers_after_a_resume() {
    let fixture = Fixture::new();
    let job = |scratch: &str| {
        let mut job = fixture.train_job(scratch, 6);
        job.config.lora.lora_dropout = 0.3;
        job
    };
    let whole = run(&job("whole"));
    train(&job("cut"), &mut Sink { stop_after: Some(2), ..Sink::default() }).unwrap_err();
    assert_eq!(run(&job("cut")).adapter, whole.adapter);
}

#[test]
fn accumulation_equals_the_big_batch() {
    let fixture = Fixture::new();
    let big = run(&fixture.train_job("big", 6));
    let mut small = fixture.train_job("small", 6);
    small.config.per_device_train_batch_size = 1;
    small.config.gradient_accumulation_steps = 3;
    let small = run(&small);
    for (big, small) in big.curve.iter().zip(&small.curve) {
        assert!((big.loss - small.loss).abs() < 1e-4 * big.loss, "{} against {}", big.loss, small.loss);
    }
}

#[test]
fn the_engine_follows_autograd_step_by_step() {
    let fixture = Fixture::new();
    let run_with = |backend, scratch: &str| {
        let mut job = fixture.train_job(scratch, 20);
        (job.total_steps, job.backend) = (20, backend);
        run(&job)
    };
    let (fast, slow) = (run_with(Backend::Auto, "fast"), run_with(Backend::Autograd, "slow"));
    for (fast, slow) in fast.curve.iter().zip(&slow.curve) {
        assert!((fast.loss - slow.loss).abs() < 1e-4 * slow.loss, "{} against {}", fast.loss, slow.loss);
    }
    let tensors = |done: &TrainDone| {
        let bytes = trex_fs::read(&fixture.blobs().path(&done.adapter)).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let floats = |bytes: &[u8]| -> Vec<f32> {
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        };
        file.tensors().into_iter().map(|(name, view)| (name, floats(view.data()))).collect::<BTreeMap<_, _>>()
    };
    let (fast, slow) = (tensors(&fast), tensors(&slow));
    assert_eq!(fast.len(), 28);
    for (name, fast) in fast {
        let slow = &slow[&name];
        let top = slow.iter().fold(0f32, |top, x| top.max(x.abs()));
        let off = fast.iter().zip(slow).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
        assert!(top > 0.0 && off < 1e-3 * top, "{name}: {off} of {top}");
    }
}

#[test]
fn a_quantised_base_is_trained_on_by_both_and_said_where_it_is_kept_otherwise() {
    let fixture = Fixture::new();
    for quantization in [Quantization::Q8_0, Quantization::Q4K, Quantization::AsStored] {
        let run_with = |backend, scratch: &str| {
            let mut job = fixture.train_job(&format!("{scratch}-{quantization}"), 20);
            (job.total_steps, job.backend, job.config.quantization) = (20, backend, quantization);
            let mut sink = Sink::default();
            (train(&job, &mut sink).unwrap(), sink)
        };
        let ((fast, sink), (slow, _)) = (run_with(Backend::Auto, "fast"), run_with(Backend::Autograd, "slow"));
        for (fast, slow) in fast.curve.iter().zip(&slow.curve) {
            assert!((fast.loss - slow.loss).abs() < 1e-4 * slow.loss, "{quantization}: {} {}", fast.loss, slow.loss);
        }
        assert_ne!(fast.adapter, run(&fixture.train_job("plain", 12)).adapter);
        let said = |part: &str| {
            let is_it =
                |event: &WorkerEvent| matches!(event, WorkerEvent::Warning { message } if message.contains(part));
            sink.events.iter().any(is_it)
        };
        assert!(!said("autograd computes this"), "the engine leaves a quantised base to autograd");
        // The feed-forward part of this model has rows of 48 values, which no block divides.
        assert_eq!(said("rows of 48 values"), quantization != Quantization::AsStored, "{quantization}");
        assert_eq!(said("kept as q5_0"), quantization == Quantization::Q4K, "{quantization}");
    }
}

#[test]
fn a_stopped_job_on_a_quantised_base_goes_on_to_the_same_bytes_and_not_to_those_of_another() {
    let fixture = Fixture::new();
    let job = |scratch: &str, quantization| {
        let mut job = fixture.train_job(scratch, 8);
        job.config.quantization = quantization;
        job
    };
    let whole = run(&job("whole", Quantization::Q8_0));
    train(&job("cut", Quantization::Q8_0), &mut Sink { stop_after: Some(5), ..Sink::default() }).unwrap_err();
    // A checkpoint of the same job but for the base is that of another job.
    let other = train(&job("cut", Quantization::None), &mut Sink::default()).unwrap_err();
    assert_eq!(trex_domain::Problem::code(&other), "train.mismatch");
    assert_eq!(run(&job("cut", Quantization::Q8_0)).adapter, whole.adapter);
}

#[test]
fn an_adapter_is_scored_on_the_base_that_it_was_trained_on() {
    let fixture = Fixture::new();
    let row = &animals()[0];
    let data = fixture.blobs().put_lines(std::slice::from_ref(row)).unwrap();
    let mut losses = Vec::new();
    for quantization in [Quantization::None, Quantization::Q4_0] {
        let mut job = fixture.train_job(&format!("scored-{quantization}"), 1);
        (job.data, job.config.quantization) = (fixture.blobs().path(&data), quantization);
        job.config.per_device_train_batch_size = 1;
        let done = run(&job);
        let loss = done.curve[0].loss * done.supervised_tokens as f64;
        for backend in [Backend::Auto, Backend::Autograd] {
            let job = EvalJob { quantization, backend, ..eval_job(&fixture, None, EvalMode::Choice) };
            let scored = evaluate(&job, &mut Sink::default()).unwrap();
            let items: Vec<trex_domain::ItemScore> = fixture.blobs().get_lines(&scored.items).unwrap();
            let gold = items[0].gold_logprob.unwrap();
            assert!((gold + loss).abs() < 1e-3, "{quantization}: {gold} against {loss}");
        }
        losses.push(loss);
    }
    assert!((losses[0] - losses[1]).abs() > 2e-3, "rounding to four bits changes nothing: {losses:?}");
}

#[test]
fn training_every_weight_of_a_quantised_base_is_refused() {
    let fixture = Fixture::new();
    let mut job = fixture.train_job("full", 1);
    (job.config.method, job.config.quantization) = (trex_domain::TrainMethod::Full, Quantization::Q8_0);
    let err = train(&job, &mut Sink::default()).unwrap_err();
    assert_eq!(trex_domain::Problem::code(&err), "config.out_of_range");
    assert!(err.to_string().contains("only a frozen base can be quantised"), "{err}");
}

#[test]
fn dropout_is_left_to_autograd_and_said() {
    let fixture = Fixture::new();
    let mut job = fixture.train_job("dropout", 1);
    job.config.lora.lora_dropout = 0.1;
    let mut sink = Sink::default();
    train(&job, &mut sink).unwrap();
    let said =
        |event: &WorkerEvent| matches!(event, WorkerEvent::Warning { message } if message.contains("lora_dropout"));
    assert!(sink.events.iter().any(said));
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let fixture = Fixture::new();
    let train_with = |threads: usize, scratch: &str| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let job = fixture.train_job(scratch, 4);
        pool.install(|| run(&job)).adapter
    };
    assert_eq!(train_with(1, "one"), train_with(3, "three"));
}

#[test]
fn seeds_and_settings_make_different_adapters() {
    let fixture = Fixture::new();
    let base = run(&fixture.train_job("base", 3));
    let mut other = fixture.train_job("seed", 3);
    other.seed = 2;
    assert_ne!(run(&other).adapter, base.adapter);
}

#[test]
fn a_job_through_the_worker_ends_with_its_outcome() {
    let fixture = Fixture::new();
    let mut line = serde_json::to_vec(&Job::Train(fixture.train_job("worker", 4))).unwrap();
    line.push(b'\n');
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&line).unwrap();
    let (mut output, sink) = std::io::pipe().unwrap();
    assert!(trex_train::run_worker(reader, sink));
    drop(writer);
    let expected = run(&fixture.train_job("direct", 4));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut output, &mut text).unwrap();
    let events: Vec<WorkerEvent> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let trained = events.iter().find_map(|event| match event {
        WorkerEvent::Trained(done) => Some(JobOutcome::Trained(done.clone())),
        _ => None,
    });
    let Some(JobOutcome::Trained(done)) = trained else { panic!("{text}") };
    assert_eq!(done.adapter, expected.adapter);
    assert!(events.contains(&WorkerEvent::Heartbeat));
}

#[test]
fn a_peft_folder_has_the_names_that_peft_reads() {
    let fixture = Fixture::new();
    let done = run(&fixture.train_job("peft", 2));
    let out = fixture.dir.path().join("export");
    trex_train::write_peft_folder(&fixture.blobs().path(&done.adapter), &fixture.model_dir(), "base/model", &out)
        .unwrap();
    let bytes = trex_fs::read(&out.join("adapter_model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), 2 * 7 * 2);
    let a = file.tensor("base_model.model.model.layers.1.mlp.down_proj.lora_A.weight").unwrap();
    assert_eq!(a.shape(), [8, 48]);
    let config: serde_json::Value =
        serde_json::from_slice(&trex_fs::read(&out.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!((&config["peft_type"], &config["r"], &config["lora_alpha"]), (&"LORA".into(), &8.into(), &16.into()));
}

#[test]
fn a_dry_run_measures_and_leaves_nothing_behind() {
    let fixture = Fixture::new();
    let job = fixture.train_job("dry", 4);
    let blobs = std::fs::read_dir(fixture.blobs().root()).unwrap().count();
    let done = dry_run(&job, &mut Sink::default()).unwrap();
    assert_eq!((done.rows, done.micro_batch_rows, done.truncated), (6, 3, 0));
    assert!(done.row_supervised > 0 && done.row_supervised < done.row_tokens, "{done:?}");
    assert!(done.loss.is_finite() && done.micro_batch.wall_s > 0.0 && done.load.wall_s > 0.0, "{done:?}");
    assert_eq!(std::fs::read_dir(fixture.blobs().root()).unwrap().count(), blobs);
    assert!(!job.scratch_dir.exists());
    // The loss of the untouched base does not depend on where a training would stop.
    let again = dry_run(&TrainJob { stop_step: 1, ..job.clone() }, &mut Sink::default()).unwrap();
    assert_eq!(again.loss.to_bits(), done.loss.to_bits());
}

#[test]
fn a_dry_run_of_every_objective_says_what_cannot_be_trained() {
    let fixture = Fixture::new();
    let job = fixture.train_job("dry", 4);
    let code = |job: &TrainJob| dry_run(job, &mut Sink::default()).unwrap_err().code();
    let mut pairs = job.clone();
    pairs.config.objective = trex_domain::TrainObjective::Dpo;
    assert!(dry_run(&pairs, &mut Sink::default()).unwrap().loss > 0.0, "options make pairs");
    let mut text = job.clone();
    (text.config.objective, text.config.max_length) = (trex_domain::TrainObjective::Pretrain, 16);
    assert!(dry_run(&text, &mut Sink::default()).unwrap().row_supervised > 0);
    let mut foreign = job.clone();
    foreign.config.lora.target_modules = trex_domain::TargetModules::List(vec!["qkv_proj".to_owned()]);
    assert_eq!(code(&foreign), "config.unknown_target_module");
    let mut short = job.clone();
    short.config.max_length = 8;
    let mut rows = animals();
    rows[1].answer = "small ".repeat(20);
    let data = fixture.blobs().put_lines(&rows).unwrap();
    short.data = fixture.blobs().path(&data);
    assert_eq!(code(&short), "train.too_long");
    let nothing = fixture.blobs().put_lines::<trex_domain::Example>(&[]).unwrap();
    assert_eq!(code(&TrainJob { data: fixture.blobs().path(&nothing), ..job }), "train.no_rows");
}
