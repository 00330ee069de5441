//! The data of a task in the workspace: files → examples → pool and three evaluation splits, stored by content.
//!
//! Generating the rows of a built-in task is its crate's business; such rows come in through
//! [`DataService::import_generated`]. Originals are only read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trex_domain::{
    DataPort, DataProfile, DataSource, Embedder, Example, ImportRequest, ImportedData, LossMeter, PreparedData,
    PreparedRequest, RowCounts, RowForm, SplitSource, TaskSpec,
};
use trex_fs::BlobStore;

use crate::reader::file_name;
use crate::split::without_taken;
use crate::{
    Aids, DataError, ExampleReader, HoldOut, TableFacts, hold_out, profile_examples, search_and_select,
    shuffled_and_capped,
};

/// Imports and prepares data in one workspace. Several may work on one workspace at a time.
#[derive(Clone, Debug)]
pub struct DataService {
    blobs: BlobStore,
    prepared: PathBuf,
    measures: Measures,
}

/// Who measures rows for the operators that ask for it; such an operator fails where nobody does.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    /// Makes vectors of texts.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// Measures the losses of the base model.
    pub losses: Option<Arc<dyn LossMeter>>,
}

impl Measures {
    fn aids(&self) -> Aids<'_> {
        Aids { embedder: self.embedder.as_deref(), loss_meter: self.losses.as_deref(), ..Aids::default() }
    }
}

