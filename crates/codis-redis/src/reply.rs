//! Answers of a server, without the client library's types.

use redis::Value;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing: a missing key, a refused EXEC.
    Nil,
    /// A number.
    Int(i64),
    /// A binary-safe string.
    Bulk(Vec<u8>),
    /// A status such as `OK`.
    Status(String),
    /// Several answers.
    Array(Vec<Reply>),
    /// An error: its text, code first.
    Error(String),
}

impl Reply {
    /// The text of a status or string, lossy where it is not UTF-8.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Status(text) => Some(text.clone()),
            Self::Int(number) => Some(number.to_string()),
            Self::Nil | Self::Array(_) | Self::Error(_) => None,
        }
    }

    /// The number, also where it was sent as text.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => self.text()?.parse().ok(),
        }
    }

    /// A word for what it is, for error messages: never the data itself.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Nil => "nil".into(),
            Self::Int(number) => format!("the number {number}"),
            Self::Bulk(bytes) => format!("a string of {} bytes", bytes.len()),
            Self::Status(text) => format!("the status {text}"),
            Self::Array(items) => format!("an array of {}", items.len()),
            Self::Error(text) => format!("the error {text}"),
        }
    }
}

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        match value {
            Value::Nil => Self::Nil,
            Value::Int(number) => Self::Int(number),
            Value::BulkString(bytes) => Self::Bulk(bytes),
            Value::SimpleString(text) => Self::Status(text),
            Value::Okay => Self::Status("OK".into()),
            Value::Array(items) | Value::Set(items) => {
                Self::Array(items.into_iter().map(Self::from).collect())
            }
            Value::ServerError(error) => Self::Error(match error.details() {
                Some(details) => format!("{} {details}", error.code()),
                None => error.code().to_owned(),
            }),
            // RESP3 only, and these connections speak RESP2.
            other => Self::Error(format!("unreadable answer {other:?}")),
        }
    }
}
