//! Words that all tasks share, and the few random draws they are picked with. Holds no templates and knows no task.
//!
//! Invented words are ASCII, have two syllables and differ from each other within their first four letters, so that a
//! small model can tell them apart.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;

/// Invented creatures.
pub(crate) const CREATURES: [&str; 120] = [
    "velka", "runku", "skuzo", "skova", "tarvu", "skara", "grelu", "zirza", "zlanki", "pluni", "merna", "drirva",
    "brorvu", "plazi", "marni", "plomu", "pleli", "trilo", "fenki", "bundi", "gruta", "vimbu", "furzo", "brama",
    "skitu", "krorzi", "skeno", "kronko", "bravi", "nenki", "zluka", "bombi", "branu", "dindo", "danki", "brendi",
    "plirvu", "volka", "sendu", "zlizu", "grervo", "trizo", "fomba", "rolko", "plorzi", "vonda", "briri", "trirna",
    "zervu", "gralko", "drumba", "zlezu", "krelu", "krivu", "kaltu", "fonko", "zarvi", "parni", "kramba", "brondu",
    "krolo", "funku", "tratu", "skurno", "skulki", "zlozi", "fulku", "groma", "skomu", "plolko", "plonda", "groli",
    "dromi", "grulta", "grako", "falku", "drolto", "grumbi", "drundo", "brurzo", "gremo", "gerna", "traku", "dandu",
    "rombu", "skanda", "krimo", "pendi", "plervo", "gandi", "krindo", "zlova", "purzo", "krilki", "tulta", "pervu",
    "sornu", "sirni", "zeltu", "trino", "brumu", "vonka", "grambo", "drinko", "zlonki", "zulti", "skerno", "skumbi",
    "kruzi", "zlara", "zleti", "sombo", "mirzo", "trurzu", "gruni", "kindi", "rurnu", "mervo", "dimba", "norvo",
];

/// Invented places.
pub(crate) const PLACES: [&str; 16] = [
    "trimwick", "tevdale", "trerfen", "donmoor", "bevwick", "brurdale", "zolfen", "trunmoor", "tanwick", "dildale",
    "malfen", "zelmoor", "zorwick", "kovdale", "momfen", "ninmoor",
];

/// Invented tools.
pub(crate) const TOOLS: [&str; 16] = [
    "zlemtok", "sulpik", "vamjig", "zlildob", "pamtok", "tavpik", "naljig", "plordob", "kemtok", "grompik", "skinjig",
    "brondob", "drirtok", "gampik", "bumjig", "brildob",
];

/// First names, lower case.
pub(crate) const NAMES: [&str; 40] = [
    "ann", "bob", "cid", "dan", "eva", "fay", "gus", "hal", "ida", "jon", "kim", "leo", "mia", "ned", "ola", "pam",
    "quin", "ray", "sam", "tom", "una", "vic", "wes", "yan", "zoe", "amy", "ben", "cleo", "dora", "emil", "finn",
    "gina", "hugo", "iris", "jack", "kate", "luis", "maya", "nora", "otto",
];

/// Colours.
pub(crate) const COLOURS: [&str; 10] =
    ["red", "blue", "green", "black", "white", "brown", "pink", "grey", "gold", "yellow"];

/// Things to eat.
pub(crate) const FOODS: [&str; 16] = [
    "rice", "beans", "corn", "bread", "soup", "nuts", "plums", "figs", "honey", "eggs", "cheese", "apples", "pears",
    "fish", "seeds", "roots",
];

/// Real animals.
pub(crate) const ANIMALS: [&str; 20] = [
    "cat", "dog", "horse", "cow", "pig", "sheep", "goat", "duck", "hen", "fox", "wolf", "bear", "lion", "tiger",
    "mouse", "rabbit", "frog", "owl", "eagle", "snake",
];

/// Common things that are no animals, colours or foods.
pub(crate) const NOUNS: [&str; 62] = [
    "house", "door", "table", "chair", "lamp", "book", "cup", "ball", "tree", "river", "stone", "road", "bridge",
    "garden", "window", "box", "bag", "coat", "hat", "shoe", "bell", "boat", "train", "car", "clock", "coin", "cloud",
    "field", "fire", "flag", "flower", "fork", "gate", "glass", "hill", "island", "key", "kite", "ladder", "leaf",
    "letter", "map", "moon", "mountain", "mirror", "nail", "paper", "pen", "plate", "rope", "sand", "school", "shop",
    "sky", "snow", "spoon", "star", "street", "tower", "wall", "wheel", "wood",
];

