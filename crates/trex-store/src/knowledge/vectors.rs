//! Vectors of passages as one matrix of bytes in memory, and the passages nearest to a vector. Exact over the rounded
//! numbers: every passage is looked at, which takes some milliseconds for a hundred thousand.

use std::panic::resume_unwind;
use std::thread;

use rusqlite::Connection;

/// Rows that are worth a thread of their own; about a millisecond of work.
const ROWS_OF_A_THREAD: usize = 10_000;

/// Largest magnitude of a rounded number.
const LEVELS: f32 = 127.0;

/// All vectors of one model.
#[derive(Debug)]
pub(super) struct Matrix {
    pub(super) model: String,
    /// What SQLite counts changes of other connections with.
    pub(super) data_version: i64,
    width: usize,
    passages: Vec<i64>,
    scales: Vec<f32>,
    /// Row by row.
    numbers: Vec<i8>,
}

impl Matrix {
    /// Reads all vectors of a model that have the given width.
    pub(super) fn read(connection: &Connection, model: &str, width: usize) -> rusqlite::Result<Self> {
        let data_version = data_version(connection)?;
        let sql = "SELECT passage, scale, vector FROM passage_vectors WHERE model = ?1 AND length(vector) = ?2 ORDER BY passage";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query((model, super::column(width)))?;
        let mut matrix = Self {
            model: model.to_owned(),
            data_version,
            width,
            passages: Vec::new(),
            scales: Vec::new(),
            numbers: Vec::new(),
        };
        while let Some(row) = rows.next()? {
            matrix.passages.push(row.get(0)?);
            #[expect(clippy::cast_possible_truncation, reason = "it was a 32-bit float when it was written")]
            matrix.scales.push(row.get::<_, f64>(1)? as f32);
            let bytes = row.get_ref(2)?.as_blob()?;
            matrix.numbers.extend(bytes.iter().map(|byte| byte.cast_signed()));
        }
        Ok(matrix)
    }

    /// Whether it holds what the database holds now.
    pub(super) fn is_current(&self, connection: &Connection, model: &str, width: usize) -> rusqlite::Result<bool> {
        Ok(self.model == model && self.width == width && self.data_version == data_version(connection)?)
    }

    /// Passages by cosine with a vector of length 1, the nearest first; of equal ones the earlier.
    pub(super) fn nearest(&self, vector: &[f32], limit: usize) -> Vec<i64> {
        let query = rounded(vector);
        let rows = self.passages.len();
        let most = thread::available_parallelism().map_or(1, usize::from);
        let each = rows.div_ceil(most.min(rows / ROWS_OF_A_THREAD).max(1)).max(1);
        let parts: Vec<_> = (0..rows).step_by(each).map(|first| (first, (first + each).min(rows))).collect();
        let (own, others) = parts.split_first().map_or(((0, 0), &[][..]), |(own, others)| (*own, others));
        let query = &query;
        let mut scored: Vec<(f32, usize)> = thread::scope(|scope| {
            let others: Vec<_> = others.iter().map(|part| scope.spawn(|| self.best_of(*part, query, limit))).collect();
            let mut scored = self.best_of(own, query, limit);
            for other in others {
                scored.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            scored
        });
        keep_best(&mut scored, limit);
        scored.into_iter().filter_map(|(_, row)| self.passages.get(row).copied()).collect()
    }

    /// The best of the rows from the first to before the second.
    fn best_of(
        &self,
        (first, end): (usize, usize),
        (scale, query): &(f32, Vec<i8>),
        limit: usize,
    ) -> Vec<(f32, usize)> {
        let numbers = self.numbers.get(first * self.width..end * self.width).unwrap_or_default();
        let scales = self.scales.get(first..end).unwrap_or_default();
        let rows = numbers.chunks_exact(self.width.max(1)).zip(scales).zip(first..);
        let mut scored: Vec<(f32, usize)> =
            rows.map(|((numbers, own), row)| (dot(numbers, query) * own * scale, row)).collect();
        keep_best(&mut scored, limit);
        scored
    }
}

/// Cuts a list of (cosine, row) to its best, in order.
fn keep_best(scored: &mut Vec<(f32, usize)>, limit: usize) {
    let order = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if scored.len() > limit {
        scored.select_nth_unstable_by(limit, order);
        scored.truncate(limit);
    }
    scored.sort_unstable_by(order);
}

/// Counts the changes that other connections made to the database.
fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0))
}

