//! The data of a task in the workspace: files → examples → pool and three evaluation splits, stored by content.
//!
//! Generating the rows of a built-in task is its crate's business; such rows come in through
//! [`DataService::import_generated`]. Originals are only read. Rows lie in a scratch file while they are dealt out; in
//! memory are their places, and of each row once at a time what decides where it goes: 8 to 16 bytes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trex_domain::{
    DataPort, DataProfile, DataSource, Embedder, Example, ImportRequest, ImportedData, LossMeter, MeasuresAtHand,
    PreparedData, PreparedRequest, RowCounts, RowForm, SplitSource, TaskSpec, TextWriter,
};
use trex_fs::{BlobStore, ScratchFile};

use crate::pool::Pool;
use crate::prepare::{Places, new_scratch_file, store_rows};
use crate::profile::{Profiler, prompt_hash};
use crate::reader::file_name;
use crate::split::{HoldOut, TakenPrompts, hold_out, search_and_select, shuffled_and_capped, without_taken};
use crate::{Aids, DataError, ExampleReader, TableFacts};

/// Imports and prepares data in one workspace. Several may work on one workspace at a time.
#[derive(Clone, Debug)]
pub struct DataService {
    blobs: BlobStore,
    prepared: PathBuf,
    scratch: PathBuf,
    measures: Measures,
}

/// Who measures rows, or writes texts for them, for the operators that ask for it; such an operator fails where nobody
/// does.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    /// Makes vectors of texts.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// Measures the losses of the base model.
    pub losses: Option<Arc<dyn LossMeter>>,
    /// Writes texts.
    pub writer: Option<Arc<dyn TextWriter>>,
}

impl Measures {
    fn aids(&self) -> Aids<'_> {
        Aids {
            embedder: self.embedder.as_deref(),
            loss_meter: self.losses.as_deref(),
            writer: self.writer.as_deref(),
            ..Aids::default()
        }
    }
}

impl Measures {
    /// What operators may ask for.
    fn at_hand(&self) -> MeasuresAtHand {
        MeasuresAtHand { embeddings: self.embedder.is_some(), losses: self.losses.is_some() }
    }
}

impl DataService {
    /// Uses the folders `blobs`, `prepared` and `scratch` of a workspace; they are created on the first write.
    pub fn new(workspace_dir: &Path) -> Self {
        let (blobs, prepared) = (BlobStore::new(workspace_dir.join("blobs")), workspace_dir.join("prepared"));
        Self { blobs, prepared, scratch: workspace_dir.join("scratch"), measures: Measures::default() }
    }

    /// The same with somebody who measures.
    #[must_use]
    pub fn with_measures(self, measures: Measures) -> Self {
        Self { measures, ..self }
    }

    /// The blobs of the workspace.
    pub fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// Imports the files of a task. A second call with the same files, task and seed changes nothing.
    ///
    /// Evaluation splits hold every normalised prompt once: the sealed split keeps its rows, then select, then search.
    /// The first profile is that of the pool, without rows that were held out; the profile of a test file shows no rows.
    pub fn import_files(&self, request: &ImportRequest<'_>) -> Result<ImportedData, DataError> {
        let file = new_scratch_file(&self.scratch)?;
        let mut sources = Sources::read(request.task, &file)?;
        let mut profiles = sources.take_evaluation_profiles()?;
        let pool_profile = sources.train.profile.take();
        let (name, facts) = (sources.train.name.clone(), sources.train.facts.clone());
        let splits = sources.split(request)?;
        splits.check()?;
        let profile = profile_of_pool(&name, &facts, pool_profile.unwrap_or_default(), &splits)?;
        profiles.insert(0, profile);
        self.store(&splits, profiles)
    }

    /// Stores generated rows as they are.
    pub fn import_generated(
        &self,
        name: &str,
        pool: &[Example],
        search: &[Example],
        select: &[Example],
        final_: &[Example],
    ) -> Result<ImportedData, DataError> {
        let splits = Splits {
            pool: pool.to_vec().into(),
            search: search.to_vec().into(),
            select: select.to_vec().into(),
            final_: final_.to_vec().into(),
            reasons: std::array::from_fn(|_| format!("{name} generated no rows for it")),
        };
        splits.check()?;
        let facts = TableFacts::of_generated(pool.len());
        let profile = profile_of_pool(name, &facts, Profiler::new(facts.has_answers, None, None), &splits)?;
        self.store(&splits, vec![profile])
    }

    /// Runs a recipe, or finds its result in the cache.
    pub fn prepare(&self, request: PreparedRequest<'_>) -> Result<PreparedData, DataError> {
        let places = Places { index: &self.prepared, scratch: &self.scratch };
        crate::prepare::prepare(&self.blobs, &places, request, self.measures.aids())
    }

