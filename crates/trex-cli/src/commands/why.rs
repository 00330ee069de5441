//! `trex why NODE`: what the search chose as far as it concerns a node, with the candidates and their numbers, and what a person
//! ordered.

use serde_json::json;
use trex_engine::{action_text, actions_about, order_text};

use crate::args::NodeArgs;
use crate::commands::report::latest;
use crate::error::{CliError, CommandError};
use crate::output::Output;

pub(crate) fn run(args: &NodeArgs, output: &mut Output) -> Result<(), CliError> {
    let state = latest(&args.workspace)?.foreseen(&args.workspace.workspace).state;
    let unknown = || CommandError::UnknownNode { name: args.node.clone() };
    let actions = actions_about(&state, &args.node).ok_or_else(unknown)?;
    let orders: Vec<_> = state.orders_about(&args.node).collect();
    let value = json!({"node": args.node, "orders": orders, "actions": actions});
    output.result(&value, || {
        if actions.is_empty() && orders.is_empty() {
            return format!("nothing was chosen yet that concerns {}", args.node);
        }
        let orders = orders.iter().map(|record| order_text(record) + "\n");
        let texts: Vec<String> = orders.chain(actions.iter().map(|record| action_text(record))).collect();
        texts.join("\n").trim_end().to_owned()
    })
}
