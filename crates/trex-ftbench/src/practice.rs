//! Practice items: a part of each mini task that is set aside for the base model and never drawn for a split.
//!
//! The bundled base model must understand what the tasks ask, or every score would start at chance and tell little. So an
//! eighth of all prompts, chosen by their own hash, is reserved for its training. No split of any seed holds one of
//! them, so no evaluation item is ever practised.

use trex_domain::{ContentHash, Example, Message, Origin, seeded_rng};

use crate::corpus::CorpusDoc;
use crate::tasks::ENTRIES;
use crate::words::below;

/// One prompt of so many is reserved.
const RESERVED_ONE_IN: u8 = 8;

/// Draws until a reserved prompt turns up; one in eight is, so this many fail never in practice.
const MAX_DRAWS: usize = 1000;

/// Turns of each task out of [`TURNS`], from task 1 on. Task 1 asks for facts that the corpus tells already, and task 8
/// is above chance by a wide margin with little practice; what needs more than one step of thought gets more.
const TURNS_BY_TASK: [usize; 10] = [0, 4, 2, 4, 4, 3, 4, 1, 5, 3];

/// Sum of all turns.
const TURNS: usize = 30;

/// Whether a prompt is reserved for practice. `normalised` is the form in which prompts are compared.
pub(crate) fn is_reserved(normalised: &str) -> bool {
    let hash = ContentHash::of_bytes(normalised.as_bytes()).to_string();
    let byte = u8::from_str_radix(&hash[..2], 16).unwrap_or(0);
    byte.is_multiple_of(RESERVED_ONE_IN)
}

/// The task, counted from 0, whose turn this is.
fn drawn_task(turn: usize) -> usize {
    let mut before = 0;
    let task = TURNS_BY_TASK.iter().position(|turns| {
        before += turns;
        turn < before
    });
    task.unwrap_or(ENTRIES.len() - 1)
}

/// The practice conversation with this number, of tasks 2 to 10. Depends on its arguments only.
pub fn practice_doc(seed: u64, index: u64) -> CorpusDoc {
    let mut rng = seeded_rng(seed, &format!("practice/{index}"));
    let generator = ENTRIES[drawn_task(below(&mut rng, TURNS))].generator;
    let mut item = generator.item(&mut rng);
    for _ in 0..MAX_DRAWS {
        if is_reserved(&crate::draw::normalised(&item.prompt)) {
            break;
        }
        item = generator.item(&mut rng);
    }
    let example = Example {
        id: format!("practice/{index}"),
        prompt: vec![Message::user(item.prompt)],
        answer: item.answer,
        options: item.options,
        group: None,
        rejected: None,
        origin: Origin::default(),
    };
    let mut turns = example.rendered_prompt(seed);
    turns.push(Message::assistant(example.answer));
    CorpusDoc::Chat(turns)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_split_of_any_task_holds_a_practised_prompt() {
        for task in crate::mini_tasks() {
            let data = task.generate(1);
            for example in data.search.iter().chain(&data.select).chain(&data.final_) {
                let normalised = crate::draw::normalised(example.question());
                assert!(!is_reserved(&normalised), "{}: {}", task.name(), example.question());
            }
        }
    }

    #[test]
    fn every_turn_belongs_to_a_task() {
        assert_eq!(TURNS_BY_TASK.iter().sum::<usize>(), TURNS);
        for (task, turns) in TURNS_BY_TASK.into_iter().enumerate() {
            assert_eq!((0..TURNS).filter(|turn| drawn_task(*turn) == task).count(), turns);
        }
    }

    #[test]
    fn practice_is_reserved_varied_and_repeatable() {
        let docs: Vec<String> = (0..400).map(|index| practice_doc(3, index).text()).collect();
        assert_eq!(docs[7], practice_doc(3, 7).text());
        let distinct: BTreeSet<_> = docs.iter().collect();
        assert!(distinct.len() > 250, "{}", distinct.len());
        assert!(docs.iter().all(|doc| !doc.contains("{options}")));
    }
}
