//! The shell from outside: generated types, commands against the mock runtime, followers over a real workspace.

mod bindings;
mod commands;
