//! Equal seeds give equal results, other seeds do not.

use crate::outcome::Outcome;
use crate::program::Program;

#[test]
fn the_same_seed_gives_the_same_result() {
    let program = Program::with_tiny_task();
    let run = |workspace: &str, seed: &str| {
        program.succeed(&["run", "tiny.toml", "--workspace", workspace, "--seed", seed]);
        Outcome::of(&program, workspace)
    };
    let first = run("first", "5");
    let adapters = |outcome: &Outcome| -> Vec<_> {
        let trained = outcome.events.iter().filter(|event| event["type"] == "trial_trained");
        trained.map(|event| event["done"]["adapter"].as_str().unwrap().to_owned()).collect()
    };
    assert!(adapters(&first).len() >= 3);
    first.assert_equals(&run("second", "5"));
    let other = run("other", "6");
    assert_ne!(adapters(&other), adapters(&first));
}
