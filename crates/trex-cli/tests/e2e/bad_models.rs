//! Models that cannot be used are refused when they are added, and leave the model cache as it was.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::program::{Program, files_below};

/// The bundled model as it lies in the repository.
const BUNDLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/models/trex-mini");

/// A copy of the bundled model as the folder `model`.
fn copy_of_bundled(program: &Program) {
    for (path, content) in files_below(Path::new(BUNDLED)) {
        program.write(&format!("model/{}", path.file_name().unwrap().to_string_lossy()), content);
    }
}

fn change_config(program: &Program, key: &str, value: Value) {
    let path = program.path("model/config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    fs::write(path, config.to_string()).unwrap();
}

fn cut(path: &Path, length: usize) {
    let mut content = fs::read(path).unwrap();
    assert!(length < content.len());
    content.truncate(length);
    fs::write(path, content).unwrap();
}

/// Spoils a copy of the bundled model and tries to add it.
#[track_caller]
fn check_folder(spoil: impl Fn(&Program), code: &str, told: &str) {
    let program = Program::new();
    copy_of_bundled(&program);
    program.succeed(&["model", "list"]);
    let before = files_below(&program.path("cache"));
    spoil(&program);
    let refusal = program.refused(&["model", "add", "model"], 3, code);
    let all = format!("{} {}", refusal.message, refusal.hint);
    assert!(all.contains(told), "{told:?} is not in {all:?}");
    assert_eq!(files_below(&program.path("cache")), before);
}

#[test]
fn spoiled_folders_are_refused() {
    let weights = |program: &Program| program.path("model/model.safetensors");
    check_folder(|program| cut(&weights(program), 1_000_000), "model.damaged", "model.safetensors is damaged");
    check_folder(|program| cut(&weights(program), 5), "model.damaged", "fetch the file again");
    check_folder(|program| cut(&weights(program), 0), "model.damaged", "model.safetensors");
    check_folder(|program| change_config(program, "vocab_size", json!(100)), "chat.tokenizer_mismatch", "same model");
    let other = json!(["MambaForCausalLM"]);
    check_folder(
        |program| change_config(program, "architectures", other.clone()),
        "model.unknown_architecture",
        "Llama",
    );
    check_folder(
        |program| fs::remove_file(program.path("model/tokenizer.json")).unwrap(),
        "model.not_a_model",
        "tokenizer.json is missing",
    );
    check_folder(|program| cut(&program.path("model/config.json"), 20), "model.bad_config", "config.json");
    check_folder(|program| cut(&program.path("model/tokenizer.json"), 900), "chat.bad_tokenizer", "tokenizer.json");
}

#[test]
fn unknown_models_are_refused_with_a_suggestion() {
    let program = Program::with_tiny_task();
    let refusal = program.refused(&["run", "tiny.toml", "--workspace", "w", "--model", "bundeld"], 3, "model.unknown");
    assert!(refusal.hint.contains("did you mean bundled?"), "{refusal:?}");
    assert!(!program.path("w").exists());
    program.refused(&["model", "add", "nowhere"], 3, "fs.not_found");
    program.refused(&["model", "add", "hub:nobody/nothing"], 3, "net.offline");
    copy_of_bundled(&program);
    for name in ["", "..", "a/b", "../a", "bundled"] {
        program.refused(&["model", "add", "model", "--name", name], 3, "model.bad_name");
    }
}

fn model_dir(program: &Program) -> String {
    program.path("model").canonicalize().unwrap().display().to_string()
}

/// A folder is used where it lies, so it can go missing.
#[test]
fn a_doctor_notices_a_model_that_is_gone() {
    let program = Program::new();
    copy_of_bundled(&program);
    program.succeed(&["model", "add", "model", "--name", "mine"]);
    let finding = |program: &Program| {
        let findings = program.json(&["doctor"]);
        findings.as_array().unwrap().iter().find(|finding| finding["what"] == "models").unwrap().clone()
    };
    let found = finding(&program);
    assert_eq!((&found["ok"], &found["detail"], &found["hint"]), (&true.into(), &"bundled, mine".into(), &Value::Null));
    let dir = model_dir(&program);
    fs::remove_dir_all(program.path("model")).unwrap();
    let found = finding(&program);
    assert_eq!(found["ok"], false);
    let (detail, hint) = (found["detail"].as_str().unwrap(), found["hint"].as_str().unwrap());
    assert!(detail.contains("mine cannot be used") && detail.contains(&dir), "{detail}");
    assert!(hint.contains("trex model add SOURCE --name mine"), "{hint}");
    assert!(program.succeed(&["doctor"]).stdout.contains("note models: "));
}

#[test]
fn an_added_folder_is_listed_under_its_name() {
    let program = Program::new();
    copy_of_bundled(&program);
    let facts = program.json(&["model", "add", "model", "--name", "mine"]);
    assert_eq!((&facts["name"], &facts["license"]), (&"mine".into(), &"mit".into()));
    assert_eq!((&facts["in_place"], facts["dir"].as_str().unwrap()), (&true.into(), model_dir(&program).as_str()));
    let text = program.succeed(&["model", "add", "model", "--name", "mine"]).stdout;
    assert!(text.contains("used where it lies") && text.contains(&model_dir(&program)), "{text}");
    let names = |program: &Program| -> Vec<String> {
        let models = program.json(&["model", "list"]);
        models.as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&program), ["bundled", "mine"]);
    change_config(&program, "vocab_size", json!(100));
    program.refused(&["model", "add", "model", "--name", "mine"], 3, "chat.tokenizer_mismatch");
    assert_eq!(names(&program), ["bundled", "mine"], "a failed attempt loses no entry");
}

