//! Formats, encodings, bad rows and errors of the reader.

use proptest::prelude::*;

use super::*;

fn table_of(name: &str, content: &[u8]) -> Result<RawTable, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    read_table(&path)
}

/// The rows as lists in the order of the columns.
fn cells(table: &RawTable) -> Vec<Vec<&str>> {
    let row = |row: &RawRow| -> Vec<String> {
        table.fields.iter().filter_map(|name| row.values.get(name.as_str()).cloned()).collect()
    };
    table.rows.iter().map(row).map(|row| row.into_iter().map(|cell| &*cell.leak()).collect()).collect()
}

#[track_caller]
fn check(name: &str, content: &[u8], format: &str, fields: &[&str], expected: &[&[&str]]) -> RawTable {
    let table = table_of(name, content).unwrap();
    assert_eq!(table.format, format, "{}", table.format_reason);
    assert_eq!(table.fields, fields, "{}", table.format_reason);
    assert_eq!(cells(&table), expected, "{:?}", table.quarantined);
    assert_eq!(table.input, table.rows.len() + table.quarantined.len());
    table
}

#[track_caller]
fn check_bad(table: &RawTable, expected: &[(u64, u64, &str)]) {
    let found: Vec<_> = table.quarantined.iter().map(|row| (row.line, row.byte_offset, row.reason.as_str())).collect();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((line, offset, reason), (expected_line, expected_offset, start)) in found.iter().zip(expected) {
        assert_eq!((line, offset), (expected_line, expected_offset), "{reason}");
        assert!(reason.starts_with(start), "{reason}");
    }
}

const AB: &[&[&str]] = &[&["x", "1"], &["y", "2"]];

#[test]
fn formats_are_known_by_content_not_name() {
    check("a.csv", b"a,b\nx,1\ny,2\n", "csv, header", &["a", "b"], AB);
    check("a.csv", b"a;b\nx;1\ny;2\n", "csv with ;, header", &["a", "b"], AB);
    check("a.csv", b"a|b\nx|1\ny|2\n", "csv with |, header", &["a", "b"], AB);
    check("a.txt", b"a\tb\r\nx\t1\r\ny\t2\r\n", "tsv, header", &["a", "b"], AB);
    check("a.tsv", b"x\t1\ny\t2\n", "tsv, no header", &["0", "1"], AB);
    check("a.jsonl", b"{\"a\":\"x\",\"b\":1}\n\n{\"a\":\"y\",\"b\":2}\n", "jsonl", &["a", "b"], AB);
    let pretty = b"[\n  {\n    \"a\": \"x\",\n    \"b\": 1\n  },\n  {\n    \"a\": \"y\",\n    \"b\": 2\n  }\n]\n";
    let table = check("a.jsonl", pretty, "json array", &["a", "b"], AB);
    assert!(table.format_reason.contains("although its name says JSON lines"), "{}", table.format_reason);
    check("a.json", b"{\n\"a\": \"x\",\n\"b\": 1\n}\n{\n\"a\": \"y\",\n\"b\": 2\n}", "json objects", &["a", "b"], AB);
    check("a.json", b"[{\"b\":\"x\",\"a\":1},{\"b\":\"y\",\"a\":2}]", "json array", &["b", "a"], AB);
    check(
        "a.txt",
        b"Hello, you.\n\nHow are you, then?\n",
        "plain text",
        &["text"],
        &[&["Hello, you."], &["How are you, then?"]],
    );
    check(
        "a.txt",
        b"[doctor] hi\n[patient] hello\n",
        "plain text",
        &["text"],
        &[&["[doctor] hi"], &["[patient] hello"]],
    );
}

#[test]
fn quotes_are_quotes_in_csv_and_characters_in_tsv() {
    let quoted = b"text,label\n\"a \"\"b\"\"\nc, d\",1\ne,2\n";
    let table = check("a.csv", quoted, "csv, header", &["text", "label"], &[&["a \"b\"\nc, d", "1"], &["e", "2"]]);
    assert_eq!(
        table.rows.iter().map(|row| (row.line, row.byte_offset, row.row)).collect::<Vec<_>>(),
        [(2, 11, 0), (4, 28, 1)]
    );
    let stray = b"\"open\t1\nhe said \"no\"\t0\n\"both\"\t1\n";
    let expected: &[&[&str]] = &[&["\"open", "1"], &["he said \"no\"", "0"], &["\"both\"", "1"]];
    check("a.tsv", stray, "tsv, no header", &["0", "1"], expected);
    let excel = b"text\tlabel\n\"two\nlines\"\t1\n\"more\nlines\nhere\"\t2\n";
    let expected: &[&[&str]] = &[&["two\nlines", "1"], &["more\nlines\nhere", "2"]];
    check("a.tsv", excel, "tsv, quoted, header", &["text", "label"], expected);
}

