//! Fields of a stored record that this version does not know.

/// Unknown JSON fields of one record, carried through unread so that a rewrite keeps them.
///
/// Each entry is a field name and its value as JSON text, in stored order. Only `codis-store`
/// looks inside; planners pass it along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extra(pub Vec<(String, String)>);

impl Extra {
    /// True if the record had no unknown fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
