//! The engine's driver on fakes of every port, and its worker processes on tiny shell scripts.

#[cfg(test)]
mod failures;
#[cfg(test)]
mod fakes;
#[cfg(test)]
mod forecast;
#[cfg(test)]
mod gates;
#[cfg(test)]
mod interrupted;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod proposals;
#[cfg(test)]
mod reproduce;
#[cfg(test)]
mod researcher;
#[cfg(test)]
mod reuse;
#[cfg(test)]
mod together;
#[cfg(test)]
mod whole_run;
#[cfg(all(test, unix))]
mod workers;
#[cfg(test)]
mod world;
