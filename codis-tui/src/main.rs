//! Live dashboard of a Codis product.

fn main() {}
