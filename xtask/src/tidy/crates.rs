//! Which crate may depend on which: ours on ours, and ours on client crates.

use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata};

use super::Finding;
use super::files::Text;

/// What each crate of ours may depend on among ours, outside of tests. The picture is in ARCHITECTURE.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("codis-core", &[]),
    ("codis-crash", &[]),
    ("codis-resp", &[]),
    ("codis-store", &["codis-core", "codis-crash"]),
    ("codis-redis", &["codis-core", "codis-crash"]),
    ("codis-admin", &["codis-core"]),
    ("codis-notify", &["codis-core"]),
    ("codis-ops", &["codis-store", "codis-redis", "codis-admin", "codis-notify", "codis-core"]),
    ("codisctl", &["codis-ops", "codis-core"]),
    ("codis-tui", &["codis-ops", "codis-core"]),
    ("codis-proxy", &["codis-store", "codis-resp", "codis-admin", "codis-core", "codis-crash"]),
    // The stand-in of a native server knows slots.
    ("codis-testkit", &["codis-core"]),
    // The stand-in of a Go proxy lives in a store.
    ("codis-tests", &["codis-core", "codis-store", "codis-testkit"]),
    ("xtask", &["codis-testkit"]),
];

/// Decisions without IO: no runtime, no serialisation format, no clock, so that they are tested as values.
const PURE: &[&str] = &["codis-core", "codis-resp"];

/// What a pure crate may use: bytes, numbers, searches, likeness of words, error types.
const PURE_MAY_USE: &[&str] = &["bytes", "crc32fast", "itoa", "memchr", "smallvec", "strsim", "thiserror"];

/// What would bring a clock, a file or a socket into a pure crate.
const IMPURE_WORDS: &[&str] = &["SystemTime", "Instant", "std::fs", "std::net", "std::process", "std::env"];

/// A client crate and the crates of ours that may name it.
struct Owned {
    client: &'static str,
    owners: &'static [&'static str],
    /// Tests may use it to look at the result from outside.
    in_tests: bool,
}

const fn owned(client: &'static str, owners: &'static [&'static str], in_tests: bool) -> Owned {
    Owned { client, owners, in_tests }
}

const OWNED: &[Owned] = &[
    owned("zookeeper-client", &["codis-store"], false),
    owned("rusqlite", &["codis-store"], false),
    owned("refinery", &["codis-store"], false),
    owned("redis", &["codis-redis"], true),
    owned("ratatui", &["codis-tui"], false),
    owned("crossterm", &["codis-tui"], false),
    owned("comfy-table", &["codisctl"], false),
    owned("indicatif", &["codisctl"], false),
    owned("lettre", &["codis-notify"], false),
    owned("hyper", &["codis-admin", "codis-notify"], true),
    owned("axum", &["codis-proxy"], false),
    owned("rustls", &["codis-notify", "codis-proxy"], true),
    owned("tokio-rustls", &["codis-notify", "codis-proxy"], true),
    owned("rcgen", &[], true),
    owned("codis-testkit", &["codis-tests", "xtask"], true),
];

/// Words that only one folder of a crate may name: a crate, the words, the folder.
const FOLDERS: &[(&str, &[&str], &str)] = &[("codisctl", &["comfy_table", "indicatif"], "src/render")];

/// A package of the workspace, reduced to what the rules look at.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Relative to the root.
    pub(crate) dir: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a `[dependencies]` table.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) only_tests: bool,
}

pub(crate) fn packages(metadata: &Metadata, root: &Path) -> Vec<Package> {
    metadata
        .workspace_packages()
        .iter()
        .map(|package| {
            let manifest = package.manifest_path.as_std_path();
            let dir = manifest.parent().unwrap_or(manifest);
            Package {
                name: package.name.to_string(),
                dir: dir.strip_prefix(root).unwrap_or(dir).to_owned(),
                dependencies: package
                    .dependencies
                    .iter()
                    .map(|d| Dependency {
                        name: d.name.clone(),
                        only_tests: d.kind == DependencyKind::Development,
                    })
                    .collect(),
            }
        })
        .collect()
}

/// The rules about dependencies.
pub(crate) fn check(packages: &[Package]) -> Vec<Finding> {
    packages.iter().flat_map(|package| check_package(package, packages)).collect()
}

fn check_package(package: &Package, all: &[Package]) -> Vec<Finding> {
    let name = package.name.as_str();
    let place = package.dir.join("Cargo.toml").display().to_string();
    let Some((_, arrows)) = ARROWS.iter().find(|(from, _)| *from == name) else {
        let message =
            format!("{name} has no row in the table ARROWS of xtask; add one, and to ARCHITECTURE.md");
        return vec![Finding::error("arrows", place, message)];
    };
    let mut findings = Vec::new();
    for dependency in &package.dependencies {
        let on = dependency.name.as_str();
        let ours = all.iter().any(|p| p.name == on);
        let owned = OWNED.iter().find(|o| o.client == on);
        if let Some(owned) = owned
            && !owned.owners.contains(&name)
            && !(dependency.only_tests && owned.in_tests)
        {
            let owners = owned.owners.join(", ");
            let tests = if owned.in_tests { ", and tests," } else { "" };
            let message = format!("{name} names `{on}`; only {owners}{tests} may: call that crate instead");
            findings.push(Finding::error("clients", place.clone(), message));
        }
        if dependency.only_tests {
            continue;
        }
        if ours && owned.is_none() && !arrows.contains(&on) {
            let allowed = if arrows.is_empty() { "no crate of ours".into() } else { arrows.join(", ") };
            let message = format!("{name} depends on {on}; it may depend on {allowed}");
            findings.push(Finding::error("arrows", place.clone(), message));
        }
        if PURE.contains(&name) && !ours && !PURE_MAY_USE.contains(&on) {
            let message = format!(
                "{name} is pure and names `{on}`; it may use {}: do the effect in an edge crate",
                PURE_MAY_USE.join(", ")
            );
            findings.push(Finding::error("pure", place.clone(), message));
        }
    }
    findings
}

