//! Properties of the framers: where bytes are cut on the way makes no difference, and no bytes make
//! them panic.

use codis_resp::{
    Cut, ProtocolError, ReplyError, ReplyScanner, Request, RequestLimits, RequestParser, inline_to_array,
    lookup, push_array_header, push_bulk,
};
use proptest::{collection::vec, prelude::*};

fn limits() -> RequestLimits {
    RequestLimits { max_bulk: 1000, max_args: 50, max_request: 2000, max_inline: 200 }
}

/// Length and arguments of a request.
type Found = (usize, Vec<Vec<u8>>);

/// What a parser finds when the bytes come up to each of `cuts` in turn.
fn parse_in_pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Result<Found, ProtocolError>> {
    let mut parser = RequestParser::new(limits());
    let mut found = Vec::new();
    let mut begin = 0;
    for &end in cuts.iter().chain([&bytes.len()]) {
        while begin < end {
            let buf = &bytes[begin..end];
            match parser.advance(buf) {
                Ok(Request::Incomplete { missing }) => {
                    assert!(missing > 0);
                    break;
                }
                Ok(Request::Complete { len }) => {
                    let args = parser.args().iter().map(|arg| arg.of(buf).to_vec()).collect();
                    found.push(Ok((len, args)));
                    begin += len;
                }
                Ok(Request::Inline { len } | Request::Nothing { len }) => {
                    found.push(Ok((len, Vec::new())));
                    begin += len;
                }
                Err(error) => {
                    found.push(Err(error));
                    return found;
                }
            }
        }
    }
    found
}

fn scan_in_pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Result<usize, ReplyError>> {
    let mut scanner = ReplyScanner::default();
    let mut found = Vec::new();
    let mut begin = 0;
    for &end in cuts.iter().chain([&bytes.len()]) {
        while begin < end {
            match scanner.advance(&bytes[begin..end]) {
                Ok(Cut::Missing(missing)) => {
                    assert!(missing > 0);
                    break;
                }
                Ok(Cut::Complete(len)) => {
                    found.push(Ok(len));
                    begin += len;
                }
                Err(error) => {
                    found.push(Err(error));
                    return found;
                }
            }
        }
    }
    found
}

fn requests() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    vec(vec(vec(any::<u8>(), 0..40), 1..6), 0..5)
}

fn encode(requests: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for args in requests {
        push_array_header(&mut bytes, args.len());
        args.iter().for_each(|arg| push_bulk(&mut bytes, arg));
    }
    bytes
}

/// Replies of all types, nested.
fn reply() -> impl Strategy<Value = Vec<u8>> {
    let line = "[+:,(_#-][a-z0-9 ]{0,20}".prop_map(|text| format!("{text}\r\n").into_bytes());
    let bulk =
        (prop_oneof![Just('$'), Just('!'), Just('=')], vec(any::<u8>(), 0..60)).prop_map(|(kind, bytes)| {
            let mut out = format!("{kind}{}\r\n", bytes.len()).into_bytes();
            out.extend(bytes);
            out.extend(b"\r\n");
            out
        });
    let null = prop_oneof![Just(b"$-1\r\n".to_vec()), Just(b"*-1\r\n".to_vec())];
    prop_oneof![line, bulk, null].prop_recursive(4, 30, 5, |inner| {
        (prop_oneof![Just('*'), Just('~'), Just('>'), Just('%'), Just('|')], vec(inner, 0..6)).prop_map(
            |(kind, mut items)| {
                let count = match kind {
                    '%' => {
                        items.truncate(items.len() / 2 * 2);
                        items.len() / 2
                    }
                    '|' => {
                        // Pairs, then the value that they belong to.
                        if items.len().is_multiple_of(2) {
                            items.push(b"+x\r\n".to_vec());
                        }
                        items.len() / 2
                    }
                    _ => items.len(),
                };
                let mut out = format!("{kind}{count}\r\n").into_bytes();
                items.into_iter().for_each(|item| out.extend(item));
                out
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn requests_are_found_whole(requests in requests()) {
        let bytes = encode(&requests);
        let every: Vec<usize> = (0..bytes.len()).collect();
        let found = parse_in_pieces(&bytes, &[]);
        prop_assert_eq!(&found, &parse_in_pieces(&bytes, &every));
        let args: Vec<Vec<Vec<u8>>> = found.into_iter().map(|request| request.unwrap().1).collect();
        prop_assert_eq!(args, requests);
    }

    #[test]
    fn cuts_do_not_change_what_garbage_is(bytes in vec(prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), b'0'..=b'9', any::<u8>()], 0..80), cut in 0usize..80) {
        let every: Vec<usize> = (0..bytes.len()).collect();
        let whole = parse_in_pieces(&bytes, &[]);
        prop_assert_eq!(&whole, &parse_in_pieces(&bytes, &every));
        prop_assert_eq!(&whole, &parse_in_pieces(&bytes, &[cut.min(bytes.len())]));
        let whole = scan_in_pieces(&bytes, &[]);
        prop_assert_eq!(&whole, &scan_in_pieces(&bytes, &every));
        let _ = inline_to_array(&bytes);
        let _ = lookup(&bytes);
    }

    #[test]
    fn replies_are_cut_at_their_end(replies in vec(reply(), 1..5)) {
        let bytes: Vec<u8> = replies.concat();
        let every: Vec<usize> = (0..bytes.len()).collect();
        let lengths: Vec<_> = replies.iter().map(|reply| Ok(reply.len())).collect();
        prop_assert_eq!(&scan_in_pieces(&bytes, &[]), &lengths);
        prop_assert_eq!(&scan_in_pieces(&bytes, &every), &lengths);
    }
}

#[test]
fn limits_are_checked_before_anything_is_waited_for() {
    let error = |bytes: &str| RequestParser::new(limits()).advance(bytes.as_bytes()).unwrap_err();
    assert_eq!(error("*51\r\n"), ProtocolError::ArrayLength);
    assert_eq!(error("*1\r\n$1001\r\n"), ProtocolError::BulkLength);
    assert_eq!(error("*1\r\n$-1\r\n"), ProtocolError::BulkLength);
    assert_eq!(error("*x"), ProtocolError::ArrayLength);
    assert_eq!(error("*1\r\n:1\r\n"), ProtocolError::NotBulk(b':'));
    assert_eq!(error("*1\r\n$1\r\nabc"), ProtocolError::BulkEnd);
    assert_eq!(error(&"x".repeat(201)), ProtocolError::InlineTooBig);
    let long = format!("*3\r\n$999\r\n{0}\r\n$999\r\n{0}\r\n$1\r\n", "x".repeat(999));
    assert_eq!(error(&long), ProtocolError::RequestTooBig);
    assert_eq!(
        error("*1\r\n:1\r\n").to_string(),
        "expected '$', got ':'",
        "the text goes into -ERR Protocol error: ..."
    );
}

#[test]
fn a_request_of_which_much_is_missing_says_how_much() {
    let mut parser = RequestParser::new(limits());
    assert_eq!(parser.advance(b"*2\r\n$3\r\nGET\r\n$900\r\nab"), Ok(Request::Incomplete { missing: 900 }));
}

#[test]
fn deep_nesting_costs_no_stack() {
    let mut bytes = b"*1\r\n".repeat(500_000);
    bytes.extend(b":1\r\n");
    assert_eq!(ReplyScanner::default().advance(&bytes), Ok(Cut::Complete(bytes.len())));
    assert_eq!(ReplyScanner::default().advance(b"?\r\n"), Err(ReplyError::Type(b'?')));
}
