//! The chat format of the small model that comes with TREX. Weights and vocabulary are not here.

use serde_json::json;

/// Special tokens of the bundled model; they get the ids 0, 1 and 2.
pub const BUNDLED_SPECIAL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Chat template of the bundled model: `<|im_start|>role\ncontent<|im_end|>\n` for every message.
pub const BUNDLED_CHAT_TEMPLATE: &str = "\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
";

/// `tokenizer_config.json` of the bundled model. Padding is not the end of a turn, so that stopping can be learned.
pub fn bundled_tokenizer_config_json() -> String {
    let config = json!({
        "add_bos_token": false,
        "bos_token": null,
        "clean_up_tokenization_spaces": false,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": null,
    });
    format!("{config:#}\n")
}
