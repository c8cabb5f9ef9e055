//! What must hold for any bytes. The fuzz targets call this, and so does a test of codis-resp that needs no
//! fuzzer: with every file of `corpus/` and with variations of them.

use codis_resp::{
    COMMANDS, Class, Cut, ProtocolError, ReplyError, ReplyScanner, Request, RequestLimits, RequestParser,
    inline_to_array, lookup, push_array_header, push_bulk,
};

/// Bounds so low that bytes can reach them.
fn low() -> RequestLimits {
    RequestLimits { max_bulk: 100, max_args: 20, max_request: 300, max_inline: 60 }
}

/// What stood at the beginning, how long it was, and its arguments.
type Found = (&'static str, usize, Vec<Vec<u8>>);

/// The first thing in `data` when it comes `step` bytes at a time; `None` if it is not all there.
fn first_request(data: &[u8], step: usize, limits: RequestLimits) -> Result<Option<Found>, ProtocolError> {
    let mut parser = RequestParser::new(limits);
    let mut end = 0;
    let mut least = 0;
    while end < data.len() {
        end = (end + step).min(data.len());
        let found = parser.advance(&data[..end])?;
        let (kind, len) = match found {
            Request::Incomplete { missing } => {
                assert!(missing > 0, "nothing is missing, yet it is incomplete");
                least = end + missing;
                continue;
            }
            Request::Complete { len } => ("request", len),
            Request::Inline { len } => ("inline", len),
            Request::Nothing { len } => ("nothing", len),
        };
        assert!((1..=end).contains(&len), "{len} of {end} bytes");
        assert!(end >= least, "complete with {end} bytes, though {least} were wanted");
        let mut args = Vec::new();
        if kind == "request" {
            let mut before = 0;
            for arg in parser.args() {
                assert!(before <= arg.start() && arg.start() <= arg.end() && arg.end() + 2 <= len);
                before = arg.end() + 2;
                args.push(arg.of(&data[..len]).to_vec());
            }
            assert!(!args.is_empty());
        }
        return Ok(Some((kind, len, args)));
    }
    Ok(None)
}

/// Requests: cut anywhere on the way they are the same, and nothing outside of them is looked at.
pub(crate) fn request(data: &[u8]) {
    for limits in [low(), RequestLimits::default()] {
        let mut rest = data;
        while !rest.is_empty() {
            let whole = first_request(rest, rest.len(), limits);
            for step in [1, 2, 7] {
                assert_eq!(first_request(rest, step, limits), whole, "{step} bytes at a time");
            }
            let Ok(Some((kind, len, args))) = whole else { break };
            // What stands behind it makes no difference.
            assert_eq!(first_request(&rest[..len], len, limits), Ok(Some((kind, len, args.clone()))));
            if kind == "request" {
                keys(&args);
            }
            rest = &rest[len..];
        }
    }
}

/// Lines: what is understood becomes an array that is understood as well.
pub(crate) fn inline(data: &[u8]) {
    let Ok(array) = inline_to_array(data) else { return };
    let mut parser = RequestParser::new(RequestLimits::default());
    match parser.advance(&array) {
        Ok(Request::Complete { len }) => assert_eq!(len, array.len()),
        Ok(Request::Nothing { len }) => assert_eq!((len, data.trim_ascii().len()), (array.len(), 0)),
        other => panic!("a line became {other:?}"),
    }
    let words = parser.args().iter().map(|arg| arg.of(&array).len()).sum::<usize>();
    assert!(words <= data.len(), "words have grown");
}

/// The first reply in `data` when it comes `step` bytes at a time.
fn first_reply(data: &[u8], step: usize) -> Result<Option<usize>, ReplyError> {
    let mut scanner = ReplyScanner::default();
    let (mut end, mut least) = (0, 0);
    while end < data.len() {
        end = (end + step).min(data.len());
        match scanner.advance(&data[..end])? {
            Cut::Missing(missing) => {
                assert!(missing > 0);
                least = end + missing;
            }
            Cut::Complete(len) => {
                assert!((1..=end).contains(&len), "{len} of {end} bytes");
                assert!(end >= least, "complete with {end} bytes, though {least} were wanted");
                return Ok(Some(len));
            }
        }
    }
    Ok(None)
}

/// Replies: cut anywhere on the way they end at the same place.
pub(crate) fn reply(data: &[u8]) {
    let mut rest = data;
    while !rest.is_empty() {
        let whole = first_reply(rest, rest.len());
        for step in [1, 3, 16] {
            assert_eq!(first_reply(rest, step), whole, "{step} bytes at a time");
        }
        let Ok(Some(len)) = whole else { return };
        assert_eq!(first_reply(&rest[..len], len), Ok(Some(len)));
        // Whatever it holds, asking for its kind must not fail.
        let _ = (codis_resp::array_header(&rest[..len]), codis_resp::integer(&rest[..len]));
        rest = &rest[len..];
    }
}

/// Words that mean something to some command, and some that do not.
const WORDS: &[&str] = &[
    "k1",
    "k2",
    "k3",
    "0",
    "1",
    "2",
    "3",
    "-1",
    "x",
    "STORE",
    "storedist",
    "STREAMS",
    "streams",
    "GET",
    "BY",
    "LIMIT",
    "COUNT",
    "BLOCK",
    "GROUP",
    "WEIGHTS",
    "ASC",
    "#",
    "a*",
    "ALPHA",
    "LEFT",
    "MIN",
    "$",
    ">",
    "km",
    "{t}k",
    "",
    "99999999999999999999",
];

/// A request that `data` stands for: a command of the table, and words behind it.
pub(crate) fn request_of(data: &[u8]) -> Vec<Vec<u8>> {
    let number = data.iter().take(2).fold(0usize, |sum, byte| sum * 256 + usize::from(*byte));
    let name = COMMANDS[number % COMMANDS.len()].name;
    let mut args: Vec<Vec<u8>> = name.split('|').map(|word| word.as_bytes().to_vec()).collect();
    args.extend(
        data.iter().skip(2).take(20).map(|byte| WORDS[usize::from(*byte) % WORDS.len()].as_bytes().to_vec()),
    );
    args
}

/// The places of the keys of a request, or why they cannot be found; `None` if it is sent to no server because it
/// is no command of the table, is refused, or has too few arguments.
fn places(args: &[Vec<u8>]) -> Option<Result<Vec<usize>, String>> {
    let mut bytes = Vec::new();
    push_array_header(&mut bytes, args.len());
    args.iter().for_each(|arg| push_bulk(&mut bytes, arg));
    let mut parser = RequestParser::new(RequestLimits::default());
    let Ok(Request::Complete { .. }) = parser.advance(&bytes) else { return None };
    let command = lookup(&args[0])?;
    let command = match command.command().class {
        Class::Container => command.subcommand(args.get(1)?)?,
        _ => command,
    };
    if command.command().class == Class::Refused {
        // It goes nowhere, so its keys are not asked for.
        return None;
    }
    let mut places = Vec::new();
    let found = command.command().each_key(&bytes, parser.args(), |at| places.push(at));
    command.command().takes(args.len()).then(|| found.map(|()| places).map_err(|error| error.to_string()))
}

/// Keys: they are arguments, and none of them the command's name.
pub(crate) fn keys(args: &[Vec<u8>]) {
    if let Some(Ok(places)) = places(args) {
        assert!(places.iter().all(|at| (1..args.len()).contains(at)), "{places:?} of {}", args.len());
    }
}

/// Keys: every one that a server finds in a request is one of ours. `theirs` is what it answers to
/// `COMMAND GETKEYS`, `None` if it refuses the request.
pub(crate) fn keys_as_a_server_finds_them(args: &[Vec<u8>], theirs: &Option<Vec<Vec<u8>>>) {
    let (Some(ours), Some(theirs)) = (places(args), theirs) else { return };
    let told: Vec<String> = args.iter().map(|arg| arg.escape_ascii().to_string()).collect();
    let ours = match ours {
        Ok(ours) => ours,
        // A count that is no number: refused by us, and by a server when it comes to that.
        Err(_) if theirs.is_empty() => return,
        // As many ids as streams are missing: what a server finds then is a guess, and it refuses them, too.
        Err(why) if why == "syntax error" && args[0].starts_with(b"XREAD") => return,
        Err(why) => panic!("{}: {why}, but the server finds {theirs:?}", told.join(" ")),
    };
    let mut ours: Vec<&[u8]> = ours.into_iter().map(|at| &args[at][..]).collect();
    let mut theirs: Vec<&[u8]> = theirs.iter().map(|key| &key[..]).collect();
    ours.sort_unstable();
    ours.dedup();
    theirs.sort_unstable();
    theirs.dedup();
    let is =
        |word: &[u8], words: &[&str]| words.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()));
    let named_so =
        |pair: &[Vec<u8>]| is(&pair[0], &["STORE"]) && is(&pair[1], &["STORE", "GET", "BY", "LIMIT"]);
    if args[0] == b"SORT" && args.windows(2).any(named_so) {
        // SORT stores to a key of that name; its GETKEYS takes it for an option.
        return;
    }
    if args[0].starts_with(b"GEORADIUS") {
        // Of several STORE the server tells the first and uses the last.
        ours.retain(|key| theirs.contains(key));
    }
    assert_eq!(ours, theirs, "{}", told.join(" "));
}
