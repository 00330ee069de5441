//! How rows are shared out to threads, and buffers that are kept from task to task.

use std::sync::{Mutex, PoisonError};

use super::few::FewRoom;
use super::frozen::Staging;

/// Most rows of a block: the activations of one fit into the second cache.
const MOST_ROWS: usize = 96;

/// Rows of a block for a batch of `rows`: an even number of nearly equal blocks, so two threads finish together.
///
/// Depends on the batch alone, because gradients are summed block by block.
///
/// Products of few rows share out the weights instead.
pub(super) fn block_rows(rows: usize) -> usize {
    let blocks = 2 * rows.div_ceil(2 * MOST_ROWS).max(1);
    rows.div_ceil(blocks).max(1)
}

/// Scratch memory of one task; contents are whatever the last task left.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) floats: [Vec<f32>; 6],
    pub(super) staging: Staging,
    pub(super) few: FewRoom,
}

/// Scratch memories that wait for the next task.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Scratch>>,
}

impl Pool {
    /// Runs `work` with a scratch memory.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Scratch) -> R) -> R {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = idle().pop().unwrap_or_default();
        let result = work(&mut scratch);
        idle().push(scratch);
        result
    }
}

/// The first `len` elements of a buffer that grows as needed.
pub(super) fn room<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
    &mut buffer[..len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_even_in_number_and_nearly_equal() {
        for rows in 1..2000 {
            let block = block_rows(rows);
            let blocks = rows.div_ceil(block);
            assert!(block <= MOST_ROWS && (rows < 30 || blocks.is_multiple_of(2) || rows % block < block), "{rows}");
        }
        assert_eq!(block_rows(1024), 86);
    }
}
