//! Makes the dirty training pool out of clean items. Which rows are spoilt and how depends on the seed only.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;

use crate::dirt::{DirtKind, DirtLedger, DirtRates, buried_prompt, edited_prompt, off_topic_row, reformatted_answer};
use crate::draw::Drawn;
use crate::generator::{Generator, RawItem};
use crate::words::{pick, sample, shuffle};

/// Draws after which a wrong answer for an item is given up.
const MAX_WRONG_DRAWS: usize = 500;

/// A row of the pool before it has an id.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) item: RawItem,
    pub(crate) dirt: Option<DirtKind>,
}

/// Kinds of dirt that are made from an item of their own rather than from a row that stays.
const SPOILT: [DirtKind; 4] = [DirtKind::WrongLabel, DirtKind::Format, DirtKind::EmptyAnswer, DirtKind::Overlong];

/// Clean items that a pool of `num_rows` is made from: the rows that stay clean and those that are spoilt.
pub(crate) fn num_items_needed(rates: &DirtRates, num_rows: usize) -> usize {
    num_clean(rates, num_rows) + SPOILT.iter().map(|kind| rates.num_rows(*kind, num_rows)).sum::<usize>()
}

fn num_clean(rates: &DirtRates, num_rows: usize) -> usize {
    num_rows.saturating_sub(DirtKind::ALL.iter().map(|kind| rates.num_rows(*kind, num_rows)).sum())
}

/// Makes a pool of `num_rows` rows in random order.
pub(crate) fn dirty_pool(
    generator: &dyn Generator,
    drawn: &Drawn,
    rates: &DirtRates,
    num_rows: usize,
    seed: u64,
) -> Vec<Row> {
    let info = generator.info();
    let mut rng = trex_domain::seeded_rng(seed, &format!("mini-{}/dirt", info.number));
    let count = |kind| rates.num_rows(kind, num_rows);
    let (clean, mut spare) = drawn.pool.split_at(num_clean(rates, num_rows).min(drawn.pool.len()));
    let mut rows: Vec<Row> = clean.iter().map(|item| Row { item: item.clone(), dirt: None }).collect();
    for kind in SPOILT {
        let (items, rest) = spare.split_at(count(kind).min(spare.len()));
        spare = rest;
        rows.extend(items.iter().map(|item| spoilt(&mut rng, generator, item, kind, &drawn.pool)));
    }
    let twins = sample(&mut rng, clean, count(DirtKind::ExactDuplicate) + count(DirtKind::NearDuplicate));
    let (exact, near) = twins.split_at(count(DirtKind::ExactDuplicate).min(twins.len()));
    rows.extend(exact.iter().map(|item| Row { item: (*item).clone(), dirt: Some(DirtKind::ExactDuplicate) }));
    rows.extend(near.iter().map(|item| {
        let prompt = edited_prompt(&mut rng, &item.prompt);
        Row { item: RawItem { prompt, ..(*item).clone() }, dirt: Some(DirtKind::NearDuplicate) }
    }));
    rows.extend(leaks(&mut rng, drawn, count(DirtKind::Leak)));
    let is_choice = info.kind == trex_domain::TaskKind::Choice;
    rows.extend(
        (0..count(DirtKind::OffTopic))
            .map(|_| Row { item: off_topic_row(&mut rng, info.options, is_choice), dirt: Some(DirtKind::OffTopic) }),
    );
    shuffle(&mut rng, &mut rows);
    mark_later_twins(&mut rows);
    rows
}

/// The ledger of a finished pool.
pub(crate) fn ledger(rows: &[Row], id: impl Fn(usize) -> String) -> DirtLedger {
    let mut ledger = DirtLedger::default();
    for (index, row) in rows.iter().enumerate() {
        if let Some(kind) = row.dirt {
            ledger.record(kind, id(index));
        }
    }
    ledger
}

fn spoilt(rng: &mut ChaCha8Rng, generator: &dyn Generator, item: &RawItem, kind: DirtKind, others: &[RawItem]) -> Row {
    let mut item = item.clone();
    match kind {
        DirtKind::WrongLabel => item.answer = wrong_answer(rng, generator, &item, others),
        DirtKind::Format => item.answer = reformatted_answer(rng, &item.answer),
        DirtKind::EmptyAnswer => item.answer.clear(),
        _ => item.prompt = buried_prompt(rng, &item.prompt),
    }
    Row { item, dirt: Some(kind) }
}

/// Another option of the item or, where answers are open, the answer of another item that is wrong here.
fn wrong_answer(rng: &mut ChaCha8Rng, generator: &dyn Generator, item: &RawItem, others: &[RawItem]) -> String {
    for _ in 0..MAX_WRONG_DRAWS {
        let answer = if item.options.is_empty() { &pick(rng, others).answer } else { pick(rng, &item.options) };
        if !generator.check(&item.prompt, answer) {
            return answer.clone();
        }
    }
    // Every answer that was tried is right: only an answer that is none is wrong.
    "unknown".to_owned()
}

/// Items of the evaluation splits with their answers.
fn leaks(rng: &mut ChaCha8Rng, drawn: &Drawn, count: usize) -> Vec<Row> {
    let evaluation: Vec<&RawItem> = drawn.search.iter().chain(&drawn.select).chain(&drawn.final_).collect();
    let leaked = sample(rng, &evaluation, count);
    leaked.into_iter().map(|item| Row { item: (*item).clone(), dirt: Some(DirtKind::Leak) }).collect()
}

/// Of two equal rows the later one is the duplicate, whichever came first before the rows were shuffled.
fn mark_later_twins(rows: &mut [Row]) {
    let mut seen = BTreeSet::new();
    for row in rows.iter_mut().filter(|row| matches!(row.dirt, None | Some(DirtKind::ExactDuplicate))) {
        row.dirt = (!seen.insert(row.item.prompt.clone())).then_some(DirtKind::ExactDuplicate);
    }
}
