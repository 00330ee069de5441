//! What a person's orders change in the state of a run: what is pinned and what is forbidden. Makes no variant; whoever takes a
//! branch proposes one.

use crate::{DomainError, Event, GivenOrder, Order, OrderRecord, Phase, TreePart};

use super::{RunState, illegal};

impl RunState {
    /// The number of the last order that was taken; 0 before the first.
    pub fn last_order(&self) -> u64 {
        self.orders.last().map_or(0, |record| record.given.number)
    }

    /// Whether a person pinned a node or variant itself.
    pub fn is_pinned(&self, name: &str) -> bool {
        self.pinned.iter().any(|part| part.as_str() == name)
    }

    /// The part of the tree by which a person forbade a node or variant, and why: itself, or what it lies below.
    pub fn forbidden_by(&self, name: &str) -> Option<(&TreePart, &str)> {
        self.forbidden.iter().find(|(part, _)| part.holds(name)).map(|(part, reason)| (part, reason.as_str()))
    }

    /// The orders that a node or variant has to do with, in order: those about it, about what it lies below, and about what
    /// lies below it.
    pub fn orders_about<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a OrderRecord> {
        self.orders.iter().filter(move |record| {
            let node = &record.given.node;
            let is_below = node.as_str().strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
            node.holds(name) || is_below
        })
    }

    /// Whether an order can be carried out as the run stands. What a branch changes is not looked at.
    pub fn check_order(&self, node: &TreePart, order: &Order) -> Result<(), DomainError> {
        let exists = node.node().is_some_and(|id| self.nodes.contains_key(&id))
            || node.variant().is_some_and(|id| self.variants.contains_key(&id));
        if self.stopped.is_some() || self.verdict.is_some() || self.phase > Some(Phase::Search) {
            return Err(DomainError::SearchOver);
        }
        if !exists {
            return Err(DomainError::UnknownTreePart { node: node.clone() });
        }
        let forbidden = self.forbidden_by(node.as_str()).map(|(by, _)| by.clone());
        match (order, forbidden) {
            (Order::Pin | Order::Branch { .. }, Some(by)) => Err(DomainError::IsForbidden { node: node.clone(), by }),
            (Order::Unpin, _) if !self.pinned.contains(node) => Err(DomainError::NotPinned { node: node.clone() }),
            (Order::Allow, by) if !self.forbidden.contains_key(node) => {
                Err(DomainError::NotForbidden { node: node.clone(), by })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn take_order(&mut self, event: &Event, record: &OrderRecord) -> Result<(), DomainError> {
        let GivenOrder { number, node, order } = &record.given;
        if *number <= self.last_order() {
            return Err(illegal(event, format!("order {number} comes after {}", self.last_order())));
        }
        if record.refused.is_none() {
            self.check_order(node, order)?;
            self.carry_out(node, order);
        }
        self.orders.push(record.clone());
        Ok(())
    }

    fn carry_out(&mut self, node: &TreePart, order: &Order) {
        match order {
            Order::Pin => drop(self.pinned.insert(node.clone())),
            Order::Unpin => drop(self.pinned.remove(node)),
            Order::Forbid { reason } => {
                let reason = reason.clone().unwrap_or_else(|| "no reason was given".to_owned());
                self.forbidden.insert(node.clone(), reason);
                self.pinned.retain(|pinned| !node.holds(pinned.as_str()));
            }
            Order::Allow => drop(self.forbidden.remove(node)),
            // The variant itself is proposed by an event of its own.
            Order::Branch { .. } => {}
        }
    }
}
