//! A tiny model, a tiny dataset and a sink that remembers.

use std::path::{Path, PathBuf};

use trex_domain::{Example, Message, Origin, TrainConfig, TrainJob, WorkerEvent};
use trex_fs::BlobStore;
use trex_train::{EventSink, ModelConfig, PretrainSettings, Variant, pretrain, write_hf_model};

/// A folder with a model, blobs and scratch space.
pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
}

/// Collects events and stops after a number of training steps.
#[derive(Default)]
pub(crate) struct Sink {
    pub(crate) events: Vec<WorkerEvent>,
    pub(crate) stop_after: Option<usize>,
}

impl EventSink for Sink {
    fn send(&mut self, event: WorkerEvent) -> bool {
        let steps = |event: &&WorkerEvent| matches!(event, WorkerEvent::Metric(_));
        self.events.push(event);
        let done = self.events.iter().filter(steps).count();
        self.stop_after.is_none_or(|limit| done < limit)
    }
}

pub(crate) fn example(index: usize, question: &str, answer: &str, options: &[&str]) -> Example {
    Example {
        id: format!("t/{index}"),
        prompt: vec![Message::user(question)],
        answer: answer.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        group: None,
        rejected: None,
        origin: Origin { source: "t".to_owned(), row: index as u64, changed_by: Vec::new() },
    }
}

/// Animals are "big" or "small": learnable from the word alone.
pub(crate) fn animals() -> Vec<Example> {
    let animals = [
        ("elephant", "big"),
        ("mouse", "small"),
        ("whale", "big"),
        ("ant", "small"),
        ("horse", "big"),
        ("flea", "small"),
    ];
    let ask = |animal: &str| format!("how large is the {animal}?");
    animals.iter().enumerate().map(|(i, (animal, size))| example(i, &ask(animal), size, &["big", "small"])).collect()
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap() };
        write_model(&fixture.model_dir(), 3);
        fixture
    }

    /// A model that was pre-trained long enough to attend to the right word.
    pub(crate) fn pretrained() -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap() };
        write_model(&fixture.model_dir(), 250);
        fixture
    }

    pub(crate) fn model_dir(&self) -> PathBuf {
        self.dir.path().join("model")
    }

    pub(crate) fn blobs(&self) -> BlobStore {
        BlobStore::new(self.dir.path().join("blobs"))
    }

    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.dir.path().join("scratch").join(name)
    }

    pub(crate) fn train_job(&self, scratch: &str, stop_step: usize) -> TrainJob {
        let data = self.blobs().put_lines(&animals()).unwrap();
        TrainJob {
            model_dir: self.model_dir(),
            data: self.blobs().path(&data),
            config: TrainConfig {
                learning_rate: 1e-2,
                per_device_train_batch_size: 3,
                max_steps: 12,
                ..TrainConfig::default()
            },
            seed: 1,
            total_steps: 12,
            stop_step,
            resume_from: None,
            resume_config: None,
            init_adapter: None,
            scratch_dir: self.scratch(scratch),
            blobs_dir: self.blobs().root().to_owned(),
            checkpoint_every: 3,
            threads: 2,
            backend: trex_domain::Backend::Auto,
            device: trex_domain::DeviceChoice::Auto,
            dev: None,
            micro_batch: None,
        }
    }
}

fn write_model(dir: &Path, steps: usize) {
    // The words, not the answers: those are left to the adapters.
    let texts = || animals().into_iter().map(|row| format!("{} big or small", row.question()));
    let tokenizer = trex_chat::train_bpe(texts(), 300, &trex_chat::BUNDLED_SPECIAL_TOKENS).unwrap();
    trex_fs::write_atomic(&dir.join("tokenizer.json"), tokenizer.as_bytes()).unwrap();
    let config = trex_chat::bundled_tokenizer_config_json();
    trex_fs::write_atomic(&dir.join("tokenizer_config.json"), config.as_bytes()).unwrap();
    trex_fs::write_atomic(&dir.join("chat_template.jinja"), trex_chat::BUNDLED_CHAT_TEMPLATE.as_bytes()).unwrap();
    let chat = trex_chat::ChatModel::load(dir).unwrap();
    let config = ModelConfig {
        hidden_size: 32,
        intermediate_size: 48,
        num_layers: 2,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 8,
        vocab_size: chat.vocab_size(),
        max_position: 96,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
        variant: Variant::default(),
    };
    let settings = PretrainSettings {
        config: config.clone(),
        seed: 1,
        start: None,
        steps,
        tokens_per_step: 200,
        learning_rate: 4e-3,
    };
    let chats = animals().into_iter().map(|row| {
        let animal = row.question().trim_start_matches("how large is the ").trim_end_matches('?').to_owned();
        [row.prompt, vec![Message::assistant(format!("{animal}: big or small"))]].concat()
    });
    let chats: Vec<_> = chats.map(|turns| chat.encode(&chat.render(&turns, false).unwrap()).unwrap()).collect();
    let mut documents = chats.into_iter().cycle().map(Ok);
    let weights = pretrain(&settings, &mut documents, &mut |_| ()).unwrap();
    write_hf_model(&config, &weights, chat.eos_ids()[0], chat.pad_id().unwrap_or(0), dir).unwrap();
}
