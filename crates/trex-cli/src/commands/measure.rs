//! `trex measure`: times single parts of the program for `cargo xtask bench`. Hidden: its output is for that command.

use trex_domain::{Backend, Precision};
use trex_train::{StepPlan, measure_products, measure_steps};

use crate::args::{MeasureArgs, MeasureCommand};
use crate::error::CliError;
use crate::output::Output;

pub(crate) fn run(args: &MeasureArgs, output: &mut Output) -> Result<(), CliError> {
    let MeasureCommand::Steps { model, batch, seq, steps, rank, supervised, bf16, quantization, autograd } =
        &args.command
    else {
        let rates = measure_products();
        return output.result(&rates, || format!("{rates:?}"));
    };
    let plan = StepPlan {
        batch: *batch,
        seq: *seq,
        steps: *steps,
        rank: *rank,
        supervised: *supervised,
        precision: if *bf16 { Precision::Bf16 } else { Precision::F32 },
        quantization: *quantization,
        backend: if *autograd { Backend::Autograd } else { Backend::Auto },
    };
    let times = measure_steps(model, &plan)?;
    output.result(&times, || format!("{times:?}"))
}
