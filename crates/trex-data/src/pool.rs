//! Rows by number: in memory where they are few, in a scratch file where they may be many. A pool knows nothing of what
//! rows mean, and what it writes outlives nothing but the run it is for.
//!
//! In a file a row costs eight bytes of memory: its place. Leaving rows out, putting them in another order and repeating
//! them moves places only; a changed row is written anew at the end. Rows pass by in portions of some megabytes, read in
//! the order of the file within a portion, so that an order drawn at random is read by going forward.

use std::sync::Arc;

use rand::Rng;
use rayon::prelude::*;
use trex_domain::Example;
use trex_fs::{FsError, ScratchFile};

use crate::DataError;
use crate::operators::shuffle;

/// Rows of a portion, and bytes of their JSON.
const PORTION_ROWS: usize = 16_384;
const PORTION_BYTES: usize = 4 << 20;

/// Every row begins at a multiple of this many bytes.
const GRAIN: usize = 16;

/// Bits of the number of grains of a row.
const LENGTH_BITS: u32 = 26;

/// Bytes between two rows that are read over rather than skipped.
const READ_OVER: u64 = 16 << 10;

/// Where a row lies: 38 bits of place and 26 of length, in grains, which reach for 4 TiB and rows of 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u64);

impl Place {
    fn new(start: u64, num_grains: usize) -> Option<Self> {
        let start = start / GRAIN as u64;
        let fits = start < 1 << (64 - LENGTH_BITS) && num_grains < 1 << LENGTH_BITS;
        fits.then_some(Self(start << LENGTH_BITS | num_grains as u64))
    }

    fn start(self) -> u64 {
        (self.0 >> LENGTH_BITS) * GRAIN as u64
    }

    fn num_bytes(self) -> usize {
        self.num_grains() as usize * GRAIN
    }

    pub(crate) fn num_grains(self) -> u32 {
        (self.0 & ((1 << LENGTH_BITS) - 1)) as u32
    }
}

/// Some rows, in order.
#[derive(Clone, Debug)]
pub(crate) enum Pool {
    /// Few rows.
    Memory(Vec<Example>),
    /// Rows of a file, which several pools may share.
    File {
        /// Where they lie.
        file: Arc<ScratchFile>,
        /// Which ones.
        places: Vec<Place>,
    },
}

impl Default for Pool {
    fn default() -> Self {
        Self::Memory(Vec::new())
    }
}

impl From<Vec<Example>> for Pool {
    fn from(rows: Vec<Example>) -> Self {
        Self::Memory(rows)
    }
}

impl Pool {
    /// An empty pool whose rows will lie in this file.
    pub(crate) fn in_file(file: &Arc<ScratchFile>) -> Self {
        Self::File { file: Arc::clone(file), places: Vec::new() }
    }

    /// The rows of a file whose lengths are known, which begin at `start`.
    pub(crate) fn found(file: &Arc<ScratchFile>, mut start: u64, num_grains: &[u32]) -> Option<Self> {
        let mut places = Vec::with_capacity(num_grains.len());
        for length in num_grains {
            places.push(Place::new(start, *length as usize)?);
            start += u64::from(*length) * GRAIN as u64;
        }
        Some(Self::File { file: Arc::clone(file), places })
    }

