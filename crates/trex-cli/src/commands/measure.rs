//! `trex measure`: times single parts of the program for `cargo xtask bench`. Hidden: its output is for that command.

use trex_domain::{Backend, Precision};
use trex_train::{EvalPlan, StepPlan, measure_eval, measure_products, measure_steps};

use crate::args::{MeasureArgs, MeasureCommand};
use crate::commands::measure_kb;
use crate::error::CliError;
use crate::output::Output;

pub(crate) fn run(args: &MeasureArgs, output: &mut Output) -> Result<(), CliError> {
    let precision = |bf16: bool| if bf16 { Precision::Bf16 } else { Precision::F32 };
    match &args.command {
        MeasureCommand::Steps { model, batch, seq, steps, rank, supervised, bf16, quantization, autograd } => {
            let plan = StepPlan {
                batch: *batch,
                seq: *seq,
                steps: *steps,
                rank: *rank,
                supervised: *supervised,
                precision: precision(*bf16),
                quantization: *quantization,
                backend: if *autograd { Backend::Autograd } else { Backend::Auto },
            };
            let times = measure_steps(model, &plan)?;
            output.result(&times, || format!("{times:?}"))
        }
        MeasureCommand::Eval { model, prompts, prompt_tokens, shared_tokens, new_tokens, repeats, bf16 } => {
            let plan = EvalPlan {
                prompts: *prompts,
                prompt_tokens: *prompt_tokens,
                shared_tokens: *shared_tokens,
                new_tokens: *new_tokens,
                repeats: *repeats,
                precision: precision(*bf16),
            };
            let times = measure_eval(model, &plan)?;
            output.result(&times, || format!("{times:?}"))
        }
        MeasureCommand::Kb { folder, passages, questions } => {
            let times = measure_kb::measure(folder, *passages, *questions)?;
            output.result(&times, || format!("{times:?}"))
        }
        MeasureCommand::Product => {
            let rates = measure_products();
            output.result(&rates, || format!("{rates:?}"))
        }
    }
}
