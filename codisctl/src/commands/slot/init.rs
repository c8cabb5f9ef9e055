use crate::{commands::product, error::Done, session::Session};

/// Create the 1024 slots of a product: the same as product init
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl --product feed slot init
  codisctl --product feed slot init --dry-run

Exit status: 0 done · 2 no product named · 4 refused: the product is in use · 5 store unreachable")]
pub(crate) struct InitArgs {}

pub(super) async fn run(session: &Session, _args: &InitArgs) -> Done {
    product::initialise(session, session.settings.product()?.clone()).await
}
