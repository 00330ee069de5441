//! The store through its public face.

#[cfg(test)]
mod crash;
#[cfg(test)]
mod knowledge;
#[cfg(test)]
mod log;
#[cfg(test)]
mod open;
