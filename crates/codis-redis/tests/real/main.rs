//! Everything in this crate against real servers.

#[cfg(test)]
mod common;
#[cfg(test)]
mod handover;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod native;
#[cfg(test)]
mod probe;
#[cfg(test)]
mod stall;
#[cfg(test)]
mod survey;
