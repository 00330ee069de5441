//! Keeps generation within a grammar: of the likeliest tokens the first is taken whose text may follow.
//!
//! Where the room for an answer ends, the shortest text that completes it is written, so that an answer of a schema is whole
//! in any case.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;
use trex_chat::ChatModel;
use trex_domain::seeded_rng;

use super::grammar::Grammar;
use super::recogniser::Recogniser;
use crate::batch::row;

/// Tokens that are looked at before all are sorted.
const FIRST: usize = 256;

/// Tokens kept free beyond the shortest end.
const SPARE: usize = 2;

/// Follows one answer.
pub(crate) struct Guide {
    grammar: Grammar,
    state: Recogniser,
    chat: Arc<ChatModel>,
    /// A token before others, whose text is known: some tokenizers write a token otherwise at the beginning.
    anchor: (u32, String),
    pieces: BTreeMap<u32, Option<String>>,
    left: usize,
    ending: Option<VecDeque<u32>>,
    temperature: f64,
    rng: ChaCha8Rng,
}

impl std::fmt::Debug for Guide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guide").field("left", &self.left).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Guide {
    /// For an answer of at most `max_tokens`; a temperature of 0 always takes the likeliest.
    pub(crate) fn new(
        grammar: Grammar,
        chat: Arc<ChatModel>,
        max_tokens: usize,
        (temperature, seed): (f64, u64),
    ) -> Result<Self, trex_chat::ChatError> {
        let anchor = chat.encode("a")?.last().copied().unwrap_or_default();
        let text = chat.decode(&[anchor])?;
        let state = Recogniser::new(&grammar);
        let rng = seeded_rng(seed, "answer");
        Ok(Self {
            grammar,
            state,
            chat,
            anchor: (anchor, text),
            pieces: BTreeMap::new(),
            left: max_tokens,
            ending: None,
            temperature,
            rng,
        })
    }

    /// The next token; one that ends the turn once the answer is whole.
    pub(crate) fn pick(&mut self, logits: &[f32]) -> u32 {
        let token = self.next(logits);
        self.left = self.left.saturating_sub(1);
        token
    }

    fn next(&mut self, logits: &[f32]) -> u32 {
        let end_of_turn = self.chat.end_of_turn_id();
        if let Some(ending) = &mut self.ending {
            return ending.pop_front().unwrap_or(end_of_turn);
        }
        if self.state.is_complete() {
            return end_of_turn;
        }
        let shortest = self.state.shortest_end(&self.grammar);
        // A text that a tokenizer does not take has no place in a vocabulary either.
        let ending = self.chat.encode(&shortest).unwrap_or_default();
        if self.left > ending.len() + SPARE
            && let Some(token) = self.accepted(logits)
        {
            return token;
        }
        let mut ending = VecDeque::from(ending);
        let token = ending.pop_front().unwrap_or(end_of_turn);
        self.ending = Some(ending);
        token
    }

    /// The likeliest token that may follow.
    fn accepted(&mut self, logits: &[f32]) -> Option<u32> {
        let mut scored: Vec<(f64, u32)> = Vec::with_capacity(logits.len());
        for (token, logit) in logits.iter().enumerate() {
            let score = if self.temperature > 0.0 {
                // The largest of scores with Gumbel noise is a draw from their softmax, also among those that may follow.
                let uniform = ((self.rng.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
                f64::from(*logit) / self.temperature - (-uniform.ln()).ln()
            } else {
                f64::from(*logit)
            };
            scored.push((score, row(token)));
        }
        let by_score = |a: &(f64, u32), b: &(f64, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        let first = FIRST.min(scored.len());
        if first < scored.len() {
            scored.select_nth_unstable_by(first, by_score);
        }
        scored[..first].sort_unstable_by(by_score);
        if let Some(token) = self.first_of(&scored[..first]) {
            return Some(token);
        }
        scored[first..].sort_unstable_by(by_score);
        self.first_of(&scored[first..])
    }

    fn first_of(&mut self, sorted: &[(f64, u32)]) -> Option<u32> {
        for (_, token) in sorted {
            let Some(piece) = self.piece(*token) else { continue };
            if let Some(state) = self.state.after(&self.grammar, &piece) {
                self.state = state;
                return Some(*token);
            }
        }
        None
    }

    /// The text of a token after another one; none for tokens that are no whole text.
    fn piece(&mut self, token: u32) -> Option<String> {
        if let Some(known) = self.pieces.get(&token) {
            return known.clone();
        }
        let both = self.chat.decode(&[self.anchor.0, token]).ok();
        let piece = both.and_then(|both| both.strip_prefix(&self.anchor.1).map(str::to_owned));
        let piece = piece.filter(|piece| !piece.is_empty() && !piece.contains('\u{FFFD}'));
        self.pieces.insert(token, piece.clone());
        piece
    }
}
