//! The canvas: tree, pan and zoom, selection, folding, filter, minimap. Keeps what it drew, and draws anew only when
//! something came in: egui_graphs asks for the next frame in every frame, so it is asked only when there is a reason.
//! A net of things is shown with the same means as the tree.
//!
//! What a person does comes out as [`CanvasEvent`]s; nothing here acts on a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use egui::epaint::ClippedShape;
use egui::{CornerRadius, Pos2, Rect, Sense, Shape, Stroke, StrokeKind, Ui, Vec2, pos2, vec2};
use egui_graphs::{Graph, GraphChange, GraphView, MetadataFrame, SettingsInteraction, SettingsNavigation};
use petgraph::Directed;
use petgraph::stable_graph::NodeIndex;
use serde::{Deserialize, Serialize};

use crate::layout::{Layout, Place};
use crate::look::{self, Theme};
use crate::no_layout::{NoLayout, NoState};
use crate::scale::Scale;
use crate::shapes::{Direction, EdgeLook, EdgeShape, Look, NodeShape};
use crate::{COLUMN_WIDTH, NetView, NodeState, ROW_HEIGHT, TreeNode, TreeView};

mod far;
mod things;

/// Zoom at which a tree is first shown at least, so that its labels can be read.
const FIRST_ZOOM: f32 = 0.62;
const ZOOMS: std::ops::RangeInclusive<f32> = 0.02..=3.0;
/// Dots of the minimap at most.
const MINIMAP_DOTS: usize = 1500;
/// Frames that are drawn after the last input, so that hovering and clicks come to rest.
const GRACE_FRAMES: u8 = 2;

type TreeGraph = Graph<Arc<Look>, EdgeLook, Directed, u32, NodeShape, EdgeShape>;

/// What a person did on the canvas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CanvasEvent {
    /// A node was chosen.
    Selected {
        /// Which.
        id: String,
    },
    /// A node was folded up or unfolded.
    Folded {
        /// Which.
        id: String,
        /// Whether it is folded now.
        folded: bool,
    },
}

/// Which nodes stand out; the others are faint. An empty filter fades none.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Text in name, title or note, in any case.
    pub text: String,
    /// One state.
    pub state: Option<NodeState>,
    /// One kind of strategy.
    pub strategy: Option<String>,
    /// Smallest gain over the base.
    pub min_gain: Option<f64>,
}

impl Filter {
    fn lets_through(&self, node: &TreeNode) -> bool {
        let text = self.text.to_lowercase();
        let has_text = |part: &str| part.to_lowercase().contains(&text);
        (text.is_empty() || has_text(&node.id) || has_text(&node.title) || node.note.as_deref().is_some_and(has_text))
            && self.state.is_none_or(|state| state == node.state)
            && self.strategy.as_ref().is_none_or(|kind| node.strategy.as_ref() == Some(kind))
            && self.min_gain.is_none_or(|least| node.gain.is_some_and(|gain| gain >= least))
    }
}

/// Where the view should go with the next frame.
#[derive(Clone, Debug, PartialEq)]
enum Move {
    First,
    Fit,
    To(String),
    CentreOn(Pos2),
    Zoom(f32),
}

/// The canvas. Belongs to one thread; [`Canvas::ui`] is called once per frame.
pub struct Canvas {
    view: TreeView,
    /// What is shown instead of a tree. Its things are nodes of `view` as well, so that all else is the same for both.
    net: Option<NetView>,
    places: Vec<Place>,
    /// Of each node, the place of its parent among the nodes.
    parents: Vec<Option<usize>>,
    index: BTreeMap<String, usize>,
    layout: Layout,
    graph: TreeGraph,
    folded: BTreeSet<String>,
    filter: Filter,
    selected: Option<String>,
    theme: Theme,
    next: Option<Move>,
    changed: bool,
    is_shown: bool,
    grace: u8,
    last_size: Vec2,
    meta: (f32, Vec2, Pos2),
    drawn: Vec<ClippedShape>,
    num_drawn: u64,
    animated: bool,
    motion: f32,
    old_places: BTreeMap<String, Pos2>,
}

