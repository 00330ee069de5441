//! The secret store of the system as a port: what keeps a secret by name, and how it may fail. Knows nothing of services and
//! models; who keeps what where is decided in `keys.rs`.

mod system;

use std::fmt;

pub use system::SystemStore;

use crate::Secret;

/// Where a system keeps secrets. Every call returns within a time that the store sets itself, whatever the system does.
pub trait SecretStore: fmt::Debug + Send + Sync {
    /// What a person calls it, such as "the Secret Service".
    fn title(&self) -> &'static str;

    /// Whether it answers. Asks nobody to unlock it and changes nothing.
    fn check(&self) -> Result<(), StoreFault>;

    /// The secret of that name; none where there is none.
    fn get(&self, name: &str) -> Result<Option<Secret>, StoreFault>;

    /// Keeps a secret in the place of an older one of that name.
    fn set(&self, name: &str, secret: &Secret) -> Result<(), StoreFault>;

    /// Forgets a secret; `false` where there was none.
    fn remove(&self, name: &str) -> Result<bool, StoreFault>;
}

/// Why a store did not do what was asked. No variant holds what the store holds.
#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    /// A person switched it off.
    #[error("the secret store is switched off")]
    Off,
    /// The way to it leads over the network.
    #[error("the session bus is at {address}, which is no socket of this machine")]
    NotLocal {
        /// Scheme of the address.
        address: String,
    },
    /// There is none, or it cannot be reached.
    #[error("no secret store answers")]
    Absent {
        /// Why.
        source: &'static keyring::Error,
    },
    /// It was asked and said nothing in time; it may wait for a person who unlocks it.
    #[error("the secret store did not answer within {seconds} s")]
    Silent {
        /// How long it was waited for.
        seconds: u64,
    },
    /// The way to it broke off.
    #[error("the secret store was lost while it was asked")]
    Lost,
    /// It is locked and stays so, or has no place for what is new.
    #[error("the secret store is locked, or has nowhere to put secrets")]
    Locked {
        /// Why.
        source: Box<keyring::Error>,
    },
    /// What it keeps under that name is no text.
    #[error("the secret store keeps something under that name that is no text")]
    NotText,
    /// It refused.
    #[error("the secret store refused")]
    Refused {
        /// Why.
        source: Box<keyring::Error>,
    },
}

impl StoreFault {
    /// Whether nobody answered, so that secrets have to lie elsewhere.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Off | Self::NotLocal { .. } | Self::Absent { .. } | Self::Silent { .. } | Self::Lost)
    }

    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Off => "researcher.store_off",
            Self::NotLocal { .. } | Self::Absent { .. } => "researcher.store_absent",
            Self::Silent { .. } | Self::Lost => "researcher.store_silent",
            Self::Locked { .. } => "researcher.store_locked",
            Self::NotText | Self::Refused { .. } => "researcher.store_refused",
        }
    }
}

/// The place of a store that a person switched off.
#[derive(Clone, Copy, Debug)]
pub struct NoStore;

impl SecretStore for NoStore {
    fn title(&self) -> &'static str {
        "no secret store"
    }

    fn check(&self) -> Result<(), StoreFault> {
        Err(StoreFault::Off)
    }

    fn get(&self, _: &str) -> Result<Option<Secret>, StoreFault> {
        Err(StoreFault::Off)
    }

    fn set(&self, _: &str, _: &Secret) -> Result<(), StoreFault> {
        Err(StoreFault::Off)
    }

    fn remove(&self, _: &str) -> Result<bool, StoreFault> {
        Err(StoreFault::Off)
    }
}
