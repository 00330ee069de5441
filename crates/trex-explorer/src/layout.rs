//! Where nodes stand: a tidy tree from left to right that stays as it is while the tree grows. Pure; knows no pixel of a
//! screen and no colour.
//!
//! Depth is the column, and a parent stands in the row of its first child, so it does not move when more come. Each
//! child of the root is a block with room for twice what it held when it last had to be moved (a power of two of rows),
//! so a new node moves others only when its block is full: a tree of n rows moves at most log2(n) times. Blocks are
//! stacked, and large trees go on in a further stack to the right, because a tree that is 7,000 rows high and four
//! columns wide becomes a hairline when it is shown whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::TreeNode;

/// Distance of two columns.
pub const COLUMN_WIDTH: f32 = 230.0;

/// Distance of two rows.
pub const ROW_HEIGHT: f32 = 34.0;

/// Rows that a block has room for at least.
const MIN_BLOCK_ROWS: usize = 4;

/// Rows of a stack at least, before a further one begins.
const MIN_STACK_ROWS: usize = 64;

/// Where a node stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// From the left.
    pub x: f32,
    /// From the top.
    pub y: f32,
    /// Whether a parent is folded up.
    pub hidden: bool,
    /// Nodes below it that are hidden because it is folded up.
    pub folded: usize,
}

/// Remembers how much room each block has, which is what keeps the picture stable.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    rooms: BTreeMap<String, usize>,
}

impl Layout {
    /// Places all nodes; the result has the order of `nodes`. A node whose parent is unknown is a root of its own.
    pub fn place(&mut self, nodes: &[TreeNode], folded: &BTreeSet<String>) -> Vec<Place> {
        let tree = Tree::new(nodes, folded);
        let mut places = vec![Place::default(); nodes.len()];
        let rows = tree.rows();
        let blocks: Vec<usize> = tree.roots.iter().flat_map(|root| tree.children[*root].iter().copied()).collect();
        let room_of = |layout: &mut Self, block: usize| {
            let wanted = rows[block].next_power_of_two().max(MIN_BLOCK_ROWS);
            let room = layout.rooms.entry(nodes[block].id.clone()).or_insert(wanted);
            *room = wanted.max(*room);
            *room
        };
        let rooms: Vec<usize> = blocks.iter().map(|block| room_of(self, *block)).collect();
        let depth = tree.depth.iter().copied().max().unwrap_or(0);
        let stack_rows = rows_of_a_stack(rooms.iter().sum(), depth);
        let (mut stack, mut row) = (0, 0);
        for (block, room) in blocks.iter().zip(rooms) {
            if row > 0 && row + room > stack_rows {
                (stack, row) = (stack + 1, 0);
            }
            let left = stack as f32 * (depth as f32 + 0.5) * COLUMN_WIDTH;
            tree.place_block(*block, &rows, (left, row as f32 * ROW_HEIGHT), &mut places);
            row += room;
        }
        for (index, place) in places.iter_mut().enumerate() {
            place.hidden = tree.hidden[index];
            place.folded = tree.below[index];
        }
        places
    }
}

/// About as high as wide on a screen; a power of two, so that it seldom changes.
fn rows_of_a_stack(rows: usize, depth: usize) -> usize {
    let width = depth as f32 * COLUMN_WIDTH;
    let side = (rows as f32 * width / (1.6 * ROW_HEIGHT)).sqrt();
    // A count of rows is far below what f32 holds exactly.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded up and not negative")]
    let rows = side.ceil() as usize;
    rows.next_power_of_two().max(MIN_STACK_ROWS)
}

struct Tree {
    roots: Vec<usize>,
    /// Shown children.
    children: Vec<Vec<usize>>,
    depth: Vec<usize>,
    hidden: Vec<bool>,
    /// Hidden nodes below a folded one.
    below: Vec<usize>,
    /// Shown nodes, parents before children.
    order: Vec<usize>,
}

impl Tree {
    fn new(nodes: &[TreeNode], folded: &BTreeSet<String>) -> Self {
        let index: BTreeMap<&str, usize> = nodes.iter().enumerate().map(|(at, node)| (node.id.as_str(), at)).collect();
        let mut tree = Self {
            roots: Vec::new(),
            children: vec![Vec::new(); nodes.len()],
            depth: vec![0; nodes.len()],
            hidden: vec![false; nodes.len()],
            below: vec![0; nodes.len()],
            order: Vec::new(),
        };
        let mut hidden_by: Vec<Option<usize>> = vec![None; nodes.len()];
        for (at, node) in nodes.iter().enumerate() {
            // Only a parent that stands before it counts, so no circle of parents can come in.
            let parent = node.parent.as_deref().and_then(|id| index.get(id).copied()).filter(|parent| *parent < at);
            let Some(parent) = parent else {
                tree.roots.push(at);
                tree.order.push(at);
                hidden_by[at] = folded.contains(&node.id).then_some(at);
                continue;
            };
            tree.depth[at] = tree.depth[parent] + 1;
            if let Some(by) = hidden_by[parent] {
                tree.hidden[at] = true;
                tree.below[by] += 1;
                hidden_by[at] = Some(by);
            } else {
                tree.children[parent].push(at);
                tree.order.push(at);
                hidden_by[at] = folded.contains(&node.id).then_some(at);
            }
        }
        tree
    }

