//! `cargo xtask tidy`: the house rules that a compiler does not check.
//!
//! The same function runs as a test, so that plain `cargo test` says everything that CI says.

mod crates;
mod files;

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::{commands, shell};

/// One violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Short name of the rule.
    rule: &'static str,
    /// File, and line where there is one.
    place: String,
    /// What is wrong, and what to do instead.
    message: String,
    /// A warning is shown and does not fail.
    severity: Severity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Warning,
    Error,
}

impl Finding {
    fn error(rule: &'static str, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { rule, place: place.into(), message: message.into(), severity: Severity::Error }
    }

    fn warning(rule: &'static str, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(rule, place, message) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}[{}] {}: {}", self.rule, self.place, self.message)
    }
}

/// # Errors
/// When a rule is broken; each place has been printed.
pub(crate) fn run() -> anyhow::Result<()> {
    let findings = check(shell::root())?;
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings.iter().filter(|f| f.severity == Severity::Error).count();
    if errors > 0 {
        bail!("{errors} house rules broken");
    }
    println!("tidy: all rules hold, {} warnings", findings.len());
    Ok(())
}

/// All findings in the workspace at `root`.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(root)
        .no_deps()
        .exec()
        .context("cannot read the workspace with cargo metadata")?;
    let packages = crates::packages(&metadata, root);
    let files = files::texts(root)?;
    let mut findings = crates::check(&packages);
    findings.extend(crates::check_sources(&packages, &files));
    findings.extend(files::check(&files));
    if !commands::is_current(root)? {
        let next = "it is not what commands.tsv says; next: edit that, then cargo xtask commands";
        findings.push(Finding::error("commands", "crates/codis-resp/src/command/table.rs", next));
    }
    findings.sort_by(|a, b| (a.rule, &a.place).cmp(&(b.rule, &b.place)));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_is_tidy() {
        let findings = check(shell::root()).unwrap();
        let errors: Vec<_> =
            findings.iter().filter(|f| f.severity == Severity::Error).map(ToString::to_string).collect();
        assert!(errors.is_empty(), "{}", errors.join("\n"));
    }
}
