//! The search: where to spend next, how a batch goes up the rungs, and when to stop.
//!
//! Everything here is a function of the folded [`trex_domain::RunState`] and, for the policies that draw, of a seeded
//! generator. There is no clock, no file, no thread and no memory between calls, so a run that was killed goes on with
//! the same answers. The engine carries the answers out; making new variants is the Researcher's business.

mod batch;
mod curve;
mod error;
mod explain;
mod forecast;
mod numbers;
mod plan;
mod policy;
mod process;
mod replay;
mod stop;
mod surface;
mod view;

pub use batch::{BatchStep, kept, next_in_batch, rank, waiting_in_batch};
pub use curve::{Extrapolation, MIN_GAINS, carried, extrapolate, gains_to_top, reach_of};
pub use error::SearchError;
pub use explain::{explain_step, explain_stop};
pub use forecast::{
    CheckedForecast, ForecastBasis, checked_forecasts, forecast_full_cost, forecast_steps_cost, forecast_trial_cost,
};
pub use plan::{PlannedRun, affordable_variants, plan_run};
pub use policy::{
    Asha, Choice, Greedy, POLICY_NAMES, Policy, Puct, Random, Sequential, Thompson, Tpe, Uct, ValueModel, policy,
    surrogate_priors,
};
pub use process::{Measured, NOISE, Observation, Process, observations};
pub use replay::{
    Ask, CHECKPOINTS, CONTENDERS, Contender, ContenderSummary, Estimate, Progress, Record, ReplaySettings, Savings,
    Simulated, Space, compare_contenders, contender, savings, simulate,
};
pub use stop::should_stop;
pub use surface::{
    Configuration, Dimension, Grid, Outcomes, Probabilities, RecordedRung, RecordedTrial, SURFACE_FORMAT, Surface,
    SurfaceHeader, grid,
};
pub use view::{StrategyView, TreeView, tree_view};
