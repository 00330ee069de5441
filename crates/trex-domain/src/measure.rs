//! Ports for what rows are measured with: vectors of texts, and how hard a model finds an answer. Runs no model.
//!
//! Operators ask through these traits, so that they know no tensor and no process, and tests answer with a few lines.

use std::fmt::Debug;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ContentHash, Cost, Example, Problem};

/// The error of whoever measures.
pub type MeasureError = Box<dyn Problem + Send + Sync>;

/// Vectors of one width, each of length 1, or all zeros where a text has nothing to measure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors {
    width: usize,
    /// Row by row.
    values: Vec<f32>,
}

impl Vectors {
    /// Takes `values` row by row; none where they do not make whole rows of finite numbers.
    pub fn new(width: usize, values: Vec<f32>) -> Option<Self> {
        let is_whole = if width == 0 { values.is_empty() } else { values.len().is_multiple_of(width) };
        (is_whole && values.iter().all(|value| value.is_finite())).then_some(Self { width, values })
    }

    /// The vectors of little-endian 32-bit floats, row by row; none where the bytes are no such thing.
    pub fn from_bytes(width: usize, bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return None;
        }
        Self::new(width, words.iter().map(|word| f32::from_le_bytes(*word)).collect())
    }

    /// The form that [`Self::from_bytes`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Numbers of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// One vector; empty where there is none of that number.
    pub fn row(&self, index: usize) -> &[f32] {
        let start = index.saturating_mul(self.width);
        self.values.get(start..start.saturating_add(self.width)).unwrap_or_default()
    }

    /// The vectors of these numbers, in this order; one may stand several times.
    #[must_use]
    pub fn gather(&self, indices: &[usize]) -> Self {
        let values = indices.iter().flat_map(|index| self.row(*index)).copied().collect();
        Self { width: self.width, values }
    }
}

/// Makes vectors of texts: near ones of texts that mean nearly the same.
pub trait Embedder: Debug + Send + Sync {
    /// Names the model by content: the same name gives the same vectors.
    fn name(&self) -> ContentHash;

    /// One vector per text, in order.
    fn embed(&self, texts: &[String]) -> Result<Vectors, MeasureError>;
}

/// Measures how hard a model finds the answers of rows.
pub trait LossMeter: Debug + Send + Sync {
    /// Names the model by content: the same name gives the same losses.
    fn name(&self) -> ContentHash;

    /// Mean loss per token of each row's answer in nats, in order.
    fn losses(&self, rows: &[Example]) -> Result<Vec<f64>, MeasureError>;
}

/// Makes vectors of the texts of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmbedJob {
    /// Model folder: `config.json`, `tokenizer.json`, weights of a BERT encoder.
    pub model_dir: PathBuf,
    /// One text per line, each as a JSON string.
    pub texts: PathBuf,
    /// Content-addressed folder for the result.
    pub blobs_dir: PathBuf,
    /// Threads.
    pub threads: usize,
}

/// What a finished embedding left behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmbedDone {
    /// Blob of the vectors, as [`Vectors::to_bytes`] writes them.
    pub vectors: ContentHash,
    /// Their number.
    pub n: usize,
    /// Numbers of a vector.
    pub width: usize,
    /// What it cost.
    pub cost: Cost,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_back_from_their_bytes() {
        let vectors = Vectors::new(3, vec![0.0, 1.0, 0.0, 0.6, -0.8, 0.0]).expect("two whole rows");
        assert_eq!((vectors.len(), vectors.width(), vectors.is_empty()), (2, 3, false));
        assert_eq!(Vectors::from_bytes(3, &vectors.to_bytes()), Some(vectors.clone()));
        assert_eq!(vectors.gather(&[1, 1]).row(1), vectors.row(1));
        assert_eq!(vectors.row(2), [0.0; 0]);
    }

    #[test]
    fn what_is_no_vectors_is_refused() {
        assert_eq!(Vectors::new(3, vec![1.0; 4]), None);
        assert_eq!(Vectors::new(0, vec![1.0]), None);
        assert_eq!(Vectors::new(1, vec![f32::NAN]), None);
        assert_eq!(Vectors::from_bytes(1, &[0, 0, 0]), None);
        assert_eq!(Vectors::new(0, Vec::new()).map(|vectors| vectors.len()), Some(0));
    }
}
