//! Runs a recipe file: sources stream in, training data and held-out splits come out, by content.
//!
//! The leading steps that look at single rows are applied chunk by chunk as the sources stream in; what they keep lies in
//! one file of a scratch folder, where the steps behind them find it, so memory holds a few bytes of each row and never
//! the rows. A run that was stopped in any way goes on behind its last finished chunk. Equal sources, recipes and seeds
//! give equal bytes.

mod chunks;
mod mixture;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use trex_domain::{ContentHash, Operator, OperatorCount, Recipe, RowCounts, RowForm, RowLedger};
use trex_fs::{BlobStore, read_to_string, remove_dir_all, write_json};

use crate::operators::{Aids, LeakKeys, StepRun, StepTrace, check_ledger, is_row_wise};
use crate::pool::Pool;
use crate::prepare::{OPERATORS_VERSION, store_rows};
use crate::reader::file_name;
use crate::{DataError, ExampleReader, RecipeFile};
use chunks::Chunks;

pub(crate) use chunks::content_hash;

/// Asks for the data of a recipe file.
#[derive(Clone, Copy, Debug)]
pub struct RecipeRequest<'a> {
    /// The recipe.
    pub recipe: &'a RecipeFile,
    /// The folder that its paths start from.
    pub base: &'a Path,
    /// The workspace: results lie in `blobs` and `prepared`, unfinished work in `scratch`.
    pub workspace: &'a Path,
    /// What some steps need.
    pub aids: Aids<'a>,
    /// Names the aids by content, as far as they decide the result.
    pub aids_name: &'a str,
}

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RecipeProgress {
    /// What is done at the moment: a source, or a step.
    pub stage: String,
    /// Rows that were read so far, over all sources.
    pub rows_read: usize,
    /// Rows that are still there.
    pub rows_kept: usize,
    /// Chunks that an earlier, interrupted run had done.
    pub chunks_reused: usize,
}

/// What became of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceCounts {
    /// Its name in ids.
    pub name: String,
    /// Licence of its rows, where the recipe names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Hash of its content.
    pub content: Option<ContentHash>,
    /// What it was taken for.
    pub format: String,
    /// What its columns were taken for.
    pub schema: String,
    /// Rows in, kept and quarantined.
    pub rows: RowCounts,
    /// Rows that the filter of the source left out.
    pub filtered: usize,
    /// The first reasons for which rows were quarantined, with their counts.
    pub quarantine_reasons: BTreeMap<String, usize>,
}

/// What a recipe made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecipeOutcome {
    /// Hash of the recipe.
    pub recipe: ContentHash,
    /// Blob of the training rows.
    pub train: ContentHash,
    /// Blob of the dev rows; an empty one where nothing is held out.
    pub dev: ContentHash,
    /// Blob of the test rows; an empty one where nothing is held out.
    pub test: ContentHash,
    /// Rows of the three.
    pub rows: [usize; 3],
    /// The sources.
    pub sources: Vec<SourceCounts>,
    /// Where every training row went.
    pub ledger: RowLedger,
    /// Some of the rows that each step touched.
    pub traces: Vec<StepTrace>,
    /// Whether a step compared all rows, written ones too, with evaluation items; what was not compared must not be
    /// trained on.
    pub is_decontaminated: bool,
    /// Rows that still have the prompt of an evaluation item.
    pub leaked: usize,
    /// The models that steps asked, by use and content, such as `writer/HASH`.
    #[serde(default)]
    pub models: Vec<String>,
}

/// Runs a recipe, or finds its result; `true` beside it where it was found. `progress` is called often; returning `false`
/// stops the run, and the next call goes on.
pub fn run_recipe_file(
    request: &RecipeRequest<'_>,
    progress: &mut dyn FnMut(&RecipeProgress) -> bool,
) -> Result<(RecipeOutcome, bool), DataError> {
    let sources = named_sources(request)?;
    let key = run_key(request, &sources)?;
    let blobs = BlobStore::new(request.workspace.join("blobs"));
    let entry = request.workspace.join("prepared").join(format!("recipe-{key}.json"));
    if let Some(found) = cached(&blobs, &entry) {
        return Ok((found, true));
    }
    let mut run = Run {
        request,
        chunks: Chunks::open(request.workspace.join("scratch").join(format!("recipe-{key}")))?,
        state: RecipeProgress::default(),
        progress,
        counts: Vec::new(),
        traces: Vec::new(),
    };
    let outcome = run.execute(&sources, &blobs)?;
    write_json(&entry, &outcome)?;
    remove_dir_all(run.chunks.folder())?;
    Ok((outcome, false))
}

