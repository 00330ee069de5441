//! The public interface of the crate on files.

mod ftbench;
mod import;
mod sources;
