//! Draws the clean items of every split, so that no prompt occurs twice and no group straddles two splits. Plants no dirt.

use std::collections::BTreeSet;

use crate::generator::RawItem;
use crate::practice::is_reserved;
use crate::tasks::{Entry, Separation};
use crate::words::below;

/// Draws per wanted item after which a split is left smaller than wanted; a generator that needs them is too poor.
const MAX_DRAWS_PER_ITEM: usize = 2_000;

/// Where clean items go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Split {
    /// Training.
    Pool,
    /// Drives the search.
    Search,
    /// Re-scores winners.
    Select,
    /// Sealed.
    Final,
}

impl Split {
    /// Evaluation first, so that the pool never takes the last prompts of a poor task.
    const ORDER: [Self; 4] = [Self::Final, Self::Select, Self::Search, Self::Pool];

    /// The name used in ids.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Search => "search",
            Self::Select => "select",
            Self::Final => "final",
        }
    }
}

/// Clean items wanted per split.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) pool: usize,
    pub(crate) search: usize,
    pub(crate) select: usize,
    pub(crate) final_: usize,
}

impl Sizes {
    fn of(self, split: Split) -> usize {
        match split {
            Split::Pool => self.pool,
            Split::Search => self.search,
            Split::Select => self.select,
            Split::Final => self.final_,
        }
    }

    fn total(self) -> usize {
        self.pool + self.search + self.select + self.final_
    }
}

/// Clean items by split.
#[derive(Debug, Default)]
pub(crate) struct Drawn {
    pub(crate) pool: Vec<RawItem>,
    pub(crate) search: Vec<RawItem>,
    pub(crate) select: Vec<RawItem>,
    pub(crate) final_: Vec<RawItem>,
}

/// Draws all splits of a task.
pub(crate) fn draw_splits(entry: &Entry, seed: u64, sizes: Sizes) -> Drawn {
    let mut taken = BTreeSet::new();
    let mut drawn = Drawn::default();
    for split in Split::ORDER {
        let items = draw_split(entry, seed, sizes, split, &mut taken);
        match split {
            Split::Pool => drawn.pool = items,
            Split::Search => drawn.search = items,
            Split::Select => drawn.select = items,
            Split::Final => drawn.final_ = items,
        }
    }
    drawn
}

fn draw_split(entry: &Entry, seed: u64, sizes: Sizes, split: Split, taken: &mut BTreeSet<String>) -> Vec<RawItem> {
    let wanted = sizes.of(split);
    let number = entry.generator.info().number;
    let mut rng = trex_domain::seeded_rng(seed, &format!("mini-{number}/{}", split.as_str()));
    let mut items = Vec::with_capacity(wanted);
    for _ in 0..wanted * MAX_DRAWS_PER_ITEM {
        if items.len() == wanted {
            break;
        }
        let item = match entry.pool_item {
            Some(pool_item) if split == Split::Pool => pool_item(&mut rng),
            _ => entry.generator.item(&mut rng),
        };
        let is_at_home = entry.separation == Separation::Prompts || home(seed, &item.group, sizes) == split;
        let prompt = normalised(&item.prompt);
        if is_at_home && !is_reserved(&prompt) && taken.insert(prompt) {
            items.push(item);
        }
    }
    items
}

/// The split that a group belongs to, by its name and the seed; splits get groups in proportion to their items.
fn home(seed: u64, group: &str, sizes: Sizes) -> Split {
    let mut place = below(&mut trex_domain::seeded_rng(seed, &format!("group/{group}")), sizes.total());
    for split in Split::ORDER {
        if place < sizes.of(split) {
            return split;
        }
        place -= sizes.of(split);
    }
    Split::Pool
}

/// Lower case with white space folded: the form in which prompts are compared.
pub(crate) fn normalised(prompt: &str) -> String {
    prompt.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}
