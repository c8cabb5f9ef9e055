//! The developer's one door: demo, test, bench, tidy.

fn main() {}
