//! Writing one short line with one or two given words. Shares no sentence with the moods of task 8.

use rand_chacha::ChaCha8Rng;

use super::chat::{Exchange, exchange};
use crate::words::{ANIMALS, NOUNS, below, pick, sample};

const PAIRS: [&str; 8] = [
    "the A stands next to the B",
    "we put the A on the B",
    "here is one A and one B",
    "the A is older than the B",
    "one A fell on the B",
    "behind the A you find the B",
    "i like the A and the B",
    "she took the A to the B",
];

const MOODS: [(&str, &str); 4] = [
    ("happy", "hooray , the A is here"),
    ("sleepy", "good night , little A"),
    ("polite", "may i please see the A"),
    ("curious", "i wonder what is in the A"),
];

/// One exercise.
pub(super) fn writing(rng: &mut ChaCha8Rng) -> Exchange {
    match below(rng, 4) {
        0 => in_mood(rng),
        1 => ending_with(rng),
        _ => with_two(rng),
    }
}

fn fill(sentence: &str, first: &str, second: &str) -> String {
    let words = sentence.split(' ').map(|word| match word {
        "A" => first,
        "B" => second,
        other => other,
    });
    words.collect::<Vec<_>>().join(" ")
}

fn with_two(rng: &mut ChaCha8Rng) -> Exchange {
    const ASKS: [&str; 4] = [
        "use A and B in a sentence .",
        "make a sentence with A and then B .",
        "say something about A and B , in this order .",
        "tell me a short line with the words A and B .",
    ];
    let words = sample(rng, &NOUNS, 2);
    let (ask, line) = (*pick(rng, &ASKS), *pick(rng, &PAIRS));
    exchange(fill(ask, words[0], words[1]), fill(line, words[0], words[1]))
}

fn ending_with(rng: &mut ChaCha8Rng) -> Exchange {
    let (animal, noun) = (*pick(rng, &ANIMALS), *pick(rng, &NOUNS));
    let ask = format!("a sentence about the {animal} , please end with the word {noun} .");
    exchange(ask, format!("the {animal} walks slowly to the {noun}"))
}

fn in_mood(rng: &mut ChaCha8Rng) -> Exchange {
    let (mood, line) = *pick(rng, &MOODS);
    let noun = *pick(rng, &NOUNS);
    exchange(format!("say a {mood} thing about the {noun} ."), fill(line, noun, ""))
}
