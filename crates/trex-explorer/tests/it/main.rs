//! The canvas without a screen: trees of every size are drawn, clicked and left alone.

#![expect(clippy::unwrap_used, reason = "a test may end at the first surprise")]

use std::fmt::Write as _;

use egui_kittest::Harness;
use trex_explorer::{
    Canvas, CanvasEvent, Filter, NetEdge, NetKind, NetNode, NetView, NodeKind, NodeState, ShownScore, TreeNode,
    TreeView,
};

struct Screen {
    canvas: Canvas,
    events: Vec<CanvasEvent>,
}

fn node(id: &str, parent: Option<&str>, kind: NodeKind, state: NodeState) -> TreeNode {
    TreeNode {
        id: id.to_owned(),
        parent: parent.map(str::to_owned),
        kind,
        state,
        title: String::new(),
        strategy: None,
        score: None,
        gain: None,
        cost_s: 1.0,
        on_best_path: false,
        is_best: false,
        spark: Vec::new(),
        note: None,
        pinned: false,
        forbidden_by: None,
    }
}

/// A base with one strategy, one experiment, and variants in these states, which have scores.
fn small(states: &[NodeState]) -> TreeView {
    let mut nodes = vec![
        node("base", None, NodeKind::Base, NodeState::Evaluated),
        node("s1", Some("base"), NodeKind::Strategy, NodeState::Evaluated),
        node("s1.e1", Some("s1"), NodeKind::Experiment, NodeState::Evaluated),
    ];
    nodes[0].score = Some(ShownScore { split: "select".to_owned(), value: 0.5, low: 0.45, high: 0.55, n: 400 });
    nodes[0].gain = Some(0.0);
    for (at, state) in states.iter().enumerate() {
        let mut leaf = node(&format!("s1.e1.{at}"), Some("s1.e1"), NodeKind::Variant, *state);
        let value = 0.4 + 0.1 * at as f64;
        leaf.score =
            Some(ShownScore { split: "select".to_owned(), value, low: value - 0.04, high: value + 0.04, n: 400 });
        leaf.gain = Some(value - 0.5);
        leaf.spark = vec![3.0, 2.0, 1.5];
        nodes.push(leaf);
    }
    TreeView { metric: "accuracy".to_owned(), nodes }
}

fn large(num_nodes: usize) -> TreeView {
    let mut nodes = vec![node("base", None, NodeKind::Base, NodeState::Evaluated)];
    let mut at = 0;
    while nodes.len() < num_nodes {
        at += 1;
        let (strategy, experiment) = (format!("s{at}"), format!("s{at}.e1"));
        nodes.push(node(&strategy, Some("base"), NodeKind::Strategy, NodeState::Evaluated));
        nodes.push(node(&experiment, Some(&strategy), NodeKind::Experiment, NodeState::Evaluated));
        for leaf in 0..20 {
            let id = format!("{experiment}.{leaf}");
            nodes.push(node(&id, Some(&experiment), NodeKind::Variant, NodeState::Pruned));
        }
    }
    nodes.truncate(num_nodes);
    TreeView { metric: "accuracy".to_owned(), nodes }
}

fn harness(view: TreeView) -> Harness<'static, Screen> {
    let mut canvas = Canvas::default();
    canvas.set_animated(false);
    canvas.set_tree(view);
    let screen = Screen { canvas, events: Vec::new() };
    let ui = |ui: &mut egui::Ui, screen: &mut Screen| {
        let events = screen.canvas.ui(ui);
        screen.events.extend(events);
    };
    let mut harness = Harness::builder().with_size([1000.0, 640.0]).with_step_dt(1.0 / 60.0).build_ui_state(ui, screen);
    harness.run_steps(6);
    harness
}

fn press(harness: &mut Harness<'_, Screen>, pos: egui::Pos2) {
    for pressed in [true, false] {
        let button = egui::PointerButton::Primary;
        harness.event(egui::Event::PointerButton { pos, button, pressed, modifiers: egui::Modifiers::NONE });
        harness.run_steps(2);
    }
}

/// The texts on the screen, from top to bottom.
fn texts(harness: &Harness<'_, Screen>) -> String {
    let mut found = Vec::new();
    for clipped in &harness.output().shapes {
        collect(&clipped.shape, &mut found);
    }
    found.sort_by_key(|(x, y, _): &(i64, i64, String)| (*x, *y));
    found.into_iter().fold(String::new(), |mut all, (_, _, text)| {
        writeln!(all, "{text}").unwrap();
        all
    })
}