impl DataService {
    /// Uses the folders `blobs` and `prepared` of a workspace; they are created on the first write.
    pub fn new(workspace_dir: &Path) -> Self {
        let (blobs, prepared) = (BlobStore::new(workspace_dir.join("blobs")), workspace_dir.join("prepared"));
        Self { blobs, prepared, measures: Measures::default() }
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
        let sources = Sources::read(request.task)?;
        let mut profiles = sources.evaluation_profiles();
        let pool_facts = (sources.train.name.clone(), sources.train.facts.clone());
        let splits = sources.split(request);
        splits.check()?;
        let evaluation = [&splits.search[..], &splits.select, &splits.final_].concat();
        profiles.insert(0, profile_examples(&pool_facts.0, &pool_facts.1, &splits.pool, Some(&evaluation)));
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
            pool: pool.to_vec(),
            search: search.to_vec(),
            select: select.to_vec(),
            final_: final_.to_vec(),
            reasons: std::array::from_fn(|_| format!("{name} generated no rows for it")),
        };
        splits.check()?;
        let evaluation = [search, select, final_].concat();
        let profile = profile_examples(name, &TableFacts::of_generated(pool.len()), pool, Some(&evaluation));
        self.store(&splits, vec![profile])
    }

    /// Runs a recipe, or finds its result in the cache.
    pub fn prepare(&self, request: PreparedRequest<'_>) -> Result<PreparedData, DataError> {
        crate::prepare::prepare(&self.blobs, &self.prepared, request, self.measures.aids())
    }

    fn store(&self, splits: &Splits, profiles: Vec<DataProfile>) -> Result<ImportedData, DataError> {
        let parts = splits.parts();
        Ok(ImportedData {
            pool: self.blobs.put_lines(&splits.pool)?,
            search: self.blobs.put_lines(&splits.search)?,
            select: self.blobs.put_lines(&splits.select)?,
            final_: self.blobs.put_lines(&splits.final_)?,
            rows: parts.map(|(_, rows)| rows.len()),
            seeded_prompts: parts.iter().any(|(_, rows)| rows.iter().any(Example::has_seeded_prompt)),
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

/// One file as examples.
struct Source {
    name: String,
    facts: TableFacts,
    examples: Vec<Example>,
}

impl Source {
    fn read(
        path: &Path,
        name: String,
        task: &TaskSpec,
        fields: &trex_domain::FieldMap,
        form: RowForm,
    ) -> Result<Self, DataError> {
        let mut reader = ExampleReader::asked(path, name.clone(), &task.prompt, fields, form)?;
        let (mut examples, mut quarantined) = (Vec::new(), Vec::new());
        let mut rows = RowCounts::default();
        while let Some(chunk) = reader.next_chunk()? {
            rows.input += chunk.input;
            examples.extend(chunk.examples);
            quarantined.extend(chunk.quarantined);
        }
        (rows.kept, rows.quarantined) = (examples.len(), quarantined.len());
        let facts = TableFacts::of_reader(&reader, rows, quarantined);
        Ok(Self { name, facts, examples })
    }

    /// Fails when rows with a closed answer space leave one of its answers out: nothing could be learned about it.
    fn check_options(&self, options: &[String]) -> Result<(), DataError> {
        // Answers of pairs are free whatever the options of the evaluation items are.
        let closed = self.examples.iter().filter(|example| example.options == options);
        let seen: BTreeSet<&str> = closed.map(|example| example.answer.as_str()).collect();
        let missing: Vec<String> = options.iter().filter(|option| !seen.contains(option.as_str())).cloned().collect();
        if missing.is_empty() || seen.is_empty() {
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
    fn read(task: &TaskSpec) -> Result<Self, DataError> {
        let (train, dev, test, fields) = match &task.data {
            DataSource::Files { train, dev, test, fields } => (train, dev, test, fields),
            DataSource::Builtin { name } => return Err(DataError::NotFiles { name: name.clone() }),
        };
        let paths = [Some(train), path_of(dev), path_of(test)];
        let names: Vec<String> = paths.into_iter().flatten().map(|path| file_name(path)).collect();
        let is_ambiguous = names.iter().collect::<BTreeSet<_>>().len() < names.len();
        let read = |split: &str, path: &PathBuf, form: RowForm| {
            let plain = file_name(path);
            // Ids are made of the name, so two files of one name in different folders need two names.
            let name = if is_ambiguous { format!("{split}-{plain}") } else { plain };
            Source::read(path, name, task, fields, form)
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

    fn evaluation_profiles(&self) -> Vec<DataProfile> {
        let profile = |source: &Source| profile_examples(&source.name, &source.facts, &source.examples, None);
        let sealed = |source: &Source| DataProfile { samples: Vec::new(), ..profile(source) };
        self.dev.iter().map(profile).chain(self.test.iter().map(sealed)).collect()
    }

    fn split(self, request: &ImportRequest<'_>) -> Splits {
        let wanted = HoldOut { dev: self.dev.is_none(), test: self.test.is_none() };
        let (dev_facts, test_facts) = (self.origin_of(self.dev.as_ref()), self.origin_of(self.test.as_ref()));
        let train_facts = self.train.summary();
        let held = hold_out(self.train.examples, wanted, request.seed);
        let (search, select) = search_and_select(self.dev.map_or(held.dev, |source| source.examples), request.seed);
        let final_ = self.test.map_or(held.test, |source| source.examples);
        let reasons = [
            train_facts,
            empty_reason(&search, &dev_facts),
            empty_reason(&select, &dev_facts),
            empty_reason(&final_, &test_facts),
        ];

        let mut taken = BTreeSet::new();
        let final_ = without_taken(final_, &mut taken);
        let select = without_taken(select, &mut taken);
        let search = without_taken(search, &mut taken);
        let (sizes, seed) = (request.task.splits, request.seed);
        Splits {
            pool: held.train,
            search: shuffled_and_capped(search, sizes.search, seed),
            select: shuffled_and_capped(select, sizes.select, seed),
            final_: shuffled_and_capped(final_, sizes.final_, seed),
            reasons,
        }
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
fn empty_reason(before: &[Example], origin: &str) -> String {
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
    pool: Vec<Example>,
    search: Vec<Example>,
    select: Vec<Example>,
    final_: Vec<Example>,
    /// Why a split might be empty, in the order of [`Splits::parts`].
    reasons: [String; 4],
}

impl Splits {
    fn parts(&self) -> [(&'static str, &[Example]); 4] {
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
