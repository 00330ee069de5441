//! The search tree as an SVG picture: left to right, colour for score against the base, shape for state, a ring round the
//! best. A picture only; the table below it in the report carries the same data for those who cannot see it.

use std::collections::BTreeMap;

use trex_domain::{NodeReport, NodeState, Report, VariantReport, escape_html as escape};

use super::text::{
    diff_text, effect_text, effect_word, known_score, put, score_interval, short_diff, state_text, state_word,
};

const CARD_WIDTH: f64 = 252.0;
const CARD_HEIGHT: f64 = 46.0;
const COLUMN: f64 = 286.0;
const ROW: f64 = 60.0;
const MARGIN: f64 = 12.0;
const SWATCH: f64 = 32.0;
/// Differences from the base that are smaller than this never get a full colour.
const SMALLEST_SCALE: f64 = 0.05;
/// Characters of a title that fit on a card.
const TITLE_CHARS: usize = 25;

/// Draws the tree; empty where the report has no nodes.
pub(super) fn tree_svg(report: &Report) -> String {
    let cards = cards(report);
    if cards.is_empty() {
        return String::new();
    }
    let places = places(&cards);
    let scale = colour_scale(&cards);
    let width = places.iter().map(|place| place.0).fold(0.0, f64::max) + CARD_WIDTH + MARGIN;
    let height = places.iter().map(|place| place.1).fold(0.0, f64::max) + CARD_HEIGHT + MARGIN;
    let mut svg = String::new();
    put!(
        svg,
        "<svg class=\"tree\" role=\"img\" aria-label=\"{}\" width=\"{width:.0}\" style=\"--width: {width:.0}px\" \
         viewBox=\"0 0 {width:.0} {height:.0}\">\n",
        escape(&tree_label(report))
    );
    for (index, card) in cards.iter().enumerate() {
        if let Some(parent) = card.parent {
            edge(&mut svg, places[parent], places[index], card.on_best_path);
        }
    }
    for (card, place) in cards.iter().zip(&places) {
        draw_card(&mut svg, card, *place, scale);
    }
    svg.push_str("</svg>");
    svg
}

/// Explains colours, shapes and line widths as HTML with small pictures.
pub(super) fn tree_legend(report: &Report) -> String {
    let cards = cards(report);
    let scale = colour_scale(&cards);
    let mut out = String::from("<div class=\"legend\">");
    put!(out, "<span class=\"key\">{:+.2} ", -scale);
    out.push_str("<svg width=\"90\" height=\"12\" aria-hidden=\"true\">");
    for step in 0..9_u32 {
        let share = f64::from(step) / 4.0 - 1.0;
        put!(out, "<rect x=\"{}\" width=\"10\" height=\"12\" fill=\"{}\"/>", step * 10, colour(share).0);
    }
    put!(out, "</svg> {scale:+.2} against the base</span>");
    let mut states: Vec<_> = cards.iter().filter_map(|card| card.state).collect();
    states.sort_unstable();
    states.dedup();
    for state in states {
        put!(
            out,
            "<span class=\"key\"><svg width=\"18\" height=\"18\" viewBox=\"-9 -9 18 18\" aria-hidden=\"true\" \
             class=\"ink\">{}</svg>{}</span>",
            state_shape(state),
            state_word(report, state)
        );
    }
    out.push_str(
        "<span class=\"key\"><svg width=\"26\" height=\"16\" aria-hidden=\"true\"><rect class=\"ring\" x=\"2\" y=\"2\" \
         width=\"22\" height=\"12\" rx=\"4\"/></svg>best</span><span class=\"key\"><svg width=\"26\" height=\"8\" \
         aria-hidden=\"true\"><path class=\"edge best\" d=\"M1 4H25\"/></svg>path to the best</span></div>",
    );
    out
}

/// One box of the picture.
struct Card {
    id: String,
    parent: Option<usize>,
    depth: u32,
    title: String,
    score: String,
    /// Score minus the base's, on the same split where possible.
    delta: Option<f64>,
    /// State, for variants.
    state: Option<NodeState>,
    best: bool,
    on_best_path: bool,
    tooltip: String,
}