/// The rules about what sources name.
pub(crate) fn check_sources(packages: &[Package], files: &[Text]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let sources = package.dir.join("src");
        for file in files.iter().filter(|f| f.path.starts_with(&sources) && f.is_rust()) {
            if PURE.contains(&package.name.as_str()) {
                for (line, word) in file.words(IMPURE_WORDS) {
                    let message =
                        format!("{} is pure and names `{word}`; take the value as a parameter", package.name);
                    findings.push(Finding::error("pure", file.place(line), message));
                }
            }
            for (owner, words, folder) in FOLDERS {
                if *owner != package.name || file.path.starts_with(package.dir.join(folder)) {
                    continue;
                }
                for (line, word) in file.words(words) {
                    let message =
                        format!("`{word}` is named outside of {owner}/{folder}; call a function there");
                    findings.push(Finding::error("clients", file.place(line), message));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, normal: &[&str], dev: &[&str]) -> Package {
        let dependency = |only_tests| move |n: &&str| Dependency { name: (*n).to_owned(), only_tests };
        Package {
            name: name.to_owned(),
            dir: PathBuf::from(name),
            dependencies: normal
                .iter()
                .map(dependency(false))
                .chain(dev.iter().map(dependency(true)))
                .collect(),
        }
    }

    /// Checks one package among all crates that the table knows.
    fn rules_broken(package: Package) -> Vec<String> {
        let mut all: Vec<_> = ARROWS.iter().map(|(name, _)| self::package(name, &[], &[])).collect();
        all.retain(|p| p.name != package.name);
        all.push(package);
        check(&all).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn allowed_dependencies_pass() {
        assert!(rules_broken(package("codis-core", &["thiserror"], &["proptest"])).is_empty());
        assert!(
            rules_broken(package("codis-ops", &["codis-store", "tokio"], &["codis-testkit", "redis"]))
                .is_empty()
        );
        assert!(rules_broken(package("codis-tui", &["ratatui", "codis-ops"], &["codis-store"])).is_empty());
    }

    #[test]
    fn every_forbidden_arrow_is_named() {
        let cases = [
            (
                "codis-core",
                "tokio",
                "error[pure] codis-core/Cargo.toml: codis-core is pure and names `tokio`",
            ),
            ("codis-core", "serde", "is pure and names `serde`"),
            (
                "codis-resp",
                "codis-core",
                "codis-resp depends on codis-core; it may depend on no crate of ours",
            ),
            (
                "codis-redis",
                "codis-store",
                "error[arrows] codis-redis/Cargo.toml: codis-redis depends on codis-store",
            ),
            ("codisctl", "codis-store", "it may depend on codis-ops, codis-core"),
            ("codis-proxy", "codis-ops", "codis-proxy depends on codis-ops"),
            ("codis-proxy", "redis", "error[clients] codis-proxy/Cargo.toml: codis-proxy names `redis`"),
            ("codis-ops", "zookeeper-client", "only codis-store may"),
            ("codis-ops", "rusqlite", "only codis-store may"),
            ("codisctl", "ratatui", "only codis-tui may"),
            ("codis-tui", "comfy-table", "only codisctl may"),
            ("codis-ops", "codis-testkit", "codis-ops names `codis-testkit`"),
            ("codis-new", "tokio", "codis-new has no row in the table ARROWS"),
        ];
        for (name, on, expected) in cases {
            let found = rules_broken(package(name, &[on], &[]));
            assert_eq!(found.len(), 1, "{name} -> {on}: {found:?}");
            assert!(found[0].contains(expected), "{name} -> {on}: {found:?}");
        }
    }

    #[test]
    fn tests_may_not_bring_a_second_store_client() {
        let found = rules_broken(package("codis-ops", &[], &["zookeeper-client"]));
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn sources_are_searched_for_words_that_are_out_of_place() {
        let packages = [package("codis-core", &[], &[]), package("codisctl", &[], &[])];
        let files = [
            Text::new("codis-core/src/slot.rs", "use std::time::Duration;\nlet now = Instant::now();\n"),
            Text::new("codisctl/src/cmd/status.rs", "use comfy_table::Table;\n"),
            Text::new("codisctl/src/render/table.rs", "use comfy_table::Table;\n"),
        ];
        let found: Vec<_> = check_sources(&packages, &files).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "error[pure] codis-core/src/slot.rs:2: codis-core is pure and names `Instant`; take the value as a parameter",
                "error[clients] codisctl/src/cmd/status.rs:1: `comfy_table` is named outside of codisctl/src/render; call a function there",
            ]
        );
    }
}
