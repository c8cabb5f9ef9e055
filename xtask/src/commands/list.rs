//! The list: a line for each command.

use anyhow::{Context as _, bail, ensure};

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) arity: i64,
    /// As `COMMAND` names them.
    pub(super) flags: Vec<String>,
    pub(super) keys: Vec<Keys>,
    /// A value of `Class`, with its argument if it has one.
    pub(super) class: (String, Option<String>),
    /// The release that brought it, if it is newer than Redis 7.0.
    pub(super) since: Option<String>,
}

/// A rule that finds keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Keys {
    Range { first: i64, last: i64, step: i64 },
    Count { at: i64, step: i64 },
    After { word: String, from: i64 },
    Streams { from: i64 },
    SortStore,
}

/// Flags that the table keeps, in its order, each with its name there.
pub(super) const FLAGS: &[(&str, &str)] = &[
    ("write", "WRITE"),
    ("readonly", "READ"),
    ("denyoom", "DENYOOM"),
    ("fast", "FAST"),
    ("blocking", "BLOCKING"),
    ("movablekeys", "MOVABLE"),
];

pub(super) fn parse(text: &str) -> anyhow::Result<Vec<Row>> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
    let rows: Vec<Row> = lines
        .map(|(number, line)| row(line).with_context(|| format!("line {number}")))
        .collect::<anyhow::Result<_>>()?;
    for pair in rows.windows(2) {
        let [before, after] = pair else { continue };
        ensure!(before.name < after.name, "{} does not stand behind {}", after.name, before.name);
    }
    Ok(rows)
}

fn row(line: &str) -> anyhow::Result<Row> {
    let cells: Vec<&str> = line.split('\t').collect();
    let &[name, arity, flags, keys, class, ref rest @ ..] = &cells[..] else {
        bail!("needs five columns, separated by tabs: name, arity, flags, keys, class");
    };
    ensure!(name == name.to_ascii_uppercase(), "{name} must be in upper case");
    let flags: Vec<String> = cell(flags).map(str::to_owned).collect();
    if let Some(unknown) = flags.iter().find(|flag| FLAGS.iter().all(|(known, _)| known != flag)) {
        let known: Vec<&str> = FLAGS.iter().map(|(name, _)| *name).collect();
        bail!("{name}: no flag {unknown}; may be {}", known.join(", "));
    }
    let class = match class.split_once('(') {
        Some((class, argument)) => {
            (class, Some(argument.strip_suffix(')').context("a bracket is not closed")?))
        }
        None => (class, None),
    };
    Ok(Row {
        name: name.to_owned(),
        arity: arity.parse().with_context(|| format!("{name}: arity {arity}"))?,
        flags,
        keys: cell(keys).map(key_rule).collect::<anyhow::Result<_>>().with_context(|| name.to_owned())?,
        class: (class.0.to_owned(), class.1.map(str::to_owned)),
        since: rest.first().map(ToString::to_string),
    })
}

fn cell(cell: &str) -> impl Iterator<Item = &str> {
    cell.split(',').filter(|part| *part != "-")
}

fn key_rule(text: &str) -> anyhow::Result<Keys> {
    let number = |text: &str| text.parse::<i64>().with_context(|| format!("keys {text:?}: no number"));
    if text == "sort-store" {
        return Ok(Keys::SortStore);
    }
    let (text, step) = match text.split_once('/') {
        Some((text, step)) => (text, number(step)?),
        None => (text, 1),
    };
    if let Some((word, at)) = text.split_once('@') {
        let at = number(at)?;
        return Ok(match word {
            "n" => Keys::Count { at, step },
            "streams" => Keys::Streams { from: at },
            word => Keys::After { word: word.to_owned(), from: at },
        });
    }
    let (first, last) = match (text.split_once(".."), text.split_once('-')) {
        (Some((first, "")), _) => (number(first)?, -1),
        (Some((first, last)), _) => (number(first)?, number(last)?),
        (None, Some((first, last))) => (number(first)?, number(last)?),
        (None, None) => (number(text)?, number(text)?),
    };
    Ok(Keys::Range { first, last, step })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let rows =
            parse("# x\nBZMPOP\t-5\twrite,blocking\tn@2\tSlot\nDEL\t-2\twrite\t1..\tSum\tRedis 9\n").unwrap();
        assert_eq!(rows[0].keys, [Keys::Count { at: 2, step: 1 }]);
        assert_eq!((rows[0].arity, rows[0].flags.len(), &rows[0].since), (-5, 2, &None));
        assert_eq!(rows[1].keys, [Keys::Range { first: 1, last: -1, step: 1 }]);
        assert_eq!(rows[1].since.as_deref(), Some("Redis 9"));
        let rows = parse("X\t-2\t-\t1,STORE@5,1-2,1..-2/2,sort-store,streams@4\tFan(Keys)").unwrap();
        assert_eq!(rows[0].keys.len(), 6);
        assert_eq!(rows[0].class, ("Fan".to_owned(), Some("Keys".to_owned())));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |text: &str| format!("{:#}", parse(text).unwrap_err());
        assert!(wrong("GET\t2").contains("line 1: needs five columns"));
        assert!(wrong("get\t2\t-\t1\tSlot").contains("upper case"));
        assert!(wrong("GET\t2\tquick\t1\tSlot").contains("no flag quick; may be write, readonly"));
        assert!(wrong("GET\t2\t-\tall\tSlot").contains("no number"));
        assert!(wrong("GET\tx\t-\t1\tSlot").contains("arity x"));
        assert!(wrong("SET\t2\t-\t1\tSlot\nGET\t2\t-\t1\tSlot").contains("GET does not stand behind SET"));
    }
}
