//! Ollama Modelfiles.
//!
//! Ollama renders prompts with its own templates in Go's language. A chat template is translated only where what it
//! renders is known exactly: probe conversations go through the model's own template and are compared, character by
//! character, with the formats below. For any other template `TEMPLATE` is left out, with a warning.

use std::fmt::Write as _;
use std::path::Path;

use trex_chat::ChatModel;
use trex_domain::{Message, Role};

use crate::TrainError;
use crate::weights::WeightFiles;

/// A chat format: what stands around the turns, for the probe and for Ollama.
struct Format {
    name: &'static str,
    /// Written before everything.
    start: &'static str,
    /// Before and after a turn, by role; a role without entry cannot be written.
    turns: &'static [(Role, &'static str, &'static str)],
    /// Asks the model to speak.
    ask: &'static str,
    stops: &'static [&'static str],
}

const FORMATS: &[Format] = &[
    Format {
        name: "ChatML",
        start: "",
        turns: &[
            (Role::System, "<|im_start|>system\n", "<|im_end|>\n"),
            (Role::User, "<|im_start|>user\n", "<|im_end|>\n"),
            (Role::Assistant, "<|im_start|>assistant\n", "<|im_end|>\n"),
        ],
        ask: "<|im_start|>assistant\n",
        stops: &["<|im_start|>", "<|im_end|>"],
    },
    Format {
        name: "Llama 3",
        start: "<|begin_of_text|>",
        turns: &[
            (Role::System, "<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
            (Role::User, "<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
            (Role::Assistant, "<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
        ],
        ask: "<|start_header_id|>assistant<|end_header_id|>\n\n",
        stops: &["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    },
    Format {
        name: "Phi 3",
        start: "",
        turns: &[
            (Role::System, "<|system|>\n", "<|end|>\n"),
            (Role::User, "<|user|>\n", "<|end|>\n"),
            (Role::Assistant, "<|assistant|>\n", "<|end|>\n"),
        ],
        ask: "<|assistant|>\n",
        stops: &["<|end|>", "<|user|>", "<|assistant|>"],
    },
    Format {
        name: "Gemma",
        start: "<bos>",
        turns: &[
            (Role::User, "<start_of_turn>user\n", "<end_of_turn>\n"),
            (Role::Assistant, "<start_of_turn>model\n", "<end_of_turn>\n"),
        ],
        ask: "<start_of_turn>model\n",
        stops: &["<start_of_turn>", "<end_of_turn>"],
    },
];

/// A format that was recognised, with the system turn that the template adds by itself.
struct Recognised {
    format: &'static Format,
    default_system: Option<String>,
}

/// The text of the Modelfile for a GGUF file in the same folder, and warnings.
pub(super) fn modelfile(model_dir: &Path, file: &str, is_adapter: bool) -> Result<(String, Vec<String>), TrainError> {
    let mut text = String::new();
    let mut warnings = Vec::new();
    if is_adapter {
        let base = base_for_ollama(model_dir)?;
        writeln!(text, "# The base; its GGUF file, or the name under which Ollama has it, does as well.").ok();
        writeln!(text, "FROM {base}\nADAPTER ./{file}").ok();
    } else {
        writeln!(text, "FROM ./{file}").ok();
    }
    let chat = ChatModel::load(model_dir)?;
    if let Some(found) = recognise(&chat) {
        writeln!(text, "# Chat format: {}", found.format.name).ok();
        writeln!(text, "TEMPLATE \"\"\"{}\"\"\"", go_template(&found)).ok();
        for stop in found.format.stops {
            writeln!(text, "PARAMETER stop \"{stop}\"").ok();
        }
    } else {
        let end = chat.decode_with_special(&[chat.end_of_turn_id()])?;
        writeln!(text, "PARAMETER stop {}", serde_json::Value::from(end)).ok();
        warnings.push(
            "the chat template has no known translation for Ollama, so the Modelfile has no TEMPLATE; Ollama will use \
             what it makes of the template in the GGUF file, which may be wrong"
                .to_owned(),
        );
    }
    Ok((text, warnings))
}

/// Ollama takes a GGUF file or a safetensors folder as base.
fn base_for_ollama(model_dir: &Path) -> Result<String, TrainError> {
    Ok(match WeightFiles::find(model_dir)? {
        WeightFiles::Gguf(path) => path.display().to_string(),
        WeightFiles::Safetensors(_) => model_dir.display().to_string(),
    })
}

impl Format {
    /// What the format makes of a conversation; nothing for a role that it cannot write.
    fn render(&self, messages: &[Message], ask: bool) -> Option<String> {
        let mut text = self.start.to_owned();
        for message in messages {
            let (_, before, after) = self.turns.iter().find(|(role, _, _)| *role == message.role)?;
            write!(text, "{before}{}{after}", message.content).ok();
        }
        Some(text + if ask { self.ask } else { "" })
    }

    fn has_system(&self) -> bool {
        self.turns.iter().any(|(role, _, _)| *role == Role::System)
    }
}

/// The format that gives the same text as the model's own template for every probe.
fn recognise(chat: &ChatModel) -> Option<Recognised> {
    FORMATS.iter().find_map(|format| {
        let turns = [Message::user("A 1?"), Message::assistant("B 2."), Message::user("C")];
        let plain = chat.render(&turns, true).ok()?;
        let default_system = match format.render(&turns, true)? {
            expected if expected == plain => None,
            _ => Some(added_system(format, &turns, &plain)?),
        };
        if format.has_system() {
            let whole = [&[Message::system("S s")], &turns[..]].concat();
            if format.render(&whole, true)? != chat.render(&whole, true).ok()? {
                return None;
            }
        }
        Some(Recognised { format, default_system })
    })
}

/// The system turn that a template writes when the conversation has none.
fn added_system(format: &Format, turns: &[Message], rendered: &str) -> Option<String> {
    let (_, before, after) = format.turns.iter().find(|(role, _, _)| *role == Role::System)?;
    let rest = format.render(turns, true)?;
    let rest = rest.strip_prefix(format.start)?;
    let added = rendered.strip_prefix(format.start)?.strip_suffix(rest)?;
    let system = added.strip_prefix(before)?.strip_suffix(after)?;
    (format.render(&[&[Message::system(system)], turns].concat(), true)? == rendered).then(|| system.to_owned())
}

/// The format in Go's template language, as the templates of Ollama's own library are written.
///
/// The last turn stays open where it is the model's, so that it can be continued. Ollama adds the token that begins a
/// text by itself, hence no `start`. Every space and line break between the actions counts, hence no trimming dashes.
fn go_template(found: &Recognised) -> String {
    let format = found.format;
    let mut text = String::new();
    if let Some((_, before, after)) = format.turns.iter().find(|(role, _, _)| *role == Role::System) {
        write!(text, "{{{{ if .System }}}}{before}{{{{ .System }}}}{after}{{{{ end }}}}").ok();
        if let Some(system) = &found.default_system {
            text = format!(
                "{{{{ if .System }}}}{before}{{{{ .System }}}}{after}{{{{ else }}}}{before}{system}{after}{{{{ end }}}}"
            );
        }
    }
    text += "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}";
    for (index, (role, before, after)) in format.turns.iter().filter(|(role, _, _)| *role != Role::System).enumerate() {
        let word = if index == 0 { "if" } else { "else if" };
        let close = if *role == Role::Assistant {
            format!("{{{{ if not $last }}}}{after}{{{{ end }}}}")
        } else {
            (*after).to_owned()
        };
        write!(text, "{{{{ {word} eq .Role \"{}\" }}}}{before}{{{{ .Content }}}}{close}", role.as_str()).ok();
    }
    text += "{{ end }}";
    write!(text, "{{{{ if and $last (ne .Role \"assistant\") }}}}{}{{{{ end }}}}", format.ask).ok();
    text + "{{ end }}"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with the bundled tokenizer and this template.
    fn chat(template: &str) -> (tempfile::TempDir, ChatModel) {
        let dir = tempfile::tempdir().unwrap();
        let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<bos>", "<end_of_turn>", "<|eot_id|>"];
        let tokenizer = trex_chat::train_bpe(["a b c".to_owned()].into_iter(), 300, &special).unwrap();
        trex_fs::write_atomic(&dir.path().join("tokenizer.json"), tokenizer.as_bytes()).unwrap();
        let config = r#"{"eos_token": "<|im_end|>", "bos_token": "<bos>"}"#;
        trex_fs::write_atomic(&dir.path().join("tokenizer_config.json"), config.as_bytes()).unwrap();
        trex_fs::write_atomic(&dir.path().join("chat_template.jinja"), template.as_bytes()).unwrap();
        let chat = ChatModel::load(dir.path()).unwrap();
        (dir, chat)
    }

    const GEMMA: &str = "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else \
                         m.role }}\n{{ m.content }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}\
                         <start_of_turn>model\n{% endif %}";

    const WITH_DEFAULT: &str = "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\n\
                                You help.<|im_end|>\n{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n\
                                {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    #[track_caller]
    fn check(template: &str, expected: Option<(&str, Option<&str>)>) {
        let (_dir, chat) = chat(template);
        let found = recognise(&chat);
        let found = found.as_ref().map(|found| (found.format.name, found.default_system.as_deref()));
        assert_eq!(found, expected);
    }

    #[test]
    fn formats_are_recognised_by_what_they_render() {
        check(trex_chat::BUNDLED_CHAT_TEMPLATE, Some(("ChatML", None)));
        check(WITH_DEFAULT, Some(("ChatML", Some("You help."))));
        check(GEMMA, Some(("Gemma", None)));
        check("{% for m in messages %}[{{ m.role }}] {{ m.content }}<|im_end|>{% endfor %}", None);
        // A space more is another format.
        check(
            &trex_chat::BUNDLED_CHAT_TEMPLATE.replace("'\\n' + message['content']", "'\\n ' + message['content']"),
            None,
        );
    }

    #[test]
    fn the_default_system_turn_goes_along() {
        let (_dir, chat) = chat(WITH_DEFAULT);
        let text = go_template(&recognise(&chat).unwrap());
        let expected = "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ else }}<|im_start|>system\n\
                        You help.<|im_end|>\n{{ end }}{{ range $i, $_ := .Messages }}\
                        {{ $last := eq (len (slice $.Messages $i)) 1 }}{{ if eq .Role \"user\" }}<|im_start|>user\n\
                        {{ .Content }}<|im_end|>\n{{ else if eq .Role \"assistant\" }}<|im_start|>assistant\n\
                        {{ .Content }}{{ if not $last }}<|im_end|>\n{{ end }}{{ end }}\
                        {{ if and $last (ne .Role \"assistant\") }}<|im_start|>assistant\n{{ end }}{{ end }}";
        assert_eq!(text, expected);
    }
}
