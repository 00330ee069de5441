//! Chat templates: the Jinja of Hugging Face, rendered by minijinja with the same settings, functions and variables.
//!
//! Tools and documents are not passed on. The `generation` tag is accepted and has no effect: which tokens are trained on
//! is decided by rendering prefixes, since most templates do not mark it (or mark nothing).

use std::collections::BTreeMap;
use std::path::PathBuf;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, context};
use trex_domain::{Message, Millis};

use crate::{ChatError, python};

const NAME: &str = "chat_template";

/// A parsed chat template.
pub(crate) struct Template {
    env: Environment<'static>,
    path: PathBuf,
    special_tokens: BTreeMap<&'static str, String>,
    today: Millis,
}

impl Template {
    /// Parses a template that was read from this file. `today` is what `strftime_now` says.
    pub(crate) fn parse(
        source: &str,
        path: PathBuf,
        special_tokens: BTreeMap<&'static str, String>,
        today: Millis,
    ) -> Result<Self, ChatError> {
        let fail = |err| failed(path.clone(), err);
        let mut env = Environment::new();
        env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(fail)?);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        env.add_filter("tojson", python::tojson);
        env.add_function("raise_exception", raise_exception);
        env.add_template_owned(NAME, without_generation_tags(source)).map_err(fail)?;
        Ok(Self { env, path, special_tokens, today })
    }

    /// The file that holds it.
    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Another day for `strftime_now`.
    pub(crate) fn set_today(&mut self, today: Millis) {
        self.today = today;
    }

    /// Renders a conversation.
    pub(crate) fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, ChatError> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => message.role.as_str(), content => message.content.as_str() })
            .collect();
        let today = self.today;
        let strftime_now = Value::from_function(move |format: String| python::strftime(today, &format));
        let special_tokens: Value = self
            .special_tokens
            .iter()
            .map(|(name, text)| (*name, Value::from(text.as_str())))
            .collect::<BTreeMap<_, _>>()
            .into();
        let variables = context! {
            messages,
            add_generation_prompt,
            strftime_now,
            tools => (),
            documents => (),
            ..special_tokens
        };
        let rendered = self.env.get_template(NAME).and_then(|template| template.render(variables));
        rendered.map_err(|err| failed(self.path.clone(), err))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "template functions take owned arguments")]
fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, format!("the template says: {message}")))
}

fn failed(path: PathBuf, source: Error) -> ChatError {
    ChatError::Template { path, line: source.line().unwrap_or(0), source }
}

/// Replaces `{% generation %}` by a condition that always holds: no change of text, whitespace or line numbers.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag_and_more)) = rest.split_once("{%") {
        out.push_str(before);
        out.push_str("{%");
        let word_start = tag_and_more.trim_start_matches(['-', '+']).trim_start();
        out.push_str(&tag_and_more[..tag_and_more.len() - word_start.len()]);
        rest = word_start;
        for (word, replacement) in [("generation", "if true"), ("endgeneration", "endif")] {
            if let Some(after) = word_start.strip_prefix(word)
                && after.trim_start().trim_start_matches(['-', '+']).starts_with("%}")
            {
                out.push_str(replacement);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &str) {
        let special_tokens = BTreeMap::from([("bos_token", "<s>".to_owned())]);
        let template = Template::parse(source, PathBuf::from("t.jinja"), special_tokens, Millis(0)).unwrap();
        let messages = [Message::user("hi"), Message::assistant("<b>")];
        assert_eq!(template.render(&messages, true).unwrap(), expected);
    }

    #[test]
    fn templates_see_what_transformers_gives_them() {
        check("{{ bos_token }}{{ messages[0]['role'] }} {{ messages[-1].content }}", "<s>user <b>");
        check("{{ eos_token }}{% if tools is none and documents is none %}x{% endif %}", "x");
        check(
            "{{ messages | tojson }}",
            r#"[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "<b>"}]"#,
        );
        check("{{ strftime_now('%d %b %Y') if strftime_now is defined }}", "01 Jan 1970");
        check("{% for m in messages[1:] %}{{ m['content'].strip('<>').upper() }}{% break %}{% endfor %}", "B");
        check("  {% if true %}\nx\n  {% endif %}\ny\n", "x\ny");
        check(
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "2",
        );
        check("a {%- generation -%} b {%+ endgeneration %} c {{ 'generation' }}", "ab  c generation");
        check("{{ messages[0].tool_calls is defined }}", "False");
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        let parse = |source| Template::parse(source, PathBuf::from("t.jinja"), BTreeMap::new(), Millis(0));
        let err = parse("x\n{% if %}").err().unwrap();
        assert!(err.to_string().starts_with("t.jinja:2:"), "{err}");
        let err = parse("x\ny\n{{ raise_exception('roles must alternate') }}").unwrap().render(&[], true).unwrap_err();
        assert!(err.to_string().starts_with("t.jinja:3:"), "{err}");
        let why = std::error::Error::source(&err).unwrap().to_string();
        assert!(why.contains("roles must alternate"), "{why}");
    }
}