fn collect(shape: &egui::Shape, found: &mut Vec<(i64, i64, String)>) {
    match shape {
        egui::Shape::Vec(shapes) => shapes.iter().for_each(|shape| collect(shape, found)),
        egui::Shape::Text(text) => {
            #[expect(clippy::cast_possible_truncation, reason = "pixels of a small screen")]
            let at = (text.pos.y.round() as i64, text.pos.x.round() as i64);
            found.push((at.0, at.1, text.galley.text().to_owned()));
        }
        _ => {}
    }
}

#[test]
fn an_empty_tree_draws_nothing_and_does_not_fail() {
    assert_eq!(texts(&harness(TreeView::default())), "");
}

#[test]
fn a_small_tree_reads_like_this() {
    let states = [NodeState::Failed, NodeState::Running, NodeState::Evaluated];
    let expected = "\
base
0.500 [0.450, 0.550] n=400
s1
s1.e1
s1.e1.0 failed
0.400 [0.360, 0.440] n=400
s1.e1.1 running
0.500 [0.460, 0.540] n=400
s1.e1.2
0.600 [0.560, 0.640] n=400
";
    let shown = texts(&harness(small(&states)));
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&shown), sorted(expected), "{shown}");
}

#[test]
fn what_a_person_ordered_is_told_in_words_and_by_a_line() {
    let mut view = small(&[NodeState::Evaluated; 2]);
    let before = harness(view.clone()).output().shapes.len();
    (view.nodes[1].pinned, view.nodes[3].forbidden_by) = (true, Some("s1.e1.0".to_owned()));
    view.nodes[4].forbidden_by = Some("s1.e1".to_owned());
    let harness = harness(view);
    let shown = texts(&harness);
    for line in ["s1 pinned", "s1.e1.0 forbidden", "s1.e1.1 forbidden"] {
        assert!(shown.lines().any(|one| one == line), "{line} in {shown}");
    }
    assert!(harness.output().shapes.len() > before, "a flag and a stroke are shapes beside the words");
}

#[test]
fn a_single_node_is_not_blown_up() {
    let zoom = harness(large(1)).state().canvas.zoom();
    assert!((0.5..=1.3).contains(&zoom), "{zoom}");
}

#[test]
fn a_folded_node_says_how_many_are_hidden() {
    let mut harness = harness(small(&[NodeState::Evaluated; 3]));
    harness.state_mut().canvas.set_folded("s1", true);
    harness.run_steps(4);
    let shown = texts(&harness);
    assert!(shown.contains("s1  +4") && !shown.contains("s1.e1"), "{shown}");
    harness.state_mut().canvas.select(Some("s1.e1.2"));
    harness.run_steps(4);
    assert!(texts(&harness).contains("s1.e1.2"), "what is chosen is unfolded");
}

#[test]
fn a_click_chooses_the_node_under_it() {
    let mut harness = harness(small(&[NodeState::Evaluated; 3]));
    let at = harness.state().canvas.position_of("s1.e1.1").unwrap();
    harness.hover_at(at);
    harness.run_steps(2);
    press(&mut harness, at);
    assert_eq!(harness.state().events, [CanvasEvent::Selected { id: "s1.e1.1".to_owned() }]);
    assert_eq!(harness.state().canvas.selected(), Some("s1.e1.1"));
}

#[test]
fn from_far_away_a_dot_can_be_chosen_folded_and_dragged() {
    let mut harness = harness(large(1_000));
    harness.state_mut().canvas.fit();
    harness.run_steps(4);
    assert!(texts(&harness).is_empty(), "from far away there are no labels");
    let id = "s7.e1".to_owned();
    let at = harness.state().canvas.position_of(&id).unwrap();
    harness.hover_at(at);
    harness.run_steps(2);
    press(&mut harness, at);
    assert_eq!(harness.state().events, [CanvasEvent::Selected { id: id.clone() }]);
    press(&mut harness, at);
    assert_eq!(harness.state().events.last(), Some(&CanvasEvent::Folded { id: id.clone(), folded: true }));

    let before = harness.state().canvas.position_of("base").unwrap();
    let button = egui::PointerButton::Primary;
    let (from, to) = (egui::pos2(900.0, 600.0), egui::pos2(860.0, 570.0));
    let modifiers = egui::Modifiers::NONE;
    harness.event(egui::Event::PointerButton { pos: from, button, pressed: true, modifiers });
    harness.run_steps(2);
    harness.hover_at(to);
    harness.run_steps(2);
    harness.event(egui::Event::PointerButton { pos: to, button, pressed: false, modifiers });
    harness.run_steps(4);
    let after = harness.state().canvas.position_of("base").unwrap();
    assert!((after - before - egui::vec2(-40.0, -30.0)).length() < 1.0, "{before:?} {after:?}");
}

