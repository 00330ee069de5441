//! A mini task by name: its specification, its data for a seed, and the check of an answer. Reads and writes no files.

use trex_domain::{
    Budget, DataSource, Example, Message, ModelRef, Origin, PromptSpec, SearchSettings, SplitSizes, TaskSpec,
    TrainConfig,
};

use crate::chance::{self, Chance, Scoring};
use crate::dirt::{DirtKind, DirtLedger, DirtRates};
use crate::draw::{Sizes, Split, draw_splits};
use crate::error::FtBenchError;
use crate::generator::RawItem;
use crate::pool::{dirty_pool, ledger, num_items_needed};
use crate::tasks::{ENTRIES, Entry, Separation};

/// Rows of a pool, dirt included.
const POOL_ROWS: usize = 1_500;
/// Items of the split that drives the search.
const SEARCH_ITEMS: usize = 300;
/// Items of the split that re-scores winners.
const SELECT_ITEMS: usize = 400;
/// Items of the sealed split.
const FINAL_ITEMS: usize = 500;

/// One of the ten generated tasks.
#[derive(Clone, Copy)]
pub struct MiniTask {
    entry: &'static Entry,
}

/// All rows of a mini task for one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MiniData {
    /// Training rows, dirty on purpose.
    pub pool: Vec<Example>,
    /// Clean items that drive the search.
    pub search: Vec<Example>,
    /// Clean items that re-score winners.
    pub select: Vec<Example>,
    /// Clean items of the sealed split.
    pub final_: Vec<Example>,
    /// Which pool rows are dirty, by kind.
    pub dirt: DirtLedger,
}

/// All mini tasks in order of their numbers.
pub fn mini_tasks() -> Vec<MiniTask> {
    ENTRIES.iter().map(|entry| MiniTask { entry }).collect()
}

/// The task of this name, such as `ftbench/mini-1`.
pub fn mini_task(name: &str) -> Result<MiniTask, FtBenchError> {
    let tasks = mini_tasks();
    if let Some(task) = tasks.iter().find(|task| task.name() == name) {
        return Ok(*task);
    }
    let names: Vec<String> = tasks.iter().map(MiniTask::name).collect();
    let nearest = trex_domain::nearest(name, names.iter().map(String::as_str)).map(str::to_owned);
    Err(FtBenchError::UnknownTask { name: name.to_owned(), nearest })
}

impl MiniTask {
    /// 1 to 10.
    pub fn number(&self) -> u8 {
        self.entry.generator.info().number
    }

    /// `ftbench/mini-1` to `ftbench/mini-10`.
    pub fn name(&self) -> String {
        format!("ftbench/{}", self.short_name())
    }

    /// A short title.
    pub fn title(&self) -> &'static str {
        self.entry.generator.info().title
    }

    /// The requirement in plain words.
    pub fn goal(&self) -> &'static str {
        self.entry.generator.info().goal
    }

    /// Shares of dirt in the pool.
    pub fn dirt_rates(&self) -> DirtRates {
        DirtRates::default()
    }

    /// Whether `answer` is right for the example, worked out from its prompt; the example's own answer is not looked at.
    pub fn check(&self, example: &Example, answer: &str) -> bool {
        self.entry.generator.check(example.question(), answer)
    }

    /// What guessers score on these items of the task, such as one of its splits, under its own metric.
    pub fn chance(&self, items: &[Example], scoring: Scoring) -> Chance {
        let info = self.entry.generator.info();
        chance::chance(info.kind, info.metric, items, scoring)
    }

    /// The task as it is run: the bundled model, short trials, splits as generated.
    pub fn spec(&self) -> TaskSpec {
        let info = self.entry.generator.info();
        TaskSpec {
            device: trex_domain::DeviceChoice::Auto,
            name: self.name(),
            goal: info.goal.to_owned(),
            kind: info.kind,
            metric: info.metric,
            model: ModelRef("bundled".to_owned()),
            data: DataSource::Builtin { name: self.name() },
            splits: SplitSizes { search: SEARCH_ITEMS, select: SELECT_ITEMS, final_: 0 },
            prompt: PromptSpec {
                system: None,
                template: "{input}".to_owned(),
                options: info.options.iter().map(|option| (*option).to_owned()).collect(),
                max_new_tokens: info.max_new_tokens,
            },
            generation: trex_domain::GenerationConfig::default(),
            train: TrainConfig {
                learning_rate: 1e-3,
                max_steps: 90,
                per_device_train_batch_size: 16,
                max_length: 224,
                ..TrainConfig::default()
            },
            budget: Budget { trials: 18, ..Budget::default() },
            // A demonstration of minutes: most variants are trained for a ninth of the steps only.
            search: SearchSettings { rungs: 3, ..SearchSettings::default() },
        }
    }

    /// Generates all rows; equal seeds give equal rows on every platform.
    ///
    /// Ids are `mini-1/pool/17`, rows count from 0 in each split. Examples have a group only where the task keeps its
    /// groups within one split; rows that were leaked or are off topic never have one.
    pub fn generate(&self, seed: u64) -> MiniData {
        let rates = self.dirt_rates();
        let pool = num_items_needed(&rates, POOL_ROWS);
        let sizes = Sizes { pool, search: SEARCH_ITEMS, select: SELECT_ITEMS, final_: FINAL_ITEMS };
        let drawn = draw_splits(self.entry, seed, sizes);
        let rows = dirty_pool(self.entry.generator, &drawn, &rates, POOL_ROWS, seed);
        let dirt = ledger(&rows, |index| self.id(Split::Pool, index));
        let clean = |split, items: Vec<RawItem>| {
            let examples = items.into_iter().enumerate();
            examples.map(|(index, item)| self.example(split, index, item, true)).collect()
        };
        let pool = rows.into_iter().enumerate().map(|(index, row)| {
            let is_ours = !matches!(row.dirt, Some(DirtKind::Leak | DirtKind::OffTopic));
            self.example(Split::Pool, index, row.item, is_ours)
        });
        MiniData {
            pool: pool.collect(),
            search: clean(Split::Search, drawn.search),
            select: clean(Split::Select, drawn.select),
            final_: clean(Split::Final, drawn.final_),
            dirt,
        }
    }

    fn short_name(self) -> String {
        format!("mini-{}", self.number())
    }

    fn id(self, split: Split, index: usize) -> String {
        format!("{}/{}/{index}", self.short_name(), split.as_str())
    }

    fn example(self, split: Split, index: usize, item: RawItem, has_group: bool) -> Example {
        let keeps_groups = self.entry.separation == Separation::Groups;
        Example {
            id: self.id(split, index),
            prompt: vec![Message::user(item.prompt)],
            answer: item.answer,
            options: item.options,
            group: (has_group && keeps_groups).then_some(item.group),
            rejected: None,
            origin: Origin { source: self.name(), row: index as u64, changed_by: Vec::new() },
        }
    }
}