impl Default for Canvas {
    fn default() -> Self {
        Self {
            view: TreeView::default(),
            net: None,
            places: Vec::new(),
            parents: Vec::new(),
            index: BTreeMap::new(),
            layout: Layout::default(),
            graph: Graph::new(),
            folded: BTreeSet::new(),
            filter: Filter::default(),
            selected: None,
            theme: Theme::light(),
            next: Some(Move::First),
            changed: true,
            is_shown: false,
            grace: 0,
            last_size: Vec2::ZERO,
            meta: (1.0, Vec2::ZERO, Pos2::ZERO),
            drawn: Vec::new(),
            num_drawn: 0,
            animated: true,
            motion: 1.0,
            old_places: BTreeMap::new(),
        }
    }
}

impl Canvas {
    /// Takes a new state of the tree. Nodes stay where they are as far as there is room.
    pub fn set_tree(&mut self, view: TreeView) {
        if view == self.view && self.net.is_none() {
            return;
        }
        let was_empty = self.view.nodes.is_empty() || self.net.take().is_some();
        let new: BTreeSet<&str> = view.nodes.iter().map(|node| node.id.as_str()).collect();
        let is_other = self.view.nodes.iter().any(|node| !new.contains(node.id.as_str()));
        if is_other {
            // A run that was opened instead, or an earlier moment of the same one, which keeps its places.
            let keeps = view.nodes.iter().all(|node| self.index.contains_key(&node.id));
            if !keeps {
                self.layout = Layout::default();
                self.folded.clear();
            }
        }
        self.view = view;
        self.index = self.view.nodes.iter().enumerate().map(|(at, node)| (node.id.clone(), at)).collect();
        if was_empty {
            self.next = Some(Move::First);
        }
        self.arrange();
    }

    /// The tree as it is shown.
    pub fn tree(&self) -> &TreeView {
        &self.view
    }

    /// Chooses a node and brings it into view; unfolds what hides it.
    pub fn select(&mut self, id: Option<&str>) {
        let id = id.filter(|id| self.index.contains_key(*id));
        if self.selected.as_deref() == id {
            return;
        }
        self.selected = id.map(str::to_owned);
        if let Some(id) = id {
            self.unfold_above(id);
            self.next = Some(Move::To(id.to_owned()));
        }
        self.arrange();
    }

    /// The chosen node.
    pub fn selected(&self) -> Option<&str> {
        self.selected.as_deref()
    }

    /// Folds a node up, or unfolds it.
    pub fn set_folded(&mut self, id: &str, folded: bool) {
        let changed = if folded { self.folded.insert(id.to_owned()) } else { self.folded.remove(id) };
        if changed {
            self.arrange();
        }
    }

    /// Shows the whole tree.
    pub fn fit(&mut self) {
        self.go(Move::Fit);
    }

    /// Zooms by a factor about the middle.
    pub fn zoom_by(&mut self, factor: f32) {
        self.go(Move::Zoom(factor));
    }

    /// Lets some nodes stand out.
    pub fn set_filter(&mut self, filter: Filter) {
        if filter != self.filter {
            self.filter = filter;
            self.arrange();
        }
    }

    /// Sets the colours.
    pub fn set_theme(&mut self, theme: Theme) {
        if theme != self.theme {
            self.theme = theme;
            self.arrange();
        }
    }

    /// Whether nodes glide to new places, or jump where a person asked for less motion.
    pub fn set_animated(&mut self, animated: bool) {
        self.animated = animated;
    }

    /// Where a node stands on the screen, for tests and for what is anchored to it.
    pub fn position_of(&self, id: &str) -> Option<Pos2> {
        let place = self.places.get(*self.index.get(id)?).filter(|place| !place.hidden)?;
        let (zoom, pan, origin) = self.meta;
        Some(origin + pan + vec2(place.x, place.y) * zoom)
    }

