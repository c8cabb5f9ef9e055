//! One message: the notices of a round, as a mail with a plain and an HTML part, and as JSON.

use std::collections::BTreeMap;

use codis_core::Severity;
use codis_core::notice::{Notice, NoticeKind};
use minijinja::Value;
use serde_json::json;

use crate::texts::values_of;
use crate::{Texts, layout, show};

/// What stands around the alerts of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letterhead {
    /// The product.
    pub product: String,
    /// Who writes.
    pub agent: String,
    /// Number of the message.
    pub number: u64,
    /// What lasts is told again after so long, milliseconds.
    pub interval_ms: u64,
    /// The agent does nothing but look.
    pub observe_only: bool,
    /// When it is written, Unix milliseconds.
    pub now_ms: u64,
}

/// A message that is ready to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The subject, in one line.
    pub subject: String,
    /// The plain part, at most 78 columns wide.
    pub text: String,
    /// The same as HTML.
    pub html: String,
    /// The same for programs.
    pub json: serde_json::Value,
}

/// A label and what belongs to it.
type Row = (String, String);

struct Block {
    what: String,
    rows: Vec<Row>,
    json: serde_json::Value,
}

impl Texts {
    /// Writes the message of a round's notices, in their order. Nothing to tell is no message.
    pub fn message(&self, notices: &[Notice], head: &Letterhead) -> Option<Message> {
        let first = notices.first()?;
        let blocks: Vec<Block> = notices.iter().map(|notice| self.block(notice, head)).collect();
        let mut values: BTreeMap<String, Value> = [
            ("severity", Value::from(self.word(severity_word(first)))),
            ("product", Value::from(head.product.as_str())),
            ("what", Value::from(blocks.first().map_or("", |block| block.what.as_str()))),
            ("more", Value::from(notices.len() - 1)),
            ("agent", Value::from(head.agent.as_str())),
            ("number", Value::from(head.number)),
            ("offset", Value::from(show::moment(head.now_ms, self.zone(), "%:z"))),
            ("interval", Value::from(head.interval_ms)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        values.insert("observe_only".to_owned(), Value::from(head.observe_only));
        // A line break in a subject would be another header.
        let subject = self.say("mail.subject", &values).replace(['\r', '\n'], " ");
        let mut footer = vec![self.say("mail.agent", &values), self.say("mail.quiet", &values)];
        if head.observe_only {
            footer.insert(0, self.say("mail.observe_only", &values));
        }
        let alerts: Vec<_> = blocks.iter().map(|block| block.json.clone()).collect();
        let text = plain(&blocks, &footer);
        let json = json!({
            "product": head.product, "agent": head.agent, "number": head.number, "ts_ms": head.now_ms,
            "observe_only": head.observe_only, "subject": subject, "text": text, "alerts": alerts,
        });
        Some(Message { html: self.html(&blocks, &footer), subject, text, json })
    }

    /// What `alert list` says of an alert in one line: the number that crossed the line.
    pub fn line(&self, notice: &Notice, product: &str) -> String {
        let alert = &notice.alert;
        let values = values_of(&alert.facts, product, &alert.subject);
        self.say(&format!("{}.line", alert.kind()), &values)
    }

    fn block(&self, notice: &Notice, head: &Letterhead) -> Block {
        let alert = &notice.alert;
        let values = values_of(&alert.facts, &head.product, &alert.subject);
        let say = |part: &str| self.say(&format!("{}.{part}", alert.kind()), &values);
        let [subject, what, place, line] = ["subject", "what", "where", "line"].map(say);
        let row = |word: &str, text: String| (self.word(word), text);
        let time = |ms: u64| show::moment(ms, self.zone(), "%Y-%m-%d %H:%M:%S");
        let over = notice.kind == NoticeKind::Recovered;
        let (done, next) = if over { (String::new(), String::new()) } else { (say("done"), say("next")) };
        let rows = if over {
            let lasted = show::span(notice.at_ms.saturating_sub(alert.since_ms), self.lang());
            let until = format!("{lasted}, {} {}  {what}", self.word("until"), time(notice.at_ms));
            vec![row("lasted", until), row("where", place.clone()), row("line", line.clone())]
        } else {
            let since = format!("{}  {what}", time(alert.since_ms));
            let mut rows = vec![row("since", since), row("where", place.clone()), row("line", line.clone())];
            rows.extend([row("done", done.clone()), row("next", next.clone())]);
            rows
        };
        let facts: serde_json::Map<_, _> =
            alert.facts.fields().into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
        let json = json!({
            "notice": match notice.kind {
                NoticeKind::Fired => "fired",
                NoticeKind::Repeated => "repeated",
                NoticeKind::Recovered => "recovered",
            },
            "kind": alert.kind().as_str(), "about": alert.subject, "severity": alert.severity.as_str(),
            "since_ms": alert.since_ms, "count": notice.count, "subject": subject, "what": what,
            "where": place, "line": line, "done": done, "next": next, "facts": facts,
        });
        Block { what: subject, rows, json }
    }

    fn html(&self, blocks: &[Block], footer: &[String]) -> String {
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"{}\"><body style=\"font-family:sans-serif\">\n",
            self.lang().as_str()
        );
        for block in blocks {
            out.push_str("<table>\n");
            for (label, text) in &block.rows {
                out.push_str(&format!(
                    "<tr><th align=\"left\" valign=\"top\">{}</th><td>{}</td></tr>\n",
                    escape(label),
                    escape(text)
                ));
            }
            out.push_str("</table>\n<br>\n");
        }
        let footer: Vec<String> = footer.iter().map(|line| escape(line)).collect();
        out.push_str(&format!("<p style=\"color:#666\">{}</p>\n</body></html>\n", footer.join("<br>\n")));
        out
    }
}

fn severity_word(notice: &Notice) -> &'static str {
    match (notice.kind, notice.alert.severity) {
        (NoticeKind::Recovered, _) => "ok",
        (_, Severity::Critical) => "critical",
        (_, Severity::Warning) => "warning",
        (_, Severity::Info) => "info",
    }
}

fn plain(blocks: &[Block], footer: &[String]) -> String {
    let mut out = String::new();
    for block in blocks {
        for (label, text) in &block.rows {
            out.push_str(&layout::labelled(label, text));
            out.push('\n');
        }
        out.push('\n');
    }
    out.push_str("--\n");
    for line in footer {
        out.push_str(&layout::paragraph(line));
        out.push('\n');
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
