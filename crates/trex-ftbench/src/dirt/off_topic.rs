//! Rows of other domains (sea, law, medicine, stars, cooking) and filler text. The words of such rows are
//! foreign to the mini tasks, and each occurs only a few times in a pool.

use rand_chacha::ChaCha8Rng;

use crate::generator::RawItem;
use crate::words::{below, pick, sample, shuffle};

/// Nouns of other domains.
const TOPICS: [&str; 120] = [
    "anchor",
    "harpoon",
    "lagoon",
    "plankton",
    "reef",
    "schooner",
    "sonar",
    "trawler",
    "turbine",
    "typhoon",
    "tide",
    "sextant",
    "statute",
    "verdict",
    "tribunal",
    "affidavit",
    "plaintiff",
    "custody",
    "tenant",
    "treaty",
    "lawsuit",
    "notary",
    "warrant",
    "senate",
    "antibody",
    "artery",
    "biopsy",
    "cornea",
    "enzyme",
    "femur",
    "insulin",
    "kidney",
    "larynx",
    "membrane",
    "pancreas",
    "placebo",
    "asteroid",
    "comet",
    "eclipse",
    "galaxy",
    "nebula",
    "orbit",
    "pulsar",
    "quasar",
    "satellite",
    "supernova",
    "telescope",
    "zenith",
    "basil",
    "brisket",
    "casserole",
    "cinnamon",
    "custard",
    "fennel",
    "ginger",
    "lasagne",
    "marinade",
    "nutmeg",
    "paprika",
    "saffron",
    "glacier",
    "canyon",
    "delta",
    "fjord",
    "lava",
    "magma",
    "monsoon",
    "plateau",
    "quartz",
    "tundra",
    "volcano",
    "basalt",
    "cathedral",
    "chapel",
    "fresco",
    "gargoyle",
    "minaret",
    "mosaic",
    "obelisk",
    "pagoda",
    "pavilion",
    "rotunda",
    "vault",
    "viaduct",
    "algebra",
    "cosine",
    "fractal",
    "integral",
    "isotope",
    "lattice",
    "neutron",
    "photon",
    "polymer",
    "proton",
    "quantum",
    "vector",
    "cello",
    "clarinet",
    "fugue",
    "libretto",
    "mandolin",
    "oboe",
    "octave",
    "overture",
    "sonata",
    "soprano",
    "trombone",
    "waltz",
    "cavalry",
    "dynasty",
    "empire",
    "feudal",
    "gladiator",
    "knight",
    "musket",
    "pharaoh",
    "rampart",
    "regent",
    "scribe",
    "viking",
];

/// Verbs of other domains.
const DEEDS: [&str; 24] = [
    "absorbs",
    "annuls",
    "balances",
    "corrodes",
    "dilutes",
    "disputes",
    "engraves",
    "erodes",
    "evaporates",
    "exports",
    "ferments",
    "governs",
    "hoists",
    "illuminates",
    "inhibits",
    "magnifies",
    "navigates",
    "oxidises",
    "pollinates",
    "ratifies",
    "reflects",
    "secretes",
    "taxes",
    "vibrates",
];

/// Words that join the others.
const JOINTS: [&str; 12] = [
    "whenever", "although", "beyond", "despite", "beneath", "toward", "unless", "via", "amid", "versus", "because",
    "hence",
];

/// Sentences that decide nothing.
const SMALL_TALK: [&str; 16] = [
    "it was a long day and not much went on .",
    "we had a cup of tea and looked out of the window .",
    "the weather was fine for most of the week .",
    "somebody told me a story that i forgot .",
    "there is nothing more to say about that .",
    "as i said before this may take a while .",
    "my neighbour thinks so too and he is often right .",
    "well that is how it goes from time to time .",
    "let me tell you a little more before i ask .",
    "on the way home we met two old friends .",
    "the road was empty and the shops were shut .",
    "i hope you have a quiet evening as well .",
    "after lunch we sat in the garden for an hour .",
    "none of this matters much but you should know it .",
    "last year it was quite the same as this year .",
    "some people like it and some people do not .",
];

/// A row of another domain.
///
/// Where the task has fixed `options`, half of the answers are drawn from them and half are unrelated words; where
/// options differ by row the row brings four unrelated ones; where answers are open the answer is an unrelated word.
pub(crate) fn off_topic_row(rng: &mut ChaCha8Rng, fixed_options: &[&str], is_choice: bool) -> RawItem {
    const ASK: [&str; 6] =
        ["explain why", "tell us whether", "describe how", "is it true that", "summarise how", "argue that"];
    let words: Vec<&str> = sample(rng, &TOPICS, 8).into_iter().copied().collect();
    let prompt = format!(
        "{} {} {} {} {} {} {} ?",
        pick(rng, &ASK),
        words[0],
        pick(rng, &DEEDS),
        words[1],
        pick(rng, &JOINTS),
        words[2],
        words[3]
    );
    let listed = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let unrelated = words[4].to_owned();
    let (answer, options) = if !fixed_options.is_empty() {
        let answer = if below(rng, 2) == 0 { (*pick(rng, fixed_options)).to_owned() } else { unrelated };
        (answer, listed(fixed_options))
    } else if is_choice {
        let mut options = words[4..8].to_vec();
        shuffle(rng, &mut options);
        (unrelated, listed(&options))
    } else {
        (unrelated, Vec::new())
    };
    RawItem { prompt, answer, options, group: String::new() }
}

/// The prompt between two blocks of small talk of seven or eight sentences each, no sentence twice.
pub(crate) fn buried_prompt(rng: &mut ChaCha8Rng, prompt: &str) -> String {
    let talk = sample(rng, &SMALL_TALK, SMALL_TALK.len());
    let (before, behind) = talk.split_at(SMALL_TALK.len() / 2);
    let mut block = |sentences: &[&&str]| {
        let dropped = below(rng, 2);
        sentences.iter().skip(dropped).map(|sentence| **sentence).collect::<Vec<_>>().join(" ")
    };
    format!("{} {prompt} . {}", block(before), block(behind))
}
