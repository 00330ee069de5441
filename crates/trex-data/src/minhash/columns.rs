//! Some numbers for every text, which are written row by row and read column by column: in memory, or in a scratch file
//! where there is one. Knows nothing of what the numbers mean.

use std::sync::Arc;

use trex_fs::ScratchFile;

use crate::DataError;

/// What begins in a scratch file begins at a multiple of this, as rows do.
const GRAIN: usize = 16;

/// Columns of numbers in blocks of rows.
pub(super) struct Columns {
    count: usize,
    blocks: Vec<Block>,
    file: Option<Arc<ScratchFile>>,
}

/// Some rows.
#[derive(Clone, Debug)]
pub(super) struct Block {
    num_rows: usize,
    /// Where each column of it lies in the file.
    starts: Vec<u64>,
    /// The columns where there is no file.
    columns: Vec<Vec<u32>>,
}

impl Columns {
    pub(super) fn new(count: usize, file: Option<&Arc<ScratchFile>>) -> Self {
        Self { count, blocks: Vec::new(), file: file.cloned() }
    }

    /// The number of columns.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Adds rows as a block.
    pub(super) fn push<'a>(&mut self, rows: impl ExactSizeIterator<Item = &'a [u32]>) -> Result<(), DataError> {
        let num_rows = rows.len();
        let mut columns = vec![Vec::with_capacity(num_rows); self.count];
        for row in rows {
            row.iter().zip(&mut columns).for_each(|(value, column)| column.push(*value));
        }
        let mut block = Block { num_rows, starts: Vec::new(), columns: Vec::new() };
        for column in columns {
            self.store(&mut block, column)?;
        }
        self.blocks.push(block);
        Ok(())
    }

    /// Begins the same blocks as those of other columns; [`Self::fill`] gives them their values.
    pub(super) fn begin(&mut self, blocks: &[Block]) {
        let empty = |block: &Block| Block { num_rows: block.num_rows, starts: Vec::new(), columns: Vec::new() };
        self.blocks = blocks.iter().map(empty).collect();
    }

    /// Gives the next column its values.
    pub(super) fn fill(&mut self, column: usize, values: &[u32]) -> Result<(), DataError> {
        let mut rest = values;
        let mut blocks = std::mem::take(&mut self.blocks);
        for block in &mut blocks {
            debug_assert_eq!(block.starts.len().max(block.columns.len()), column, "columns come in order");
            let (own, behind) = rest.split_at(block.num_rows.min(rest.len()));
            self.store(block, own.to_vec())?;
            rest = behind;
        }
        self.blocks = blocks;
        Ok(())
    }

    fn store(&self, block: &mut Block, column: Vec<u32>) -> Result<(), DataError> {
        match &self.file {
            None => block.columns.push(column),
            Some(file) => {
                let mut bytes: Vec<u8> = column.iter().flat_map(|value| value.to_le_bytes()).collect();
                bytes.resize(bytes.len().next_multiple_of(GRAIN), 0);
                block.starts.push(file.append(&bytes)?);
            }
        }
        Ok(())
    }

    /// Hands on one column, block by block.
    pub(super) fn for_each_block(
        &self,
        column: usize,
        mut each: impl FnMut(&[u32]) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        for block in &self.blocks {
            each(&self.column(block, column)?)?;
        }
        Ok(())
    }

    /// All columns of one block.
    pub(super) fn block(&self, number: usize) -> Result<Vec<Vec<u32>>, DataError> {
        let Some(block) = self.blocks.get(number) else { return Ok(Vec::new()) };
        (0..self.count).map(|column| self.column(block, column)).collect()
    }

    fn column(&self, block: &Block, column: usize) -> Result<Vec<u32>, DataError> {
        let (Some(file), Some(start)) = (&self.file, block.starts.get(column)) else {
            return Ok(block.columns.get(column).cloned().unwrap_or_default());
        };
        let mut bytes = vec![0; block.num_rows * 4];
        file.read(*start, &mut bytes)?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: Option<&Arc<ScratchFile>>) {
        let mut columns = Columns::new(2, file);
        let rows: [&[u32]; 3] = [&[1, 10], &[2, 20], &[3, 30]];
        columns.push(rows[..2].iter().copied()).unwrap();
        columns.push(rows[2..].iter().copied()).unwrap();
        let mut found = Vec::new();
        columns
            .for_each_block(1, |block| {
                found.push(block.to_vec());
                Ok(())
            })
            .unwrap();
        assert_eq!(found, [vec![10, 20], vec![30]]);
        let mut other = Columns::new(2, file);
        other.begin(columns.blocks());
        other.fill(0, &[7, 8, 9]).unwrap();
        other.fill(1, &[70, 80, 90]).unwrap();
        assert_eq!(other.block(0).unwrap(), [vec![7, 8], vec![70, 80]]);
        assert_eq!(other.block(1).unwrap(), [vec![9], vec![90]]);
    }

    #[test]
    fn columns_are_read_as_they_were_written() {
        check(None);
        let dir = tempfile::tempdir().unwrap();
        check(Some(&Arc::new(ScratchFile::create(&dir.path().join("columns")).unwrap())));
    }
}
