//! The page's types are those of the shell: generated, committed, compared. `TREX_UPDATE=1` writes them.

use std::fmt::Write as _;
use std::path::Path;

use trex_app as app;
use ts_rs::{Config, TS};

fn declaration<T: TS>() -> String {
    format!("export {}\n\n", T::decl(&Config::default()))
}

fn bindings() -> String {
    let parts = [
        declaration::<app::ShellError>(),
        declaration::<app::Theme>(),
        declaration::<app::Language>(),
        declaration::<app::Settings>(),
        declaration::<app::WorkspaceCard>(),
        declaration::<app::ExampleTask>(),
        declaration::<app::HomeView>(),
        declaration::<app::StartRequest>(),
        declaration::<app::DroppedKind>(),
        declaration::<app::Dropped>(),
        declaration::<trex_explorer::NodeKind>(),
        declaration::<trex_explorer::NodeState>(),
        declaration::<trex_explorer::ShownScore>(),
        declaration::<trex_explorer::TreeNode>(),
        declaration::<trex_explorer::TreeView>(),
        declaration::<trex_explorer::NetKind>(),
        declaration::<trex_explorer::NetNode>(),
        declaration::<trex_explorer::NetEffect>(),
        declaration::<trex_explorer::NetEdge>(),
        declaration::<trex_explorer::NetView>(),
        declaration::<app::BudgetView>(),
        declaration::<app::DecisionView>(),
        declaration::<app::TimelinePoint>(),
        declaration::<app::FailureView>(),
        declaration::<app::RunView>(),
        declaration::<app::Progress>(),
        declaration::<app::Update>(),
        declaration::<app::LogLine>(),
        declaration::<app::Word>(),
        declaration::<app::Wish>(),
        declaration::<app::QueueWish>(),
        declaration::<app::ScoreRow>(),
        declaration::<app::BenchTable>(),
    ];
    let mut text = "// Generated from the types of src-tauri by its test `bindings`; do not edit.\n\n".to_owned();
    for part in parts {
        write!(text, "{part}").unwrap();
    }
    text.trim_end().to_owned() + "\n"
}

#[test]
fn bindings_are_the_generated_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui/src/lib/bindings.ts");
    if std::env::var_os("TREX_UPDATE").is_some() {
        std::fs::write(&path, bindings()).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, bindings(), "run the tests of src-tauri with TREX_UPDATE=1");
}
