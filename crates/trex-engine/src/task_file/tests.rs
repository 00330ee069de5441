//! Tests of the task file: what is accepted, and what every complaint says.

use proptest::prelude::*;
use trex_domain::{EvalMode, TargetModules, TrainMethod, TrainObjective};

use super::*;

const TASK: &str = r#"name = "sst2"
goal = "Tell good reviews from bad ones."
kind = "choice"
metric = "accuracy"
model = "bundled"

[data]
train = "train.tsv"
test = "/abs/test.tsv"
fields = { input = "sentence", answer = "label", labels = { "0" = "negative", "1" = "positive" } }

[prompt]
template = "Review: {input}\nIs it negative or positive?"
options = ["negative", "positive"]

[splits]
final = 500

[train]
learning_rate = 5e-4
max_steps = 60

[train.lora]
r = 16

[budget]
trials = 12
wall_s = 3600

[search]
policy = "puct"
"#;

fn parse(text: &str) -> Result<TaskSpec, TaskFileError> {
    parse_task_text(text, Path::new("my/task.toml"), Path::new("my"))
}

#[track_caller]
fn check(from: &str, to: &str, code: &str, message: &str) {
    assert!(TASK.contains(from), "{from}");
    let err = parse(&TASK.replacen(from, to, 1)).unwrap_err();
    assert_eq!((err.code(), err.to_string().as_str()), (code, message), "{:?}", err.hint());
}

#[track_caller]
fn check_hint(from: &str, to: &str, hint: &str) {
    assert_eq!(parse(&TASK.replacen(from, to, 1)).unwrap_err().hint().as_deref(), Some(hint));
}

#[test]
fn a_task_file_becomes_a_task() {
    let task = parse(TASK).unwrap();
    assert_eq!((task.name.as_str(), task.kind, task.metric), ("sst2", TaskKind::Choice, Metric::Accuracy));
    let DataSource::Files { train, dev, test, fields, terms } = task.data else { panic!() };
    assert!(terms.is_silent());
    assert_eq!(train, Path::new("my").join("train.tsv"));
    assert_eq!(dev, SplitSource::HeldOut);
    assert_eq!(test, SplitSource::File(PathBuf::from("/abs/test.tsv")));
    assert_eq!(fields.labels["1"], "positive");
    assert_eq!(task.splits, SplitSizes { final_: 500, ..SplitSizes::default() });
    let lora = LoraConfig { r: 16, ..LoraConfig::default() };
    assert_eq!(task.train, TrainConfig { learning_rate: 5e-4, max_steps: 60, lora, ..TrainConfig::default() });
    assert_eq!((task.budget.trials, task.budget.wall_s), (12, Some(3600.0)));
    assert_eq!(task.search, SearchSettings::default());
}

#[test]
fn a_device_is_read_and_other_words_are_refused() {
    let with = |device: &str| parse(&TASK.replacen("model =", &format!("device = {device}\nmodel ="), 1));
    assert_eq!(parse(TASK).unwrap().device, DeviceChoice::Auto);
    assert_eq!(with("\"cuda:1\"").unwrap().device, DeviceChoice::Cuda(1));
    let err = with("\"gpu\"").unwrap_err();
    assert_eq!(err.code(), "task.wrong_type");
    let text = err.to_string();
    assert!(text.contains("task.toml:5:") && text.contains(DeviceChoice::ALLOWED), "{text}");
    assert_eq!(with("1").unwrap_err().code(), "task.wrong_type");
    // What names a task is what it asks, not what it is computed on by default.
    assert!(!serde_json::to_string(&parse(TASK).unwrap()).unwrap().contains("device\":"));
}

#[test]
fn data_may_lie_elsewhere_or_be_built_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("task.toml");
    trex_fs::write_atomic(&path, TASK.as_bytes()).unwrap();
    let train_of = |task: TaskSpec| match task.data {
        DataSource::Files { train, .. } => train,
        DataSource::Builtin { .. } => panic!(),
    };
    assert_eq!(train_of(parse_task_file(&path, None).unwrap()), dir.path().join("train.tsv"));
    assert_eq!(train_of(parse_task_file(&path, Some(Path::new("/data"))).unwrap()), Path::new("/data/train.tsv"));
    let missing = parse_task_file(&dir.path().join("none.toml"), None).unwrap_err();
    assert_eq!(missing.code(), "task.unreadable");
    let cause = std::error::Error::source(&missing).unwrap().to_string();
    assert_eq!(format!("{missing}: {cause}").matches("none.toml").count(), 1, "{missing}: {cause}");
    let builtin = TASK.replace("train = \"train.tsv\"\ntest = \"/abs/test.tsv\"", "builtin = \"ftbench/mini-1\"");
    assert_eq!(parse(&builtin).unwrap().data, DataSource::Builtin { name: "ftbench/mini-1".to_owned() });
}