#[test]
fn headers_of_other_languages_and_unusual_names_are_told_from_rows() {
    let chinese = "文本,标签\n这部电影很好看,好\n太无聊了,坏\n";
    let rows: &[&[&str]] = &[&["这部电影很好看", "好"], &["太无聊了", "坏"]];
    check("a.csv", chinese.as_bytes(), "csv, header", &["文本", "标签"], rows);
    let line = |number: usize| format!("{number} fine films,{}\n", ["good", "bad"][number % 2]);
    let body: String = (0..12).map(line).collect();
    let table = table_of("a.csv", format!("avis,note_de_film\n{body}").as_bytes()).unwrap();
    assert_eq!(table.fields, ["avis", "note_de_film"]);
    // The same without names.
    assert_eq!(table_of("a.csv", body.as_bytes()).unwrap().fields, ["0", "1"]);
}

#[test]
fn any_delimiter_is_found() {
    let rows: &[&[&str]] = &[&["x", "1"], &["y, z", "2"]];
    for (sign, shown) in [("^", "^"), ("~", "~"), (":", ":"), ("\u{1}", "\\u{1}")] {
        let text = "text|label\nx|1\ny, z|2\n".replace('|', sign);
        check("a.csv", text.as_bytes(), &format!("csv with {shown}, header"), &["text", "label"], rows);
    }
    // Prose with a colon in every line is prose.
    assert_eq!(table_of("a.txt", b"Note: one\nNote: two\nNote: three\n").unwrap().fields.len(), 1);
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let err = crate::read_table(&path).unwrap_err();
    assert!(matches!(err, DataError::UnsupportedFormat { .. }), "{err}");
}

#[test]
fn headers_are_told_from_rows() {
    let longer = b"beschreibung,art\nein langer Text steht hier in dieser Zeile,x\nund noch ein langer Text in dieser Zeile,y\nund zum dritten Mal ein langer Text hier,x\n";
    assert_eq!(table_of("a.csv", longer).unwrap().fields, ["beschreibung", "art"]);
    assert_eq!(table_of("a.csv", b"good,pos\nbad,neg\nfine,pos\n").unwrap().fields, ["0", "1"]);
    assert_eq!(table_of("a.csv", b"0,1\ngood,pos\nbad,neg\n").unwrap().rows.len(), 2);
    assert_eq!(table_of("a.csv", b",text,label\n0,a,x\n1,b,y\n").unwrap().fields, ["0", "text", "label"]);
    assert_eq!(table_of("a.csv", b"text,label,text\na,b,c\n").unwrap().fields, ["text", "label", "text.1"]);
    assert_eq!(table_of("a.csv", b"text\nhello\n").unwrap().fields, ["text"]);
}

#[test]
fn bad_records_are_set_aside_with_their_place() {
    let table = check(
        "a.csv",
        b"text,label\na,1\nb\nc,2\nd,3,4\ne,5\n",
        "csv, header",
        &["text", "label"],
        &[&["a", "1"], &["c", "2"], &["e", "5"]],
    );
    check_bad(&table, &[(3, 15, "1 columns instead of 2"), (5, 21, "3 columns instead of 2")]);
    assert_eq!(table.rows.iter().map(|row| row.row).collect::<Vec<_>>(), [0, 2, 4]);
    let open = b"text,label\na,1\n\"b,2\nc,3\nd,4\n";
    let table = check("a.csv", open, "csv, header", &["text", "label"], &[&["a", "1"], &["c", "3"], &["d", "4"]]);
    check_bad(&table, &[(3, 15, "a quote is opened and never closed")]);
}

#[test]
fn broken_json_costs_itself_only() {
    let lines = b"{\"a\":1}\n{\"a\":\n[1]\n{\"a\":1,\"a\":2}\n{\"a\":\"\\ud800\"}\n{\"a\":2}\n";
    let table = check("a.jsonl", lines, "jsonl", &["a"], &[&["1"], &["2"]]);
    let reasons = [
        (2, 8, "not JSON: "),
        (3, 14, "a JSON value that is not"),
        (4, 18, "the key \"a\" occurs twice"),
        (5, 32, "not JSON: "),
    ];
    check_bad(&table, &reasons);
    let array = b"[\n  {\"a\": 1},\n  {\"a\": \"open},\n  {\"a\": 2},\n  7,\n  {\"a\": 3,\n  {\"a\": 4}\n]\n";
    let table = check("a.json", array, "json array", &["a"], &[&["1"], &["2"], &["4"]]);
    check_bad(&table, &[(3, 16, "not JSON: "), (5, 44, "a JSON value that is not"), (6, 49, "not JSON: ")]);
    let table = check("a.json", b"[{\"a\":1},{\"a\":2}", "json array", &["a"], &[&["1"], &["2"]]);
    assert!(table.format_reason.contains("closing bracket is missing"));
    let table = check("a.json", b"[{\"a\":1}] rest", "json array", &["a"], &[&["1"]]);
    check_bad(&table, &[(1, 10, "text after the end")]);
}