    fn store(&self, splits: &Splits, mut profiles: Vec<DataProfile>) -> Result<ImportedData, DataError> {
        profiles.iter_mut().take(1).for_each(|pool| pool.at_hand = self.measures.at_hand());
        let parts = splits.parts();
        let mut seeded_prompts = false;
        for (_, rows) in parts {
            seeded_prompts = seeded_prompts || rows.facts(Example::has_seeded_prompt)?.contains(&true);
        }
        Ok(ImportedData {
            pool: store_rows(&self.blobs, &splits.pool)?,
            search: store_rows(&self.blobs, &splits.search)?,
            select: store_rows(&self.blobs, &splits.select)?,
            final_: store_rows(&self.blobs, &splits.final_)?,
            rows: parts.map(|(_, rows)| rows.len()),
            seeded_prompts,
            profiles,
        })
    }
}

impl DataPort for DataService {
    type Error = DataError;

    fn import(&self, request: ImportRequest<'_>) -> Result<ImportedData, DataError> {
        self.import_files(&request)
    }

    fn prepare(&self, request: PreparedRequest<'_>) -> Result<PreparedData, DataError> {
        Self::prepare(self, request)
    }
}

/// The profile of the pool, which says how many of its rows occur among the evaluation items.
fn profile_of_pool(
    name: &str,
    facts: &TableFacts,
    mut profiler: Profiler<'_>,
    splits: &Splits,
) -> Result<DataProfile, DataError> {
    let mut evaluation = TakenPrompts::default();
    for items in [&splits.search, &splits.select, &splits.final_] {
        evaluation.extend(items.facts(prompt_hash)?);
    }
    profiler.compare_with(evaluation);
    splits.pool.for_each_portion(|_, rows| {
        profiler.add(rows);
        Ok(())
    })?;
    profiler.finish(name, facts)
}

/// One file as examples.
struct Source {
    name: String,
    facts: TableFacts,
    rows: Pool,
    /// Answers of closed rows that are among the options of the task, and whether there are closed rows at all.
    seen: BTreeSet<String>,
    has_closed: bool,
    /// What was set aside; the rows come later.
    profile: Option<Profiler<'static>>,
}

impl Source {
    fn read(
        path: &Path,
        name: String,
        task: &TaskSpec,
        fields: &trex_domain::FieldMap,
        form: RowForm,
        file: &Arc<ScratchFile>,
    ) -> Result<Self, DataError> {
        let mut reader = ExampleReader::asked(path, name.clone(), &task.prompt, fields, form)?;
        let mut source = Self {
            name,
            facts: TableFacts::default(),
            rows: Pool::in_file(file),
            seen: BTreeSet::new(),
            has_closed: false,
            profile: None,
        };
        let mut profiler = Profiler::new(reader.has_answers(), None, None);
        let (mut rows, mut quarantined) = (RowCounts::default(), Vec::new());
        while let Some(chunk) = reader.next_chunk()? {
            rows.input += chunk.input;
            rows.kept += chunk.examples.len();
            rows.quarantined += chunk.quarantined.len();
            profiler.add_quarantined(&chunk.quarantined);
            quarantined.extend(chunk.quarantined.into_iter().take(1_usize.saturating_sub(quarantined.len())));
            source.look_at_answers(&chunk.examples, &task.prompt.options);
            source.rows.extend(chunk.examples)?;
        }
        source.facts = TableFacts::of_reader(&reader, rows, quarantined);
        source.profile = Some(profiler);
        Ok(source)
    }

    fn look_at_answers(&mut self, rows: &[Example], options: &[String]) {
        for row in rows.iter().filter(|row| !options.is_empty() && row.options == options) {
            self.has_closed = true;
            if options.contains(&row.answer) && !self.seen.contains(&row.answer) {
                self.seen.insert(row.answer.clone());
            }
        }
    }

    /// The profile of all its rows.
    fn take_profile(&mut self) -> Result<DataProfile, DataError> {
        let mut profiler = self.profile.take().unwrap_or_default();
        self.rows.for_each_portion(|_, rows| {
            profiler.add(rows);
            Ok(())
        })?;
        profiler.finish(&self.name, &self.facts)
    }

    /// Fails when rows with a closed answer space leave one of its answers out: nothing could be learned about it.
    fn check_options(&self, options: &[String]) -> Result<(), DataError> {
        // Answers of pairs are free whatever the options of the evaluation items are.
        let missing: Vec<String> = options.iter().filter(|option| !self.seen.contains(*option)).cloned().collect();
        if missing.is_empty() || !self.has_closed {
            return Ok(());
        }
        Err(DataError::LabelsMissing { file: self.name.clone(), missing })
    }

    /// Its row counts in words.
    fn summary(&self) -> String {
        let rows = &self.facts.rows;
        let first = self.facts.quarantined.first().map(|row| format!(" (the first: {})", row.reason));
        format!(
            "{} has {} rows, {} of them set aside{}",
            self.name,
            rows.input,
            rows.quarantined,
            first.unwrap_or_default()
        )
    }
}