    /// Rows that each node and what is below it take. Without recursion: a chain may be deep.
    fn rows(&self) -> Vec<usize> {
        let mut rows = vec![0; self.children.len()];
        for &at in self.order.iter().rev() {
            rows[at] = self.children[at].iter().map(|child| rows[*child]).sum::<usize>().max(1);
        }
        rows
    }

    fn place_block(&self, block: usize, rows: &[usize], (left, top): (f32, f32), places: &mut [Place]) {
        let mut waiting = vec![(block, top)];
        while let Some((at, y)) = waiting.pop() {
            places[at].x = left + self.depth[at] as f32 * COLUMN_WIDTH;
            places[at].y = y;
            let mut next = y;
            for child in &self.children[at] {
                waiting.push((*child, next));
                next += rows[*child] as f32 * ROW_HEIGHT;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{NodeKind, NodeState};

    use super::*;

    fn node(id: &str, parent: Option<&str>) -> TreeNode {
        TreeNode {
            id: id.to_owned(),
            parent: parent.map(str::to_owned),
            kind: NodeKind::Variant,
            state: NodeState::Evaluated,
            title: String::new(),
            strategy: None,
            score: None,
            gain: None,
            cost_s: 0.0,
            on_best_path: false,
            is_best: false,
            spark: Vec::new(),
            note: None,
            pinned: false,
            forbidden_by: None,
        }
    }

    /// A base, strategies, one experiment each, and variants.
    fn sample(strategies: usize, variants: usize) -> Vec<TreeNode> {
        let mut nodes = vec![node("base", None)];
        for s in 0..strategies {
            nodes.push(node(&format!("s{s}"), Some("base")));
            nodes.push(node(&format!("s{s}.e1"), Some(&format!("s{s}"))));
            nodes.extend((0..variants).map(|v| node(&format!("s{s}.e1.{v}"), Some(&format!("s{s}.e1")))));
        }
        nodes
    }

    fn no_two_at_one_place(places: &[Place]) {
        let mut seen = BTreeSet::new();
        for place in places.iter().filter(|place| !place.hidden) {
            assert!(seen.insert((place.x.to_bits(), place.y.to_bits())), "{place:?}");
        }
    }

    #[test]
    fn every_node_has_a_place_of_its_own() {
        for (strategies, variants) in [(0, 0), (1, 1), (5, 3), (40, 24), (100, 98)] {
            no_two_at_one_place(&Layout::default().place(&sample(strategies, variants), &BTreeSet::new()));
        }
    }

    #[test]
    fn a_new_node_moves_no_other_while_its_block_has_room() {
        let mut layout = Layout::default();
        let before = sample(5, 3);
        let old = layout.place(&before, &BTreeSet::new());
        let mut after = before.clone();
        after.push(node("s1.e1.z", Some("s1.e1")));
        let new = layout.place(&after, &BTreeSet::new());
        assert_eq!(old, new[..before.len()]);
    }

    #[test]
    fn nodes_move_seldom_while_a_tree_grows() {
        let mut layout = Layout::default();
        let mut nodes = sample(3, 0);
        let mut moves = 0;
        let mut old = layout.place(&nodes, &BTreeSet::new());
        for added in 0..500 {
            nodes.push(node(&format!("s1.e1.{added}"), Some("s1.e1")));
            let new = layout.place(&nodes, &BTreeSet::new());
            moves += usize::from(new[..old.len()] != old);
            old = new;
        }
        assert!(moves <= 8, "{moves}");
    }

    #[test]
    fn folding_hides_what_is_below_and_moves_nothing() {
        let nodes = sample(3, 3);
        let mut layout = Layout::default();
        let open = layout.place(&nodes, &BTreeSet::new());
        let places = layout.place(&nodes, &BTreeSet::from(["s1".to_owned()]));
        let hidden: Vec<&str> =
            nodes.iter().zip(&places).filter(|(_, place)| place.hidden).map(|(node, _)| node.id.as_str()).collect();
        assert_eq!(hidden, ["s1.e1", "s1.e1.0", "s1.e1.1", "s1.e1.2"]);
        assert_eq!(places[6].folded, 4);
        for (before, after) in open.iter().zip(&places).filter(|(_, after)| !after.hidden) {
            assert_eq!((before.x, before.y), (after.x, after.y));
        }
    }

    #[test]
    fn a_large_tree_is_about_as_wide_as_high() {
        let places = Layout::default().place(&sample(100, 98), &BTreeSet::new());
        let width = places.iter().map(|place| place.x).fold(0.0, f32::max);
        let height = places.iter().map(|place| place.y).fold(0.0, f32::max);
        assert!((0.4..4.0).contains(&(width / height)), "{width} x {height}");
    }

    #[test]
    fn a_deep_chain_needs_no_deep_stack() {
        let mut nodes = vec![node("0", None)];
        nodes.extend((1..20_000).map(|at| node(&at.to_string(), Some(&(at - 1).to_string()))));
        no_two_at_one_place(&Layout::default().place(&nodes, &BTreeSet::new()));
    }

    #[test]
    fn parents_that_come_later_or_not_at_all_do_no_harm() {
        let nodes = [node("a", Some("b")), node("b", Some("a")), node("c", Some("nobody"))];
        assert_eq!(Layout::default().place(&nodes, &BTreeSet::new()).len(), 3);
    }
}