#[test]
fn nothing_is_drawn_anew_where_nothing_happens() {
    for num_nodes in [1, 1_000] {
        let mut harness = harness(large(num_nodes));
        let drawn = harness.state().canvas.num_drawn();
        harness.run_steps(20);
        assert_eq!(harness.state().canvas.num_drawn(), drawn, "{num_nodes} nodes");
        harness.state_mut().canvas.fit();
        harness.run_steps(4);
        assert!(harness.state().canvas.num_drawn() > drawn);
    }
}

#[test]
fn what_stands_still_looks_as_it_did_when_it_was_drawn() {
    let mut harness = harness(small(&[NodeState::Evaluated; 3]));
    let drawn = texts(&harness);
    harness.run_steps(20);
    assert_eq!(texts(&harness), drawn);
}

#[test]
fn large_trees_are_drawn_whole_and_near_by() {
    for num_nodes in [1_000, 10_000] {
        let mut harness = harness(large(num_nodes));
        let near = texts(&harness);
        assert!(near.contains("s1.e1"), "labels near by");
        harness.state_mut().canvas.fit();
        harness.run_steps(4);
        let screen = &harness.state().canvas;
        let corners = ["base".to_owned(), screen.tree().nodes.last().unwrap().id.clone()];
        for id in corners {
            let at = screen.position_of(&id).unwrap();
            assert!((0.0..1000.0).contains(&at.x) && (0.0..640.0).contains(&at.y), "{id} at {at:?} of {num_nodes}");
        }
    }
}

#[test]
fn a_filter_and_another_tree_leave_the_rest_alone() {
    let mut harness = harness(small(&[NodeState::Evaluated; 3]));
    let before = harness.state().canvas.position_of("s1.e1.1").unwrap();
    harness.state_mut().canvas.set_filter(Filter { text: "e1.2".to_owned(), ..Filter::default() });
    harness.state_mut().canvas.set_tree(small(&[NodeState::Evaluated; 4]));
    harness.run_steps(4);
    assert_eq!(harness.state().canvas.position_of("s1.e1.1"), Some(before));
}

/// A task that a setting improves, and a paper about it.
fn net() -> NetView {
    let node = |id: &str, kind, label: &str| NetNode { id: id.to_owned(), kind, label: label.to_owned() };
    let edge = |from: &str, to: &str, kind: &str| NetEdge {
        from: from.to_owned(),
        to: to.to_owned(),
        kind: kind.to_owned(),
        effect: None,
        weight: None,
    };
    NetView {
        nodes: vec![
            node("paper:1", NetKind::Paper, "Rates"),
            node("parameter:learning_rate", NetKind::Parameter, "learning_rate"),
            node("task:1", NetKind::Task, "mini-1"),
        ],
        edges: vec![
            edge("paper:1", "parameter:learning_rate", "mentions"),
            edge("parameter:learning_rate", "task:1", "improves"),
            edge("parameter:learning_rate", "gone", "has"),
        ],
    }
}

#[test]
fn a_net_is_shown_chosen_from_and_left_alone() {
    let mut harness = harness(TreeView::default());
    harness.state_mut().canvas.set_net(net());
    harness.run_steps(6);
    let shown = texts(&harness);
    for text in ["Rates", "paper", "learning_rate", "parameter", "mini-1", "task"] {
        assert!(shown.lines().any(|line| line == text), "{text} in {shown}");
    }
    let at = harness.state().canvas.position_of("task:1").unwrap();
    harness.hover_at(at);
    harness.run_steps(2);
    press(&mut harness, at);
    assert_eq!(harness.state().canvas.selected(), Some("task:1"));
    harness.run_steps(6);
    let drawn = harness.state().canvas.num_drawn();
    harness.run_steps(20);
    assert_eq!(harness.state().canvas.num_drawn(), drawn);
    harness.state_mut().canvas.set_tree(small(&[NodeState::Evaluated; 3]));
    harness.run_steps(6);
    let shown = texts(&harness);
    assert!(shown.contains("s1.e1.2") && !shown.contains("mini-1"), "{shown}");
}
