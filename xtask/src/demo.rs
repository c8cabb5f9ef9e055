//! `cargo xtask demo`: from a fresh checkout to a verified live product in one command.

use crate::setup::{self, Part};
use crate::shell;

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Keep the product in a ZooKeeper of its own instead of the local store.
    #[arg(long)]
    zk: bool,
}

/// # Errors
/// When a part is missing, the build fails, or the tour could not verify everything.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let parts: &[Part] = if args.zk { &[Part::Redis, Part::ZooKeeper, Part::Java] } else { &[Part::Redis] };
    shell::step("setup", || setup::ensure(parts))?;
    shell::step("build", || {
        shell::run(&mut shell::cargo(&["build", "--release", "-p", "codisctl", "-p", "codis-proxy"]))
    })?;
    let codisctl = shell::target_dir()?.join("release/codisctl");
    shell::step("tour", || {
        let mut command = std::process::Command::new(&codisctl);
        command.args(["playground", "--tour"]).current_dir(shell::root());
        if args.zk {
            command.arg("--zk");
        }
        shell::run(&mut command)
    })
}
