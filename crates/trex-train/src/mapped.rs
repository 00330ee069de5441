//! Maps files into memory for reading.

use std::path::Path;

use trex_fs::FsError;

use crate::TrainError;

/// Maps a file. An empty file is an empty slice.
pub(crate) fn map_file(path: &Path) -> Result<memmap2::Mmap, TrainError> {
    let file = trex_fs::open(path)?;
    #[expect(unsafe_code, reason = "mapping a file is the one way to check it without reading gigabytes")]
    // SAFETY: the map is only read; a file that another process truncates meanwhile would fault, which is the accepted
    // risk of every reader of mapped weights.
    let map = unsafe { memmap2::Mmap::map(&file) };
    Ok(map.map_err(|err| FsError::io("map", path, err))?)
}
