//! `trex data show --page` and `trex data search`: pages of a source by its index, and rows by what they mean.

use std::fmt::Write as _;

use serde_json::json;
use trex_data::{ExampleReader, RowIndex, SearchHit, SearchedBy, search_rows};
use trex_domain::{Embedder, Example};

use crate::args::{SearchArgs, ShowArgs};
use crate::commands::data::{fields, row_text, told, told_all};
use crate::error::CliError;
use crate::output::Output;
use crate::{measures, system};

/// A page of the rows, by the index of the source.
pub(crate) fn page(args: &ShowArgs, page: usize, output: &mut Output) -> Result<(), CliError> {
    system::catch_stop_signals();
    let mut progress = |rows: usize| told(&format!("{rows} rows read"));
    let fields = fields(&args.source);
    let index = RowIndex::open(&args.source.file, &fields, &system::cache_dir()?, &mut progress)?;
    told_all();
    let page = page.max(1);
    let skip = args.skip.saturating_add((page - 1).saturating_mul(args.rows));
    let found = index.page(args.filter.as_deref(), skip, args.rows)?;
    let num_pages = found.total.saturating_sub(args.skip).div_ceil(args.rows.max(1));
    let value = json!({ "page": page, "pages": num_pages, "total": found.total, "rows": found.rows });
    output.result(&value, || {
        let mut text: String = found.rows.iter().map(|row| row_text(row) + "\n").collect();
        writeln!(text, "page {page} of {num_pages}, {} rows of {}", found.total, index.facts().rows.kept)
            .expect("writing to a string cannot fail");
        text
    })
}

/// The rows that fit a question best.
pub(crate) fn search(args: &SearchArgs, output: &mut Output) -> Result<(), CliError> {
    system::catch_stop_signals();
    let mut reader = ExampleReader::guessed(&args.source.file, &fields(&args.source))?;
    let mut rows: Vec<Example> = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        rows.extend(chunk.examples);
        if !told(&format!("{} rows read", rows.len())) {
            return Err(trex_data::DataError::Cancelled.into());
        }
    }
    told_all();
    let facts = measures::find_embedder()?;
    // Vectors belong to the texts, not to a workspace: any later search finds them.
    let measured = system::cache_dir()?.join("measured");
    let meter = facts.as_ref().map(|facts| measures::embedder(facts, &measured)).transpose()?;
    let embedder = meter.as_ref().map(|meter| -> &dyn Embedder { meter });
    let (by, hits) = search_rows(&rows, &args.query, args.rows, embedder)?;
    let found: Vec<(&SearchHit, &Example)> = hits.iter().filter_map(|hit| Some((hit, rows.get(hit.row)?))).collect();
    let listed: Vec<_> = found.iter().map(|(hit, row)| json!({ "score": hit.score, "row": row })).collect();
    output.result(&json!({ "by": by, "hits": listed }), || {
        let mut text = match by {
            SearchedBy::Meaning => String::new(),
            SearchedBy::Words => format!("note: {}; rows are ranked by the words that they share\n", no_embedder()),
        };
        for (hit, row) in &found {
            writeln!(text, "{:.3} {}", hit.score, row_text(row)).expect("writing to a string cannot fail");
        }
        text
    })
}

/// What is missing where meanings cannot be compared, and what to do.
pub(crate) fn no_embedder() -> String {
    format!("no embedding model ({} is not there; `cargo xtask setup` fetches it)", measures::EMBEDDER)
}
