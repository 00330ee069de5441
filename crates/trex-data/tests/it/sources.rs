//! Packed files, archives, folders and columnar files.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use tempfile::TempDir;
use trex_data::{RawTable, profile_file, read_table};
use trex_domain::Problem as _;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder can be made")
}

fn write(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("the folder is writable");
    std::fs::write(&path, content).expect("the folder is writable");
    path
}

fn gz(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

fn zip_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in members {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).expect("the name is fine");
        writer.write_all(content).expect("memory takes all");
    }
    writer.finish().expect("memory takes all").into_inner()
}

fn column<'t>(table: &'t RawTable, name: &str) -> Vec<&'t str> {
    table.rows.iter().filter_map(|row| row.values.get(name)).map(String::as_str).collect()
}

const LINES: &[u8] = b"{\"text\":\"good film\",\"label\":\"1\"}\n{\"text\":\n{\"text\":\"bad film\",\"label\":\"0\"}\n";

#[test]
fn packed_files_are_read_and_keep_their_places() {
    let dir = folder();
    let twice = gz(&gz(LINES));
    let zst = zstd::encode_all(LINES, 3).unwrap();
    for (name, content) in [("a.jsonl.gz", gz(LINES)), ("b.jsonl.zst", zst), ("c.jsonl.gz.gz", twice)] {
        let table = read_table(&write(dir.path(), name, &content)).unwrap();
        assert_eq!((table.format.as_str(), column(&table, "label")), ("jsonl", vec!["1", "0"]), "{name}");
        assert_eq!((table.quarantined[0].line, table.quarantined[0].byte_offset), (2, 33), "{name}");
    }
    let thrice = gz(&gz(&gz(LINES)));
    let err = read_table(&write(dir.path(), "d.gz", &thrice)).unwrap_err();
    assert_eq!(err.code(), "data.unsupported_format");
}

#[test]
fn packed_data_that_breaks_off_costs_what_is_behind_the_break() {
    let dir = folder();
    let mut lines = Vec::new();
    for number in 0..20_000 {
        writeln!(lines, "{{\"text\":\"row {number} {}\"}}", number * 7919 % 10_007).unwrap();
    }
    let packed = gz(&lines);
    let table = read_table(&write(dir.path(), "a.jsonl.gz", &packed[..packed.len() / 2])).unwrap();
    assert!(table.rows.len() > 5_000, "{}", table.rows.len());
    let last = table.quarantined.last().unwrap();
    assert!(last.reason.contains("breaks off here"), "{}", last.reason);
    assert_eq!(table.input, table.rows.len() + table.quarantined.len());
}

#[test]
fn data_that_is_packed_to_waste_time_is_refused() {
    let dir = folder();
    // Zeros would be taken for a binary file at once.
    let line = [b"word ".repeat(200), b"\n".to_vec()].concat();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..1_200_000 {
        encoder.write_all(&line).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let path = write(dir.path(), "bomb.txt.zst", &bomb);
    let mut reader = trex_data::TableReader::open(&path).unwrap();
    let err = loop {
        match reader.next_chunk() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it was read to its end"),
            Err(err) => break err,
        }
    };
    assert_eq!(err.code(), "data.expands_too_much");
}

