//! Vectors of texts: a BERT encoder with mean pooling and vectors of length 1, as sentence-transformers computes them.
//!
//! Texts go through in batches of nearly equal length, laid end to end without padding, so a text has the same vector
//! in any company but for rounding. Trains nothing, and knows no row and no operator.

mod config;
mod encoder;
mod kernels;

use std::path::{Path, PathBuf};

use candle_core::Device;
use rayon::prelude::*;
use trex_chat::TextTokenizer;
use trex_domain::{ContentHash, EmbedDone, EmbedJob, Vectors, WorkerEvent};
use trex_fs::BlobStore;

use crate::TrainError;
use crate::mapped::map_file;
use crate::trainer::EventSink;
use crate::usage::{Meter, peak_rss_bytes};
use config::EncoderConfig;
use encoder::Encoder;

/// Tokens of a batch: enough for large products, and activations of a few dozen MB.
const TOKENS_PER_BATCH: usize = 2048;

/// The files that decide the vectors.
const FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

/// What others must know of an embedding model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedderFacts {
    /// Its folder.
    pub dir: PathBuf,
    /// Hash of configuration, tokenizer and weights.
    pub hash: ContentHash,
    /// Numbers of a vector.
    pub width: usize,
    /// Tokens of a text that are looked at.
    pub max_tokens: usize,
    /// Weights.
    pub num_parameters: usize,
}

/// Looks at a model folder without loading its weights; an error says what is missing or does not fit.
pub fn embedder_facts(dir: &Path) -> Result<EmbedderFacts, TrainError> {
    if let Some(missing) = FILES.into_iter().find(|name| !dir.join(name).is_file()) {
        return Err(TrainError::NotAModel { path: dir.to_owned(), missing });
    }
    let config = EncoderConfig::load(dir)?;
    let mut parts = Vec::with_capacity(FILES.len());
    for name in FILES {
        parts.push((name, ContentHash::of_bytes(&map_file(&dir.join(name))?)));
    }
    Ok(EmbedderFacts {
        dir: dir.to_owned(),
        hash: ContentHash::of_value("trex.embedder.v1", &(parts, config.max_tokens))?,
        width: config.hidden_size,
        max_tokens: config.max_tokens,
        num_parameters: config.num_parameters(),
    })
}

/// Makes vectors of the texts of a job and stores them as a blob.
pub fn embed(job: &EmbedJob, sink: &mut dyn EventSink) -> Result<EmbedDone, TrainError> {
    let meter = Meter::start();
    let texts: Vec<String> = trex_fs::read_lines(&job.texts)?;
    let model = TextEmbedder::load(&job.model_dir)?;
    let vectors = model.embed(&texts, &mut |done, tokens| {
        sink.send(WorkerEvent::Progress {
            phase: "embed".to_owned(),
            done,
            total: texts.len(),
            rate: done as f64 / meter.wall_s(),
            tokens_per_s: tokens as f64 / meter.wall_s(),
            peak_rss_bytes: peak_rss_bytes(),
            loss_ema: None,
        })
    })?;
    let blob = BlobStore::new(&job.blobs_dir).put(&vectors.to_bytes())?;
    Ok(EmbedDone { vectors: blob, n: vectors.len(), width: vectors.width(), cost: meter.cost() })
}

/// An encoder with its tokenizer.
#[derive(Debug)]
pub(crate) struct TextEmbedder {
    encoder: Encoder,
    tokenizer: TextTokenizer,
}

impl TextEmbedder {
    /// Loads a model folder.
    pub(crate) fn load(dir: &Path) -> Result<Self, TrainError> {
        let config = EncoderConfig::load(dir)?;
        let tokenizer = TextTokenizer::load(dir, config.max_tokens)?;
        if tokenizer.vocab_size() > config.vocab_size {
            let (tokenizer, model) = (tokenizer.vocab_size(), config.vocab_size);
            return Err(trex_chat::ChatError::TokenizerMismatch { tokenizer, model }.into());
        }
        Ok(Self { encoder: Encoder::load(dir, config, &Device::Cpu)?, tokenizer })
    }

    /// One vector per text, in order. `progress` hears the texts and tokens that are done, and may stop it.
    pub(crate) fn embed(
        &self,
        texts: &[String],
        progress: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Vectors, TrainError> {
        let tokens: Vec<Vec<u32>> =
            texts.par_iter().map(|text| self.tokenizer.encode(text)).collect::<Result<_, _>>()?;
        // The longest first: a lack of memory shows at once. Equal lengths keep their order, so batches are the same.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(tokens[*index].len()));
        let width = self.encoder.width();
        let mut values = vec![0f32; texts.len() * width];
        let (mut num_texts, mut num_tokens) = (0, 0);
        for batch in batches(&order, &tokens) {
            let sequences: Vec<&[u32]> = batch.iter().map(|index| tokens[*index].as_slice()).collect();
            let vectors = self.encoder.vectors(&sequences)?;
            for (index, vector) in batch.iter().zip(vectors.chunks_exact(width)) {
                values[index * width..][..width].copy_from_slice(vector);
            }
            num_texts += batch.len();
            num_tokens += sequences.iter().map(|tokens| tokens.len()).sum::<usize>();
            if !progress(num_texts, num_tokens) {
                return Err(TrainError::Cancelled { step: num_texts });
            }
        }
        Vectors::new(width, values).ok_or_else(|| TrainError::NotFinite { name: "of an embedding".to_owned() })
    }
}

/// Runs of texts with at most so many tokens together; a text that is longer stands alone.
fn batches<'a>(order: &'a [usize], tokens: &[Vec<u32>]) -> Vec<&'a [usize]> {
    let mut batches = Vec::new();
    let mut rest = order;
    while !rest.is_empty() {
        let mut sum = 0;
        let fitting = rest.iter().take_while(|index| {
            sum += tokens[**index].len();
            sum <= TOKENS_PER_BATCH
        });
        let (batch, later) = rest.split_at(fitting.count().max(1));
        batches.push(batch);
        rest = later;
    }
    batches
}

#[cfg(test)]
mod tests;