    /// Frames in which the tree was drawn anew. Stands still while nothing happens.
    pub fn num_drawn(&self) -> u64 {
        self.num_drawn
    }

    /// Zoom of the view.
    pub fn zoom(&self) -> f32 {
        self.meta.0
    }

    /// Shows the canvas in all the room there is.
    pub fn ui(&mut self, ui: &mut Ui) -> Vec<CanvasEvent> {
        let size = ui.available_size();
        let resized = size != self.last_size;
        if resized && (self.last_size == Vec2::ZERO) {
            self.next.get_or_insert(Move::First);
        }
        self.last_size = size;
        let has_input =
            ui.input(|i| !i.events.is_empty() || i.pointer.any_down() || i.smooth_scroll_delta() != Vec2::ZERO);
        let moving = self.motion < 1.0;
        if has_input || resized || self.changed || self.next.is_some() || moving {
            self.grace = GRACE_FRAMES;
        } else if self.grace == 0 {
            ui.painter().rect_filled(ui.max_rect(), CornerRadius::ZERO, self.theme.background);
            for shape in &self.drawn {
                ui.painter().with_clip_rect(shape.clip_rect).add(shape.shape.clone());
            }
            ui.allocate_rect(ui.max_rect(), Sense::click_and_drag());
            return Vec::new();
        }
        self.grace = self.grace.saturating_sub(1);
        self.changed = false;
        self.num_drawn += 1;
        self.draw(ui)
    }

    fn go(&mut self, next: Move) {
        self.next = Some(next);
        self.changed = true;
    }

    fn unfold_above(&mut self, id: &str) {
        let mut above = self.parent_of(id);
        while let Some(parent) = above {
            self.folded.remove(&parent);
            above = self.parent_of(&parent);
        }
    }

    fn parent_of(&self, id: &str) -> Option<String> {
        self.view.nodes.get(*self.index.get(id)?)?.parent.clone()
    }

    /// Places all nodes and makes the graph anew.
    fn arrange(&mut self) {
        self.old_places = self
            .view
            .nodes
            .iter()
            .zip(&self.places)
            .filter(|(node, _)| self.index.contains_key(&node.id))
            .map(|(node, place)| (node.id.clone(), pos2(place.x, place.y)))
            .collect();
        self.graph = match self.net.take() {
            None => self.tree_graph(),
            Some(net) => {
                let graph = self.net_graph(&net);
                self.net = Some(net);
                graph
            }
        };
        let selected = self.selected.as_ref().and_then(|id| self.index.get(id));
        let selected: Vec<_> = selected.map(|at| NodeIndex::new(*at)).into_iter().collect();
        for index in &selected {
            if let Some(node) = self.graph.node_mut(*index) {
                node.set_selected(true);
            }
        }
        self.graph.set_selected_nodes(selected);
        let moved = self
            .view
            .nodes
            .iter()
            .zip(&self.places)
            .any(|(node, place)| self.old_places.get(&node.id).is_some_and(|old| *old != pos2(place.x, place.y)));
        self.motion = if moved && self.animated { 0.0 } else { 1.0 };
        self.put_nodes();
        self.changed = true;
    }

    fn tree_graph(&mut self) -> TreeGraph {
        self.places = self.layout.place(&self.view.nodes, &self.folded);
        let scale = Scale::of(&self.view.nodes);
        let mut graph = TreeGraph::new();
        for (node, place) in self.view.nodes.iter().zip(&self.places) {
            graph.add_node(Arc::new(self.look_of(node, *place, &scale)));
        }
        let parent = |(at, node): (usize, &TreeNode)| {
            node.parent.as_ref().and_then(|id| self.index.get(id)).copied().filter(|parent| *parent < at)
        };
        self.parents = self.view.nodes.iter().enumerate().map(parent).collect();
        for (at, parent) in self.parents.iter().enumerate() {
            if let Some(parent) = parent {
                graph.add_edge(NodeIndex::new(*parent), NodeIndex::new(at), EdgeLook::Branch);
            }
        }
        graph
    }

