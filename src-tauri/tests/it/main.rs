//! The shell from outside: generated types, commands against the mock runtime, followers over a real workspace.

#![expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]

mod bindings;
mod commands;
