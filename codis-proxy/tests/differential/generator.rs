//! Pipelines of random commands, all from one seed.

use std::collections::BTreeSet;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::Pipeline;
use crate::commands::{self, FLUSH, LINES};
use crate::exceptions::{Compare, NO_KEYS};

/// Tags, and so slots, that keys of one line share.
const TAGS: usize = 24;
/// Keys of each type with one tag.
const NUMBERS: usize = 3;
/// One pipeline in so many empties everything.
const PIPELINES_PER_FLUSH: u32 = 60;
/// The types of keys, by the sign of commands.rs.
const TYPES: &[u8] = b"slhSzxbpg";

/// A command, and how its replies are compared.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) compare: Compare,
}

pub(crate) struct Generator {
    rng: StdRng,
    names: BTreeSet<&'static str>,
    flushed: bool,
    /// Only commands about keys whose replies do not depend on where the keys are.
    only_keys: bool,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), names: BTreeSet::new(), flushed: false, only_keys: false }
    }

    /// Nothing whose reply is another one while slots move, as docs/proxy-commands.md says.
    pub(crate) fn only_keys(self) -> Self {
        Self { only_keys: true, ..self }
    }

    /// The keys that begin with a tag, for each tag.
    pub(crate) fn all_keys() -> Vec<Vec<Vec<u8>>> {
        let kinds = || TYPES.iter().chain(b"L");
        let of = |tag: Vec<u8>| {
            kinds()
                .flat_map(move |kind| {
                    (0..NUMBERS).map({
                        let tag = tag.clone();
                        move |number| key_name(*kind, number, &tag)
                    })
                })
                .collect()
        };
        (0..TAGS).map(|number| of(tag_name(number))).collect()
    }

    /// The commands that have been sent.
    pub(crate) fn names(&self) -> &BTreeSet<&'static str> {
        &self.names
    }

    /// The last pipeline has ended with nothing left.
    pub(crate) fn has_flushed(&self) -> bool {
        self.flushed
    }

    pub(crate) fn pipeline(&mut self) -> Pipeline {
        let resp3 = self.rng.random();
        let len = *[1, 2, 5, 20, 50].choose(&mut self.rng).unwrap();
        let mut steps = Vec::new();
        while steps.len() < len {
            match self.rng.random_range(0..40) {
                0 if !self.only_keys => self.transaction(&mut steps),
                1 => self.script(&mut steps),
                _ => {
                    let line = LINES.choose(&mut self.rng).unwrap();
                    let tag = self.tag();
                    steps.extend(self.step(line, &tag));
                }
            }
        }
        self.flushed = self.rng.random_ratio(1, PIPELINES_PER_FLUSH) && !self.only_keys;
        if self.flushed {
            let line = FLUSH.choose(&mut self.rng).unwrap();
            steps.extend(self.step(line, b""));
        }
        // What a session has left open, RESP3 included, ends with its connection.
        Pipeline { resp3, steps }
    }

    /// Some commands on keys of one slot between MULTI and EXEC, sometimes with WATCH.
    fn transaction(&mut self, steps: &mut Vec<Step>) {
        let tag = self.tag();
        if self.rng.random_ratio(1, 3) {
            steps.extend(self.step("WATCH +$a", &tag));
            if self.rng.random() {
                steps.extend(self.step("GET $s", &tag));
            }
        }
        steps.extend(self.step("MULTI", &tag));
        let mut inside = Vec::new();
        for _ in 0..self.rng.random_range(0..6) {
            let line = loop {
                let line = LINES.choose(&mut self.rng).unwrap();
                let (first, second) = commands::head(line);
                let sub = second.unwrap_or_default().split('|').next();
                let fit = commands::name(first, sub).is_some_and(|name| !NOT_INSIDE.contains(&name));
                if fit && line.contains(" $") {
                    break line.trim_start_matches('%');
                }
            };
            // A server queues a wrong count of keys and finds out later.
            if let Some(step) = self.step(line, &tag).filter(|step| step.compare != NO_KEYS) {
                inside.push(step.compare.clone());
                steps.push(Step { compare: Compare::Exact, ..step });
            }
        }
        if self.rng.random_ratio(1, 6) {
            steps.extend(self.step("DISCARD", &tag));
        } else if let Some(exec) = self.step("EXEC", &tag) {
            steps.push(Step { compare: Compare::Exec(inside), ..exec });
        }
    }

    /// A script is loaded and called by its digest.
    fn script(&mut self, steps: &mut Vec<Step>) {
        /// `return redis.call('strlen', KEYS[1])`, and what its digest is.
        const STRLEN: (&str, &str) =
            ("return redis.call('strlen', KEYS[1])", "4bda0a00e5541c8717dca29525d5e02f297b52da");
        let key = {
            let tag = self.tag();
            self.key(b's', &tag)
        };
        let words = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>();
        let load = words(&[b"SCRIPT", b"LOAD", STRLEN.0.as_bytes()]);
        steps.push(Step { args: load, compare: Compare::Exact });
        let call = words(&[b"EVALSHA", STRLEN.1.as_bytes(), b"1", &key]);
        self.names.insert("EVALSHA");
        steps.push(Step { args: call, compare: Compare::Exact });
    }

    /// A line with its words filled in; nothing if it would be a command that is left out.
    fn step(&mut self, line: &str, tag: &[u8]) -> Option<Step> {
        let anywhere = line.starts_with('%');
        let mut args: Vec<Vec<u8>> = Vec::new();
        for word in line.trim_start_matches('%').split(' ') {
            if let Some(pair) = word.strip_prefix("++") {
                let (first, second) = pair.split_once(':').unwrap();
                for _ in 0..self.rng.random_range(1..5) {
                    self.word(first, tag, anywhere, &mut args);
                    self.word(second, tag, anywhere, &mut args);
                }
            } else if let Some(word) = word.strip_prefix('+').filter(|word| word.starts_with('$')) {
                for _ in 0..self.rng.random_range(1..5) {
                    self.word(word, tag, anywhere, &mut args);
                }
            } else {
                let choices: Vec<&str> = word.split('|').collect();
                let word = choices.choose(&mut self.rng).unwrap();
                self.word(word, tag, anywhere, &mut args);
            }
        }
        // A name of a command may be written in any case.
        if self.rng.random_ratio(1, 8) {
            args[0].make_ascii_lowercase();
        }
        let text = |at: usize| args.get(at).map(|arg| String::from_utf8_lossy(arg).into_owned());
        let command = commands::find(&text(0)?, text(1).as_deref());
        let compare = command.map_or(Compare::Exact, |command| Compare::of(command, &args));
        self.names.extend(command.map(|command| command.command().name));
        let moves = command.is_some_and(|command| NOT_MOVING.contains(&command.command().name));
        if self.only_keys && moves {
            return None;
        }
        (compare != Compare::Skip).then_some(Step { args, compare })
    }

    fn word(&mut self, word: &str, tag: &[u8], anywhere: bool, args: &mut Vec<Vec<u8>>) {
        let mut sign = word.strip_prefix('$').and_then(|sign| sign.bytes().next());
        if word.len() != 2 {
            sign = None;
        }
        let arg = match sign {
            _ if word == "_" => return,
            Some(b'a') => {
                let kind = *TYPES.choose(&mut self.rng).unwrap();
                self.key_of(kind, tag, anywhere)
            }
            Some(kind @ b'L') => self.key_of(kind, tag, anywhere),
            Some(kind) if TYPES.contains(&kind) => {
                // Now and then a key that holds something else.
                let other = self.rng.random_ratio(1, 16);
                let kind = if other { *TYPES.choose(&mut self.rng).unwrap() } else { kind };
                self.key_of(kind, tag, anywhere)
            }
            Some(sign) => self.value(sign),
            None => match word.strip_prefix('@') {
                Some(rest) => [tag, rest.as_bytes()].concat(),
                // A space that is none between words.
                None => word.replace('\u{a0}', " ").into_bytes(),
            },
        };
        args.push(arg);
    }

    fn key_of(&mut self, kind: u8, tag: &[u8], anywhere: bool) -> Vec<u8> {
        if anywhere {
            let tag = self.tag();
            return self.key(kind, &tag);
        }
        self.key(kind, tag)
    }

    fn key(&mut self, kind: u8, tag: &[u8]) -> Vec<u8> {
        let number = self.rng.random_range(0..NUMBERS);
        key_name(kind, number, tag)
    }

    /// The beginning of keys that have one slot. Some hold bytes that are no text, or look like RESP.
    fn tag(&mut self) -> Vec<u8> {
        tag_name(self.rng.random_range(0..TAGS))
    }

    fn value(&mut self, sign: u8) -> Vec<u8> {
        let rng = &mut self.rng;
        let small = rng.random_range(0..12);
        match sign {
            b'v' => match rng.random_range(0..300) {
                0..100 => format!("{}", rng.random_range(-9..40)).into_bytes(),
                100..200 => format!("v{small}").into_bytes(),
                200..220 => vec![],
                220..240 => format!("{}", rng.random::<i64>()).into_bytes(),
                240..260 => b"\r\n+OK\r\n-ERR\0".to_vec(),
                // Passed on as it lies.
                260..262 => vec![b'B'; rng.random_range(30_000..150_000)],
                _ => (0..rng.random_range(0..60)).map(|_| rng.random()).collect(),
            },
            b'm' => match rng.random_range(0..4) {
                0 => format!("{small}").into_bytes(),
                1 => vec![0, small as u8, 0xff],
                _ => format!("m{small}").into_bytes(),
            },
            b'f' => match rng.random_range(0..40) {
                // So many that a hash becomes a table.
                0 => format!("f{}", rng.random_range(0..1000)).into_bytes(),
                1 => vec![b'F'; 70],
                _ => format!("f{small}").into_bytes(),
            },
            b'i' => format!("{small}").into_bytes(),
            b'n' => format!("{}", small - 4).into_bytes(),
            b'd' => ["0", "1", "-1.5", "3.25", "7", "-0.1", "1e2", "12.5", "x", "inf"]
                .choose(rng)
                .unwrap()
                .as_bytes()
                .to_vec(),
            b'e' => format!("{}-{}", rng.random_range(0..40), rng.random_range(0..3)).into_bytes(),
            b'r' => ["-", "+", "5", "20-1", "(7-0", "0", "99"].choose(rng).unwrap().as_bytes().to_vec(),
            b'c' => ["-inf", "+inf", "0", "(1", "7", "-1.5", "x"].choose(rng).unwrap().as_bytes().to_vec(),
            b'y' => ["-", "+", "[m1", "(m5", "[m9", "m"].choose(rng).unwrap().as_bytes().to_vec(),
            b't' => format!("{}", 4_000_000_000u64 + small as u64).into_bytes(),
            b'T' => format!("{}", 4_000_000_000_000u64 + small as u64).into_bytes(),
            other => panic!("no word ${}", other as char),
        }
    }
}

