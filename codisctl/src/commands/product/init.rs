use codis_core::{
    ProductName,
    plan::{self, Step},
};
use codis_ops::Context;

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Create a product with its 1024 slots
///
/// The slots are offline and have no group. A local store that does not exist is made. Run again
/// after an interruption it creates the slots that are missing; in a product in use it puts back slot
/// nodes that have got lost.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl --store local:codis.db product init feed
  codisctl --store zk://10.0.7.11:2181 --product feed product init --yes

Exit status: 0 done · 2 no product named · 4 refused: the product is in use · 5 store unreachable")]
pub(crate) struct InitArgs {
    /// Name of the product; else the one of --product
    #[arg(value_name = "NAME")]
    name: Option<ProductName>,
}

pub(super) async fn run(session: &Session, args: &InitArgs) -> Done {
    let product = match &args.name {
        Some(name) => name.clone(),
        None => session.settings.product()?.clone(),
    };
    initialise(session, product).await
}

/// The plan of `product init` and `slot init`.
pub(in crate::commands) async fn initialise(session: &Session, product: ProductName) -> Done {
    let mut cx = Context::connect_any(&session.settings.target(product)?).await?;
    cx.set_argv(&session.line);
    let cluster = cx.load().await?;
    let plan = plan::init(&cluster)?;
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        let next = match plan.steps.as_slice() {
            [Step::CreateSlots(slots)] if !cluster.groups.is_empty() => {
                format!("codisctl slot assign {slots} GROUP")
            }
            _ => "codisctl group add 1 --master HOST:PORT    then: codisctl slot assign 0-1023 1".to_owned(),
        };
        session.ui.next(&next);
    }
    cx.close().await;
    Ok(())
}
