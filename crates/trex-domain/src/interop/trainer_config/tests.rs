//! Files of other trainers: what they come to, and that writing and reading them changes nothing.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{ModuleKey, Precision, export_trainer_config};

#[track_caller]
fn read(file: &Value) -> ImportedConfig {
    import_trainer_config(file, None, None).unwrap()
}

#[track_caller]
fn check_warned(file: &Value, part: &str) {
    let warnings = read(file).warnings;
    assert!(warnings.iter().any(|warning| warning.contains(part)), "{part} is not in {warnings:?}");
}

#[test]
fn an_axolotl_file_is_understood() {
    let file = json!({
        "base_model": "HuggingFaceTB/SmolLM2-135M", "adapter": "qlora", "load_in_4bit": true, "sequence_len": 2048,
        "sample_packing": true, "lora_r": 32, "lora_alpha": 16, "lora_dropout": 0.05, "lora_target_linear": true,
        "micro_batch_size": 2, "gradient_accumulation_steps": 4, "learning_rate": "2e-4", "lr_scheduler": "cosine",
        "warmup_steps": 10, "max_steps": 200, "optimizer": "adamw_bnb_8bit", "bf16": "auto",
        "datasets": [{"path": "x", "type": "alpaca"}],
    });
    let found = read(&file);
    let config = &found.config;
    assert_eq!(found.format, TrainerFormat::Axolotl);
    assert_eq!(found.base_model.as_deref(), Some("HuggingFaceTB/SmolLM2-135M"));
    assert_eq!((config.lora.r, config.lora.lora_alpha, config.max_length), (32, 16, 2048));
    assert_eq!((config.per_device_train_batch_size, config.gradient_accumulation_steps), (2, 4));
    assert!((config.learning_rate - 2e-4).abs() < 1e-12 && (config.warmup_ratio - 0.05).abs() < 1e-12);
    assert_eq!(config.lora.target_modules, TargetModules::Keyword("all-linear".to_owned()));
    assert!(config.packing);
    for part in ["optimizer = \"adamw_bnb_8bit\"", "datasets"] {
        check_warned(&file, part);
    }
    assert_eq!(config.quantization, Quantization::Q4K);
    assert!(found.assumed.iter().any(|(name, value)| name == "quantization" && value.contains("NF4")));
    let silent = |key: &str| !found.warnings.iter().any(|warning| warning.starts_with(key));
    assert!(silent("bf16") && silent("sample_packing"), "{:?}", found.warnings);
    assert_consistent(&found);
}

/// What is warned about as not taken over was not applied, and what was applied is not assumed.
#[track_caller]
fn assert_consistent(found: &ImportedConfig) {
    for (key, _) in &found.applied {
        let refused = format!("{key} = ");
        let warns = |warning: &String| warning.starts_with(&refused) && warning.contains("not taken over");
        assert!(!found.warnings.iter().any(warns), "{key} is applied and refused: {:?}", found.warnings);
        assert!(found.assumed.iter().all(|(assumed, _)| assumed != key), "{key} is applied and assumed");
    }
}

#[test]
fn what_a_file_leaves_out_is_told_with_the_value_that_was_taken() {
    let file = json!({
        "base_model": "m", "adapter": "lora", "lora_r": 32, "lora_target_linear": true, "micro_batch_size": 2,
        "learning_rate": 2e-4, "num_epochs": 3, "sample_packing": true, "gradient_checkpointing": "unsloth",
        "warmup_steps": 500, "lr_scheduler": "rex",
    });
    let found = read(&file);
    assert_consistent(&found);
    let assumed: std::collections::BTreeMap<_, _> = found.assumed.iter().cloned().collect();
    let expected = [
        ("gradient_accumulation_steps", "1"),
        ("lora.lora_alpha", "16"),
        ("lora.lora_dropout", "0"),
        ("lr_scheduler_type", "cosine"),
        ("max_grad_norm", "1"),
        ("max_length", "512"),
        ("max_steps", "120"),
        ("warmup_ratio", "0.03"),
        ("weight_decay", "0"),
    ];
    assert_eq!(assumed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(), expected);
    for part in ["num_epochs = 3 is not taken over", "warmup_steps = 500 is not taken over", "lr_scheduler = "] {
        check_warned(&file, part);
    }
    assert!(found.config.packing && found.config.gradient_checkpointing);

    let with_rows = import_trainer_config(&file, None, Some(200)).unwrap();
    assert_consistent(&with_rows);
    assert!(with_rows.applied.contains(&("num_epochs".to_owned(), "3 epochs of 200 rows: max_steps = 300".to_owned())));
    assert!(with_rows.assumed.iter().all(|(name, _)| name != "max_steps"), "{:?}", with_rows.assumed);
    let both = json!({"micro_batch_size": 2, "learning_rate": 1e-4, "num_epochs": 3, "max_steps": 50, "bf16": true});
    let found = import_trainer_config(&both, None, Some(200)).unwrap();
    assert_consistent(&found);
    assert_eq!((found.config.max_steps, found.config.precision), (50, Precision::Bf16));
    check_warned(&both, "num_epochs = 3 is not taken over");
}

