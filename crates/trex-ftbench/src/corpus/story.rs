//! Little stories of people, animals and things: grammar and common words, no facts of the invented world.

use rand_chacha::ChaCha8Rng;

use crate::words::{ADJECTIVES, ANIMALS, COLOURS, FOODS, NAMES, NOUNS, VERBS, below, pick, shuffle};

const OPENINGS: [&str; 6] = [
    "one day N and M went to the O .",
    "N had the C O and one A .",
    "long ago one J A lived near the O .",
    "N was J and M was K .",
    "in the morning N saw the C A .",
    "there was one J O by the P .",
];

const MIDDLES: [&str; 12] = [
    "N wanted to V the O .",
    "M gave N some F .",
    "the A sat on the O and was J .",
    "the O was C and the P was J .",
    "then the A ran behind the O .",
    "N said : please V the P .",
    "M did not V , because the O was J .",
    "N and M ate F near the P .",
    "the J A looked at the P .",
    "after that N put the O beside the P .",
    "M asked : where is my O ?",
    "while N could V , M had to W .",
];

const CLOSINGS: [&str; 6] = [
    "in the end N was J .",
    "so N and M went home with the A .",
    "and M never lost the O again .",
    "N laughed and the A slept .",
    "that was one J day for M .",
    "now the O is K and C .",
];

/// A story of 24 to 70 words; a letter stands for the same person or thing all through it.
pub(super) fn story(rng: &mut ChaCha8Rng) -> String {
    let cast = Cast::draw(rng);
    let mut middles = MIDDLES;
    shuffle(rng, &mut middles);
    let num_middles = 2 + below(rng, 4);
    let mut text = cast.fill(OPENINGS[below(rng, OPENINGS.len())]);
    for middle in middles.iter().take(num_middles) {
        text = format!("{text} {}", cast.fill(middle));
    }
    format!("{text} {}", cast.fill(CLOSINGS[below(rng, CLOSINGS.len())]))
}

struct Cast(Vec<(&'static str, &'static str)>);

impl Cast {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let slots: [(&str, &[&'static str]); 10] = [
            ("N", &NAMES),
            ("M", &NAMES),
            ("A", &ANIMALS),
            ("O", &NOUNS),
            ("P", &NOUNS),
            ("C", &COLOURS),
            ("J", &ADJECTIVES),
            ("K", &ADJECTIVES),
            ("V", &VERBS),
            ("W", &VERBS),
        ];
        let mut cast: Vec<_> = slots.iter().map(|(slot, list)| (*slot, *pick(rng, list))).collect();
        cast.push(("F", *pick(rng, &FOODS)));
        Self(cast)
    }

    fn fill(&self, sentence: &str) -> String {
        let word = |slot: &'_ str| self.0.iter().find(|(name, _)| *name == slot).map(|(_, word)| *word);
        sentence.split(' ').map(|slot| word(slot).unwrap_or(slot)).collect::<Vec<_>>().join(" ")
    }
}
