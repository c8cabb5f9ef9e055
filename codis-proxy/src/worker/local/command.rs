//! COMMAND: what the proxy knows about commands. What only a server knows, it is asked.

use codis_resp::{COMMANDS, Command, CommandId, flag, lookup};

use super::{
    super::{
        Worker,
        dispatch::{Frame, printable},
        glob::matches,
        proto::Answer,
        session::SessionId,
    },
    Instead,
};

const HELP: &[&str] = &[
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Return details about all commands.",
    "COUNT",
    "    Return the number of commands.",
    "LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
    "    Return the names of commands.",
    "INFO [<command> ...]",
    "    Return details about commands.",
    "DOCS [<command> ...]",
    "    Return what a server says about commands.",
    "GETKEYS <full-command>",
    "    Return the keys of a command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys of a command and what a server does with them.",
    "HELP",
    "    Print this help.",
];

impl Worker {
    pub(super) fn about_commands(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        answer: &mut Answer,
    ) -> Result<(), Instead> {
        let Some(sub) = frame.args.get(1).map(|arg| arg.of(frame.bytes).to_ascii_uppercase()) else {
            return all(answer);
        };
        match (sub.as_slice(), frame.args.len()) {
            (b"COUNT", 2) => answer.integer(top().count() as i64),
            (b"DOCS", _) | (b"GETKEYSANDFLAGS", 4..) => {
                return Err(Instead::Outcome(self.one_slot(id, command, frame, None)));
            }
            (b"LIST", 2) => list(|_| true, answer),
            (b"LIST", 5) if frame.arg(2).eq_ignore_ascii_case(b"FILTERBY") => {
                let word = frame.arg(4).to_ascii_lowercase();
                match frame.arg(3).to_ascii_uppercase().as_slice() {
                    b"MODULE" => list(|_| false, answer),
                    b"ACLCAT" => list(|row| categories(row).any(|name| name.as_bytes() == word), answer),
                    b"PATTERN" => {
                        list(|row| matches(&word, row.name.to_ascii_lowercase().as_bytes()), answer);
                    }
                    _ => return Err("ERR syntax error".into()),
                }
            }
            (b"LIST", _) => return Err("ERR syntax error".into()),
            (b"INFO", 2) => return all(answer),
            (b"INFO", _) => {
                answer.array(frame.args.len() - 2);
                for arg in &frame.args[2..] {
                    match find(arg.of(frame.bytes)) {
                        Some(command) => describe(command, answer),
                        None => answer.null(),
                    }
                }
            }
            (b"GETKEYS", 4..) => return keys_of(frame, answer),
            (b"HELP", 2) => answer.lines(HELP),
            (b"COUNT" | b"GETKEYS" | b"GETKEYSANDFLAGS" | b"HELP", _) => {
                let sub = String::from_utf8_lossy(&sub).to_ascii_lowercase();
                return Err(format!("ERR wrong number of arguments for 'command|{sub}' command").into());
            }
            _ => {
                let sub = printable(frame.arg(1));
                return Err(format!("ERR unknown subcommand '{sub}'. Try COMMAND HELP.").into());
            }
        }
        Ok(())
    }
}

/// Commands that are no subcommands.
fn top() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().filter(|command| !command.name.contains('|'))
}

fn all(answer: &mut Answer) -> Result<(), Instead> {
    answer.array(top().count());
    top().for_each(|command| describe(command, answer));
    Ok(())
}

fn list(which: impl Fn(&Command) -> bool, answer: &mut Answer) {
    let chosen: Vec<&Command> = top().filter(|row| which(row)).collect();
    answer.array(chosen.len());
    chosen.iter().for_each(|row| answer.bulk(row.name.to_ascii_lowercase().as_bytes()));
}

/// The command, or the subcommand in the form `container|sub`, of this name.
fn find(name: &[u8]) -> Option<&'static Command> {
    Some(lookup(name)?.command())
}

/// The categories of ACLs that follow from what the proxy knows of a command.
fn categories(command: &Command) -> impl Iterator<Item = &'static str> {
    let has = |bit| command.flags & bit != 0;
    let speed = if has(flag::FAST) { "fast" } else { "slow" };
    let more = [(flag::WRITE, "write"), (flag::READ, "read"), (flag::BLOCKING, "blocking")];
    more.into_iter().filter(move |(bit, _)| has(*bit)).map(|(_, name)| name).chain([speed])
}

/// One command as `COMMAND INFO` tells it: name, arity, flags, first key, last key, step, categories; tips
/// and key specifications are not known; subcommands.
fn describe(command: &Command, answer: &mut Answer) {
    answer.array(10);
    answer.bulk(command.name.to_ascii_lowercase().as_bytes());
    answer.integer(i64::from(command.arity));
    let names = [
        (flag::WRITE, "write"),
        (flag::READ, "readonly"),
        (flag::DENYOOM, "denyoom"),
        (flag::FAST, "fast"),
        (flag::BLOCKING, "blocking"),
        (flag::MOVABLE, "movablekeys"),
    ];
    let set = || names.iter().filter(|(bit, _)| command.flags & bit != 0);
    answer.set(set().count());
    set().for_each(|(_, name)| answer.status(name));
    let (first, last, step) = command.key_range();
    [first, last, step].iter().for_each(|n| answer.integer(i64::from(*n)));
    answer.set(categories(command).count());
    categories(command).for_each(|name| answer.status(&format!("@{name}")));
    answer.set(0);
    answer.set(0);
    let prefix = format!("{}|", command.name);
    let subcommands = || COMMANDS.iter().filter(|other| other.name.starts_with(&prefix));
    answer.array(subcommands().count());
    subcommands().for_each(|sub| describe(sub, answer));
}

fn keys_of(frame: Frame<'_>, answer: &mut Answer) -> Result<(), Instead> {
    let inner = Frame { args: &frame.args[2..], ..frame };
    let command = lookup(inner.arg(0)).ok_or("ERR Invalid command specified")?;
    let command = match inner.args.get(1) {
        Some(sub) => command.subcommand(sub.of(inner.bytes)).unwrap_or(command),
        None => command,
    };
    if !command.command().has_keys() {
        return Err("ERR The command has no key arguments".into());
    }
    if !command.command().takes(inner.args.len()) {
        return Err("ERR Invalid number of arguments specified for command".into());
    }
    let mut keys = Vec::new();
    let found = command.command().each_key(inner.bytes, inner.args, |at| keys.push(at));
    found.map_err(|error| format!("ERR {error}"))?;
    if keys.is_empty() {
        return Err("ERR The command has no key arguments".into());
    }
    answer.array(keys.len());
    keys.into_iter().for_each(|at| answer.bulk(inner.arg(at)));
    Ok(())
}
