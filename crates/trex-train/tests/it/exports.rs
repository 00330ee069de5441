//! Every form of export is read back by our own loader to the same numbers, and what cannot be right is refused.

use std::path::{Path, PathBuf};

use serde_json::Value;
use trex_domain::{
    EvalJob, EvalMode, ItemScore, Metric, ModelCard, Precision, Problem as _, Quantization, TargetModules, TrainJob,
    TrainMethod,
};
use trex_train::{
    ExportForm, ExportSource, Exported, FloatType, GgufEncoding, ModelRegistry, Probe, ProbeAnswer, TrainError,
    evaluate, export_model, peft_lora_config, probe, train,
};

use crate::fixture::{Fixture, Sink, animals};

/// A trained adapter on a tiny model.
struct Trained {
    fixture: Fixture,
    adapter: PathBuf,
    quantization: Quantization,
}

impl Trained {
    fn new(change: impl FnOnce(&mut TrainJob)) -> Self {
        let fixture = Fixture::new();
        let mut job = fixture.train_job("train", 4);
        change(&mut job);
        let done = train(&job, &mut Sink::default()).unwrap();
        let adapter = fixture.blobs().path(&done.adapter);
        Self { fixture, adapter, quantization: job.config.quantization }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.fixture.dir.path().join(name)
    }

    fn try_export(&self, form: ExportForm, name: &str) -> Result<Exported, TrainError> {
        let card = ModelCard {
            base_model: "owner/tiny-1M".to_owned(),
            task: "animals".to_owned(),
            license: Some("mit".to_owned()),
            quantization: self.quantization,
            ..ModelCard::default()
        };
        let model_dir = self.fixture.model_dir();
        let source = ExportSource { model_dir: &model_dir, adapter: &self.adapter, card: &card };
        export_model(&source, form, &self.out(name), &mut |_, _| ())
    }

    #[track_caller]
    fn export(&self, form: ExportForm, name: &str) -> Exported {
        self.try_export(form, name).unwrap()
    }

    fn expected(&self) -> Vec<ProbeAnswer> {
        answers_on(&self.fixture.model_dir(), Some(&self.adapter), self.quantization)
    }

    /// Log-likelihoods of the gold answers under a model with an adapter or without.
    fn likelihoods(&self, model_dir: &Path, adapter: Option<&Path>, quantization: Quantization) -> Vec<f64> {
        let blobs = self.fixture.blobs();
        let items = blobs.put_lines(&animals()).unwrap();
        let job = EvalJob {
            model_dir: model_dir.to_owned(),
            adapter: adapter.map(Path::to_owned),
            items: blobs.path(&items),
            take: usize::MAX,
            metric: Metric::Accuracy,
            mode: EvalMode::Choice,
            seed: 0,
            blobs_dir: blobs.root().to_owned(),
            threads: 2,
            backend: trex_domain::Backend::Auto,
            precision: Precision::F32,
            quantization,
            device: trex_domain::DeviceChoice::Cpu,
        };
        let done = evaluate(&job, &mut Sink::default()).unwrap();
        let scores: Vec<ItemScore> = blobs.get_lines(&done.items).unwrap();
        scores.into_iter().map(|score| score.gold_logprob.unwrap()).collect()
    }

    /// The folder of a GGUF file, with the tokenizer that it holds itself.
    fn unpacked(&self, file: &Path, name: &str) -> PathBuf {
        ModelRegistry::new(self.out(name)).add("x", file, "test").unwrap().dir
    }
}

fn answers(model_dir: &Path, adapter: Option<&Path>) -> Vec<ProbeAnswer> {
    answers_on(model_dir, adapter, Quantization::None)
}

fn answers_on(model_dir: &Path, adapter: Option<&Path>, quantization: Quantization) -> Vec<ProbeAnswer> {
    let questions = ["how large is the whale?", "the ant, 12 Ünits"].map(str::to_owned).to_vec();
    let request = Probe {
        model_dir: model_dir.to_owned(),
        adapter: adapter.map(Path::to_owned),
        quantization,
        questions,
        max_new_tokens: 4,
    };
    probe(&request).unwrap()
}

/// Same prompts to the token, logits within `tolerance`.
#[track_caller]
fn check_close(found: &[ProbeAnswer], expected: &[ProbeAnswer], tolerance: f32) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!((&found.prompt, &found.ids), (&expected.prompt, &expected.ids));
        let worst = found.logits.iter().zip(&expected.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= tolerance, "logits differ by {worst}, allowed is {tolerance}");
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&trex_fs::read(path).unwrap()).unwrap()
}

