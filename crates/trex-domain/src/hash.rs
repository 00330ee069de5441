//! Content names (blake3) and the canonical JSON that they are taken from.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::DomainError;

/// The blake3 hash of some content, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// Names these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Names a value by its canonical JSON; `domain` keeps equal JSON of different meaning apart.
    pub fn of_value(domain: &str, value: &impl Serialize) -> Result<Self, DomainError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(domain.as_bytes());
        hasher.update(&[0]);
        hasher.update(canonical_json(value)?.as_bytes());
        Ok(Self(*hasher.finalize().as_bytes()))
    }

    /// Wraps a finished blake3 digest.
    pub fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({})", self.short())
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for ContentHash {
    type Error = DomainError;

    fn try_from(text: String) -> Result<Self, DomainError> {
        let hash = blake3::Hash::from_hex(&text).map_err(|source| DomainError::BadHash { text, source })?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl FromStr for ContentHash {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        Self::try_from(text.to_owned())
    }
}

/// Serialises a value as JSON with sorted keys and no white space.
///
/// Numbers are written as `serde_json` writes them (shortest form that reads back equal). Whether some other crate of
/// the build switches `serde_json` to insertion order makes no difference.
pub fn canonical_json(value: &impl Serialize) -> Result<String, DomainError> {
    let value = serde_json::to_value(value).map_err(DomainError::NotJson)?;
    let mut out = String::new();
    write_canonical(&value, &mut out);
    Ok(out)
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (index, (key, entry)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_scalar(&Value::String(key.clone()), out);
                out.push(':');
                write_canonical(entry, out);
            }
            out.push('}');
        }
        Value::Array(entries) => {
            out.push('[');
            for (index, entry) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(entry, out);
            }
            out.push(']');
        }
        scalar => write_scalar(scalar, out),
    }
}

fn write_scalar(value: &Value, out: &mut String) {
    write!(out, "{value}").expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn canonical_json_sorts_keys_at_every_depth() {
        let value = json!({"b": [{"z": 1, "a": 2.5}], "a": "x\"y"});
        assert_eq!(canonical_json(&value).unwrap(), r#"{"a":"x\"y","b":[{"a":2.5,"z":1}]}"#);
    }

    #[test]
    fn the_domain_is_part_of_the_name() {
        let one = ContentHash::of_value("recipe", &1).unwrap();
        assert_ne!(one, ContentHash::of_value("data", &1).unwrap());
    }

    proptest! {
        #[test]
        fn key_order_never_matters(entries in proptest::collection::btree_map("[a-z]{1,4}", any::<i32>(), 0..8)) {
            let render = |pairs: Vec<(&String, &i32)>| {
                let body: Vec<_> = pairs.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
                serde_json::from_str::<Value>(&format!("{{{}}}", body.join(","))).unwrap()
            };
            let forward = render(entries.iter().collect());
            let backward = render(entries.iter().rev().collect());
            prop_assert_eq!(canonical_json(&forward).unwrap(), canonical_json(&backward).unwrap());
        }

        #[test]
        fn a_hash_survives_its_text_form(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let hash = ContentHash::of_bytes(&bytes);
            prop_assert_eq!(hash.to_string().parse::<ContentHash>().unwrap(), hash);
        }
    }
}
