//! Command line for Codis products.

fn main() {}