    /// What rows of these lengths take in a file.
    pub(crate) fn num_bytes_of(num_grains: &[u32]) -> u64 {
        num_grains.iter().map(|length| u64::from(*length) * GRAIN as u64).sum()
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Memory(rows) => rows.len(),
            Self::File { places, .. } => places.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The places of rows of a file.
    pub(crate) fn places(&self) -> &[Place] {
        match self {
            Self::Memory(_) => &[],
            Self::File { places, .. } => places,
        }
    }

    /// An empty pool of the same kind.
    pub(crate) fn sibling(&self) -> Self {
        match self {
            Self::Memory(_) => Self::Memory(Vec::new()),
            Self::File { file, .. } => Self::in_file(file),
        }
    }

    /// Adds a row at the end.
    pub(crate) fn push(&mut self, row: Example) -> Result<(), DataError> {
        match self {
            Self::Memory(rows) => rows.push(row),
            Self::File { file, places } => places.push(written(file, &bytes_of(file, &row)?)?),
        }
        Ok(())
    }

    /// Adds a row of another pool at the end; in one file it is not written again.
    pub(crate) fn push_from(&mut self, other: &Self, number: usize) -> Result<(), DataError> {
        if let (Self::File { file, places }, Self::File { file: other, places: from }) = (&mut *self, other)
            && Arc::ptr_eq(file, other)
        {
            places.extend(from.get(number));
            return Ok(());
        }
        other.get(&[number])?.into_iter().try_for_each(|row| self.push(row))
    }

    /// Adds rows at the end.
    pub(crate) fn extend(&mut self, new: Vec<Example>) -> Result<(), DataError> {
        match self {
            Self::Memory(rows) => rows.extend(new),
            Self::File { file, places } => {
                let encoded: Vec<Encoded> = new.par_iter().with_min_len(64).map(|row| bytes_of(file, row)).collect();
                for bytes in encoded {
                    places.push(written(file, &bytes?)?);
                }
            }
        }
        Ok(())
    }

    /// Adds all rows of another pool at the end.
    pub(crate) fn append(&mut self, other: Self) -> Result<(), DataError> {
        match (&mut *self, other) {
            (Self::Memory(rows), Self::Memory(new)) => rows.extend(new),
            (Self::File { file, places }, Self::File { file: other, places: new }) if Arc::ptr_eq(file, &other) => {
                places.extend(new);
            }
            (_, other) => other.for_each_portion(|_, rows| self.extend(rows.to_vec()))?,
        }
        Ok(())
    }

    /// Hands on all rows, some at a time, with the number of the first of them.
    pub(crate) fn for_each_portion(
        &self,
        mut each: impl FnMut(usize, &[Example]) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        match self {
            Self::Memory(rows) => {
                for (number, portion) in rows.chunks(PORTION_ROWS).enumerate() {
                    each(number * PORTION_ROWS, portion)?;
                }
            }
            Self::File { file, places } => {
                let mut first = 0;
                while let Some(rest) = places.get(first..).filter(|rest| !rest.is_empty()) {
                    let count = portion_of(rest);
                    let portion = read_rows(file, rest.get(..count).unwrap_or_default())?;
                    each(first, &portion)?;
                    first += count;
                }
            }
        }
        Ok(())
    }

    /// What is found out about every row, on any thread, in the order of the rows.
    pub(crate) fn facts<T: Send>(&self, fact: impl Fn(&Example) -> T + Sync) -> Result<Vec<T>, DataError> {
        let mut facts = Vec::with_capacity(self.len());
        self.for_each_portion(|_, rows| {
            facts.par_extend(rows.par_iter().with_min_len(32).map(&fact));
            Ok(())
        })?;
        Ok(facts)
    }

    /// The rows of these numbers, in this order; a number that no row has is passed over.
    pub(crate) fn get(&self, numbers: &[usize]) -> Result<Vec<Example>, DataError> {
        match self {
            Self::Memory(rows) => Ok(numbers.iter().filter_map(|number| rows.get(*number)).cloned().collect()),
            Self::File { file, places } => {
                let wanted: Vec<Place> = numbers.iter().filter_map(|number| places.get(*number)).copied().collect();
                read_rows(file, &wanted)
            }
        }
    }

    /// All rows, in memory: for pools that are known to be small.
    pub(crate) fn into_rows(self) -> Result<Vec<Example>, DataError> {
        match self {
            Self::Memory(rows) => Ok(rows),
            Self::File { file, places } => read_rows(&file, &places),
        }
    }

    /// Leaves out the rows for whose number `keeps` says no.
    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(usize) -> bool) {
        let mut number = 0;
        let mut keeps_next = || {
            number += 1;
            keeps(number - 1)
        };
        match self {
            Self::Memory(rows) => rows.retain(|_| keeps_next()),
            Self::File { places, .. } => places.retain(|_| keeps_next()),
        }
    }

    /// Keeps the first rows.
    pub(crate) fn truncate(&mut self, count: usize) {
        match self {
            Self::Memory(rows) => rows.truncate(count),
            Self::File { places, .. } => places.truncate(count),
        }
    }

    /// Puts the rows in a drawn order.
    pub(crate) fn shuffle(&mut self, rng: &mut impl Rng) {
        match self {
            Self::Memory(rows) => shuffle(rows, rng),
            Self::File { places, .. } => shuffle(places, rng),
        }
    }

