//! Identifiers: parsed once at the border, then carried as types. Does not invent them: time and bytes come in.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{DomainError, Millis};

/// Identifies one run of one task; a UUIDv7, so it sorts by time of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Uuid);

impl RunId {
    /// Builds the id from the time of creation and 10 random bytes.
    pub fn from_parts(created: Millis, random: [u8; 10]) -> Self {
        let millis = u64::try_from(created.0).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        Uuid::parse_str(text).map(Self).map_err(|source| DomainError::BadRunId { text: text.to_owned(), source })
    }
}

/// Names a node of the tree: `base`, a strategy `s2`, an experiment `s2.e1`.
///
/// Names are given in order of creation, so the same search gives the same names on every machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(String);

impl NodeId {
    /// The root: the approved task with the untouched base model.
    pub fn base() -> Self {
        Self("base".to_owned())
    }

    /// The strategy with the given number, counted from 1.
    pub fn strategy(number: usize) -> Self {
        Self(format!("s{number}"))
    }

    /// The experiment with the given number (from 1) below this strategy.
    #[must_use]
    pub fn experiment(&self, number: usize) -> Self {
        Self(format!("{}.e{number}", self.0))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The strategy that this node belongs to; `None` for the root.
    pub fn strategy_part(&self) -> Option<Self> {
        let head = self.0.split('.').next()?;
        head.starts_with('s').then(|| Self(head.to_owned()))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> Self {
        id.0
    }
}

impl TryFrom<String> for NodeId {
    type Error = DomainError;

    fn try_from(text: String) -> Result<Self, DomainError> {
        if is_node_name(&text) { Ok(Self(text)) } else { Err(DomainError::BadNodeId { text }) }
    }
}

impl FromStr for NodeId {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        Self::try_from(text.to_owned())
    }
}

fn is_node_name(text: &str) -> bool {
    let mut parts = text.split('.');
    let head = parts.next().unwrap_or_default();
    if head == "base" {
        return parts.next().is_none();
    }
    numbered(head, 's') && parts.next().is_none_or(|part| numbered(part, 'e')) && parts.next().is_none()
}

fn numbered(part: &str, letter: char) -> bool {
    part.strip_prefix(letter).is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Names a variant: one configuration of an experiment's batch, such as `s2.e1.b`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct VariantId(String);

impl VariantId {
    /// The variant at `index` (from 0, below 26) of the experiment's batch.
    pub fn new(experiment: &NodeId, index: usize) -> Self {
        let letter = char::from(b'a' + u8::try_from(index.min(25)).unwrap_or(25));
        Self(format!("{experiment}.{letter}"))
    }

    /// The experiment this variant belongs to.
    pub fn node(&self) -> NodeId {
        let cut = self.0.rfind('.').unwrap_or(0);
        NodeId(self.0[..cut].to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VariantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<VariantId> for String {
    fn from(id: VariantId) -> Self {
        id.0
    }
}

impl TryFrom<String> for VariantId {
    type Error = DomainError;

    fn try_from(text: String) -> Result<Self, DomainError> {
        let well_formed = text.rsplit_once('.').is_some_and(|(node, letter)| {
            is_node_name(node) && letter.len() == 1 && letter.bytes().all(|b| b.is_ascii_lowercase())
        });
        if well_formed { Ok(Self(text)) } else { Err(DomainError::BadNodeId { text }) }
    }
}

impl FromStr for VariantId {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        Self::try_from(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_node(text: &str, valid: bool) {
        assert_eq!(text.parse::<NodeId>().is_ok(), valid, "{text}");
    }

    #[test]
    fn node_names_are_parsed_strictly() {
        check_node("base", true);
        check_node("s1", true);
        check_node("s12.e3", true);
        check_node("s12.e3.a", false);
        check_node("base.e1", false);
        check_node("s", false);
        check_node("s1.", false);
        check_node("", false);
        check_node("../s1", false);
    }

    #[test]
    fn a_variant_knows_its_node_and_strategy() {
        let variant: VariantId = "s2.e11.c".parse().unwrap();
        assert_eq!(variant.node().as_str(), "s2.e11");
        assert_eq!(variant.node().strategy_part(), Some(NodeId::strategy(2)));
        assert_eq!(VariantId::new(&NodeId::strategy(2).experiment(11), 2), variant);
        assert!("s2.e1.A".parse::<VariantId>().is_err());
    }

    #[test]
    fn run_ids_sort_by_time() {
        let early = RunId::from_parts(Millis(1_000), [9; 10]);
        let late = RunId::from_parts(Millis(2_000), [0; 10]);
        assert!(early < late);
        assert_eq!(early.to_string().parse::<RunId>().unwrap(), early);
    }
}
