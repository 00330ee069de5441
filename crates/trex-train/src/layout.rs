//! How a batch lies in memory: segments of tokens end to end, each seeing its ancestors and its own past.
//!
//! There is no padding. A batch of unrelated sequences is a forest of roots; sequences with a common beginning share one
//! root that is computed once; the options of a choice item are children of the item. The numbers are those of
//! separate sequences: positions go on from the ancestors and no segment sees a sibling.

use std::sync::Arc;

/// One run of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// First row of the segment in the batch.
    pub(crate) start: usize,
    /// Rows.
    pub(crate) len: usize,
    /// Segments seen in full, from the root down.
    pub(crate) ancestors: Vec<usize>,
}

/// A batch: token ids and the segments that they form.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenTree {
    tokens: Vec<u32>,
    positions: Vec<usize>,
    segments: Vec<Segment>,
}

impl TokenTree {
    /// Adds tokens below `parent` (a number returned earlier) and returns the number of the new segment.
    ///
    /// An empty segment below a parent is the parent itself; an empty root is kept as an empty segment.
    pub(crate) fn push(&mut self, parent: Option<usize>, tokens: &[u32]) -> usize {
        if let Some(parent) = parent.filter(|_| tokens.is_empty()) {
            return parent;
        }
        let mut ancestors = Vec::new();
        let mut position = 0;
        if let Some(parent) = parent {
            ancestors.clone_from(&self.segments[parent].ancestors);
            ancestors.push(parent);
            position = ancestors.iter().map(|index| self.segments[*index].len).sum();
        }
        let start = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.positions.extend((0..tokens.len()).map(|offset| position + offset));
        self.segments.push(Segment { start, len: tokens.len(), ancestors });
        self.segments.len() - 1
    }

    /// Row of the last token that a continuation of `segment` would follow; `None` for an empty root.
    pub(crate) fn last_row(&self, segment: usize) -> Option<usize> {
        let segment = &self.segments[segment];
        if segment.len > 0 {
            return Some(segment.start + segment.len - 1);
        }
        segment
            .ancestors
            .iter()
            .rev()
            .map(|index| &self.segments[*index])
            .find(|s| s.len > 0)
            .map(|s| s.start + s.len - 1)
    }

    /// First row of a segment.
    pub(crate) fn first_row(&self, segment: usize) -> usize {
        self.segments[segment].start
    }

    /// Token ids, one per row.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Position of every row in its sequence.
    pub(crate) fn positions(&self) -> &[usize] {
        &self.positions
    }

    /// The segments, shared with operations that keep them for the backward pass.
    pub(crate) fn segments(&self) -> Arc<Vec<Segment>> {
        Arc::new(self.segments.clone())
    }
}

/// Length of the longest beginning that all sequences share.
pub(crate) fn common_prefix<'a>(mut sequences: impl Iterator<Item = &'a [u32]>) -> usize {
    let Some(first) = sequences.next() else { return 0 };
    sequences.fold(first.len(), |len, other| first[..len].iter().zip(other).take_while(|(a, b)| a == b).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_on_from_the_ancestors() {
        let mut tree = TokenTree::default();
        let root = tree.push(None, &[1, 2, 3]);
        let item = tree.push(Some(root), &[4]);
        let option = tree.push(Some(item), &[5, 6]);
        let other = tree.push(Some(root), &[7]);
        assert_eq!(tree.positions(), [0, 1, 2, 3, 4, 5, 3]);
        assert_eq!(tree.segments()[option].ancestors, [root, item]);
        assert_eq!(tree.segments()[other].ancestors, [root]);
        assert_eq!(tree.push(Some(item), &[]), item);
        assert_eq!(tree.last_row(item), Some(3));
    }

    #[test]
    fn common_prefixes_stop_at_the_first_difference() {
        let check = |sequences: &[&[u32]], expected| assert_eq!(common_prefix(sequences.iter().copied()), expected);
        check(&[&[1, 2, 3], &[1, 2, 4]], 2);
        check(&[&[1, 2], &[1, 2, 4]], 2);
        check(&[&[1], &[2]], 0);
        check(&[], 0);
    }
}
