//! Recorded surfaces in files.

use std::path::Path;

use trex_search::Surface;

use crate::error::CliError;

/// A surface of a file, named by it.
pub(super) fn from_file(path: &Path) -> Result<(String, Surface), CliError> {
    Ok((path.display().to_string(), Surface::parse(&trex_fs::read_to_string(path)?)?))
}
