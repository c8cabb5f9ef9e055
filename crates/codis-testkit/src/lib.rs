//! Real servers on leased ports for tests, the ledger workload, assertions about them.
