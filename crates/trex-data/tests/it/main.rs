//! The public interface of the crate on files.

mod ftbench;
mod fuzz;
mod import;
mod sources;
