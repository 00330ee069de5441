//! What is known beyond one run: passages of documents, insights with their evidence, past tasks. Types, the port through
//! which the Researcher and the engine ask, and pure rules of similarity, pooling and warm starts. Stores nothing.

mod evidence;
mod features;
mod lesson;
mod warm_start;

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use evidence::{Evidence, InsightKey, InsightStatus, KnownInsight, Pooled, change_words, pool};
pub use features::{DatasetFacts, SimilarTask, TaskFeatures, similarity};
pub use lesson::{Lesson, PastExperiment, PastRejection};
pub use warm_start::{FirstVariant, PriorObservation, PriorShift, TakenTask, WarmStart, transplanted};

use crate::{ContentHash, DomainError, Problem};

/// The error of whoever keeps the knowledge.
pub type KnowledgeError = Box<dyn Problem + Send + Sync>;

/// Names a passage by content: 16 hexadecimal digits. The same text of the same document has the same name everywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct PassageId(String);

impl PassageId {
    /// The name of the passage with this number and text within a document.
    pub fn new(document: &ContentHash, number: usize, text: &str) -> Result<Self, DomainError> {
        let hash = ContentHash::of_value("trex.passage.v1", &(document, number, text))?;
        Ok(Self(hash.to_string()[..16].to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PassageId {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 16 && text.bytes().all(is_hex) {
            return Ok(Self(text.to_owned()));
        }
        Err(DomainError::BadPassageId { text: text.to_owned() })
    }
}

impl TryFrom<String> for PassageId {
    type Error = DomainError;

    fn try_from(text: String) -> Result<Self, DomainError> {
        text.parse()
    }
}

impl From<PassageId> for String {
    fn from(id: PassageId) -> Self {
        id.0
    }
}

impl fmt::Display for PassageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a passage stands in its document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// Page, from 1, where the document has pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<usize>,
    /// Headings above it, the outermost first, joined by " > ".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heading: Option<String>,
    /// Characters of the document's text before it.
    pub offset: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.page, &self.heading) {
            (Some(page), _) => write!(f, "page {page}"),
            (None, Some(heading)) => write!(f, "{heading}"),
            (None, None) => write!(f, "character {}", self.offset),
        }
    }
}

/// What kind of file a document was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    /// Plain text.
    Text,
    /// Markdown.
    Markdown,
    /// A web page.
    Html,
    /// A bibliography; each entry is a passage.
    Bibtex,
    /// A PDF file with text.
    Pdf,
}

impl DocumentKind {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::Html => "html",
            Self::Bibtex => "bibtex",
            Self::Pdf => "pdf",
        }
    }
}

/// A document of the library, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// Hash of the file.
    pub hash: ContentHash,
    /// Title, or the file's name where it has none.
    pub title: String,
    /// What it was read from.
    pub kind: DocumentKind,
    /// Name of the file, without its folder.
    pub file: String,
    /// Bytes of the file.
    pub bytes: u64,
}

/// A part of a document that is found and cited as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Passage {
    /// Its name.
    pub id: PassageId,
    /// Where it stands.
    pub place: Place,
    /// Its text.
    pub text: String,
}

/// A passage that answers a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FoundPassage {
    /// The passage.
    pub passage: Passage,
    /// Title of its document.
    pub document: String,
    /// Sum of reciprocal ranks; only its order means something.
    pub score: f64,
    /// Place by words, from 1, where it was found so.
    pub by_words: Option<usize>,
    /// Place by meaning, from 1, where it was found so.
    pub by_meaning: Option<usize>,
}

/// Answers questions from what was kept. Text that it returns is data: it may be quoted and never obeyed.
pub trait Knowledge: fmt::Debug + Send + Sync {
    /// The passages that fit a question best, the best first.
    fn passages(&self, question: &str, limit: usize) -> Result<Vec<FoundPassage>, KnowledgeError>;

    /// What is known for tasks of this kind, the best supported first; retired insights are left out.
    fn insights(&self, task: &TaskFeatures, limit: usize) -> Result<Vec<KnownInsight>, KnowledgeError>;

    /// Past tasks that resemble this one, the most similar first, with what was tried.
    fn similar_tasks(&self, task: &TaskFeatures, limit: usize) -> Result<Vec<SimilarTask>, KnowledgeError>;
}

/// Knowledge that grows with every run.
pub trait Memory: Knowledge {
    /// Takes in what a run has taught so far. Doing so again changes nothing.
    fn learn(&self, lesson: &Lesson) -> Result<(), KnowledgeError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passage_is_named_by_document_number_and_text() {
        let document = ContentHash::of_bytes(b"paper");
        let id = PassageId::new(&document, 3, "text").unwrap();
        assert_eq!(id.to_string().parse::<PassageId>().unwrap(), id);
        assert_ne!(PassageId::new(&document, 4, "text").unwrap(), id);
        assert_ne!(PassageId::new(&document, 3, "other").unwrap(), id);
        for bad in ["", "0123", "0123456789abcdeX", "../../../etc/pass"] {
            assert_eq!(bad.parse::<PassageId>().unwrap_err().code(), "knowledge.bad_passage_id", "{bad}");
        }
    }
}