#[test]
fn the_items_of_a_builtin_task_may_bring_their_options() {
    let builtin = TASK.replace("train = \"train.tsv\"\ntest = \"/abs/test.tsv\"", "builtin = \"ftbench/mini-1\"");
    let without = builtin.replace("options = [\"negative\", \"positive\"]\n", "");
    assert!(parse(&without).unwrap().prompt.options.is_empty());
    let one = builtin.replace(", \"positive\"]", "]");
    assert_eq!(parse(&one).unwrap_err().code(), "task.empty");
}

#[test]
fn the_examples_of_this_repository_are_tasks() {
    use TrainObjective::{Dpo, Pretrain, Sft};
    let check = |name: &str, kind, metric, objective| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
        let task = parse_task_file(&path, Some(Path::new("data"))).unwrap();
        assert_eq!((task.kind, task.metric, task.train.objective), (kind, metric, objective), "{name}");
    };
    check("sst2.toml", TaskKind::Choice, Metric::Accuracy, Sft);
    check("preference.toml", TaskKind::Preference, Metric::Accuracy, Dpo);
    check("raw_text.toml", TaskKind::Text, Metric::BitsPerByte, Pretrain);
}

#[test]
fn unknown_keys_are_named_with_place_and_neighbour_at_every_level() {
    check("metric =", "metrik =", "task.unknown_key", "my/task.toml:4:1: unknown key \"metrik\"");
    check_hint("metric =", "metrik =", "did you mean \"metric\"?");
    check("[budget]", "[bugdet]", "task.unknown_key", "my/task.toml:26:2: unknown key \"bugdet\"");
    check(
        "learning_rate",
        "  learning_rat",
        "task.unknown_key",
        "my/task.toml:20:3: unknown key \"learning_rat\" in [train]",
    );
    check_hint("learning_rate", "learning_rat", "did you mean \"learning_rate\"?");
    check("r = 16", "rr = 16", "task.unknown_key", "my/task.toml:24:1: unknown key \"rr\" in [train.lora]");
    check("answer =", "anser =", "task.unknown_key", "my/task.toml:10:32: unknown key \"anser\" in [data.fields]");
    check_hint("trials", "zzz", "known keys here: cpu_s, disk_bytes, gpu_s, money, tokens, trials, wall_s");
}

/// They are not taken silently: what they mean elsewhere is not always what ours mean.
#[test]
fn everyday_names_are_told_the_right_key() {
    check("max_steps", "epochs", "task.unknown_key", "my/task.toml:21:1: unknown key \"epochs\" in [train]");
    for name in ["epochs", "num_train_epochs", "n_epochs"] {
        let hint = parse(&TASK.replacen("max_steps", name, 1)).unwrap_err().hint().unwrap();
        assert!(hint.starts_with("write max_steps in [train]; there are no epochs: write rows × epochs ÷"), "{hint}");
    }
    check_hint("learning_rate", "lr", "write learning_rate in [train]");
    let batch = "write per_device_train_batch_size in [train]; times gradient_accumulation_steps it is the batch of one \
                 optimiser step";
    check_hint("max_steps", "batch_size", batch);
    // At the top level and below `[train.lora]` too.
    check_hint("metric =", "lr =", "write learning_rate in [train]");
    check_hint("r = 16", "rank = 16", "write [train.lora]; its keys are r, lora_alpha and lora_dropout");
}

#[test]
fn every_everyday_name_leads_to_a_key_and_is_none_itself() {
    let lines = toml::to_string(&TrainConfig::default()).unwrap();
    for (names, ours, _) in MISNOMERS {
        let key = ours.rsplit('.').next().unwrap();
        assert!(ours.starts_with("train.") && lines.contains(key), "{ours}");
        for name in names {
            let is_alias = TRAIN_ALIASES.iter().any(|(alias, _)| alias == name);
            assert!(!is_alias && !lines.lines().any(|line| line.starts_with(&format!("{name} ="))), "{name}");
        }
    }
}