    /// The rows of these numbers in this order; each number stands once at most.
    pub(crate) fn reordered(self, order: &[u32]) -> Self {
        match self {
            Self::Memory(rows) => {
                let mut rows: Vec<Option<Example>> = rows.into_iter().map(Some).collect();
                let next = |number: &u32| rows.get_mut(*number as usize).and_then(Option::take);
                Self::Memory(order.iter().filter_map(next).collect())
            }
            Self::File { file, places } => {
                let places = order.iter().filter_map(|number| places.get(*number as usize)).copied().collect();
                Self::File { file, places }
            }
        }
    }

    /// Changes rows in place; `change` says whether it did something to a row. Returns the numbers of the changed rows to
    /// `seen`, with the row before and after, as long as `seen` wants more.
    pub(crate) fn edit(
        &mut self,
        change: impl Fn(usize, &mut Example) -> bool + Sync,
        seen: &mut dyn FnMut(&Example, &Example) -> bool,
    ) -> Result<usize, DataError> {
        let mut changed = 0;
        let mut wants_more = true;
        let mut after_all = self.sibling();
        self.for_each_portion(|first, rows| {
            let edited = rows.par_iter().with_min_len(32).enumerate().map(|(at, row)| {
                let mut after = row.clone();
                change(first + at, &mut after).then_some(after)
            });
            let edited: Vec<Option<Example>> = edited.collect();
            for (before, after) in rows.iter().zip(&edited) {
                let Some(after) = after else { continue };
                changed += 1;
                wants_more = wants_more && seen(before, after);
            }
            after_all.extend_edited(self, first, rows, edited)
        })?;
        *self = after_all;
        Ok(changed)
    }

    /// Adds a portion of another pool of the same kind, with some rows changed; the others are not written again.
    fn extend_edited(
        &mut self,
        before: &Self,
        first: usize,
        rows: &[Example],
        edited: Vec<Option<Example>>,
    ) -> Result<(), DataError> {
        match self {
            Self::Memory(all) => {
                all.extend(edited.into_iter().zip(rows).map(|(after, row)| after.unwrap_or_else(|| row.clone())));
            }
            Self::File { file, places } => {
                let encode = |row: &Option<Example>| row.as_ref().map(|row| bytes_of(file, row));
                let encoded: Vec<Option<Encoded>> = edited.par_iter().with_min_len(64).map(encode).collect();
                let old = before.places().get(first..).unwrap_or_default();
                for (place, bytes) in old.iter().zip(encoded) {
                    places.push(bytes.map_or(Ok(*place), |bytes| written(file, &bytes?))?);
                }
            }
        }
        Ok(())
    }
}

/// How many rows from the first on make a portion; at least one.
fn portion_of(places: &[Place]) -> usize {
    let mut num_bytes = 0;
    let fits = |place: &&Place| {
        num_bytes += place.num_bytes();
        num_bytes <= PORTION_BYTES
    };
    places.iter().take(PORTION_ROWS).take_while(fits).count().max(1)
}

/// A row as it is written.
type Encoded = Result<Vec<u8>, DataError>;

/// The JSON of a row, filled up with white space to whole grains.
fn bytes_of(file: &ScratchFile, row: &Example) -> Encoded {
    let mut bytes =
        serde_json::to_vec(row).map_err(|source| FsError::NotJson { path: file.path().to_owned(), source })?;
    bytes.resize(bytes.len().next_multiple_of(GRAIN), b'\n');
    Ok(bytes)
}

fn written(file: &ScratchFile, bytes: &[u8]) -> Result<Place, DataError> {
    let start = file.append(bytes)?;
    let place = Place::new(start, bytes.len() / GRAIN);
    place.ok_or_else(|| FsError::io("write", file.path(), std::io::ErrorKind::FileTooLarge.into()).into())
}