/// A source with its name and the hash of its content.
struct NamedSource {
    index: usize,
    name: String,
    path: PathBuf,
    content: ContentHash,
    license: Option<String>,
}

fn named_sources(request: &RecipeRequest<'_>) -> Result<Vec<NamedSource>, DataError> {
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    let mut sources = Vec::with_capacity(request.recipe.sources.len());
    for (index, source) in request.recipe.sources.iter().enumerate() {
        let path = request.base.join(&source.path);
        let plain = source.name.clone().unwrap_or_else(|| file_name(&path));
        let count = uses.entry(plain.clone()).or_default();
        *count += 1;
        let name = if *count > 1 { format!("{plain}-{count}") } else { plain };
        let content = chunks::content_hash(&path)?;
        sources.push(NamedSource { index, name, path, content, license: source.license.clone() });
    }
    Ok(sources)
}

fn run_key(request: &RecipeRequest<'_>, sources: &[NamedSource]) -> Result<ContentHash, DataError> {
    let contents: Vec<(&str, ContentHash)> =
        sources.iter().map(|source| (source.name.as_str(), source.content)).collect();
    let mut evaluation = Vec::new();
    for path in &request.recipe.evaluation {
        evaluation.push(chunks::content_hash(&request.base.join(path))?);
    }
    let models = request.aids.names_for(&request.recipe.operators);
    let aids_name = [&[request.aids_name.to_owned()], models.as_slice()].concat().join(" ");
    let parts = (OPERATORS_VERSION, request.recipe.hash()?, contents, evaluation, aids_name);
    Ok(ContentHash::of_value("trex.recipe_run.v1", &parts)?)
}

/// A damaged entry, or one whose blobs are gone, counts as absent.
fn cached(blobs: &BlobStore, entry: &Path) -> Option<RecipeOutcome> {
    let outcome: RecipeOutcome = serde_json::from_str(&read_to_string(entry).ok()?).ok()?;
    let is_whole = [outcome.train, outcome.dev, outcome.test].iter().all(|blob| blobs.contains(blob));
    is_whole.then_some(outcome)
}

struct Run<'a, 'p> {
    request: &'a RecipeRequest<'a>,
    chunks: Chunks,
    state: RecipeProgress,
    progress: &'p mut dyn FnMut(&RecipeProgress) -> bool,
    counts: Vec<OperatorCount>,
    traces: Vec<StepTrace>,
}

impl Run<'_, '_> {
    fn execute(&mut self, sources: &[NamedSource], blobs: &BlobStore) -> Result<RecipeOutcome, DataError> {
        let recipe = self.request.recipe;
        let num_leading = recipe.operators.iter().take_while(|operator| is_row_wise(operator)).count();
        let (leading, rest) = recipe.operators.split_at(num_leading);
        let mut train = Vec::with_capacity(sources.len());
        let chunks::Rows { mut dev, mut test, .. } = chunks::Rows::in_file(self.chunks.file());
        let mut counts = Vec::with_capacity(sources.len());
        for source in sources {
            let (source_counts, rows) = self.stream(source, leading)?;
            train.push(rows.train);
            dev.append(rows.dev)?;
            test.append(rows.test)?;
            counts.push(source_counts);
        }
        let rows_in = self.counts.first().map_or_else(|| train.iter().map(Pool::len).sum(), |count| count.rows_in);
        let (mixed, mixture) = mixture::mixed(train, recipe)?;
        self.counts.extend(mixture);
        let evaluation = self.evaluation(&dev, &test)?;
        let rows = self.apply_rest(rest, mixed, &evaluation)?;
        let rows = self.within_budget(rows)?;
        let ledger = RowLedger { rows_in, rows_out: rows.len(), steps: std::mem::take(&mut self.counts) };
        check_ledger(&ledger)?;
        let leaks = LeakKeys::new(&evaluation)?;
        Ok(RecipeOutcome {
            recipe: recipe.hash()?,
            train: store_rows(blobs, &rows)?,
            dev: store_rows(blobs, &dev)?,
            test: store_rows(blobs, &test)?,
            rows: [rows.len(), dev.len(), test.len()],
            sources: counts,
            ledger,
            traces: std::mem::take(&mut self.traces),
            is_decontaminated: is_compared_last(&recipe.recipe()) && !evaluation.is_empty(),
            models: self.request.aids.names_for(&recipe.operators),
            leaked: rows.facts(|row| leaks.has(row))?.into_iter().filter(|is_leaked| *is_leaked).count(),
        })
    }

