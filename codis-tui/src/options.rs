//! Settings: from flags, then the environment, then `codis.toml`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use codis_core::ProductName;
use codis_ops::config::{self, duration};
use codis_ops::{Failure, FailureKind, StoreAddr, Target};
use codis_tui::theme::{self, Depth, Glyphs, Kind, Theme};

/// Show a Codis product live: slots, groups, what moves, proxies. Changes nothing.
#[derive(Debug, Parser)]
#[command(
    name = "codis-tui",
    version,
    max_term_width = 100,
    after_help = "\
Settings come from flags, then the environment, then codis.toml. Keys: q quits, ? shows the others.

Examples:
  codis-tui --store zk://10.0.7.11:2181,10.0.7.12:2181 --product feed
  codis-tui --store local:/var/lib/codis/store.db --product feed --theme light

Exit status: 0 done · 1 failed, or no such product · 2 usage, or no terminal ·
5 store unreachable at the start · 130 interrupted by a signal"
)]
pub(crate) struct Options {
    /// Settings file [codis.toml of this directory, if there is one]
    #[arg(long, value_name = "FILE", env = "CODIS_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Where the state is: zk://HOST:PORT,...[/CHROOT] or local:PATH
    #[arg(long, value_name = "ADDRESS", env = "CODIS_STORE", hide_env_values = true)]
    store: Option<StoreAddr>,
    /// Product to show
    #[arg(long, value_name = "NAME", env = "CODIS_PRODUCT", hide_env_values = true)]
    product: Option<ProductName>,
    /// How often the store is asked while slots move; half as often else. Servers and proxies: a
    /// quarter as often
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = interval)]
    pub(crate) interval: Duration,
    /// How long to try to reach the store at the start
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) start_timeout: Duration,
    /// Colours: cb is for colour-blind people, mono has none (NO_COLOR too)
    #[arg(long, value_name = "NAME", default_value = "auto")]
    theme: ThemeName,
    /// Draw with ASCII characters only
    #[arg(long)]
    ascii: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ThemeName {
    Auto,
    Dark,
    Light,
    Cb,
    Mono,
}

/// How long the store may take for one picture.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the environment says about the terminal; a function, so that a test can be another one.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Options {
    /// The product to show, and how to reach it.
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        let file = config::load(self.config.as_deref())?;
        let store = match &self.store {
            Some(store) => Some(store.clone()),
            None => file.parsed("store.address")?,
        };
        let product = match &self.product {
            Some(product) => Some(product.clone()),
            None => file.parsed("product")?,
        };
        Ok(Target {
            store: store.ok_or_else(|| {
                let place = "neither --store, nor CODIS_STORE, nor [store] address in codis.toml";
                let why = "the state of a product lives in ZooKeeper or in a local file";
                let next = "codis-tui --store zk://HOST:2181 ...    or: --store local:PATH";
                Failure::new(FailureKind::Usage, "no store is named", place, why).next(next)
            })?,
            product: product.ok_or_else(|| {
                let place = "neither --product, nor CODIS_PRODUCT, nor product in codis.toml";
                let next = "codisctl product list    then: codis-tui --product NAME ...";
                let why = "a store can hold several products";
                Failure::new(FailureKind::Usage, "no product is named", place, why).next(next)
            })?,
            timeout: STORE_TIMEOUT,
            password: config::password(&file)?,
        })
    }

    /// Colours for this terminal, which has so many.
    pub(crate) fn theme(&self, colours: u16, env: Env<'_>) -> Theme {
        let no_color = env("NO_COLOR").is_some_and(|value| !value.is_empty());
        let kind = match self.theme {
            ThemeName::Mono => Kind::Mono,
            ThemeName::Auto if no_color || env("TERM").as_deref() == Some("dumb") => Kind::Mono,
            ThemeName::Auto if has_light_background(env) => Kind::Light,
            ThemeName::Auto | ThemeName::Dark => Kind::Dark,
            ThemeName::Light => Kind::Light,
            ThemeName::Cb => Kind::ColourBlind,
        };
        Theme { kind, depth: if colours >= 256 { Depth::Indexed } else { Depth::Sixteen } }
    }

    /// Characters for this terminal: ASCII where it cannot draw others.
    pub(crate) fn glyphs(&self, env: Env<'_>) -> &'static Glyphs {
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| env(name).filter(|v| !v.is_empty()));
        let locale = locale.unwrap_or_default().to_lowercase();
        let utf8 = locale.contains("utf-8") || locale.contains("utf8");
        if self.ascii || !utf8 || env("TERM").as_deref() == Some("linux") {
            &theme::ASCII
        } else {
            &theme::UNICODE
        }
    }
}

/// Some terminals tell their colours in `COLORFGBG`, as `0;15`: 7 and 15 are light backgrounds.
fn has_light_background(env: Env<'_>) -> bool {
    let told = env("COLORFGBG").unwrap_or_default();
    matches!(told.rsplit(';').next(), Some("7" | "15"))
}

/// A duration that the store can bear.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < Duration::from_millis(100) || interval > Duration::from_secs(60) {
        return Err("the interval must be between 100ms and 60s".to_owned());
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(more: &[&str]) -> Options {
        Options::try_parse_from(["codis-tui"].iter().chain(more)).unwrap()
    }

    fn theme(more: &[&str], env: &[(&str, &str)]) -> Kind {
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        options(more).theme(256, &env).kind
    }

    #[test]
    fn the_theme_is_asked_for_or_seen() {
        assert_eq!(theme(&[], &[]), Kind::Dark);
        assert_eq!(theme(&[], &[("COLORFGBG", "0;15")]), Kind::Light);
        assert_eq!(theme(&[], &[("NO_COLOR", "1")]), Kind::Mono);
        assert_eq!(
            theme(&["--theme", "cb"], &[("NO_COLOR", "1")]),
            Kind::ColourBlind,
            "a flag is the last word"
        );
        assert_eq!(theme(&["--theme", "light"], &[]), Kind::Light);
    }

    #[test]
    fn few_colours_are_used_where_there_are_few() {
        assert_eq!(options(&[]).theme(8, &|_| None).depth, Depth::Sixteen);
        assert_eq!(options(&[]).theme(u16::MAX, &|_| None).depth, Depth::Indexed);
    }

    #[test]
    fn ascii_is_drawn_where_nothing_else_can_be() {
        let utf8 = |name: &str| (name == "LANG").then(|| "de_DE.UTF-8".to_owned());
        assert_eq!(options(&[]).glyphs(&utf8), &theme::UNICODE);
        assert_eq!(options(&["--ascii"]).glyphs(&utf8), &theme::ASCII);
        assert_eq!(options(&[]).glyphs(&|_| None), &theme::ASCII);
        let console = |name: &str| if name == "TERM" { Some("linux".to_owned()) } else { utf8(name) };
        assert_eq!(options(&[]).glyphs(&console), &theme::ASCII);
    }

    #[test]
    fn times_have_a_unit_and_sense() {
        assert_eq!(interval("100ms"), Ok(Duration::from_millis(100)));
        for wrong in ["5", "0s", "s", "1h", "10ms", "99999999999999999999s"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
