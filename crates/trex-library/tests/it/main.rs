//! Documents of every kind, and bundles that come back whole or are refused.

#[cfg(test)]
mod bundles;
#[cfg(test)]
mod documents;
