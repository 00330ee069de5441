//! Times hybrid search over made-up passages, as `trex measure kb` for `cargo xtask bench kb`. The words follow Zipf's law as
//! those of a language do, and the vectors are drawn; nothing is said here of how good what is found is.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rand::{Rng, RngExt as _};
use serde::Serialize;
use trex_domain::{
    Clock as _, ContentHash, Document, DocumentKind, Embedder, MeasureError, Passage, PassageId, Place, Vectors,
    seeded_rng,
};
use trex_store::KnowledgeBase;

use crate::error::CliError;
use crate::system::SystemClock;

/// Numbers of a vector, as all-MiniLM-L6-v2 makes them.
const WIDTH: usize = 384;

/// Different words; that of rank r has a share in proportion to 1/r.
const VOCABULARY: u32 = 50_000;

/// Words of a passage and of a question.
const PASSAGE_WORDS: usize = 150;
const QUESTION_WORDS: usize = 8;

/// Passages of a document.
const DOCUMENT_PASSAGES: usize = 100;

/// Milliseconds that questions took.
#[expect(clippy::struct_field_names, reason = "units are in the name")]
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct KnowledgeTimes {
    passages: usize,
    questions: usize,
    fill_s: f64,
    bytes: u64,
    first_ms: f64,
    hybrid: Latency,
    words_only: Latency,
}

/// Draws a vector for a text from its content.
#[derive(Debug)]
struct DrawnVectors;

impl Embedder for DrawnVectors {
    fn name(&self) -> ContentHash {
        ContentHash::of_bytes(b"drawn vectors")
    }

    fn embed(&self, texts: &[String]) -> Result<Vectors, MeasureError> {
        let values = texts.iter().flat_map(|text| drawn_vector(&mut seeded_rng(0, text))).collect();
        // Whole rows of finite numbers, so there are vectors.
        Ok(Vectors::new(WIDTH, values).unwrap_or_default())
    }
}

fn drawn_vector(rng: &mut impl Rng) -> Vec<f32> {
    let raw: Vec<f32> = (0..WIDTH).map(|_| rng.random_range(-1.0..1.0)).collect();
    let length = raw.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.into_iter().map(|value| value / length).collect()
}

/// Rank r with a share in proportion to 1/r: the logarithm of the rank is uniform.
fn drawn_text(words: usize, rng: &mut impl Rng) -> String {
    let mut text = String::new();
    for _ in 0..words {
        let rank = f64::from(VOCABULARY).powf(rng.random::<f64>());
        write!(text, "w{rank:.0} ").expect("writing to a string cannot fail");
    }
    text
}

/// Fills a new knowledge base in `folder` and asks it.
pub(crate) fn measure(folder: &Path, passages: usize, questions: usize) -> Result<KnowledgeTimes, CliError> {
    let path = folder.join("knowledge.db");
    trex_fs::remove_dir_all(folder)?;
    trex_fs::create_dir_all(folder)?;
    let began = Instant::now();
    fill(&path, passages)?;
    let fill_s = began.elapsed().as_secs_f64();
    let base = KnowledgeBase::open(&path, &SystemClock)?;
    let model = DrawnVectors.name().to_string();
    let mut rng = seeded_rng(1, "questions");
    let asked: Vec<(String, Vec<f32>)> =
        (0..questions.max(1)).map(|_| (drawn_text(QUESTION_WORDS, &mut rng), drawn_vector(&mut rng))).collect();
    let time = |vector: bool| -> Result<Vec<f64>, CliError> {
        let mut times = Vec::new();
        for (text, numbers) in &asked {
            let began = Instant::now();
            base.search(text, vector.then_some((model.as_str(), numbers.as_slice())), 10)?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        Ok(times)
    };
    let hybrid = time(true)?;
    // The first question reads all vectors into memory.
    let first_ms = hybrid.first().copied().unwrap_or_default();
    let bytes = path.metadata().map_or(0, |meta| meta.len());
    let (hybrid, words_only) = (latency(hybrid[1..].to_vec()), latency(time(false)?));
    Ok(KnowledgeTimes { passages, questions, fill_s, bytes, first_ms, hybrid, words_only })
}

fn fill(path: &Path, passages: usize) -> Result<(), CliError> {
    let base = KnowledgeBase::open(path, &SystemClock)?.with_embedder(Arc::new(DrawnVectors));
    let mut rng = seeded_rng(0, "passages");
    for document in 0..passages.div_ceil(DOCUMENT_PASSAGES) {
        let hash = ContentHash::of_bytes(&document.to_le_bytes());
        let count = DOCUMENT_PASSAGES.min(passages - document * DOCUMENT_PASSAGES);
        let mut made = Vec::new();
        for number in 0..count {
            let text = drawn_text(PASSAGE_WORDS, &mut rng);
            let place = Place { page: None, heading: None, offset: number };
            made.push(Passage { id: PassageId::new(&hash, number, &text)?, place, text });
        }
        let title = format!("document {document}");
        let document = Document { hash, title: title.clone(), kind: DocumentKind::Text, file: title, bytes: 0 };
        base.add_document(&document, &made, SystemClock.now())?;
    }
    base.embed_passages(&mut |_, _| true).map_err(CliError::of_port)?;
    Ok(())
}

fn latency(mut times: Vec<f64>) -> Latency {
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied();
    let quantile = |percent| at(percent).unwrap_or_default();
    Latency { p50_ms: quantile(50), p95_ms: quantile(95), p99_ms: quantile(99) }
}
