//! The store of this system: Secret Service over D-Bus, the keychain of macOS, or the credential manager of Windows. Opens no
//! socket but that of the session bus.
//!
//! Every question is asked on a thread of its own and waited for with a limit, because a store may ask a person to unlock it,
//! and may never hear back. A thread that is still waiting then ends with the process.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use keyring::{Entry, Error};

use super::{SecretStore, StoreFault};
use crate::Secret;

/// What our secrets are kept under, beside their name.
const SERVICE: &str = "trex";

/// How long a store has to answer that asks nobody.
const REACH: Duration = Duration::from_secs(5);

/// How long a person has to unlock it.
const UNLOCK: Duration = Duration::from_secs(30);

/// Variable with the address of the session bus.
const BUS: &str = "DBUS_SESSION_BUS_ADDRESS";

/// The store of this system. Is reached when it is first asked.
#[derive(Clone, Debug)]
pub struct SystemStore {
    /// Scheme of a bus that is reached over the network.
    far_bus: Option<String>,
}

impl SystemStore {
    /// `lookup` returns the value of an environment variable.
    pub fn new(lookup: impl Fn(&str) -> Option<String>) -> Self {
        Self { far_bus: lookup(BUS).as_deref().and_then(far_scheme).map(str::to_owned) }
    }

    /// Reaches the store, then asks it.
    fn ask<T: Send + 'static>(
        &self,
        name: &str,
        question: impl FnOnce(&Entry) -> Result<T, StoreFault> + Send + 'static,
    ) -> Result<T, StoreFault> {
        self.check()?;
        let name = name.to_owned();
        within(UNLOCK, move || question(&Entry::new(SERVICE, &name).map_err(refused)?))
    }
}

impl SecretStore for SystemStore {
    fn title(&self) -> &'static str {
        if cfg!(target_os = "macos") {
            "the keychain"
        } else if cfg!(windows) {
            "the credential manager"
        } else {
            "the Secret Service"
        }
    }

    fn check(&self) -> Result<(), StoreFault> {
        if let Some(address) = self.far_bus.clone() {
            return Err(StoreFault::NotLocal { address });
        }
        within(REACH, || Entry::store_status().as_ref().map_err(|source| StoreFault::Absent { source }).copied())
    }

    fn get(&self, name: &str) -> Result<Option<Secret>, StoreFault> {
        self.ask(name, |entry| found(entry.get_password()).map(|text| text.map(Secret::new)))
    }

    fn set(&self, name: &str, secret: &Secret) -> Result<(), StoreFault> {
        let secret = secret.clone();
        self.ask(name, move |entry| entry.set_password(secret.expose()).map_err(refused))
    }

    fn remove(&self, name: &str) -> Result<bool, StoreFault> {
        self.ask(name, |entry| Ok(found(entry.delete_credential())?.is_some()))
    }
}

/// The scheme of the first address of a bus that is no socket of this machine. Only systems with a session bus look at it.
fn far_scheme(addresses: &str) -> Option<&str> {
    let schemes = addresses.split(';').filter_map(|one| one.split(':').next()).map(str::trim);
    schemes.filter(|scheme| !scheme.is_empty()).find(|scheme| *scheme != "unix")
}

/// Does the work on a thread of its own; gives up where it takes longer.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T, StoreFault> + Send + 'static,
) -> Result<T, StoreFault> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let answer = move || {
        // Nobody listens any more where it took too long.
        sender.send(work()).ok();
    };
    if thread::Builder::new().name("secret-store".to_owned()).spawn(answer).is_err() {
        return Err(StoreFault::Lost);
    }
    match receiver.recv_timeout(limit) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => Err(StoreFault::Silent { seconds: limit.as_secs() }),
        Err(RecvTimeoutError::Disconnected) => Err(StoreFault::Lost),
    }
}

/// None where there is no such entry.
fn found<T>(answer: Result<T, Error>) -> Result<Option<T>, StoreFault> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Error::NoEntry) => Ok(None),
        Err(err) => Err(refused(err)),
    }
}

/// Leaves out what would show the bytes that the store keeps.
fn refused(err: Error) -> StoreFault {
    match err {
        Error::BadEncoding(_) | Error::BadDataFormat(..) => StoreFault::NotText,
        Error::NoStorageAccess(_) => StoreFault::Locked { source: Box::new(err) },
        other => StoreFault::Refused { source: Box::new(other) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(addresses: &str, far: Option<&str>) {
        assert_eq!(far_scheme(addresses), far, "{addresses}");
    }

    #[test]
    fn a_bus_beyond_this_machine_is_not_asked() {
        check("", None);
        check("unix:path=/run/user/1000/bus", None);
        check("unix:abstract=/tmp/x,guid=1;unix:path=/y", None);
        check("tcp:host=192.0.2.1,port=9", Some("tcp"));
        check("unix:path=/x;nonce-tcp:host=h", Some("nonce-tcp"));
        check("unixexec:path=/usr/bin/ssh", Some("unixexec"));
        let store = SystemStore::new(|name| (name == BUS).then(|| "tcp:host=192.0.2.1,port=9".to_owned()));
        assert!(matches!(store.check(), Err(StoreFault::NotLocal { .. })));
        assert!(matches!(store.get("x"), Err(StoreFault::NotLocal { .. })));
    }

    #[test]
    fn who_says_nothing_or_dies_is_given_up() {
        let (_held, never) = mpsc::channel::<()>();
        let silent = within(Duration::from_millis(20), move || Ok(never.recv().is_ok()));
        assert!(matches!(silent, Err(StoreFault::Silent { .. })), "{silent:?}");
        let lost = within(Duration::from_mins(1), || -> Result<(), StoreFault> { panic!("the library has a bug") });
        assert!(matches!(lost, Err(StoreFault::Lost)), "{lost:?}");
    }

    #[test]
    fn no_error_shows_what_the_store_keeps() {
        let bytes = || b"sk-very-secret".to_vec();
        let errors = [Error::BadEncoding(bytes()), Error::BadDataFormat(bytes(), "odd".into())];
        for fault in errors.map(refused) {
            assert!(matches!(fault, StoreFault::NotText), "{fault:?}");
        }
        assert!(matches!(refused(Error::NoStorageAccess("locked".into())), StoreFault::Locked { .. }));
        assert!(matches!(found::<()>(Err(Error::NoEntry)), Ok(None)));
    }
}
