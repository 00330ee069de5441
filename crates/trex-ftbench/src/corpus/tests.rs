//! What the corpus promises: determinism, length, shares, facts, and that it holds no prompt of an evaluation split.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::tasks::mini01::world as all_facts;

const NUM_DOCS: usize = 3_000;

fn docs(seed: u64, count: usize) -> Vec<CorpusDoc> {
    corpus(seed).take(count).collect()
}

/// Lower-case runs of letters and digits joined by one space, with one at both ends.
fn normalised(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    format!(" {} ", words.join(" "))
}

#[test]
fn a_document_depends_on_seed_and_index_only() {
    let stream = docs(7, 300);
    for index in (0..stream.len()).rev() {
        assert_eq!(stream[index], corpus_doc(7, index as u64));
    }
    assert_ne!(stream, docs(8, 300));
    let distinct: BTreeSet<_> = docs(7, NUM_DOCS).iter().map(CorpusDoc::text).collect();
    assert!(distinct.len() > NUM_DOCS * 95 / 100, "{} distinct documents", distinct.len());
}

#[test]
fn documents_are_short_and_plain() {
    for doc in docs(1, NUM_DOCS) {
        let text = doc.text();
        assert!((15..=90).contains(&num_words(&text)), "{} words: {text}", num_words(&text));
        assert_eq!(text, text.to_lowercase());
        assert!(text.is_ascii(), "{text}");
        assert!(!text.contains("{options}"));
    }
}

#[test]
fn shares_are_as_declared() {
    let num_texts = docs(2, NUM_DOCS).iter().filter(|doc| matches!(doc, CorpusDoc::Text(_))).count();
    assert!(num_texts.abs_diff(NUM_DOCS * TEXT_PERCENT / 100) < 100, "{num_texts} texts");
}

#[test]
fn conversations_alternate_and_end_with_the_assistant() {
    use trex_domain::Role;
    let (mut num_chats, mut num_systems) = (0_usize, 0_usize);
    for doc in docs(3, NUM_DOCS) {
        let CorpusDoc::Chat(turns) = doc else { continue };
        num_chats += 1;
        let has_system = turns[0].role == Role::System;
        num_systems += usize::from(has_system);
        for pair in turns[usize::from(has_system)..].chunks(2) {
            assert_eq!([pair[0].role, pair[1].role], [Role::User, Role::Assistant]);
            assert!(pair.iter().all(|turn| !turn.content.is_empty()));
        }
    }
    assert!(num_systems > num_chats / 20 && num_systems < num_chats / 4, "{num_systems} of {num_chats}");
}

#[test]
fn a_listed_choice_is_always_one_of_the_list() {
    let mut rng = seeded_rng(0, "choice");
    let mut num_wrong = 0_usize;
    for _ in 0..NUM_DOCS {
        let asked = chat::choose_from(&mut rng, "which ?", &["red", "blue", "green"], "red");
        let (_, listed) = asked.user.rsplit_once(": ").unwrap();
        assert!(listed.split(", ").any(|option| option == asked.assistant));
        num_wrong += usize::from(asked.assistant != "red");
    }
    assert!(num_wrong > 0 && num_wrong < NUM_DOCS / 20, "{num_wrong} wrong");
}

#[test]
fn most_facts_are_told_and_the_others_never() {
    let kept: BTreeSet<_> = world::kept().iter().flatten().map(|fact| (fact.creature, fact.attribute)).collect();
    let share = kept.len() * 100 / all_facts().len();
    assert!((84..=85).contains(&share), "{share} %");
    let texts: Vec<String> = docs(4, 12_000).iter().map(|doc| normalised(&doc.text())).collect();
    let all = texts.concat();
    let mut num_tellings: BTreeMap<bool, usize> = BTreeMap::new();
    for fact in all_facts() {
        let is_kept = kept.contains(&(fact.creature, fact.attribute));
        let is_told = fact
            .attribute
            .sentences()
            .iter()
            .chain(&world::more_sentences(fact.attribute))
            .any(|sentence| all.contains(&normalised(&fact.state(sentence))));
        *num_tellings.entry(is_kept).or_default() += usize::from(is_told);
    }
    assert_eq!(num_tellings[&false], 0);
    assert_eq!(num_tellings[&true], kept.len());
}

#[test]
fn no_document_contains_an_evaluation_prompt() {
    let mut prompts = BTreeSet::new();
    for task in crate::mini_tasks() {
        for seed in 0..3 {
            let data = task.generate(seed);
            for example in data.search.iter().chain(&data.select).chain(&data.final_) {
                for text in [example.prompt_text(), example.rendered_prompt(seed)[0].content.clone()] {
                    prompts.insert(normalised(&text));
                }
            }
        }
    }
    assert!(prompts.len() > 10_000, "{} prompts", prompts.len());
    // A prompt that stands in a document begins there at a word; its first five words find it quickly.
    let key = |words: &[&str]| words[..5].join(" ");
    let mut by_start: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for prompt in &prompts {
        let words: Vec<&str> = prompt.split_whitespace().collect();
        assert!(words.len() >= 5, "{prompt}");
        by_start.entry(key(&words)).or_default().push(prompt);
    }
    for doc in docs(0, NUM_DOCS).iter().chain(&docs(1, NUM_DOCS)) {
        let text = normalised(&doc.text());
        let words: Vec<&str> = text.split_whitespace().collect();
        for window in words.windows(5) {
            for prompt in by_start.get(&key(window)).into_iter().flatten() {
                assert!(!text.contains(prompt), "{text} contains {prompt}");
            }
        }
    }
}
