//! Bundles: knowledge in one file that goes from lab to lab. A zip archive with a manifest that names each member's bytes by
//! blake3, and a signature of the manifest where the sender has a key.
//!
//! Reading one writes nothing and runs nothing: known members are read into memory within limits, and the names in the
//! archive lead nowhere. What the records say is data for the caller to check and to merge.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trex_domain::{ContentHash, Millis};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::signature::SignatureFile;
use crate::{LibraryError, PublicKey, SigningKey};

/// What the manifest calls itself.
const FORMAT: &str = "trex-knowledge-bundle";

/// The version that this program writes and the latest that it reads.
const VERSION: u32 = 1;

const MANIFEST: &str = "manifest.json";
const SIGNATURE: &str = "signature.json";

/// The members that hold records, one JSON value a line. Others are refused.
const RECORDS: [&str; 3] = ["lessons.jsonl", "documents.jsonl", "insights.jsonl"];

/// Bytes that a bundle may unfold to, all members together.
const MAX_BYTES: u64 = 1 << 30;

/// Bytes of manifest and signature.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// A member of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name in the archive.
    pub name: String,
    /// Bytes, unfolded.
    pub bytes: u64,
    /// blake3 of them.
    pub blake3: ContentHash,
    /// Records in it.
    pub records: usize,
}

/// What a bundle is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always `trex-knowledge-bundle`.
    pub format: String,
    /// Version of the format.
    pub version: u32,
    /// The lab that wrote it.
    pub lab: String,
    /// When.
    pub created: Millis,
    /// Version of the program that wrote it.
    pub program: String,
    /// Its members, by name.
    pub members: Vec<Member>,
}

/// The content of a bundle: records by member, each a JSON value.
#[derive(Clone, Debug, PartialEq)]
pub struct BundleContent {
    /// Its manifest.
    pub manifest: Manifest,
    /// Whose signature it has.
    pub signer: Option<PublicKey>,
    /// Records by member.
    pub records: BTreeMap<String, Vec<Value>>,
}

/// The bytes of members and the manifest that names them.
pub(crate) fn sealed(
    lab: &str,
    now: Millis,
    records: &BTreeMap<String, Vec<Value>>,
) -> Result<(Manifest, BTreeMap<String, Vec<u8>>), LibraryError> {
    let mut bodies = BTreeMap::new();
    let mut members = Vec::new();
    for (name, values) in records {
        let mut body = Vec::new();
        for value in values {
            body.extend_from_slice(trex_domain::canonical_json(value)?.as_bytes());
            body.push(b'\n');
        }
        let blake3 = ContentHash::of_bytes(&body);
        members.push(Member { name: name.clone(), bytes: body.len() as u64, blake3, records: values.len() });
        bodies.insert(name.clone(), body);
    }
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        version: VERSION,
        lab: lab.to_owned(),
        created: now,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        members,
    };
    Ok((manifest, bodies))
}

/// Writes a bundle, complete or not at all, and returns its manifest. Names of members must be those that are read.
pub fn write_bundle(
    path: &Path,
    lab: &str,
    now: Millis,
    records: &BTreeMap<String, Vec<Value>>,
    key: Option<&SigningKey>,
) -> Result<Manifest, LibraryError> {
    let (manifest, bodies) = sealed(lab, now, records)?;
    let not_written = |source| LibraryError::NotWritten { path: path.to_owned(), source };
    let manifest_bytes = trex_domain::canonical_json(&manifest)?.into_bytes();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let mut add = |name: &str, body: &[u8]| {
        // No time of its own: the same knowledge gives the same bytes.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(zip::DateTime::default());
        writer.start_file(name, options)?;
        writer.write_all(body).map_err(zip::result::ZipError::Io)
    };
    add(MANIFEST, &manifest_bytes).map_err(not_written)?;
    if let Some(key) = key {
        add(SIGNATURE, trex_domain::canonical_json(&key.sign(&manifest_bytes))?.as_bytes()).map_err(not_written)?;
    }
    for (name, body) in &bodies {
        add(name, body).map_err(not_written)?;
    }
    let bytes = writer.finish().map_err(not_written)?.into_inner();
    trex_fs::write_atomic(path, &bytes)?;
    Ok(manifest)
}

