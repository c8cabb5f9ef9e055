//! The patterns of KEYS, CONFIG GET and COMMAND LIST: `*`, `?`, `[a-z]`, `[^a]`, and `\` before a character
//! that stands for itself.

/// True if `text` is one that `pattern` means. The time is at most the product of their lengths.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when what followed the last star does not fit: one byte later.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, t));
            continue;
        }
        if let Some((fits, next)) = one(&pattern[p..], text[t])
            && fits
        {
            p += next;
            t += 1;
            continue;
        }
        let Some((after, from)) = star else { return false };
        star = Some((after, from + 1));
        (p, t) = (after, from + 1);
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Whether the first element of a pattern, which is no star, means this byte, and how long it is.
fn one(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    match pattern {
        [] => None,
        [b'?', ..] => Some((true, 1)),
        [b'\\', literal, ..] => Some((*literal == byte, 2)),
        [b'[', class @ ..] => Some(in_class(class, byte)),
        [literal, ..] => Some((*literal == byte, 1)),
    }
}

/// The same for a class, given from behind its `[`. One that is not closed ends with the pattern.
fn in_class(class: &[u8], byte: u8) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at..] {
            [] => return (found != negated, 1 + at),
            [b']', ..] => return (found != negated, 2 + at),
            [b'\\', literal, ..] => {
                found |= *literal == byte;
                at += 2;
            }
            [from, b'-', to, ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_a_server() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("max*", "maxmemory", true),
            ("*mem*y", "maxmemory", true),
            ("*mem*x", "maxmemory", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a[a-c]d", "abd", true),
            ("a[^a-c]d", "abd", false),
            ("a[^a-c]d", "axd", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("[ab", "a", true),
            ("[c-a]", "b", true),
            ("[\\]]", "]", true),
            ("a**b", "axxb", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        let many_stars = "*a".repeat(30) + "*b";
        assert!(!matches(many_stars.as_bytes(), "a".repeat(10_000).as_bytes()), "and says so at once");
    }
}
