//! The search: where to spend next, how a batch goes up the rungs, and when to stop.
//!
//! Everything here is a function of the folded [`trex_domain::RunState`] and, for the policies that draw, of a seeded
//! generator. There is no clock, no file, no thread and no memory between calls, so a run that was killed goes on with
//! the same answers. The engine carries the answers out; making new variants is the Researcher's business.

mod batch;
mod error;
mod forecast;
mod policy;
mod stop;
mod view;

pub use batch::{BatchStep, next_in_batch, rank};
pub use error::SearchError;
pub use forecast::{forecast_full_cost, forecast_trial_cost};
pub use policy::{Choice, Greedy, POLICY_NAMES, Policy, Puct, Random, Sequential, Thompson, Uct, policy};
pub use stop::should_stop;
pub use view::{FAILURE_VALUE, StrategyView, TreeView, tree_view};
