//! From a path to the files that are read: the file itself, what is packed in it, the members of an archive, the files of
//! a folder. Writes nothing to disk, so no name in an archive can lead anywhere; names that try are set aside.
//!
//! Packed data may unfold to [`MAX_EXPANSION`] times its size, or to [`ALWAYS_ALLOWED_BYTES`] where that is more.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trex_domain::nearest;
use trex_fs::FsError;

use super::documents::{self, Documents};
use super::{extension_of, file_name};
use crate::DataError;

/// Text hardly ever packs better than this; what claims to is made to fill a disk or to waste time.
pub(super) const MAX_EXPANSION: u64 = 300;

/// Small packed files of one repeated row may expand more.
pub(super) const ALWAYS_ALLOWED_BYTES: u64 = 1 << 30;

/// First bytes of a file that its kind is told from.
const HEAD_BYTES: u64 = 8192;

/// Layers of packing that are opened.
const MAX_LAYERS: usize = 2;

/// Files that belong to a folder of data without being data.
const NOT_DATA: [&str; 12] = [
    "readme",
    "license",
    "licence",
    "changelog",
    "citation",
    "dataset_info",
    "dataset_infos",
    "dataset_dict",
    "state",
    "croissant",
    "thumbs",
    "desktop",
];

/// Deepest folder below the given one that is looked into.
const MAX_DEPTH: usize = 8;

/// One file of a source.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// As it is called in messages.
    pub(super) name: String,
    /// The file on disk.
    pub(super) path: PathBuf,
    place: PartPlace,
    allowance: Arc<Allowance>,
}

#[derive(Clone, Debug)]
enum PartPlace {
    File,
    Member(Member),
}

/// Where a member of an archive lies.
#[derive(Clone, Debug)]
struct Member {
    start: u64,
    packed_bytes: u64,
    crc32: u32,
    is_deflated: bool,
}

/// What a part holds, unpacked.
pub(super) struct Content {
    /// The first bytes.
    pub(super) head: Vec<u8>,
    /// All bytes, the first ones included.
    pub(super) input: Box<dyn Read + Send>,
    /// Whether it was packed.
    pub(super) is_packed: bool,
}

/// The files of a source.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) parts: Vec<Part>,
    /// Texts with labels; then `parts` is empty.
    pub(super) documents: Option<Documents>,
    /// Files that are not read, with the reason.
    pub(super) refused: Vec<(String, String)>,
    /// What is to be said.
    pub(super) remarks: Vec<String>,
}

/// Lists the files of a source.
pub(super) fn parts_of(path: &Path) -> Result<Listed, DataError> {
    let metadata = std::fs::metadata(path).map_err(|err| missing(path, err))?;
    if metadata.is_dir() {
        let mut tree = Tree::default();
        let root = std::fs::canonicalize(path).map_err(|err| FsError::io("open", path, err))?;
        tree.walk(&root, &root, 0)?;
        return tree.listed(path);
    }
    check_is_file(path, &metadata)?;
    let allowance = Arc::new(Allowance::of(metadata.len()));
    let part = Part { name: file_name(path), path: path.to_owned(), place: PartPlace::File, allowance };
    if first_bytes(path)?.starts_with(b"PK\x03\x04") {
        return archive(&part)?.listed(path);
    }
    Ok(Listed { parts: vec![part], ..Listed::default() })
}

/// The files of a source on the disk, by name.
pub(super) fn files_of(path: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let metadata = std::fs::metadata(path).map_err(|err| missing(path, err))?;
    if !metadata.is_dir() {
        check_is_file(path, &metadata)?;
        return Ok(vec![(String::new(), path.to_owned())]);
    }
    let mut tree = Tree::default();
    let root = std::fs::canonicalize(path).map_err(|err| FsError::io("open", path, err))?;
    tree.walk(&root, &root, 0)?;
    Ok(tree.parts.into_iter().map(|part| (part.name, part.path)).collect())
}

/// Pipes and devices have no end to be waited for.
fn check_is_file(path: &Path, metadata: &std::fs::Metadata) -> Result<(), DataError> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(DataError::UnsupportedFormat { path: path.to_owned(), found: "a pipe or a device" })
}

fn missing(path: &Path, err: io::Error) -> DataError {
    let is_missing = err.kind() == io::ErrorKind::NotFound;
    let source = FsError::io("open", path, err);
    if is_missing {
        return DataError::MissingFile { path: path.to_owned(), nearest: nearest_file(path), source };
    }
    DataError::Fs(source)
}

/// A file beside the missing one with a similar name.
fn nearest_file(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut names: Vec<String> =
        folder.read_dir().ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    nearest(&file_name(path), names.iter().map(String::as_str)).map(String::from)
}

fn first_bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut head = Vec::new();
    let file = trex_fs::open(path)?;
    file.take(HEAD_BYTES).read_to_end(&mut head).map_err(|err| FsError::io("read", path, err))?;
    Ok(head)
}