/// Boxes of nodes and variants; a parent always comes before its children.
fn cards(report: &Report) -> Vec<Card> {
    let base = report.nodes.first().and_then(|root| root.value);
    let best = report.best.as_ref().map(|best| best.variant.as_str().to_owned());
    let mut cards: Vec<Card> = Vec::new();
    let mut index_of: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &report.nodes {
        // A parent that is missing or comes later would break the layout; such a node hangs on the root.
        let parent = node.parent.as_ref().and_then(|parent| index_of.get(parent.as_str()).copied());
        let parent = if cards.is_empty() { None } else { Some(parent.unwrap_or(0)) };
        let depth = parent.and_then(|parent| cards.get(parent)).map_or(0, |parent| parent.depth + 1);
        let index = cards.len();
        cards.push(node_card(report, node, parent, depth, base));
        index_of.insert(node.id.as_str(), index);
        for variant in &node.variants {
            let mut card = variant_card(report, variant, index, depth + 1);
            card.best = best.as_deref() == Some(variant.id.as_str());
            cards.push(card);
        }
    }
    mark_best_path(&mut cards);
    cards
}

fn node_card(report: &Report, node: &NodeReport, parent: Option<usize>, depth: u32, base: Option<f64>) -> Card {
    let mut tooltip = format!("{}: {}", node.id, node.title);
    if let Some(strategy) = &node.strategy {
        put!(tooltip, "\n{}: {}", strategy.kind.as_str(), strategy.hypothesis);
    }
    if let Some(comparison) = &node.comparison {
        let word = effect_word(&comparison.effect, comparison.significant);
        put!(tooltip, "\nagainst the incumbent: {} ({word})", effect_text(&comparison.effect));
    }
    let score = match node.value {
        Some(value) if parent.is_none() => format!("{value:.3} on select"),
        Some(value) => format!("best {value:.3}"),
        None => "no select score".to_owned(),
    };
    let delta = node.value.zip(base).map(|(value, base)| report.merit(value - base));
    Card {
        id: node.id.to_string(),
        parent,
        depth,
        title: node.title.clone(),
        score,
        delta,
        state: None,
        best: false,
        on_best_path: false,
        tooltip,
    }
}

fn variant_card(report: &Report, variant: &VariantReport, parent: usize, depth: u32) -> Card {
    let base = report.nodes.first().and_then(|root| root.value);
    let state = state_text(report, variant);
    let known = known_score(variant);
    let score = known.map_or_else(|| state.to_owned(), score_interval);
    let mut tooltip = format!("{} ({state})\n{}\n{}", variant.id, diff_text(&variant.diff), variant.why);
    if let Some(known) = known {
        put!(tooltip, "\n{} split: {}, n={}", known.split, score_interval(known), known.n);
    }
    if let Some(note) = &variant.note {
        put!(tooltip, "\n{note}");
    }
    Card {
        id: variant.id.to_string(),
        parent: Some(parent),
        depth,
        title: short_diff(&variant.diff),
        score,
        delta: known.map(|score| score.score).zip(base).map(|(value, base)| report.merit(value - base)),
        state: Some(variant.state),
        best: false,
        on_best_path: false,
        tooltip,
    }
}

fn mark_best_path(cards: &mut [Card]) {
    let mut current = cards.iter().position(|card| card.best);
    while let Some(card) = current.and_then(|index| cards.get_mut(index)) {
        card.on_best_path = true;
        current = card.parent;
    }
}

/// Top left corner of every card: leaves take rows in order of a walk from the root, parents stand in the middle of
/// their children. Iterative, so depth is no limit.
fn places(cards: &[Card]) -> Vec<(f64, f64)> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); cards.len()];
    for (index, card) in cards.iter().enumerate() {
        if let Some(parent) = card.parent {
            children[parent].push(index);
        }
    }
    let mut rows = vec![0.0; cards.len()];
    let mut next_row = 0_u32;
    let mut stack = vec![0];
    while let Some(index) = stack.pop() {
        if children[index].is_empty() {
            rows[index] = f64::from(next_row);
            next_row += 1;
        }
        stack.extend(children[index].iter().rev());
    }
    // Children come after their parent in the list, so going backwards every child is placed first.
    for index in (0..cards.len()).rev() {
        if let (Some(first), Some(last)) = (children[index].first(), children[index].last()) {
            rows[index] = f64::midpoint(rows[*first], rows[*last]);
        }
    }
    let place = |(card, row): (&Card, &f64)| (MARGIN + f64::from(card.depth) * COLUMN, MARGIN + row * ROW);
    cards.iter().zip(&rows).map(place).collect()
}