#[test]
fn archives_are_read_member_by_member() {
    let dir = folder();
    let members: &[(&str, &[u8])] = &[
        ("data/b.jsonl", LINES),
        ("data/a.jsonl", b"{\"text\":\"fine\",\"label\":\"1\"}\n"),
        ("README.md", b"about"),
        ("__MACOSX/x", b"junk"),
        ("../outside.jsonl", b"{\"text\":\"evil\"}\n"),
        ("/etc/absolute.jsonl", b"{\"text\":\"evil\"}\n"),
        ("empty.jsonl", b""),
    ];
    let table = read_table(&write(dir.path(), "all.zip", &zip_of(members))).unwrap();
    assert_eq!(column(&table, "text"), ["fine", "good film", "bad film"]);
    assert_eq!(&*table.rows[0].file, "all.zip/data/a.jsonl");
    let reasons: BTreeMap<&str, &str> =
        table.quarantined.iter().map(|row| (row.file.as_str(), row.reason.as_str())).collect();
    assert!(reasons["all.zip/../outside.jsonl"].contains("leads out of the archive"), "{reasons:?}");
    assert!(reasons["all.zip//etc/absolute.jsonl"].contains("leads out of the archive"), "{reasons:?}");
    assert!(reasons["all.zip/empty.jsonl"].contains("is empty"), "{reasons:?}");
    assert!(reasons["all.zip/data/b.jsonl"].contains("not JSON"), "{reasons:?}");
    assert!(table.format_reason.contains("passed over as no data: all.zip/README.md"), "{}", table.format_reason);
    assert_eq!(table.input, table.rows.len() + table.quarantined.len());
    let rows: Vec<u64> = table.rows.iter().map(|row| row.row).collect();
    assert!(rows.is_sorted() && rows.windows(2).all(|pair| pair[0] < pair[1]));
    let office: &[(&str, &[u8])] = &[("[Content_Types].xml", b"<x/>"), ("xl/workbook.xml", b"<x/>")];
    let err = read_table(&write(dir.path(), "book.xlsx", &zip_of(office))).unwrap_err();
    assert_eq!(err.code(), "data.unsupported_format");
}

#[test]
fn a_damaged_member_is_noticed() {
    let dir = folder();
    let mut archive = zip_of(&[("a.txt", b"one line of plain text\nand another\n")]);
    let name_end = archive.windows(5).position(|window| window == b"a.txt").expect("the name is there") + 5;
    // A byte of the packed content.
    archive[name_end + 4] ^= 0x55;
    let result = read_table(&write(dir.path(), "a.zip", &archive));
    let is_noticed = match &result {
        Ok(table) => {
            table.quarantined.iter().any(|row| row.reason.contains("breaks off") || row.reason.contains("unpacked"))
        }
        Err(_) => true,
    };
    assert!(is_noticed, "{result:?}");
}

#[test]
fn folders_of_texts_take_labels_from_beside_a_table_or_folder_names() {
    let beside = folder();
    write(beside.path(), "1.txt", b"A fine film.\nReally.");
    write(beside.path(), "1.label", b"good\n");
    write(beside.path(), "2.txt", b"A bad film.");
    write(beside.path(), "2.label", b"bad");
    write(beside.path(), "3.txt", b"  ");
    let table = read_table(beside.path()).unwrap();
    assert_eq!((table.format.as_str(), column(&table, "label")), ("3 texts", vec!["good", "bad"]));
    assert_eq!(column(&table, "text"), ["A fine film.\nReally.", "A bad film."]);
    assert_eq!((table.quarantined[0].file.as_str(), table.quarantined[0].reason.as_str()), ("3.txt", "it is empty"));
    let profile = profile_file(beside.path()).unwrap();
    assert!(profile.schema.starts_with("classification (text, label): "), "{}", profile.schema);

    let by_table = folder();
    write(by_table.path(), "docs/1.md", b"# A fine film");
    write(by_table.path(), "docs/2.md", b"# A bad film");
    write(by_table.path(), "labels.csv", b"file,label\n1.md,good\ndocs/2.md,bad\n");
    let table = read_table(by_table.path()).unwrap();
    assert_eq!(column(&table, "label"), ["good", "bad"], "{}", table.format_reason);

    let by_folder = folder();
    write(by_folder.path(), "neg/1.txt", b"A bad film.");
    write(by_folder.path(), "pos/1.txt", b"A fine film.");
    let table = read_table(by_folder.path()).unwrap();
    assert_eq!(column(&table, "label"), ["neg", "pos"], "{}", table.format_reason);
    let packed: &[(&str, &[u8])] = &[("pos/1.txt", b"A fine film."), ("neg/1.txt", b"A bad film.")];
    let table = read_table(&write(by_folder.path(), "../packed.zip", &zip_of(packed))).unwrap();
    assert_eq!(column(&table, "label"), ["neg", "pos"], "{}", table.format_reason);
}

