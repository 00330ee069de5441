//! The profile as a page.