#[test]
fn many_broken_values_take_no_pass_each() {
    let numbers = format!("[{}]", vec!["1"; 100_000].join(","));
    assert_eq!(table_of("a.json", numbers.as_bytes()).unwrap().quarantined.len(), 100_000);
    let objects = format!("[{}{{\"a\":1}}]", "{\"a\":tru},\n".repeat(50_000));
    let table = table_of("a.json", objects.as_bytes()).unwrap();
    assert_eq!((table.quarantined.len(), table.rows.len()), (50_000, 1));
}

#[test]
fn nested_values_stay_compact_json_in_their_order() {
    let content = b"[{\"t\": {\"z\": [1.50, \"a b\\\" c\"], \"a\": null}, \"n\": null, \"x\": true}]";
    let table = check(
        "a.json",
        content,
        "json array",
        &["t", "n", "x"],
        &[&["{\"z\":[1.50,\"a b\\\" c\"],\"a\":null}", "true"]],
    );
    assert!(!table.rows[0].values.contains_key("n"));
}

#[test]
fn encodings_are_recognised_and_offsets_are_those_of_the_file() {
    let text = "text,label\n很好的电影，我很喜欢。,正面\n太差了，浪费时间。,负面\n";
    let expected: &[&[&str]] = &[&["很好的电影，我很喜欢。", "正面"], &["太差了，浪费时间。", "负面"]];
    let fields = &["text", "label"];
    let (gbk, _, _) = encoding_rs::GBK.encode(text);
    let table = check("a.csv", &gbk, "csv, header, GBK", fields, expected);
    assert_eq!(table.rows[1].byte_offset, 11 + 22 + 1 + 4 + 1);
    let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    let table = check("a.csv", &marked, "csv, header", fields, expected);
    assert_eq!(table.rows[0].byte_offset, 14);
    let little: Vec<u8> = "\u{feff}".chars().chain(text.chars()).flat_map(|c| (c as u16).to_le_bytes()).collect();
    let table = check("a.csv", &little, "csv, header, UTF-16", fields, expected);
    assert_eq!((table.rows[0].line, table.rows[0].byte_offset), (2, 24));
    let big: Vec<u8> = "text,label\nfine,1\nbad,0\n".chars().flat_map(|c| (c as u16).to_be_bytes()).collect();
    check("a.csv", &big, "csv, header, UTF-16", fields, &[&["fine", "1"], &["bad", "0"]]);
    let latin = b"text,label\ncaf\xe9 na\xefve,1\nM\xfcller gr\xfc\xdft,2\n";
    let table = check("a.csv", latin, "csv, header, Latin-1", fields, &[&["café naïve", "1"], &["Müller grüßt", "2"]]);
    assert_eq!(table.rows[1].byte_offset, 24);
}

#[test]
fn undecodable_bytes_cost_their_row() {
    let table = check(
        "a.csv",
        b"text,label\nfine,1\nb\xffd,2\nok,3\n",
        "csv, header",
        &["text", "label"],
        &[&["fine", "1"], &["ok", "3"]],
    );
    check_bad(&table, &[(3, 18, "bytes that are not UTF-8")]);
    let chinese = ["{\"a\":\"很好\"}\n".as_bytes(), b"{\"a\":\"\xe5\"}\n", "{\"a\":\"电影\"}\n".as_bytes()].concat();
    let table = check("a.jsonl", &chinese, "jsonl", &["a"], &[&["很好"], &["电影"]]);
    check_bad(&table, &[(2, 15, "bytes that are not UTF-8")]);
}

#[track_caller]
fn check_error(name: &str, content: &[u8], code: &str) {
    use trex_domain::Problem as _;
    let err = table_of(name, content).unwrap_err();
    assert_eq!(err.code(), code, "{err}");
    assert!(err.to_string().contains(name), "{err}");
    assert!(err.hint().is_some());
}

