//! How one node and one line are drawn with egui_graphs. Draws nothing outside the view and less the farther away it is;
//! decides neither colours nor places.

use std::sync::Arc;

use egui::epaint::{CircleShape, TextShape};
use egui::{Align2, Color32, CornerRadius, FontId, Pos2, Rect, Shape, Stroke, StrokeKind, Vec2, pos2, vec2};
use egui_graphs::{DisplayEdge, DisplayNode, DrawContext, EdgeProps, Node, NodeProps};
use petgraph::Directed;

use crate::look::Theme;
use crate::{COLUMN_WIDTH, NodeKind};

/// Below this zoom a node is a dot.
pub(crate) const DOTS_BELOW: f32 = 0.38;
/// From this zoom on there are scores and curves.
const WHOLE_FROM: f32 = 0.6;
/// Distance of the vertical part of a line to the children's column.
pub(crate) const SPINE: f32 = 22.0;
/// Longest label at zoom 1.
const LABEL_WIDTH: f32 = COLUMN_WIDTH - 58.0;

/// What a node looks like, made once per change of the tree. Shared, because egui_graphs copies nodes for every line.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent marks of one node")]
pub(crate) struct Look {
    pub(crate) kind: NodeKind,
    pub(crate) fill: Color32,
    pub(crate) ring: Color32,
    pub(crate) running: bool,
    pub(crate) radius: f32,
    /// Upwards where better than the base, downwards where worse, with the whole interval.
    pub(crate) direction: Direction,
    pub(crate) name: String,
    pub(crate) score: String,
    /// Low, value, high and base, each as a share of the width of the band.
    pub(crate) band: Option<[f32; 4]>,
    pub(crate) spark: Vec<f32>,
    pub(crate) is_best: bool,
    pub(crate) on_best_path: bool,
    /// Marked with a flag.
    pub(crate) pinned: bool,
    /// Struck through.
    pub(crate) forbidden: bool,
    /// Outside the filter.
    pub(crate) faded: bool,
    pub(crate) hidden: bool,
    pub(crate) folded: usize,
    pub(crate) theme: Theme,
}

/// What a score says about the base, in a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// No score, or the base lies within its interval.
    Level,
    /// The interval lies above the base.
    Up,
    /// The interval lies below the base.
    Down,
}

/// A node.
#[derive(Clone, Debug)]
pub(crate) struct NodeShape {
    look: Arc<Look>,
    at: Pos2,
    selected: bool,
    hovered: bool,
}

impl From<NodeProps<Arc<Look>>> for NodeShape {
    fn from(props: NodeProps<Arc<Look>>) -> Self {
        let at = props.location();
        Self { look: props.payload, at, selected: props.selected, hovered: props.hovered }
    }
}

impl DisplayNode<Arc<Look>, EdgeLook, Directed, u32> for NodeShape {
    fn closest_boundary_point(&self, dir: Vec2) -> Pos2 {
        self.at + dir.normalized() * self.look.radius
    }

    fn shapes(&mut self, ctx: &DrawContext<'_>) -> Vec<Shape> {
        let zoom = ctx.meta.zoom;
        let centre = ctx.meta.canvas_to_screen_pos(self.at);
        let whole = Rect::from_min_size(centre - vec2(20.0, 24.0) * zoom, vec2(COLUMN_WIDTH, 48.0) * zoom);
        if self.look.hidden || !ctx.painter.clip_rect().intersects(whole) {
            return Vec::new();
        }
        let mut shapes = Vec::new();
        if zoom >= DOTS_BELOW {
            self.label(ctx, centre, zoom, &mut shapes);
        }
        self.mark(centre, zoom, &mut shapes);
        if zoom >= WHOLE_FROM {
            shapes.extend(self.band(centre, zoom));
            shapes.extend(self.spark(centre, zoom));
        }
        shapes
    }

    fn update(&mut self, state: &NodeProps<Arc<Look>>) {
        self.at = state.location();
        self.selected = state.selected;
        self.hovered = state.hovered;
        if !Arc::ptr_eq(&self.look, &state.payload) {
            self.look = Arc::clone(&state.payload);
        }
    }

    fn is_inside(&self, pos: Pos2) -> bool {
        let target = Rect::from_min_max(self.at - vec2(12.0, 13.0), self.at + vec2(LABEL_WIDTH, 13.0));
        !self.look.hidden && target.contains(pos)
    }
}

impl NodeShape {
    fn faint(&self, colour: Color32) -> Color32 {
        if self.look.faded { colour.gamma_multiply(0.25) } else { colour }
    }

