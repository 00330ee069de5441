//! The `trex` command.
fn main() {}
