//! The workspace database: migrations, runs, tree and events.
