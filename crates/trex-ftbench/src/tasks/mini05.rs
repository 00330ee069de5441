//! Multilingual: the same four intents in simple English, Spanish, German and French, written without accents.
//!
//! Evaluation items are balanced over the languages; the pool is 85 % English and 5 % of each other language, so what
//! is learnt in English has to carry over. Labels are English everywhere.

use rand_chacha::ChaCha8Rng;
use trex_domain::{Metric, TaskKind};

use crate::generator::{Generator, RawItem, TaskInfo};
use crate::words::{below, contains_words, pick, plain, weighted};

const LABELS: [&str; 4] = ["buy", "cancel", "track", "complain"];

/// Shares of the languages in the pool, in percent, in the order of [`LANGUAGES`].
const POOL_SHARES: [usize; 4] = [85, 5, 5, 5];

/// The words of one language.
struct Language {
    name: &'static str,
    openers: [&'static str; 8],
    /// Per label of [`LABELS`]; `P` is a product.
    cores: [[&'static str; 6]; 4],
    products: [&'static str; 16],
    times: [&'static str; 8],
    closers: [&'static str; 6],
}

const ENGLISH: Language = Language {
    name: "english",
    openers: ["hello", "hi", "good day", "good morning", "excuse me", "dear team", "good evening", "one question"],
    cores: [
        [
            "i want to buy a P",
            "i would like to order a P",
            "sell me a P",
            "i take a new P",
            "i need one more P",
            "can i order a P",
        ],
        [
            "i want to cancel my P",
            "please cancel the order of the P",
            "i do not want the P any more",
            "stop the order of my P",
            "do not send the P",
            "i ordered the P by mistake",
        ],
        [
            "where is my P",
            "when does the P arrive",
            "has the P been sent",
            "i wait for my P",
            "how far is the P",
            "i have no news of my P",
        ],
        [
            "the P is broken",
            "the P does not work",
            "i am not happy with the P",
            "the P is bad",
            "the P has a hole",
            "my P came damaged",
        ],
    ],
    products: [
        "lamp", "table", "chair", "phone", "coat", "book", "clock", "mirror", "bag", "bed", "cup", "bike", "door",
        "shirt", "hat", "plate",
    ],
    times: ["today", "tomorrow", "on monday", "on friday", "this week", "since yesterday", "again", "for my mother"],
    closers: ["thank you", "please", "many thanks", "please help", "best wishes", "please answer"],
};

const SPANISH: Language = Language {
    name: "spanish",
    openers: [
        "hola",
        "buenos dias",
        "buenas tardes",
        "buenas noches",
        "perdon",
        "saludos",
        "estimado equipo",
        "una pregunta",
    ],
    cores: [
        [
            "quiero comprar P",
            "quisiera pedir P",
            "necesito comprar P",
            "deseo pedir P",
            "puedo comprar P",
            "me llevo P",
        ],
        [
            "quiero cancelar P",
            "por favor cancele P",
            "ya no quiero P",
            "pare el pedido de P",
            "no envie P",
            "pedi por error P",
        ],
        [
            "donde esta P",
            "cuando llega P",
            "ya han enviado P",
            "todavia espero P",
            "por donde va P",
            "no tengo noticias de P",
        ],
        [
            "esta en mal estado P",
            "no funciona P",
            "no me gusta P",
            "llego con golpes P",
            "tiene un fallo P",
            "vino con danos P",
        ],
    ],
    products: [
        "lampara",
        "mesa",
        "silla",
        "telefono",
        "abrigo",
        "libro",
        "reloj",
        "espejo",
        "bolsa",
        "cama",
        "taza",
        "bicicleta",
        "puerta",
        "camisa",
        "sombrero",
        "plato",
    ],
    times: ["hoy", "manana", "el lunes", "el viernes", "esta semana", "desde ayer", "otra vez", "para mi madre"],
    closers: ["gracias", "por favor", "muchas gracias", "ayuda por favor", "un saludo", "espero respuesta"],
};

const GERMAN: Language = Language {
    name: "german",
    openers: [
        "hallo",
        "guten tag",
        "guten morgen",
        "guten abend",
        "entschuldigung",
        "liebes team",
        "servus",
        "eine frage",
    ],
    cores: [
        [
            "ich will P kaufen",
            "ich moechte P bestellen",
            "ich brauche neu P",
            "kann ich P kaufen",
            "bitte liefern sie neu P",
            "ich nehme P",
        ],
        [
            "ich will P stornieren",
            "bitte stornieren sie P",
            "ich will nicht mehr P",
            "bestellung absagen fuer P",
            "bitte nicht senden P",
            "aus versehen bestellt P",
        ],
        [
            "wo ist P",
            "wann kommt P",
            "ist schon versandt P",
            "ich warte auf P",
            "wie weit ist P",
            "ich habe keine nachricht zu P",
        ],
        [
            "kaputt ist P",
            "es geht nicht P",
            "ich bin unzufrieden mit P",
            "schlecht ist P",
            "ein loch hat P",
            "beschaedigt kam P",
        ],
    ],
    products: [
        "lampe", "tisch", "stuhl", "telefon", "mantel", "buch", "uhr", "spiegel", "tasche", "bett", "tasse", "fahrrad",
        "tuer", "hemd", "hut", "teller",
    ],
    times: [
        "heute",
        "morgen",
        "am montag",
        "am freitag",
        "diese woche",
        "seit gestern",
        "schon wieder",
        "fuer meine mutter",
    ],
    closers: ["danke", "bitte", "vielen dank", "bitte um hilfe", "viele gruesse", "bitte antworten"],
};

const FRENCH: Language = Language {
    name: "french",
    openers: ["bonjour", "salut", "bonsoir", "bonne journee", "pardon", "chere equipe", "cher service", "une question"],
    cores: [
        [
            "je veux acheter P",
            "je voudrais commander P",
            "je prends P",
            "il me faut encore P",
            "puis je acheter P",
            "vendez moi P",
        ],
        [
            "je veux annuler P",
            "veuillez annuler P",
            "je ne veux plus P",
            "arretez la commande de P",
            "ne pas envoyer P",
            "commande par erreur P",
        ],
        [
            "ou est P",
            "quand arrive P",
            "avez vous envoye P",
            "j attends encore P",
            "a quelle etape est P",
            "je suis sans nouvelles de P",
        ],
        [
            "il est casse P",
            "ca ne marche pas P",
            "je suis mecontent de P",
            "il y a un trou dans P",
            "il est mauvais P",
            "arrive en morceaux P",
        ],
    ],
    products: [
        "lampe",
        "table",
        "chaise",
        "telephone",
        "manteau",
        "livre",
        "horloge",
        "miroir",
        "sac",
        "lit",
        "tasse",
        "velo",
        "porte",
        "chemise",
        "chapeau",
        "assiette",
    ],
    times: [
        "maintenant",
        "demain",
        "lundi",
        "vendredi",
        "cette semaine",
        "depuis hier",
        "encore une fois",
        "pour ma mere",
    ],
    closers: ["merci", "s il vous plait", "merci beaucoup", "aidez moi", "salutations", "merci de repondre"],
};

const LANGUAGES: [&Language; 4] = [&ENGLISH, &SPANISH, &GERMAN, &FRENCH];

/// `S` is what the person says.
const FRAMES: [&str; 4] = [
    "what does the person want ? S options : {options}",
    "name the wish : S one of : {options}",
    "read this . S intent : {options}",
    "message : S label : {options}",
];

/// Task 5.
pub(crate) struct Mini05;

impl Mini05 {
    /// Draws one item with the languages weighted as in the pool.
    pub(crate) fn pool_item(rng: &mut ChaCha8Rng) -> RawItem {
        let language = LANGUAGES[weighted(rng, &POOL_SHARES)];
        item_in(rng, language)
    }
}

impl Generator for Mini05 {
    fn info(&self) -> TaskInfo {
        TaskInfo {
            number: 5,
            title: "multilingual intent",
            goal: "Say in English, Spanish, German and French what the person wants; nearly all training rows are English.",
            kind: TaskKind::Choice,
            metric: Metric::Accuracy,
            options: &LABELS,
            max_new_tokens: 8,
        }
    }

    fn item(&self, rng: &mut ChaCha8Rng) -> RawItem {
        let language = pick(rng, &LANGUAGES);
        item_in(rng, language)
    }

    fn check(&self, prompt: &str, answer: &str) -> bool {
        let mut meant = LABELS.iter().enumerate().filter(|(index, _)| {
            let cores = LANGUAGES.iter().flat_map(|language| language.cores[*index]);
            cores.into_iter().any(|core| contains_words(prompt, &format!(", {core} ,")))
        });
        meant.next().is_some_and(|(_, label)| *label == plain(answer)) && meant.next().is_none()
    }
}

/// Utterance, label and language of one item; commas set the deciding words apart.
fn item_in(rng: &mut ChaCha8Rng, language: &Language) -> RawItem {
    let label = below(rng, LABELS.len());
    let core = pick(rng, &language.cores[label]);
    let product = pick(rng, &language.products);
    let text = format!(
        "{} , {} , {} , {} .",
        pick(rng, &language.openers),
        core.replace('P', product),
        pick(rng, &language.times),
        pick(rng, &language.closers),
    );
    RawItem {
        prompt: pick(rng, &FRAMES).replace('S', &text),
        answer: LABELS[label].to_owned(),
        options: LABELS.map(str::to_owned).to_vec(),
        group: format!("{}/{core}", language.name),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[track_caller]
    fn check_shares(draw: impl Fn(&mut ChaCha8Rng) -> RawItem, expected: [f64; 4]) {
        let mut rng = trex_domain::seeded_rng(5, "shares");
        let mut counts = BTreeMap::new();
        for _ in 0..4000 {
            let item = draw(&mut rng);
            *counts.entry(item.group.split('/').next().unwrap().to_owned()).or_insert(0_u32) += 1;
        }
        for (language, share) in LANGUAGES.iter().zip(expected) {
            let found = f64::from(counts[language.name]) / 4000.0;
            assert!((found - share).abs() < 0.03, "{}: {found}", language.name);
        }
    }

    #[test]
    fn only_the_pool_is_mostly_english() {
        check_shares(|rng| Mini05.item(rng), [0.25; 4]);
        check_shares(Mini05::pool_item, [0.85, 0.05, 0.05, 0.05]);
    }

    #[test]
    fn every_core_means_one_label_in_every_language() {
        for language in LANGUAGES {
            for (label, cores) in LABELS.iter().zip(&language.cores) {
                for core in cores {
                    let prompt = format!("message : {} , {core} , a , b .", language.openers[0]);
                    let right: Vec<_> = LABELS.into_iter().filter(|other| Mini05.check(&prompt, other)).collect();
                    assert_eq!(right, [*label], "{prompt}");
                }
            }
        }
    }
}