const MERGED_F32: ExportForm = ExportForm::Merged { dtype: Some(FloatType::F32), max_shard_bytes: u64::MAX };

#[test]
fn weights_of_a_full_training_are_exported_as_whole_models_only() {
    let trained = Trained::new(|job| (job.config.method, job.config.learning_rate) = (TrainMethod::Full, 1e-3));
    let expected = trained.expected();
    let base = answers(&trained.fixture.model_dir(), None);
    assert!(expected[0].logits != base[0].logits);
    let merged = trained.export(MERGED_F32, "merged").weights;
    check_close(&answers(&merged, None), &expected, 0.0);
    let card = trex_fs::read_to_string(&merged.join("README.md")).unwrap();
    assert!(card.contains("- full") && !card.contains("- lora"), "{card}");
    for (encoding, tolerance) in [(GgufEncoding::F32, 1e-5), (GgufEncoding::Q8_0, 0.2)] {
        let file = trained.export(ExportForm::Gguf(encoding), encoding.label()).weights;
        check_close(
            &answers(&trained.unpacked(&file, &format!("{}-in", encoding.label())), None),
            &expected,
            tolerance,
        );
    }
    for form in [ExportForm::Peft, ExportForm::GgufLora] {
        let err = trained.try_export(form, "refused").unwrap_err();
        assert_eq!(err.code(), "export.unsupported");
        assert!(err.to_string().contains("every weight was trained"), "{err}");
    }
}

#[test]
fn a_peft_folder_is_the_adapter() {
    for use_rslora in [false, true] {
        let trained = Trained::new(|job| job.config.lora.use_rslora = use_rslora);
        let out = trained.export(ExportForm::Peft, "peft").weights;
        check_close(&answers(&trained.fixture.model_dir(), Some(&out)), &trained.expected(), 0.0);
        let config = json(&out.join("adapter_config.json"));
        let keys: Vec<&String> = config.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 14, "few keys: {keys:?}");
        for (key, value) in [("peft_type", "LORA"), ("task_type", "CAUSAL_LM"), ("bias", "none")] {
            assert_eq!(config[key], value);
        }
        assert!(config["lora_alpha"].is_u64() && config["use_rslora"] == use_rslora);
        assert_eq!(config["base_model_name_or_path"], "owner/tiny-1M");
        let card = trex_fs::read_to_string(&out.join("README.md")).unwrap();
        assert!(card.contains("library_name: peft") && card.contains("base_model: \"owner/tiny-1M\""), "{card}");
    }
}

#[test]
fn a_merged_folder_gives_the_numbers_of_base_and_adapter() {
    let trained = Trained::new(|_| ());
    for (dtype, tolerance) in [(FloatType::F32, 1e-4), (FloatType::F16, 0.02), (FloatType::Bf16, 0.2)] {
        let form = ExportForm::Merged { dtype: Some(dtype), max_shard_bytes: u64::MAX };
        let out = trained.export(form, dtype.torch_name()).weights;
        check_close(&answers(&out, None), &trained.expected(), tolerance);
        assert_eq!(json(&out.join("config.json"))["torch_dtype"], dtype.torch_name());
        assert_eq!(
            json(&out.join("generation_config.json"))["eos_token_id"],
            json(&out.join("config.json"))["eos_token_id"]
        );
        let base = trained.fixture.model_dir();
        for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
            assert_eq!(trex_fs::read(&out.join(name)).unwrap(), trex_fs::read(&base.join(name)).unwrap(), "{name}");
        }
    }
    let kept = trained.export(ExportForm::Merged { dtype: None, max_shard_bytes: u64::MAX }, "as-base");
    assert_eq!(kept.encoding, "bfloat16", "the base is stored in bfloat16");
}

