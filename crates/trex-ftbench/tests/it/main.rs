//! The public API of the crate: all ten tasks keep the same promises.

mod properties;
mod tasks;
