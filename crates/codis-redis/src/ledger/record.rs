//! What a key may hold, given the writes that were sent: the account itself, without any IO.

use std::collections::BTreeSet;

/// A key that is only incremented.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    /// The highest value that was seen: acknowledged, or read.
    seen: u64,
    /// Increments sent.
    sent: u64,
    /// Increments acknowledged.
    acknowledged: u64,
}

impl Counter {
    pub(crate) fn sent(&mut self) {
        self.sent += 1;
    }

    /// The increment just sent was answered with `value`.
    pub(crate) fn acknowledged(&mut self, value: u64) -> Result<(), String> {
        self.acknowledged += 1;
        if value <= self.seen {
            return Err(format!("an increment answered {value} although {} had been reached", self.seen));
        }
        self.read(value)
    }

    /// The key was read as `value`, 0 if it does not exist.
    pub(crate) fn read(&mut self, value: u64) -> Result<(), String> {
        let least = self.seen.max(self.acknowledged);
        let most = self.sent;
        self.seen = self.seen.max(value);
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(format!("it is {value}, not from {least} to {most}"))
    }
}

/// A key that tokens are appended to, each once.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    next: u32,
    acknowledged: BTreeSet<u32>,
    ambiguous: BTreeSet<u32>,
}

/// `0000002a;`
const TOKEN: usize = 9;

impl Tokens {
    /// A token that was never sent before, as text.
    pub(crate) fn next(&mut self) -> String {
        let token = self.next;
        self.next += 1;
        self.ambiguous.insert(token);
        format!("{token:08x};")
    }

    /// How many were sent.
    pub(crate) fn len(&self) -> u32 {
        self.next
    }

    /// The token just sent was answered with the key's new length.
    pub(crate) fn acknowledged(&mut self, length: u64) -> Result<(), String> {
        let token = self.next - 1;
        self.ambiguous.remove(&token);
        self.acknowledged.insert(token);
        let (least, most) = (self.acknowledged.len() * TOKEN, self.next as usize * TOKEN);
        if (least as u64..=most as u64).contains(&length) {
            return Ok(());
        }
        Err(format!("an append answered the length {length}, not from {least} to {most}"))
    }

    /// The key was read.
    pub(crate) fn read(&self, value: &[u8]) -> Result<(), String> {
        let mut present = BTreeSet::new();
        let mut newest = None;
        for part in value.chunks(TOKEN) {
            let text = part.strip_suffix(b";").and_then(|hex| std::str::from_utf8(hex).ok());
            let token = text.and_then(|hex| u32::from_str_radix(hex, 16).ok());
            let Some(token) = token.filter(|token| *token < self.next) else {
                return Err(format!("{:?} was never appended", String::from_utf8_lossy(part)));
            };
            if !present.insert(token) {
                return Err(format!("token {token} is there twice"));
            }
            // One writer sends them in order; only those without an answer may come late.
            if self.acknowledged.contains(&token) {
                if newest.is_some_and(|newest| newest > token) {
                    return Err(format!("token {token} stands behind a newer one"));
                }
                newest = Some(token);
            }
        }
        match self.acknowledged.difference(&present).next() {
            Some(lost) => Err(format!(
                "{} of {} acknowledged tokens are missing, the first {lost}",
                self.acknowledged.difference(&present).count(),
                self.acknowledged.len()
            )),
            None => Ok(()),
        }
    }
}

/// A key that is set to growing versions.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    sent: u64,
    /// The newest acknowledged, 0 for none.
    acknowledged: u64,
    /// Versions without an answer: each may be there, at any time.
    ambiguous: BTreeSet<u64>,
}

impl Versions {
    /// The value to set next: `v42:` and a filling that depends on it.
    pub(crate) fn next(&mut self) -> String {
        self.sent += 1;
        self.ambiguous.insert(self.sent);
        Self::value(self.sent)
    }

    pub(crate) fn acknowledged(&mut self) {
        self.acknowledged = self.sent;
        self.ambiguous.remove(&self.sent);
    }

    /// The key was read; `None` if it does not exist.
    pub(crate) fn read(&self, value: Option<&[u8]>) -> Result<(), String> {
        let newest = self.acknowledged;
        let Some(value) = value else {
            return match newest {
                0 => Ok(()),
                _ => Err(format!("it is missing, version {newest} was acknowledged")),
            };
        };
        let text = String::from_utf8_lossy(value);
        let version = text.strip_prefix('v').and_then(|rest| rest.split(':').next()?.parse::<u64>().ok());
        match version.filter(|version| Self::value(*version) == text) {
            None => Err(format!("it holds {:?}, which nobody wrote", &text[..text.len().min(40)])),
            Some(version) if version == newest || self.ambiguous.contains(&version) => Ok(()),
            Some(version) => Err(format!("it is version {version}, but {newest} was acknowledged")),
        }
    }

    fn value(version: u64) -> String {
        let filling = version.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("v{version}:{filling:016x}:{filling:048b}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_may_be_ahead_by_what_was_not_answered() {
        let mut counter = Counter::default();
        counter.sent();
        counter.acknowledged(1).unwrap();
        counter.sent(); // no answer
        counter.read(1).unwrap();
        counter.read(2).unwrap();
        counter.read(1).unwrap_err(); // went back
        counter.sent();
        counter.acknowledged(3).unwrap();
        counter.read(4).unwrap_err(); // nobody sent that
    }

    #[test]
    fn a_lost_increment_is_found() {
        let mut counter = Counter::default();
        for value in 1..=3 {
            counter.sent();
            counter.acknowledged(value).unwrap();
        }
        counter.read(2).unwrap_err();
        counter.sent();
        counter.acknowledged(3).unwrap_err();
    }

    #[test]
    fn tokens_are_there_once_and_in_order() {
        let mut tokens = Tokens::default();
        let first = tokens.next();
        tokens.acknowledged(9).unwrap();
        let second = tokens.next(); // no answer
        let third = tokens.next();
        tokens.acknowledged(18).unwrap();
        let read = |tokens: &Tokens, parts: &[&str]| tokens.read(parts.concat().as_bytes());
        read(&tokens, &[&first, &third]).unwrap();
        read(&tokens, &[&first, &second, &third]).unwrap();
        read(&tokens, &[&first, &third, &second]).unwrap(); // the unanswered one came late
        read(&tokens, &[&third, &first]).unwrap_err();
        read(&tokens, &[&first, &first, &third]).unwrap_err();
        read(&tokens, &[&third]).unwrap_err();
        read(&tokens, &[&first, &third, "000000ff;"]).unwrap_err();
        assert!(tokens.read(b"").unwrap_err().contains("2 of 2"));
    }

    #[test]
    fn an_old_version_is_found() {
        let mut versions = Versions::default();
        versions.read(None).unwrap();
        let one = versions.next();
        versions.acknowledged();
        let two = versions.next(); // no answer
        versions.read(Some(two.as_bytes())).unwrap();
        let three = versions.next();
        versions.acknowledged();
        versions.read(Some(three.as_bytes())).unwrap();
        versions.read(Some(two.as_bytes())).unwrap(); // allowed: it may come late
        versions.read(Some(one.as_bytes())).unwrap_err();
        versions.read(None).unwrap_err();
        versions.read(Some(b"v3:other")).unwrap_err();
    }
}
