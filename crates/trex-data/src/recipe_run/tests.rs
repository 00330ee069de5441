//! Whole runs of recipe files: counts, resume, cache, splits and mixtures.

use std::fmt::Write as _;

use trex_domain::{Example, Problem as _};

use super::*;

struct Fixture {
    dir: tempfile::TempDir,
}

const RECIPE: &str = r#"
name = "test"
seed = 3

[[sources]]
path = "train.jsonl"

[split]
dev = 0.1
test = 0.1

[[operators]]
op = "normalise"

[[operators]]
op = "length_filter"
min_chars = 12
max_chars = 1000

[[operators]]
op = "exact_dedup"

[[operators]]
op = "decontaminate"
"#;

impl Fixture {
    /// 400 rows, every tenth a copy of the one before, every fiftieth broken.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut text = String::new();
        for number in 0..400 {
            let shown = if number % 10 == 9 { number - 1 } else { number };
            if number % 50 == 7 {
                writeln!(text, "{{\"text\": broken").unwrap();
            } else {
                writeln!(text, "{{\"text\":\"  the   row {shown} says word{shown}\",\"label\":\"{}\"}}", shown % 2)
                    .unwrap();
            }
        }
        std::fs::write(dir.path().join("train.jsonl"), text).unwrap();
        Self { dir }
    }

    fn run(&self, recipe: &str) -> Result<(RecipeOutcome, bool), DataError> {
        self.run_with(recipe, &mut |_| true)
    }

    fn run_with(
        &self,
        recipe: &str,
        progress: &mut dyn FnMut(&RecipeProgress) -> bool,
    ) -> Result<(RecipeOutcome, bool), DataError> {
        let recipe = RecipeFile::parse(recipe, Path::new("r.toml"))?;
        let workspace = self.dir.path().join("w");
        let request = RecipeRequest {
            recipe: &recipe,
            base: self.dir.path(),
            workspace: &workspace,
            aids: Aids::default(),
            aids_name: "",
        };
        run_recipe_file(&request, progress)
    }

    fn rows(&self, blob: &ContentHash) -> Vec<Example> {
        BlobStore::new(self.dir.path().join("w/blobs")).get_lines(blob).unwrap()
    }
}

