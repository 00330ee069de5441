//! Choosing among listed options: kinds of things, opposites, and copying one of the list. Knows no task.

use rand_chacha::ChaCha8Rng;

use super::chat::{Exchange, choose_from, exchange};
use crate::words::{ADJECTIVES, ANIMALS, COLOURS, FOODS, NAMES, NOUNS, VERBS, below, pick, sample};

/// Kinds of words and their lists.
const KINDS: [(&str, &[&str]); 6] = [
    ("animal", &ANIMALS),
    ("colour", &COLOURS),
    ("food", &FOODS),
    ("thing", &NOUNS),
    ("name", &NAMES),
    ("action", &VERBS),
];

const OPPOSITES: [(&str, &str); 12] = [
    ("big", "small"),
    ("old", "new"),
    ("long", "short"),
    ("hot", "cold"),
    ("fast", "slow"),
    ("soft", "hard"),
    ("dark", "bright"),
    ("dry", "wet"),
    ("heavy", "light"),
    ("quiet", "loud"),
    ("happy", "sad"),
    ("sharp", "flat"),
];

/// A question with options.
pub(super) fn choose(rng: &mut ChaCha8Rng) -> Exchange {
    match below(rng, 5) {
        0 => which_is(rng),
        1 => kind_of(rng),
        2 => opposite(rng),
        3 => place_in_list(rng),
        _ => told(rng),
    }
}

/// One word of a wanted kind among words of other kinds.
fn which_is(rng: &mut ChaCha8Rng) -> Exchange {
    let kinds = sample(rng, &KINDS, 4);
    let words: Vec<&str> = kinds.iter().map(|(_, list)| *pick(rng, list)).collect();
    let question = match below(rng, 2) {
        0 => format!("which of these is a kind of {} ?", kinds[0].0),
        _ => format!("find the {} .", kinds[0].0),
    };
    choose_from(rng, &question, &words, words[0])
}

fn kind_of(rng: &mut ChaCha8Rng) -> Exchange {
    let kinds = sample(rng, &KINDS, 3);
    let word = pick(rng, kinds[0].1);
    let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
    choose_from(rng, &format!("what is {word} ?"), &names, names[0])
}

fn opposite(rng: &mut ChaCha8Rng) -> Exchange {
    let (left, right) = *pick(rng, &OPPOSITES);
    let (word, right) = if below(rng, 2) == 0 { (left, right) } else { (right, left) };
    let mut options = vec![right];
    options.extend(sample(rng, &ADJECTIVES, 6).into_iter().filter(|other| **other != right && **other != word).take(3));
    choose_from(rng, &format!("the opposite of {word} is ..."), &options, right)
}

/// The first, second, third or last of a list.
fn place_in_list(rng: &mut ChaCha8Rng) -> Exchange {
    const PLACES: [(&str, usize); 4] = [("first", 0), ("second", 1), ("third", 2), ("last", 3)];
    let (place, index) = *pick(rng, &PLACES);
    let (_, list) = *pick(rng, &KINDS);
    let words: Vec<&str> = sample(rng, list, 4).into_iter().copied().collect();
    exchange(format!("here are four words: {} . repeat the {place} one .", words.join(", ")), words[index])
}

/// A fact that was just told.
fn told(rng: &mut ChaCha8Rng) -> Exchange {
    let colours: Vec<&str> = sample(rng, &COLOURS, 4).into_iter().copied().collect();
    let things = sample(rng, &NOUNS, 2);
    let question = format!(
        "the {} is {} and the {} is {} . which colour has the {} ?",
        things[0], colours[0], things[1], colours[1], things[0]
    );
    choose_from(rng, &question, &colours, colours[0])
}
