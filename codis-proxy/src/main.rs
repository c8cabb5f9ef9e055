//! RESP proxy that follows the store of a Codis product.

fn main() {}
