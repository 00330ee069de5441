//! Which device a person wants a job computed on. Whether it can be had is found out by the worker.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::DomainError;

/// The wish for a device, written as `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The fastest that can be had; the processor where nothing else can.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA card by its number, from 0; nothing else will do.
    Cuda(usize),
    /// Apple's graphics processor; nothing else will do.
    Metal,
}

impl DeviceChoice {
    /// What may be written.
    pub const ALLOWED: &str = "auto, cpu, cuda, cuda:N or metal";

    /// Whether nothing in particular is wanted.
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        let found = match text {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            "metal" => Some(Self::Metal),
            _ => card_number(text).map(Self::Cuda),
        };
        found.ok_or_else(|| DomainError::OutOfRange {
            field: "device",
            value: format!("{text:?}"),
            allowed: Self::ALLOWED,
        })
    }
}

/// The number behind `cuda:`, plain digits only.
fn card_number(text: &str) -> Option<usize> {
    let digits = text.strip_prefix("cuda:")?;
    let plain = digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

impl TryFrom<String> for DeviceChoice {
    type Error = DomainError;

    fn try_from(text: String) -> Result<Self, DomainError> {
        text.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

impl JsonSchema for DeviceChoice {
    fn schema_name() -> Cow<'static, str> {
        "DeviceChoice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Device that jobs are computed on.",
            "pattern": "^(auto|cpu|metal|cuda(:[0-9]{1,4})?)$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: DeviceChoice) {
        let found: DeviceChoice = text.parse().unwrap();
        assert_eq!(found, expected);
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<DeviceChoice>(&json).unwrap(), expected);
    }

    #[test]
    fn every_spelling_is_read_and_written() {
        check("auto", DeviceChoice::Auto);
        check("cpu", DeviceChoice::Cpu);
        check("cuda", DeviceChoice::Cuda(0));
        check("cuda:0", DeviceChoice::Cuda(0));
        check("cuda:7", DeviceChoice::Cuda(7));
        check("metal", DeviceChoice::Metal);
        assert_eq!(DeviceChoice::Cuda(7).to_string(), "cuda:7");
    }

    #[test]
    fn other_words_are_refused_with_what_is_allowed() {
        for text in ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:+1", "cuda:1.5", "cuda:99999", "metal:0", " cpu"] {
            let err = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(err.contains(DeviceChoice::ALLOWED) && err.contains(text), "{err}");
            assert!(serde_json::from_value::<DeviceChoice>(text.into()).is_err());
        }
    }
}