    /// Reads one source, with the leading steps applied to its training rows.
    fn stream(
        &mut self,
        source: &NamedSource,
        leading: &[Operator],
    ) -> Result<(SourceCounts, chunks::Rows), DataError> {
        let mut reader = self.open(source)?;
        let mut counts = SourceCounts {
            name: source.name.clone(),
            content: Some(source.content),
            license: source.license.clone(),
            ..SourceCounts::default()
        };
        let mut rows = chunks::Rows::in_file(self.chunks.file());
        let mut number = 0;
        while let Some(chunk) = reader.next_chunk()? {
            let (done, found) = match self.chunks.load(source.index, number) {
                Some(found) => {
                    self.state.chunks_reused += 1;
                    found
                }
                None => self.chunk_of(source, number, chunk, leading)?,
            };
            self.add_counts(&done, &mut counts);
            rows.append(found)?;
            number += 1;
            self.state.stage.clone_from(&source.name);
            self.report(rows.train.len())?;
        }
        counts.format = reader.format();
        counts.schema = format!("{}: {}", reader.schema().describe(), reader.schema().reason);
        Ok((counts, rows))
    }

    fn open(&self, source: &NamedSource) -> Result<ExampleReader, DataError> {
        let recipe = self.request.recipe;
        let fields = recipe.sources.get(source.index).map(|source| source.fields.clone()).unwrap_or_default();
        match &recipe.template {
            Some(prompt) => ExampleReader::asked(&source.path, source.name.clone(), prompt, &fields, RowForm::Answers),
            None => ExampleReader::guessed_as(&source.path, source.name.clone(), &fields),
        }
    }

    fn chunk_of(
        &self,
        source: &NamedSource,
        number: usize,
        chunk: crate::ExampleChunk,
        leading: &[Operator],
    ) -> Result<(chunks::Done, chunks::Rows), DataError> {
        let recipe = self.request.recipe;
        let filter = recipe.sources.get(source.index).and_then(|source| source.filter.as_deref());
        let (mut done, mut rows) = chunks::split_chunk(chunk, filter, recipe)?;
        let mut steps = StepRun::new(recipe.seed, self.request.aids);
        let train = Pool::from(std::mem::take(&mut rows.train));
        rows.train = steps.apply_all(leading, train, &Pool::default(), &mut |_| true)?.into_rows()?;
        (done.counts, done.traces) = (steps.counts, steps.traces);
        self.chunks.store(source.index, number, done, rows)
    }

    fn add_counts(&mut self, done: &chunks::Done, counts: &mut SourceCounts) {
        counts.rows.input += done.source_rows.input;
        counts.rows.kept += done.source_rows.kept;
        counts.rows.quarantined += done.source_rows.quarantined;
        counts.filtered += done.filtered;
        self.state.rows_read += done.source_rows.input;
        for (reason, count) in &done.reasons {
            *counts.quarantine_reasons.entry(reason.clone()).or_default() += count;
        }
        for (at, (count, trace)) in done.counts.iter().zip(&done.traces).enumerate() {
            if let (Some(known), Some(known_trace)) = (self.counts.get_mut(at), self.traces.get_mut(at)) {
                add_count(known, count);
                known_trace.merge(trace.clone());
            } else {
                self.counts.push(count.clone());
                self.traces.push(trace.clone());
            }
        }
    }