#[test]
fn wrong_values_say_what_was_expected() {
    let wrong = "task.wrong_type";
    check("5e-4", "\"fast\"", wrong, "my/task.toml:20:17: train.learning_rate is the text \"fast\", expected a number");
    check(
        "60",
        "-1",
        wrong,
        "my/task.toml:21:13: train.max_steps is the whole number -1, expected a whole number of at least 0",
    );
    check(
        "60",
        "6.5",
        wrong,
        "my/task.toml:21:13: train.max_steps is the number 6.5, expected a whole number of at least 0",
    );
    check(
        "[\"negative\", \"positive\"]",
        "[1]",
        wrong,
        "my/task.toml:14:12: prompt.options is the whole number 1, expected a text in quotes",
    );
    check("\"sst2\"", "true", wrong, "my/task.toml:1:8: name is true, expected a text in quotes");
    check(
        "r = 16",
        "r = 16\ntarget_modules = 3",
        wrong,
        "my/task.toml:25:18: train.lora.target_modules is the whole number 3, expected a text in quotes or a list",
    );
    check(
        "\"accuracy\"",
        "\"acuracy\"",
        "task.unknown_word",
        "my/task.toml:4:10: metric is \"acuracy\", expected one of accuracy, macro_f1, exact_match, rouge1, rouge2, \
         rouge_l, token_f1, chrf, numeric_match, bits_per_byte",
    );
    check_hint("\"accuracy\"", "\"acuracy\"", "did you mean \"accuracy\"?");
    check_hint("\"puct\"", "\"putc\"", "did you mean \"puct\"?");
}

#[test]
fn kind_metric_and_objective_must_belong_together() {
    let pairs = TASK.replacen("\"choice\"", "\"preference\"", 1);
    assert_eq!(parse(&pairs).unwrap().eval_mode(), EvalMode::Preference);
    check(
        "\"accuracy\"",
        "\"bits_per_byte\"",
        "task.out_of_range",
        "my/task.toml:4:1: metric is bits_per_byte, allowed is one of the others; bits_per_byte is for kind = \"text\"",
    );
    let text = TASK.replacen("\"choice\"", "\"text\"", 1).replacen("\"accuracy\"", "\"bits_per_byte\"", 1);
    let held_out = parse(&text).unwrap_err().to_string();
    assert!(held_out.contains("train.objective is sft"), "{held_out}");
    let files = text.replacen("train = \"train.tsv\"", "train = \"train.tsv\"\ndev = \"dev.txt\"", 1);
    assert_eq!(parse(&files).unwrap().kind, TaskKind::Text);
}

#[test]
fn settings_of_generation_are_read_and_checked() {
    let with = |keys: &str| parse(&format!("{TASK}\n[generation]\n{keys}\n"));
    assert!(parse(TASK).unwrap().generation.is_default());
    let task = with("do_sample = true\ntop_p = 0.9\nseed = 3").unwrap();
    assert_eq!((task.generation.top_p, task.generation.top_k, task.generation.seed), (0.9, 50, 3));
    assert_ne!(task.hash().unwrap(), parse(TASK).unwrap().hash().unwrap());
    let err = with("temperature = 0.7").unwrap_err();
    assert!(err.to_string().contains("generation.do_sample is false"), "{err}");
    assert_eq!(with("top_q = 1").unwrap_err().code(), "task.unknown_key");
}

#[test]
fn missing_and_empty_keys_are_named() {
    check(
        "goal = \"Tell good reviews from bad ones.\"\n",
        "",
        "task.missing_key",
        "my/task.toml:1:1: the key goal is missing",
    );
    let bare = TASK.replacen("template = \"Review: {input}\\nIs it negative or positive?\"\n", "", 1);
    assert_eq!(parse(&bare).unwrap().prompt.template, "{input}");
    check("train = \"train.tsv\"\n", "", "task.missing_key", "my/task.toml:7:2: the key data.train is missing");
    let options = "my/task.toml:14:1: prompt.options is empty, expected at least two answers for a choice task, none of \
                   them empty";
    check("[\"negative\", \"positive\"]", "[]", "task.empty", options);
    check("\"positive\"]", "\" \"]", "task.empty", options);
    check("\"sst2\"", "\"\"", "task.empty", "my/task.toml:1:1: name is empty, expected a short name");
    check(
        "{input}\\n",
        "{options}",
        "task.template_without_input",
        "my/task.toml:13:1: prompt.template has no placeholder such as {input}",
    );
    check(
        "train = \"train.tsv\"",
        "train = \"train.tsv\"\nbuiltin = \"ftbench/mini-1\"",
        "task.conflict",
        "my/task.toml:9:1: data.builtin and data.train exclude each other",
    );
}

