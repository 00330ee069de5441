//! The steps of a recipe: one file per operator or small group, one line each in [`apply`].
//!
//! An operator gets all rows as a pool, which may lie in a file, and returns a pool with its counts. It keeps in memory
//! what it must know of each row and no row; what that is stands at the operator. It draws only from the stream that is
//! named after it, so adding a step shifts no other one's choices.

mod balance;
mod canonical;
mod compare;
mod decontaminate;
mod dedup;
mod difficulty;
mod few_shot;
mod filter;
mod gold;
mod language;
mod neighbours;
mod normalise;
mod parameters;
mod quality;
mod redact;
mod rewrite;
mod rounds;
mod semantic;
mod shuffle_options;
mod template;
#[cfg(test)]
pub(crate) mod tests;
mod touched;
mod writing;

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasherDefault;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use trex_domain::{Embedder, Example, LossMeter, Operator, OperatorCount, Recipe, RowLedger, TextWriter, seeded_rng};

use crate::DataError;
use crate::minhash::KeyHasher;
use crate::pool::Pool;
use crate::text::hash_of;

pub(crate) use compare::{LeakKeys, key_of};
pub(crate) use filter::expression;

pub use touched::{StepTrace, TouchedRow};

/// What some operators need beside rows and parameters; without it they fail, they never pass rows unchecked.
#[derive(Clone, Copy, Default)]
pub struct Aids<'a> {
    /// Loss of each row under the base model, by id.
    pub losses: Option<&'a BTreeMap<String, f64>>,
    /// Measures the losses where they are not given.
    pub loss_meter: Option<&'a dyn LossMeter>,
    /// Makes vectors of texts.
    pub embedder: Option<&'a dyn Embedder>,
    /// Writes texts.
    pub writer: Option<&'a dyn TextWriter>,
    /// Counts the tokens of a row, prompt and answer.
    pub num_tokens: Option<&'a (dyn Fn(&Example) -> usize + Sync)>,
}

impl std::fmt::Debug for Aids<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aids")
            .field("losses", &self.losses.map(BTreeMap::len))
            .field("loss_meter", &self.loss_meter)
            .field("embedder", &self.embedder)
            .field("writer", &self.writer)
            .field("num_tokens", &self.num_tokens.is_some())
            .finish()
    }
}

impl Aids<'_> {
    /// Names by content the models that decide what these operators give; empty where none of them asks a model.
    pub(crate) fn names_for(&self, operators: &[Operator]) -> Vec<String> {
        let asks_embedder = operators.iter().any(Operator::needs_embeddings);
        let asks_meter = operators.iter().any(Operator::needs_losses) && self.losses.is_none();
        let embedder = asks_embedder.then(|| self.embedder.map_or("none".to_owned(), |model| model.name().to_string()));
        let meter = asks_meter.then(|| self.loss_meter.map_or("none".to_owned(), |model| model.name().to_string()));
        let asks_writer = operators.iter().any(Operator::needs_writer);
        let writer = asks_writer.then(|| self.writer.map_or("none".to_owned(), |model| model.name().to_string()));
        let named = [("embedder", embedder), ("losses", meter), ("writer", writer)];
        named.into_iter().filter_map(|(what, name)| Some(format!("{what}/{}", name?))).collect()
    }
}

/// Runs the operators of a recipe in order over a pool.
///
/// `evaluation` holds the items of all evaluation splits; only the decontaminating steps look at them. Equal arguments
/// give equal rows. Rows that an operator changed or made carry its name in `origin.changed_by`; rows that were made have
/// the id of their original with `+1`, `+2` and so on. All parameters are checked before the first step runs. A step
/// whose aid is missing fails.
pub fn run_recipe(
    recipe: &Recipe,
    pool: Vec<Example>,
    evaluation: &[Example],
    seed: u64,
    aids: Aids<'_>,
) -> Result<(Vec<Example>, RowLedger), DataError> {
    let (rows, ledger) = run_recipe_on(recipe, pool.into(), &evaluation.to_vec().into(), seed, aids)?;
    Ok((rows.into_rows()?, ledger))
}

