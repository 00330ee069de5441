//! File access with paths in errors, atomic writes and content-addressed blobs.
//!
//! A file written here is complete or absent: content goes to a temporary name in the same folder, is synced, then
//! renamed. The crate knows nothing of what the files mean. All functions block; any thread may call them.

mod blobs;
mod error;
mod files;
mod scratch;
mod stream;

pub use blobs::{BlobStore, BlobWriter};
pub use error::FsError;
pub use files::{
    create_dir_all, hash_file, open, read, read_lines, read_to_string, remove_dir_all, remove_file, write_atomic,
    write_json,
};
pub use scratch::ScratchFile;
pub use stream::{NewFile, StreamWriter, read_part, rename_dir};
