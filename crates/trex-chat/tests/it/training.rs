//! The vocabulary of the small model.

use trex_chat::{BUNDLED_SPECIAL_TOKENS, train_bpe};
use trex_domain::Problem as _;

use crate::fixtures::{chatml, corpus};

fn train(texts: Vec<String>, vocab_size: usize) -> String {
    train_bpe(texts.into_iter(), vocab_size, &BUNDLED_SPECIAL_TOKENS).unwrap()
}

#[test]
fn the_same_texts_give_the_same_bytes() {
    let first = train(corpus(), 500);
    for _ in 0..5 {
        assert_eq!(train(corpus(), 500), first);
    }
    let mut reversed = corpus();
    reversed.reverse();
    assert_eq!(train(reversed, 500), first);
}

/// Two letters make many pairs of equal count and tokens that several merges lead to.
#[test]
fn ties_do_not_depend_on_the_order_of_hash_maps() {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut word = || (0..=next() % 12).map(|_| if next() % 2 == 0 { 'a' } else { 'b' }).collect::<String>();
    let texts: Vec<String> = (0..1500).map(|_| word()).collect();
    let first = train(texts.clone(), 600);
    for _ in 0..3 {
        assert_eq!(train(texts.clone(), 600), first);
    }
}

#[test]
fn special_tokens_come_first_and_bytes_next() {
    let file: serde_json::Value = serde_json::from_str(&train(corpus(), 300)).unwrap();
    let vocab = file["model"]["vocab"].as_object().unwrap();
    assert_eq!(vocab.len(), 300);
    for (id, token) in BUNDLED_SPECIAL_TOKENS.iter().enumerate() {
        assert_eq!(vocab[*token], id);
        assert_eq!(file["added_tokens"][id]["special"], true);
    }
    assert_eq!(vocab["!"], BUNDLED_SPECIAL_TOKENS.len());
    assert_eq!(file["model"]["merges"].as_array().unwrap().len(), 300 - 256 - BUNDLED_SPECIAL_TOKENS.len());
}

#[test]
fn digits_stand_alone_and_frequent_words_are_one_token() {
    let model = chatml();
    let single: Vec<u32> = "2024".chars().flat_map(|digit| model.encode(&digit.to_string()).unwrap()).collect();
    assert_eq!(model.encode("2024").unwrap(), single);
    assert_eq!(model.encode(" the").unwrap().len(), 1);
}

#[test]
fn a_vocabulary_below_the_bytes_is_refused() {
    train(Vec::new(), 259);
    let err = train_bpe(std::iter::empty(), 258, &BUNDLED_SPECIAL_TOKENS).unwrap_err();
    assert_eq!(err.code(), "chat.vocabulary_too_small");
    assert!(err.to_string().contains("259"), "{err}");
}
