//! Damaged files of every kind, made from good ones by a seeded generator: no panic, no hang, no row that is lost.
//!
//! `TREX_FUZZ_ROUNDS` says how many, 400 where it is absent; `fuzz/` holds the targets for cargo-fuzz.

use std::io::Write as _;
use std::path::Path;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use trex_data::{RecipeFile, profile_file, read_table};

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let lines: &[u8] =
        b"{\"text\":\"good film\",\"label\":\"1\"}\n{\"text\":\"bad \\u00e9\",\"label\":\"0\",\"n\":[1,{}]}\n";
    let csv: &[u8] = b"text,label\n\"a \"\"b\"\"\nc, d\",1\nplain,0\n\xe4\xbd\xa0,2\n";
    let chat: &[u8] = br#"[{"messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"name":"f"}]},{"role":"tool","content":"x"},{"role":"assistant","content":"a"}]}]"#;
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(lines).expect("memory takes all");
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in [("pos/a.txt", &b"a fine film"[..]), ("neg/b.txt", b"a bad film"), ("t.jsonl", lines)] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).expect("the name is fine");
        zip.write_all(content).expect("memory takes all");
    }
    let utf16: Vec<u8> = "\u{feff}text\tlabel\nä\t1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        ("a.jsonl", lines.to_vec()),
        ("a.csv", csv.to_vec()),
        ("a.json", chat.to_vec()),
        ("a.tsv", utf16),
        ("a.jsonl.gz", gz.finish().expect("memory takes all")),
        ("a.jsonl.zst", zstd::encode_all(lines, 1).expect("memory takes all")),
        ("a.zip", zip.finish().expect("memory takes all").into_inner()),
        ("a.parquet", super::sources::parquet_sample()),
        ("a.arrow", super::sources::arrow_sample()),
    ]
}

/// Flips, cuts, repeats and inserts.
fn damaged(rng: &mut ChaCha8Rng, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes.truncate(at),
            2 => {
                let end = rng.random_range(at..=bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            3 => {
                let tokens: [&[u8]; 10] =
                    [b"\"", b"\n", b"{", b"]", b"\xff\xff\xff\xff", b"\0\0\0\0", b",", b"\\u12", b"\xe4\xbd", b"PAR1"];
                let token = tokens[rng.random_range(0..tokens.len())];
                bytes.splice(at..at, token.iter().copied());
            }
            _ if at < bytes.len() => bytes[at] = rng.random_range(0..=255),
            _ => {}
        }
    }
    bytes
}

fn num_rounds() -> usize {
    std::env::var("TREX_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(400)
}

#[test]
fn damaged_files_cost_rows_and_never_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = trex_domain::seeded_rng(11, "fuzz files");
    let seeds = seeds();
    for round in 0..num_rounds() {
        let (name, seed) = &seeds[round % seeds.len()];
        let path = dir.path().join(name);
        std::fs::write(&path, damaged(&mut rng, seed)).unwrap();
        if let Ok(table) = read_table(&path) {
            assert_eq!(table.input, table.rows.len() + table.quarantined.len(), "round {round} of {name}");
        }
        if let Ok(profile) = profile_file(&path) {
            assert_eq!(profile.rows.input, profile.rows.kept + profile.rows.quarantined, "round {round} of {name}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn damaged_recipes_are_refused_or_have_a_canonical_form() {
    let seed = b"name = \"a\"\nseed = 3\n[[sources]]\npath = \"x\"\nweight = 2.0\n[[operators]]\nop = \"near_dedup\"\nthreshold = 0.9\n[split]\ndev = 0.1\n";
    let mut rng = trex_domain::seeded_rng(12, "fuzz recipes");
    for _ in 0..num_rounds() {
        let text = String::from_utf8_lossy(&damaged(&mut rng, seed)).into_owned();
        if let Ok(recipe) = RecipeFile::parse(&text, Path::new("r.toml")) {
            let canonical = recipe.to_toml().unwrap();
            assert_eq!(RecipeFile::parse(&canonical, Path::new("r.toml")).unwrap(), recipe);
        }
    }
}
