use codis_ops::{
    Failure, FailureKind,
    alerts::{self, AlertSettings, Tried},
};
use serde::Serialize;

use crate::{
    error::Done,
    render::{Fit, Grid, Look},
    session::Session,
    ui::Report,
};

/// Send a test through every channel, now
///
/// With the settings of this run, which should be those of the agent: once through each channel, and what became of
/// it. The store is not asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl alert test
  codisctl --config /etc/codis/codis-ha.json --product feed alert test

Exit status: 0 all channels took it · 2 there is no channel, or a setting is wrong · 5 a channel did not take it")]
pub(crate) struct TestArgs {}

#[derive(Debug, Serialize)]
struct Results {
    channels: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    channel: &'static str,
    place: String,
    /// `None`: it was taken.
    error: Option<String>,
}

pub(super) async fn run(session: &Session, _args: &TestArgs) -> Done {
    let product = session.settings.product()?.to_string();
    let settings = AlertSettings::read(session.settings.file())?;
    let tried = alerts::test(&settings, &product).await?;
    let line = |one: Tried| Line { channel: one.channel, place: one.place, error: one.result.err() };
    let results = Results { channels: tried.into_iter().map(line).collect() };
    session.ui.report(&results)?;
    let Some(failed) = results.channels.iter().find(|line| line.error.is_some()) else { return Ok(()) };
    let why = failed.error.as_deref().unwrap_or_default();
    let what = format!("alerts do not go out by {}", failed.channel);
    Err(Failure::new(FailureKind::Unreachable, what, &failed.place, why)
        .next("correct [alert] in the settings, then run codisctl alert test again")
        .into())
}

impl Results {
    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[("channel", Fit::Left), ("where", Fit::Left), ("result", Fit::Text)]);
        for line in &self.channels {
            let result = line.error.clone().unwrap_or_else(|| "taken".to_owned());
            grid.row([line.channel.to_owned(), line.place.clone(), result]);
        }
        grid
    }
}

impl Report for Results {
    fn human(&self, look: &Look) -> String {
        self.grid().draw(look)
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}