/// The same over rows that may lie in a file.
pub(crate) fn run_recipe_on(
    recipe: &Recipe,
    pool: Pool,
    evaluation: &Pool,
    seed: u64,
    aids: Aids<'_>,
) -> Result<(Pool, RowLedger), DataError> {
    check_recipe(recipe)?;
    let mut run = StepRun::new(seed, aids);
    let rows_in = pool.len();
    let rows = run.apply_all(&recipe.operators, pool, evaluation, &mut |_| true)?;
    let ledger = RowLedger { rows_in, rows_out: rows.len(), steps: run.counts };
    check_ledger(&ledger)?;
    Ok((rows, ledger))
}

/// Checks the parameters of all steps.
pub(crate) fn check_recipe(recipe: &Recipe) -> Result<(), DataError> {
    recipe.operators.iter().try_for_each(parameters::check)
}

/// Whether an operator looks at each row for itself, so that it may see the rows in any number of portions.
pub(crate) fn is_row_wise(operator: &Operator) -> bool {
    matches!(
        operator,
        Operator::Normalise
            | Operator::LengthFilter { .. }
            | Operator::ValidAnswer
            | Operator::RegexDrop { .. }
            | Operator::RegexKeep { .. }
            | Operator::TemplateRender { .. }
            | Operator::MapAnswer { .. }
            | Operator::LanguageFilter { .. }
            | Operator::RedactPii { .. }
            | Operator::TokenFilter { .. }
    )
}

/// Why a step that compares meanings did nothing.
const NO_EMBEDDER: &str = "no embedding model: rows passed unchanged; `cargo xtask setup` fetches all-MiniLM-L6-v2";

/// The steps of one recipe run: their counts and what they touched.
pub(crate) struct StepRun<'a> {
    seed: u64,
    aids: Aids<'a>,
    /// Whether steps that miss their embedding model pass rows on instead of failing.
    is_lenient: bool,
    uses: BTreeMap<&'static str, usize>,
    pub(crate) counts: Vec<OperatorCount>,
    pub(crate) traces: Vec<StepTrace>,
}

impl<'a> StepRun<'a> {
    pub(crate) fn new(seed: u64, aids: Aids<'a>) -> Self {
        let (uses, counts, traces) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { seed, aids, is_lenient: false, uses, counts, traces }
    }

    /// Steps that compare meanings pass rows on, and say so, where there is no embedding model.
    pub(crate) fn lenient(self) -> Self {
        Self { is_lenient: true, ..self }
    }

