use std::time::Duration;

use codis_ops::agent;

use crate::{
    error::Done,
    render::units,
    session::{Session, Sure},
};

/// Suspend failovers of the product
///
/// A lost master stays lost meanwhile; `group promote` goes on working. Everything else that agents do goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl ha pause --why OPS-812 --time 60m
  codisctl ha pause --time 30m --yes
  codisctl ha pause --yes

Exit status: 0 done · 5 store unreachable")]
pub(crate) struct PauseArgs {
    /// Why, for those who find it
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
    /// For how long, e.g. 30m [until `ha resume`]
    #[arg(long = "time", value_name = "TIME", value_parser = crate::config::duration)]
    time: Option<Duration>,
}

pub(super) async fn run(session: &Session, args: &PauseArgs) -> Done {
    let cx = session.connect().await?;
    if session.settings.dry_run {
        session.ui.say("would suspend failovers; dry run, nothing was written");
        return Ok(());
    }
    let consent = session.consent(&cx, "suspend failovers", Sure::Yes).await?;
    let now_ms = agent::status(&cx).await?.now_ms;
    let until_ms = args.time.map(|time| now_ms + time.as_millis() as u64);
    agent::set_pause(&cx, until_ms, Some(&args.why), consent).await?;
    cx.close().await;
    let until = match until_ms {
        Some(ms) => format!(" until {} UTC", units::date_time(ms)),
        None => String::new(),
    };
    session.ui.say(&format!("done      failovers are suspended{until}"));
    session.ui.next("codisctl ha resume");
    Ok(())
}
