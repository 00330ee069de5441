//! Readers, operators, profile, recipes and the prepared-data cache.
