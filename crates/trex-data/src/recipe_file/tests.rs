//! Recipes in files: canonical form, hashes, complaints, differences, and that the parser survives anything.

use proptest::prelude::*;
use trex_domain::Problem as _;

use super::*;

const FULL: &str = r#"
name = "reviews"
seed = 7
evaluation = ["dev.tsv"]

[[sources]]
path = "train.tsv"
weight = 2.0
[sources.fields]
input = "0"
answer = "1"

[[sources]]
path = "more"
count = 100
filter = "film"

[mixture]
temperature = 2.0

[split]
dev = 0.1
test = 0.1

[[operators]]
op = "normalise"

[[operators]]
op = "near_dedup"
threshold = 0.9

[[operators]]
op = "decontaminate"

[budget]
examples = 1000
"#;

fn parsed(text: &str) -> Result<RecipeFile, DataError> {
    RecipeFile::parse(text, Path::new("r.toml"))
}

#[test]
fn defaults_are_filled_in_and_the_canonical_form_reads_the_same() {
    let recipe = parsed(FULL).unwrap();
    assert_eq!(recipe.operators[1], Operator::NearDedup { threshold: 0.9, shingle_words: 3 });
    assert_eq!(recipe.operators[2], Operator::Decontaminate { ngram_words: 8, max_overlap: 0.7 });
    let canonical = recipe.to_toml().unwrap();
    let again = parsed(&canonical).unwrap();
    assert_eq!((&again, again.to_toml().unwrap()), (&recipe, canonical));
}

/// The golden hash holds on every machine; it changes only with the form of the type, which is a new version then.
#[test]
fn the_hash_depends_on_what_is_said_and_not_on_how() {
    let small = "name = \"n\"\nseed = 0\n[[sources]]\npath = \"a\"\n[[operators]]\nop = \"cap\"\nrows = 5\n";
    let other = "[[operators]]\nrows = 5\nop = \"cap\"\n[[sources]]\nweight = 1.0\npath = \"a\"\n[mixture]\n";
    let other = format!("name = \"n\"\n{other}");
    let hash = parsed(small).unwrap().hash().unwrap();
    assert_eq!(parsed(&other).unwrap().hash().unwrap(), hash);
    assert_ne!(parsed(&small.replace("= 5", "= 6")).unwrap().hash().unwrap(), hash);
    assert_eq!(&hash.to_string()[..16], GOLDEN_HASH);
}

const GOLDEN_HASH: &str = "559473a1a9d6aba1";

#[track_caller]
fn check_refused(from: &str, to: &str, code: &str, told: &str) {
    assert!(FULL.contains(from), "{from}");
    let err = parsed(&FULL.replacen(from, to, 1)).unwrap_err();
    assert_eq!(err.code(), code, "{err}");
    let text = format!("{err} {}", err.hint().unwrap_or_default());
    assert!(text.contains(told), "{text}");
}

#[test]
fn mistakes_are_named_with_place_and_suggestion() {
    check_refused("threshold =", "treshold =", "recipe.unknown_key", "did you mean \"threshold\"?");
    check_refused("threshold =", "treshold =", "recipe.unknown_key", "r.toml:30:1");
    check_refused("\"near_dedup\"", "\"near_dup\"", "recipe.unknown_operator", "did you mean \"near_dedup\"?");
    check_refused("[mixture]", "[mixtur]", "recipe.unknown_key", "did you mean \"mixture\"?");
    check_refused("weight = 2.0", "wight = 2.0", "recipe.unknown_key", "did you mean \"weight\"?");
    check_refused("answer = \"1\"", "anser = \"1\"", "recipe.unknown_key", "did you mean \"answer\"?");
    check_refused("weight = 2.0", "weight = 0.0", "data.bad_parameter", "above 0");
    check_refused("threshold = 0.9", "threshold = 1.9", "data.bad_parameter", "near_dedup.threshold");
    check_refused("threshold = 0.9", "threshold = \"x\"", "recipe.refused", "r.toml");
    check_refused("filter = \"film\"", "filter = \"(\"", "data.bad_pattern", "sources.pattern");
    check_refused("dev = 0.1", "dev = 0.95", "data.bad_parameter", "below 1");
    check_refused("temperature = 2.0", "temperature = 0.5", "data.bad_parameter", "at least 1");
    check_refused("name = \"reviews\"", "", "recipe.refused", "name");
    check_refused("[budget]", "[budget", "recipe.refused", "r.toml");
}

#[test]
fn differences_are_named_setting_by_setting() {
    let before = parsed(FULL).unwrap();
    assert!(diff_recipes(&before, &before).unwrap().is_empty());
    let other = FULL.replace("threshold = 0.9", "threshold = 0.8").replace("op = \"normalise\"", "op = \"shuffle\"");
    let changes = diff_recipes(&before, &parsed(&other).unwrap()).unwrap();
    let names: Vec<&str> = changes.iter().map(|change| change.setting.as_str()).collect();
    assert_eq!(
        names,
        ["operators.near_dedup.threshold", "operators.normalise.op", "operators.order", "operators.shuffle.op"]
    );
    assert_eq!((changes[0].before.as_deref(), changes[0].after.as_deref()), (Some("0.9"), Some("0.8")));
    assert_eq!((changes[3].before.as_deref(), changes[3].after.as_deref()), (None, Some("\"shuffle\"")));
}

#[test]
fn every_operator_and_parameter_is_documented() {
    let docs = operator_docs();
    assert_eq!(docs.len(), 34);
    for operator in &docs {
        assert!(operator.doc.len() > 15, "{operator:?}");
        assert!(operator.parameters.iter().all(|parameter| parameter.doc.len() > 8), "{operator:?}");
    }
}

#[test]
fn the_committed_schema_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/schemas/recipe.schema.json");
    if std::env::var_os("TREX_UPDATE").is_some() {
        trex_fs::write_atomic(&path, recipe_schema().as_bytes()).unwrap();
    }
    let committed = trex_fs::read_to_string(&path).unwrap();
    assert!(committed == recipe_schema(), "recipe.schema.json is out of date: run this test once with TREX_UPDATE=1");
}

proptest! {
    #[test]
    fn no_text_is_too_wild_for_the_parser(text in "[\\[\\]{}=\"a-z_0-9.,#'\\\\ \n-]{0,160}", cut in 0_usize..600) {
        parsed(&text).ok();
        let cut = cut.min(FULL.len());
        parsed(&format!("{}{text}{}", &FULL[..cut], &FULL[cut..])).ok();
    }
}
