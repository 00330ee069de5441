//! Conversations of the corpus: one skill each, one to four exchanges, sometimes a system turn. Holds no questions.

use rand_chacha::ChaCha8Rng;
use trex_domain::Message;

use super::{choice, code, label, language, math, num_words, order, policy, shots, table, world, writing};
use crate::words::{below, between, pick, shuffle, weighted};

/// A question and its answer, at most 40 words together.
pub(super) struct Exchange {
    pub(super) user: String,
    pub(super) assistant: String,
}

/// Shorthand of the skills.
pub(super) fn exchange(user: impl Into<String>, assistant: impl Into<String>) -> Exchange {
    Exchange { user: user.into(), assistant: assistant.into() }
}

type Skill = fn(&mut ChaCha8Rng) -> Exchange;

/// Skills and their weights; choosing among listed options has the most because half of the tasks need it.
const SKILLS: [(Skill, usize); 13] = [
    (world::fill, 14),
    (world::question, 6),
    (choice::choose, 12),
    (label::label, 10),
    (label::ticket, 6),
    (shots::shots, 9),
    (order::order, 9),
    (language::phrase, 8),
    (code::code, 8),
    (table::table, 8),
    (writing::writing, 6),
    (math::math, 10),
    (policy::policy, 8),
];

const SYSTEMS: [&str; 6] = [
    "you are a helpful assistant .",
    "answer with one word .",
    "answer in a few words .",
    "give the answer only .",
    "you answer short questions .",
    "be brief and exact .",
];

/// In percent.
const SYSTEM_PERCENT: usize = 12;

/// A conversation of 15 to 90 words.
pub(super) fn conversation(rng: &mut ChaCha8Rng) -> Vec<Message> {
    let skill = SKILLS[weighted(rng, &SKILLS.map(|(_, weight)| weight))].0;
    let mut turns = Vec::new();
    if below(rng, 100) < SYSTEM_PERCENT {
        turns.push(Message::system(*pick(rng, &SYSTEMS)));
    }
    // Most tasks are asked in a single turn, so most conversations are as short as the limit allows.
    let wanted = if below(rng, 100) < 65 { 15 } else { usize::try_from(between(rng, 16, 45)).unwrap_or(15) };
    let is_attached = below(rng, 100) < ATTACHED_PERCENT;
    let mut words: usize = 0;
    while words < wanted {
        let Exchange { mut user, mut assistant } = skill(rng);
        if is_attached {
            (user, assistant) = (attached(&user), attached(&assistant));
        }
        words += num_words(&user) + num_words(&assistant);
        turns.push(Message::user(user));
        turns.push(Message::assistant(assistant));
    }
    turns
}

/// In percent: conversations whose punctuation follows the words without a space, as in half of the tasks.
const ATTACHED_PERCENT: usize = 40;

/// Puts punctuation that stands alone behind the word before it.
fn attached(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    for word in text.split(' ') {
        let attaches = matches!(word, "." | "," | "?" | ":") && !joined.ends_with('.');
        if !joined.is_empty() && !attaches {
            joined.push(' ');
        }
        joined.push_str(word);
    }
    joined
}

/// In percent: how often a choice in the corpus is wrong, so that the base has seen that text can err.
const NOISE_PERCENT: usize = 4;

/// A question with its options at the end in random order, answered with one of them.
pub(super) fn choose_from(rng: &mut ChaCha8Rng, question: &str, options: &[&str], right: &str) -> Exchange {
    const LISTS: [&str; 5] = ["options: ", "choose from: ", "one of these: ", "options : ", "possible answers: "];
    let mut listed = options.to_vec();
    shuffle(rng, &mut listed);
    let answer = if below(rng, 100) < NOISE_PERCENT { *pick(rng, &listed) } else { right };
    exchange(format!("{question} {}{}", pick(rng, &LISTS), listed.join(", ")), answer)
}
