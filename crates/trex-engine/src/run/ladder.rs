//! The fail-fast ladder below the lowest rung: ten rows through the template, one micro-batch forward and backward in a worker.
//! What fails there is rejected and costs no trial. Judges nothing itself; the verifier does.

use trex_domain::{
    DataPort, DryRunDone, DryRunFailure, Event, EventLog, Executor, Exporter, FailureClass, Job, JobOutcome,
    Researcher, RunState, TrainJob, VariantId, dry_run_shape,
};
use trex_search::forecast_full_cost;

use super::Driver;
use super::jobs::{ATTEMPTS, job_error, train_job};
use crate::EngineError;
use crate::verifier::{Proposal, Rejection, check_dry_run, failed_dry_run};

impl<L: EventLog, D: DataPort, X: Executor, R: Researcher, E: Exporter> Driver<'_, L, D, X, R, E> {
    /// What is recorded of a variant that the rules let pass: `verified` if its dry run passes, too, which is made where none
    /// of this run stands for it, passed or failed.
    pub(super) fn climb(&mut self, proposal: &Proposal<'_>, verified: Event) -> Result<Vec<Event>, EngineError> {
        let id = proposal.variant.id.clone();
        let shape = dry_run_shape(&self.settings.model.hash, &proposal.data.data, &proposal.variant.config)?;
        if let Some((of, failure)) = self.state.failed_dry_runs.get(&shape) {
            let no = failed_dry_run(failure, &proposal.variant.config).known_from(of);
            return Ok(vec![rejected(id, &no)]);
        }
        let known = self.state.dry_runs.get(&shape).cloned();
        let (done, mut events) = match known {
            Some(done) => (done, Vec::new()),
            None => match self.try_out(&id, &verified)? {
                Err(failure) => {
                    let no = failed_dry_run(&failure, &proposal.variant.config);
                    let event = Event::DryRunFailed { variant: id.clone(), shape, failure };
                    return Ok(vec![event, rejected(id, &no)]);
                }
                Ok(done) => {
                    let event = Event::DryRun { variant: id.clone(), shape, done: done.clone() };
                    (done, vec![event])
                }
            },
        };
        let mut after = self.state.clone();
        for event in events.iter().chain([&verified]) {
            after.apply(event)?;
        }
        let forecast = forecast_full_cost(&after, &proposal.variant.config);
        let last = match check_dry_run(&Proposal { forecast, ..*proposal }, &done) {
            Ok(()) => verified,
            Err(no) => rejected(id, &no),
        };
        events.push(last);
        Ok(events)
    }

    /// Makes the dry run of a variant. A worker that dies is started again.
    fn try_out(&mut self, id: &VariantId, verified: &Event) -> Result<Result<DryRunDone, DryRunFailure>, EngineError> {
        let what = format!("{id} dry run");
        let job = Job::DryRun(self.dry_run_job(id, verified)?);
        let mut attempt = 1;
        loop {
            match self.run_job(&what, &job)? {
                JobOutcome::Tried(done) => return Ok(Ok(done)),
                JobOutcome::Failed { class, .. } if class.may_retry() && attempt < ATTEMPTS => attempt += 1,
                // A full disk says nothing about the variant: the run ends here and can be resumed.
                outcome @ JobOutcome::Failed { class: FailureClass::DiskFull, .. } => {
                    return Err(job_error(&what, outcome));
                }
                JobOutcome::Failed { class, code, message, hint } => {
                    return Ok(Err(DryRunFailure { class, code, message, hint }));
                }
                outcome => return Err(job_error(&what, outcome)),
            }
        }
    }

    /// The job of the variant's first trial, as if it were verified.
    fn dry_run_job(&self, id: &VariantId, verified: &Event) -> Result<TrainJob, EngineError> {
        let mut state: RunState = self.state.clone();
        state.apply(verified)?;
        let scratch = self.settings.workspace.join("scratch").join(self.run.to_string()).join(format!("{id}-dry"));
        train_job(&state, &(id.clone(), 0, 0), self.settings, scratch)
    }
}

fn rejected(variant: VariantId, no: &Rejection) -> Event {
    Event::VariantRejected { variant, code: no.code.to_owned(), reason: no.reason() }
}
