//! The errors of the Researcher and of the network gate.

use std::io;
use std::path::PathBuf;

use hf_hub::api::sync::ApiError;
use trex_domain::{DomainError, ErrorClass, NodeId, Problem};

use crate::secret_store::StoreFault;

/// What can go wrong in proposing and in downloading.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResearchError {
    /// A value that is out of range or has no JSON form.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// A node that is no strategy of the run.
    #[error("{node} is not a strategy of this run")]
    UnknownStrategy {
        /// As given.
        node: NodeId,
    },
    /// A settings file that is not as it should be.
    #[error("{} is no settings file of the Researcher", path.display())]
    BadSettings {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
    /// Rules that came with the program and cannot be read.
    #[error("the built-in rules of {file} cannot be read")]
    BadRules {
        /// Their file.
        file: &'static str,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
    /// A price that is no number from 0 on.
    #[error("the price of {model} is no number from 0 on")]
    BadPrice {
        /// The model.
        model: String,
    },
    /// A file of keys that is not as it should be. Says no more, as it may hold a key.
    #[error("{} is no file of keys", path.display())]
    BadKeyFile {
        /// The file.
        path: PathBuf,
    },
    /// The secret store of the system did not do what was asked.
    #[error("cannot {action} the key of {name} in {store}")]
    SecretStore {
        /// What was tried.
        action: &'static str,
        /// Name of the key.
        name: String,
        /// The store.
        store: &'static str,
        /// Why.
        source: StoreFault,
    },
    /// A key that somebody took out of the secret store.
    #[error("the key of {name} is no longer in {store}")]
    KeyGone {
        /// Name of the key.
        name: String,
        /// The store.
        store: &'static str,
    },
    /// Settings without a TOML form.
    #[error("the settings have no TOML form")]
    NoToml {
        /// Why.
        source: Box<toml::ser::Error>,
    },
    /// The file system refused.
    #[error(transparent)]
    Files(#[from] trex_fs::FsError),
    /// The network is switched off.
    #[error("{what} needs the network, which is switched off")]
    Offline {
        /// What was wanted.
        what: String,
    },
    /// A host that is not on the list.
    #[error("{host} is not an allowed host")]
    HostNotAllowed {
        /// The host.
        host: String,
    },
    /// An endpoint that is no web address.
    #[error("not a web address: {text:?}")]
    BadEndpoint {
        /// As given.
        text: String,
        /// Why, where the parser says more.
        source: Option<ureq::http::uri::InvalidUri>,
    },
    /// A token that would go over an open line.
    #[error("the access token would be sent to {host} in clear text")]
    TokenInClear {
        /// The host.
        host: String,
    },
    /// A name that no model repository can have.
    #[error("not a model repository: {text:?}")]
    BadRepository {
        /// As given.
        text: String,
    },
    /// No environment value says where the cache lies.
    #[error("no folder for downloaded models is known")]
    NoCacheFolder,
    /// The hub, or the way to it, failed.
    #[error("cannot get {what} of {repo}")]
    Hub {
        /// Repository.
        repo: String,
        /// File or `list of files`.
        what: String,
        /// Why.
        source: Box<ApiError>,
    },
    /// A public source, or the way to it, failed.
    #[error("{what} failed")]
    Source {
        /// What was done.
        what: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// An answer of a public source that is of another form.
    #[error("{source_name} answered with {what}")]
    OddAnswer {
        /// The source.
        source_name: &'static str,
        /// What came.
        what: &'static str,
    },
    /// A data set that is larger than allowed.
    #[error("the data files of {repo} have {bytes} bytes, {limit} are allowed")]
    TooLarge {
        /// Repository.
        repo: String,
        /// Bytes of its data files.
        bytes: u64,
        /// Bytes that are allowed.
        limit: u64,
    },
    /// A repository without files that rows can be read from.
    #[error("{repo} has no file of rows that can be read")]
    NoRows {
        /// Repository.
        repo: String,
    },
    /// A repository that lacks what a model needs.
    #[error("{repo} has no {missing}")]
    NotAModel {
        /// Repository.
        repo: String,
        /// What is missing.
        missing: String,
    },
    /// A download that ended early.
    #[error("{} has {found} bytes of {expected}", path.display())]
    Truncated {
        /// File.
        path: PathBuf,
        /// Bytes that the hub announced.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ResearchError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}

impl Problem for ResearchError {
    fn code(&self) -> &'static str {
        match self {
            Self::Domain(err) => err.code(),
            Self::UnknownStrategy { .. } => "research.unknown_strategy",
            Self::BadSettings { .. } => "researcher.bad_settings",
            Self::BadRules { .. } => "researcher.bad_rules",
            Self::BadPrice { .. } => "researcher.bad_price",
            Self::BadKeyFile { .. } => "researcher.bad_key_file",
            Self::SecretStore { source, .. } => source.code(),
            Self::KeyGone { .. } => "researcher.key_gone",
            Self::NoToml { .. } => "researcher.no_toml",
            Self::Files(err) => err.code(),
            Self::Offline { .. } => "net.offline",
            Self::HostNotAllowed { .. } => "net.host_not_allowed",
            Self::BadEndpoint { .. } => "net.bad_endpoint",
            Self::TokenInClear { .. } => "net.token_in_clear",
            Self::BadRepository { .. } => "net.bad_repository",
            Self::NoCacheFolder => "net.no_cache_folder",
            Self::Hub { source, .. } => hub_code(source),
            Self::Source { source, .. } => request_code(source),
            Self::OddAnswer { .. } => "net.odd_answer",
            Self::TooLarge { .. } => "net.too_large",
            Self::NoRows { .. } => "net.no_rows",
            Self::NotAModel { .. } => "net.not_a_model",
            Self::Truncated { .. } => "net.truncated",
            Self::Io { .. } => "net.io",
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self.code() {
            "researcher.bad_settings" => "its keys are order, stages and prices; see `trex researcher --help`",
            "researcher.bad_price" => "give US dollars for a million tokens",
            "researcher.bad_key_file" => "remove the file and store the keys again with `trex researcher key set`",
            "researcher.store_off" => {
                "the key lies in the secret store: unset TREX_SECRET_STORE, or give it in the variable of the service"
            }
            "researcher.store_absent" | "researcher.store_silent" => {
                "log in to a session with a secret store and unlock it, give the key in the variable of the service, or store \
                 it with `trex researcher key set NAME --file < FILE`"
            }
            "researcher.store_locked" | "researcher.store_refused" => {
                "unlock the secret store, or keep the key in a file that only you may read: `trex researcher key set NAME \
                 --file < FILE`"
            }
            "researcher.key_gone" => "store it again with `trex researcher key set NAME < FILE`, or remove its name",
            "net.offline" => {
                "switch the network on (unset TREX_OFFLINE and HF_HUB_OFFLINE), or copy the model to this machine and add \
                 its folder with `trex model add`"
            }
            "net.host_not_allowed" => "use the endpoint of HF_ENDPOINT, or allow the host in the settings",
            "net.bad_endpoint" => "set HF_ENDPOINT to an address such as https://huggingface.co",
            "net.token_in_clear" => "use an https address (HF_ENDPOINT for the hub), or do without the token or key",
            "net.bad_repository" => "repositories are named owner/name",
            "net.too_large" => "allow more with --max-mib, or take a smaller data set",
            "net.no_rows" => "rows are read from Parquet, Arrow, JSON lines, JSON, CSV and TSV files",
            "net.no_cache_folder" => "set HF_HOME to a folder that you may write to",
            "net.unauthorised" => "accept the model's terms on its page and set HF_TOKEN to a token that may read it",
            "net.not_found" => "check the name and the revision",
            "net.rate_limited" => "wait a minute, or set HF_TOKEN",
            "net.odd_answer" => "try again later; the source may have changed its form or be busy",
            "net.unavailable" | "net.truncated" => "try again; what was downloaded is kept",
            "net.not_a_model" => "choose a repository with config.json, tokenizer.json and safetensors weights",
            "net.io" => "check that the folder exists, is writable and has room",
            _ => return None,
        };
        Some(text.to_owned())
    }

    fn class(&self) -> ErrorClass {
        match self {
            Self::Domain(err) => err.class(),
            Self::Files(err) => err.class(),
            Self::Hub { source, .. } => hub_class(source),
            Self::Source { source, .. } if is_transient(source) => ErrorClass::Transient,
            Self::SecretStore { source: StoreFault::Silent { .. } | StoreFault::Lost, .. }
            | Self::Truncated { .. }
            | Self::OddAnswer { .. } => ErrorClass::Transient,
            Self::Io { source, .. } if is_full(source) => ErrorClass::Resource,
            Self::UnknownStrategy { .. } | Self::NoToml { .. } | Self::BadRules { .. } => ErrorClass::Bug,
            _ => ErrorClass::Permanent,
        }
    }
}

fn is_full(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn hub_code(err: &ApiError) -> &'static str {
    match err {
        ApiError::TooManyRetries(inner) => hub_code(inner),
        ApiError::RequestError(request) => request_code(request),
        ApiError::IoError(_) => "net.io",
        ApiError::LockAcquisition(_) => "net.locked",
        _ => "net.protocol",
    }
}

fn request_code(err: &ureq::Error) -> &'static str {
    match err {
        ureq::Error::StatusCode(401 | 403) => "net.unauthorised",
        ureq::Error::StatusCode(404 | 410) => "net.not_found",
        ureq::Error::StatusCode(429) => "net.rate_limited",
        other if is_transient(other) => "net.unavailable",
        _ => "net.protocol",
    }
}

fn hub_class(err: &ApiError) -> ErrorClass {
    match err {
        ApiError::TooManyRetries(inner) => hub_class(inner),
        ApiError::RequestError(request) if is_transient(request) => ErrorClass::Transient,
        ApiError::IoError(source) if is_full(source) => ErrorClass::Resource,
        ApiError::LockAcquisition(_) => ErrorClass::Resource,
        // The reader of the body reports a broken connection as an I/O error.
        ApiError::IoError(source) if is_broken_line(source) => ErrorClass::Transient,
        _ => ErrorClass::Permanent,
    }
}

fn is_broken_line(err: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        err.kind(),
        Kind::UnexpectedEof | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::TimedOut | Kind::BrokenPipe
    )
}

fn is_transient(err: &ureq::Error) -> bool {
    match err {
        ureq::Error::StatusCode(code) => *code == 408 || *code == 429 || *code >= 500,
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => {
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: ApiError, code: &str, class: ErrorClass) {
        let err = ResearchError::Hub { repo: "a/b".into(), what: "config.json".into(), source: Box::new(source) };
        assert_eq!((err.code(), err.class()), (code, class));
    }

    fn status(code: u16) -> ApiError {
        ApiError::RequestError(Box::new(ureq::Error::StatusCode(code)))
    }

    #[test]
    fn errors_of_the_hub_are_classed() {
        check(status(401), "net.unauthorised", ErrorClass::Permanent);
        check(status(404), "net.not_found", ErrorClass::Permanent);
        check(status(429), "net.rate_limited", ErrorClass::Transient);
        check(ApiError::TooManyRetries(Box::new(status(503))), "net.unavailable", ErrorClass::Transient);
        check(ApiError::MissingHeader("etag"), "net.protocol", ErrorClass::Permanent);
        check(ApiError::IoError(io::ErrorKind::UnexpectedEof.into()), "net.io", ErrorClass::Transient);
        check(ApiError::IoError(io::ErrorKind::StorageFull.into()), "net.io", ErrorClass::Resource);
    }
}
