use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};
use trex_domain::{ContentHash, Millis, Problem as _};
use trex_library::{make_key, read_bundle, read_key, write_bundle};
use zip::write::SimpleFileOptions;

const NOW: Millis = Millis(1_700_000_000_000);

fn records(values: Vec<Value>) -> BTreeMap<String, Vec<Value>> {
    [("lessons.jsonl".to_owned(), values)].into()
}

/// An archive of the given members, as an attacker would make one.
fn archive(dir: &Path, members: &[(&str, &[u8])]) -> PathBuf {
    let path = dir.join("made.trexkb");
    let mut writer = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    for (name, body) in members {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(body).unwrap();
    }
    writer.finish().unwrap();
    path
}

fn manifest(version: u32, members: &[(&str, &[u8])]) -> Vec<u8> {
    let member = |(name, body): &(&str, &[u8])| json!({"name": name, "bytes": body.len(), "blake3": ContentHash::of_bytes(body), "records": 1});
    let members: Vec<Value> = members.iter().map(member).collect();
    let value = json!({"format": "trex-knowledge-bundle", "version": version, "lab": "l", "created": 1, "program": "0", "members": members});
    serde_json::to_vec(&value).unwrap()
}

#[track_caller]
fn check_refused(path: &Path, code: &str) {
    let err = read_bundle(path).unwrap_err();
    assert_eq!(err.code(), code, "{err}");
    assert!(err.hint().is_some());
}

#[test]
fn what_does_not_belong_into_a_bundle_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let line: &[u8] = b"{}\n";
    let lessons = ("lessons.jsonl", line);
    let good = manifest(1, &[lessons]);
    assert_eq!(
        read_bundle(&archive(dir, &[("manifest.json", &good), lessons])).unwrap().records["lessons.jsonl"],
        [json!({})]
    );

    check_refused(&archive(dir, &[("manifest.json", &manifest(2, &[])), lessons]), "bundle.newer_version");
    check_refused(&archive(dir, &[("manifest.json", &good), ("lessons.jsonl", b"{ }\n")]), "bundle.damaged");
    check_refused(&archive(dir, &[("manifest.json", &good)]), "bundle.damaged");
    check_refused(&archive(dir, &[lessons]), "bundle.not_a_bundle");
    check_refused(&archive(dir, &[("manifest.json", b"{}")]), "bundle.not_a_bundle");
    let slip = ("../../home/me/.profile", line);
    check_refused(&archive(dir, &[("manifest.json", &good), lessons, slip]), "bundle.damaged");
    check_refused(&archive(dir, &[("manifest.json", &manifest(1, &[slip])), slip]), "bundle.damaged");
    let script = ("lessons.jsonl", b"not json\n".as_slice());
    check_refused(&archive(dir, &[("manifest.json", &manifest(1, &[script])), script]), "bundle.damaged");
    let text = dir.join("text.trexkb");
    std::fs::write(&text, "no archive").unwrap();
    check_refused(&text, "bundle.not_a_bundle");
}

/// Two MiB of zeros in two thousand bytes, where one MiB is allowed.
#[test]
fn a_bundle_that_unfolds_without_end_is_refused_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let bomb = vec![b' '; 2 << 20];
    let path = archive(dir.path(), &[("manifest.json", &bomb)]);
    assert!(std::fs::metadata(&path).unwrap().len() < 10_000);
    check_refused(&path, "bundle.oversized");
}

#[test]
fn a_signature_names_its_key_and_covers_all_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (key_file, path) = (dir.path().join("key"), dir.path().join("b.trexkb"));
    let public = make_key(&key_file).unwrap();
    assert_eq!(make_key(&key_file).unwrap_err().code(), "fs.io", "a key is never overwritten");
    let key = read_key(&key_file).unwrap();
    assert_eq!(key.public(), public);
    assert!(
        !format!("{key:?}").contains(std::fs::read_to_string(&key_file).unwrap().trim()),
        "the secret is not shown"
    );
    write_bundle(&path, "lab", NOW, &records(vec![json!({"a": 1})]), Some(&key)).unwrap();
    assert_eq!(read_bundle(&path).unwrap().signer, Some(public));
    assert_eq!(public.to_string().parse::<trex_library::PublicKey>().unwrap(), public);

    // The signature of this manifest beside another one.
    let mut signed = zip::ZipArchive::new(std::fs::File::open(&path).unwrap()).unwrap();
    let mut signature = Vec::new();
    std::io::Read::read_to_end(&mut signed.by_name("signature.json").unwrap(), &mut signature).unwrap();
    let lessons = ("lessons.jsonl", b"{}\n".as_slice());
    let forged =
        archive(dir.path(), &[("manifest.json", &manifest(1, &[lessons])), ("signature.json", &signature), lessons]);
    check_refused(&forged, "bundle.damaged");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,5}", inner, 0..4)
                .prop_map(|map| Value::from(serde_json::Map::from_iter(map))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_written_is_read(values in prop::collection::vec(any_json(), 0..6)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.trexkb");
        let manifest = write_bundle(&path, "lab", NOW, &records(values.clone()), None).unwrap();
        let read = read_bundle(&path).unwrap();
        prop_assert_eq!(read.manifest, manifest);
        prop_assert_eq!(&read.records["lessons.jsonl"], &values);
        let first = std::fs::read(&path).unwrap();
        write_bundle(&path, "lab", NOW, &records(values), None).unwrap();
        prop_assert!(std::fs::read(&path).unwrap() == first, "the same knowledge is the same file");
    }

    /// Whatever byte is changed: the bundle is refused, or it is read as it was.
    #[test]
    fn no_changed_byte_changes_what_is_read(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.trexkb");
        write_bundle(&path, "lab", NOW, &records(vec![json!({"gain": 0.25}), json!("x")]), None).unwrap();
        let before = read_bundle(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        std::fs::write(&path, bytes).unwrap();
        if let Ok(after) = read_bundle(&path) {
            prop_assert_eq!(after.records, before.records);
        }
    }
}