    /// The mark itself: kind and direction as a shape, gain as colour, state as a ring, cost as size.
    fn mark(&self, centre: Pos2, zoom: f32, shapes: &mut Vec<Shape>) {
        let look = &self.look;
        let radius = (look.radius * zoom).max(1.6);
        let (fill, ring) = (self.faint(look.fill), self.faint(look.ring));
        if zoom < DOTS_BELOW {
            let radius = if look.on_best_path { radius.max(3.0) } else { radius };
            shapes.push(CircleShape::filled(centre, radius, fill).into());
            return;
        }
        if self.selected {
            let halo = Stroke::new(2.5, look.theme.accent);
            shapes.push(CircleShape::stroke(centre, radius + 5.0, halo).into());
        } else if self.hovered {
            shapes.push(CircleShape::stroke(centre, radius + 4.0, Stroke::new(1.0, look.theme.accent)).into());
        }
        let stroke = Stroke::new(if look.running { 2.5 } else { 1.5 }, ring);
        shapes.push(match (look.kind, look.direction) {
            (NodeKind::Base | NodeKind::Strategy, _) => {
                let rect = Rect::from_center_size(centre, Vec2::splat(radius * 1.8));
                let rounding = if look.kind == NodeKind::Base { 0 } else { 3 };
                Shape::Rect(egui::epaint::RectShape::new(
                    rect,
                    CornerRadius::same(rounding),
                    fill,
                    stroke,
                    StrokeKind::Middle,
                ))
            }
            (NodeKind::Experiment, _) => polygon(centre, radius * 1.2, &DIAMOND, fill, stroke),
            (NodeKind::Variant, Direction::Up) => polygon(centre, radius * 1.25, &UP, fill, stroke),
            (NodeKind::Variant, Direction::Down) => polygon(centre, radius * 1.25, &DOWN, fill, stroke),
            (NodeKind::Variant, Direction::Level) => CircleShape { center: centre, radius, fill, stroke }.into(),
        });
        if look.running {
            shapes.push(CircleShape::stroke(centre, radius + 3.0, Stroke::new(1.0, ring)).into());
        }
        self.orders(centre, radius, shapes);
    }

    /// What a person ordered: a flag on what is pinned, a stroke through what is forbidden.
    fn orders(&self, centre: Pos2, radius: f32, shapes: &mut Vec<Shape>) {
        let stroke = Stroke::new(2.0, self.faint(self.look.theme.text));
        if self.look.forbidden {
            let arm = vec2(radius + 3.0, -radius - 3.0);
            shapes.push(Shape::line_segment([centre - arm, centre + arm], stroke));
        }
        if self.look.pinned {
            let (foot, top) = (centre + vec2(0.0, -radius), centre + vec2(0.0, -radius - 11.0));
            shapes.push(Shape::line_segment([foot, top], stroke));
            let flag = vec![top, top + vec2(8.0, 3.0), top + vec2(0.0, 6.0)];
            shapes.push(Shape::convex_polygon(flag, self.faint(self.look.theme.accent), Stroke::NONE));
        }
    }

    /// Name and score on a ground that hides the line behind them.
    fn label(&self, ctx: &DrawContext<'_>, centre: Pos2, zoom: f32, shapes: &mut Vec<Shape>) {
        let look = &self.look;
        let size = (14.5 * zoom).clamp(10.0, 20.0);
        let left = centre + vec2((look.radius + 7.0) * zoom, 0.0);
        let has_score = zoom >= WHOLE_FROM && !look.score.is_empty();
        let folded = if look.folded > 0 { format!("  +{}", look.folded) } else { String::new() };
        let name = format!("{}{folded}", look.name);
        let name_colour = self.faint(if look.is_best { look.theme.accent } else { look.theme.text });
        let row = vec2(0.0, if has_score { -7.0 * zoom } else { 0.0 });
        let name = text(ctx, left + row, &name, size, name_colour, LABEL_WIDTH * zoom);
        let mut rect = name.visual_bounding_rect();
        let score = has_score.then(|| {
            let colour = self.faint(look.theme.dim);
            text(ctx, left + vec2(0.0, 8.0 * zoom), &look.score, size * 0.85, colour, LABEL_WIDTH * zoom)
        });
        if let Some(score) = &score {
            rect = rect.union(score.visual_bounding_rect());
        }
        shapes.push(Shape::rect_filled(rect.expand2(vec2(4.0, 1.0)), CornerRadius::same(3), look.theme.panel));
        shapes.push(name.into());
        shapes.extend(score.map(Shape::from));
    }

    /// The interval as a bar, the value as a mark on it, the base as a line across.
    fn band(&self, centre: Pos2, zoom: f32) -> Vec<Shape> {
        const WIDTH: f32 = 64.0;
        let Some([low, value, high, base]) = self.look.band else { return Vec::new() };
        let left = centre + vec2(self.look.radius + 7.0, 16.5) * zoom;
        let at = |share: f32| left + vec2(share * WIDTH * zoom, 0.0);
        let colour = self.faint(self.look.fill);
        let base_line = Stroke::new(1.0, self.faint(self.look.theme.dim));
        vec![
            Shape::line_segment([at(low), at(high)], Stroke::new(3.0 * zoom, colour.gamma_multiply(0.45))),
            CircleShape::filled(at(value), 2.3 * zoom, colour).into(),
            Shape::line_segment([at(base) - vec2(0.0, 3.5 * zoom), at(base) + vec2(0.0, 3.5 * zoom)], base_line),
        ]
    }

