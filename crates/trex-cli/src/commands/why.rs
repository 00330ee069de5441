//! `trex why NODE`: what the search chose as far as it concerns a node, with the candidates and their numbers.

use serde_json::json;
use trex_engine::{action_text, actions_about};

use crate::args::NodeArgs;
use crate::commands::report::latest;
use crate::error::{CliError, CommandError};
use crate::output::Output;

pub(crate) fn run(args: &NodeArgs, output: &mut Output) -> Result<(), CliError> {
    let state = latest(&args.workspace)?.state;
    let unknown = || CommandError::UnknownNode { name: args.node.clone() };
    let actions = actions_about(&state, &args.node).ok_or_else(unknown)?;
    let value = json!({"node": args.node, "actions": actions});
    output.result(&value, || {
        if actions.is_empty() {
            return format!("nothing was chosen yet that concerns {}", args.node);
        }
        let texts: Vec<String> = actions.iter().map(|record| action_text(record)).collect();
        texts.join("\n").trim_end().to_owned()
    })
}