    /// Gives the graph the places, on the way from the old ones while there is motion.
    fn put_nodes(&mut self) {
        let share = self.motion * self.motion * (3.0 - 2.0 * self.motion);
        for (at, (node, place)) in self.view.nodes.iter().zip(&self.places).enumerate() {
            let to = pos2(place.x, place.y);
            let from = self.old_places.get(&node.id).copied().unwrap_or(to);
            if let Some(node) = self.graph.node_mut(NodeIndex::new(at)) {
                node.set_location(from + (to - from) * share);
            }
        }
    }

    fn look_of(&self, node: &TreeNode, place: Place, scale: &Scale) -> Look {
        let score = node.score.as_ref();
        let base = score.and_then(|score| scale.base_on(&score.split));
        let direction = match (score, base) {
            (Some(score), Some(base)) if score.low > base && node.gain > Some(0.0) => Direction::Up,
            (Some(score), Some(base)) if score.high < base && node.gain < Some(0.0) => Direction::Down,
            _ => Direction::Level,
        };
        let shown = |score: &crate::ShownScore| {
            format!("{:.3} [{:.3}, {:.3}] n={}", score.value, score.low, score.high, score.n)
        };
        let name = format!("{}{} {}", node.id, if node.is_best { " (best)" } else { "" }, node.title);
        // The fonts of the canvas lack most signs of `trex tree`, so states that need one are written out.
        let state = match node.state {
            NodeState::Evaluated => "",
            state => state.word(),
        };
        let pinned = if node.pinned { " pinned" } else { "" };
        let forbidden = if node.forbidden_by.is_some() { " forbidden" } else { "" };
        let name = format!("{}{pinned}{forbidden} {state}", name.trim_end());
        Look {
            kind: node.kind,
            fill: self.theme.of_gain(node.gain, scale.gain),
            ring: self.theme.of_state(node.state),
            running: node.state == NodeState::Running,
            radius: look::radius(node.cost_s, scale.cost),
            direction,
            name: name.trim_end().to_owned(),
            score: score.map(shown).unwrap_or_default(),
            band: score.zip(base).map(|(score, base)| scale.band(score, base)),
            spark: node.spark.clone(),
            is_best: node.is_best,
            on_best_path: node.on_best_path,
            pinned: node.pinned,
            forbidden: node.forbidden_by.is_some(),
            faded: !self.filter.lets_through(node),
            hidden: place.hidden,
            folded: place.folded,
            theme: self.theme,
        }
    }

    fn draw(&mut self, ui: &mut Ui) -> Vec<CanvasEvent> {
        let rect = ui.available_rect_before_wrap();
        let before = num_entries(ui);
        ui.painter().rect_filled(rect, CornerRadius::ZERO, self.theme.background);
        if self.motion < 1.0 {
            let passed = ui.input(|i| i.stable_dt).min(0.1);
            self.motion = (self.motion + passed / 0.22).min(1.0);
            self.put_nodes();
        }
        let meta = self.navigate(ui, rect);
        if self.is_far(&meta) {
            let events = self.far(ui, rect, meta);
            self.minimap(ui, rect);
            self.drawn = entries_since(ui, before);
            return events;
        }
        let interaction = SettingsInteraction::new().with_dragging_enabled(false).with_node_clicking_enabled(true);
        let navigation = SettingsNavigation::new().with_fit_to_screen_enabled(false).with_zoom_and_pan_enabled(true);
        let response = GraphView::<NoState, NoLayout>::new()
            .with_interactions(&interaction)
            .with_navigations(&navigation)
            .show(ui, &mut self.graph);
        // egui_graphs fits the graph to the screen in its first frame whatever the settings say; that is taken back.
        if !std::mem::replace(&mut self.is_shown, true) {
            self.go(Move::First);
        }
        let meta = MetadataFrame::new(None).load(ui);
        self.meta = (meta.zoom, meta.pan, rect.min);
        self.minimap(ui, rect);
        self.drawn = entries_since(ui, before);
        self.events_of(&response.changes)
    }

