//! Any bytes as a file of any name: no panic, and every row is kept or set aside.
#![no_main]

use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 8] = ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.txt", "a.parquet", "a.arrow", "a.zip"];

fuzz_target!(|data: (u8, Vec<u8>)| {
    let (name, bytes) = data;
    let dir = tempfile::tempdir().expect("a folder can be made");
    let path = dir.path().join(NAMES[usize::from(name) % NAMES.len()]);
    std::fs::write(&path, bytes).expect("the folder is writable");
    if let Ok(table) = trex_data::read_table(&path) {
        assert_eq!(table.input, table.rows.len() + table.quarantined.len());
    }
    trex_data::profile_file(&path).ok();
});
