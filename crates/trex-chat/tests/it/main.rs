//! Tests of the public API: folders, masks, GGUF conversion against llama.cpp, templates against transformers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixtures;
mod folders;
mod gguf;
mod gguf_write;
mod golden;
mod masks;
mod real_model;
mod sentence_piece;
mod training;
