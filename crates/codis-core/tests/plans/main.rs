//! What planners allow, refuse and preserve: as tables, and as properties over random histories.

#[cfg(test)]
mod go;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod world;