#[test]
fn spoiled_gguf_files_are_refused_and_replace_nothing() {
    let program = Program::new();
    let whole = gguf();
    program.write("mine.gguf", &whole);
    let text = program.succeed(&["model", "add", "mine.gguf"]).stdout;
    assert!(text.contains("cache/models/mine") && text.contains("not needed any more"), "{text}");
    let before = files_below(&program.path("cache"));
    assert!(before.iter().any(|(path, content)| path.ends_with("models/mine/model.gguf") && *content == whole));
    fs::remove_file(program.path("mine.gguf")).unwrap();
    for length in [0, 3, 20, whole.len() / 2, whole.len() - 1] {
        program.write("mine.gguf", &whole[..length]);
        let refusal = program.refused(&["model", "add", "mine.gguf"], 3, "model.damaged");
        assert!(refusal.message.starts_with("mine.gguf is damaged"), "{refusal:?}");
        assert_eq!(files_below(&program.path("cache")), before, "cut to {length}");
    }
    let foreign = String::from_utf8_lossy(&whole).replace("gpt2", "bert");
    assert!(foreign.contains("bert"));
    let mut other = whole.clone();
    let at = other.windows(4).position(|bytes| bytes == b"gpt2").unwrap();
    other[at..at + 4].copy_from_slice(b"bert");
    program.write("mine.gguf", other);
    program.refused(&["model", "add", "mine.gguf"], 3, "chat.gguf_tokenizer");
    assert_eq!(files_below(&program.path("cache")), before);
}

/// A GGUF file of version 3 (ggml's `docs/gguf.md`): the metadata of a small Llama with the 256 byte tokens, one tensor.
fn gguf() -> Vec<u8> {
    const TEXT: u32 = 8;
    const ARRAY: u32 = 9;
    let mut tokens: Vec<String> = (0..=255).map(byte_token).map(String::from).collect();
    tokens.extend(["<|im_start|>".to_owned(), "<|im_end|>".to_owned()]);
    let kinds: Vec<u8> = (0..258).flat_map(|id: u32| if id < 256 { 1u32 } else { 3 }.to_le_bytes()).collect();
    let array = |kind: u32, count: usize, items: Vec<u8>| {
        [kind.to_le_bytes().to_vec(), (count as u64).to_le_bytes().to_vec(), items].concat()
    };
    let number = |value: u32| (4, value.to_le_bytes().to_vec());
    let template = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}";
    let values: Vec<(&str, (u32, Vec<u8>))> = vec![
        ("general.architecture", (TEXT, text("llama"))),
        ("llama.block_count", number(1)),
        ("llama.context_length", number(64)),
        ("llama.embedding_length", number(32)),
        ("llama.feed_forward_length", number(64)),
        ("llama.attention.head_count", number(2)),
        ("llama.attention.layer_norm_rms_epsilon", (6, 1e-5_f32.to_le_bytes().to_vec())),
        ("tokenizer.ggml.model", (TEXT, text("gpt2"))),
        ("tokenizer.ggml.pre", (TEXT, text("smollm"))),
        ("tokenizer.ggml.tokens", (ARRAY, array(TEXT, 258, tokens.iter().flat_map(|token| text(token)).collect()))),
        ("tokenizer.ggml.token_type", (ARRAY, array(5, 258, kinds))),
        ("tokenizer.ggml.merges", (ARRAY, array(TEXT, 0, Vec::new()))),
        ("tokenizer.ggml.bos_token_id", number(256)),
        ("tokenizer.ggml.eos_token_id", number(257)),
        ("tokenizer.chat_template", (TEXT, text(template))),
    ];
    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.extend((values.len() as u64).to_le_bytes());
    for (key, (kind, value)) in values {
        file.extend(text(key));
        file.extend(kind.to_le_bytes());
        file.extend(value);
    }
    file.extend(text("token_embd.weight"));
    file.extend(2u32.to_le_bytes());
    file.extend(32u64.to_le_bytes());
    file.extend(258u64.to_le_bytes());
    // Type F32, at the beginning of the data, which begins at a multiple of 32.
    file.extend(0u32.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(32), 0);
    file.resize(file.len() + 32 * 258 * 4, 0);
    file
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// The letter that stands for a byte in byte-level BPE: itself where it is visible, else one from U+0100 on.
fn byte_token(byte: u8) -> char {
    let is_visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_visible(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !is_visible(*byte)).count();
    char::from_u32(0x100 + u32::try_from(before).unwrap()).unwrap()
}