#[test]
fn a_llama_factory_file_is_understood() {
    let file = json!({
        "model_name_or_path": "m", "stage": "sft", "do_train": true, "finetuning_type": "lora", "lora_rank": 8,
        "lora_target": "q_proj,v_proj", "cutoff_len": 1024, "num_train_epochs": 3.0, "template": "llama3",
        "per_device_train_batch_size": 1, "gradient_accumulation_steps": 8, "warmup_ratio": 0.1,
    });
    let found = import_trainer_config(&file, None, Some(800)).unwrap();
    assert_eq!(found.format, TrainerFormat::LlamaFactory);
    assert_eq!(found.config.lora.lora_alpha, 16, "LLaMA-Factory doubles the rank");
    assert_eq!(found.config.max_steps, 300);
    assert_eq!(found.config.lora.target_modules, TargetModules::List(vec!["q_proj".into(), "v_proj".into()]));
    assert!((found.config.learning_rate - 5e-5).abs() < 1e-12);
    assert!(found.assumed.contains(&("learning_rate".to_owned(), "0.00005".to_owned())), "{:?}", found.assumed);
    check_warned(&file, "num_train_epochs = 3 is not taken over");
}

#[test]
fn nested_tables_and_both_spellings_are_read() {
    let unsloth = json!({
        "model": {"model_name": "m", "max_seq_length": 512},
        "lora": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]},
        "training": {"evaluation_strategy": "steps", "warmup_steps": 0.1, "max_steps": 60, "nonsense": 1},
    });
    let found = read(&unsloth);
    assert_eq!(found.format, TrainerFormat::Unsloth);
    assert_eq!((found.config.lora.r, found.config.max_length), (4, 512));
    assert!((found.config.warmup_ratio - 0.1).abs() < 1e-12);
    check_warned(&unsloth, "training.nonsense = 1");
    check_warned(&unsloth, "evaluation_strategy");
    let old = json!({"learning_rate": 1e-4, "warmup_ratio": 0.2, "warmup_steps": 0, "lora_r": 8});
    assert!((read(&old).config.warmup_ratio - 0.2).abs() < 1e-12);
    check_warned(&json!({"learning_rat": 1e-4}), "nearest known one is learning_rate");
}

#[test]
fn a_peft_file_gives_the_shape_of_the_adapter() {
    let found = read(&json!({"peft_type": "LORA", "target_modules": ["q_proj", "v_proj"], "use_dora": true}));
    assert_eq!((found.format, found.config.lora.r, found.config.lora.lora_alpha), (TrainerFormat::Peft, 8, 8));
    assert!(found.warnings[0].contains("use_dora"));
}

#[track_caller]
fn check_quantization(file: &Value, expected: Quantization) {
    assert_eq!(read(file).config.quantization, expected, "{file}");
}

