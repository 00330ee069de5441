//! Domain-specific: routing of support tickets to one of five teams, with skewed labels and cue words that overlap.
//!
//! A ticket is a greeting, one sentence that decides the label, one detail that often borrows the vocabulary of another
//! team, and a closing. Shares: billing 35 %, login 25 %, shipping 20 %, refund 12 %, other 8 %.

use rand_chacha::ChaCha8Rng;
use trex_domain::{Metric, TaskKind};

use crate::generator::{Generator, RawItem, TaskInfo};
use crate::words::{contains_words, pick, plain, weighted};

const LABELS: [&str; 5] = ["billing", "login", "shipping", "refund", "other"];

/// In percent, in the order of [`LABELS`].
const SHARES: [usize; 5] = [35, 25, 20, 12, 8];

/// Sentences that decide; `P` is a product.
const CORES: [[&str; 12]; 5] = [
    [
        "the invoice for the P is wrong",
        "you charged me twice for the P",
        "my card was billed for a P i do not own",
        "the price of the P on my bill is too high",
        "i need a copy of the invoice for my P",
        "the payment for the P did not go through",
        "there is a fee on my bill for the P",
        "please change the card that pays for my P",
        "the bill shows two P and i have one",
        "my bank says you charged the P again",
        "the tax on the P bill looks wrong",
        "how do i pay the open bill for the P",
    ],
    [
        "i can not log in to my P account",
        "the password for my P is not accepted",
        "the login page of the P shows an error",
        "my P account is locked",
        "i forgot the password of my P",
        "the code to sign in to the P never comes",
        "the P app signs me out all the time",
        "i want to change the email i use to sign in to the P",
        "i lost the phone that signs me in to the P",
        "the reset link for the P does not work",
        "my user name for the P is unknown",
        "somebody else signed in to my P account",
    ],
    [
        "my P has not arrived yet",
        "where is the parcel with my P",
        "the P was sent to the wrong street",
        "the P arrived broken",
        "when will you ship my P",
        "the tracking number of the P does not work",
        "the driver left my P at the wrong door",
        "the parcel with the P was empty",
        "can you deliver the P on another day",
        "my P is stuck at the post office",
        "please send the P to my new address",
        "the P is late by a week",
    ],
    [
        "i want my money back for the P",
        "please refund the P",
        "i sent the P back and still wait for the money",
        "how do i return the P",
        "the P is not what i wanted so i give it back",
        "when do i get the refund for my P",
        "i cancelled the P and want the money back",
        "can i return an open P",
        "you promised to pay me back for the P",
        "the refund for the P is too small",
        "i returned the P a month ago",
        "take the P back and return what i paid",
    ],
    [
        "do you sell the P in other colours",
        "is there a shop where i can see the P",
        "how do i clean the P",
        "thank you for the lovely P",
        "can i work for the team that makes the P",
        "does the P work with an old phone",
        "who made the music in the P film",
        "i have an idea for a better P",
        "is the P safe for children",
        "may i write about the P in my paper",
        "where can i read more about the P",
        "do you have a bigger P",
    ],
];

/// Details that decide nothing; each borrows words of a team.
const DETAILS: [&str; 20] = [
    "i paid with my card as always",
    "the invoice came by email",
    "my bank has no answer",
    "the amount is not small",
    "i can log in without trouble",
    "my password is new",
    "the account is in my name",
    "i am signed in right now",
    "the box stands in the hall",
    "the parcel came on monday",
    "the driver was kind",
    "my street has a new name",
    "i do not want a refund",
    "i never returned anything before",
    "the money is not the point",
    "a return is fine for me too",
    "i like your shop a lot",
    "my sister has the same one",
    "i wrote to you last week",
    "it is the second time now",
];

const PRODUCTS: [&str; 20] = [
    "lamp", "phone", "clock", "radio", "camera", "bike", "chair", "table", "tent", "kettle", "mirror", "watch",
    "piano", "printer", "heater", "ladder", "jacket", "wallet", "guitar", "blanket",
];

const GREETINGS: [&str; 8] = [
    "hello .",
    "hi .",
    "good day .",
    "dear team .",
    "hello team .",
    "hi all .",
    "good morning .",
    "to whom it helps .",
];

const CLOSINGS: [&str; 8] = [
    "thanks .",
    "please help .",
    "what now ?",
    "best wishes .",
    "please answer soon .",
    "thank you .",
    "i wait for you .",
    "can you help ?",
];

/// `S` is the ticket.
const FRAMES: [&str; 4] = [
    "route this ticket : S teams : {options}",
    "which team gets it ? S options : {options}",
    "read the ticket . S label : {options}",
    "ticket : S send it to one of : {options}",
];

/// Task 2.
pub(crate) struct Mini02;

impl Generator for Mini02 {
    fn info(&self) -> TaskInfo {
        TaskInfo {
            number: 2,
            title: "domain-specific routing",
            goal: "Send each support ticket to the right team; rare teams count as much as frequent ones.",
            kind: TaskKind::Choice,
            metric: Metric::MacroF1,
            options: &LABELS,
            max_new_tokens: 8,
        }
    }

    fn item(&self, rng: &mut ChaCha8Rng) -> RawItem {
        let label = weighted(rng, &SHARES);
        let core = pick(rng, &CORES[label]);
        let product = pick(rng, &PRODUCTS);
        let sentence = core.replace('P', product);
        let ticket =
            format!("{} {sentence} . {} . {}", pick(rng, &GREETINGS), pick(rng, &DETAILS), pick(rng, &CLOSINGS));
        RawItem {
            prompt: pick(rng, &FRAMES).replace('S', &ticket),
            answer: LABELS[label].to_owned(),
            options: LABELS.map(str::to_owned).to_vec(),
            group: (*core).to_owned(),
        }
    }

    fn check(&self, prompt: &str, answer: &str) -> bool {
        let decides = |cores: &[&str; 12]| cores.iter().any(|core| contains_words(prompt, &format!("{core} .")));
        let label = CORES.iter().position(decides).map(|index| LABELS[index]);
        label == Some(plain(answer).as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_decides_for_its_own_label_only() {
        for (label, cores) in LABELS.iter().zip(&CORES) {
            for core in cores {
                let prompt =
                    format!("route this ticket : hi . {} . {} . thanks .", core.replace('P', "lamp"), DETAILS[0]);
                for other in LABELS {
                    assert_eq!(Mini02.check(&prompt, other), other == *label, "{prompt} {other}");
                }
            }
        }
    }
}