    /// Wheel, and where the view was asked to go. Wheel zooms about the pointer.
    fn navigate(&mut self, ui: &mut Ui, rect: Rect) -> MetadataFrame {
        let mut meta = MetadataFrame::new(None).load(ui);
        let pointer = ui.input(|i| i.pointer.hover_pos()).filter(|at| rect.contains(*at));
        let wheel = ui.input(|i| i.smooth_scroll_delta().y);
        if let Some(pointer) = pointer.filter(|_| wheel != 0.0) {
            zoom_about(&mut meta, pointer - rect.min, (wheel / 240.0).exp());
        }
        let half = rect.size() / 2.0;
        match self.next.take() {
            None => {}
            Some(Move::Zoom(factor)) => zoom_about(&mut meta, half, factor),
            Some(Move::CentreOn(at)) => meta.pan = half - at.to_vec2() * meta.zoom,
            Some(Move::To(id)) => self.bring_into_view(&mut meta, &id, rect.size()),
            Some(Move::Fit) => self.show_all(&mut meta, rect.size(), *ZOOMS.start()),
            Some(Move::First) => self.show_all(&mut meta, rect.size(), FIRST_ZOOM),
        }
        meta.clone().save(ui);
        meta
    }

    fn bring_into_view(&self, meta: &mut MetadataFrame, id: &str, size: Vec2) {
        let Some(place) = self.index.get(id).and_then(|at| self.places.get(*at)) else { return };
        meta.zoom = meta.zoom.max(FIRST_ZOOM * 0.7);
        let at = vec2(place.x, place.y) * meta.zoom + meta.pan;
        let inner = Rect::from_min_size(Pos2::ZERO, size).shrink(30.0);
        let whole = Rect::from_min_size(at.to_pos2(), vec2(COLUMN_WIDTH * 0.8 * meta.zoom, 1.0));
        if !inner.contains_rect(whole) {
            meta.pan = size / 2.0 - vec2(place.x + COLUMN_WIDTH / 3.0, place.y) * meta.zoom;
        }
    }

    /// The whole tree where it fits at `least` zoom, else its beginning.
    fn show_all(&self, meta: &mut MetadataFrame, size: Vec2, least: f32) {
        const MARGIN: f32 = 36.0;
        // A tree that has just begun gets the room that it will soon need, so that the view need not change for it.
        const LEAST: Vec2 = vec2(4.0 * COLUMN_WIDTH, 16.0 * ROW_HEIGHT);
        let bounds = self.bounds();
        let bounds = Rect::from_min_size(bounds.min, bounds.size().max(LEAST));
        let room = (size - Vec2::splat(2.0 * MARGIN)).max(Vec2::splat(1.0));
        let zoom = (room.x / bounds.width()).min(room.y / bounds.height());
        meta.zoom = zoom.clamp(least, 1.25);
        let shown = bounds.size() * meta.zoom;
        let spare = ((room - shown) / 2.0).max(Vec2::ZERO);
        meta.pan = Vec2::splat(MARGIN) + vec2(spare.x.min(60.0), spare.y.min(60.0)) - bounds.min.to_vec2() * meta.zoom;
    }

    fn bounds(&self) -> Rect {
        let mut bounds = Rect::NOTHING;
        for place in self.places.iter().filter(|place| !place.hidden) {
            bounds.extend_with(pos2(place.x - 16.0, place.y - ROW_HEIGHT / 2.0));
            bounds.extend_with(pos2(place.x + COLUMN_WIDTH * 0.95, place.y + ROW_HEIGHT / 2.0));
        }
        if bounds.is_positive() { bounds } else { Rect::from_min_size(Pos2::ZERO, Vec2::splat(100.0)) }
    }

