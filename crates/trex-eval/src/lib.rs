//! Metrics, answer extraction, bootstrap and paired tests.