/// The difference from the base that gets the full colour.
fn colour_scale(cards: &[Card]) -> f64 {
    let largest = cards.iter().filter_map(|card| card.delta).map(f64::abs).fold(SMALLEST_SCALE, f64::max);
    (largest * 20.0).ceil() / 20.0
}

/// Fill and ink for a share in [-1, 1] of the scale: brown over grey to blue, which stays apart in the common kinds of
/// colour blindness (ends as in ColorBrewer's diverging schemes).
fn colour(share: f64) -> (String, &'static str) {
    const BELOW: [f64; 3] = [179.0, 88.0, 6.0];
    const MIDDLE: [f64; 3] = [214.0, 217.0, 222.0];
    const ABOVE: [f64; 3] = [24.0, 94.0, 168.0];
    let share = if share.is_finite() { share.clamp(-1.0, 1.0) } else { 0.0 };
    let end = if share < 0.0 { BELOW } else { ABOVE };
    let mix = |index: usize| (MIDDLE[index] + (end[index] - MIDDLE[index]) * share.abs()).round();
    let [red, green, blue] = [mix(0), mix(1), mix(2)];
    let luma = 0.299 * red + 0.587 * green + 0.114 * blue;
    (format!("rgb({red} {green} {blue})"), if luma < 140.0 { "#ffffff" } else { "#15181d" })
}

fn edge(svg: &mut String, from: (f64, f64), to: (f64, f64), best: bool) {
    let (x1, y1) = (from.0 + CARD_WIDTH, from.1 + CARD_HEIGHT / 2.0);
    let (x2, y2) = (to.0, to.1 + CARD_HEIGHT / 2.0);
    let middle = f64::midpoint(x1, x2);
    let class = if best { "edge best" } else { "edge" };
    put!(
        svg,
        "<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}C{middle:.1} {y1:.1} {middle:.1} {y2:.1} {x2:.1} {y2:.1}\"/>\n"
    );
}

fn draw_card(svg: &mut String, card: &Card, (x, y): (f64, f64), scale: f64) {
    put!(svg, "<g transform=\"translate({x:.1} {y:.1})\"><title>{}</title>", escape(&card.tooltip));
    if card.best {
        let (width, height) = (CARD_WIDTH + 8.0, CARD_HEIGHT + 8.0);
        put!(svg, "<rect class=\"ring\" x=\"-4\" y=\"-4\" width=\"{width}\" height=\"{height}\" rx=\"11\"/>");
    }
    put!(svg, "<rect class=\"card\" width=\"{CARD_WIDTH}\" height=\"{CARD_HEIGHT}\" rx=\"8\"/>");
    let (fill, ink) = match card.delta {
        Some(delta) => {
            let (fill, ink) = colour(delta / scale);
            (format!("fill=\"{fill}\""), ink)
        }
        None => ("class=\"blank\"".to_owned(), "currentColor"),
    };
    let (right, bottom) = (SWATCH, CARD_HEIGHT - 8.0);
    put!(
        svg,
        "<path {fill} d=\"M8 0H{right}V{CARD_HEIGHT}H8a8 8 0 0 1 -8 -8V8a8 8 0 0 1 8 -8z\"/>\
         <g transform=\"translate({:.1} {:.1})\" color=\"{ink}\" class=\"mark\">{}</g>",
        SWATCH / 2.0,
        CARD_HEIGHT / 2.0,
        card.state.map_or(NODE_SHAPE, state_shape)
    );
    // A nested picture cuts off what a wider font than expected would draw beyond the card.
    let text_width = CARD_WIDTH - right - 12.0;
    put!(
        svg,
        "<svg x=\"{}\" width=\"{text_width}\" height=\"{CARD_HEIGHT}\"><text class=\"name\" y=\"19\">{}</text>\
         <text class=\"score\" y=\"{}\"><tspan class=\"id\">{}</tspan> {}</text></svg></g>\n",
        right + 9.0,
        escape(&shortened(&card.title)),
        bottom - 3.0,
        escape(&card.id),
        escape(&card.score)
    );
}

fn shortened(title: &str) -> String {
    if title.chars().count() <= TITLE_CHARS {
        return title.to_owned();
    }
    let head: String = title.chars().take(TITLE_CHARS - 1).collect();
    format!("{}…", head.trim_end())
}

/// Strategies and experiments: a plain square, so that it is not taken for a state.
const NODE_SHAPE: &str = "<rect x=\"-4\" y=\"-4\" width=\"8\" height=\"8\" rx=\"1.5\" fill=\"currentColor\"/>";

