//! The layout that egui_graphs asks for, which does nothing: nodes have their places already.

use egui::Ui;
use egui_graphs::{Graph, Layout as GraphLayout, LayoutState};
use serde::{Deserialize, Serialize};

/// Nodes stand where [`crate::Layout`] put them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct NoState;

impl LayoutState for NoState {}

#[derive(Debug, Default)]
pub(crate) struct NoLayout;

impl GraphLayout<NoState> for NoLayout {
    fn from_state(_: NoState) -> impl GraphLayout<NoState> {
        Self
    }

    fn next<N, E, Ty, Ix, Dn, De>(&mut self, _: &mut Graph<N, E, Ty, Ix, Dn, De>, _: &Ui)
    where
        N: Clone,
        E: Clone,
        Ty: petgraph::EdgeType,
        Ix: petgraph::stable_graph::IndexType,
        Dn: egui_graphs::DisplayNode<N, E, Ty, Ix>,
        De: egui_graphs::DisplayEdge<N, E, Ty, Ix, Dn>,
    {
    }

    fn state(&self) -> NoState {
        NoState
    }
}