/// The files below a folder or in an archive.
#[derive(Default)]
struct Tree {
    parts: Vec<Part>,
    refused: Vec<(String, String)>,
    passed_over: Vec<String>,
}

impl Tree {
    /// Collects files in the order of their names. Links that lead out of the root are refused.
    fn walk(&mut self, root: &Path, folder: &Path, depth: usize) -> Result<(), DataError> {
        let listing = std::fs::read_dir(folder).map_err(|err| FsError::io("list", folder, err))?;
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in listing {
            paths.push(entry.map_err(|err| FsError::io("list", folder, err))?.path());
        }
        paths.sort();
        for path in paths {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            if is_hidden(&name) {
                continue;
            }
            let real = match std::fs::canonicalize(&path) {
                Ok(real) => real,
                Err(err) => {
                    self.refused.push((name, format!("it cannot be opened: {err}")));
                    continue;
                }
            };
            if !real.starts_with(root) {
                self.refused.push((name, "a link that leads out of the folder".to_owned()));
            } else if real.is_dir() && (depth >= MAX_DEPTH || path.is_symlink()) {
                self.refused.push((name, "a folder that is a link or lies too deep".to_owned()));
            } else if real.is_dir() {
                self.walk(root, &path, depth + 1)?;
            } else if !real.is_file() {
                self.refused.push((name, "a pipe or a device".to_owned()));
            } else {
                let allowance = Arc::new(Allowance::of(real.metadata().map_or(0, |metadata| metadata.len())));
                self.add(Part { name, path: real, place: PartPlace::File, allowance });
            }
        }
        Ok(())
    }

    fn add(&mut self, part: Part) {
        if is_no_data(&part.name) { self.passed_over.push(part.name) } else { self.parts.push(part) }
    }

    fn listed(self, path: &Path) -> Result<Listed, DataError> {
        if self.parts.is_empty() && self.refused.is_empty() {
            return Err(DataError::EmptyFolder { path: path.to_owned() });
        }
        let mut listed = Listed { refused: self.refused, ..Listed::default() };
        if !self.passed_over.is_empty() {
            listed.remarks.push(format!("passed over as no data: {}", self.passed_over.join(", ")));
        }
        match documents::of_parts(self.parts) {
            Ok(documents) => listed.documents = Some(documents),
            Err(parts) => listed.parts = parts,
        }
        Ok(listed)
    }
}

fn is_hidden(name: &str) -> bool {
    name.split('/').any(|part| part.starts_with('.') && part != ".." || part == "__MACOSX")
}

fn is_no_data(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    let stem = file.split('.').next().unwrap_or_default();
    let extension = extension_of(&file);
    let is_note = matches!(extension, "" | "md" | "txt" | "json");
    (NOT_DATA.contains(&stem) && is_note) || matches!(extension, "py" | "yaml" | "yml")
}

/// The members of a zip archive, in the order of their names.
fn archive(part: &Part) -> Result<Tree, DataError> {
    let unreadable = |source| DataError::BadArchive { path: part.path.clone(), source: Box::new(source) };
    let file = trex_fs::open(&part.path)?;
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(unreadable)?;
    let mut tree = Tree::default();
    for index in 0..archive.len() {
        let member = archive.by_index_raw(index).map_err(unreadable)?;
        let name = member.name().map_or_else(|_| format!("member {index}"), std::borrow::Cow::into_owned);
        if name == "[Content_Types].xml" {
            return Err(DataError::UnsupportedFormat { path: part.path.clone(), found: "an office document" });
        }
        if member.is_dir() || is_hidden(&name) {
            continue;
        }
        let full_name = format!("{}/{name}", part.name);
        let refusal = if !stays_inside(&name) {
            Some("its name leads out of the archive")
        } else if member.is_symlink() {
            Some("a link")
        } else if member.encrypted() {
            Some("it is encrypted")
        } else {
            let is_known =
                matches!(member.compression(), zip::CompressionMethod::Stored | zip::CompressionMethod::Deflated);
            (!is_known).then_some("it is packed in a way that is not read")
        };
        let Some(start) = member.data_start() else { continue };
        match refusal {
            Some(reason) => tree.refused.push((full_name, reason.to_owned())),
            None => tree.add(Part {
                name: full_name,
                path: part.path.clone(),
                place: PartPlace::Member(Member {
                    start,
                    packed_bytes: member.compressed_size(),
                    crc32: member.crc32(),
                    is_deflated: member.compression() == zip::CompressionMethod::Deflated,
                }),
                allowance: part.allowance.clone(),
            }),
        }
    }
    tree.parts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tree)
}

/// Whether a name, taken as a path, would stay in the folder that an archive were unpacked to, on any system.
fn stays_inside(name: &str) -> bool {
    let is_absolute = name.starts_with(['/', '\\']) || name.as_bytes().get(1) == Some(&b':');
    !is_absolute && !name.contains('\0') && !name.split(['/', '\\']).any(|part| part == "..")
}

