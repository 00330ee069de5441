//! One training example or evaluation item, in the one form that all crates share.

use rand_chacha::rand_core::Rng as _;
use serde::{Deserialize, Serialize};

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name that chat templates use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn of the person.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }

    /// A turn of the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: content.into() }
    }

    /// The system turn.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: Role::System, content: content.into() }
    }
}

/// Where an example came from and what changed it on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Name of the source file or generator.
    pub source: String,
    /// Row in the source, from 0, counting every row that was read.
    pub row: u64,
    /// Names of the operators that changed the example, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed_by: Vec<String>,
}

/// A prompt with its gold answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Stable within its dataset: source name and row.
    pub id: String,
    /// The conversation up to the answer; the last turn is the person's.
    pub prompt: Vec<Message>,
    /// The gold answer, without surrounding white space.
    pub answer: String,
    /// The closed answer space in declared order; empty where the answer is open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Rows that share a group never straddle two splits (a patient, a document, a near-duplicate cluster).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// An answer that is worse than the gold one, where preference pairs are trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

impl Example {
    /// All turns of the prompt joined by line breaks: what duplicate and leak checks compare.
    pub fn prompt_text(&self) -> String {
        self.prompt.iter().map(|turn| turn.content.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// The last turn of the person, or nothing when the prompt is empty.
    pub fn question(&self) -> &str {
        self.prompt.last().map_or("", |turn| turn.content.as_str())
    }
}

impl Example {
    /// The worse answer of a preference pair: the rejected one, or else the other one of two options.
    pub fn rejected_answer(&self) -> Option<&str> {
        let other = match &self.options[..] {
            [first, second] if *first == self.answer => Some(second),
            [first, second] if *second == self.answer => Some(first),
            _ => None,
        };
        let rejected = self.rejected.as_ref().or(other)?;
        (rejected.trim() != self.answer.trim()).then_some(rejected.as_str())
    }

    /// Whether this is raw text: something to read and no answer.
    pub fn is_text(&self) -> bool {
        self.answer.is_empty() && self.options.is_empty() && self.rejected.is_none()
    }

    /// Raw text as it is trained on and scored: turns and answer, one below the other.
    pub fn raw_text(&self) -> String {
        let turns = self.prompt.iter().map(|turn| turn.content.as_str()).chain([self.answer.as_str()]);
        turns.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

/// The place in a prompt that is replaced by the options.
const OPTIONS_PLACE: &str = "{options}";

impl Example {
    /// Whether the prompt lists its options in an order that depends on the seed.
    pub fn has_seeded_prompt(&self) -> bool {
        self.prompt.iter().any(|turn| turn.content.contains(OPTIONS_PLACE))
    }

    /// The prompt with `{options}` replaced by the options, separated by ", ", in an order drawn from seed and id.
    ///
    /// The order is the same for every model, so that comparisons stay paired.
    pub fn rendered_prompt(&self, seed: u64) -> Vec<Message> {
        if !self.has_seeded_prompt() {
            return self.prompt.clone();
        }
        let mut options = self.options.clone();
        let mut rng = crate::seeded_rng(seed, &format!("options/{}", self.id));
        for last in (1..options.len()).rev() {
            let other = usize::try_from(rng.next_u64() % (last as u64 + 1)).unwrap_or(last);
            options.swap(last, other);
        }
        let listed = options.join(", ");
        let render =
            |turn: &Message| Message { role: turn.role, content: turn.content.replace(OPTIONS_PLACE, &listed) };
        self.prompt.iter().map(render).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_answer_is_the_rejected_one_or_the_other_option() {
        let check = |options: &[&str], rejected: Option<&str>, expected: Option<&str>| {
            let example = Example {
                id: "a/1".into(),
                prompt: vec![Message::user("q")],
                answer: "b".into(),
                options: options.iter().map(|option| (*option).to_owned()).collect(),
                group: None,
                rejected: rejected.map(str::to_owned),
                origin: Origin::default(),
            };
            assert_eq!(example.rejected_answer(), expected);
        };
        check(&["a", "b"], None, Some("a"));
        check(&["b", "c"], None, Some("c"));
        check(&["a", "b", "c"], None, None);
        check(&["a", "c"], None, None);
        check(&[], Some("x"), Some("x"));
        check(&["a", "b"], Some("x"), Some("x"));
        check(&[], Some(" b"), None);
    }

    #[test]
    fn options_are_listed_in_an_order_drawn_per_seed_and_item() {
        let example = Example {
            id: "a/1".into(),
            prompt: vec![Message::user("Pick: {options}")],
            answer: "b".into(),
            options: ["a", "b", "c", "d"].map(String::from).to_vec(),
            group: None,
            rejected: None,
            origin: Origin::default(),
        };
        let text = |seed| example.rendered_prompt(seed)[0].content.clone();
        assert_eq!(text(1), text(1));
        let orders: std::collections::BTreeSet<_> = (0..40).map(text).collect();
        assert!(orders.len() > 10, "24 orders are possible, {} were drawn", orders.len());
        let mut letters: Vec<_> = text(3).trim_start_matches("Pick: ").split(", ").map(String::from).collect();
        letters.sort();
        assert_eq!(letters, example.options);
    }
}
