//! Tasks that are trained on preference pairs or raw text, or with every weight: from the files to what is delivered.

use serde_json::Value;

use crate::program::{Program, Refusal};

/// A task of preference pairs that are held out of one file.
const PAIRS: &str = r#"
name = "polite"
goal = "Prefer the polite answer."
kind = "preference"
metric = "accuracy"

[data]
train = "pairs.jsonl"

[splits]
search = 40
select = 40
final = 40

[train]
objective = "dpo"
learning_rate = 1e-3
max_steps = 8
per_device_train_batch_size = 8
max_length = 96

[budget]
trials = 4

[search]
rungs = 1
batch = 2
base_seeds = 2
finalist_seeds = 1
"#;

/// A task of raw text, a folder with one text per file.
const TEXT: &str = r#"
name = "notes"
goal = "Know how the notes are written."
kind = "text"
metric = "bits_per_byte"

[data]
train = "notes"

[train]
objective = "pretrain"
learning_rate = 2e-3
max_steps = 8
per_device_train_batch_size = 4
max_length = 64

[budget]
trials = 4

[search]
rungs = 1
batch = 2
base_seeds = 2
finalist_seeds = 1
"#;

const PLACES: [&str; 8] = ["harbour", "mill", "market", "tower", "garden", "bridge", "well", "school"];

/// Questions whose better answer is polite, in words that differ from row to row.
fn pairs(count: usize) -> String {
    let pair = |number: usize| {
        let place = PLACES[number % PLACES.len()];
        let (question, way) = (format!("Where is the {place} number {number}?"), number * 7 % 50);
        let (chosen, rejected) =
            (format!("Gladly, please go {way} steps to the {place}."), format!("Go away, find the {place} yourself."));
        serde_json::json!({ "prompt": question, "chosen": chosen, "rejected": rejected }).to_string() + "\n"
    };
    (0..count).map(pair).collect()
}

fn write_notes(program: &Program, folder: &str, from: usize, count: usize) {
    for number in from..from + count {
        let (place, other) = (PLACES[number % PLACES.len()], PLACES[number * 5 % 7]);
        let text = format!(
            "Note {number}.\nThe keeper of the {place} came by at {} and asked for the {other}.\nAll is well at the {place}.\n",
            number * 13 % 24
        );
        program.write(&format!("{folder}/{number}.txt"), text);
    }
}

/// Recipes and settings of everything that was proposed.
fn variants(program: &Program, workspace: &str) -> Vec<Value> {
    let proposed = program.events(workspace).into_iter().filter(|event| event["type"] == "experiment_proposed");
    proposed.flat_map(|event| event["variants"].as_array().expect("the event has it").clone()).collect()
}

fn operators(variant: &Value) -> Vec<&str> {
    variant["recipe"]["operators"]
        .as_array()
        .expect("the event has it")
        .iter()
        .map(|step| step["op"].as_str().expect("a step has a name"))
        .collect()
}

fn score_of_base_and_best(program: &Program, workspace: &str) -> (f64, f64, Value) {
    let report = program.json(&["report", "--workspace", workspace]);
    assert_eq!(report["status"], "finished", "{report}");
    let nodes = report["nodes"].as_array().expect("the event has it");
    let selects = nodes.iter().flat_map(|node| node["variants"].as_array().expect("the event has it"));
    let selects: Vec<f64> = selects.filter_map(|variant| variant["select"]["score"].as_f64()).collect();
    let base = nodes[0]["value"].as_f64().expect("the event has it");
    let is_lower_better = report["base"]["metric"] == "bits_per_byte";
    let best = selects.into_iter().reduce(if is_lower_better { f64::min } else { f64::max });
    (base, best.expect("something was trained"), report)
}

#[test]
fn preference_pairs_are_trained_on_and_scored_by_which_answer_is_likelier() {
    let program = Program::new();
    program.write("pairs.jsonl", pairs(240));
    for objective in ["dpo", "orpo"] {
        program.write("task.toml", PAIRS.replace("\"dpo\"", &format!("{objective:?}")));
        program.succeed(&["run", "task.toml", "--workspace", objective]);
        let (base, best, report) = score_of_base_and_best(&program, objective);
        assert!(best > base, "{objective}: {base} before, {best} after");
        assert_eq!(report["base"]["metric"], "accuracy");
        for variant in variants(&program, objective) {
            let operators = operators(&variant);
            assert!(operators.contains(&"decontaminate"), "{operators:?}");
            for unfit in ["near_dedup", "resolve_conflicts", "neighbour_agreement", "label_balance", "few_shot_pack"] {
                assert!(!operators.contains(&unfit), "{operators:?}");
            }
        }
    }
}

