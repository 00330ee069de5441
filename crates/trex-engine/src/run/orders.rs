//! Takes a person's orders about the tree, one a step. What they change is for [`crate::orders`] and the state to say.

use trex_domain::{DataPort, EventLog, Executor, Exporter, Researcher};

use super::Driver;
use crate::orders::order_events;
use crate::{EngineError, PortError};

impl<L: EventLog, D: DataPort, X: Executor, R: Researcher, E: Exporter> Driver<'_, L, D, X, R, E> {
    /// Takes the next order that lies there; `true` where there was one. The record of it holds its number, so that none is
    /// taken twice, however often the run is killed.
    pub(super) fn take_order(&mut self) -> Result<bool, EngineError> {
        let Some(desk) = &self.settings.orders else { return Ok(false) };
        let lying =
            desk.orders(self.run, self.state.last_order()).map_err(|err| EngineError::Log(PortError::from(err)))?;
        let Some(next) = lying.into_iter().next() else { return Ok(false) };
        self.record(order_events(&self.state, next))?;
        Ok(true)
    }
}
