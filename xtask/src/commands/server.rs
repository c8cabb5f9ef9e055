//! What a real redis-server says of its commands.

use anyhow::{Context as _, bail};
use codis_testkit::{RedisServer, Reply};

use super::list::{FLAGS, Keys, Row};

/// Places in which the list says something else than the server that is installed.
///
/// # Errors
/// When the server cannot be asked.
pub(super) fn differences(list: &[Row]) -> anyhow::Result<Vec<String>> {
    let server = RedisServer::builder().try_start()?;
    let Reply::Array(Some(commands)) = server.client().call(&["COMMAND"])? else {
        bail!("no answer to COMMAND")
    };
    let mut found = Vec::new();
    for command in &commands {
        compare(list, command, &mut found).context("COMMAND is answered in a form that is not known")?;
    }
    Ok(found)
}

/// Compares a command and its subcommands.
fn compare(list: &[Row], theirs: &Reply, found: &mut Vec<String>) -> Option<()> {
    let parts = items(theirs)?;
    let name = parts.first()?.text().to_ascii_uppercase();
    let Some(row) = list.iter().find(|row| row.name == name) else {
        // Subcommands of what is dealt with as a whole are not listed.
        let container = name.split_once('|').map(|(container, _)| container);
        let whole = |row: &Row| Some(row.name.as_str()) == container && row.class.0 != "Container";
        if !list.iter().any(whole) {
            found.push(format!("{name} is not in the list"));
        }
        return Some(());
    };
    let Reply::Int(arity) = parts.get(1)? else { return None };
    if *arity != row.arity {
        found.push(format!("{name}: arity {}, the server says {arity}", row.arity));
    }
    let flags: Vec<String> = items(parts.get(2)?)?.iter().map(Reply::text).collect();
    for (flag, _) in FLAGS {
        let (ours, theirs) = (row.flags.iter().any(|f| f == flag), flags.iter().any(|f| f == flag));
        if ours != theirs {
            found.push(format!("{name}: flag {flag}, the server says {}", if theirs { "yes" } else { "no" }));
        }
    }
    let specs: Option<Vec<Option<Keys>>> = items(parts.get(8)?)?.iter().map(key_spec).collect();
    let specs: Option<Vec<Keys>> = specs.map(|specs| specs.into_iter().flatten().collect());
    // What they cannot say in a general way (SORT, the words of GEORADIUS) is compared by the tests of codis-resp.
    if let Some(specs) = specs.filter(|_| is_general(row) && row.class.0 != "Refused")
        && merged(&specs) != merged(&row.keys)
    {
        found.push(format!("{name}: keys {:?}, the server says {specs:?}", row.keys));
    }
    for sub in items(parts.get(9)?)? {
        compare(list, sub, found)?;
    }
    Some(())
}

fn is_general(row: &Row) -> bool {
    row.keys.iter().all(|rule| !matches!(rule, Keys::SortStore | Keys::After { .. }))
}

/// Rules that stand side by side, as one.
fn merged(rules: &[Keys]) -> Vec<Keys> {
    let mut all: Vec<Keys> = Vec::new();
    for rule in rules {
        match (all.last_mut(), rule) {
            (Some(Keys::Range { last, step: 1, .. }), Keys::Range { first, last: next, step: 1 })
                if *last + 1 == *first =>
            {
                *last = *next;
            }
            _ => all.push(rule.clone()),
        }
    }
    all
}

/// One key specification. `Some(None)` for what looks like a key and is none; `None` if it cannot be said.
#[expect(clippy::option_option, reason = "two different kinds of nothing, for one caller")]
fn key_spec(spec: &Reply) -> Option<Option<Keys>> {
    let fields = pairs(spec)?;
    let flags = items(field(&fields, "flags")?)?;
    if flags.iter().any(|flag| flag.text() == "not_key") {
        return Some(None);
    }
    let begin = pairs(field(&fields, "begin_search")?)?;
    let find = pairs(field(&fields, "find_keys")?)?;
    let begin_spec = pairs(field(&begin, "spec")?)?;
    let find_spec = pairs(field(&find, "spec")?)?;
    let number = |fields: &[(String, &Reply)], name: &str| match field(fields, name)? {
        Reply::Int(number) => Some(*number),
        _ => None,
    };
    let keys = match (field(&begin, "type")?.text().as_str(), field(&find, "type")?.text().as_str()) {
        ("index", "range") => {
            let first = number(&begin_spec, "index")?;
            let last = number(&find_spec, "lastkey")?;
            let last = if last < 0 { last } else { first + last };
            Keys::Range { first, last, step: number(&find_spec, "keystep")? }
        }
        ("index", "keynum") => {
            let at = number(&begin_spec, "index")? + number(&find_spec, "keynumidx")?;
            Keys::Count { at, step: number(&find_spec, "keystep")? }
        }
        ("keyword", "range") if field(&begin_spec, "keyword")?.text() == "STREAMS" => {
            Keys::Streams { from: number(&begin_spec, "startfrom")? }
        }
        _ => return None,
    };
    Some(Some(keys))
}

fn items(reply: &Reply) -> Option<&[Reply]> {
    match reply {
        Reply::Array(Some(items)) => Some(items),
        _ => None,
    }
}

/// A map in RESP2: names and values by turns.
fn pairs(reply: &Reply) -> Option<Vec<(String, &Reply)>> {
    Some(items(reply)?.chunks_exact(2).map(|pair| (pair[0].text(), &pair[1])).collect())
}

fn field<'a>(fields: &[(String, &'a Reply)], name: &str) -> Option<&'a Reply> {
    fields.iter().find(|(field, _)| field == name).map(|(_, value)| *value)
}