    /// Applies steps in order; `goes_on` is asked before each with the number of steps that are done.
    pub(crate) fn apply_all(
        &mut self,
        operators: &[Operator],
        mut rows: Pool,
        evaluation: &Pool,
        goes_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Pool, DataError> {
        for operator in operators {
            if !goes_on(self.counts.len()) {
                return Err(DataError::Cancelled);
            }
            let occurrence = self.uses.entry(operator.name()).or_default();
            let name = operator.name();
            let context =
                Context { operator: name, occurrence: *occurrence, evaluation, seed: self.seed, aids: self.aids };
            *occurrence += 1;
            let rows_in = rows.len();
            let is_skipped = self.is_lenient && operator.needs_embeddings() && self.aids.embedder.is_none();
            let outcome = if is_skipped { Outcome::untouched(rows) } else { apply(operator, rows, &context)? };
            let count = OperatorCount {
                operator: name.to_owned(),
                rows_in,
                rows_out: outcome.rows.len(),
                changed: outcome.changed,
                added: outcome.added,
                dropped: outcome.dropped,
                written: outcome.written,
                rejected: outcome.rejected,
            };
            let skipped = is_skipped.then(|| NO_EMBEDDER.to_owned());
            let mut trace = StepTrace { operator: name.to_owned(), touched: outcome.touched, skipped };
            if count.added > 0 {
                trace.add_made(&outcome.rows, name)?;
            }
            self.counts.push(count);
            self.traces.push(trace);
            rows = outcome.rows;
        }
        Ok(rows)
    }
}

/// The registry: which function carries out which operator.
fn apply(operator: &Operator, rows: Pool, context: &Context<'_>) -> Result<Outcome, DataError> {
    match operator {
        Operator::Normalise => normalise::normalise(rows, context),
        Operator::LengthFilter { min_chars, max_chars } => filter::length(rows, *min_chars..*max_chars),
        Operator::ValidAnswer => filter::valid_answer(rows),
        Operator::CanonicalAnswer => canonical::canonical_answer(rows, context),
        Operator::ExactDedup => dedup::exact(rows),
        Operator::NearDedup { threshold, shingle_words } => dedup::near(rows, *threshold, *shingle_words),
        Operator::ResolveConflicts { min_share } => dedup::resolve_conflicts(rows, *min_share),
        Operator::Decontaminate { ngram_words, max_overlap } => {
            decontaminate::decontaminate(rows, context.evaluation, *ngram_words, *max_overlap)
        }
        Operator::QualityFilter { max_repetition, max_symbol_ratio } => {
            quality::quality(rows, *max_repetition, *max_symbol_ratio)
        }
        Operator::TopicFilter { min_known_share, min_rows } => quality::topic(rows, *min_known_share, *min_rows),
        Operator::NeighbourAgreement { neighbours, min_agreement } => {
            neighbours::agreement(rows, *neighbours, *min_agreement)
        }
        Operator::RegexDrop { pattern } => filter::regex_drop(rows, pattern),
        Operator::LabelBalance { mode, max_ratio } => balance::label_balance(rows, *mode, *max_ratio, context),
        Operator::StratifiedSample { rows: wanted } => balance::stratified_sample(rows, *wanted, context),
        Operator::FewShotPack { shots } => few_shot::pack(rows, *shots, context),
        Operator::ShuffleOptions => shuffle_options::shuffle_options(rows, context),
        Operator::Cap { rows: wanted } => filter::cap(rows, *wanted),
        Operator::Shuffle => Ok(balance::shuffle_rows(rows, context)),
        Operator::TemplateRender { template, system } => rewrite::template(rows, template, system.as_deref(), context),
        Operator::MapAnswer { labels } => rewrite::map_answer(rows, labels, context),
        Operator::LanguageFilter { keep, keep_unknown } => language::filter(rows, keep, *keep_unknown),
        Operator::RegexKeep { pattern } => filter::regex_keep(rows, pattern),
        Operator::RedactPii { kinds } => redact::redact(rows, kinds, context),
        Operator::DecontaminateNear { threshold, shingle_words } => {
            decontaminate::near(rows, context.evaluation, *threshold, *shingle_words)
        }
        Operator::PreferencePairs => rewrite::preference_pairs(rows, context),
        Operator::SortByLength { descending } => difficulty::sort_by_length(rows, *descending),
        Operator::DifficultyFilter { drop_easiest, drop_hardest } => {
            difficulty::filter(rows, *drop_easiest, *drop_hardest, context)
        }
        Operator::TokenFilter { min_tokens, max_tokens } => difficulty::tokens(rows, *min_tokens..*max_tokens, context),
        Operator::SemanticDedup { threshold } => semantic::dedup(rows, *threshold, context),
        Operator::SemanticFilter { like, min_similarity, drop } => {
            semantic::filter(rows, like, *min_similarity, *drop, context)
        }
        Operator::DiverseSample { rows: wanted } => semantic::diverse(rows, *wanted, context),
        Operator::AnswerSynthesis { .. } | Operator::Paraphrase { .. } | Operator::RejectedSynthesis { .. } => {
            writing::apply(operator, rows, context)
        }
    }
}

pub(crate) fn check_ledger(ledger: &RowLedger) -> Result<(), DataError> {
    if ledger.balances() {
        return Ok(());
    }
    let step = ledger.steps.iter().find(|step| !step.balances()).or(ledger.steps.last());
    let step = step.cloned().unwrap_or_default();
    Err(DataError::LedgerUnbalanced {
        dropped: step.dropped.values().sum(),
        operator: step.operator,
        rows_in: step.rows_in,
        added: step.added,
        rows_out: step.rows_out,
    })
}

/// What an operator knows besides its parameters and rows.
struct Context<'a> {
    /// Its name.
    operator: &'static str,
    /// How many steps of the same name came before.
    occurrence: usize,
    /// The items of all evaluation splits.
    evaluation: &'a Pool,
    /// The seed of the recipe run.
    seed: u64,
    aids: Aids<'a>,
}

impl Context<'_> {
    /// The random stream of this step for one purpose.
    fn rng(&self, purpose: &str) -> ChaCha8Rng {
        seeded_rng(self.seed, &format!("recipe/{}/{}/{purpose}", self.operator, self.occurrence))
    }

    /// Records in a row that this operator changed or made it.
    fn mark(&self, row: &mut Example) {
        row.origin.changed_by.push(self.operator.to_owned());
    }
}