/// Rows in the order of `places`, read in the order of the file.
fn read_rows(file: &ScratchFile, places: &[Place]) -> Result<Vec<Example>, DataError> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    if !places.is_sorted_by_key(|place| place.start()) {
        order.sort_by_key(|at| places.get(*at).map(|place| place.start()));
    }
    let sorted: Vec<Place> = order.iter().filter_map(|at| places.get(*at)).copied().collect();
    let mut rows: Vec<(usize, Example)> = Vec::with_capacity(places.len());
    let mut rest = sorted.as_slice();
    let mut numbers = order.as_slice();
    let mut bytes = Vec::new();
    while let Some(first) = rest.first() {
        let count = run_of(rest);
        let (run, behind) = rest.split_at(count);
        let (own, numbers_behind) = numbers.split_at(count);
        let end = run.last().map_or(first.start(), |last| last.start() + last.num_bytes() as u64);
        bytes.resize(usize::try_from(end - first.start()).unwrap_or(usize::MAX), 0);
        file.read(first.start(), &mut bytes)?;
        let parse = |(place, number): (&Place, &usize)| {
            let start = usize::try_from(place.start() - first.start()).unwrap_or(usize::MAX);
            let text = bytes.get(start..start + place.num_bytes()).unwrap_or_default();
            let row = serde_json::from_slice(text);
            let row =
                row.map_err(|source| FsError::BadLine { path: file.path().to_owned(), line: *number + 1, source })?;
            Ok((*number, row))
        };
        let found: Result<Vec<(usize, Example)>, FsError> =
            run.par_iter().zip(own.par_iter()).with_min_len(64).map(parse).collect();
        rows.extend(found?);
        (rest, numbers) = (behind, numbers_behind);
    }
    rows.sort_by_key(|(number, _)| *number);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// How many rows from the first on are read at once: those that lie close together, within the size of a portion.
fn run_of(sorted: &[Place]) -> usize {
    let Some(first) = sorted.first() else { return 0 };
    let joined = sorted.windows(2).take_while(|pair| {
        let [before, after] = pair else { return false };
        let end = before.start() + before.num_bytes() as u64;
        let is_near = after.start() <= end.saturating_add(READ_OVER);
        is_near && after.start() - first.start() < PORTION_BYTES as u64
    });
    joined.count() + 1
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::operators::tests::open_row;

    /// The same rows in a file, which lasts as long as the folder.
    pub(crate) fn spilled(rows: &[Example]) -> (tempfile::TempDir, Pool) {
        let dir = tempfile::tempdir().unwrap();
        let file = Arc::new(ScratchFile::create(&dir.path().join("rows")).unwrap());
        let mut pool = Pool::in_file(&file);
        pool.extend(rows.to_vec()).unwrap();
        (dir, pool)
    }

    fn rows(lengths: &[usize]) -> Vec<Example> {
        lengths.iter().enumerate().map(|(row, length)| open_row(row, &"ä".repeat(*length), "a")).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_pool_in_a_file_is_one_in_memory(lengths in proptest::collection::vec(0_usize..900, 0..60), seed in any::<u64>()) {
            let rows = rows(&lengths);
            let (_dir, mut file) = spilled(&rows);
            let mut memory = Pool::from(rows);
            for step in 0..4 {
                for pool in [&mut file, &mut memory] {
                    let mut rng = trex_domain::seeded_rng(seed, "pool");
                    match step {
                        0 => pool.shuffle(&mut rng),
                        1 => {
                            let change = |number: usize, row: &mut Example| {
                                row.answer.push_str("changed");
                                number.is_multiple_of(3)
                            };
                            let changed = pool.edit(change, &mut |_, after| after.answer.len() > 99).unwrap();
                            prop_assert_eq!(changed, lengths.len().div_ceil(3));
                        }
                        2 => pool.retain(|number| number % 5 != 1),
                        _ => pool.push(open_row(99, "added", "x")).unwrap(),
                    }
                }
                let wanted = [3, 0, 1000, 2];
                prop_assert_eq!(file.get(&wanted).unwrap(), memory.get(&wanted).unwrap());
                prop_assert_eq!(file.facts(|row| row.id.clone()).unwrap(), memory.facts(|row| row.id.clone()).unwrap());
            }
            let order: Vec<u32> = (0..u32::try_from(file.len()).unwrap()).rev().step_by(2).collect();
            prop_assert_eq!(file.reordered(&order).into_rows().unwrap(), memory.reordered(&order).into_rows().unwrap());
        }
    }

    #[test]
    fn portions_are_bounded_and_a_large_row_is_one() {
        let (_dir, pool) = spilled(&rows(&[3 << 20, 10, 1 << 20, 1 << 20, 1 << 20, 7]));
        let mut counts = Vec::new();
        pool.for_each_portion(|first, rows| {
            counts.push((first, rows.len()));
            Ok(())
        })
        .unwrap();
        assert_eq!(counts, [(0, 1), (1, 2), (3, 1), (4, 2)]);
    }

    #[test]
    fn what_was_damaged_on_the_disk_is_an_error() {
        let (dir, pool) = spilled(&rows(&[5, 5]));
        pool.get(&[0]).unwrap();
        std::fs::write(dir.path().join("rows"), "no JSON at all").unwrap();
        assert!(pool.get(&[0]).is_err());
    }
}