impl Part {
    /// The ending of its name, without that of packing, in lower case.
    pub(super) fn extension(&self) -> String {
        let name = self.name.to_lowercase();
        let name = [".gz", ".zst", ".zstd"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
        extension_of(name).to_owned()
    }

    /// The file itself, where the part is no member of an archive.
    pub(super) fn plain_path(&self) -> Option<&Path> {
        matches!(self.place, PartPlace::File).then_some(&self.path)
    }

    /// Opens it and unpacks what is packed.
    pub(super) fn open(&self) -> Result<Content, DataError> {
        let mut input = self.raw()?;
        let mut is_packed = matches!(self.place, PartPlace::Member(_));
        let mut head = self.head(&mut input)?;
        for _ in 0..MAX_LAYERS {
            let whole = Cursor::new(head.clone()).chain(input);
            let unpacked: Box<dyn Read + Send> = if head.starts_with(b"\x1f\x8b") {
                Box::new(flate2::read::MultiGzDecoder::new(whole))
            } else if head.starts_with(b"\x28\xb5\x2f\xfd") {
                Box::new(zstd::Decoder::new(whole).map_err(|err| self.failure(err))?)
            } else {
                return Ok(Content { head, input: Box::new(whole), is_packed });
            };
            is_packed = true;
            input = Box::new(Limited { inner: unpacked, allowance: self.allowance.clone() });
            head = self.head(&mut input)?;
        }
        Ok(Content { input: Box::new(Cursor::new(head.clone()).chain(input)), head, is_packed })
    }

    /// The error for a failure to read.
    pub(super) fn failure(&self, source: io::Error) -> DataError {
        if is_too_large(&source) {
            return DataError::ExpandsTooMuch { file: self.name.clone(), max_times: MAX_EXPANSION };
        }
        let is_of_content = matches!(
            source.kind(),
            io::ErrorKind::InvalidData
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::Other
        );
        if is_of_content {
            return DataError::BadPacked { file: self.name.clone(), source };
        }
        DataError::Fs(FsError::io("read", &self.path, source))
    }

    fn head(&self, input: &mut Box<dyn Read + Send>) -> Result<Vec<u8>, DataError> {
        let mut head = Vec::new();
        input.by_ref().take(HEAD_BYTES).read_to_end(&mut head).map_err(|err| self.failure(err))?;
        Ok(head)
    }

    fn raw(&self) -> Result<Box<dyn Read + Send>, DataError> {
        let mut file: File = trex_fs::open(&self.path)?;
        let PartPlace::Member(member) = &self.place else {
            return Ok(Box::new(file));
        };
        file.seek(SeekFrom::Start(member.start)).map_err(|err| FsError::io("read", &self.path, err))?;
        let packed = file.take(member.packed_bytes);
        let unpacked: Box<dyn Read + Send> =
            if member.is_deflated { Box::new(flate2::read::DeflateDecoder::new(packed)) } else { Box::new(packed) };
        let limited = Limited { inner: unpacked, allowance: self.allowance.clone() };
        Ok(Box::new(Checked { inner: limited, expected: member.crc32, found: flate2::Crc::new() }))
    }
}

/// Bytes that the packed data of one file or archive may still unfold to.
#[derive(Debug)]
struct Allowance {
    left: AtomicU64,
}

impl Allowance {
    fn of(packed_bytes: u64) -> Self {
        Self { left: AtomicU64::new(packed_bytes.saturating_mul(MAX_EXPANSION).max(ALWAYS_ALLOWED_BYTES)) }
    }
}

/// Whether a failure is that of [`TooLarge`].
pub(super) fn is_too_large(err: &io::Error) -> bool {
    err.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<TooLarge>)
}

/// Packed data unfolds to more than it may.
#[derive(Debug, thiserror::Error)]
#[error("it unfolds to more than {MAX_EXPANSION} times its size")]
struct TooLarge;

struct Limited {
    inner: Box<dyn Read + Send>,
    allowance: Arc<Allowance>,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let num_read = self.inner.read(buffer)?;
        let left = self.allowance.left.load(Ordering::Relaxed);
        let Some(rest) = left.checked_sub(num_read as u64) else {
            return Err(io::Error::other(TooLarge));
        };
        self.allowance.left.store(rest, Ordering::Relaxed);
        Ok(num_read)
    }
}

/// Compares the checksum at the end.
struct Checked<R> {
    inner: R,
    expected: u32,
    found: flate2::Crc,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let num_read = self.inner.read(buffer)?;
        self.found.update(buffer.get(..num_read).unwrap_or_default());
        let is_wrong = num_read == 0 && !buffer.is_empty() && self.found.sum() != self.expected;
        if is_wrong {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum is wrong"));
        }
        Ok(num_read)
    }
}
