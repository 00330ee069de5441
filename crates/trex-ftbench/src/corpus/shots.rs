//! Following shown examples: two worked lines and a third to finish. Shorter lines and other marks than task 3 uses.

use rand_chacha::ChaCha8Rng;

use super::chat::{Exchange, choose_from, exchange};
use crate::words::{ANIMALS, COLOURS, FOODS, NOUNS, below, pick, sample, shuffle};

/// Which word of a line is picked.
#[derive(Clone, Copy)]
enum Rule {
    First,
    Last,
    Animal,
    Colour,
    Food,
}

const RULES: [Rule; 5] = [Rule::First, Rule::Last, Rule::Animal, Rule::Colour, Rule::Food];

/// Marks between a line and its answer, and between two lines.
const MARKS: [(&str, &str); 4] = [(" => ", " ; "), (" : ", " , "), (" gives ", " . "), (" -> ", " ; ")];

/// A line of three words and the one that the rule picks.
fn line(rng: &mut ChaCha8Rng, rule: Rule) -> (Vec<&'static str>, &'static str) {
    let special = match rule {
        Rule::Colour => *pick(rng, &COLOURS),
        Rule::Food => *pick(rng, &FOODS),
        Rule::First | Rule::Last | Rule::Animal => *pick(rng, &ANIMALS),
    };
    let mut words = vec![special];
    words.extend(sample(rng, &NOUNS, 2));
    shuffle(rng, &mut words);
    let picked = match rule {
        Rule::First => words[0],
        Rule::Last => words[2],
        Rule::Animal | Rule::Colour | Rule::Food => special,
    };
    (words, picked)
}

/// Two worked lines and a question.
pub(super) fn shots(rng: &mut ChaCha8Rng) -> Exchange {
    const LEADS: [&str; 4] = ["", "examples : ", "continue : ", "same way again : "];
    let rule = *pick(rng, &RULES);
    let (arrow, between) = *pick(rng, &MARKS);
    let lead = *pick(rng, &LEADS);
    let shown = [line(rng, rule), line(rng, rule)]
        .map(|(words, picked)| format!("{}{arrow}{picked}{between}", words.join(" ")));
    let (words, picked) = line(rng, rule);
    let text = format!("{lead}{}{}{}", shown.concat(), words.join(" "), arrow.trim_end());
    if below(rng, 3) == 0 { exchange(text, picked) } else { choose_from(rng, &format!("{text} ..."), &words, picked) }
}