#[test]
fn what_was_trained_on_a_quantised_base_is_merged_into_that_base() {
    let trained = Trained::new(|job| job.config.quantization = Quantization::Q4_0);
    let base = trained.fixture.model_dir();
    let expected = trained.likelihoods(&base, Some(&trained.adapter), Quantization::Q4_0);
    let worst = |found: &[f64]| found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let merged = trained.export(MERGED_F32, "merged").weights;
    let off = worst(&trained.likelihoods(&merged, None, Quantization::None));
    assert!(off < 1e-4, "the merged model is off by {off}");
    check_close(&answers(&merged, None), &trained.expected(), 1e-4);
    let gguf = trained.export(ExportForm::Gguf(GgufEncoding::F32), "gguf").weights;
    let off = worst(&trained.likelihoods(&trained.unpacked(&gguf, "unpacked"), None, Quantization::None));
    assert!(off < 1e-4, "the GGUF file is off by {off}");
    let peft = trained.export(ExportForm::Peft, "peft");
    let off = worst(&trained.likelihoods(&base, Some(&peft.weights), Quantization::Q4_0));
    assert!(off < 1e-6, "the adapter is off by {off}");
    let elsewhere = worst(&trained.likelihoods(&base, Some(&peft.weights), Quantization::None));
    assert!(elsewhere > 1e-3, "on the base in floats the scores are the same: {elsewhere}");
    assert!(peft.warnings.iter().any(|warning| warning.contains("q4_0")), "{:?}", peft.warnings);
    let card = trex_fs::read_to_string(&peft.weights.join("README.md")).unwrap();
    assert!(card.contains("quantised base") && card.contains("q4_0"), "{card}");
}

#[test]
fn a_quantised_file_keeps_an_adapter_that_is_smaller_than_the_steps_of_its_base() {
    // Around the base as it was kept in training, every weight would round to what it was, and the merge be refused.
    let trained = Trained::new(|job| {
        job.config.quantization = Quantization::Q8_0;
        job.config.learning_rate = 1e-6;
    });
    let file = trained.export(ExportForm::Gguf(GgufEncoding::Q8_0), "gguf").weights;
    check_close(&answers(&trained.unpacked(&file, "unpacked"), None), &trained.expected(), 0.3);
}

#[test]
fn shards_are_listed_and_read_back() {
    let trained = Trained::new(|_| ());
    let out =
        trained.export(ExportForm::Merged { dtype: Some(FloatType::F32), max_shard_bytes: 20_000 }, "shards").weights;
    let index = json(&out.join("model.safetensors.index.json"));
    let files: std::collections::BTreeSet<&str> =
        index["weight_map"].as_object().unwrap().values().map(|file| file.as_str().unwrap()).collect();
    assert!(files.len() > 2 && !out.join("model.safetensors").exists());
    assert!(
        files
            .iter()
            .all(|file| out.join(file).is_file() && file.ends_with(&format!("-of-{:05}.safetensors", files.len())))
    );
    let bytes: u64 = index["metadata"]["total_size"].as_u64().unwrap();
    let single = trained.export(MERGED_F32, "single").weights.join("model.safetensors");
    assert!(trex_fs::read(&single).unwrap().len() as u64 > bytes);
    check_close(&answers(&out, None), &trained.expected(), 1e-4);
}

#[test]
fn gguf_files_give_the_numbers_with_the_tokenizer_that_they_hold() {
    let trained = Trained::new(|_| ());
    let tolerances = [
        (GgufEncoding::F32, 1e-4),
        (GgufEncoding::F16, 0.02),
        (GgufEncoding::Bf16, 0.2),
        (GgufEncoding::Q8_0, 0.3),
        (GgufEncoding::Q4KM, 1.5),
    ];
    for (encoding, tolerance) in tolerances {
        let file = trained.export(ExportForm::Gguf(encoding), encoding.label()).weights;
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(name, format!("tiny-1M-animals-v1.0-{}.gguf", encoding.label()));
        let unpacked = trained.unpacked(&file, &format!("registry-{}", encoding.label()));
        check_close(&answers(&unpacked, None), &trained.expected(), tolerance);
        let modelfile = trex_fs::read_to_string(&file.with_file_name("Modelfile")).unwrap();
        assert!(
            modelfile.starts_with(&format!("FROM ./{name}\n# Chat format: ChatML\nTEMPLATE \"\"\"")),
            "{modelfile}"
        );
        assert!(modelfile.contains("PARAMETER stop \"<|im_end|>\""), "{modelfile}");
    }
}

#[test]
fn a_gguf_adapter_is_the_adapter_whatever_its_scale() {
    for (use_rslora, r, lora_alpha) in [(false, 8, 16), (true, 8, 16), (true, 5, 7)] {
        let trained = Trained::new(|job| {
            job.config.lora.use_rslora = use_rslora;
            job.config.lora.r = r;
            job.config.lora.lora_alpha = lora_alpha;
        });
        let file = trained.export(ExportForm::GgufLora, "lora").weights;
        assert!(file.to_string_lossy().ends_with("-F32-LoRA.gguf"));
        check_close(&answers(&trained.fixture.model_dir(), Some(&file)), &trained.expected(), 1e-5);
        let modelfile = trex_fs::read_to_string(&file.with_file_name("Modelfile")).unwrap();
        assert!(modelfile.contains("\nADAPTER ./tiny-1M-animals-v1.0-F32-LoRA.gguf\n"), "{modelfile}");
    }
}

