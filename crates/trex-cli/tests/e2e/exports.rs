//! `trex export` and `trex config` from outside.

use std::fs;

use serde_json::Value;

use crate::program::{Program, files_below};
use crate::serve::check_served;

/// A variant that was trained, of the run in `w`.
pub(crate) fn trained_variant(program: &Program) -> String {
    let tree = program.json(&["tree", "--workspace", "w"]);
    let nodes = tree["nodes"].as_array().unwrap().iter();
    let mut variants = nodes.flat_map(|node| node["variants"].as_array().unwrap());
    let scored = variants.find(|variant| !variant["search"].is_null()).unwrap();
    scored["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_trained_node_is_exported_in_every_form_and_scored_anew() {
    let program = Program::with_tiny_task();
    program.succeed(&["run", "tiny.toml", "--workspace", "w"]);
    let node = trained_variant(&program);
    let arguments = ["export", &node, "--workspace", "w", "--format", "all", "--quant", "q4_k_m", "--out", "out"];
    let found = program.json(&arguments);
    let forms: Vec<&str> =
        found["forms"].as_array().unwrap().iter().map(|form| form["form"].as_str().unwrap()).collect();
    assert_eq!(forms, ["peft", "merged", "gguf", "gguf-lora"]);
    for form in found["forms"].as_array().unwrap() {
        let check = &form["check"];
        assert!(check["n"] == 40 && check["gold_logprob_diff"].is_f64(), "{form}");
        assert!(program.path(form["path"].as_str().unwrap()).exists(), "{form}");
    }
    for file in ["peft/README.md", "merged/model.safetensors", "gguf/Modelfile", "gguf-lora/Modelfile"] {
        assert!(program.path("out").join(file).is_file(), "{file}");
    }
    let strange = |name: &str| name.contains("unfinished") || name.contains(".check");
    let all = files_below(&program.path(""));
    assert!(all.iter().all(|(path, _)| !strange(&path.to_string_lossy())));
    check_refusals(&program, &node);
    check_config(&program, &node);
    check_ask(&program, &node);
    check_served(&program, &node);
}

/// Two answers to one question, the same ones each time, and nothing left behind.
fn check_ask(program: &Program, node: &str) {
    let before = files_below(&program.path("w"));
    let ask = || {
        let arguments = ["ask", node, "what", "now?", "--workspace", "w", "--max-new-tokens", "6"];
        let answers = program.json(&arguments);
        assert_eq!(answers["node"], node);
        assert!(answers["base"]["wall_s"].as_f64().unwrap() > 0.0, "{answers}");
        (answers["base"]["text"].as_str().unwrap().to_owned(), answers["tuned"]["text"].as_str().unwrap().to_owned())
    };
    assert_eq!(ask(), ask());
    let names =
        |files: &[(std::path::PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&files_below(&program.path("w"))), names(&before));
    check_conversation(&program.path("talk.jsonl"), program, node);
    program.refused(&["ask", "base", "x", "--workspace", "w"], 3, "export.nothing");
    program.refused(&["ask", node, "x", "--workspace", "w", "--temperature", "0"], 3, "config.out_of_range");
}

/// The second turn is asked with the first before it, and the file holds both.
fn check_conversation(file: &std::path::Path, program: &Program, node: &str) {
    let ask = |words: &str, more: &[&str]| {
        let arguments = ["ask", node, words, "--workspace", "w", "--max-new-tokens", "6"];
        program.json(&[&arguments, more].concat())
    };
    let talk = ["--conversation", "talk.jsonl"];
    let (first, second) = (ask("what now?", &talk), ask("and then?", &talk));
    let kept = std::fs::read_to_string(file).unwrap();
    let kept: Vec<serde_json::Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let words: Vec<&str> = kept.iter().filter_map(|turn| turn["words"].as_str()).collect();
    assert_eq!(words, ["what now?", "and then?"]);
    assert_eq!(kept[0]["tuned"], first["tuned"]);
    assert_eq!(kept[1]["tuned"], second["tuned"]);
    assert_ne!(ask("and then?", &[])["tuned"]["text"], second["tuned"]["text"], "the first turn changes nothing");
    std::fs::write(file, "{\"words\": \"no answers\"}\n").unwrap();
    let arguments = ["ask", node, "x", "--workspace", "w", "--conversation", "talk.jsonl"];
    let refusal = program.refused(&arguments, 3, "ask.bad_conversation");
    assert!(refusal.message.contains("talk.jsonl"), "{refusal:?}");
}

fn check_refusals(program: &Program, node: &str) {
    let before = files_below(&program.path("out"));
    program.refused(&["export", node, "--workspace", "w", "--out", "out"], 3, "export.exists");
    assert_eq!(files_below(&program.path("out")), before);
    let refusal =
        program.refused(&["export", node, "--workspace", "w", "--out", "tiny.toml/out"], 3, "export.unwritable");
    assert!(refusal.message.contains("tiny.toml/out") && refusal.hint.contains("--out"), "{refusal:?}");
    assert!(!refusal.hint.contains("workspace"), "{refusal:?}");
    program.refused(&["export", "s9.e9.z", "--workspace", "w"], 3, "export.nothing");
    program.refused(&["export", "base", "--workspace", "w"], 3, "export.nothing");
}

fn check_config(program: &Program, node: &str) {
    for format in ["trl", "axolotl", "llama-factory", "unsloth"] {
        let file = program.succeed(&["config", "export", node, "--workspace", "w", "--to", format]).stdout;
        program.write("other.yaml", file);
        let imported = program.json(&["config", "import", "other.yaml"]);
        assert_eq!(imported["format"], format);
        assert_eq!(imported["config"]["max_steps"], 6, "{imported}");
        assert_eq!(imported["warnings"], Value::Array(Vec::new()));
    }
    let peft = program.succeed(&["config", "export", "tiny.toml", "--to", "peft"]);
    assert!(peft.stdout.contains("\"peft_type\": \"LORA\"") && peft.stderr.contains("warning:"), "{peft:?}");
}

#[test]
fn an_imported_configuration_is_a_table_of_a_task_file() {
    let program = Program::with_tiny_task();
    program
        .write("ax.yml", "micro_batch_size: 2\nlearning_rate: 2e-4\nadapter: lora\nlora_r: 4\nflash_attention: true\n");
    let text = program.succeed(&["config", "import", "ax.yml"]).stdout;
    assert!(text.contains("# warning: flash_attention = true"), "{text}");
    assert!(text.contains("# assumed, since the file leaves it out: max_steps = 120"), "{text}");
    let (head, _) = crate::program::TINY.split_once("[train]").unwrap();
    program.write("task.toml", format!("{head}\n{text}"));
    let exported = program.json(&["config", "export", "task.toml", "--to", "trl"]);
    assert_eq!(exported["config"]["per_device_train_batch_size"], 2);
    assert_eq!(exported["config"]["lora_r"], 4);
    program.write("bad.yml", "a: [1, 2");
    program.refused(&["config", "import", "bad.yml"], 3, "config.unreadable");
    program.write("wrong.yml", "learning_rate: fast\n");
    let refusal = program.refused(&["config", "import", "wrong.yml"], 3, "config.bad_setting");
    assert!(refusal.message.contains("learning_rate"), "{refusal:?}");
    assert!(fs::metadata(program.path("ax.yml")).is_ok());
}

#[test]
fn a_run_goes_on_from_an_adapter() {
    let program = Program::with_tiny_task();
    program.succeed(&["run", "tiny.toml", "--workspace", "w"]);
    let node = trained_variant(&program);
    program.succeed(&["export", &node, "--workspace", "w", "--out", "adapter"]);
    let task = crate::program::TINY.replace("[train]\n", "[train]\nadapter = \"adapter\"\n");
    program.write("on.toml", &task);
    let done = program.succeed(&["run", "on.toml", "--workspace", "w2", "--json"]);
    let trained = done.lines().iter().filter(|line| line["type"] == "trial_trained").count();
    assert!(trained > 0, "{done:?}");
    let other = task.replace("max_length = 224\n", "max_length = 224\n\n[train.lora]\nr = 3\n");
    program.write("other.toml", other);
    program.refused(&["run", "other.toml", "--workspace", "w3"], 3, "adapter.other_shape");
}
