use proptest::prelude::*;

use super::*;

/// A small file that has everything: texts, lists, two tensors.
fn valid() -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(2u64.to_le_bytes());
    bytes.extend(2u64.to_le_bytes());
    text(&mut bytes, "general.architecture");
    bytes.extend(8u32.to_le_bytes());
    text(&mut bytes, "llama");
    text(&mut bytes, "list");
    bytes.extend(9u32.to_le_bytes());
    bytes.extend(4u32.to_le_bytes());
    bytes.extend(3u64.to_le_bytes());
    for value in [1u32, 2, 3] {
        bytes.extend(value.to_le_bytes());
    }
    info(&mut bytes, "a", &[4, 2], 0, 0);
    info(&mut bytes, "b", &[32], 8, 32);
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend((0..8u8).flat_map(|x| f32::from(x).to_le_bytes()));
    bytes.extend([0x00, 0x3c]);
    bytes.extend(0..32u8);
    bytes
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// Sizes innermost first, as in the file.
fn info(bytes: &mut Vec<u8>, name: &str, sizes: &[u64], kind: u32, offset: u64) {
    text(bytes, name);
    bytes.extend(u32::try_from(sizes.len()).unwrap().to_le_bytes());
    for size in sizes {
        bytes.extend(size.to_le_bytes());
    }
    bytes.extend(kind.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
}

fn opened(bytes: &[u8]) -> Result<GgufFile, TrainError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    trex_fs::write_atomic(&path, bytes).unwrap();
    GgufFile::open(&path)
}

fn fault(bytes: &[u8]) -> GgufFault {
    read_header(bytes).unwrap_err()
}

/// The file with one tensor of these sizes, type and offset.
fn with_tensor(sizes: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    info(&mut bytes, "t", sizes, kind, offset);
    bytes.resize(bytes.len().next_multiple_of(32) + 64, 0);
    bytes
}

#[test]
fn a_valid_file_is_read() {
    let file = opened(&valid()).unwrap();
    assert_eq!(file.metadata()["general.architecture"], MetaValue::Str("llama".to_owned()));
    let a = file.dequantized("a").unwrap();
    assert_eq!(a.to_vec2::<f32>().unwrap(), [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]);
    let expected: Vec<f32> = (0..32u8).map(f32::from).collect();
    assert_eq!(file.dequantized("b").unwrap().to_vec1::<f32>().unwrap(), expected);
    let err = file.dequantized("c").unwrap_err();
    assert_eq!(trex_domain::Problem::code(&err), "model.missing_tensor");
}

#[test]
fn claims_that_the_file_does_not_keep_are_refused() {
    assert_eq!(fault(b"GGML"), GgufFault::Magic);
    assert_eq!(fault(b""), GgufFault::Magic);
    assert_eq!(fault(b"GGUF\x01\0\0\0"), GgufFault::Version(1));
    let mut endless = b"GGUF\x03\0\0\0".to_vec();
    endless.extend([0xff; 16]);
    assert_eq!(fault(&endless), GgufFault::Ends { at: 24, needed: 8 });
    endless.extend([0xff; 8]);
    assert_eq!(fault(&endless), GgufFault::Ends { at: 32, needed: u64::MAX });
    let huge = 1 << 62;
    assert!(matches!(fault(&with_tensor(&[huge, huge], 0, 0)), GgufFault::Sizes { .. }));
    assert!(matches!(fault(&with_tensor(&[huge], 0, 0)), GgufFault::Sizes { .. }));
    assert!(matches!(fault(&with_tensor(&[0], 0, 0)), GgufFault::Sizes { .. }));
    assert!(matches!(fault(&with_tensor(&[], 0, 0)), GgufFault::Sizes { .. }));
    assert!(matches!(fault(&with_tensor(&[1; 5], 0, 0)), GgufFault::Sizes { .. }));
    assert!(matches!(fault(&with_tensor(&[33], 8, 0)), GgufFault::Sizes { .. }), "half a block");
    assert!(matches!(fault(&with_tensor(&[4], 99, 0)), GgufFault::TensorType { kind: 99, .. }));
    assert!(matches!(fault(&with_tensor(&[4], 0, 4)), GgufFault::Place { .. }), "not aligned");
    assert!(matches!(fault(&with_tensor(&[4], 0, 64)), GgufFault::Place { .. }), "behind the end");
    assert!(matches!(fault(&with_tensor(&[4], 0, u64::MAX - 31)), GgufFault::Place { .. }));
    assert!(matches!(fault(&with_tensor(&[1 << 40], 0, 0)), GgufFault::Place { .. }));
}

#[test]
fn an_endless_list_is_refused_before_it_is_read() {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    text(&mut bytes, "k");
    bytes.extend(9u32.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    let with_count = |count: u64| [bytes.clone(), count.to_le_bytes().to_vec()].concat();
    assert!(matches!(fault(&with_count(u64::MAX)), GgufFault::TooManyValues { .. }));
    assert!(matches!(fault(&with_count(1000)), GgufFault::Ends { .. }));
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let whole = valid();
    for len in 0..whole.len() {
        assert!(read_header(&whole[..len]).is_err(), "{len} bytes");
    }
    assert!(read_header(&whole).is_ok());
}

proptest! {
    #[test]
    fn no_change_of_bytes_makes_the_reader_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        len in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = valid();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if is_cut {
            bytes.truncate(len.index(bytes.len()));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if let Ok(file) = opened(&bytes) {
            let names: Vec<String> = file.tensors().keys().cloned().collect();
            for name in names {
                file.dequantized(&name).ok();
            }
        }
    }
}
