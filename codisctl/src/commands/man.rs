use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_mangen::Man;
use codis_ops::{Failure, FailureKind};

use crate::{cli::Cli, config::error_text, error::Done, session::Session};

/// Print the manual page of codisctl, or write a page for every command into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl man > codisctl.1
  codisctl man /usr/local/share/man/man1

Exit status: 0 done · 1 the directory cannot be written")]
pub(crate) struct ManArgs {
    /// Where to write codisctl.1, codisctl-group.1, codisctl-group-add.1 ...; it is made if it is not there
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(session: &Session, args: &ManArgs) -> Done {
    let fail = |place: &dyn std::fmt::Display, error: &std::io::Error| {
        Failure::new(FailureKind::Failed, "cannot write the manual pages", place, error_text(error))
            .next("codisctl man DIR    with a directory that can be written")
    };
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page).map_err(|error| fail(&"memory", &error))?;
        return session.ui.data(String::from_utf8_lossy(&page).trim_end());
    };
    let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    written.map_err(|error| fail(&dir.display(), &error))?;
    session.ui.say(&format!("done      the pages are in {}", dir.display()));
    Ok(())
}
