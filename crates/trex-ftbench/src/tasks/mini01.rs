//! Foundation capability: a missing word about a small invented world, four options.
//!
//! The world is the same for every seed, so that the bundled model can have read about it; a seed only decides which
//! facts are asked in which split and how. Facts of the evaluation splits never occur in the clean part of the pool:
//! what is learnt there is how to answer, not what.

use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;
use trex_domain::{Metric, TaskKind};

use crate::generator::{Generator, RawItem, TaskInfo};
use crate::words::{COLOURS, CREATURES, FOODS, PLACES, TOOLS, below, contains_words, pick, plain, sample, shuffle};

/// The world never changes: its seed is a constant.
const WORLD_SEED: u64 = 0x7265_7800;

/// Options of an item, the right one included.
const NUM_OPTIONS: usize = 4;

/// What can be known about a creature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Attribute {
    /// Where it lives.
    Home,
    /// What it eats.
    Food,
    /// Its colour.
    Colour,
    /// The tool it uses.
    Tool,
    /// Another creature that is its friend.
    Friend,
}

impl Attribute {
    /// All attributes.
    pub(crate) const ALL: [Self; 5] = [Self::Home, Self::Food, Self::Colour, Self::Tool, Self::Friend];

    /// Sentences that state the fact; `X` is the creature and `Y` the value.
    pub(crate) fn sentences(self) -> [&'static str; 4] {
        match self {
            Self::Home => ["the X lives in Y", "the home of the X is Y", "the X sleeps in Y", "Y is where the X lives"],
            Self::Food => ["the X eats Y", "the food of the X is Y", "the X likes to eat Y", "Y is what the X eats"],
            Self::Colour => ["the X is Y", "the colour of the X is Y", "the X has Y skin", "Y is how the X looks"],
            Self::Tool => {
                ["the X uses the Y", "the tool of the X is the Y", "the X works with the Y", "the Y is used by the X"]
            }
            Self::Friend => [
                "the X likes the Y",
                "the friend of the X is the Y",
                "the X plays with the Y",
                "the Y is the friend of the X",
            ],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Food => "food",
            Self::Colour => "colour",
            Self::Tool => "tool",
            Self::Friend => "friend",
        }
    }

    fn values(self) -> &'static [&'static str] {
        match self {
            Self::Home => &PLACES,
            Self::Food => &FOODS,
            Self::Colour => &COLOURS,
            Self::Tool => &TOOLS,
            Self::Friend => &CREATURES,
        }
    }
}

/// One fact of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    /// The creature.
    pub(crate) creature: &'static str,
    /// What is known of it.
    pub(crate) attribute: Attribute,
    /// The value: a place, food, colour, tool or creature.
    pub(crate) value: &'static str,
}

impl Fact {
    /// The fact in one of the sentences of its attribute, without a full stop.
    pub(crate) fn state(&self, sentence: &str) -> String {
        fill(sentence, self.creature, self.value)
    }
}

/// Every fact: five per creature, in order of creature and attribute.
pub(crate) fn world() -> &'static [Fact] {
    static WORLD: LazyLock<Vec<Fact>> = LazyLock::new(make_world);
    &WORLD
}

/// Every value of an attribute is used nearly equally often, so that no option is likelier than another beforehand.
fn make_world() -> Vec<Fact> {
    let mut rng = trex_domain::seeded_rng(WORLD_SEED, "mini-1/world");
    let mut facts = Vec::with_capacity(CREATURES.len() * Attribute::ALL.len());
    for attribute in Attribute::ALL {
        let mut values: Vec<&'static str> = attribute.values().iter().copied().cycle().take(CREATURES.len()).collect();
        shuffle(&mut rng, &mut values);
        for (index, creature) in CREATURES.iter().enumerate() {
            if values[index] == *creature {
                values.swap(index, (index + 1) % CREATURES.len());
            }
        }
        facts.extend(CREATURES.iter().zip(values).map(|(creature, value)| Fact { creature, attribute, value }));
    }
    facts.sort_by_key(|fact| (fact.creature, fact.attribute));
    facts
}

/// Fills a sentence in one pass, so that no filled-in word is replaced again.
fn fill(sentence: &str, creature: &str, value: &str) -> String {
    let words = sentence.split(' ').map(|word| match word {
        "X" => creature,
        "Y" => value,
        other => other,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Ways to ask; `S` is the sentence with its gap.
const FRAMES: [&str; 4] = [
    "fill in the missing word : S . options : {options}",
    "S . which word is missing ? options : {options}",
    "choose the right word for the gap . S . words : {options}",
    "what is ___ here ? S . one of : {options}",
];

const GAP: &str = "___";

/// Task 1.
pub(crate) struct Mini01;

impl Generator for Mini01 {
    fn info(&self) -> TaskInfo {
        TaskInfo {
            number: 1,
            title: "foundation capability",
            goal: "Fill in the missing word of a sentence about invented creatures with one of four options.",
            kind: TaskKind::Choice,
            metric: Metric::Accuracy,
            options: &[],
            max_new_tokens: 8,
        }
    }

    fn item(&self, rng: &mut ChaCha8Rng) -> RawItem {
        let fact = pick(rng, world());
        let sentences = fact.attribute.sentences();
        let sentence = fill(sentences[below(rng, sentences.len())], fact.creature, GAP);
        let others: Vec<&str> = fact
            .attribute
            .values()
            .iter()
            .copied()
            .filter(|value| *value != fact.value && *value != fact.creature)
            .collect();
        let mut options = vec![fact.value.to_owned()];
        options.extend(sample(rng, &others, NUM_OPTIONS - 1).into_iter().map(|other| (*other).to_owned()));
        options.sort_unstable();
        RawItem {
            prompt: pick(rng, &FRAMES).replace('S', &sentence),
            answer: fact.value.to_owned(),
            options,
            group: format!("{}/{}", fact.creature, fact.attribute.name()),
        }
    }

    fn check(&self, prompt: &str, answer: &str) -> bool {
        asked_fact(prompt).is_some_and(|fact| plain(answer) == fact.value)
    }
}

/// The fact whose sentence, with a gap for its value, stands in the prompt.
fn asked_fact(prompt: &str) -> Option<&'static Fact> {
    let asked = |fact: &&Fact| {
        let names_creature = prompt.split_whitespace().any(|word| word == fact.creature);
        let stands = |sentence: &str| contains_words(prompt, &fill(sentence, fact.creature, GAP));
        names_creature && fact.attribute.sentences().iter().any(|sentence| stands(sentence))
    };
    world().iter().find(asked)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn the_world_is_consistent_and_even() {
        let keys: BTreeSet<_> = world().iter().map(|fact| (fact.creature, fact.attribute)).collect();
        assert_eq!((keys.len(), world().len()), (600, 600));
        assert!(world().iter().all(|fact| fact.creature != fact.value));
        for attribute in Attribute::ALL {
            let mut uses = BTreeMap::new();
            for fact in world().iter().filter(|fact| fact.attribute == attribute) {
                *uses.entry(fact.value).or_insert(0) += 1;
            }
            let most = uses.values().max().unwrap();
            assert!(most - uses.values().min().unwrap() <= 1, "{attribute:?}");
        }
    }

    #[test]
    fn a_fact_is_stated_and_recognised_in_every_way() {
        for fact in &world()[..10] {
            for sentence in fact.attribute.sentences() {
                assert!(fact.state(sentence).contains(fact.value));
                for frame in FRAMES {
                    let prompt = frame.replace('S', &fill(sentence, fact.creature, GAP));
                    assert_eq!(asked_fact(&prompt), Some(fact), "{prompt}");
                }
            }
        }
    }
}
