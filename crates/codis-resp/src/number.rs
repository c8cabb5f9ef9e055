//! The decimal numbers of RESP headers, read and written.

/// What stands between a type byte and the end of its line, if it is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// A number, and where the next line begins.
    Number(i64, usize),
    /// The line has not ended yet.
    Incomplete,
    /// Not a number, or not ended by CR LF.
    Invalid,
}

/// Longest header line that is waited for: sign, 19 digits, CR LF.
const MAX_LINE: usize = 22;

/// Reads the number that begins at `at` and is ended by CR LF.
#[inline]
pub(crate) fn header(buf: &[u8], at: usize) -> Header {
    // Nearly every header is as short as these.
    match &buf[at..] {
        [a @ b'0'..=b'9', b'\r', b'\n', ..] => Header::Number(digit(*a), at + 3),
        [a @ b'0'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Header::Number(10 * digit(*a) + digit(*b), at + 4)
        }
        line => any_header(line, at),
    }
}

/// The same for a number of any length; `line` begins at `at`.
#[inline(never)]
fn any_header(line: &[u8], at: usize) -> Header {
    let negative = line.first() == Some(&b'-');
    let digits = usize::from(negative);
    let mut value: i64 = 0;
    let mut i = digits;
    while let Some(&byte) = line.get(i) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        match value.checked_mul(10).and_then(|v| v.checked_add(i64::from(digit))) {
            Some(v) => value = v,
            None => return Header::Invalid,
        }
        i += 1;
        if i > MAX_LINE {
            return Header::Invalid;
        }
    }
    match (line.get(i), line.get(i + 1)) {
        (None, _) => Header::Incomplete,
        (Some(b'\r'), _) if i == digits => Header::Invalid,
        (Some(b'\r'), None) => Header::Incomplete,
        (Some(b'\r'), Some(b'\n')) => Header::Number(if negative { -value } else { value }, at + i + 2),
        _ => Header::Invalid,
    }
}

#[inline]
fn digit(byte: u8) -> i64 {
    i64::from(byte - b'0')
}

/// A decimal number that fills `text`, as in an argument.
pub(crate) fn decimal(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Appends `:N`.
pub fn push_integer(out: &mut Vec<u8>, number: i64) {
    push_line(out, b':', number);
}

/// Appends the header of an array of `len` elements.
pub fn push_array_header(out: &mut Vec<u8>, len: usize) {
    push_line(out, b'*', len as i64);
}

/// Appends a bulk string.
pub fn push_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    push_line(out, b'$', bytes.len() as i64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn push_line(out: &mut Vec<u8>, kind: u8, number: i64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.push(kind);
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        for (text, expected) in [
            ("7\r\n", Header::Number(7, 3)),
            ("0\r\n", Header::Number(0, 3)),
            ("12\r\nx", Header::Number(12, 4)),
            ("345\r\n", Header::Number(345, 5)),
            ("12\r", Header::Incomplete),
            ("12\rx", Header::Invalid),
            ("-1\r\n", Header::Number(-1, 4)),
            ("", Header::Incomplete),
            ("-", Header::Incomplete),
            ("1", Header::Incomplete),
            ("1\r", Header::Incomplete),
            ("1\n", Header::Invalid),
            ("1\rx", Header::Invalid),
            ("\r\n", Header::Invalid),
            ("-\r\n", Header::Invalid),
            ("+1\r\n", Header::Invalid),
            ("99999999999999999999\r\n", Header::Invalid),
            ("00000000000000000000000", Header::Invalid),
        ] {
            assert_eq!(header(text.as_bytes(), 0), expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 7, -1, 10, i64::MAX, i64::MIN + 1] {
            let mut out = Vec::new();
            push_integer(&mut out, number);
            assert_eq!(out[0], b':');
            assert_eq!(header(&out, 1), Header::Number(number, out.len()));
        }
    }
}
