//! The tree from far away, where a node is a dot and has no label: all of it in one mesh, made in one pass over the nodes.
//! egui_graphs looks at every node and copies both ends of every line in each frame, and each dot is tessellated on its own,
//! which at 10,000 nodes is more than a frame has time for. Pan, zoom and choice are as they are near by.

use egui::{Color32, Mesh, Pos2, Rect, Sense, Shape, Stroke, Ui, Vec2, pos2, vec2};
use egui_graphs::MetadataFrame;
use petgraph::stable_graph::NodeIndex;

use super::{Canvas, CanvasEvent, TreeGraph, zoom_about};
use crate::shapes::{DOTS_BELOW, Look, SPINE};

/// Pixels from a dot within which a click means it.
const REACH: f32 = 8.0;
/// Width of a line and of one on the way to the best.
const LINES: [f32; 2] = [0.8, 2.5];
/// Lines of one column that are closer than this cannot be told apart, and one of them is enough.
const APART: f32 = 0.75;
/// From this radius on a dot shows its corners and is drawn with eight of them.
const ROUND_FROM: f32 = 2.2;

/// The lines from one node to its children: out to their column, and along it.
#[derive(Clone, Copy)]
struct Spine {
    x: f32,
    top: f32,
    bottom: f32,
    colour: Color32,
}

impl Canvas {
    /// Whether the view is so far away that nodes are dots. A net has few things and shows its labels sooner.
    pub(super) fn is_far(&self, meta: &MetadataFrame) -> bool {
        self.net.is_none() && self.is_shown && meta.zoom < DOTS_BELOW
    }

    /// Draws the dots and says what was done to them.
    pub(super) fn far(&mut self, ui: &mut Ui, rect: Rect, mut meta: MetadataFrame) -> Vec<CanvasEvent> {
        let response = ui.allocate_rect(rect, Sense::click_and_drag());
        meta.pan += response.drag_delta();
        let pinch = ui.input(egui::InputState::zoom_delta);
        if let Some(pointer) = response.hover_pos().filter(|_| (pinch - 1.0).abs() > f32::EPSILON) {
            zoom_about(&mut meta, pointer - rect.min, pinch);
        }
        self.meta = (meta.zoom, meta.pan, rect.min);
        meta.save(ui);
        let painter = ui.painter().with_clip_rect(rect);
        painter.add(Shape::mesh(self.far_mesh(rect)));
        if let Some(at) = self.selected.as_deref().and_then(|id| self.position_of(id)) {
            painter.circle_stroke(at, 6.0, Stroke::new(2.0, self.theme.accent));
        }
        let hit = response.interact_pointer_pos().and_then(|at| self.nearest(at));
        match hit {
            Some(at) if response.double_clicked() => self.fold_at(at).into_iter().collect(),
            Some(at) if response.clicked() => self.choose_at(at).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// The node nearest to a place on the screen, where one is near.
    fn nearest(&self, at: Pos2) -> Option<NodeIndex<u32>> {
        let (zoom, pan, origin) = self.meta;
        let distance = |index: usize| {
            let place = self.places.get(index).filter(|place| !place.hidden)?;
            Some((origin + pan + vec2(place.x, place.y) * zoom).distance(at))
        };
        let near = (0..self.places.len()).filter_map(|index| Some((index, distance(index)?)));
        let nearest = near.filter(|(_, distance)| *distance <= REACH).min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(NodeIndex::new(nearest.0))
    }

    fn far_mesh(&self, rect: Rect) -> Mesh {
        let (zoom, pan, origin) = self.meta;
        let on_screen = |at: Pos2| origin + pan + at.to_vec2() * zoom;
        let view = rect.expand(8.0);
        let mut mesh = Mesh::default();
        let mut best = Mesh::default();
        let mut dots = Mesh::default();
        let mut spines: Vec<Option<Spine>> = vec![None; self.places.len()];
        for (at, parent) in self.parents.iter().enumerate() {
            let Some((place, look)) = shown(&self.graph, at) else { continue };
            let to = on_screen(place);
            if view.contains(to) {
                dot(&mut dots, to, look, zoom);
            }
            let Some((parent_at, (start, above))) = parent.and_then(|at| Some((at, shown(&self.graph, at)?))) else {
                continue;
            };
            let (from, x) = (on_screen(start), to.x - SPINE * zoom);
            let colour = if look.faded { look.theme.line.gamma_multiply(0.35) } else { look.theme.line };
            if look.on_best_path && above.on_best_path {
                let corners = [from, pos2(x, from.y), pos2(x, to.y), to];
                corners.windows(2).for_each(|ends| line(&mut best, ends[0], ends[1], LINES[1], look.theme.accent));
            }
            let spine = spines[parent_at].get_or_insert(Spine { x, top: from.y, bottom: from.y, colour });
            let is_apart = to.y < spine.top - APART || to.y > spine.bottom + APART || (to.y - from.y).abs() < APART;
            (spine.top, spine.bottom) = (spine.top.min(to.y), spine.bottom.max(to.y));
            if is_apart && view.intersects(Rect::from_two_pos(pos2(x, to.y), to)) {
                line(&mut mesh, pos2(x, to.y), to, LINES[0], colour);
            }
        }
        for (at, spine) in spines.iter().enumerate() {
            let Some((spine, (start, _))) = spine.and_then(|spine| Some((spine, shown(&self.graph, at)?))) else {
                continue;
            };
            let from = on_screen(start);
            let (top, bottom) = (pos2(spine.x, spine.top), pos2(spine.x, spine.bottom));
            if view.intersects(Rect::from_two_pos(top, bottom).union(Rect::from_two_pos(from, top))) {
                line(&mut mesh, from, pos2(spine.x, from.y), LINES[0], spine.colour);
                line(&mut mesh, top, bottom, LINES[0], spine.colour);
            }
        }
        mesh.append(best);
        mesh.append(dots);
        mesh
    }
}

/// Place and look of a node that is not folded away.
fn shown(graph: &TreeGraph, at: usize) -> Option<(Pos2, &Look)> {
    let node = graph.node(NodeIndex::new(at))?;
    let look: &Look = node.payload();
    (!look.hidden).then(|| (node.location(), look))
}

/// A line along an axis, as two triangles.
fn line(mesh: &mut Mesh, from: Pos2, to: Pos2, width: f32, colour: Color32) {
    mesh.add_colored_rect(Rect::from_two_pos(from, to).expand(width / 2.0), colour);
}

fn dot(mesh: &mut Mesh, centre: Pos2, look: &Look, zoom: f32) {
    let radius = (look.radius * zoom).max(if look.on_best_path { 3.0 } else { 1.6 });
    let fill = if look.faded { look.fill.gamma_multiply(0.25) } else { look.fill };
    if radius < ROUND_FROM {
        // As large as a disc of that radius.
        let half = radius * 0.886;
        mesh.add_colored_rect(Rect::from_center_size(centre, Vec2::splat(2.0 * half)), fill);
        return;
    }
    let first = u32::try_from(mesh.vertices.len()).unwrap_or(u32::MAX);
    for corner in 0..8_u32 {
        let angle = (corner as f32 + 0.5) * std::f32::consts::FRAC_PI_4;
        mesh.colored_vertex(centre + Vec2::angled(angle) * radius, fill);
    }
    (1..7).for_each(|corner| mesh.add_triangle(first, first + corner, first + corner + 1));
}