#[test]
fn ranges_and_syntax_are_checked() {
    check("5e-4", "5", "task.out_of_range", "my/task.toml:20:1: learning_rate is 5, allowed is above 0 and below 1");
    check("r = 16", "r = 0", "task.out_of_range", "my/task.toml:24:1: lora.r is 0, allowed is from 1 to 1024");
    check("= 12", "= 0", "task.out_of_range", "my/task.toml:27:1: budget.trials is 0, allowed is at least 1");
    check(
        "\"puct\"",
        "\"puct\"\neta = 1",
        "task.out_of_range",
        "my/task.toml:32:1: search.eta is 1, allowed is from 2 to 16",
    );
    check(
        "r = 16",
        "target_modules = [\"wq\"]",
        "task.out_of_range",
        "my/task.toml:24:1: unknown target module \"wq\"",
    );
    let err = parse(&TASK.replace("kind = \"choice\"", "kind = ")).unwrap_err();
    assert_eq!(err.code(), "task.syntax");
    assert!(err.to_string().starts_with("my/task.toml:3:"), "{err}");
}

#[test]
fn names_of_other_trainers_are_understood() {
    let train = "max_seq_length = 256\nmicro_batch_size = 4\nlora_r = 32\nlora_target = [\"q_proj\"]\n\
                 finetuning_type = \"lora\"\nwarmup_steps = 0.1\n";
    let text = TASK.replace("learning_rate = 5e-4\nmax_steps = 60\n\n[train.lora]\nr = 16\n", train);
    let config = parse(&text).unwrap().train;
    assert_eq!((config.max_length, config.per_device_train_batch_size, config.lora.r), (256, 4, 32));
    assert_eq!(config.lora.target_modules, TargetModules::List(vec!["q_proj".to_owned()]));
    assert_eq!((config.method, config.lora.lora_alpha), (TrainMethod::Lora, LoraConfig::default().lora_alpha));
    assert!((config.warmup_ratio - 0.1).abs() < 1e-12);
    check(
        "max_steps = 60",
        "lora_rank = 4",
        "task.key_twice",
        "my/task.toml:21:1: train.lora_rank says the same as train.lora.r, which is there too",
    );
}

#[test]
fn every_setting_of_the_domain_can_be_written() {
    let train = toml::to_string(&TrainConfig { max_steps: 7, ..TrainConfig::default() }).unwrap();
    let search = toml::to_string(&SearchSettings { target: Some(0.9), ..SearchSettings::default() }).unwrap();
    let head = &TASK[..TASK.find("[train]").unwrap()];
    let train = train.replace("[lora]", "[train.lora]").replace("[lr_scheduler_kwargs]", "[train.lr_scheduler_kwargs]");
    let text = format!("{head}[search]\n{search}\n[train]\n{train}");
    let task = parse(&text).unwrap();
    assert_eq!((task.train.max_steps, task.search.target), (7, Some(0.9)));
}

#[test]
fn the_committed_task_schema_is_the_generated_one() {
    crate::report::check_committed("task.schema.json", &task_schema());
}

proptest! {
    #[test]
    fn an_unknown_key_is_always_found_where_it_stands(key in "[a-z]{3,9}_x", line in 0_usize..32) {
        let mut lines: Vec<_> = TASK.lines().collect();
        let own = format!("{key} = 1");
        lines.insert(line, &own);
        let err = parse(&lines.join("\n")).unwrap_err();
        // `[data.fields.labels]` takes any key, but its table is written in one line.
        let TaskFileError::UnknownKey { place, key: found, .. } = err else { panic!("{err}") };
        prop_assert_eq!((place.line, place.column, found), (line + 1, 1, key));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>(), at in 0_usize..600) {
        let at = at.min(TASK.len());
        parse(&format!("{}{text}{}", &TASK[..at], &TASK[at..])).ok();
    }
}

#[test]
fn the_licence_of_the_rows_and_their_use_are_part_of_the_task() {
    let text = TASK.replace("[data]", "[data]\nlicense = \"cc-by-nc-4.0\"\ncommercial_use = true");
    let terms = parse(&text).unwrap().data.terms();
    assert_eq!((terms.license.as_deref(), terms.commercial_use), (Some("cc-by-nc-4.0"), true));
}