#[test]
fn ranks_and_alphas_by_module_are_kept_in_every_form() {
    let pattern = |entries: &[(&str, usize)]| entries.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
    for use_rslora in [false, true] {
        let trained = Trained::new(|job| {
            job.config.lora.use_rslora = use_rslora;
            job.config.lora.rank_pattern =
                pattern(&[("layers.1.self_attn.q_proj", 2), ("mlp.down_proj", 20), ("q_proj", 3)]);
            job.config.lora.alpha_pattern = pattern(&[("layers.0.mlp.up_proj", 5), ("v_proj", 40)]);
        });
        let model_dir = trained.fixture.model_dir();
        let peft = trained.export(ExportForm::Peft, "peft");
        let config = json(&peft.weights.join("adapter_config.json"));
        assert_eq!(config["rank_pattern"]["mlp.down_proj"], 20);
        assert_eq!(config["alpha_pattern"], serde_json::json!({"layers.0.mlp.up_proj": 5, "v_proj": 40}));
        assert!(peft.warnings.iter().any(|warning| warning.starts_with("rank 20 needs")), "{:?}", peft.warnings);
        assert!(peft.warnings.iter().any(|warning| warning.contains("differ by module")), "{:?}", peft.warnings);
        check_close(&answers(&model_dir, Some(&peft.weights)), &trained.expected(), 1e-5);
        let gguf = trained.export(ExportForm::GgufLora, "lora").weights;
        check_close(&answers(&model_dir, Some(&gguf)), &trained.expected(), 1e-5);
        let merged = trained.export(MERGED_F32, "merged").weights;
        check_close(&answers(&merged, None), &trained.expected(), 1e-5);
        let mut job = trained.fixture.train_job("continued", 2);
        job.init_adapter = Some(peft.weights.clone());
        job.config.lora = peft_lora_config(&peft.weights).unwrap();
        assert_eq!(job.config.lora.rank_of("model.layers.1.self_attn.q_proj"), 2);
        train(&job, &mut Sink::default()).unwrap();
        job.config.lora.rank_pattern.remove("q_proj");
        let err = train(&job, &mut Sink::default()).unwrap_err();
        assert_eq!(err.code(), "train.mismatch");
        assert!(err.to_string().contains("mlp.down_proj 20, q_proj 3, alpha_pattern"), "{err}");
    }
}

#[test]
fn a_rank_for_a_module_that_the_model_has_not_is_refused() {
    let fixture = Fixture::new();
    let check = |key: &str, code: &str| {
        let mut job = fixture.train_job("strange", 1);
        job.config.lora.rank_pattern.insert(key.to_owned(), 4);
        let err = train(&job, &mut Sink::default()).unwrap_err();
        assert_eq!(err.code(), code, "{err}");
        assert!(err.to_string().contains(key), "{err}");
    };
    check("layers.7.mlp.down_proj", "config.bad_module_pattern");
    check("qkv_proj", "config.bad_module_pattern");
    check("lm_head", "config.bad_module_pattern");
}

#[test]
fn an_adapter_on_some_layers_is_exported_alone() {
    let trained = Trained::new(|job| job.config.lora.target_modules = TargetModules::List(vec!["k_proj".to_owned()]));
    for form in [ExportForm::Peft, ExportForm::GgufLora] {
        let out = trained.export(form, &format!("{form:?}")).weights;
        check_close(&answers(&trained.fixture.model_dir(), Some(&out)), &trained.expected(), 1e-5);
    }
}

#[test]
fn a_merge_that_changes_nothing_is_refused() {
    // A rate this low leaves B far below the smallest step of any weight.
    let trained = Trained::new(|job| job.config.learning_rate = 1e-30);
    for form in [MERGED_F32, ExportForm::Gguf(GgufEncoding::Q8_0)] {
        let err = trained.try_export(form, &format!("{form:?}")).unwrap_err();
        assert_eq!(err.code(), "export.no_effect");
    }
}

#[test]
fn training_goes_on_from_a_peft_folder() {
    let trained = Trained::new(|_| ());
    let folder = trained.export(ExportForm::Peft, "peft").weights;
    let mut job = trained.fixture.train_job("continued", 1);
    job.init_adapter = Some(folder.clone());
    job.config.learning_rate = 1e-30;
    let done = train(&job, &mut Sink::default()).unwrap();
    let adapter = trained.fixture.blobs().path(&done.adapter);
    check_close(&answers(&trained.fixture.model_dir(), Some(&adapter)), &trained.expected(), 1e-6);
    assert_eq!(peft_lora_config(&folder).unwrap().r, 8);
    job.config.lora.r = 4;
    let err = train(&job, &mut Sink::default()).unwrap_err();
    assert_eq!(err.code(), "train.mismatch");
    assert!(err.to_string().contains("r 8") && err.to_string().contains("r 4"), "{err}");
}