/// Reads a bundle whole, and refuses one that is damaged, newer, oversized or holds anything unknown.
pub fn read_bundle(path: &Path) -> Result<BundleContent, LibraryError> {
    let file = trex_fs::open(path)?;
    let not_a_bundle = |source| LibraryError::NotABundle { path: path.to_owned(), source };
    let mut archive = ZipArchive::new(file).map_err(|err| not_a_bundle(Some(err)))?;
    let manifest_bytes = member(path, &mut archive, MANIFEST, MAX_MANIFEST_BYTES)?.ok_or_else(|| not_a_bundle(None))?;
    let manifest = manifest(path, &manifest_bytes)?;
    check_names(path, &archive, &manifest)?;
    let signer = match member(path, &mut archive, SIGNATURE, MAX_MANIFEST_BYTES)? {
        Some(bytes) => {
            let signature: Option<SignatureFile> = serde_json::from_slice(&bytes).ok();
            let signer = signature.and_then(|signature| signature.signer(&manifest_bytes));
            Some(signer.ok_or_else(|| damaged(path, "its signature does not fit"))?)
        }
        None => None,
    };
    let mut left = MAX_BYTES;
    let mut records = BTreeMap::new();
    for one in &manifest.members {
        let bytes = member(path, &mut archive, &one.name, left)?
            .ok_or_else(|| damaged(path, &format!("{} is missing", one.name)))?;
        left -= bytes.len() as u64;
        if ContentHash::of_bytes(&bytes) != one.blake3 || bytes.len() as u64 != one.bytes {
            return Err(damaged(path, &format!("{} is not what the manifest says", one.name)));
        }
        records.insert(one.name.clone(), lines(path, one, &bytes)?);
    }
    Ok(BundleContent { manifest, signer, records })
}

fn damaged(path: &Path, what: &str) -> LibraryError {
    LibraryError::DamagedBundle { path: path.to_owned(), what: what.to_owned() }
}

/// The version is looked at before anything else of the manifest: a later one may have other fields.
fn manifest(path: &Path, bytes: &[u8]) -> Result<Manifest, LibraryError> {
    let bad = |source| LibraryError::BadRecord { path: path.to_owned(), member: MANIFEST.to_owned(), line: 1, source };
    let value: Value = serde_json::from_slice(bytes).map_err(bad)?;
    if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
        return Err(LibraryError::NotABundle { path: path.to_owned(), source: None });
    }
    let version = value.get("version").and_then(Value::as_u64).unwrap_or(0);
    let found = u32::try_from(version).unwrap_or(u32::MAX);
    if found > VERSION {
        return Err(LibraryError::NewerBundle { path: path.to_owned(), found, known: VERSION });
    }
    serde_json::from_value(value).map_err(bad)
}

/// Every file of the archive is known, named once, and in the manifest; every member of the manifest is one that is read.
fn check_names(path: &Path, archive: &ZipArchive<File>, manifest: &Manifest) -> Result<(), LibraryError> {
    let mut named = BTreeSet::new();
    for one in &manifest.members {
        if !RECORDS.contains(&one.name.as_str()) || !named.insert(one.name.as_str()) {
            return Err(damaged(path, &format!("{:?} has no place in a bundle", one.name)));
        }
    }
    for name in archive.file_names() {
        let name = name.map_err(|_unreadable| damaged(path, "a name cannot be read"))?;
        if ![MANIFEST, SIGNATURE].contains(&&*name) && !named.contains(&*name) {
            return Err(damaged(path, &format!("{name:?} is not in the manifest")));
        }
    }
    let known = named.len() + 1 + usize::from(archive.index_for_name(SIGNATURE).is_some());
    if archive.len() != known {
        return Err(damaged(path, "a name occurs twice, or a member is missing"));
    }
    Ok(())
}

/// The bytes of a member, at most `limit` of them, whatever its header says.
fn member(
    path: &Path,
    archive: &mut ZipArchive<File>,
    name: &str,
    limit: u64,
) -> Result<Option<Vec<u8>>, LibraryError> {
    let Some(index) = archive.index_for_name(name) else { return Ok(None) };
    let mut file =
        archive.by_index(index).map_err(|err| LibraryError::NotABundle { path: path.to_owned(), source: Some(err) })?;
    let mut bytes = Vec::new();
    let read = file.by_ref().take(limit + 1).read_to_end(&mut bytes);
    if read.is_err() {
        return Err(damaged(path, &format!("{name} cannot be unpacked")));
    }
    if bytes.len() as u64 > limit {
        return Err(LibraryError::OversizedBundle { path: path.to_owned(), limit });
    }
    Ok(Some(bytes))
}

fn lines(path: &Path, member: &Member, bytes: &[u8]) -> Result<Vec<Value>, LibraryError> {
    let mut values = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let value = serde_json::from_slice(line).map_err(|source| LibraryError::BadRecord {
            path: path.to_owned(),
            member: member.name.clone(),
            line: index + 1,
            source,
        })?;
        values.push(value);
    }
    if values.len() != member.records {
        return Err(damaged(path, &format!("{} has another number of records than the manifest says", member.name)));
    }
    Ok(values)
}
