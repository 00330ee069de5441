//! The ten mini tasks and how each is split. Knows no rows.

use rand_chacha::ChaCha8Rng;

use crate::generator::{Generator, RawItem};

pub(crate) mod mini01;
mod mini02;
mod mini03;
mod mini04;
mod mini05;
pub(crate) mod mini06;
pub(crate) mod mini07;
pub(crate) mod mini08;
pub(crate) mod mini09;
pub(crate) mod mini10;

/// What keeps two splits apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Separation {
    /// A group (fact, table, rule) lies in one split only.
    Groups,
    /// The task has too few groups for that; prompts differ after normalisation.
    Prompts,
}

/// A task of the bench.
pub(crate) struct Entry {
    /// Draws and checks items.
    pub(crate) generator: &'static dyn Generator,
    /// What keeps its splits apart.
    pub(crate) separation: Separation,
    /// Draws an item of the pool, where the pool is drawn differently from the evaluation splits.
    pub(crate) pool_item: Option<fn(&mut ChaCha8Rng) -> RawItem>,
}

/// All tasks in order of their numbers.
pub(crate) static ENTRIES: [Entry; 10] = [
    entry(&mini01::Mini01, Separation::Groups),
    entry(&mini02::Mini02, Separation::Prompts),
    entry(&mini03::Mini03, Separation::Prompts),
    entry(&mini04::Mini04, Separation::Groups),
    Entry { generator: &mini05::Mini05, separation: Separation::Prompts, pool_item: Some(mini05::Mini05::pool_item) },
    entry(&mini06::Mini06, Separation::Groups),
    entry(&mini07::Mini07, Separation::Groups),
    entry(&mini08::Mini08, Separation::Groups),
    entry(&mini09::Mini09, Separation::Groups),
    entry(&mini10::Mini10, Separation::Groups),
];

const fn entry(generator: &'static dyn Generator, separation: Separation) -> Entry {
    Entry { generator, separation, pool_item: None }
}
