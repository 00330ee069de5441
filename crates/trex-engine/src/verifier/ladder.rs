//! What a dry run says of a proposal. The dry run itself is made in [`crate::run`]; nothing is computed here.

use trex_domain::{BudgetLimit, DryRunDone, DryRunFailure, FailureClass, TrainConfig};

use super::rules::mib;
use super::{Proposal, Rejection};

/// What is wrong with a proposal whose dry run did not come to its end.
pub(crate) fn failed_dry_run(failed: &DryRunFailure, config: &TrainConfig) -> Rejection {
    let batch = config.per_device_train_batch_size;
    match failed.class {
        FailureClass::OutOfMemory => {
            let no = Rejection::new(
                "verify.memory",
                format!("a micro-batch of the longest rows does not fit into memory ({})", failed.message),
                "lower per_device_train_batch_size and raise gradient_accumulation_steps, shorten the rows, or quantise \
                 the base",
            );
            let no = no.value("per_device_train_batch_size", batch);
            if batch < 2 {
                return no;
            }
            let accumulation = config.effective_batch_size().div_ceil(batch / 2);
            no.fixed_by("per_device_train_batch_size", batch / 2).fixed_by("gradient_accumulation_steps", accumulation)
        }
        FailureClass::Diverged => Rejection::new(
            "verify.not_finite",
            format!("the first micro-batch does not come to a number: {}", failed.message),
            "look at the weights of the model, or take another number format",
        )
        .value("precision", format!("{:?}", config.precision).to_lowercase()),
        _ => Rejection::new(
            "verify.dry_run",
            format!("the dry run failed: {}", failed.message),
            failed
                .hint
                .as_deref()
                .unwrap_or("mend what the message names, or take a model, rows or settings that fit each other"),
        )
        .value("error", &failed.code),
    }
}

/// Holds what a dry run measured against the machine and the budget; the forecast of the proposal is one that knows it.
pub(crate) fn check_dry_run(proposal: &Proposal<'_>, done: &DryRunDone) -> Result<(), Rejection> {
    let config = &proposal.variant.config;
    if done.row_supervised == 0 {
        let what = format!("none of the tokens of {} rows carries loss", done.rows);
        let no = Rejection::new("verify.no_tokens", what, "check the template, the columns and max_length");
        return Err(no.value("tokens", done.row_tokens));
    }
    let machine = proposal.machine_bytes;
    if machine > 0 && done.peak_rss_bytes >= machine / 10 * 9 {
        let what = format!(
            "a micro-batch of the longest rows took {} MiB, the machine has {} MiB",
            mib(done.peak_rss_bytes),
            mib(machine)
        );
        let advice = "lower per_device_train_batch_size and raise gradient_accumulation_steps, or quantise the base";
        let no = Rejection::new("verify.memory", what, advice);
        return Err(no.value("per_device_train_batch_size", config.per_device_train_batch_size));
    }
    match proposal.task.budget.broken_by(&proposal.spent, &proposal.forecast, 0) {
        None | Some(BudgetLimit::Trials) => Ok(()),
        Some(limit) => {
            let what =
                format!("by the time of a micro-batch, a full trial would break the budget's limit {}", limit.as_str());
            let no = Rejection::new("verify.budget", what, "take fewer steps or shorter rows, or raise the limit");
            Err(no
                .value("forecast_s", format!("{:.1}", proposal.forecast.wall_s))
                .value("spent_s", format!("{:.1}", proposal.spent.wall_s))
                .value("micro_batch_s", format!("{:.3}", done.micro_batch.wall_s)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(class: FailureClass) -> DryRunFailure {
        DryRunFailure { class, code: "chat.no_template".to_owned(), message: "it went wrong".to_owned(), hint: None }
    }

    #[test]
    fn a_dry_run_that_fails_names_the_rule_the_values_and_the_fix() {
        let config =
            TrainConfig { per_device_train_batch_size: 6, gradient_accumulation_steps: 2, ..TrainConfig::default() };
        let no = failed_dry_run(&failed(FailureClass::OutOfMemory), &config);
        let fix: Vec<(&str, &str)> = no.fix.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(no.code, "verify.memory");
        assert_eq!(fix, [("gradient_accumulation_steps", "4"), ("per_device_train_batch_size", "3")]);
        let single = TrainConfig { per_device_train_batch_size: 1, ..config.clone() };
        assert!(failed_dry_run(&failed(FailureClass::OutOfMemory), &single).fix.is_empty(), "there is no smaller one");
        assert_eq!(failed_dry_run(&failed(FailureClass::Diverged), &config).code, "verify.not_finite");
        let no = failed_dry_run(&failed(FailureClass::Config), &config);
        assert_eq!((no.code, no.values["error"].as_str()), ("verify.dry_run", "chat.no_template"));
        assert!(no.reason().contains("it went wrong") && no.reason().contains("; mend"), "{}", no.reason());
        let again = no.clone().known_from(&trex_testkit::variant_id("s1.e1.a"));
        assert_eq!((again.code, &again.values, &again.fix), (no.code, &no.values, &no.fix));
        assert!(again.reason().contains("known from the dry run of s1.e1.a"), "{}", again.reason());
    }
}
