//! The public API of trex-train on a tiny model that is made here.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod exports;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod methods;
#[cfg(test)]
mod worker;
