//! Tests of the public interface of trex-eval.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic like the test")]

mod errors;
mod golden;
mod intervals;
mod properties;

use trex_domain::ItemScore;

/// An item with this score; right items predict their gold answer.
fn scored(id: &str, score: f64) -> ItemScore {
    let predicted = if score >= 1.0 { "yes" } else { "no" };
    ItemScore {
        id: id.to_owned(),
        predicted: predicted.to_owned(),
        gold: "yes".to_owned(),
        score,
        gold_logprob: None,
        gold_prob: None,
    }
}

/// Items i0000, i0001 … with these scores.
fn scored_all(scores: impl IntoIterator<Item = f64>) -> Vec<ItemScore> {
    scores.into_iter().enumerate().map(|(index, score)| scored(&format!("i{index:04}"), score)).collect()
}