    /// The whole tree as dots with the view as a frame, where not all of it is in view. A click goes there.
    fn minimap(&mut self, ui: &mut Ui, rect: Rect) {
        let (zoom, pan, _) = self.meta;
        let bounds = self.bounds();
        let view = Rect::from_min_size((-pan / zoom).to_pos2(), rect.size() / zoom);
        if view.expand(4.0).contains_rect(bounds) || rect.width() < 320.0 {
            return;
        }
        let scale = (150.0 / bounds.width()).min(100.0 / bounds.height());
        let size = bounds.size() * scale + Vec2::splat(8.0);
        let frame = Rect::from_min_size(rect.max - size - Vec2::splat(10.0), size);
        let on_map = |at: Pos2| frame.min + Vec2::splat(4.0) + (at - bounds.min) * scale;
        let painter = ui.painter().with_clip_rect(frame);
        painter.rect(
            frame,
            CornerRadius::same(4),
            self.theme.panel,
            Stroke::new(1.0, self.theme.line),
            StrokeKind::Inside,
        );
        let step = self.places.len() / MINIMAP_DOTS + 1;
        for (at, place) in self.places.iter().enumerate().step_by(step).filter(|(_, place)| !place.hidden) {
            let Some(node) = self.graph.node(NodeIndex::new(at)) else { continue };
            painter.add(Shape::circle_filled(on_map(pos2(place.x, place.y)), 1.3, node.payload().fill));
        }
        let seen = Rect::from_min_max(on_map(view.min), on_map(view.max)).intersect(frame);
        painter.rect_stroke(seen, CornerRadius::ZERO, Stroke::new(1.5, self.theme.accent), StrokeKind::Inside);
        let response = ui.interact(frame, ui.id().with("minimap"), Sense::click_and_drag());
        if let Some(at) = response.interact_pointer_pos().filter(|_| response.clicked() || response.dragged()) {
            let target = bounds.min + (at - frame.min - Vec2::splat(4.0)) / scale;
            self.go(Move::CentreOn(target));
        }
    }

    fn events_of(&mut self, changes: &[GraphChange<u32>]) -> Vec<CanvasEvent> {
        let mut events = Vec::new();
        for change in changes {
            match change {
                GraphChange::NodeClicked { node } => events.extend(self.choose_at(*node)),
                GraphChange::NodeDoubleClicked { node } => events.extend(self.fold_at(*node)),
                _ => {}
            }
        }
        events
    }

    fn choose_at(&mut self, index: NodeIndex<u32>) -> Option<CanvasEvent> {
        let id = self.id_at(index)?;
        self.selected = Some(id.clone());
        self.arrange();
        Some(CanvasEvent::Selected { id })
    }

    fn fold_at(&mut self, index: NodeIndex<u32>) -> Option<CanvasEvent> {
        let id = self.id_at(index)?;
        let folded = !self.folded.contains(&id);
        self.set_folded(&id, folded);
        Some(CanvasEvent::Folded { id, folded })
    }

    fn id_at(&self, index: NodeIndex<u32>) -> Option<String> {
        self.view.nodes.get(index.index()).map(|node| node.id.clone())
    }
}

fn zoom_about(meta: &mut MetadataFrame, at: Vec2, factor: f32) {
    let zoom = (meta.zoom * factor).clamp(*ZOOMS.start(), *ZOOMS.end());
    meta.pan = at - (at - meta.pan) * (zoom / meta.zoom);
    meta.zoom = zoom;
}

fn num_entries(ui: &Ui) -> usize {
    let layer = ui.layer_id();
    ui.ctx().graphics(|graphics| graphics.get(layer).map_or(0, |list| list.all_entries().count()))
}

fn entries_since(ui: &Ui, before: usize) -> Vec<ClippedShape> {
    let layer = ui.layer_id();
    ui.ctx().graphics(|graphics| {
        graphics.get(layer).map(|list| list.all_entries().skip(before).cloned().collect()).unwrap_or_default()
    })
}