#[test]
fn files_that_cannot_be_read_are_typed_errors() {
    use trex_domain::Problem as _;
    check_error("empty.csv", b"", "data.empty_file");
    check_error("blank.csv", b" \n\n", "data.empty_file");
    check_error("marked.csv", b"\xef\xbb\xbf\n", "data.empty_file");
    check_error("a.parquet", b"PAR1....", "data.bad_columnar");
    check_error("a.arrow", b"ARROW1\0\0....", "data.bad_columnar");
    check_error("a.feather", b"FEA1....", "data.unsupported_format");
    check_error("a.zip", b"PK\x03\x04....", "data.bad_archive");
    check_error("a.csv.gz", b"\x1f\x8b....", "data.bad_packed");
    check_error("a.pdf", b"%PDF-1.7\n", "data.unsupported_format");
    check_error("a.bin", b"a\0b\x01\0", "data.unsupported_format");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("train.tsv"), "x").unwrap();
    let err = read_table(&dir.path().join("trian.tsv")).unwrap_err();
    assert_eq!(err.code(), "data.missing_file");
    assert_eq!(err.hint().unwrap(), "did you mean \"train.tsv\"?");
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(read_table(empty.path()).unwrap_err().code(), "data.empty_folder");
}

fn written_csv(rows: &[Vec<String>], delimiter: u8) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    writer.write_record(["text", "label", "note"]).unwrap();
    for row in rows {
        writer.write_record(row).unwrap();
    }
    writer.into_inner().unwrap()
}

fn part_of(dir: &Path, name: &str, content: &[u8]) -> Part {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    source::parts_of(&path).unwrap().parts.remove(0)
}

/// An excerpt shows what was in the window.
fn without_excerpts(mut table: RawTable) -> RawTable {
    table.quarantined.iter_mut().for_each(|row| row.excerpt.clear());
    table
}

/// The whole file in one window, and in windows that cut it everywhere.
#[track_caller]
fn check_windows(name: &str, content: &[u8], window_bytes: usize) {
    let dir = tempfile::tempdir().unwrap();
    let part = part_of(dir.path(), name, content);
    let whole = text::read_in_windows(&part, decode::Sizes::default());
    let sizes = decode::Sizes { ordinary: window_bytes, largest: 1 << 20 };
    match (whole, text::read_in_windows(&part, sizes)) {
        (Ok(whole), Ok(cut)) => {
            assert_eq!(without_excerpts(cut), without_excerpts(whole), "{window_bytes} bytes a window");
        }
        (whole, cut) => assert_eq!(whole.is_err(), cut.is_err()),
    }
}

#[test]
fn windows_may_cut_a_file_anywhere() {
    let text = "text,label\n\"很好的\n电影\",正面\n太差了,负面\nb\"x,1\n\"a \"\"q\"\"\",2\n";
    let (gbk, _, _) = encoding_rs::GBK.encode(text);
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let little = [b"\xff\xfe", little.as_slice()].concat();
    let pretty =
        "[\n  {\n    \"a\": \"x] é\",\n    \"b\": [1, {}]\n  },\n  {\"a\": tru},\n  7, {\"a\": \"😀\"}\n] rest";
    let one_line = "[{\"a\":\"é\"},{\"a\":\"你\",\"b\":1},{\"a\":\"\\\"}\"}]";
    for window_bytes in 5..60 {
        check_windows("a.csv", text.as_bytes(), window_bytes);
        // Fewer bytes show no encoding.
        check_windows("a.csv", &gbk, window_bytes + 40);
        check_windows("a.csv", &little, window_bytes);
        check_windows("a.json", pretty.as_bytes(), window_bytes);
        check_windows("a.json", one_line.as_bytes(), window_bytes);
        check_windows("a.jsonl", b"{\"a\":1}\n{\"a\":\n\n{\"a\":\"b\xffc\"}\n{\"a\":2}", window_bytes);
        check_windows("a.txt", "one\r\n\r\nzwei ä\nthree".as_bytes(), window_bytes);
    }
}

#[test]
fn a_row_that_fits_no_window_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let content = format!("{{\"a\":1}}\n{{\"a\":\"{}\"}}\n{{\"a\":2}}\n", "x".repeat(5000));
    let part = part_of(dir.path(), "a.jsonl", content.as_bytes());
    let sizes = decode::Sizes { ordinary: 64, largest: 512 };
    let table = text::read_in_windows(&part, sizes).unwrap();
    assert_eq!((table.rows.len(), table.quarantined.len(), table.input), (2, 1, 3));
    assert_eq!((table.quarantined[0].line, table.quarantined[0].byte_offset), (2, 8));
    assert!(table.quarantined[0].reason.starts_with("a row of more than"), "{}", table.quarantined[0].reason);
    assert_eq!(table.rows[1].line, 3);
}