/// The files of a task; a split without one is held out of the training file.
struct Sources {
    train: Source,
    dev: Option<Source>,
    test: Option<Source>,
}

impl Sources {
    fn read(task: &TaskSpec, file: &Arc<ScratchFile>) -> Result<Self, DataError> {
        let (train, dev, test, fields) = match &task.data {
            DataSource::Files { train, dev, test, fields, .. } => (train, dev, test, fields),
            DataSource::Builtin { name } => return Err(DataError::NotFiles { name: name.clone() }),
        };
        let paths = [Some(train), path_of(dev), path_of(test)];
        let names: Vec<String> = paths.into_iter().flatten().map(|path| file_name(path)).collect();
        let is_ambiguous = names.iter().collect::<BTreeSet<_>>().len() < names.len();
        let read = |split: &str, path: &PathBuf, form: RowForm| {
            let plain = file_name(path);
            // Ids are made of the name, so two files of one name in different folders need two names.
            let name = if is_ambiguous { format!("{split}-{plain}") } else { plain };
            Source::read(path, name, task, fields, form, file)
        };
        let train = read("train", train, task.train.objective.row_form())?;
        let items = task.kind.row_form();
        train.check_options(&task.prompt.options)?;
        Ok(Self {
            train,
            dev: path_of(dev).map(|path| read("dev", path, items)).transpose()?,
            test: path_of(test).map(|path| read("test", path, items)).transpose()?,
        })
    }

    /// Profiles of the evaluation files; that of the test file shows no rows.
    fn take_evaluation_profiles(&mut self) -> Result<Vec<DataProfile>, DataError> {
        let mut profiles = Vec::new();
        if let Some(dev) = &mut self.dev {
            profiles.push(dev.take_profile()?);
        }
        if let Some(test) = &mut self.test {
            profiles.push(DataProfile { samples: Vec::new(), ..test.take_profile()? });
        }
        Ok(profiles)
    }

    fn split(self, request: &ImportRequest<'_>) -> Result<Splits, DataError> {
        let wanted = HoldOut { dev: self.dev.is_none(), test: self.test.is_none() };
        let (dev_facts, test_facts) = (self.origin_of(self.dev.as_ref()), self.origin_of(self.test.as_ref()));
        let train_facts = self.train.summary();
        let held = hold_out(&self.train.rows, wanted, request.seed)?;
        let (search, select) = search_and_select(&self.dev.map_or(held.dev, |source| source.rows), request.seed)?;
        let final_ = self.test.map_or(held.test, |source| source.rows);
        let reasons = [
            train_facts,
            empty_reason(&search, &dev_facts),
            empty_reason(&select, &dev_facts),
            empty_reason(&final_, &test_facts),
        ];

        let mut taken = TakenPrompts::default();
        let final_ = without_taken(final_, &mut taken)?;
        let select = without_taken(select, &mut taken)?;
        let search = without_taken(search, &mut taken)?;
        let (sizes, seed) = (request.task.splits, request.seed);
        Ok(Splits {
            pool: held.train,
            search: shuffled_and_capped(search, sizes.search, seed)?,
            select: shuffled_and_capped(select, sizes.select, seed)?,
            final_: shuffled_and_capped(final_, sizes.final_, seed)?,
            reasons,
        })
    }

    /// The file that a split comes from, in words.
    fn origin_of(&self, own: Option<&Source>) -> String {
        match own {
            Some(source) => source.summary(),
            None => format!("it is held out of the training file, and {}", self.train.summary()),
        }
    }
}

/// Why a split that had these rows would be empty once rows of other splits are taken out.
fn empty_reason(before: &Pool, origin: &str) -> String {
    match before.len() {
        0 => origin.to_owned(),
        count => format!("the prompts of its {count} rows all occur in another evaluation split"),
    }
}

fn path_of(source: &SplitSource) -> Option<&PathBuf> {
    match source {
        SplitSource::File(path) => Some(path),
        SplitSource::HeldOut => None,
    }
}

/// The rows of a task.
struct Splits {
    pool: Pool,
    search: Pool,
    select: Pool,
    final_: Pool,
    /// Why a split might be empty, in the order of [`Splits::parts`].
    reasons: [String; 4],
}

impl Splits {
    fn parts(&self) -> [(&'static str, &Pool); 4] {
        [("train", &self.pool), ("search", &self.search), ("select", &self.select), ("final", &self.final_)]
    }

    fn check(&self) -> Result<(), DataError> {
        for ((split, rows), reason) in self.parts().into_iter().zip(&self.reasons) {
            if rows.is_empty() {
                return Err(DataError::EmptySplit { split, reason: reason.clone() });
            }
        }
        Ok(())
    }
}
