//! `trex score NODE FILE`: the untouched model and a trained one on items that a person brings.

use serde::Serialize;
use trex_data::{ExampleReader, count_leaks};
use trex_domain::{DataSource, Example, FieldMap, RunState, TaskKind};
use trex_engine::{OwnItem, OwnScore, OwnScores, score_own, trained_weights};
use trex_fs::BlobStore;

use crate::args::MachineArgs;
use crate::args::score::ScoreArgs;
use crate::commands::report::latest;
use crate::error::{CliError, CommandError};
use crate::output::Output;
use crate::wiring;

/// Items on which the models differ that are shown to a person.
const SHOWN: usize = 10;

/// Longest part of a question that is shown, in characters.
const SHOWN_CHARS: usize = 70;

/// What was found, with what it rests on.
#[derive(Debug, Serialize)]
struct Found {
    #[serde(rename = "type")]
    kind: &'static str,
    node: String,
    /// Rows of the file that could not be read, or have no options where the task chooses among some.
    set_aside: usize,
    /// Items whose prompt is among the rows that the run trains on.
    trained_on: usize,
    #[serde(flatten)]
    scores: OwnScores,
}

pub(crate) fn run(args: &ScoreArgs, output: &mut Output) -> Result<(), CliError> {
    let state = latest(&args.workspace)?.state;
    let (key, adapter) = trained_weights(&state, &args.node)?;
    let model = wiring::find_model(&state.task()?.model.0)?;
    if state.model.is_some_and(|hash| hash != model.hash) {
        return Err(trex_engine::EngineError::ModelChanged { name: model.name }.into());
    }
    let (items, set_aside) = read(&state, args)?;
    let dir = args.workspace.workspace.as_path();
    let blobs = BlobStore::new(dir.join("blobs"));
    let pool: Vec<Example> = match &state.data {
        Some(data) => blobs.get_lines(&data.blobs[0])?,
        None => Vec::new(),
    };
    let machine = MachineArgs { threads: args.threads, device: args.device, reserve_bytes: 0, workers: 1 };
    let settings = wiring::run_settings(dir, model, &machine);
    let workers = wiring::workers(&settings, state.task()?)?;
    let scratch = dir.join("scratch").join(format!("score-{}", std::process::id()));
    let scores = score_own(&state, &settings, &workers, (&blobs.path(&adapter), &scratch), &items)?;
    let trained_on = count_leaks(&items, &pool);
    let found = Found { kind: "score", node: key.0.to_string(), set_aside, trained_on, scores };
    output.result(&found, || text(&found))
}

/// The items of the file, read as the task reads its own, and the number of rows that cannot be.
fn read(state: &RunState, args: &ScoreArgs) -> Result<(Vec<Example>, usize), CliError> {
    let task = state.task()?;
    let fields = match &task.data {
        DataSource::Files { fields, .. } => fields.clone(),
        DataSource::Builtin { .. } => FieldMap::default(),
    };
    let name = args.file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut reader = ExampleReader::asked(&args.file, name, &task.prompt, &fields, task.kind.row_form())?;
    let (mut items, mut set_aside, mut why) = (Vec::new(), 0, None);
    // A choice among nothing cannot be made.
    let needs_options = task.kind == TaskKind::Choice;
    while let Some(chunk) = reader.next_chunk()? {
        let read = chunk.examples.len();
        let before = items.len();
        items.extend(chunk.examples.into_iter().filter(|item| !needs_options || !item.options.is_empty()));
        why = why.or_else(|| chunk.quarantined.first().map(|row| row.reason.clone()));
        set_aside += chunk.quarantined.len() + read - (items.len() - before);
    }
    if items.is_empty() {
        let why = why.unwrap_or_else(|| "they have no options to choose from".to_owned());
        return Err(CommandError::NoItems { path: args.file.clone(), set_aside, why }.into());
    }
    Ok((items, set_aside))
}

fn text(found: &Found) -> String {
    let scores = &found.scores;
    let show = |one: &OwnScore| format!("{:.3} [{:.3}, {:.3}] n={}", one.value, one.ci95[0], one.ci95[1], one.n);
    let effect = &scores.gain.effect;
    let mut lines = vec![
        format!("{:<8} {} {}", "base", scores.metric.as_str(), show(&scores.base)),
        format!("{:<8} {} {}", found.node, scores.metric.as_str(), show(&scores.tuned)),
        format!(
            "{:<8} {:+.3} [{:+.3}, {:+.3}], paired over {} items",
            "gain", effect.diff, effect.ci95[0], effect.ci95[1], effect.n
        ),
    ];
    if !scores.gain.significant {
        lines.push("the interval does not lie above zero: on these items no gain is shown".to_owned());
    }
    if found.set_aside > 0 {
        lines.push(format!(
            "{} rows could not be read, or have no options to choose from, and were left out",
            found.set_aside
        ));
    }
    if found.trained_on > 0 {
        lines.push(format!(
            "{} items are among the rows that the run trains on: they say nothing about new ones",
            found.trained_on
        ));
    }
    let differ: Vec<&OwnItem> = scores.items.iter().filter(|one| differs(one)).collect();
    if !differ.is_empty() {
        lines.push(format!("\nitems on which they differ ({} of {}):", differ.len(), scores.items.len()));
        lines.extend(differ.iter().take(SHOWN).map(|one| line(one)));
    }
    lines.join("\n")
}

fn differs(one: &OwnItem) -> bool {
    (one.base_score - one.tuned_score).abs() > f64::EPSILON
}

fn line(one: &OwnItem) -> String {
    let flat: String = one.question.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = flat.chars().take(SHOWN_CHARS).collect();
    let mark = if one.tuned_score > one.base_score { '+' } else { '-' };
    format!("{mark} {}: {short} | right: {} | base: {} | trained: {}", one.id, one.gold, one.base, one.tuned)
}