/// Files whose beginning is ASCII show their encoding late.
#[test]
fn an_encoding_that_shows_late_is_recognised() {
    let mut content = "text,label\n".to_owned() + &"plain words,1\n".repeat(400_000);
    let ascii_bytes = content.len();
    assert!(ascii_bytes > decode::WINDOW_BYTES);
    content.push_str("Müller grüßt,2\n");
    let (latin, _, _) = encoding_rs::WINDOWS_1252.encode(&content);
    let table = table_of("a.csv", &latin).unwrap();
    assert_eq!((table.rows.len(), table.quarantined.len()), (400_001, 0));
    let last = table.rows.last().unwrap();
    assert_eq!((&*last.values["text"], last.line, last.byte_offset), ("Müller grüßt", 400_002, ascii_bytes as u64));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn windows_of_any_size_read_the_same(
        text in "[\\[\\]{}:,\"a1\n\\\\ \t;|é你😀]{1,160}",
        name in proptest::sample::select(vec!["a.csv", "a.tsv", "a.json", "a.txt", "a.jsonl"]),
        opening in proptest::sample::select(vec!["", "[{", "{\"a\":1}\n", "text,label\n", "a\tb\n\"x\t1\n", "[{\"a\":1},\n"]),
        window_bytes in 8_usize..64,
    ) {
        let content = format!("{opening}{text}");
        let dir = tempfile::tempdir().unwrap();
        let whole = text::read_in_windows(&part_of(dir.path(), name, content.as_bytes()), decode::Sizes::default());
        // Where a broken value ends depends on what is seen of the rest; what is whole, and all other formats, do not.
        let is_broken_json = whole.is_ok_and(|table| table.format.starts_with("json ") && !table.quarantined.is_empty());
        if !is_broken_json {
            check_windows(name, content.as_bytes(), window_bytes);
        }
    }

    #[test]
    fn what_a_csv_writer_writes_is_read(
        rows in proptest::collection::vec(proptest::collection::vec("[a-z\"\n,;é你 ]{0,12}", 3), 1..12),
        delimiter in proptest::sample::select(vec![b',', b';', b'|']),
    ) {
        let table = table_of("a.csv", &written_csv(&rows, delimiter)).unwrap();
        prop_assert_eq!(table.quarantined.len(), 0, "{:?}", table);
        prop_assert_eq!(&table.fields, &["text", "label", "note"]);
        let names = ["text", "label", "note"];
        let read: Vec<Vec<String>> = table.rows.iter().map(|row| names.map(|name| row.values[name].clone()).to_vec()).collect();
        prop_assert_eq!(read, rows);
    }

    #[test]
    fn json_in_any_layout_reads_the_same(
        texts in proptest::collection::vec("[a-z\"{}\\[\\],\\\\\n é你]{0,10}", 1..8),
    ) {
        let values: Vec<_> = texts.iter().map(|text| serde_json::json!({"a": text})).collect();
        let lines: Vec<String> = values.iter().map(ToString::to_string).collect();
        for content in [lines.join("\n"), serde_json::to_string(&values).unwrap(), serde_json::to_string_pretty(&values).unwrap()] {
            let table = table_of("a.json", content.as_bytes()).unwrap();
            let read: Vec<&String> = table.rows.iter().map(|row| &row.values["a"]).collect();
            prop_assert_eq!(read, texts.iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_bytes_are_too_wild(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        name in proptest::sample::select(vec!["a.csv", "a.tsv", "a.jsonl", "a.txt"]),
    ) {
        if let Ok(table) = table_of(name, &bytes) {
            prop_assert_eq!(table.input, table.rows.len() + table.quarantined.len());
        }
    }

    #[test]
    fn almost_json_and_almost_csv_never_loses_a_row(
        text in "[\\[\\]{}:,\"a1\n\\\\ \t;|é]{1,120}",
        name in proptest::sample::select(vec!["a.csv", "a.tsv", "a.json", "a.txt"]),
        opening in proptest::sample::select(vec!["", "[{", "{\"a\":1}\n", "text,label\n", "a\tb\n\"x\t1\n"]),
    ) {
        let content = format!("{opening}{text}");
        if let Ok(table) = table_of(name, content.as_bytes()) {
            prop_assert_eq!(table.input, table.rows.len() + table.quarantined.len());
            let places = table.rows.iter().map(|row| row.byte_offset).chain(table.quarantined.iter().map(|row| row.byte_offset));
            for offset in places {
                prop_assert!(usize::try_from(offset).unwrap() < content.len());
            }
        }
    }
}
