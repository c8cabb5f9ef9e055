//! The only crate that names the redis client: probes, sizes, the stock mover, the ledger workload.
