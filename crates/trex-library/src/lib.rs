//! The local library: documents of a person as passages that are found and cited, and bundles that carry knowledge from lab
//! to lab.
//!
//! Reads files and makes values; what becomes of them is the caller's business, and so is the database. Text is taken as it
//! is and never obeyed. All functions block; reading a PDF file starts one thread that ends with the call.

mod bibtex;
mod bundle;
mod chunk;
mod document;
mod error;
mod html;
mod markdown;
mod pdf;
mod signature;

pub use bundle::{BundleContent, Manifest, Member, read_bundle, write_bundle};
pub use document::{ReadDocument, find_documents, read_document};
pub use error::LibraryError;
pub use signature::{PublicKey, SigningKey, make_key, read_key};