/// A vector as bytes and the factor that they are to be taken times.
pub(super) fn rounded(vector: &[f32]) -> (f32, Vec<i8>) {
    let largest = vector.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        return (0.0, vec![0; vector.len()]);
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounded and within ±127")]
    let numbers = vector.iter().map(|value| (value / largest * LEVELS).round() as i8);
    (largest / LEVELS, numbers.collect())
}

/// The form of a column.
pub(super) fn bytes(numbers: &[i8]) -> Vec<u8> {
    numbers.iter().map(|number| number.cast_unsigned()).collect()
}

/// Sum of products: at most 2^14 each, so a sum of up to 2^17 of them fits.
fn dot(a: &[i8], b: &[i8]) -> f32 {
    let sum: i32 = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
    sum as f32
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;
    use trex_domain::seeded_rng;

    use super::*;

    fn unit(rng: &mut impl rand::Rng, width: usize) -> Vec<f32> {
        let raw: Vec<f32> = (0..width).map(|_| rng.random_range(-1.0..1.0)).collect();
        let length = raw.iter().map(|value| value * value).sum::<f32>().sqrt();
        raw.into_iter().map(|value| value / length).collect()
    }

    #[test]
    fn rounding_to_bytes_keeps_the_nearest_ones() {
        let mut rng = seeded_rng(5, "vectors");
        let rows: Vec<Vec<f32>> = (0..500).map(|_| unit(&mut rng, 384)).collect();
        let rounded: Vec<(f32, Vec<i8>)> = rows.iter().map(|row| rounded(row)).collect();
        let matrix = Matrix {
            model: "m".to_owned(),
            data_version: 1,
            width: 384,
            passages: (0..500).collect(),
            scales: rounded.iter().map(|(scale, _)| *scale).collect(),
            numbers: rounded.into_iter().flat_map(|(_, numbers)| numbers).collect(),
        };
        let query = unit(&mut rng, 384);
        let cosine =
            |row: i64| -> f32 { rows[usize::try_from(row).unwrap()].iter().zip(&query).map(|(a, b)| a * b).sum() };
        let nearest = matrix.nearest(&query, 10);
        let mut exact: Vec<i64> = (0..500).collect();
        exact.sort_by(|a, b| cosine(*b).total_cmp(&cosine(*a)));
        let kept = exact[..10].iter().filter(|row| nearest.contains(row)).count();
        assert!(kept >= 9, "{nearest:?} {:?}", &exact[..10]);
        assert_eq!(matrix.nearest(&rows[7], 1), [7]);
        assert_eq!(matrix.nearest(&query, 1000).len(), 500);
    }

    #[test]
    fn many_rows_are_shared_out_and_the_order_is_kept() {
        let rows = 3 * ROWS_OF_A_THREAD + 7;
        let mut rng = seeded_rng(6, "many vectors");
        let numbers: Vec<i8> = (0..2 * rows).map(|_| rng.random_range(-9..=9)).collect();
        let passages: Vec<i64> = (0..).take(rows).collect();
        let (model, scales) = ("m".to_owned(), vec![1.0; rows]);
        let matrix = Matrix { model, data_version: 1, width: 2, passages: passages.clone(), scales, numbers };
        let query = [0.6, 0.8];
        let (_, rounded) = rounded(&query);
        let mut exact: Vec<usize> = (0..rows).collect();
        // The sort is stable: of equal ones the earlier comes first.
        exact.sort_by_key(|row| {
            let pair = &matrix.numbers[2 * row..2 * row + 2];
            -(i32::from(pair[0]) * i32::from(rounded[0]) + i32::from(pair[1]) * i32::from(rounded[1]))
        });
        let exact: Vec<i64> = exact[..300].iter().map(|row| passages[*row]).collect();
        assert_eq!(matrix.nearest(&query, 300), exact);
    }
}
