use serde::Serialize;

use crate::{
    config::{From, Setting},
    error::Done,
    render::{Fit, Grid, Look},
    session::Session,
    ui::Report,
};

/// Show every setting in force, and where it comes from
///
/// Flags go before the environment, and that before the settings file. Of agents, alerts and duties what the file says is
/// shown; docs/configuration.md has the rest. A password is never shown, nor is the address of a webhook.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl config show
  codisctl --config /etc/codis/config.ini config show --output json

Exit status: 0 done · 2 the settings cannot be used")]
pub(crate) struct ShowArgs {}

#[derive(Debug, Serialize)]
struct Settings<'a> {
    settings: &'a [Setting],
    warnings: &'a [String],
}

pub(super) fn run(session: &Session, _args: &ShowArgs) -> Done {
    let settings = &session.settings;
    session.ui.report(&Settings { settings: &settings.shown, warnings: &settings.warnings })
}

impl Settings<'_> {
    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[("setting", Fit::Left), ("value", Fit::Left), ("comes from", Fit::Left)]);
        for Setting { setting, value, from, place } in self.settings {
            let origin = match (from, value) {
                (From::Default, Some(_)) if !place.is_empty() => place.clone(),
                (From::Default, Some(_)) => "the default".to_owned(),
                (From::Default, None) => "not set".to_owned(),
                _ => place.clone(),
            };
            grid.row([setting.clone(), value.clone().unwrap_or_else(|| "-".to_owned()), origin]);
        }
        grid
    }
}

impl Report for Settings<'_> {
    fn human(&self, look: &Look) -> String {
        self.grid().draw(look)
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}
