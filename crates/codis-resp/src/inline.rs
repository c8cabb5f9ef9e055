//! Inline requests: one line of words, as typed into telnet.

use crate::{
    ProtocolError,
    number::{push_array_header, push_bulk},
};

/// Turns a line into the array that means the same.
///
/// Words are separated by white space; `"..."` knows the escapes `\n \r \t \b \a \xHH \\ \"`,
/// `'...'` knows `\'`, as redis-server reads them.
///
/// # Errors
/// [`ProtocolError::Quotes`] when a quote is not closed or not followed by white space.
pub fn inline_to_array(line: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (word, after) = word(rest)?;
        words.push(word);
        rest = after.trim_ascii_start();
    }
    let mut out = Vec::with_capacity(line.len() + 16);
    push_array_header(&mut out, words.len());
    for word in &words {
        push_bulk(&mut out, word);
    }
    Ok(out)
}

/// Takes the first word off `text`, which does not begin with white space.
fn word(text: &[u8]) -> Result<(Vec<u8>, &[u8]), ProtocolError> {
    let mut word = Vec::new();
    let mut i = 0;
    while let Some(&byte) = text.get(i) {
        match byte {
            b'"' | b'\'' => {
                i = quoted(text, i, byte, &mut word)?;
                return match text.get(i) {
                    Some(next) if !next.is_ascii_whitespace() => Err(ProtocolError::Quotes),
                    _ => Ok((word, &text[i..])),
                };
            }
            _ if byte.is_ascii_whitespace() => break,
            _ => word.push(byte),
        }
        i += 1;
    }
    Ok((word, &text[i..]))
}

/// Reads what is quoted from `open` on; returns the place after the closing quote.
fn quoted(text: &[u8], open: usize, quote: u8, word: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    let mut i = open + 1;
    loop {
        match (text.get(i), text.get(i + 1)) {
            (Some(&b), _) if b == quote => return Ok(i + 1),
            (Some(b'\\'), Some(b'\'')) if quote == b'\'' => {
                word.push(b'\'');
                i += 2;
            }
            (Some(b'\\'), Some(&escape)) if quote == b'"' => {
                let hex = text.get(i + 2..i + 4).filter(|_| escape == b'x');
                let hex = hex.and_then(|h| std::str::from_utf8(h).ok());
                if let Some(byte) = hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
                    word.push(byte);
                    i += 4;
                } else {
                    word.push(match escape {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 8,
                        b'a' => 7,
                        other => other,
                    });
                    i += 2;
                }
            }
            (Some(&b), _) => {
                word.push(b);
                i += 1;
            }
            (None, _) => return Err(ProtocolError::Quotes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_bulks() {
        let array = |line: &str| inline_to_array(line.as_bytes()).map(|a| String::from_utf8(a).unwrap());
        assert_eq!(array("PING\r\n").unwrap(), "*1\r\n$4\r\nPING\r\n");
        assert_eq!(array(" set  a b \n").unwrap(), "*3\r\n$3\r\nset\r\n$1\r\na\r\n$1\r\nb\r\n");
        assert_eq!(array(r#"get "a b\x41\n""#).unwrap(), "*2\r\n$3\r\nget\r\n$5\r\na bA\n\r\n");
        assert_eq!(array(r"get 'it\'s'").unwrap(), "*2\r\n$3\r\nget\r\n$4\r\nit's\r\n");
        assert_eq!(array(r#"get """#).unwrap(), "*2\r\n$3\r\nget\r\n$0\r\n\r\n");
        assert_eq!(array("get \"a"), Err(ProtocolError::Quotes));
        assert_eq!(array("get 'a'b"), Err(ProtocolError::Quotes));
    }
}
