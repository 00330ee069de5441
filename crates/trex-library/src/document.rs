//! A file as a document with its passages. What kind it is, its name says; nothing in it is run or fetched.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use trex_domain::{ContentHash, Document, DocumentKind, Passage, PassageId};

use crate::chunk::{Section, passages};
use crate::{LibraryError, bibtex, html, markdown, pdf};

/// Largest file that is read: a thesis with pictures has a tenth of it.
const MAX_BYTES: u64 = 256 << 20;

/// Folders within folders that are looked into.
const MAX_DEPTH: usize = 16;

/// A document and its passages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadDocument {
    /// The document.
    pub document: Document,
    /// Its passages, in order.
    pub passages: Vec<Passage>,
}

/// What a reader makes of a file.
pub(crate) struct Parsed {
    pub(crate) title: Option<String>,
    pub(crate) sections: Vec<Section>,
}

fn kind_of(path: &Path) -> Option<DocumentKind> {
    let ending = path.extension()?.to_str()?.to_lowercase();
    Some(match ending.as_str() {
        "md" | "markdown" => DocumentKind::Markdown,
        "txt" | "text" | "rst" => DocumentKind::Text,
        "html" | "htm" | "xhtml" => DocumentKind::Html,
        "bib" | "bibtex" => DocumentKind::Bibtex,
        "pdf" => DocumentKind::Pdf,
        _ => return None,
    })
}

/// Files that can be read: the file itself, or all in a folder and below by their names, sorted. Links are not followed.
pub fn find_documents(path: &Path) -> Result<Vec<PathBuf>, LibraryError> {
    let meta = std::fs::metadata(path).map_err(|err| trex_fs::FsError::io("find", path, err))?;
    if meta.is_file() {
        return match kind_of(path) {
            Some(_) => Ok(vec![path.to_owned()]),
            None => Err(LibraryError::UnknownKind { path: path.to_owned() }),
        };
    }
    let mut found = BTreeSet::new();
    let mut folders = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|err| trex_fs::FsError::io("list", &folder, err))?;
        for entry in entries {
            let entry = entry.map_err(|err| trex_fs::FsError::io("list", &folder, err))?;
            let kind = entry.file_type().map_err(|err| trex_fs::FsError::io("list", &folder, err))?;
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            if kind.is_dir() && !is_hidden && depth < MAX_DEPTH {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() && kind_of(&entry.path()).is_some() {
                found.insert(entry.path());
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// Reads a file.
pub fn read_document(path: &Path) -> Result<ReadDocument, LibraryError> {
    let kind = kind_of(path).ok_or_else(|| LibraryError::UnknownKind { path: path.to_owned() })?;
    let bytes = std::fs::metadata(path).map_err(|err| trex_fs::FsError::io("find", path, err))?.len();
    if bytes > MAX_BYTES {
        return Err(LibraryError::TooLarge { path: path.to_owned(), bytes, limit: MAX_BYTES });
    }
    let content = trex_fs::read(path)?;
    let parsed = match kind {
        DocumentKind::Text => Parsed { title: None, sections: vec![Section::whole(text(&content))] },
        DocumentKind::Markdown => markdown::parse(&text(&content)),
        DocumentKind::Html => html::parse(&text(&content)),
        DocumentKind::Bibtex => bibtex::parse(path, &text(&content))?,
        DocumentKind::Pdf => pdf::parse(path, content.clone())?,
    };
    let hash = ContentHash::of_bytes(&content);
    let mut named = Vec::new();
    for (number, (place, text)) in passages(&parsed.sections).into_iter().enumerate() {
        named.push(Passage { id: PassageId::new(&hash, number, &text)?, place, text });
    }
    if named.is_empty() {
        return Err(LibraryError::NoText { path: path.to_owned() });
    }
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let title = parsed.title.map(|title| title.trim().to_owned()).filter(|title| !title.is_empty());
    let document = Document { hash, title: title.unwrap_or_else(|| file.clone()), kind, file, bytes };
    Ok(ReadDocument { document, passages: named })
}

/// UTF-8 without its mark; what is none becomes a replacement character.
fn text(content: &[u8]) -> String {
    let content = content.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(content);
    String::from_utf8_lossy(content).replace("\r\n", "\n")
}
