//! Stories that cross programs.
