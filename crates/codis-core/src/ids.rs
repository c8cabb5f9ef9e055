//! Names of things: product, group, proxy, address.

use std::{fmt, str::FromStr};

/// Text that is not the name or number it should be; says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseError {
    /// The text as given.
    pub text: String,
    /// What it should have been, e.g. `a slot (0-1023)`.
    pub expected: &'static str,
}

impl ParseError {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.to_owned(), expected }
    }
}

/// Name of a product: the `NAME` of `/zk/codis/db_NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProductName(String);

impl ProductName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProductName {
    type Err = ParseError;

    /// Letters, digits, `_`, `-` and `.`, not empty: it becomes part of a path.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if text.is_empty() || text.len() > 128 || text.starts_with('.') || !text.chars().all(fine) {
            return Err(ParseError::new(text, "a product name (letters, digits, _ - .)"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ProductName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Number of a group. Codis 2 allows 0; "no group" is `Option::None`, stored as -1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u32);

impl FromStr for GroupId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.parse::<u32>() {
            Ok(id) if id <= i32::MAX as u32 => Ok(Self(id)),
            _ => Err(ParseError::new(text, "a group number (0 or more)")),
        }
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Address of a server or proxy: `host:port`, kept as it was written.
///
/// ```
/// let addr: codis_core::Addr = "10.0.7.51:6381".parse().unwrap();
/// assert_eq!((addr.host(), addr.port()), ("10.0.7.51", 6381));
/// assert!("10.0.7.51".parse::<codis_core::Addr>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Addr {
    text: String,
    colon: usize,
    port: u16,
}

impl Addr {
    /// Some address, to try texts with.
    pub(crate) fn example() -> Self {
        Self { text: "host:1".to_owned(), colon: 4, port: 1 }
    }

    /// The host part, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        self.text[..self.colon].trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Addr {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let expected = ParseError::new(text, "an address (host:port)");
        let Some((host, port)) = text.rsplit_once(':') else { return Err(expected) };
        let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/';
        match port.parse::<u16>() {
            Ok(number) if number > 0 && !host.is_empty() && !bare_v6 && !host.contains(odd) => {
                Ok(Self { text: text.to_owned(), colon: host.len(), port: number })
            }
            _ => Err(expected),
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// Id of a proxy: the name of its node under `proxy`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProxyId(String);

impl ProxyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProxyId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let odd = |c: char| c == '/' || c.is_control();
        if text.is_empty() || text == "." || text == ".." || text.contains(odd) {
            return Err(ParseError::new(text, "a proxy id (not empty, no slash)"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ProxyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
