//! The invented world of task 1 as plain sentences, gaps and questions, for 85 % of its facts.
//!
//! Which facts are left out is fixed for all seeds; no document of the corpus states or asks them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;
use trex_domain::seeded_rng;

use super::chat::{Exchange, choose_from, exchange};
use super::num_words;
use crate::tasks::mini01::{Attribute, Fact, world};
use crate::words::{below, pick, sample, shuffle};

/// In percent of all facts.
const KEPT_PERCENT: usize = 85;

/// The facts that the corpus tells, by creature.
pub(super) fn kept() -> &'static [Vec<Fact>] {
    static KEPT: LazyLock<Vec<Vec<Fact>>> = LazyLock::new(draw_kept);
    &KEPT
}

fn draw_kept() -> Vec<Vec<Fact>> {
    let mut facts: Vec<Fact> = world().to_vec();
    shuffle(&mut seeded_rng(0, "corpus/kept facts"), &mut facts);
    facts.truncate(facts.len() * KEPT_PERCENT / 100);
    let mut by_creature: BTreeMap<&str, Vec<Fact>> = BTreeMap::new();
    for fact in facts {
        by_creature.entry(fact.creature).or_default().push(fact);
    }
    by_creature.into_values().collect()
}

fn fact(rng: &mut ChaCha8Rng) -> Fact {
    // By creature and then by fact: sparse creatures are told a little more often, which harms nothing.
    let of_creature = pick(rng, kept());
    *pick(rng, of_creature)
}

/// Sentences beside those of the task; `X` is the creature and `Y` the value.
pub(super) fn more_sentences(attribute: Attribute) -> [&'static str; 2] {
    match attribute {
        Attribute::Home => ["in Y you can meet the X", "every X comes from Y"],
        Attribute::Food => ["a hungry X wants Y", "people give Y to the X"],
        Attribute::Colour => ["every X is Y", "the X is always Y"],
        Attribute::Tool => ["the X carries the Y", "the Y belongs to the X"],
        Attribute::Friend => ["the X visits the Y", "the X is happy with the Y"],
    }
}

/// Two of three statements use the sentences of the task.
fn state(rng: &mut ChaCha8Rng, fact: Fact) -> String {
    let sentence = if below(rng, 3) < 2 {
        *pick(rng, &fact.attribute.sentences())
    } else {
        *pick(rng, &more_sentences(fact.attribute))
    };
    fact.state(sentence)
}

/// One fact as a sentence.
pub(super) fn sentence(rng: &mut ChaCha8Rng) -> String {
    let fact = fact(rng);
    format!("{} .", state(rng, fact))
}

/// Everything that is told of one creature, each fact at least once, in random order.
pub(super) fn profile(rng: &mut ChaCha8Rng) -> String {
    let mut facts = pick(rng, kept()).clone();
    let mut sentences: Vec<String> = Vec::new();
    while num_words(&sentences.join(" ")) < 30 {
        shuffle(rng, &mut facts);
        sentences.extend(facts.iter().map(|fact| format!("{} .", state(rng, *fact))));
    }
    sentences.join(" ")
}

/// Two or three creatures that share a home, food, colour or tool.
pub(super) fn sharing(rng: &mut ChaCha8Rng) -> String {
    let seen = fact(rng);
    let same = |other: &&Fact| {
        other.attribute == seen.attribute && other.value == seen.value && other.creature != seen.creature
    };
    let others: Vec<&Fact> = kept().iter().flatten().filter(same).collect();
    let num_others = 1 + below(rng, 2);
    let mut names = vec![seen.creature];
    names.extend(sample(rng, &others, num_others).into_iter().map(|fact| fact.creature));
    let (names, value) = (names.join(" and the "), seen.value);
    match (seen.attribute, names.contains(' ')) {
        (Attribute::Home, true) => format!("the {names} live in {value} ."),
        (Attribute::Food, true) => format!("the {names} eat {value} ."),
        (Attribute::Colour, true) => format!("the {names} are {value} ."),
        (Attribute::Tool, true) => format!("the {names} use the {value} ."),
        _ => format!("{} .", state(rng, seen)),
    }
}

/// A sentence with a gap and four options.
pub(super) fn fill(rng: &mut ChaCha8Rng) -> Exchange {
    const LEADS: [&str; 4] = ["complete this : ", "what belongs in the gap ? ", "finish the sentence : ", ""];
    let fact = fact(rng);
    let gap = Fact { value: "...", ..fact };
    let question = format!("{}{} .", pick(rng, &LEADS), state(rng, gap));
    let values: Vec<&str> = kept()
        .iter()
        .flatten()
        .filter(|other| other.attribute == fact.attribute && other.value != fact.value && other.value != fact.creature)
        .map(|other| other.value)
        .collect();
    let mut options = vec![fact.value];
    while options.len() < 4 {
        let other = *pick(rng, &values);
        if !options.contains(&other) {
            options.push(other);
        }
    }
    choose_from(rng, &question, &options, fact.value)
}

/// An open question about one fact.
pub(super) fn question(rng: &mut ChaCha8Rng) -> Exchange {
    let fact = fact(rng);
    let name = fact.creature;
    let (question, answer) = match fact.attribute {
        Attribute::Home => (format!("where does the {name} live ?"), format!("in {} .", fact.value)),
        Attribute::Food => (format!("what does the {name} eat ?"), format!("it eats {} .", fact.value)),
        Attribute::Colour => (format!("which colour has the {name} ?"), format!("it is {} .", fact.value)),
        Attribute::Tool => (format!("what does the {name} use ?"), format!("the {} .", fact.value)),
        Attribute::Friend => (format!("whom does the {name} like ?"), format!("the {} .", fact.value)),
    };
    match below(rng, 3) {
        0 => exchange(question, fact.value),
        1 => exchange(format!("tell me : {question}"), answer),
        _ => exchange(question, answer),
    }
}
