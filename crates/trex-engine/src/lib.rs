//! Use cases, scheduler, verifier, gates, budgets and recovery.
