//! Signatures of bundles: ed25519 keys in files of 64 hexadecimal digits. Whom to trust is the person's to say.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::LibraryError;

/// A secret key.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey(hidden, public {})", hex(self.0.verifying_key().as_bytes()))
    }
}

impl SigningKey {
    /// The key that others check signatures with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(crate) fn sign(&self, manifest: &[u8]) -> SignatureFile {
        SignatureFile {
            algorithm: ALGORITHM.to_owned(),
            public_key: hex(self.0.verifying_key().as_bytes()),
            signature: hex(&self.0.sign(manifest).to_bytes()),
        }
    }
}

/// A public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(self.0.as_bytes()))
    }
}

impl FromStr for PublicKey {
    type Err = LibraryError;

    fn from_str(text: &str) -> Result<Self, LibraryError> {
        let bad = || LibraryError::BadKey { path: PathBuf::from(text) };
        let bytes: [u8; 32] = unhex(text.trim()).ok_or_else(bad)?;
        VerifyingKey::from_bytes(&bytes).map(Self).map_err(|_curve| bad())
    }
}

const ALGORITHM: &str = "ed25519";

/// The member of a bundle that holds the signature of its manifest.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SignatureFile {
    algorithm: String,
    pub(crate) public_key: String,
    signature: String,
}

impl SignatureFile {
    /// The key whose signature of these bytes it is; none where it is no valid one.
    pub(crate) fn signer(&self, manifest: &[u8]) -> Option<PublicKey> {
        let key: PublicKey = self.public_key.parse().ok()?;
        let signature: [u8; 64] = unhex(&self.signature)?;
        let valid = key.0.verify_strict(manifest, &Signature::from_bytes(&signature)).is_ok();
        (valid && self.algorithm == ALGORITHM).then_some(key)
    }
}

/// Makes a key and writes it to a file that only its owner may read; a file that is there is left alone.
pub fn make_key(path: &Path) -> Result<PublicKey, LibraryError> {
    let mut seed = [0u8; 32];
    getrandom::fill(&mut seed).map_err(LibraryError::NoRandomness)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path).map_err(|err| trex_fs::FsError::io("create", path, err))?;
    let text = hex(&seed) + "\n";
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(|err| trex_fs::FsError::io("write", path, err))?;
    Ok(SigningKey(ed25519_dalek::SigningKey::from_bytes(&seed)).public())
}

/// Reads a secret key.
pub fn read_key(path: &Path) -> Result<SigningKey, LibraryError> {
    let text = trex_fs::read_to_string(path)?;
    let seed = unhex(text.trim()).ok_or_else(|| LibraryError::BadKey { path: path.to_owned() })?;
    Ok(SigningKey(ed25519_dalek::SigningKey::from_bytes(&seed)))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1]).collect();
    if digits.len() == 2 * N { bytes.try_into().ok() } else { None }
}
