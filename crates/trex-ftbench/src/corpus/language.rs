//! Simple English, Spanish, German and French: words, which language it is, and what a phrase wants.
//!
//! Written without accents like task 5. Phrases and most labels are other ones; a few name the wishes of task 5 in plain
//! infinitives, so that the base has met the words but not the sentences.

use rand_chacha::ChaCha8Rng;

use super::chat::{Exchange, choose_from, exchange};
use crate::words::{below, pick};

const LANGUAGES: [&str; 4] = ["english", "spanish", "german", "french"];

/// The same word in the order of [`LANGUAGES`].
const WORDS: [[&str; 4]; 36] = [
    ["lamp", "lampara", "lampe", "lampe"],
    ["table", "mesa", "tisch", "table"],
    ["chair", "silla", "stuhl", "chaise"],
    ["book", "libro", "buch", "livre"],
    ["clock", "reloj", "uhr", "horloge"],
    ["mirror", "espejo", "spiegel", "miroir"],
    ["bag", "bolsa", "tasche", "sac"],
    ["bed", "cama", "bett", "lit"],
    ["cup", "taza", "tasse", "tasse"],
    ["door", "puerta", "tuer", "porte"],
    ["shirt", "camisa", "hemd", "chemise"],
    ["hat", "sombrero", "hut", "chapeau"],
    ["plate", "plato", "teller", "assiette"],
    ["coat", "abrigo", "mantel", "manteau"],
    ["phone", "telefono", "telefon", "telephone"],
    ["house", "casa", "haus", "maison"],
    ["water", "agua", "wasser", "eau"],
    ["bread", "pan", "brot", "pain"],
    ["cat", "gato", "katze", "chat"],
    ["dog", "perro", "hund", "chien"],
    ["red", "rojo", "rot", "rouge"],
    ["green", "verde", "gruen", "vert"],
    ["today", "hoy", "heute", "maintenant"],
    ["tomorrow", "manana", "morgen", "demain"],
    ["monday", "lunes", "montag", "lundi"],
    ["friday", "viernes", "freitag", "vendredi"],
    ["thank you", "gracias", "danke", "merci"],
    ["please", "por favor", "bitte", "s il vous plait"],
    ["hello", "hola", "hallo", "bonjour"],
    ["to buy", "comprar", "kaufen", "acheter"],
    ["to order", "pedir", "bestellen", "commander"],
    ["to cancel", "cancelar", "stornieren", "annuler"],
    ["broken", "roto", "kaputt", "casse"],
    ["bad", "malo", "schlecht", "mauvais"],
    ["where is", "donde esta", "wo ist", "ou est"],
    ["when", "cuando", "wann", "quand"],
];

/// A label and phrases for it, two in each of [`LANGUAGES`].
const PHRASES: [(&str, [[&str; 2]; 4]); 6] = [
    (
        "greet",
        [
            ["hello my friend", "good evening to all"],
            ["hola amigo", "buenas tardes a todos"],
            ["hallo mein freund", "guten abend alle"],
            ["bonjour mon ami", "bonsoir a tous"],
        ],
    ),
    (
        "thank",
        [
            ["thank you very much", "many thanks for the help"],
            ["muchas gracias", "gracias por la ayuda"],
            ["vielen dank", "danke fuer die hilfe"],
            ["merci beaucoup", "merci pour l aide"],
        ],
    ),
    (
        "ask",
        [
            ["where is the house", "when does the train come"],
            ["donde esta la casa", "cuando llega el tren"],
            ["wo ist das haus", "wann kommt der zug"],
            ["ou est la maison", "quand arrive le train"],
        ],
    ),
    (
        "want",
        [
            ["i want some bread", "i would like water"],
            ["quiero pan", "quisiera agua"],
            ["ich will brot", "ich moechte wasser"],
            ["je veux du pain", "je voudrais de l eau"],
        ],
    ),
    (
        "stop",
        [
            ["i do not want this", "please stop it"],
            ["no quiero esto", "por favor pare"],
            ["ich will das nicht", "bitte aufhoeren"],
            ["je ne veux pas ca", "arretez cela"],
        ],
    ),
    (
        "dislike",
        [
            ["the bread is bad", "this does not work"],
            ["el pan es malo", "esto no funciona"],
            ["das brot ist schlecht", "das geht nicht"],
            ["le pain est mauvais", "ca ne marche pas"],
        ],
    ),
];

/// One exercise.
pub(super) fn phrase(rng: &mut ChaCha8Rng) -> Exchange {
    match below(rng, 4) {
        0 => translated(rng),
        1 => which_language(rng),
        2 => same_meaning(rng),
        _ => wish(rng),
    }
}

fn translated(rng: &mut ChaCha8Rng) -> Exchange {
    let words = pick(rng, &WORDS);
    let language = 1 + below(rng, 3);
    let (english, foreign, name) = (words[0], words[language], LANGUAGES[language]);
    match below(rng, 3) {
        0 => exchange(format!("how do you say {english} in {name} ?"), foreign),
        1 => exchange(format!("what does the {name} word {foreign} mean ?"), english),
        _ => exchange(format!("translate {english} to {name} ."), foreign),
    }
}

fn which_language(rng: &mut ChaCha8Rng) -> Exchange {
    let language = below(rng, LANGUAGES.len());
    let (_, phrases) = pick(rng, &PHRASES);
    let text = *pick(rng, &phrases[language]);
    choose_from(rng, &format!("which language is this : {text} ?"), &LANGUAGES, LANGUAGES[language])
}

fn same_meaning(rng: &mut ChaCha8Rng) -> Exchange {
    let (_, phrases) = pick(rng, &PHRASES);
    let (language, sentence) = (1 + below(rng, 3), below(rng, 2));
    exchange(format!("say in english : {}", phrases[language][sentence]), phrases[0][sentence])
}

fn wish(rng: &mut ChaCha8Rng) -> Exchange {
    const ASKS: [&str; 3] = ["what is this person doing : S ?", "S . what is it for ?", "intent of S ?"];
    let labels = PHRASES.map(|(label, _)| label);
    let (label, phrases) = pick(rng, &PHRASES);
    let in_language = phrases[below(rng, LANGUAGES.len())];
    let text = *pick(rng, &in_language);
    let question = pick(rng, &ASKS).replace('S', text);
    choose_from(rng, &question, &labels, label)
}
