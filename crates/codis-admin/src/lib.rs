//! The HTTP shapes of a proxy's admin pages and the client that reads them.
