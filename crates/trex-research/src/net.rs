//! The gate to the network: the offline switch, the list of allowed hosts and the log of every attempt.
//!
//! Everything that leaves this machine passes [`NetGate::check`] first. Environment values come in as arguments; nothing
//! is read from the process here. Redirects of an allowed host to its own storage are followed by the download library
//! and are not looked at.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use trex_domain::{Clock, DomainError, Millis};
use ureq::http::Uri;

use crate::ResearchError;
use crate::hub_cache::cache_folder;

/// The public endpoint of the Hugging Face Hub.
const HUB: &str = "https://huggingface.co";

/// A secret that never shows in logs and messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What the environment says about the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetSettings {
    /// Whether nothing may leave this machine.
    pub offline: bool,
    /// Address of the hub, without a slash at the end.
    pub endpoint: String,
    /// Access token for the hub.
    pub token: Option<Secret>,
    /// Folder of the hub's cache, the one that other programs use, too.
    pub cache: PathBuf,
}

impl NetSettings {
    /// Resolves `TREX_OFFLINE`, `HF_HUB_OFFLINE`, `HF_ENDPOINT`, `HF_TOKEN` and the cache folder (`HF_HUB_CACHE`, else
    /// `HF_HOME/hub`, else `HOME/.cache/huggingface/hub`). `lookup` returns the value of a variable.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ResearchError> {
        let value = |name: &str| lookup(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let is_on = |name: &str| value(name).is_some_and(|text| is_true(&text));
        let endpoint = value("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        host_of(&endpoint)?;
        Ok(Self {
            offline: is_on("TREX_OFFLINE") || is_on("HF_HUB_OFFLINE"),
            endpoint,
            token: value("HF_TOKEN").map(Secret::new),
            cache: cache_folder(value)?,
        })
    }
}

/// Words that `huggingface_hub` takes for true.
fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true")
}

/// One attempt to reach a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetAttempt {
    /// When, where a log is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Millis>,
    /// The address, without query.
    pub url: String,
    /// What for.
    pub what: String,
    /// Code of the refusal; absent where the attempt was let through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Where attempts are written down for good: one line of JSON each, only ever added to.
#[derive(Clone)]
pub struct NetLog {
    path: PathBuf,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for NetLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetLog").field("path", &self.path).finish_non_exhaustive()
    }
}

impl NetLog {
    /// Attempts go into this file; nothing is made before the first.
    pub fn new(path: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { path, clock }
    }

    /// Every attempt in a file, oldest first; none where there is no file. A line that is cut off is passed over.
    pub fn read(path: &Path) -> Result<Vec<NetAttempt>, ResearchError> {
        if !path.is_file() {
            return Ok(Vec::new());
        }
        let text = trex_fs::read_to_string(path)?;
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Adds a line. An attempt that cannot be written down is not made.
    fn add(&self, attempt: &NetAttempt) -> Result<(), ResearchError> {
        let io = |source| ResearchError::io("write to", &self.path, source);
        if let Some(folder) = self.path.parent() {
            trex_fs::create_dir_all(folder)?;
        }
        let mut line = serde_json::to_string(attempt).map_err(DomainError::NotJson)?;
        line.push('\n');
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&self.path).map_err(io)?;
        file.write_all(line.as_bytes()).map_err(io)
    }
}

/// Lets requests through, or not. May be shared between threads.
#[derive(Debug)]
pub struct NetGate {
    settings: NetSettings,
    allowed: Vec<String>,
    log: Mutex<Vec<NetAttempt>>,
    file: Option<NetLog>,
}

impl NetGate {
    /// A gate that allows the public hub, the endpoint of the settings and arXiv.
    pub fn new(settings: NetSettings) -> Result<Self, ResearchError> {
        let allowed = vec![host_of(HUB)?, host_of(&settings.endpoint)?, host_of(crate::sources::ARXIV)?];
        Ok(Self::with_allowed_hosts(settings, allowed))
    }

    /// A gate that allows these hosts and no other.
    pub fn with_allowed_hosts(settings: NetSettings, allowed: Vec<String>) -> Self {
        Self { settings, allowed, log: Mutex::new(Vec::new()), file: None }
    }

    /// Writes every attempt down, too.
    #[must_use]
    pub fn with_log(self, file: NetLog) -> Self {
        Self { file: Some(file), ..self }
    }

    /// The settings.
    pub fn settings(&self) -> &NetSettings {
        &self.settings
    }

    /// Whether nothing may leave this machine.
    pub fn is_offline(&self) -> bool {
        self.settings.offline
    }

    /// Lets an address through or says why not; either way it is logged.
    pub fn check(&self, url: &str, what: &str) -> Result<(), ResearchError> {
        let answer = self.judge(url, what);
        self.note(url, what, answer)
    }

    /// Notes an attempt; one that would be let through and cannot be written down is refused.
    fn note(&self, url: &str, what: &str, answer: Result<(), ResearchError>) -> Result<(), ResearchError> {
        let refused = answer.as_ref().err().map(|err| trex_domain::Problem::code(err).to_owned());
        let url = url.split(['?', '#']).next().unwrap_or_default().to_owned();
        let at = self.file.as_ref().map(|file| file.clock.now());
        let attempt = NetAttempt { at, url, what: what.to_owned(), refused };
        let written = self.file.as_ref().map_or(Ok(()), |file| file.add(&attempt));
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
        answer.and(written)
    }

    /// Lets a question to a language model through or says why not; either way it is logged. The person named its host, so
    /// it is on no list. A model on this machine may be asked offline, too: nothing leaves.
    pub(crate) fn check_model(&self, url: &str, has_key: bool, what: &str) -> Result<(), ResearchError> {
        let answer = self.judge_model(url, has_key, what);
        self.note(url, what, answer)
    }

