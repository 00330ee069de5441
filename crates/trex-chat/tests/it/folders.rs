//! Which file of a folder says what, and what is refused.

use std::thread;

use trex_chat::{BUNDLED_CHAT_TEMPLATE, ChatError, ChatModel, bundled_tokenizer_config_json};
use trex_domain::{Message, Millis, Problem as _};

use crate::fixtures::{PLAIN, chatml, folder, headers, load, template, tokenizer_json, write};

#[track_caller]
fn check_refused(files: &[(&str, &str)], code: &str, named: &str) {
    let dir = folder(files);
    let err = ChatModel::load(dir.path()).err().unwrap();
    assert_eq!(err.code(), code, "{err}");
    assert!(err.to_string().contains(named), "{err}");
    assert!(err.hint().is_some());
}

#[test]
fn broken_folders_are_refused_by_name() {
    let jinja = ("chat_template.jinja", BUNDLED_CHAT_TEMPLATE);
    check_refused(&[("tokenizer.json", "{\"model\": 1}"), jinja], "chat.bad_tokenizer", "tokenizer.json");
    check_refused(&[], "chat.no_template", "no chat template");
    check_refused(&[("tokenizer_config.json", "{"), jinja], "chat.not_json", "tokenizer_config.json");
    check_refused(
        &[("generation_config.json", r#"{"eos_token_id": "x"}"#), jinja],
        "chat.not_json",
        "generation_config",
    );
    check_refused(&[("chat_template.jinja", "a\n{% for %}")], "chat.template", "chat_template.jinja:2");
    check_refused(&[("chat_template.jinja", PLAIN)], "chat.no_end_of_turn", "chat_template.jinja");
    check_refused(
        &[("tokenizer_config.json", r#"{"eos_token": "</s>"}"#), jinja],
        "chat.unknown_special_token",
        "</s>",
    );
    let named = r#"{"chat_template": [{"name": "tool_use", "template": "x"}]}"#;
    check_refused(&[("tokenizer_config.json", named)], "chat.no_template", "no chat template");
}

#[test]
fn a_folder_without_tokenizer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let err = ChatModel::load(dir.path()).err().unwrap();
    assert_eq!(err.code(), "chat.file_missing");
    assert!(err.to_string().contains("tokenizer.json"), "{err}");
}

#[test]
fn the_template_file_wins_over_the_configuration() {
    let in_config = serde_json::json!({ "chat_template": "old<|im_end|>" }).to_string();
    let dir = folder(&[("tokenizer_config.json", &in_config), ("chat_template.json", &in_config)]);
    let render = || ChatModel::load(dir.path()).map(|model| model.render(&[Message::user("x")], true).unwrap());
    // The probe is not in this template.
    assert!(matches!(render(), Err(ChatError::TemplateRewrites { .. })));
    write(dir.path(), "chat_template.jinja", BUNDLED_CHAT_TEMPLATE);
    assert_eq!(render().unwrap(), "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n");
    let named = serde_json::json!({ "chat_template": [
        { "name": "tool_use", "template": "no" }, { "name": "default", "template": BUNDLED_CHAT_TEMPLATE }
    ] });
    std::fs::remove_file(dir.path().join("chat_template.jinja")).unwrap();
    write(dir.path(), "tokenizer_config.json", &named.to_string());
    assert_eq!(render().unwrap(), "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n");
}

#[test]
fn ends_of_generation_come_from_all_sources() {
    let id = |model: &ChatModel, token| model.encode(token).unwrap();
    let model = headers();
    assert_eq!(model.eos_ids(), [id(&model, "<|endoftext|>"), id(&model, "<|eot_id|>")].concat());
    assert_eq!([model.end_of_turn_id()], id(&model, "<|eot_id|>")[..]);
    assert_eq!(model.bos_id(), Some(id(&model, "<s>")[0]));
    assert_eq!(model.pad_id(), None);
    let files = [
        ("chat_template.jinja", PLAIN),
        ("special_tokens_map.json", r#"{"eos_token": "<|endoftext|>", "pad_token": {"content": "<s>"}}"#),
        ("generation_config.json", r#"{"eos_token_id": [0, 2]}"#),
    ];
    let model = ChatModel::load(folder(&files).path()).unwrap();
    assert_eq!((model.eos_ids(), model.end_of_turn_id(), model.pad_id()), (&[0, 2][..], 0, Some(3)));
}

#[test]
fn the_bundled_files_work_together() {
    let model = load(BUNDLED_CHAT_TEMPLATE, &bundled_tokenizer_config_json()).unwrap();
    assert_eq!((model.bos_id(), model.pad_id(), model.eos_ids()), (None, Some(0), &[2][..]));
    let ids = model.encode_prompt(&[Message::system("s"), Message::user("u")]).unwrap();
    let text = "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(model.decode_with_special(&ids).unwrap(), text);
    assert_eq!(model.decode(&ids).unwrap(), "system\ns\nuser\nu\nassistant\n");
}

#[test]
fn a_vocabulary_larger_than_the_embedding_is_refused() {
    let model = chatml();
    assert_eq!(model.vocab_size(), 350);
    model.check_fits(350).unwrap();
    model.check_fits(512).unwrap();
    let err = model.check_fits(349).unwrap_err();
    assert_eq!(err.code(), "chat.tokenizer_mismatch");
    assert!(err.to_string().contains("350") && err.to_string().contains("349"), "{err}");
}

#[test]
fn cutting_and_padding_of_the_file_are_not_obeyed() {
    let mut file: serde_json::Value = serde_json::from_str(tokenizer_json()).unwrap();
    file["truncation"] =
        serde_json::json!({ "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0 });
    file["padding"] = serde_json::json!({
        "strategy": { "Fixed": 64 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"
    });
    let dir = folder(&[("tokenizer.json", &file.to_string()), ("chat_template.jinja", BUNDLED_CHAT_TEMPLATE)]);
    let model = ChatModel::load(dir.path()).unwrap();
    let text = "the cat sees a dog and the dog sees 12345 cats";
    assert_eq!(model.encode(text).unwrap(), chatml().encode(text).unwrap());
    assert!(model.encode(text).unwrap().len() > 4);
}

#[test]
fn the_date_in_a_prompt_is_fixed_unless_given() {
    let dated = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}";
    let model = load(dated, "{}").unwrap();
    assert_eq!(model.render(&[], true).unwrap(), "26 Jul 2024");
    assert_eq!(model.with_today(Millis(0)).render(&[], true).unwrap(), "01 Jan 1970");
}

#[test]
fn errors_of_a_template_carry_what_it_says() {
    let model = load(
        "{{ messages[0].content }}<|im_end|>{% if messages | length > 2 %}\n{{ raise_exception('too long') }}{% endif %}",
        "{}",
    );
    assert!(matches!(model, Err(ChatError::TemplateRewrites { .. })));
    let only_two = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}\n{% if messages | length > 2 %}\n{{ raise_exception('too long') }}\n{% endif %}";
    let err = load(only_two, "{}")
        .unwrap()
        .render(&[Message::user("a"), Message::user("b"), Message::user("c")], true)
        .unwrap_err();
    assert!(err.to_string().contains("chat_template.jinja:3"), "{err}");
    assert!(std::error::Error::source(&err).unwrap().to_string().contains("too long"));
}

#[test]
fn several_threads_may_use_one_model() {
    let model = chatml();
    let expected = model.encode_example(&[Message::user("the cat")], "a dog", 64).unwrap();
    thread::scope(|scope| {
        let encode = || model.encode_example(&[Message::user("the cat")], "a dog", 64).unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(encode)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), expected);
        }
    });
}

#[test]
fn named_templates_of_the_golden_file_load() {
    for name in ["chatml", "headers", "thinking"] {
        load(&template(name), r#"{"eos_token": "<|endoftext|>", "bos_token": "<s>"}"#).unwrap();
    }
}