/// What comes out of an operator.
#[derive(Default)]
struct Outcome {
    rows: Pool,
    changed: usize,
    added: usize,
    dropped: BTreeMap<String, usize>,
    /// Texts that a language model wrote, and those of them that were not taken.
    written: usize,
    rejected: BTreeMap<String, usize>,
    /// The first rows that were dropped or changed.
    touched: Vec<TouchedRow>,
}

impl Outcome {
    /// All rows as they came.
    fn untouched(rows: Pool) -> Self {
        Self { rows, ..Self::default() }
    }

    /// Keeps the rows for which there is no reason to drop them; `reasons` has one entry per row.
    fn without(mut rows: Pool, reasons: &[Option<&'static str>]) -> Result<Self, DataError> {
        let mut dropped: BTreeMap<String, usize> = BTreeMap::new();
        let mut shown: Vec<(usize, &'static str)> = Vec::new();
        for (number, reason) in reasons.iter().enumerate() {
            let Some(reason) = reason else { continue };
            let count = match dropped.get_mut(*reason) {
                Some(count) => count,
                None => dropped.entry((*reason).to_owned()).or_default(),
            };
            *count += 1;
            if *count <= touched::SHOWN_PER_REASON {
                shown.push((number, reason));
            }
        }
        let numbers: Vec<usize> = shown.iter().map(|(number, _)| *number).collect();
        let rows_shown = rows.get(&numbers)?;
        let touched =
            rows_shown.iter().zip(&shown).map(|(row, (_, reason))| TouchedRow::dropped(row, reason)).collect();
        rows.retain(|number| reasons.get(number).is_none_or(Option::is_none));
        Ok(Self { rows, dropped, touched, ..Self::default() })
    }

    /// Drops the rows for which `reason` says something.
    fn filtered(rows: Pool, reason: impl Fn(&Example) -> Option<&'static str> + Sync) -> Result<Self, DataError> {
        let reasons = rows.facts(reason)?;
        Self::without(rows, &reasons)
    }

    /// Changes rows in place; `change` says whether it did something to a row.
    fn edited(
        rows: Pool,
        context: &Context<'_>,
        change: impl Fn(&mut Example) -> bool + Sync,
    ) -> Result<Self, DataError> {
        Self::edited_by_number(rows, context, |_, row| change(row))
    }

    /// As [`Self::edited`], with the number of the row.
    fn edited_by_number(
        mut rows: Pool,
        context: &Context<'_>,
        change: impl Fn(usize, &mut Example) -> bool + Sync,
    ) -> Result<Self, DataError> {
        let mut touched = Vec::new();
        let marked = |number: usize, row: &mut Example| {
            let is_changed = change(number, row);
            if is_changed {
                context.mark(row);
            }
            is_changed
        };
        let changed = rows.edit(marked, &mut |before, after| {
            touched.push(TouchedRow::changed(before, after));
            touched.len() < touched::SHOWN_PER_REASON
        })?;
        Ok(Self { rows, changed, touched, ..Self::default() })
    }
}

/// Gives copies of rows ids that no other row has. In memory is a hash of every id, about twenty bytes with the table; two
/// ids with one hash only cost a number.
struct FreshIds {
    taken: HashSet<u64, BuildHasherDefault<KeyHasher>>,
}

impl FreshIds {
    fn new(rows: &Pool) -> Result<Self, DataError> {
        Ok(Self { taken: rows.facts(|row| hash_of(&row.id))?.into_iter().collect() })
    }

    /// The id of the original with the first free of `+1`, `+2` and so on.
    fn next(&mut self, row: &Example) -> String {
        let original = compare::original_id(&row.id);
        let mut number = 1;
        loop {
            let id = format!("{original}+{number}");
            if self.taken.insert(hash_of(&id)) {
                return id;
            }
            number += 1;
        }
    }
}

/// Fisher–Yates; the bias of the remainder is below 2^-32 for any number of rows that fits into memory.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, draw_below(last + 1, rng));
    }
}

/// A number below `bound`, which is at least 1.
fn draw_below(bound: usize, rng: &mut impl Rng) -> usize {
    usize::try_from(rng.next_u64() % bound.max(1) as u64).unwrap_or(0)
}