    fn spark(&self, centre: Pos2, zoom: f32) -> Option<Shape> {
        let points = &self.look.spark;
        let (low, high) = points.iter().fold((f32::MAX, f32::MIN), |(low, high), at| (low.min(*at), high.max(*at)));
        if points.len() < 2 || high <= low {
            return None;
        }
        let left = centre + vec2(self.look.radius + 80.0, 21.0) * zoom;
        let step = 44.0 * zoom / (points.len() - 1) as f32;
        let height = 9.0 * zoom;
        let at = |(index, loss): (usize, &f32)| left + vec2(index as f32 * step, -height * (loss - low) / (high - low));
        let line = points.iter().enumerate().map(at).collect();
        Some(Shape::line(line, Stroke::new(1.2, self.faint(self.look.theme.dim))))
    }
}

const DIAMOND: [(f32, f32); 4] = [(0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)];
const UP: [(f32, f32); 3] = [(0.0, -1.0), (0.95, 0.7), (-0.95, 0.7)];
const DOWN: [(f32, f32); 3] = [(0.0, 1.0), (-0.95, -0.7), (0.95, -0.7)];

fn polygon(centre: Pos2, radius: f32, corners: &[(f32, f32)], fill: Color32, stroke: Stroke) -> Shape {
    let points = corners.iter().map(|(x, y)| centre + vec2(*x, *y) * radius).collect();
    Shape::convex_polygon(points, fill, stroke)
}

/// One line of text, cut with an ellipsis.
fn text(ctx: &DrawContext<'_>, left: Pos2, words: &str, size: f32, colour: Color32, width: f32) -> TextShape {
    let mut job = egui::text::LayoutJob::simple_singleline(words.to_owned(), FontId::proportional(size), colour);
    job.wrap = egui::text::TextWrapping::truncate_at_width(width);
    let galley = ctx.painter.layout_job(job);
    let rect = Align2::LEFT_CENTER.anchor_size(left, galley.size());
    TextShape::new(rect.min, galley, colour)
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum EdgeLook {
    /// From a parent to a child, in the colours of the child.
    Branch,
    /// Between two things of a net.
    Link {
        /// Its colour.
        colour: Color32,
        /// Its width.
        width: f32,
    },
}

/// A line: from a parent out, along the children's column, in; between things of a net a soft curve.
#[derive(Clone, Debug)]
pub(crate) struct EdgeShape {
    look: EdgeLook,
}

impl From<EdgeProps<EdgeLook>> for EdgeShape {
    fn from(props: EdgeProps<EdgeLook>) -> Self {
        Self { look: props.payload }
    }
}

type End = Node<Arc<Look>, EdgeLook, Directed, u32, NodeShape>;

impl DisplayEdge<Arc<Look>, EdgeLook, Directed, u32, NodeShape> for EdgeShape {
    fn shapes(&mut self, start: &End, end: &End, ctx: &DrawContext<'_>) -> Vec<Shape> {
        let look = end.payload();
        let (from, to) =
            (ctx.meta.canvas_to_screen_pos(start.location()), ctx.meta.canvas_to_screen_pos(end.location()));
        let view = ctx.painter.clip_rect().expand(8.0);
        if look.hidden || !view.intersects(Rect::from_two_pos(from, to)) {
            return Vec::new();
        }
        let is_far = ctx.meta.zoom < DOTS_BELOW;
        if let EdgeLook::Link { colour, width } = self.look {
            let faded = look.faded || start.payload().faded;
            let colour = if faded { colour.gamma_multiply(0.35) } else { colour };
            return vec![link(from, to, ctx.meta.zoom, Stroke::new(if is_far { width / 2.0 } else { width }, colour))];
        }
        let best = look.on_best_path && start.payload().on_best_path;
        let colour = if best { look.theme.accent } else { look.theme.line };
        let colour = if look.faded { colour.gamma_multiply(0.35) } else { colour };
        let thin = if is_far { 0.6 } else { 1.2 };
        let stroke = Stroke::new(if best { 3.0 } else { thin }, colour);
        let spine = to.x - SPINE * ctx.meta.zoom;
        let mut points = vec![from, pos2(spine, from.y), pos2(spine, to.y), to];
        points.dedup();
        vec![Shape::line(points, stroke)]
    }

    fn update(&mut self, props: &EdgeProps<EdgeLook>) {
        self.look = props.payload;
    }

    fn is_inside(&self, _: &End, _: &End, _: Pos2) -> bool {
        false
    }
}

/// Leaves and enters sideways, so that it does not run through the labels above and below; within a column it bows out.
fn link(from: Pos2, to: Pos2, zoom: f32, stroke: Stroke) -> Shape {
    let same_column = (from.x - to.x).abs() < 1.0;
    let reach = if same_column { vec2(-60.0 * zoom, 0.0) } else { vec2((to.x - from.x) / 2.0, 0.0) };
    let into = if same_column { to + reach } else { to - reach };
    let curve = [from, from + reach, into, to];
    Shape::CubicBezier(egui::epaint::CubicBezierShape::from_points_stroke(curve, false, Color32::TRANSPARENT, stroke))
}