    /// Items of the held-out splits and of the evaluation files.
    fn evaluation(&self, dev: &Pool, test: &Pool) -> Result<Pool, DataError> {
        let mut items = dev.clone();
        items.append(test.clone())?;
        let fields = self.request.recipe.sources.first().map(|source| source.fields.clone()).unwrap_or_default();
        for path in &self.request.recipe.evaluation {
            let path = self.request.base.join(path);
            let mut reader = match &self.request.recipe.template {
                Some(prompt) => ExampleReader::asked(&path, file_name(&path), prompt, &fields, RowForm::Answers)?,
                None => ExampleReader::guessed(&path, &trex_domain::FieldMap::default())?,
            };
            while let Some(chunk) = reader.next_chunk()? {
                if let Some(row) = chunk.quarantined.first().filter(|_| compares(self.request.recipe)) {
                    let (file, reason) = (row.file.clone(), row.reason.clone());
                    return Err(DataError::UnreadableEvaluation { file, line: row.line, reason });
                }
                items.extend(chunk.examples)?;
            }
        }
        Ok(items)
    }

    fn apply_rest(&mut self, rest: &[Operator], mut rows: Pool, evaluation: &Pool) -> Result<Pool, DataError> {
        let mut steps = StepRun::new(self.request.recipe.seed, self.request.aids).lenient();
        for operator in rest {
            operator.name().clone_into(&mut self.state.stage);
            self.report(rows.len())?;
            rows = steps.apply_all(std::slice::from_ref(operator), rows, evaluation, &mut |_| true)?;
        }
        self.counts.append(&mut steps.counts);
        self.traces.append(&mut steps.traces);
        Ok(rows)
    }

    /// Keeps the first rows that fit into the budget.
    fn within_budget(&mut self, mut rows: Pool) -> Result<Pool, DataError> {
        let budget = &self.request.recipe.budget;
        if budget.examples.is_none() && budget.characters.is_none() {
            return Ok(rows);
        }
        let rows_in = rows.len();
        let mut left = budget.characters.unwrap_or(usize::MAX);
        let fits = |length: &usize| {
            let rest = left.checked_sub(*length);
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        let num_fitting = match budget.characters {
            Some(_) => rows.facts(crate::profile::num_chars)?.iter().map(fits).take_while(|fits| *fits).count(),
            None => rows_in,
        };
        rows.truncate(num_fitting.min(budget.examples.unwrap_or(usize::MAX)));
        let mut dropped = BTreeMap::new();
        if rows.len() < rows_in {
            dropped.insert("over the budget".to_owned(), rows_in - rows.len());
        }
        let operator = "budget".to_owned();
        self.counts.push(OperatorCount {
            operator,
            rows_in,
            rows_out: rows.len(),
            dropped,
            ..OperatorCount::default()
        });
        Ok(rows)
    }

    fn report(&mut self, rows_kept: usize) -> Result<(), DataError> {
        self.state.rows_kept = rows_kept;
        if (self.progress)(&self.state) { Ok(()) } else { Err(DataError::Cancelled) }
    }
}

/// Whether a comparison with the evaluation items comes behind all that a language model writes.
/// Whether any step compares with evaluation items.
fn compares(recipe: &RecipeFile) -> bool {
    let is_check =
        |step: &Operator| matches!(step, Operator::Decontaminate { .. } | Operator::DecontaminateNear { .. });
    recipe.operators.iter().any(is_check)
}

fn is_compared_last(recipe: &Recipe) -> bool {
    recipe.has_after_writing("decontaminate") || recipe.has_after_writing("decontaminate_near")
}

fn add_count(known: &mut OperatorCount, count: &OperatorCount) {
    known.rows_in += count.rows_in;
    known.rows_out += count.rows_out;
    known.changed += count.changed;
    known.added += count.added;
    known.written += count.written;
    for (reason, rejected) in &count.rejected {
        *known.rejected.entry(reason.clone()).or_default() += rejected;
    }
    for (reason, dropped) in &count.dropped {
        *known.dropped.entry(reason.clone()).or_default() += dropped;
    }
}

#[cfg(test)]
mod tests;
