//! Parquet, Arrow and Feather files, batch by batch. The only place beside the exporter that names Arrow.
//!
//! A cell becomes the text that the same value has in JSON lines: strings as they are, numbers as digits, nested values as
//! compact JSON, times as ISO 8601.

mod cell;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::source::{Content, Part};
use super::{Opened, PartReader, Sink};
use crate::DataError;

/// Rows of a batch.
const BATCH_ROWS: usize = 4096;

/// A kind of columnar file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Parquet,
    ArrowFile,
    ArrowStream,
    FeatherOne,
}

/// The kind that first bytes stand for.
pub(super) fn kind_of(head: &[u8]) -> Option<Kind> {
    match head {
        [b'P', b'A', b'R', b'1', ..] => Some(Kind::Parquet),
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Some(Kind::ArrowFile),
        [b'F', b'E', b'A', b'1', ..] => Some(Kind::FeatherOne),
        // The continuation mark and the length of the schema message, which is below 2^24 and a multiple of 8.
        [0xff, 0xff, 0xff, 0xff, low, _, _, 0, ..] if low % 8 == 0 => Some(Kind::ArrowStream),
        _ => None,
    }
}

/// Opens a columnar file. Only files that lie on the disk as they are can be read: the format needs to jump about.
pub(super) fn open(part: &Part, content: &Content, kind: Kind) -> Result<Opened, DataError> {
    let unsupported = |found| DataError::UnsupportedFormat { path: part.path.clone(), found };
    if kind == Kind::FeatherOne {
        return Err(unsupported("a Feather file of version 1"));
    }
    let Some(path) = part.plain_path().filter(|_| !content.is_packed) else {
        return Err(unsupported("a columnar file within a packed one"));
    };
    let damaged = |source| DataError::BadColumnar { file: part.name.clone(), source };
    let file = trex_fs::open(path)?;
    let (batches, schema, format) = guarded(|| batches_of(file, kind)).and_then(|opened| opened).map_err(damaged)?;
    let unread: Vec<String> = schema
        .fields()
        .iter()
        .filter(|field| !cell::is_read(field.data_type()))
        .map(|field| field.name().clone())
        .collect();
    let reader = ColumnarReader { name: part.name.clone(), batches, next_row: 0, unread };
    Ok(Opened { reader: Box::new(reader), format: format.to_owned(), reason: "its first bytes say so".to_owned() })
}

/// The batches of a file, its schema and what it is called.
fn batches_of(file: File, kind: Kind) -> Result<(Batches, SchemaRef, &'static str), AnyError> {
    Ok(match kind {
        Kind::Parquet => {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
            let schema = builder.schema().clone();
            (Box::new(builder.with_batch_size(BATCH_ROWS).build()?), schema, "parquet")
        }
        Kind::ArrowStream => {
            let reader = arrow_ipc::reader::StreamReader::try_new(BufReader::new(file), None)?;
            let schema = reader.schema();
            (Box::new(reader), schema, "arrow stream")
        }
        Kind::ArrowFile | Kind::FeatherOne => {
            let reader = arrow_ipc::reader::FileReader::try_new(BufReader::new(file), None)?;
            let schema = reader.schema();
            (Box::new(reader), schema, "arrow")
        }
    })
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Damaged lengths make the readers of these formats panic instead of failing; here that is an error like any other.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, AnyError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        AnyError::from(text.unwrap_or_else(|| "a length makes no sense".to_owned()))
    })
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

struct ColumnarReader {
    name: String,
    batches: Batches,
    next_row: u64,
    /// Columns of types that are not read.
    unread: Vec<String>,
}

impl PartReader for ColumnarReader {
    fn read_into(&mut self, sink: &mut Sink) -> Result<bool, DataError> {
        let next = guarded(|| self.batches.next().transpose()).and_then(|next| next.map_err(AnyError::from));
        let batch = match next {
            Ok(None) => return Ok(false),
            Ok(Some(batch)) => batch,
            // A damaged page costs what is behind it, not what was read.
            Err(err) if self.next_row > 0 => {
                sink.set_aside_at(self.next_row + 1, 0, format!("the file is damaged here: {err}"), String::new());
                return Ok(false);
            }
            Err(source) => return Err(DataError::BadColumnar { file: self.name.clone(), source }),
        };
        let schema = batch.schema();
        let names: Vec<Arc<str>> = schema.fields().iter().map(|field| sink.field(field.name())).collect();
        for row in 0..batch.num_rows() {
            let mut values = BTreeMap::new();
            for (name, column) in names.iter().zip(batch.columns()) {
                if let Some(text) = cell::text_of(column.as_ref(), row) {
                    values.insert(name.clone(), text);
                }
            }
            self.next_row += 1;
            sink.keep_at(self.next_row, 0, values);
        }
        Ok(true)
    }

    fn remark(&self) -> Option<String> {
        let names = self.unread.join(", ");
        (!names.is_empty()).then(|| format!("columns of types that are not read: {names}"))
    }
}
