//! A person's orders about the search tree: what goes first, what is never gone on with, and variants made by hand.
//!
//! Pure: what an order changes in a run is folded by [`RunState`](crate::RunState), and whoever searches obeys that.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{DomainError, NodeId, VariantId};

/// A part of the tree that a person may give orders about: a strategy `s2`, an experiment `s2.e1` or a variant `s2.e1.a`.
/// The base is none: it is neither searched nor left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct TreePart(String);

impl TreePart {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The strategy that it is or belongs to.
    pub fn strategy(&self) -> NodeId {
        let node = self.node().or_else(|| self.variant().map(|variant| variant.node()));
        node.and_then(|node| node.strategy_part()).unwrap_or_else(NodeId::base)
    }

    /// The strategy or experiment; `None` where it is a variant.
    pub fn node(&self) -> Option<NodeId> {
        self.0.parse().ok()
    }

    /// The variant; `None` where it is a strategy or an experiment.
    pub fn variant(&self) -> Option<VariantId> {
        self.0.parse().ok()
    }

    /// Whether a node or variant is this part or lies below it.
    pub fn holds(&self, name: &str) -> bool {
        name.strip_prefix(self.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl fmt::Display for TreePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<TreePart> for String {
    fn from(part: TreePart) -> Self {
        part.0
    }
}

impl TryFrom<String> for TreePart {
    type Error = DomainError;

    fn try_from(text: String) -> Result<Self, DomainError> {
        let is_node = text.parse::<NodeId>().is_ok_and(|node| node != NodeId::base());
        if is_node || text.parse::<VariantId>().is_ok() {
            Ok(Self(text))
        } else {
            Err(DomainError::BadTreePart { text })
        }
    }
}

impl FromStr for TreePart {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        Self::try_from(text.to_owned())
    }
}

/// What a person wants of a part of the tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Its strategy is chosen before all that are not pinned; a variant goes up before the others of its batch.
    Pin,
    /// It has no precedence any more.
    Unpin,
    /// Neither it nor anything below it is gone on with. What was found there stays.
    Forbid {
        /// Why.
        reason: Option<String>,
    },
    /// It may be gone on with again.
    Allow,
    /// A variant made by hand is trained next, below the same strategy.
    Branch {
        /// Dotted names of settings of recipe and configuration, with their new values.
        changes: BTreeMap<String, Value>,
        /// Why.
        reason: Option<String>,
    },
}

/// An order as a person gave it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GivenOrder {
    /// Number within the run, from 1; orders are taken in this order.
    pub number: u64,
    /// About what.
    pub node: TreePart,
    /// What is wanted.
    #[serde(flatten)]
    pub order: Order,
}

impl GivenOrder {
    /// What a person did, in a sentence without a full stop.
    pub fn words(&self) -> String {
        let node = &self.node;
        let because = |reason: &Option<String>| reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        match &self.order {
            Order::Pin => format!("a person pinned {node}"),
            Order::Unpin => format!("a person unpinned {node}"),
            Order::Forbid { reason } => format!("a person forbade {node}{}", because(reason)),
            Order::Allow => format!("a person allowed {node} again"),
            Order::Branch { changes, reason } => {
                let changes: Vec<String> = changes.iter().map(|(name, value)| format!("{name} = {value}")).collect();
                format!("a person branched {node} with {}{}", changes.join(", "), because(reason))
            }
        }
    }
}

/// An order that a run has taken, or could not take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderRecord {
    /// As given.
    #[serde(flatten)]
    pub given: GivenOrder,
    /// Why it could not be carried out, where it could not: the run had gone on meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_tree_are_named_like_nodes_and_variants_and_the_base_is_none() {
        for (text, valid) in
            [("s1", true), ("s1.e2", true), ("s1.e2.a", true), ("base", false), ("s1.e2.A", false), ("", false)]
        {
            assert_eq!(text.parse::<TreePart>().is_ok(), valid, "{text}");
        }
        let part = |text: &str| text.parse::<TreePart>().unwrap();
        assert_eq!(part("s12.e1.a").strategy(), NodeId::strategy(12));
        assert!(part("s1").holds("s1") && part("s1").holds("s1.e2.a") && part("s1.e2").holds("s1.e2.a"));
        assert!(!part("s1").holds("s12") && !part("s1.e2").holds("s1") && !part("s1.e2").holds("s1.e22"));
    }

    #[test]
    fn an_order_reads_back_as_it_was_written_and_says_what_it_is() {
        let changes = BTreeMap::from([("config.lora.r".to_owned(), Value::from(16))]);
        let branch = Order::Branch { changes, reason: Some("more room".to_owned()) };
        let given = GivenOrder { number: 3, node: "s1.e2.a".parse().unwrap(), order: branch };
        let record = OrderRecord { given, refused: Some("too late".to_owned()) };
        let json = serde_json::to_string(&record).unwrap();
        assert!(json.starts_with(r#"{"number":3,"node":"s1.e2.a","order":"branch""#), "{json}");
        assert_eq!(serde_json::from_str::<OrderRecord>(&json).unwrap(), record);
        assert_eq!(record.given.words(), "a person branched s1.e2.a with config.lora.r = 16: more room");
    }
}
