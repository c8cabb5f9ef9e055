use clap::{CommandFactory as _, ValueEnum};
use clap_complete::aot;

use crate::{cli::Cli, error::Done, session::Session};

/// Print a script that completes commands and options in a shell
///
/// The script holds every command and option of this version; write it again after an upgrade.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl completion bash > /etc/bash_completion.d/codisctl
  codisctl completion zsh > ~/.zfunc/_codisctl
  codisctl completion fish > ~/.config/fish/completions/codisctl.fish

Exit status: 0 done · 2 another shell")]
pub(crate) struct CompletionArgs {
    /// bash, zsh or fish
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    shell: Shell,
}

/// The shells for which there is a script.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn run(session: &Session, args: &CompletionArgs) -> Done {
    let shell = match args.shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    let mut script = Vec::new();
    aot::generate(shell, &mut Cli::command(), "codisctl", &mut script);
    session.ui.data(String::from_utf8_lossy(&script).trim_end())
}