#[cfg(unix)]
#[test]
fn links_out_of_a_folder_are_refused() {
    let outside = folder();
    let secret = write(outside.path(), "secret.jsonl", b"{\"text\":\"secret\"}\n");
    let dir = folder();
    write(dir.path(), "a.jsonl", b"{\"text\":\"fine\"}\n");
    std::os::unix::fs::symlink(&secret, dir.path().join("b.jsonl")).unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("loop")).unwrap();
    let table = read_table(dir.path()).unwrap();
    assert_eq!(column(&table, "text"), ["fine"]);
    let reasons: Vec<&str> = table.quarantined.iter().map(|row| row.reason.as_str()).collect();
    assert!(reasons.contains(&"a link that leads out of the folder"), "{reasons:?}");
    assert!(reasons.contains(&"a folder that is a link or lies too deep"), "{reasons:?}");
}

fn batch() -> RecordBatch {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for items in [&["a", "b \"q\""][..], &[], &["c"]] {
        for item in items {
            lists.values().append_value(item);
        }
        lists.append(true);
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", Arc::new(StringArray::from(vec![Some("fine"), None, Some("多")]))),
        ("count", Arc::new(Int64Array::from(vec![1, -2, 3]))),
        ("score", Arc::new(Float64Array::from(vec![0.5, 1.0, 1e21]))),
        ("flag", Arc::new(BooleanArray::from(vec![true, false, true]))),
        ("list", Arc::new(lists.finish())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .expect("the columns have one length")
}

/// A small Parquet file.
pub(crate) fn parquet_sample() -> Vec<u8> {
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(Vec::new(), batch().schema(), None).expect("the schema is fine");
    writer.write(&batch()).expect("memory takes all");
    writer.into_inner().expect("memory takes all")
}

/// A small Arrow file.
pub(crate) fn arrow_sample() -> Vec<u8> {
    let batch = batch();
    let mut writer = arrow_ipc::writer::FileWriter::try_new(Vec::new(), &batch.schema()).expect("the schema is fine");
    writer.write(&batch).expect("memory takes all");
    writer.into_inner().expect("memory takes all")
}

#[test]
fn columnar_files_have_the_values_of_json_lines() {
    let dir = folder();
    let batch = batch();
    let parquet_path = dir.path().join("a.parquet");
    let file = std::fs::File::create(&parquet_path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let arrow_path = dir.path().join("named-wrongly.jsonl");
    let mut writer =
        arrow_ipc::writer::FileWriter::try_new(std::fs::File::create(&arrow_path).unwrap(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let stream_path = dir.path().join("cache.arrow");
    let mut writer =
        arrow_ipc::writer::StreamWriter::try_new(std::fs::File::create(&stream_path).unwrap(), &batch.schema())
            .unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let lines = concat!(
        "{\"text\":\"fine\",\"count\":1,\"score\":0.5,\"flag\":true,\"list\":[\"a\",\"b \\\"q\\\"\"]}\n",
        "{\"text\":null,\"count\":-2,\"score\":1.0,\"flag\":false,\"list\":[]}\n",
        "{\"text\":\"多\",\"count\":3,\"score\":1e21,\"flag\":true,\"list\":[\"c\"]}\n"
    );
    let expected = read_table(&write(dir.path(), "a.jsonl", lines.as_bytes())).unwrap();
    for (path, format) in [(parquet_path, "parquet"), (arrow_path, "arrow"), (stream_path, "arrow stream")] {
        let table = read_table(&path).unwrap();
        assert_eq!((table.format.as_str(), &table.fields), (format, &expected.fields));
        let values = |table: &RawTable| table.rows.iter().map(|row| row.values.clone()).collect::<Vec<_>>();
        assert_eq!(values(&table), values(&expected), "{format}");
        assert_eq!(table.rows[2].line, 3);
    }
}

#[test]
fn a_parquet_file_cut_short_is_a_typed_error() {
    let dir = folder();
    let whole = parquet_sample();
    for length in [4, 8, 100, whole.len() - 1] {
        let err = read_table(&write(dir.path(), "a.parquet", &whole[..length])).unwrap_err();
        assert_eq!(err.code(), "data.bad_columnar", "{length}");
    }
}
