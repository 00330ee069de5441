//! The search tree, policies, rungs, dedup and stopping.
