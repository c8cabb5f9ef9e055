//! Plain text in columns: a label and what belongs to it, wrapped, with wide characters counted as two.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Longest line of a mail.
const WIDTH: usize = 78;
/// Where the text beside a label begins.
const INDENT: usize = 7;

/// `label  text`, further lines indented.
pub(crate) fn labelled(label: &str, text: &str) -> String {
    let pad = INDENT.saturating_sub(label.width()).max(1);
    let mut out = format!("{label}{:pad$}", "");
    let first = WIDTH - label.width() - pad;
    for (i, line) in wrap(text, first, WIDTH - INDENT).iter().enumerate() {
        if i > 0 {
            out.push('\n');
            out.push_str(&" ".repeat(INDENT));
        }
        out.push_str(line);
    }
    out.trim_end().to_owned()
}

/// Lines without a label.
pub(crate) fn paragraph(text: &str) -> String {
    wrap(text, WIDTH, WIDTH).join("\n")
}

/// Breaks at blanks and between wide characters; a word that is longer than a line is broken anywhere.
fn wrap(text: &str, first: usize, rest: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut room = first;
    for unit in units(text) {
        let width = unit.width();
        if width <= room {
            room -= width;
            push(&mut lines, unit);
            continue;
        }
        if unit.starts_with(' ') {
            // A blank at a break goes.
            room = 0;
            continue;
        }
        if !lines.last().is_some_and(String::is_empty) {
            lines.push(String::new());
            room = rest;
        }
        for c in unit.chars() {
            let width = c.width().unwrap_or(0);
            if width > room {
                lines.push(String::new());
                room = rest;
            }
            room -= width;
            push(&mut lines, c.encode_utf8(&mut [0; 4]));
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

fn push(lines: &mut [String], text: &str) {
    if let Some(line) = lines.last_mut() {
        line.push_str(text);
    }
}

/// Runs of blanks, runs of narrow characters, and wide characters one by one, each with the closing mark behind it.
fn units(text: &str) -> Vec<&str> {
    let class = |c: char| match c {
        ' ' => 0,
        c if c.width() == Some(2) => 2,
        _ => 1,
    };
    let mut units = Vec::new();
    let mut start = 0;
    let mut last: Option<char> = None;
    for (at, c) in text.char_indices() {
        let closing = matches!(c, '，' | '；' | '：' | '）' | '。' | '”');
        let together = match last {
            None => true,
            Some('（' | '“') => true,
            Some(_) if closing => true,
            Some(before) => class(before) == class(c) && class(c) != 2,
        };
        if !together {
            units.push(&text[start..at]);
            start = at;
        }
        last = Some(c);
    }
    if start < text.len() {
        units.push(&text[start..]);
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_longer_than_78_columns() {
        let words = "codisctl group promote 9 10.0.7.52:6389 --force    ".repeat(5);
        let chinese = "没有可以提升的从库：10.0.7.52:6389 连接断开（最大延迟 10 秒）；".repeat(4);
        let long = "x".repeat(300);
        for text in [&words, &chinese, &long] {
            for label in ["since", "已处理"] {
                let out = labelled(label, text);
                assert!(out.lines().all(|line| line.width() <= WIDTH), "{out}");
                assert!(
                    out.lines().skip(1).all(|line| line.starts_with("       ") && line.len() > 7),
                    "{out}"
                );
                let squeeze = |text: &str| text.replace([' ', '\n'], "");
                assert_eq!(squeeze(&out), squeeze(&format!("{label}{text}")));
            }
        }
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        assert_eq!(labelled("next", "codisctl x    if it stays"), "next   codisctl x    if it stays");
        assert_eq!(labelled("下一步", "无"), "下一步 无");
        assert_eq!(labelled("done", ""), "done");
    }
}