#[test]
fn a_base_in_few_bits_is_the_nearest_block_format() {
    check_quantization(&json!({"use_peft": true, "load_in_4bit": true}), Quantization::Q4K);
    check_quantization(&json!({"use_peft": true, "load_in_8bit": true, "load_in_4bit": false}), Quantization::Q8_0);
    check_quantization(&json!({"adapter": "qlora", "micro_batch_size": 1}), Quantization::Q4K);
    check_quantization(&json!({"finetuning_type": "lora", "quantization_bit": 8}), Quantization::Q8_0);
    check_quantization(&json!({"use_peft": true, "load_in_4bit": null}), Quantization::None);
    check_quantization(&json!({"use_peft": false, "load_in_4bit": true}), Quantization::None);
    check_warned(&json!({"use_peft": false, "load_in_4bit": true}), "every weight is trained");
    check_warned(&json!({"use_peft": true, "load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}), "bnb_4bit_quant_type");
    let err = import_trainer_config(&json!({"quantization_bit": 3}), None, None).unwrap_err().to_string();
    assert!(err.contains("quantization_bit") && err.contains("4 or 8"), "{err}");
}

#[test]
fn formats_that_other_tools_have_not_are_written_as_the_nearest_and_said() {
    let written = |quantization| {
        let config = TrainConfig { quantization, ..TrainConfig::default() };
        export_trainer_config(&config, TrainerFormat::Axolotl, "owner/base")
    };
    let (file, warnings) = written(Quantization::Q5K);
    assert_eq!((&file["adapter"], &file["load_in_8bit"]), (&json!("lora"), &json!(true)));
    assert!(warnings.iter().any(|warning| warning.contains("q5_k")), "{warnings:?}");
    let (file, warnings) = written(Quantization::AsStored);
    assert!(file.get("load_in_4bit").is_none() && warnings[0].contains("as_stored"), "{warnings:?}");
    let (file, warnings) = written(Quantization::Q4K);
    assert_eq!((&file["adapter"], &file["load_in_4bit"]), (&json!("qlora"), &json!(true)));
    assert!(warnings.is_empty());
}

#[test]
fn files_without_adapters_train_every_weight() {
    assert_eq!(read(&json!({"learning_rate": 1e-5})).config.method, TrainMethod::Full);
    assert_eq!(read(&json!({"finetuning_type": "full"})).config.method, TrainMethod::Full);
    assert_eq!(read(&json!({"use_peft": true})).config.method, TrainMethod::Lora);
}

#[test]
fn wrong_values_are_errors_with_their_key() {
    let check = |file: Value, part: &str| {
        let text = import_trainer_config(&file, None, None).unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    };
    check(json!({"learning_rate": "fast"}), "learning_rate");
    check(json!({"training": {"max_steps": 1.5}}), "training.max_steps");
    check(json!({"lora_target_modules": ["wq"]}), "wq");
    check(json!({"lora_r": 0}), "lora.r");
    check(json!({"rank_pattern": {"q_proj": "many"}}), "rank_pattern");
    check(json!({"rank_pattern": [4]}), "rank_pattern");
    check(json!({"alpha_pattern": {"q_proj": 0.5}}), "alpha_pattern");
    check(json!({"peft_type": "LORA", "target_modules": "all-linear", "rank_pattern": {"^model.*": 4}}), "^model.*");
    check(json!([1]), "the file");
}

fn configs() -> impl Strategy<Value = TrainConfig> {
    let lora = (1usize..64, 1usize..128, 0.0f64..0.9, proptest::bool::ANY, 0usize..3);
    let numbers = (1e-6f64..0.1, 0.0f64..0.9, 1usize..500, 1usize..32, 1usize..16, 0.0f64..0.5, 8usize..4096);
    let switches = (proptest::bool::ANY, proptest::bool::ANY, proptest::bool::ANY, 0usize..2, 0usize..3);
    (lora, numbers, 0usize..5, switches).prop_map(|(lora, numbers, scheduler, switches)| {
        let (r, lora_alpha, lora_dropout, use_rslora, targets) = lora;
        let (packing, gradient_checkpointing, group_by_length, precision, quantization) = switches;
        let (learning_rate, warmup_ratio, max_steps, batch, accumulation, weight_decay, max_length) = numbers;
        let target_modules = match targets {
            0 => TargetModules::Keyword("all-linear".to_owned()),
            1 => TargetModules::List(vec!["q_proj".to_owned()]),
            _ => TargetModules::List(vec!["up_proj".to_owned(), "down_proj".to_owned()]),
        };
        let schedulers = [
            SchedulerType::Linear,
            SchedulerType::Cosine,
            SchedulerType::Constant,
            SchedulerType::ConstantWithWarmup,
            SchedulerType::WarmupStableDecay,
        ];
        TrainConfig {
            lora: LoraConfig { r, lora_alpha, lora_dropout, target_modules, use_rslora, ..LoraConfig::default() },
            learning_rate,
            warmup_ratio,
            max_steps,
            per_device_train_batch_size: batch,
            gradient_accumulation_steps: accumulation,
            weight_decay,
            max_length,
            lr_scheduler_type: schedulers[scheduler],
            packing,
            gradient_checkpointing,
            group_by_length,
            precision: [Precision::F32, Precision::Bf16][precision],
            neftune_noise_alpha: if packing { 5.0 } else { 0.0 },
            quantization: [Quantization::None, Quantization::Q8_0, Quantization::Q4K][quantization],
            ..TrainConfig::default()
        }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(config in configs()) {
        use TrainerFormat::{Axolotl, LlamaFactory, Trl, Unsloth};
        for format in [Trl, Axolotl, LlamaFactory, Unsloth] {
            let (file, _) = export_trainer_config(&config, format, "owner/base");
            let found = import_trainer_config(&file, None, None).unwrap();
            prop_assert_eq!(found.format, format);
            prop_assert_eq!(&found.config, &config);
            prop_assert!(found.warnings.is_empty(), "{:?}", found.warnings);
            prop_assert_eq!(found.base_model.as_deref(), Some("owner/base"));
        }
        let mut config = config;
        let target = config.lora.target_modules.names().unwrap()[0];
        config.lora.rank_pattern.insert(target.to_owned(), config.lora.r + 1);
        config.lora.alpha_pattern.insert(ModuleKey::path(3, target), config.lora.lora_alpha + 1);
        let (_, warnings) = export_trainer_config(&config, TrainerFormat::Trl, "owner/base");
        prop_assert!(warnings.iter().any(|warning| warning.contains("rank_pattern")), "{:?}", warnings);
        for format in [TrainerFormat::Peft, Axolotl] {
            let (file, _) = export_trainer_config(&config, format, "owner/base");
            prop_assert_eq!(&import_trainer_config(&file, None, None).unwrap().config.lora, &config.lora);
        }
    }
}