/// The pairs teach, items of the usual kind judge.
#[test]
fn pairs_can_be_judged_by_items_of_another_kind() {
    let program = Program::new();
    program.write("pairs.jsonl", pairs(60));
    let rows = |from: usize| {
        let row = |number: usize| format!("Was {number} polite?,{}\n", ["yes", "no"][number % 2]);
        "text,label\n".to_owned() + &(from..from + 60).map(row).collect::<String>()
    };
    program.write("dev.csv", rows(0));
    program.write("test.csv", rows(1000));
    let choice = PAIRS
        .replace("\"preference\"", "\"choice\"")
        .replace("\"pairs.jsonl\"", "\"pairs.jsonl\"\ndev = \"dev.csv\"\ntest = \"test.csv\"")
        .replace("[splits]", "[prompt]\noptions = [\"yes\", \"no\"]\n\n[splits]")
        .replace("max_steps = 8", "max_steps = 2");
    program.write("task.toml", choice);
    program.succeed(&["run", "task.toml", "--workspace", "w"]);
    let (_, _, report) = score_of_base_and_best(&program, "w");
    assert_eq!(report["rows"]["pool"], 60, "{report}");
    assert!(variants(&program, "w").iter().all(|variant| operators(variant).contains(&"preference_pairs")));
}

#[test]
fn raw_text_is_trained_on_and_scored_in_bits_per_byte() {
    let program = Program::new();
    write_notes(&program, "notes", 0, 160);
    program.write("task.toml", TEXT);
    let done = program.succeed(&["run", "task.toml", "--workspace", "w"]);
    let (base, best, report) = score_of_base_and_best(&program, "w");
    assert!(best < 0.9 * base, "{base} bits per byte before, {best} after");
    assert_eq!(report["verdict"], "gain", "{report}");
    assert!(report["gain"]["effect"]["diff"].as_f64().is_some_and(|diff| diff > 0.0), "less is the gain: {report}");
    assert!(report["final"]["score"].as_f64() < report["base"]["score"].as_f64(), "{report}");
    assert!(done.stdout.contains("peft_adapter"), "{done:?}");
    let page = program.succeed(&["report", "--workspace", "w"]).stdout;
    assert!(page.contains("bits per byte") && page.contains("less is better"), "{page}");
    for variant in variants(&program, "w") {
        let operators = operators(&variant);
        assert!(!operators.contains(&"valid_answer") && !operators.contains(&"normalise"), "{operators:?}");
    }
    // What was delivered is loaded and scored anew, like any other adapter.
    program.json(&["export", "best", "--workspace", "w", "--format", "gguf-lora", "--out", "adapter"]);
}

#[test]
fn every_weight_may_be_trained_and_the_whole_model_is_delivered() {
    let program = Program::new();
    write_notes(&program, "notes", 0, 160);
    program.write("task.toml", TEXT.replace("[train]\n", "[train]\nmethod = \"full\"\n").replace("2e-3", "3e-4"));
    let done = program.succeed(&["run", "task.toml", "--workspace", "w"]);
    let (base, best, report) = score_of_base_and_best(&program, "w");
    assert!(best < base && report["verdict"] == "gain", "{base} before, {best} after: {report}");
    assert!(!done.stdout.contains("peft_adapter"), "{done:?}");
    let model = program.path("w").join(report["files"]["model"].as_str().unwrap());
    assert!(model.join("model.safetensors").is_file() && model.join("config.json").is_file(), "{report}");

    for form in ["peft", "gguf-lora"] {
        let arguments = ["export", "best", "--workspace", "w", "--format", form, "--out", "x"];
        let Refusal { hint, .. } = program.refused(&arguments, 3, "export.no_adapter");
        assert!(hint.contains("merged"), "{hint}");
        assert!(!program.path("x").exists());
    }
    let found =
        program.json(&["export", "best", "--workspace", "w", "--format", "all", "--quant", "q6_k", "--out", "all"]);
    let forms: Vec<_> = found["forms"].as_array().unwrap().iter().map(|form| form["form"].as_str().unwrap()).collect();
    assert_eq!(forms, ["merged", "gguf"]);
    let five =
        program.json(&["export", "best", "--workspace", "w", "--format", "gguf", "--quant", "q5_k_m", "--out", "five"]);
    assert_eq!(five["forms"][0]["encoding"], "Q5_K_M");
    // The delivered folder is a model like any other.
    program.succeed(&["model", "add", model.to_str().unwrap(), "--name", "tuned"]);
    program.succeed(&["repro", report["best"]["variant"].as_str().unwrap(), "--workspace", "w"]);
}

