//! Rules about files: their size, paths of one machine in them, tests that nobody compiles.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::Finding;

/// Where a file should be split.
const SOFT_LINES: usize = 400;
/// Where it must be.
const HARD_LINES: usize = 800;

/// Directories that exist on somebody's machine only. Spelled in two parts, so that this file passes.
const MACHINE_DIRS: &[&str] =
    &[concat!("/wo", "rk"), concat!("/ro", "ot"), concat!("/ho", "me"), concat!("/Use", "rs")];

/// A text file of the repository.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// Relative to the root.
    pub(crate) path: PathBuf,
    content: String,
}

impl Text {
    #[cfg(test)]
    pub(crate) fn new(path: &str, content: &str) -> Self {
        Self { path: path.into(), content: content.to_owned() }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|e| e == "rs")
    }

    /// `path:line`.
    pub(crate) fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    /// Where one of `words` stands as a word of its own, with line numbers from 1; comments do not count.
    pub(crate) fn words<'w>(&self, words: &[&'w str]) -> Vec<(usize, &'w str)> {
        let mut found = Vec::new();
        for (number, line) in self.content.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            for word in words {
                if has_word(code, word) {
                    found.push((number + 1, *word));
                }
            }
        }
        found
    }

    /// Lines of code: without the unit tests at the end.
    fn lines_of_code(&self) -> usize {
        let lines: Vec<&str> = self.content.lines().collect();
        lines
            .windows(2)
            .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod "))
            .unwrap_or(lines.len())
    }

    fn is_test(&self) -> bool {
        let in_tests = self.path.components().rev().skip(1).any(|c| c.as_os_str() == "tests");
        in_tests || self.path.file_stem().is_some_and(|stem| stem == "tests")
    }
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part))
}

/// All text files that git tracks or would track.
pub(crate) fn texts(root: &Path) -> anyhow::Result<Vec<Text>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("cannot run git ls-files")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let mut texts = Vec::new();
    for name in output.stdout.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let path = PathBuf::from(String::from_utf8_lossy(name).into_owned());
        // A file may be deleted and not committed yet; one that is no UTF-8 is no text.
        if let Ok(content) = std::fs::read_to_string(root.join(&path)) {
            texts.push(Text { path, content });
        }
    }
    Ok(texts)
}

pub(crate) fn check(files: &[Text]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        findings.extend(size(file));
        findings.extend(machine_paths(file));
        findings.extend(forgotten_test(file, files));
    }
    findings
}

fn size(file: &Text) -> Option<Finding> {
    if !file.is_rust() || file.is_test() {
        return None;
    }
    let lines = file.lines_of_code();
    let place = file.path.display().to_string();
    if lines > HARD_LINES {
        let message = format!("{lines} lines of code, at most {HARD_LINES}: split it by what it does");
        return Some(Finding::error("size", place, message));
    }
    (lines > SOFT_LINES).then(|| {
        Finding::warning("size", place, format!("{lines} lines of code, better at most {SOFT_LINES}"))
    })
}

fn machine_paths(file: &Text) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.content.lines().enumerate() {
        for dir in MACHINE_DIRS {
            let hit = line.match_indices(dir).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                let after = line[at + dir.len()..].chars().next();
                !before.is_some_and(|c| c.is_alphanumeric() || "/._-}>".contains(c)) && after == Some('/')
            });
            if hit {
                let message = format!("a path under {dir} exists on one machine only; make it relative");
                findings.push(Finding::error("paths", file.place(number + 1), message));
            }
        }
    }
    findings
}

/// Cargo finds `tests/*.rs` by itself; what lies deeper is compiled only if a file there names it.
fn forgotten_test(file: &Text, files: &[Text]) -> Option<Finding> {
    if !file.is_rust() {
        return None;
    }
    let parts: Vec<_> = file.path.components().collect();
    let tests = parts.iter().rposition(|c| c.as_os_str() == "tests")?;
    let stem = file.path.file_stem()?.to_str()?;
    if parts.len() <= tests + 2 || stem == "main" {
        return None;
    }
    let module = if stem == "mod" { file.path.parent()?.file_name()?.to_str()? } else { stem };
    let folder: PathBuf = parts[..=tests].iter().collect();
    let declared = files
        .iter()
        .filter(|f| f.is_rust() && f.path.starts_with(&folder))
        .any(|f| f.content.lines().any(|l| l.trim_start_matches("pub ").trim() == format!("mod {module};")));
    // The package of end-to-end stories is itself a folder called tests, with sources.
    let is_source = parts.get(tests + 1).is_some_and(|c| c.as_os_str() == "src");
    (!declared && !is_source).then(|| {
        let message = format!("no file of {} says `mod {module};`: it is never compiled", folder.display());
        Finding::error("tests", file.path.display().to_string(), message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[Text]) -> Vec<String> {
        check(files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn long_files_warn_then_fail_and_their_tests_do_not_count() {
        let code = "let a = 1;\n";
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", code.repeat(900));
        assert!(found(&[Text::new("a/src/x.rs", &(code.repeat(400) + &tests))]).is_empty());
        assert!(found(&[Text::new("a/tests/x.rs", &code.repeat(900))]).is_empty());
        assert_eq!(
            found(&[Text::new("a/src/x.rs", &code.repeat(401))]),
            ["warning[size] a/src/x.rs: 401 lines of code, better at most 400"]
        );
        assert_eq!(
            found(&[Text::new("a/src/x.rs", &code.repeat(801))]),
            ["error[size] a/src/x.rs: 801 lines of code, at most 800: split it by what it does"]
        );
    }

    #[test]
    fn paths_of_one_machine_are_found_and_relative_ones_are_not() {
        let bad = format!("see\n`{}/me/notes`\n", MACHINE_DIRS[0]);
        let messages = found(&[Text::new("README.md", &bad)]);
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(messages[0].starts_with("error[paths] README.md:2: "), "{messages:?}");
        let fine =
            format!("a{}/x ../target{}/x http://h{}", MACHINE_DIRS[0], MACHINE_DIRS[1], MACHINE_DIRS[2]);
        assert!(found(&[Text::new("README.md", &fine)]).is_empty());
    }

    #[test]
    fn a_nested_test_file_must_be_declared() {
        let main = Text::new("a/tests/story/main.rs", "mod used;\n");
        let used = Text::new("a/tests/story/used.rs", "");
        let lost = Text::new("a/tests/story/lost.rs", "");
        assert!(found(&[main.clone(), used]).is_empty());
        assert_eq!(
            found(&[main, lost]),
            ["error[tests] a/tests/story/lost.rs: no file of a/tests says `mod lost;`: it is never compiled"]
        );
    }

    #[test]
    fn words_are_whole_and_not_in_comments() {
        let text = Text::new("a.rs", "Instant\nInstants\n// Instant\nlet x = my::Instant::now();\n");
        assert_eq!(text.words(&["Instant"]), [(1, "Instant"), (4, "Instant")]);
    }
}
