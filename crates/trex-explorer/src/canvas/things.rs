//! A net on the canvas: what its things and links look like. Pan, zoom, selection and drawing are those of the tree.

use std::sync::Arc;

use petgraph::stable_graph::NodeIndex;

use super::{Canvas, Move, TreeGraph};
use crate::look;
use crate::shapes::{Direction, EdgeLook, Look};
use crate::{NetEdge, NetKind, NetNode, NetView, NodeKind, NodeState, TreeNode, TreeView, place_net};

impl Canvas {
    /// Takes a net to show instead of a tree.
    pub fn set_net(&mut self, net: NetView) {
        if self.net.as_ref() == Some(&net) {
            return;
        }
        let nodes: Vec<TreeNode> = net.nodes.iter().map(as_tree_node).collect();
        let is_other = self.net.is_none() || nodes.iter().any(|node| !self.index.contains_key(&node.id));
        self.view = TreeView { metric: String::new(), nodes };
        self.index = self.view.nodes.iter().enumerate().map(|(at, node)| (node.id.clone(), at)).collect();
        self.folded.clear();
        self.net = Some(net);
        if is_other {
            self.next = Some(Move::First);
        }
        self.arrange();
    }

    pub(super) fn net_graph(&mut self, net: &NetView) -> TreeGraph {
        self.places = place_net(net);
        let mut graph = TreeGraph::new();
        for node in &net.nodes {
            graph.add_node(Arc::new(self.look_of_thing(node, net)));
        }
        for edge in &net.edges {
            if let (Some(from), Some(to)) = (self.index.get(&edge.from), self.index.get(&edge.to)) {
                graph.add_edge(NodeIndex::new(*from), NodeIndex::new(*to), self.look_of_link(edge));
            }
        }
        graph
    }

    fn look_of_thing(&self, node: &NetNode, net: &NetView) -> Look {
        let links = net.edges.iter().filter(|edge| edge.from == node.id || edge.to == node.id).count();
        let text = self.filter.text.to_lowercase();
        let is_found = node.id.to_lowercase().contains(&text) || node.label.to_lowercase().contains(&text);
        Look {
            kind: match node.kind {
                NetKind::Task => NodeKind::Base,
                NetKind::Dataset | NetKind::Model => NodeKind::Strategy,
                NetKind::Parameter | NetKind::Operator => NodeKind::Experiment,
                NetKind::Insight | NetKind::Paper => NodeKind::Variant,
            },
            fill: self.theme.of_thing(node.kind),
            ring: self.theme.text,
            running: false,
            radius: look::radius(links as f64, 12.0),
            direction: Direction::Level,
            name: node.label.clone(),
            score: node.kind.word().to_owned(),
            band: None,
            spark: Vec::new(),
            is_best: false,
            on_best_path: false,
            pinned: false,
            forbidden: false,
            faded: !is_found,
            hidden: false,
            folded: 0,
            theme: self.theme,
        }
    }

    /// A measured effect is as thick as it is large, and stands out where its interval leaves out zero.
    fn look_of_link(&self, edge: &NetEdge) -> EdgeLook {
        let touches = self.selected.as_ref().is_some_and(|id| *id == edge.from || *id == edge.to);
        let colour = match edge.kind.as_str() {
            "improves" => self.theme.of_gain(Some(1.0), 1.0),
            "hurts" => self.theme.of_gain(Some(-1.0), 1.0),
            _ if touches => self.theme.accent,
            _ => self.theme.line,
        };
        let is_clear = matches!(edge.kind.as_str(), "improves" | "hurts");
        EdgeLook::Link {
            colour,
            width: if touches {
                3.0
            } else if is_clear {
                2.2
            } else {
                1.1
            },
        }
    }
}

/// A thing of a net as a node without parent, for what trees and nets have in common.
fn as_tree_node(node: &NetNode) -> TreeNode {
    TreeNode {
        id: node.id.clone(),
        parent: None,
        kind: NodeKind::Variant,
        state: NodeState::Evaluated,
        title: node.label.clone(),
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