/// Runs a task that is refused before anything is scored.
#[track_caller]
fn refused(program: &Program, task: &str, code: &str) -> Refusal {
    program.write("task.toml", task);
    program.refused(&["run", "task.toml", "--workspace", "w"], 3, code)
}

#[test]
fn rows_that_do_not_suit_the_objective_are_refused() {
    let program = Program::new();
    program.write("pairs.jsonl", "{\"prompt\":\"a\",\"completion\":\"b\"}\n".repeat(40));
    let Refusal { message, hint } = refused(&program, PAIRS, "data.no_pairs");
    assert!(message.contains("prompt/completion") && hint.contains("chosen"), "{message} / {hint}");

    write_notes(&program, "notes", 0, 40);
    let answers =
        TEXT.replace("\"text\"", "\"generate\"").replace("bits_per_byte", "rouge_l").replace("pretrain", "sft");
    let Refusal { hint, .. } = refused(&program, &answers, "data.no_column");
    assert!(hint.contains("pretrain"), "{hint}");

    let check = |task: &str, told: &str| {
        let Refusal { message, .. } = refused(&program, task, "task.out_of_range");
        assert!(message.contains(told), "{message}");
        assert!(message.contains("task.toml:"), "{message}");
    };
    check(&TEXT.replace("bits_per_byte", "accuracy"), "metric is accuracy");
    check(&PAIRS.replace("\"accuracy\"", "\"bits_per_byte\""), "metric is bits_per_byte");
    check(&TEXT.replace("pretrain", "sft"), "train.objective is sft");
    check(&PAIRS.replace("\"dpo\"", "\"pretrain\""), "train.objective is pretrain");
    check(&PAIRS.replace("[train]\n", "[train]\nmethod = \"full\"\nadapter = \"x\"\n"), "train.method is full");
    check(&format!("{PAIRS}\n[generation]\ntemperature = 0.5\n"), "generation.do_sample is false");
    check(&format!("{PAIRS}\n[generation]\ndo_sample = true\ntop_p = 0\n"), "generation.top_p is 0");
}

#[test]
fn pairs_and_raw_text_are_shown_as_they_are_trained() {
    let program = Program::new();
    program.write("pairs.jsonl", pairs(3));
    let shown = ["data", "show", "pairs.jsonl", "--as-trained", "1"];
    let view = program.json(&shown);
    let rows = view["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{view}");
    for (row, answer) in rows.iter().zip(["Gladly", "Go away"]) {
        assert!(row["trained"].as_str().unwrap().starts_with(answer), "{row}");
        assert!(row["prompt"].as_str().unwrap().contains("Where is the harbour"), "{row}");
    }
    let text = program.succeed(&shown).stdout;
    assert!(text.contains("⟦Gladly") && text.contains("⟦Go away") && text.contains("less likely"), "{text}");
    // ORPO trains on the prompt of the better answer as well.
    let orpo = program.json(&[&shown[..], &["--objective", "orpo"]].concat());
    assert!(orpo["rows"][0]["trained"].as_str().unwrap().contains("Where is the harbour"), "{orpo}");
    let sft = program.json(&[&shown[..], &["--objective", "sft"]].concat());
    assert_eq!(sft["rows"].as_array().map(Vec::len), Some(1), "{sft}");

    program.write("book.txt", "First line\nof a paragraph.\n\nThe second one.\n");
    let view = program.json(&["data", "show", "book.txt", "--as-trained", "2", "--max-length", "512"]);
    let rows = view["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{view}");
    let (first, second) = (&rows[0], &rows[1]);
    assert_eq!((&first["id"], &second["id"]), (&"block 1, part 1".into(), &"block 1, part 2".into()));
    let whole = format!("{}{}", first["prompt"].as_str().unwrap(), first["trained"].as_str().unwrap());
    assert!(whole.starts_with("First line\nof a paragraph.<|"), "a token ends the text: {whole}");
    assert_eq!(first["prompt_tokens"], 1, "{view}");
}
