use proptest::prelude::*;
use safetensors::tensor::TensorView;
use trex_domain::Problem as _;

use super::*;
use crate::golden::Case;

/// A folder with the files of a case, to be spoiled.
fn copied(case: &Case) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&case.dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    dir
}

fn loaded(dir: &Path, config: &ModelConfig) -> Result<BTreeMap<String, Tensor>, TrainError> {
    load(dir, config, &Device::Cpu)
}

/// Replaces one tensor of `model.safetensors`.
fn replace(dir: &Path, name: &str, dtype: Dtype, shape: &[usize], data: &[u8]) {
    let path = dir.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let views = file.tensors().into_iter().map(|(found, view)| {
        let view = if found == name { TensorView::new(dtype, shape.to_vec(), data).unwrap() } else { view };
        (found, view)
    });
    let out = safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap();
    std::fs::write(&path, out).unwrap();
}

#[track_caller]
fn check(err: &TrainError, code: &str, named: &[&str]) {
    let text = err.to_string();
    assert_eq!(err.code(), code, "{text}");
    assert!(named.iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn a_tensor_that_is_missing_or_of_another_shape_is_named() {
    let case = Case::named("llama");
    let deeper = ModelConfig { num_layers: 3, ..case.config() };
    let err = loaded(&case.dir, &deeper).unwrap_err();
    check(&err, "model.missing_tensor", &["model.layers.2.self_attn.q_proj.weight"]);
    let wider = ModelConfig { intermediate_size: 65, ..case.config() };
    let err = loaded(&case.dir, &wider).unwrap_err();
    check(&err, "model.wrong_shape", &["model.layers.0.mlp.gate_proj.weight", "[64, 32]", "[65, 32]"]);
    let larger = ModelConfig { vocab_size: 1 << 27, ..case.config() };
    let err = loaded(&case.dir, &larger).unwrap_err();
    check(&err, "model.wrong_shape", &["model.embed_tokens.weight", "[80, 32]", "[134217728, 32]"]);
    let untied = ModelConfig { tie_word_embeddings: false, ..case.config() };
    check(&loaded(&case.dir, &untied).unwrap_err(), "model.missing_tensor", &["lm_head.weight"]);
}

#[test]
fn gguf_tensors_are_checked_in_the_same_way() {
    let case = Case::named("qwen2");
    let dir = case.dir.join("gguf");
    let deeper = ModelConfig { num_layers: 3, ..case.config() };
    let err = loaded(&dir, &deeper).unwrap_err();
    check(&err, "model.missing_tensor", &["model.layers.2.self_attn.q_proj.weight", "model.gguf"]);
    let larger = ModelConfig { vocab_size: 96, ..case.config() };
    check(&loaded(&dir, &larger).unwrap_err(), "model.wrong_shape", &["model.embed_tokens.weight", "[80, 32]"]);
}

#[test]
fn values_and_types_that_cannot_be_trained_are_named() {
    let case = Case::named("llama");
    let name = "model.layers.1.self_attn.v_proj.weight";
    let num_values = 16 * 32;
    for (value, code) in [(f32::NAN, "model.not_finite"), (f32::INFINITY, "model.not_finite"), (1.0, "ok")] {
        let dir = copied(&case);
        let mut data = vec![0u8; num_values * 4];
        data[40..44].copy_from_slice(&value.to_le_bytes());
        replace(dir.path(), name, Dtype::F32, &[16, 32], &data);
        match loaded(dir.path(), &case.config()) {
            Ok(_) => assert_eq!(code, "ok"),
            Err(err) => check(&err, code, &[name]),
        }
    }
    let dir = copied(&case);
    replace(dir.path(), name, Dtype::I64, &[16, 32], &vec![0; num_values * 8]);
    check(&loaded(dir.path(), &case.config()).unwrap_err(), "model.unsupported_dtype", &[name, "I64"]);
}

#[test]
fn every_shard_of_the_index_must_be_there_and_in_the_folder() {
    let case = Case::named("qwen3");
    let dir = copied(&case);
    let shard = dir.path().join("model-00002-of-00002.safetensors");
    std::fs::remove_file(&shard).unwrap();
    check(&loaded(dir.path(), &case.config()).unwrap_err(), "model.not_a_model", &["model-00002-of-00002"]);
    let index = r#"{"weight_map":{"model.norm.weight":"../model.safetensors"}}"#;
    std::fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
    check(&loaded(dir.path(), &case.config()).unwrap_err(), "model.not_a_model", &["../model.safetensors"]);
    let index = r#"{"weight_map":{"model.norm.weight":"model-00001-of-00002.safetensors"}}"#;
    std::fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
    check(&loaded(dir.path(), &case.config()).unwrap_err(), "model.missing_tensor", &[]);
}

#[test]
fn a_header_that_claims_too_much_is_refused() {
    let case = Case::named("llama");
    let dir = copied(&case);
    let path = dir.path().join("model.safetensors");
    let header = |json: &str| [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &[0; 8]].concat();
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let files = [
        u64::MAX.to_le_bytes().to_vec(),
        (1u64 << 40).to_le_bytes().to_vec(),
        header(&entry("F32", "[2]", "[0,18446744073709551615]")),
        header(&entry("F32", "[4294967296,4294967296,4294967296]", "[0,8]")),
        header(&entry("F32", "[2]", "[8,0]")),
        header(&entry("F32", "[1000000]", "[0,4000000]")),
        header("{"),
    ];
    for bytes in files {
        std::fs::write(&path, &bytes).unwrap();
        check(&loaded(dir.path(), &case.config()).unwrap_err(), "model.damaged", &["model.safetensors"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_change_of_bytes_makes_the_loader_panic(
        changes in prop::collection::vec((0usize..4000, any::<u8>()), 1..6),
        cut in prop::option::of(0usize..4000),
    ) {
        let case = Case::named("llama");
        let dir = copied(&case);
        let path = dir.path().join("model.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.truncate(cut.unwrap_or(bytes.len()).max(1));
        std::fs::write(&path, bytes).unwrap();
        loaded(dir.path(), &case.config()).ok();
    }
}
