//! Where a language model is reached and which one is meant, parsed from what a person writes. Opens nothing.

use crate::llm::ModelError;
use crate::net::{host_of, is_loopback};

/// The two protocols that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Chat completions as OpenAI defined them.
    OpenAi,
    /// Messages as Anthropic defined them.
    Anthropic,
}

/// A service whose address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// What a person writes before the colon.
    pub name: &'static str,
    /// Address up to and with the version.
    pub base_url: &'static str,
    /// Protocol.
    pub wire: Wire,
    /// Environment variable with the key, where one is needed.
    pub key_variable: Option<&'static str>,
    /// Environment variable that replaces the address.
    pub url_variable: Option<&'static str>,
}

/// All presets; local ones at the port that the program listens on unless told otherwise.
pub const PRESETS: [Preset; 7] = [
    Preset {
        name: "openai",
        base_url: "https://api.openai.com/v1",
        wire: Wire::OpenAi,
        key_variable: Some("OPENAI_API_KEY"),
        url_variable: Some("OPENAI_BASE_URL"),
    },
    Preset {
        name: "anthropic",
        base_url: "https://api.anthropic.com/v1",
        wire: Wire::Anthropic,
        key_variable: Some("ANTHROPIC_API_KEY"),
        url_variable: Some("ANTHROPIC_BASE_URL"),
    },
    local("ollama", "http://127.0.0.1:11434/v1"),
    local("lm-studio", "http://127.0.0.1:1234/v1"),
    local("llama.cpp", "http://127.0.0.1:8080/v1"),
    local("vllm", "http://127.0.0.1:8000/v1"),
    local("jan", "http://127.0.0.1:1337/v1"),
];

const fn local(name: &'static str, base_url: &'static str) -> Preset {
    Preset { name, base_url, wire: Wire::OpenAi, key_variable: None, url_variable: None }
}

/// What a server that holds one model only is asked for.
const ANY_MODEL: &str = "default";

/// One model at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    name: String,
    key_name: String,
    key_variable: Option<&'static str>,
    wire: Wire,
    base_url: String,
    model: String,
    is_openai: bool,
}

impl Endpoint {
    /// Parses `preset:model`, `preset`, or `URL#model`. `lookup` returns the value of an environment variable.
    pub fn parse(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ModelError> {
        let text = text.trim();
        if text.starts_with("http://") || text.starts_with("https://") {
            return Self::from_url(text);
        }
        let (name, model) = text.split_once(':').unwrap_or((text, ""));
        let bad = || ModelError::UnknownPreset {
            text: text.to_owned(),
            nearest: trex_domain::nearest(name, PRESETS.iter().map(|preset| preset.name)).map(str::to_owned),
        };
        let preset = PRESETS.iter().find(|preset| preset.name == name).ok_or_else(bad)?;
        if model.is_empty() && preset.name != "llama.cpp" {
            return Err(ModelError::NoModelNamed { preset: preset.name });
        }
        let named = preset.url_variable.and_then(lookup).filter(|url| !url.trim().is_empty());
        let base_url = with_version(named.as_deref().unwrap_or(preset.base_url))?;
        Ok(Self {
            name: text.to_owned(),
            key_name: preset.name.to_owned(),
            key_variable: preset.key_variable,
            wire: preset.wire,
            base_url,
            model: if model.is_empty() { ANY_MODEL } else { model }.to_owned(),
            is_openai: preset.name == "openai",
        })
    }

    fn from_url(text: &str) -> Result<Self, ModelError> {
        let (url, model) = text.split_once('#').unwrap_or((text, ""));
        let host = host_of(url)?;
        Ok(Self {
            name: text.to_owned(),
            key_name: host,
            key_variable: None,
            wire: Wire::OpenAi,
            base_url: with_version(url)?,
            model: if model.is_empty() { ANY_MODEL } else { model }.to_owned(),
            is_openai: false,
        })
    }

    /// The same place, spoken to in another protocol.
    #[must_use]
    pub fn with_wire(self, wire: Wire) -> Self {
        Self { wire, ..self }
    }

    /// As the person wrote it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name under which a key is stored: the preset's, else the host.
    pub fn key_name(&self) -> &str {
        &self.key_name
    }

    /// Environment variable with the key.
    pub fn key_variable(&self) -> Option<&'static str> {
        self.key_variable
    }

    /// Protocol.
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// The model, as the service calls it.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The address that questions are sent to.
    pub fn url(&self) -> String {
        let path = match self.wire {
            Wire::OpenAi => "chat/completions",
            Wire::Anthropic => "messages",
        };
        format!("{}/{path}", self.base_url)
    }

    /// Whether the limit of an answer goes by the name that OpenAI itself uses now; other services know the older one.
    pub(crate) fn uses_completion_limit(&self) -> bool {
        self.is_openai
    }

    /// Whether the model runs on this machine, so that nothing leaves it and nothing is paid.
    pub fn is_local(&self) -> bool {
        host_of(&self.base_url).is_ok_and(|host| is_loopback(&host))
    }
}

/// The address without a slash at its end, and with `/v1` where it has no path.
fn with_version(url: &str) -> Result<String, ModelError> {
    host_of(url)?;
    let bare = url.trim().trim_end_matches('/');
    let has_path = bare.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    Ok(if has_path { bare.to_owned() } else { format!("{bare}/v1") })
}

#[cfg(test)]
mod tests {
    use trex_domain::Problem as _;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, &str, bool), &str>) {
        let parsed = Endpoint::parse(text, |_| None);
        let seen = parsed.map(|one| (one.url(), one.model().to_owned(), one.is_local()));
        let expected = expected.map(|(url, model, local)| (url.to_owned(), model.to_owned(), local));
        assert_eq!(seen.map_err(|err| err.code()), expected, "{text}");
    }

    #[test]
    fn what_a_person_writes_becomes_an_address_and_a_model() {
        check("ollama:qwen3:8b", Ok(("http://127.0.0.1:11434/v1/chat/completions", "qwen3:8b", true)));
        check("lm-studio:qwen", Ok(("http://127.0.0.1:1234/v1/chat/completions", "qwen", true)));
        check("vllm:a/b", Ok(("http://127.0.0.1:8000/v1/chat/completions", "a/b", true)));
        check("jan:x", Ok(("http://127.0.0.1:1337/v1/chat/completions", "x", true)));
        check("llama.cpp", Ok(("http://127.0.0.1:8080/v1/chat/completions", "default", true)));
        check("openai:some-model", Ok(("https://api.openai.com/v1/chat/completions", "some-model", false)));
        check("anthropic:some-model", Ok(("https://api.anthropic.com/v1/messages", "some-model", false)));
        check("http://localhost:9", Ok(("http://localhost:9/v1/chat/completions", "default", true)));
        check("https://llm.example.org/api/#m", Ok(("https://llm.example.org/api/chat/completions", "m", false)));
        check("openai", Err("llm.no_model_named"));
        check("olama:x", Err("llm.unknown_preset"));
        check("https://user:secret@example.org", Err("net.bad_endpoint"));
    }

    #[test]
    fn a_variable_replaces_the_address_of_a_service() {
        let lookup = |name: &str| (name == "ANTHROPIC_BASE_URL").then(|| "https://proxy.example.org/".to_owned());
        let endpoint = Endpoint::parse("anthropic:m", lookup).unwrap();
        assert_eq!(endpoint.url(), "https://proxy.example.org/v1/messages");
        assert_eq!((endpoint.key_name(), endpoint.key_variable()), ("anthropic", Some("ANTHROPIC_API_KEY")));
    }
}
