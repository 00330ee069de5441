//! Where the things of a net stand: one column for each kind, in which things that hang together stand near each other.
//! Pure; knows no pixel of a screen and no colour.
//!
//! The order within a column is found by the means of the neighbours' rows (the barycentre heuristic of Sugiyama, Tagawa
//! and Toda, 1981), in a fixed number of sweeps from the order of the names: the same net gives the same picture.

use std::collections::BTreeMap;

use crate::{COLUMN_WIDTH, NetKind, NetView, Place, ROW_HEIGHT};

/// Sweeps over all columns, there and back.
const SWEEPS: usize = 4;

/// Distance of two columns: labels are whole sentences.
pub const NET_COLUMN_WIDTH: f32 = COLUMN_WIDTH * 1.2;

/// Distance of two rows: lines need room between them.
pub const NET_ROW_HEIGHT: f32 = ROW_HEIGHT * 1.6;

/// Places all things; the result has the order of `net.nodes`.
pub fn place_net(net: &NetView) -> Vec<Place> {
    let neighbours = neighbours(net);
    let mut columns = columns(net);
    let mut rows = vec![0.0_f32; net.nodes.len()];
    for column in &columns {
        spread(column, &mut rows);
    }
    for sweep in 0..SWEEPS {
        let order: Vec<usize> =
            if sweep % 2 == 0 { (0..columns.len()).collect() } else { (0..columns.len()).rev().collect() };
        for at in order {
            sort_by_neighbours(&mut columns[at], &neighbours, &rows);
            spread(&columns[at], &mut rows);
        }
    }
    let mut places = vec![Place::default(); net.nodes.len()];
    for (number, column) in columns.iter().enumerate() {
        for at in column {
            places[*at].x = number as f32 * NET_COLUMN_WIDTH;
            places[*at].y = rows[*at] * NET_ROW_HEIGHT;
        }
    }
    places
}

fn neighbours(net: &NetView) -> Vec<Vec<usize>> {
    let index: BTreeMap<&str, usize> = net.nodes.iter().enumerate().map(|(at, node)| (node.id.as_str(), at)).collect();
    let mut neighbours = vec![Vec::new(); net.nodes.len()];
    for edge in &net.edges {
        if let (Some(from), Some(to)) = (index.get(edge.from.as_str()), index.get(edge.to.as_str())) {
            neighbours[*from].push(*to);
            neighbours[*to].push(*from);
        }
    }
    neighbours
}

/// Things by column, in the order of their names; kinds that are close to each other share one.
fn columns(net: &NetView) -> Vec<Vec<usize>> {
    let mut columns: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, node) in net.nodes.iter().enumerate() {
        columns.entry(column_of(node.kind)).or_default().push(at);
    }
    for column in columns.values_mut() {
        column.sort_by(|a, b| net.nodes[*a].id.cmp(&net.nodes[*b].id));
    }
    columns.into_values().collect()
}

fn column_of(kind: NetKind) -> usize {
    match kind {
        NetKind::Paper => 0,
        NetKind::Insight => 1,
        NetKind::Parameter | NetKind::Operator => 2,
        NetKind::Task => 3,
        NetKind::Dataset | NetKind::Model => 4,
    }
}

fn sort_by_neighbours(column: &mut [usize], neighbours: &[Vec<usize>], rows: &[f32]) {
    let mean = |at: usize| {
        let near = &neighbours[at];
        if near.is_empty() { rows[at] } else { near.iter().map(|other| rows[*other]).sum::<f32>() / near.len() as f32 }
    };
    let means: BTreeMap<usize, f32> = column.iter().map(|at| (*at, mean(*at))).collect();
    column.sort_by(|a, b| means[a].total_cmp(&means[b]));
}

/// One row each, all columns about the same middle.
fn spread(column: &[usize], rows: &mut [f32]) {
    let first = -(column.len() as f32 - 1.0) / 2.0;
    for (number, at) in column.iter().enumerate() {
        rows[*at] = first + number as f32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::{NetEdge, NetNode};

    use super::*;

    fn net(nodes: &[(&str, NetKind)], edges: &[(&str, &str)]) -> NetView {
        let node = |(id, kind): &(&str, NetKind)| NetNode { id: (*id).to_owned(), kind: *kind, label: String::new() };
        let edge = |(from, to): &(&str, &str)| NetEdge {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            kind: "has".to_owned(),
            effect: None,
            weight: None,
        };
        NetView { nodes: nodes.iter().map(node).collect(), edges: edges.iter().map(edge).collect() }
    }

    #[test]
    fn a_kind_has_a_column_and_a_thing_a_place_of_its_own() {
        let nodes = [
            ("t1", NetKind::Task),
            ("o1", NetKind::Operator),
            ("p1", NetKind::Parameter),
            ("t2", NetKind::Task),
            ("m", NetKind::Model),
        ];
        let places = place_net(&net(&nodes, &[("o1", "t1"), ("t1", "m")]));
        let seen: BTreeSet<(u32, u32)> = places.iter().map(|place| (place.x.to_bits(), place.y.to_bits())).collect();
        assert_eq!(seen.len(), nodes.len());
        assert_eq!((places[0].x, places[1].x), (places[3].x, places[2].x));
        assert!(places[1].x < places[0].x && places[0].x < places[4].x);
    }

    #[test]
    fn what_hangs_together_stands_in_one_row() {
        let nodes =
            [("o1", NetKind::Operator), ("o2", NetKind::Operator), ("ta", NetKind::Task), ("tb", NetKind::Task)];
        let places = place_net(&net(&nodes, &[("o1", "tb"), ("o2", "ta")]));
        assert_eq!((places[0].y, places[1].y), (places[3].y, places[2].y), "{places:?}");
    }

    #[test]
    fn edges_to_nowhere_and_nothing_at_all_do_no_harm() {
        assert_eq!(place_net(&NetView::default()), []);
        assert_eq!(place_net(&net(&[("a", NetKind::Task)], &[("a", "gone"), ("gone", "a")])).len(), 1);
    }
}