/// The second channel beside colour: one shape per state, drawn around the origin in a square of 14.
fn state_shape(state: NodeState) -> &'static str {
    match state {
        NodeState::Proposed => {
            "<circle r=\"5\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.6\" stroke-dasharray=\"2 2\"/>"
        }
        NodeState::Verified => "<circle r=\"5\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.8\"/>",
        NodeState::Rejected => {
            "<path d=\"M-4.5 -4.5L4.5 4.5M4.5 -4.5L-4.5 4.5\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"2.2\"/>"
        }
        NodeState::Cached => "<path d=\"M-5.5 -2.5H5.5M-5.5 2.5H5.5\" stroke=\"currentColor\" stroke-width=\"2.2\"/>",
        NodeState::Running => "<path d=\"M-4 -5.5L5.5 0L-4 5.5z\" fill=\"currentColor\"/>",
        NodeState::Evaluated => "<circle r=\"5\" fill=\"currentColor\"/>",
        NodeState::Promoted => "<path d=\"M0 -5.5L5.5 4.5H-5.5z\" fill=\"currentColor\"/>",
        NodeState::Pruned => {
            "<path d=\"M0 5.5L-5.5 -4.5H5.5z\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.8\"/>"
        }
        NodeState::Failed => "<path d=\"M0 -6V1.5M0 4V6\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"2.6\"/>",
    }
}

fn tree_label(report: &Report) -> String {
    let strategies = report.nodes.iter().filter(|node| node.strategy.is_some()).count();
    let variants: usize = report.nodes.iter().map(|node| node.variants.len()).sum();
    let best =
        report.best.as_ref().map_or("none beat the base".to_owned(), |best| format!("the best is {}", best.variant));
    format!("Search tree: {strategies} strategies, {variants} variants, {best}. The table below has the same data.")
}

#[cfg(test)]
mod tests {
    use super::super::sample::sample_report;
    use super::*;

    #[test]
    fn no_two_cards_overlap_and_parents_stand_left_of_children() {
        let cards = cards(&sample_report());
        let places = places(&cards);
        assert_eq!(cards.len(), 5 + 6);
        for (index, (card, place)) in cards.iter().zip(&places).enumerate() {
            if let Some(parent) = card.parent {
                assert!(places[parent].0 + CARD_WIDTH < place.0);
            }
            for other in &places[index + 1..] {
                let apart = (place.0 - other.0).abs() > CARD_WIDTH || (place.1 - other.1).abs() > CARD_HEIGHT;
                assert!(apart, "{}", card.id);
            }
        }
    }

    #[test]
    fn the_path_to_the_best_is_marked_from_the_root() {
        let cards = cards(&sample_report());
        let path: Vec<_> = cards.iter().filter(|card| card.on_best_path).map(|card| card.id.as_str()).collect();
        assert_eq!(path, ["base", "s1", "s1.e1", "s1.e1.a"]);
        let svg = tree_svg(&sample_report());
        assert_eq!(svg.matches("class=\"edge best\"").count(), 3);
        assert_eq!(svg.matches("class=\"ring\"").count(), 1);
    }

    #[test]
    fn colours_run_from_brown_over_grey_to_blue() {
        assert_eq!(colour(-1.0), ("rgb(179 88 6)".to_owned(), "#ffffff"));
        assert_eq!(colour(0.0), ("rgb(214 217 222)".to_owned(), "#15181d"));
        assert_eq!(colour(2.0), ("rgb(24 94 168)".to_owned(), "#ffffff"));
        assert_eq!(colour(f64::NAN).0, colour(0.0).0);
    }

    #[test]
    fn a_report_with_unknown_parents_is_still_drawn() {
        let mut report = sample_report();
        report.nodes.remove(1);
        assert!(tree_svg(&report).contains("s1.e1.a"));
        report.nodes.clear();
        assert_eq!(tree_svg(&report), "");
    }

    #[test]
    fn a_deep_chain_is_laid_out_without_recursion() {
        let card = |index: usize| Card {
            id: index.to_string(),
            parent: index.checked_sub(1),
            depth: u32::try_from(index).unwrap(),
            title: String::new(),
            score: String::new(),
            delta: None,
            state: None,
            best: false,
            on_best_path: false,
            tooltip: String::new(),
        };
        let cards: Vec<_> = (0..50_000).map(card).collect();
        assert!(places(&cards).iter().all(|place| (place.1 - MARGIN).abs() < 1e-9));
    }
}
