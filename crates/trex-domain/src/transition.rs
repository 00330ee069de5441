//! The one table of states that a variant goes through.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::DomainError;

/// State of a variant or of the node it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Someone had the idea.
    Proposed,
    /// The verifier let it pass.
    Verified,
    /// The verifier, or a person, did not.
    Rejected,
    /// Equal to something that was run before; its result is reused.
    Cached,
    /// A worker trains or scores it.
    Running,
    /// It has a score at some rung.
    Evaluated,
    /// It goes on to a higher rung.
    Promoted,
    /// It does not.
    Pruned,
    /// It could not be run.
    Failed,
}

impl NodeState {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Verified => "verified",
            Self::Rejected => "rejected",
            Self::Cached => "cached",
            Self::Running => "running",
            Self::Evaluated => "evaluated",
            Self::Promoted => "promoted",
            Self::Pruned => "pruned",
            Self::Failed => "failed",
        }
    }

    /// The states that may follow.
    pub fn successors(self) -> &'static [Self] {
        match self {
            Self::Proposed => &[Self::Verified, Self::Rejected, Self::Cached],
            Self::Verified | Self::Promoted => &[Self::Running, Self::Pruned],
            // A killed worker leaves the state at running; the next attempt starts from there.
            Self::Running => &[Self::Running, Self::Evaluated, Self::Failed],
            Self::Evaluated => &[Self::Running, Self::Promoted, Self::Pruned],
            Self::Rejected | Self::Cached | Self::Pruned | Self::Failed => &[],
        }
    }
}

/// Returns the new state, or an error when the table does not allow it.
pub fn check_transition(node: &str, from: NodeState, to: NodeState) -> Result<NodeState, DomainError> {
    if from.successors().contains(&to) {
        return Ok(to);
    }
    Err(DomainError::IllegalTransition { node: node.to_owned(), from: from.as_str(), to: to.as_str() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: NodeState, to: NodeState, legal: bool) {
        assert_eq!(check_transition("s1.e1.a", from, to).is_ok(), legal, "{from:?} -> {to:?}");
    }

    #[test]
    fn the_table_allows_the_way_up_and_nothing_backwards() {
        check(NodeState::Proposed, NodeState::Verified, true);
        check(NodeState::Verified, NodeState::Running, true);
        check(NodeState::Running, NodeState::Evaluated, true);
        check(NodeState::Evaluated, NodeState::Promoted, true);
        check(NodeState::Promoted, NodeState::Running, true);
        check(NodeState::Proposed, NodeState::Running, false);
        check(NodeState::Pruned, NodeState::Running, false);
        check(NodeState::Cached, NodeState::Running, false);
        check(NodeState::Evaluated, NodeState::Verified, false);
        check(NodeState::Running, NodeState::Failed, true);
        check(NodeState::Failed, NodeState::Pruned, false);
    }
}
