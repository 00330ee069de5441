//! Typed access to GGUF metadata: a value of another type is an error with the name of its key.

use std::collections::BTreeMap;

use crate::ChatError;

/// A value of GGUF metadata. Integers of all widths are [`Self::U64`] or [`Self::I64`]; `f32` becomes [`Self::F64`].
#[derive(Clone, Debug, PartialEq)]
pub enum MetaValue {
    /// Unsigned integer.
    U64(u64),
    /// Signed integer.
    I64(i64),
    /// Floating point number.
    F64(f64),
    /// Truth value.
    Bool(bool),
    /// Text.
    Str(String),
    /// Values of one type.
    Array(Vec<Self>),
}

impl MetaValue {
    fn as_u64(&self) -> Option<u64> {
        match self {
            Self::U64(value) => Some(*value),
            Self::I64(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        match self {
            Self::F64(value) => Some(*value),
            _ => None,
        }
    }

    fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }
}

/// The metadata of one file.
pub(super) struct Metadata<'m>(&'m BTreeMap<String, MetaValue>);

impl<'m> Metadata<'m> {
    pub(super) fn new(values: &'m BTreeMap<String, MetaValue>) -> Self {
        Self(values)
    }

    pub(super) fn optional_u64(&self, key: &str) -> Result<Option<u64>, ChatError> {
        self.optional(key, "a whole number from 0", MetaValue::as_u64)
    }

    pub(super) fn u64(&self, key: &str) -> Result<u64, ChatError> {
        required(key, self.optional_u64(key)?)
    }

    pub(super) fn optional_bool(&self, key: &str) -> Result<Option<bool>, ChatError> {
        self.optional(key, "true or false", |value| match value {
            MetaValue::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// A number in the shortest decimal form that gives the stored `f32`: `1e-5`, not `9.999999747378752e-6`.
    pub(super) fn optional_f32(&self, key: &str) -> Result<Option<f64>, ChatError> {
        self.optional(key, "a number", |value| match value {
            #[expect(clippy::cast_possible_truncation, reason = "GGUF stores these numbers as f32")]
            MetaValue::F64(value) => (*value as f32).to_string().parse().ok(),
            _ => None,
        })
    }

    pub(super) fn optional_str(&self, key: &str) -> Result<Option<&'m str>, ChatError> {
        self.optional(key, "a text", MetaValue::as_str)
    }

    pub(super) fn str(&self, key: &str) -> Result<&'m str, ChatError> {
        required(key, self.optional_str(key)?)
    }

    pub(super) fn strings(&self, key: &str) -> Result<Vec<&'m str>, ChatError> {
        let values = self.optional(key, "a list of texts", |value| match value {
            MetaValue::Array(items) => items.iter().map(MetaValue::as_str).collect(),
            _ => None,
        });
        required(key, values?)
    }

    pub(super) fn numbers(&self, key: &str) -> Result<Vec<f64>, ChatError> {
        let values = self.optional(key, "a list of numbers", |value| match value {
            MetaValue::Array(items) => items.iter().map(MetaValue::as_f64).collect(),
            _ => None,
        });
        required(key, values?)
    }

    pub(super) fn integers(&self, key: &str) -> Result<Vec<u64>, ChatError> {
        let values = self.optional(key, "a list of whole numbers", |value| match value {
            MetaValue::Array(items) => items.iter().map(MetaValue::as_u64).collect(),
            _ => None,
        });
        required(key, values?)
    }

    fn optional<T>(
        &self,
        key: &str,
        expected: &'static str,
        convert: impl FnOnce(&'m MetaValue) -> Option<T>,
    ) -> Result<Option<T>, ChatError> {
        let Some(value) = self.0.get(key) else {
            return Ok(None);
        };
        let converted = convert(value);
        converted.map(Some).ok_or_else(|| ChatError::WrongType { key: key.to_owned(), expected })
    }
}

fn required<T>(key: &str, value: Option<T>) -> Result<T, ChatError> {
    value.ok_or_else(|| ChatError::MissingKey { key: key.to_owned() })
}