/// Common verbs in their plain form.
pub(crate) const VERBS: [&str; 40] = [
    "walk", "run", "jump", "sit", "stand", "eat", "drink", "sleep", "read", "write", "sing", "dance", "play", "work",
    "open", "close", "carry", "hold", "push", "pull", "throw", "catch", "find", "lose", "give", "take", "bring",
    "send", "buy", "sell", "make", "build", "cut", "wash", "cook", "clean", "paint", "count", "help", "call",
];

/// Common adjectives that are no colours.
pub(crate) const ADJECTIVES: [&str; 30] = [
    "big", "small", "old", "new", "long", "short", "hot", "cold", "fast", "slow", "soft", "hard", "dark", "bright",
    "clean", "dry", "wet", "heavy", "light", "quiet", "loud", "happy", "sad", "kind", "brave", "calm", "round", "flat",
    "sharp", "sweet",
];

/// Draws a number from 0 up to, but without, `bound`; 0 where `bound` is 0.
///
/// The bias of the remainder is below 2⁻⁵⁰ for the small bounds used here.
pub(crate) fn below(rng: &mut ChaCha8Rng, bound: usize) -> usize {
    let bound = bound.max(1) as u64;
    usize::try_from(rng.next_u64() % bound).unwrap_or(0)
}

/// Draws a number from the inclusive range.
pub(crate) fn between(rng: &mut ChaCha8Rng, low: i64, high: i64) -> i64 {
    let width = usize::try_from(high - low + 1).unwrap_or(1);
    low + i64::try_from(below(rng, width)).unwrap_or(0)
}

/// Draws one entry of a list that is not empty.
pub(crate) fn pick<'a, T>(rng: &mut ChaCha8Rng, list: &'a [T]) -> &'a T {
    &list[below(rng, list.len())]
}

/// Puts a list in random order (Fisher and Yates).
pub(crate) fn shuffle<T>(rng: &mut ChaCha8Rng, list: &mut [T]) {
    for last in (1..list.len()).rev() {
        list.swap(last, below(rng, last + 1));
    }
}

/// Draws `count` different entries in random order; all of them where there are fewer.
pub(crate) fn sample<'a, T>(rng: &mut ChaCha8Rng, list: &'a [T], count: usize) -> Vec<&'a T> {
    let mut drawn: Vec<&T> = list.iter().collect();
    shuffle(rng, &mut drawn);
    drawn.truncate(count);
    drawn
}

/// Draws an index with probability proportional to its weight.
pub(crate) fn weighted(rng: &mut ChaCha8Rng, weights: &[usize]) -> usize {
    let mut left = below(rng, weights.iter().sum());
    for (index, weight) in weights.iter().enumerate() {
        if left < *weight {
            return index;
        }
        left -= weight;
    }
    0
}

/// Lower case without surrounding white space, quotes or a final full stop: the form in which short answers are compared.
pub(crate) fn plain(answer: &str) -> String {
    let trimmed = answer.trim().trim_matches(['"', '\'', '`']).trim_end_matches('.');
    trimmed.trim().to_lowercase()
}

/// Whether the words of `pattern` stand in `text` one after another; a capital letter stands for any one word.
pub(crate) fn contains_words(text: &str, pattern: &str) -> bool {
    let pattern: Vec<&str> = pattern.split_whitespace().collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    let is_slot = |word: &str| word.len() == 1 && word.chars().all(|c| c.is_ascii_uppercase());
    let fits = |window: &[&str]| window.iter().zip(&pattern).all(|(word, wanted)| is_slot(wanted) || word == wanted);
    !pattern.is_empty() && words.windows(pattern.len()).any(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, pattern: &str, expected: bool) {
        assert_eq!(contains_words(text, pattern), expected, "{text:?} {pattern:?}");
    }

    #[test]
    fn patterns_match_whole_words_in_a_row() {
        check("i want the red hat", "want the P hat", true);
        check("i want the hat", "want the P hat", false);
        check("i wanted the hat", "want the", false);
        check("i", "i P", false);
        check("i", "", false);
    }

    #[test]
    fn draws_stay_in_range_and_use_all_of_it() {
        let mut rng = trex_domain::seeded_rng(1, "words");
        let drawn: std::collections::BTreeSet<_> = (0..200).map(|_| between(&mut rng, -2, 2)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2]);
        assert_eq!(below(&mut rng, 0), 0);
        assert!((0..100).all(|_| weighted(&mut rng, &[0, 3, 0]) == 1));
        assert_eq!(sample(&mut rng, &NAMES, 99).len(), NAMES.len());
    }
}