fn one_question(model_dir: PathBuf, adapter: PathBuf) -> Probe {
    let questions = vec!["x".to_owned()];
    Probe { model_dir, adapter: Some(adapter), quantization: Quantization::None, questions, max_new_tokens: 1 }
}

/// Rewrites `adapter_config.json`.
fn edit(folder: &Path, change: impl FnOnce(&mut Value)) {
    let path = folder.join("adapter_config.json");
    let mut config = json(&path);
    change(&mut config);
    trex_fs::write_json(&path, &config).unwrap();
}

#[track_caller]
fn check_refused(change: impl FnOnce(&mut Value), code: &str, part: &str) {
    let trained = Trained::new(|_| ());
    let folder = trained.export(ExportForm::Peft, "peft").weights;
    edit(&folder, change);
    let model_dir = trained.fixture.model_dir();
    let err = probe(&one_question(model_dir, folder)).unwrap_err();
    assert_eq!(err.code(), code, "{err}");
    assert!(err.to_string().contains(part), "{err}");
}

#[test]
fn adapters_that_do_more_than_lora_are_refused_by_name() {
    check_refused(|c| c["use_dora"] = true.into(), "adapter.unsupported", "use_dora");
    check_refused(|c| c["peft_type"] = "IA3".into(), "adapter.unsupported", "IA3");
    check_refused(|c| c["bias"] = "all".into(), "adapter.unsupported", "biases");
    check_refused(|c| c["target_modules"] = ".*_proj".into(), "adapter.unsupported", "target_modules");
    check_refused(|c| c["modules_to_save"] = vec!["lm_head"].into(), "adapter.unsupported", "modules_to_save");
    check_refused(|c| c["lora_alpha"] = 0.into(), "adapter.unsupported", "lora_alpha");
    check_refused(|c| c["alpha_pattern"] = serde_json::json!({"^x.*": 2}), "adapter.unsupported", "^x.*");
    check_refused(|c| c["alpha_pattern"] = serde_json::json!({"q_proj": 0.5}), "adapter.unsupported", "0.5 for q_proj");
    let beyond = serde_json::json!({"layers.9.self_attn.q_proj": 8});
    check_refused(|c| c["rank_pattern"] = beyond, "adapter.unsupported", "no such target module");
}

#[test]
fn adapters_of_another_shape_are_refused_with_names_and_shapes() {
    check_refused(|c| c["r"] = 4.into(), "train.mismatch", "has rank 8");
    check_refused(|c| c["target_modules"] = vec!["q_proj"].into(), "train.mismatch", "belongs to no target module");
    let trained = Trained::new(|_| ());
    let folder = trained.export(ExportForm::Peft, "peft").weights;
    let other = Fixture::new();
    let config = other.model_dir().join("config.json");
    let text =
        trex_fs::read_to_string(&config).unwrap().replace("\"intermediate_size\": 48", "\"intermediate_size\": 64");
    trex_fs::write_atomic(&config, text.as_bytes()).unwrap();
    let model_dir = other.model_dir();
    let err = probe(&one_question(model_dir, folder)).unwrap_err();
    assert_eq!(err.code(), "train.mismatch");
    assert!(err.to_string().contains("gate_proj") && err.to_string().contains("64"), "{err}");
}

#[test]
fn alphas_by_module_are_those_of_the_file() {
    let trained = Trained::new(|_| ());
    let folder = trained.export(ExportForm::Peft, "peft").weights;
    // Twice the alpha for one kind of layer is B twice as large there.
    edit(&folder, |config| config["alpha_pattern"] = serde_json::json!({"q_proj": 32}));
    let with_patterns = answers(&trained.fixture.model_dir(), Some(&folder));
    let plain = trained.expected();
    assert!(with_patterns[0].logits != plain[0].logits);
    // The other layers at half the alpha, with a global one of 32, say the same.
    let others = ["k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    edit(&folder, |config| {
        config["lora_alpha"] = 32.into();
        config["alpha_pattern"] = others.iter().map(|name| ((*name).to_owned(), Value::from(16))).collect();
    });
    check_close(&answers(&trained.fixture.model_dir(), Some(&folder)), &with_patterns, 1e-5);
}
