//! Guessing what a typing error meant.

/// The allowed name that was most likely meant: at most two letters away.
pub fn nearest<'a>(typed: &str, names: &[&'a str]) -> Option<&'a str> {
    let close = names.iter().map(|name| (strsim::levenshtein(typed, name), *name));
    close.min().filter(|(away, _)| *away <= 2).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let names = ["listen", "workers", "product"];
        assert_eq!(nearest("lisen", &names), Some("listen"));
        assert_eq!(nearest("wrokers", &names), Some("workers"));
        assert_eq!(nearest("store", &names), None);
    }
}
