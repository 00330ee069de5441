//! Short messages with a label: mood, topic and who should deal with them. Other places and labels than task 2 uses.

use rand_chacha::ChaCha8Rng;

use super::chat::{Exchange, choose_from};
use crate::words::{NAMES, NOUNS, below, pick};

/// A set of labels, each with the parts its messages are made of.
type Labels = [(&'static str, [&'static str; 6])];

const MOODS: &Labels = &[
    (
        "good",
        [
            "i love this O",
            "the O is great",
            "what a fine day",
            "N is so kind",
            "this makes me happy",
            "the O works well",
        ],
    ),
    (
        "bad",
        [
            "i hate this O",
            "the O is awful",
            "what a sad day",
            "N is so rude",
            "this makes me angry",
            "the O fails again",
        ],
    ),
    (
        "neutral",
        [
            "the O is on the floor",
            "it is monday",
            "N has a O",
            "there are two of them",
            "i saw the O",
            "the O has a name",
        ],
    ),
];

const TOPICS: &Labels = &[
    (
        "weather",
        [
            "it rains on the O",
            "the sun is out",
            "snow fell in the night",
            "the wind is strong",
            "clouds are over N",
            "it is cold outside",
        ],
    ),
    (
        "sport",
        [
            "N won the race",
            "our team lost the game",
            "the match starts soon",
            "N kicks the ball",
            "they run five laps",
            "the player scored",
        ],
    ),
    (
        "food",
        [
            "the soup needs salt",
            "N bakes bread",
            "lunch is ready",
            "i want more cheese",
            "the apple is sweet",
            "dinner was good",
        ],
    ),
    (
        "music",
        [
            "N plays the drum",
            "the song is slow",
            "we sing in the hall",
            "the band is loud",
            "i hear a tune",
            "a new song for N",
        ],
    ),
    (
        "work",
        [
            "the meeting is at nine",
            "N has a new boss",
            "the report is late",
            "i am in the office",
            "we hired N",
            "the task is done",
        ],
    ),
];

/// Rooms of a house where task 2 has teams of a company.
const ROOMS: &Labels = &[
    (
        "kitchen",
        [
            "the oven stays cold",
            "the sink is full",
            "we have no spoons",
            "the soup burns",
            "the fridge is loud",
            "a pot is missing",
        ],
    ),
    (
        "garage",
        [
            "the car does not start",
            "my bike has a flat tyre",
            "the oil is low",
            "the engine smokes",
            "the brakes squeak",
            "a wheel is loose",
        ],
    ),
    (
        "garden",
        [
            "the grass is too high",
            "the roses need water",
            "the fence fell over",
            "leaves lie on the path",
            "the hedge is dry",
            "a tree is down",
        ],
    ),
    (
        "office",
        [
            "the screen is black",
            "the paper is out",
            "my desk is broken",
            "the keyboard sticks",
            "the file is lost",
            "no mail comes in",
        ],
    ),
    (
        "none",
        ["who made this song", "i like tea", "how far is the sea", "N says hello", "is it monday", "what a nice hat"],
    ),
];

/// Shop messages, simpler than tickets, with the words of the trade.
const SHOP: &Labels = &[
    (
        "money",
        [
            "the bill is too high",
            "you charged my card",
            "the invoice has a wrong price",
            "i paid two times",
            "a fee is on the bill",
            "the payment failed",
        ],
    ),
    (
        "account",
        [
            "my password is wrong",
            "i can not sign in",
            "the login does not work",
            "my account is closed",
            "i forgot my user name",
            "the code did not come",
        ],
    ),
    (
        "delivery",
        [
            "the parcel is late",
            "where is my box",
            "the driver did not come",
            "it was sent to a wrong door",
            "the package was empty",
            "the O is not here yet",
        ],
    ),
    (
        "return",
        [
            "i want my money back",
            "please refund me",
            "i send the O back",
            "take it back please",
            "i do not want it now",
            "how do i return it",
        ],
    ),
];

const FILLERS: [&str; 8] =
    ["hi .", "hello you .", "oh .", "well .", "by the way .", "N writes :", "listen .", "just so you know ."];

/// A mood or topic of one message.
pub(super) fn label(rng: &mut ChaCha8Rng) -> Exchange {
    const MOOD_QUESTIONS: [&str; 3] =
        ["how does this sound : T ?", "is this good or bad news : T .", "mood of the text : T ."];
    const TOPIC_QUESTIONS: [&str; 3] = ["what is this about : T ?", "give the topic . T .", "sort this note : T ."];
    if below(rng, 2) == 0 { labelled(rng, MOODS, &MOOD_QUESTIONS) } else { labelled(rng, TOPICS, &TOPIC_QUESTIONS) }
}

/// Who should deal with a message.
pub(super) fn ticket(rng: &mut ChaCha8Rng) -> Exchange {
    const ROOM_QUESTIONS: [&str; 3] =
        ["where should i look : T ?", "which room is it about ? T .", "find the place for this : T ."];
    const SHOP_QUESTIONS: [&str; 3] =
        ["a customer says : T . what is it about ?", "pick the desk for : T .", "sort the mail . T ."];
    if below(rng, 2) == 0 { labelled(rng, ROOMS, &ROOM_QUESTIONS) } else { labelled(rng, SHOP, &SHOP_QUESTIONS) }
}

fn labelled(rng: &mut ChaCha8Rng, labels: &Labels, questions: &[&str]) -> Exchange {
    let (label, messages) = pick(rng, labels);
    let (name, noun) = (*pick(rng, &NAMES), *pick(rng, &NOUNS));
    let filler = if below(rng, 2) == 0 { format!("{} ", pick(rng, &FILLERS)) } else { String::new() };
    let message = format!("{filler}{}", pick(rng, messages));
    let question = pick(rng, questions).replace('T', &message);
    let question: Vec<&str> = question
        .split(' ')
        .map(|word| match word {
            "N" => name,
            "O" => noun,
            other => other,
        })
        .collect();
    let options: Vec<&str> = labels.iter().map(|(label, _)| *label).collect();
    choose_from(rng, &question.join(" "), &options, label)
}