    fn judge_model(&self, url: &str, has_key: bool, what: &str) -> Result<(), ResearchError> {
        let host = host_of(url)?;
        if is_loopback(&host) {
            return Ok(());
        }
        if self.settings.offline {
            return Err(ResearchError::Offline { what: what.to_owned() });
        }
        if has_key && url.starts_with("http://") {
            return Err(ResearchError::TokenInClear { host });
        }
        Ok(())
    }

    /// Every attempt so far, refused ones included, in order.
    pub fn attempts(&self) -> Vec<NetAttempt> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn judge(&self, url: &str, what: &str) -> Result<(), ResearchError> {
        if self.settings.offline {
            return Err(ResearchError::Offline { what: what.to_owned() });
        }
        let host = host_of(url)?;
        if !self.allowed.contains(&host) {
            return Err(ResearchError::HostNotAllowed { host });
        }
        let in_clear = url.starts_with("http://") && !is_loopback(&host);
        if in_clear && self.settings.token.is_some() {
            return Err(ResearchError::TokenInClear { host });
        }
        Ok(())
    }
}

pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The host of an http or https address, in lower case.
pub(crate) fn host_of(url: &str) -> Result<String, ResearchError> {
    let bad = |source| ResearchError::BadEndpoint { text: url.to_owned(), source };
    let uri: Uri = url.parse().map_err(|source| bad(Some(source)))?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    match uri.host() {
        Some(host) if is_web && !has_user => Ok(host.to_ascii_lowercase()),
        _ => Err(bad(None)),
    }
}

#[cfg(test)]
mod tests {
    use trex_domain::Problem as _;

    use super::*;

    fn settings(values: &[(&str, &str)]) -> Result<NetSettings, ResearchError> {
        let lookup = |name: &str| {
            let own = values.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            own.or_else(|| (name == "HOME").then(|| "/home/someone".to_owned()))
        };
        NetSettings::from_lookup(lookup)
    }

    #[track_caller]
    fn check(values: &[(&str, &str)], url: &str, expected: Option<&str>) {
        let gate = NetGate::new(settings(values).unwrap()).unwrap();
        let code = gate.check(url, "a test").err().map(|err| err.code());
        assert_eq!(code, expected, "{url}");
        let attempts = gate.attempts();
        assert_eq!(attempts.len(), 1);
        assert_eq!(attempts[0].refused.as_deref(), expected);
    }

    #[test]
    fn only_known_hosts_are_let_through_and_none_when_offline() {
        let hub = "https://huggingface.co/api/models/a/b";
        check(&[], hub, None);
        check(&[], "https://HuggingFace.co/x", None);
        check(&[], "https://huggingface.co.example.org/x", Some("net.host_not_allowed"));
        check(&[], "https://huggingface.co@example.org/x", Some("net.bad_endpoint"));
        check(&[], "file:///etc/hosts", Some("net.bad_endpoint"));
        check(&[("HF_HUB_OFFLINE", "1")], hub, Some("net.offline"));
        check(&[("TREX_OFFLINE", "Yes")], hub, Some("net.offline"));
        check(&[("TREX_OFFLINE", "0")], hub, None);
        check(&[("HF_ENDPOINT", "https://mirror.example.org/")], "https://mirror.example.org/x", None);
    }

    #[test]
    fn a_token_never_goes_over_an_open_line_and_never_shows() {
        let open = [("HF_ENDPOINT", "http://mirror.example.org"), ("HF_TOKEN", "hf_very_secret")];
        check(&open, "http://mirror.example.org/x", Some("net.token_in_clear"));
        check(&open[..1], "http://mirror.example.org/x", None);
        let near = [("HF_ENDPOINT", "http://127.0.0.1:9"), ("HF_TOKEN", "hf_very_secret")];
        check(&near, "http://127.0.0.1:9/x", None);
        let gate = NetGate::new(settings(&near).unwrap()).unwrap();
        assert!(!format!("{gate:?}").contains("very"), "{gate:?}");
        assert_eq!(gate.settings().token.as_ref().unwrap().to_string(), "***");
    }

    #[test]
    fn every_attempt_is_written_down_before_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/net.jsonl");
        let log = || NetLog::new(path.clone(), Arc::new(trex_testkit::FixedClock::default()));
        assert!(NetLog::read(&path).unwrap().is_empty());
        let open = NetGate::new(settings(&[]).unwrap()).unwrap().with_log(log());
        open.check("https://huggingface.co/x?token=secret", "a download").unwrap();
        let shut = NetGate::new(settings(&[("TREX_OFFLINE", "1")]).unwrap()).unwrap().with_log(log());
        assert!(shut.check("https://huggingface.co/y", "another").is_err());
        let lines = NetLog::read(&path).unwrap();
        let seen: Vec<_> = lines.iter().map(|one| (one.url.as_str(), one.refused.as_deref())).collect();
        assert_eq!(seen, [("https://huggingface.co/x", None), ("https://huggingface.co/y", Some("net.offline"))]);
        assert!(lines.iter().all(|one| one.at == Some(trex_testkit::START)));
        let nowhere = NetLog::new(path.join("no/folder"), Arc::new(trex_testkit::FixedClock::default()));
        let unlogged = NetGate::new(settings(&[]).unwrap()).unwrap().with_log(nowhere);
        assert!(unlogged.check("https://huggingface.co/x", "a download").is_err(), "what cannot be logged is not done");
    }

    #[test]
    fn an_endpoint_that_is_no_address_is_refused_at_once() {
        for text in ["huggingface.co", "ftp://huggingface.co", "not an address", "https://a:b@c"] {
            assert_eq!(settings(&[("HF_ENDPOINT", text)]).unwrap_err().code(), "net.bad_endpoint", "{text}");
        }
    }
}
