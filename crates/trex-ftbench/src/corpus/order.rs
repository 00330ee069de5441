//! Chains of one or two comparisons. Animals and things compare in other ways than the people of task 4.

use rand_chacha::ChaCha8Rng;

use super::chat::{Exchange, choose_from};
use crate::words::{ANIMALS, NAMES, NOUNS, below, pick, sample, shuffle};

/// Comparison from above, from below, and the names of both ends.
struct Scale {
    more: &'static str,
    less: &'static str,
    most: &'static str,
    least: &'static str,
}

const SCALES: [Scale; 8] = [
    Scale { more: "is bigger than", less: "is smaller than", most: "biggest", least: "smallest" },
    Scale { more: "is stronger than", less: "is weaker than", most: "strongest", least: "weakest" },
    Scale { more: "is louder than", less: "is quieter than", most: "loudest", least: "quietest" },
    Scale { more: "is richer than", less: "is poorer than", most: "richest", least: "poorest" },
    Scale { more: "is warmer than", less: "is colder than", most: "warmest", least: "coldest" },
    Scale { more: "is taller than", less: "is shorter than", most: "tallest", least: "shortest" },
    Scale { more: "is older than", less: "is younger than", most: "oldest", least: "youngest" },
    Scale { more: "is faster than", less: "is slower than", most: "fastest", least: "slowest" },
];

const LISTS: [&[&str]; 3] = [&ANIMALS, &NOUNS, &NAMES];

/// Who is at an end of the chain.
pub(super) fn order(rng: &mut ChaCha8Rng) -> Exchange {
    const ASKS: [&str; 3] = ["so which one is the E ?", "name the E one .", "the E is ..."];
    let scale = pick(rng, &SCALES);
    let list = *pick(rng, &LISTS);
    let num_links = 1 + below(rng, 2);
    let chain: Vec<&str> = sample(rng, list, num_links + 1).into_iter().copied().collect();
    let mut links: Vec<String> = chain
        .windows(2)
        .map(|pair| match below(rng, 4) {
            0 => format!("{} {} {} .", pair[1], scale.less, pair[0]),
            _ => format!("{} {} {} .", pair[0], scale.more, pair[1]),
        })
        .collect();
    shuffle(rng, &mut links);
    let (end, answer) = if below(rng, 2) == 0 { (scale.most, chain[0]) } else { (scale.least, chain[num_links]) };
    let question = format!("{} {}", links.join(" "), pick(rng, &ASKS).replace('E', end));
    choose_from(rng, &question, &chain, answer)
}
