//! What every mini task provides: clean items one at a time, and a check of an answer from the prompt alone.

use rand_chacha::ChaCha8Rng;
use trex_domain::{Metric, TaskKind};

/// Fixed facts of a mini task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskInfo {
    /// 1 to 10.
    pub(crate) number: u8,
    /// Short title.
    pub(crate) title: &'static str,
    /// The requirement in plain words, as a person would say it.
    pub(crate) goal: &'static str,
    /// Closed or open answers.
    pub(crate) kind: TaskKind,
    /// What counts.
    pub(crate) metric: Metric,
    /// The answer space where it is the same for every item; empty where it is open or differs by item.
    pub(crate) options: &'static [&'static str],
    /// Longest generated answer in tokens.
    pub(crate) max_new_tokens: usize,
}

/// One clean item before it becomes an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawItem {
    /// The person's turn; `{options}` stands where the options are listed.
    pub(crate) prompt: String,
    /// The gold answer.
    pub(crate) answer: String,
    /// The item's own options in a fixed order, or the task's; empty for open answers.
    pub(crate) options: Vec<String>,
    /// Items with equal group never straddle two splits (the underlying fact, table or rule).
    pub(crate) group: String,
}

/// A mini task.
pub(crate) trait Generator: Sync {
    /// Its fixed facts.
    fn info(&self) -> TaskInfo;

    /// Draws one clean item. Labels come out with the balance that the task declares.
    fn item(&self, rng: &mut ChaCha8Rng) -> RawItem;

    /// Whether `answer` is right for `prompt`, computed from the prompt (and the task's fixed world), never from a stored gold answer.
    fn check(&self, prompt: &str, answer: &str) -> bool;
}
