//! GGUF files: names, row orders and dequantised values.

use candle_core::Device;

use super::{Case, difference, first_logits, golden_dir, read_safetensors};
use crate::decoder::Decoder;
use crate::gguf::GgufFile;

#[test]
fn dequantised_values_are_those_of_gguf_py() {
    let file = GgufFile::open(&golden_dir().join("quants.gguf")).unwrap();
    let expected = read_safetensors(&golden_dir().join("quants.safetensors"));
    assert_eq!(expected.len(), 13);
    for (name, expected) in expected {
        let found = file.dequantized(&name).unwrap();
        let off = difference(&found, &expected);
        println!("{name}: {off:.1e}");
        assert!(off <= 1e-6, "{name}: {off}");
    }
}

#[test]
fn logits_of_gguf_files_are_those_of_transformers_own_reader() {
    let mut count = 0;
    for case in Case::families() {
        let dir = case.dir.join("gguf");
        if !dir.is_dir() {
            continue;
        }
        let model = Decoder::load(&dir, case.config(), &Device::Cpu).unwrap();
        let off = difference(&first_logits(&model), &case.expected()["gguf_logits"]);
        println!("{}: {off:.1e}", case.name);
        assert!(off < 1e-4, "{}: {off}", case.name);
        count += 1;
    }
    assert_eq!(count, 5);
}
