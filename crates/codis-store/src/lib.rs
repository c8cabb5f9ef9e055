//! The only crate that talks to ZooKeeper or to the local SQLite store.
