//! Where the keys stand among the arguments of a request.

use crate::{Span, number::decimal};

/// The arguments do not say which of them are keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The number of keys is not a number.
    #[error("value is not an integer or out of range")]
    NotANumber,
    /// The number of keys is below zero.
    #[error("Number of keys can't be negative")]
    Negative,
    /// The number of keys is above the number of arguments that follow it.
    #[error("Number of keys can't be greater than number of args")]
    TooMany,
    /// A keyword that must be there is not, or is followed by too little.
    #[error("syntax error")]
    Syntax,
}

/// A rule that finds keys.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keys {
    /// Every `step`-th argument from `first` to `last` (negative: counted from the end, -1 = the last).
    Range { first: u8, last: i8, step: u8 },
    /// Argument `at` says how many keys follow it, `step` arguments apart.
    Count { at: u8, step: u8 },
    /// The argument after each `word`, looked for from argument `from` on.
    After { word: &'static str, from: u8 },
    /// The first half of what follows the word STREAMS, looked for from argument `from` on.
    Streams { from: u8 },
    /// What follows the last STORE of a SORT.
    SortStore,
}

impl Keys {
    /// Calls `each` with the place of every key that this rule finds.
    #[inline]
    pub(super) fn each(
        &self,
        request: &[u8],
        args: &[Span],
        each: &mut impl FnMut(usize),
    ) -> Result<(), KeyError> {
        let word_at = |word: &str, from: u8| {
            (usize::from(from)..args.len())
                .find(|&i| args[i].of(request).eq_ignore_ascii_case(word.as_bytes()))
        };
        match *self {
            Self::Range { first, last, step } => {
                let end = match usize::try_from(last) {
                    Ok(last) => last + 1,
                    Err(_) => (args.len() + 1).saturating_sub(usize::from(last.unsigned_abs())),
                };
                (usize::from(first)..end.min(args.len())).step_by(usize::from(step)).for_each(each);
            }
            Self::Count { at, step } => {
                let at = usize::from(at);
                let count = args.get(at).map(|arg| decimal(arg.of(request))).ok_or(KeyError::Syntax)?;
                let count = count.ok_or(KeyError::NotANumber)?;
                let count = usize::try_from(count).map_err(|_| KeyError::Negative)?;
                let step = usize::from(step);
                if count > (args.len() - at - 1) / step {
                    return Err(KeyError::TooMany);
                }
                (0..count).map(|i| at + 1 + i * step).for_each(each);
            }
            Self::After { word, from } => {
                // Of several the last one counts to a server, but its COMMAND GETKEYS names the first.
                (usize::from(from)..args.len().saturating_sub(1))
                    .filter(|&at| args[at].of(request).eq_ignore_ascii_case(word.as_bytes()))
                    .for_each(|at| each(at + 1));
            }
            Self::Streams { from } => {
                let first = word_at("STREAMS", from).ok_or(KeyError::Syntax)? + 1;
                let rest = args.len() - first;
                if rest == 0 || !rest.is_multiple_of(2) {
                    return Err(KeyError::Syntax);
                }
                (first..first + rest / 2).for_each(each);
            }
            Self::SortStore => {
                let mut at = 2;
                let mut store = None;
                while let Some(arg) = args.get(at) {
                    let word = arg.of(request).to_ascii_uppercase();
                    match word.as_slice() {
                        b"LIMIT" => at += 2,
                        b"GET" | b"BY" => at += 1,
                        b"STORE" if at + 1 < args.len() => {
                            at += 1;
                            store = Some(at);
                        }
                        _ => {}
                    }
                    at += 1;
                }
                store.into_iter().for_each(each);
            }
        }
        Ok(())
    }
}