fn key_name(kind: u8, number: usize, tag: &[u8]) -> Vec<u8> {
    [tag, &[kind], format!("{number}").as_bytes()].concat()
}

fn tag_name(number: usize) -> Vec<u8> {
    match number % 6 {
        0 => format!("{{\r\n${number}\r\n\0}}").into_bytes(),
        1 => [b"\xff\xfe{".as_slice(), &[0x80, number as u8], b"}{not}"].concat(),
        2 => format!("a{{\"'*{number}\t}}").into_bytes(),
        _ => format!("{{t{number}}}").into_bytes(),
    }
}

/// Commands whose replies are others while slots move: about all keys; about how a key is stored, which is not
/// the same after it was moved; and functions, which a group that gets its first slot does not have.
const NOT_MOVING: &[&str] = &[
    "DBSIZE",
    "KEYS",
    "OBJECT|ENCODING",
    "OBJECT|REFCOUNT",
    "OBJECT|IDLETIME",
    "XINFO|STREAM",
    "XINFO|GROUPS",
    "FUNCTION|LOAD",
    "FUNCTION|LIST",
    "FUNCTION|DELETE",
    "FUNCTION|FLUSH",
    "FCALL",
    "FCALL_RO",
];

/// Commands that the proxy does not let into a transaction, or that need a slot of their own.
const NOT_INSIDE: &[&str] = &[
    "WATCH",
    "MULTI",
    "EXEC",
    "DISCARD",
    "UNWATCH",
    "RESET",
    "HELLO",
    "SELECT",
    "CLIENT",
    "INFO",
    "COMMAND",
    "DBSIZE",
    "KEYS",
    "TIME",
    "SCRIPT|LOAD",
    "SCRIPT|EXISTS",
    "FUNCTION|LOAD",
    "FUNCTION|LIST",
    "FUNCTION|DELETE",
    "FUNCTION|FLUSH",
    "PUBSUB|CHANNELS",
    "PUBSUB|NUMPAT",
    "PUBSUB|NUMSUB",
];
