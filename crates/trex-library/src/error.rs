//! The errors of this crate.

use std::path::PathBuf;

use trex_domain::{DomainError, ErrorClass, Problem};
use trex_fs::FsError;

/// What can be wrong with a document or a bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// A file of a kind that is not read.
    #[error("{} is no document that can be read", path.display())]
    UnknownKind {
        /// The file.
        path: PathBuf,
    },
    /// A file that is larger than is read.
    #[error("{} has {bytes} bytes, at most {limit} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A document without text.
    #[error("{} holds no text", path.display())]
    NoText {
        /// The file.
        path: PathBuf,
    },
    /// A PDF file that cannot be read.
    #[error("{} is damaged, encrypted or of an unknown form of PDF", path.display())]
    BadPdf {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The PDF reader gave up with a panic.
    #[error("the PDF reader failed on {}", path.display())]
    PdfReaderFailed {
        /// The file.
        path: PathBuf,
    },
    /// A bibliography that cannot be parsed.
    #[error("{} is no BibTeX: {reason}", path.display())]
    BadBibtex {
        /// The file.
        path: PathBuf,
        /// What and where.
        reason: String,
    },
    /// A file that is no bundle.
    #[error("{} is no knowledge bundle", path.display())]
    NotABundle {
        /// The file.
        path: PathBuf,
        /// Why, where the archive could not be opened.
        source: Option<zip::result::ZipError>,
    },
    /// A bundle of a later version.
    #[error("{} is a bundle of version {found}, this program knows version {known}", path.display())]
    NewerBundle {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The known one.
        known: u32,
    },
    /// A bundle whose content is not what its manifest says.
    #[error("{} is damaged: {what}", path.display())]
    DamagedBundle {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A record of a bundle that cannot be read.
    #[error("{} is damaged: line {line} of {member}", path.display())]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// The member.
        member: String,
        /// The line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// A bundle that unfolds to more than is read.
    #[error("{} unfolds to more than {limit} bytes", path.display())]
    OversizedBundle {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// A bundle without the signature that was asked for, or with one that does not fit.
    #[error("{} is not signed by the key that was given", path.display())]
    NotSigned {
        /// The file.
        path: PathBuf,
    },
    /// A key that is none.
    #[error("{} holds no ed25519 key of 64 hexadecimal digits", path.display())]
    BadKey {
        /// The file, or the text where it was given as such.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("the system gives no random bytes for a key")]
    NoRandomness(#[source] getrandom::Error),
    /// An archive that cannot be written.
    #[error("cannot write the bundle {}", path.display())]
    NotWritten {
        /// The file.
        path: PathBuf,
        /// Why.
        source: zip::result::ZipError,
    },
    /// A value that has no JSON form.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// A file that could not be read or written.
    #[error(transparent)]
    File(#[from] FsError),
}

impl Problem for LibraryError {
    fn code(&self) -> &'static str {
        match self {
            Self::UnknownKind { .. } => "library.unknown_kind",
            Self::TooLarge { .. } => "library.too_large",
            Self::NoText { .. } => "library.no_text",
            Self::BadPdf { .. } | Self::PdfReaderFailed { .. } => "library.bad_pdf",
            Self::BadBibtex { .. } => "library.bad_bibtex",
            Self::NotABundle { .. } => "bundle.not_a_bundle",
            Self::NewerBundle { .. } => "bundle.newer_version",
            Self::DamagedBundle { .. } | Self::BadRecord { .. } => "bundle.damaged",
            Self::OversizedBundle { .. } => "bundle.oversized",
            Self::NotSigned { .. } => "bundle.not_signed",
            Self::BadKey { .. } => "bundle.bad_key",
            Self::NoRandomness(_) => "bundle.no_randomness",
            Self::NotWritten { .. } => "bundle.not_written",
            Self::Domain(err) => err.code(),
            Self::File(err) => err.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::UnknownKind { .. } => "give files that end in .md, .txt, .html, .bib or .pdf, or a folder of such",
            Self::TooLarge { .. } => "split it, or save its text alone",
            Self::NoText { .. } => {
                "a scanned document has pictures of text only; run it through text recognition first"
            }
            Self::BadPdf { .. } | Self::PdfReaderFailed { .. } => "save its text with another program and add that",
            Self::BadBibtex { .. } => "mend the entry, or remove it",
            Self::NotABundle { .. } => "give a file that `trex kb export` wrote",
            Self::NewerBundle { .. } => "update trex; nothing was changed",
            Self::DamagedBundle { .. } | Self::BadRecord { .. } => {
                "have it exported and sent again; nothing was changed"
            }
            Self::OversizedBundle { .. } => "nothing was changed; ask for a bundle without documents",
            Self::NotSigned { .. } => "ask its sender for the public key, or leave out --trust; nothing was changed",
            Self::BadKey { .. } => "make a key with `trex kb key FILE`; --trust takes the public key that it prints",
            Self::Domain(err) => return err.hint(),
            Self::File(err) => return err.hint(),
            Self::NoRandomness(_) | Self::NotWritten { .. } => return None,
        };
        Some(text.to_owned())
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Domain(err) => err.class(),
            Self::File(err) => err.class(),
            Self::NotWritten { .. } | Self::NoRandomness(_) => ErrorClass::Resource,
            _ => ErrorClass::Permanent,
        }
    }
}
