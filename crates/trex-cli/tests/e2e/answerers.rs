//! Who proposes, compared on the recorded surface: a model that is of no use costs a search next to nothing.

use serde_json::Value;

use crate::program::Program;

/// Searches of each answerer; `trex bench researcher` has hundreds.
const SEARCHES: &str = "12";

/// How far the mean score of a few searches may be below that of the Playbook by chance.
const LUCK: f64 = 0.02;

#[test]
fn a_model_of_no_use_makes_no_search_worse() {
    let program = Program::new();
    let surface = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/surfaces/mini-1.jsonl");
    let args = ["bench", "researcher", "--surface", surface, "--searches", SEARCHES, "--workspace", "w"];
    let found = program.json(&[&args[..], &["--answerers", "playbook,guessing,weak,garbled"]].concat());
    let answerers = found[0]["answerers"].as_array().unwrap();
    let [playbook, guessing, weak, garbled] = answerers.as_slice() else { panic!("four answerers: {found}") };
    let number = |one: &Value, key: &str| one[key].as_f64().unwrap();
    let gap = |one: &Value| one["beside_playbook"]["mean"].as_f64().unwrap();
    assert_eq!((playbook["calls"].as_u64(), gap(garbled)), (Some(0), 0.0), "no answer, no difference: {garbled}");
    assert_eq!(garbled["calls"], garbled["unusable"]);
    assert!(gap(weak) > -LUCK && gap(guessing) > -LUCK, "{weak} {guessing}");
    assert_eq!(
        weak["model_trained"].as_u64(),
        Some(0),
        "what is out of range is left out before it costs a training: {weak}"
    );
    // At most 30 % of the variants are a model's, and fewer once its record shows that they do not win.
    let trained = number(&guessing["trials"], "mean") * SEARCHES.parse::<f64>().unwrap();
    let of_model = number(guessing, "model_trained");
    assert!(of_model > 0.0 && of_model <= 0.3 * trained, "{guessing}");
    assert!(number(&guessing["trials"], "mean") <= 16.0, "the budget is the same: {guessing}");
}
