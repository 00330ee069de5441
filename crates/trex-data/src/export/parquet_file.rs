//! Rows as a Parquet file: id, messages as a list of role and content, and the source. Beside the readers the only place
//! that names Arrow.

use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Fields, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use trex_domain::Example;

use super::{Rows, conversation};
use crate::DataError;

/// Bytes of a group of rows, which is what Parquet holds in memory; readers in parallel take a group each.
const GROUP_BYTES: usize = 64 << 20;

/// Writes the whole file.
pub(super) fn write_parquet(file: &mut (impl Write + Send), rows: &dyn Rows) -> Result<(), DataError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| DataError::ParquetNotWritten { source };
    let schema = Arc::new(schema());
    let level = ZstdLevel::try_new(3).map_err(|err| failed(Box::new(err)))?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties));
    let mut writer = writer.map_err(|err| failed(Box::new(err)))?;
    rows.for_each_portion(&mut |rows| {
        let batch = RecordBatch::try_new(schema.clone(), columns(rows)).map_err(|err| failed(Box::new(err)))?;
        writer.write(&batch).map_err(|err| failed(Box::new(err)))?;
        // A group of rows is held until it is written; they are closed long before a million rows are held.
        if writer.in_progress_size() > GROUP_BYTES {
            writer.flush().map_err(|err| failed(Box::new(err)))?;
        }
        Ok(())
    })?;
    writer.close().map(|_| ()).map_err(|err| failed(Box::new(err)))
}

fn turn_fields() -> Fields {
    Fields::from(vec![Field::new("role", DataType::Utf8, true), Field::new("content", DataType::Utf8, true)])
}

fn schema() -> Schema {
    let turn = Field::new("item", DataType::Struct(turn_fields()), true);
    Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("messages", DataType::List(Arc::new(turn)), true),
        Field::new("source", DataType::Utf8, false),
    ])
}

fn columns(rows: &[Example]) -> Vec<ArrayRef> {
    let turn = StructBuilder::new(turn_fields(), vec![Box::new(StringBuilder::new()), Box::new(StringBuilder::new())]);
    let mut messages = ListBuilder::new(turn);
    for row in rows {
        for turn in conversation(row) {
            let values = messages.values();
            for (at, text) in [turn.role.as_str(), &turn.content].into_iter().enumerate() {
                if let Some(builder) = values.field_builder::<StringBuilder>(at) {
                    builder.append_value(text);
                }
            }
            values.append(true);
        }
        messages.append(true);
    }
    vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.id))),
        Arc::new(messages.finish()),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.origin.source))),
    ]
}