#[test]
fn a_run_accounts_for_every_row_and_is_found_again() {
    let fixture = Fixture::new();
    let (outcome, is_cached) = fixture.run(RECIPE).unwrap();
    assert!(!is_cached);
    assert_eq!(outcome.sources[0].rows, RowCounts { input: 400, kept: 392, quarantined: 8 });
    assert!(outcome.ledger.balances() && outcome.is_decontaminated);
    assert_eq!(outcome.leaked, 0);
    assert_eq!(outcome.ledger.rows_in + outcome.rows[1] + outcome.rows[2], 392);
    assert!(outcome.rows[1] > 10 && outcome.rows[2] > 10);
    let train = fixture.rows(&outcome.train);
    assert!(train.iter().all(|row| row.prompt_text().starts_with("the row ")), "{:?}", train[0]);
    assert_eq!(outcome.traces[0].touched.len(), 3);
    let (again, is_cached) = fixture.run(RECIPE).unwrap();
    assert!(is_cached);
    assert_eq!(again, outcome);
    assert!(!fixture.dir.path().join("w/scratch").join("x").exists());
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bytes() {
    let fixture = Fixture::new();
    // More than one chunk: the file is larger than a window.
    let line = format!("{{\"text\":\"{}\",\"label\":\"1\"}}\n", "long words ".repeat(40));
    let numbered = |number: usize| line.replace("words", &format!("words{number}"));
    let text: String = (0..24_000).map(numbered).collect();
    assert!(text.len() > 2 * (4 << 20));
    std::fs::write(fixture.dir.path().join("train.jsonl"), text).unwrap();
    let recipe = RECIPE.replace("max_chars = 1000", "max_chars = 2000");
    let mut num_calls = 0;
    let stopped = fixture.run_with(&recipe, &mut |_| {
        num_calls += 1;
        num_calls < 2
    });
    assert_eq!(stopped.unwrap_err().code(), "run.stopped");
    let mut reused = 0;
    let (outcome, _) = fixture
        .run_with(&recipe, &mut |progress| {
            reused = progress.chunks_reused;
            true
        })
        .unwrap();
    assert!(reused >= 2, "{reused} chunks were there");
    let fresh = Fixture { dir: tempfile::tempdir().unwrap() };
    std::fs::copy(fixture.dir.path().join("train.jsonl"), fresh.dir.path().join("train.jsonl")).unwrap();
    assert_eq!(fresh.run(&recipe).unwrap().0, outcome);
}

#[test]
fn decontamination_without_anything_to_compare_fails_closed() {
    let fixture = Fixture::new();
    let recipe = RECIPE.replace("dev = 0.1\ntest = 0.1", "");
    assert_eq!(fixture.run(&recipe).unwrap_err().code(), "data.no_evaluation");
    let without = recipe.replace("[[operators]]\nop = \"decontaminate\"\n", "");
    assert!(!fixture.run(&without).unwrap().0.is_decontaminated);
    let text = "{\"text\":\"the row 3 says word3\",\"label\":\"1\"}\n{\"text\":\"nothing\",\"label\":\"0\"}\n";
    std::fs::write(fixture.dir.path().join("dev.jsonl"), text).unwrap();
    let with_file = recipe.replace("seed = 3", "seed = 3\nevaluation = [\"dev.jsonl\"]");
    let (outcome, _) = fixture.run(&with_file).unwrap();
    assert_eq!((outcome.leaked, outcome.is_decontaminated), (0, true));
    assert_eq!(outcome.ledger.steps[3].dropped["same prompt as an evaluation item"], 1);
}

#[test]
fn mixtures_keep_their_shares_and_balance() {
    let fixture = Fixture::new();
    let mut text = String::new();
    for number in 0..100 {
        writeln!(text, "{{\"text\":\"other question {number}\",\"label\":\"1\"}}").unwrap();
    }
    std::fs::write(fixture.dir.path().join("other.jsonl"), text).unwrap();
    let base = "name = \"m\"\n[[sources]]\npath = \"train.jsonl\"\nWEIGHT\n[[sources]]\npath = \"other.jsonl\"\nfilter = \"question [0-9]$\"\n";
    let shares = |weight: &str, mixture: &str| {
        let (outcome, _) = fixture.run(&format!("{}{mixture}", base.replace("WEIGHT", weight))).unwrap();
        assert!(outcome.ledger.balances());
        let rows = fixture.rows(&outcome.train);
        let ids: std::collections::BTreeSet<&String> = rows.iter().map(|row| &row.id).collect();
        assert_eq!(ids.len(), rows.len());
        let of = |name: &str| rows.iter().filter(|row| row.origin.source == name).count();
        [of("train.jsonl"), of("other.jsonl")]
    };
    assert_eq!(shares("", ""), [392, 10]);
    assert_eq!(shares("weight = 0.5", ""), [196, 10]);
    assert_eq!(shares("weight = 2.0", ""), [784, 10]);
    assert_eq!(shares("count = 50", ""), [50, 10]);
    let tempered = shares("", "[mixture]\ntemperature = 2.0\n");
    assert!(tempered[1] > 50 && tempered.iter().sum::<usize>().abs_diff(402) <= 2, "{tempered:?}");
}

#[test]
fn a_budget_keeps_the_first_rows() {
    let fixture = Fixture::new();
    let (outcome, _) = fixture.run(&format!("{RECIPE}\n[budget]\nexamples = 20\ncharacters = 300\n")).unwrap();
    assert!(outcome.rows[0] < 20 && outcome.rows[0] > 5, "{:?}", outcome.rows);
    assert_eq!(outcome.ledger.steps.last().unwrap().operator, "budget");
}
