//! `trex pin`, `unpin`, `forbid`, `allow` and `branch`: a person's orders about the search tree.

use trex_domain::Order;
use trex_engine::{OrderBox, give_order};

use crate::args::orders::{BranchArgs, ForbidArgs, PartArgs};
use crate::commands::report::latest;
use crate::commands::review::changes;
use crate::error::CliError;
use crate::output::Output;

pub(crate) fn pin(args: &PartArgs, output: &mut Output) -> Result<(), CliError> {
    give(args, Order::Pin, output)
}

pub(crate) fn unpin(args: &PartArgs, output: &mut Output) -> Result<(), CliError> {
    give(args, Order::Unpin, output)
}

pub(crate) fn forbid(args: &ForbidArgs, output: &mut Output) -> Result<(), CliError> {
    give(&args.part, Order::Forbid { reason: args.reason.clone() }, output)
}

pub(crate) fn allow(args: &PartArgs, output: &mut Output) -> Result<(), CliError> {
    give(args, Order::Allow, output)
}

pub(crate) fn branch(args: &BranchArgs, output: &mut Output) -> Result<(), CliError> {
    let order = Order::Branch { changes: changes(&args.set)?, reason: args.reason.clone() };
    give(&args.part, order, output)
}

fn give(args: &PartArgs, order: Order, output: &mut Output) -> Result<(), CliError> {
    let latest = latest(&args.workspace)?;
    let desk = OrderBox::of(&args.workspace.workspace);
    let given = give_order(&latest.state, latest.run, &desk, args.node.clone(), order)?;
    output.result(&given, || {
        let next =
            if latest.at_work { "the run takes it before its next step" } else { "`trex resume` goes on with it" };
        format!("{}; {next}", given.words())
    })
}
