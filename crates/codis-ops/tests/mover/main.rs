//! The mover with a real store and real servers, without proxies: what it writes, where keys end up,
//! and that any run can be followed by another.

#[cfg(test)]
mod held;
mod moves;
#[cfg(test)]
mod proxies;
#[cfg(test)]
mod scene;
