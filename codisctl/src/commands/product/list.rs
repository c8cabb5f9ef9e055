use codis_core::ProductName;
use codis_ops::{Context, Failure, FailureKind, StoreAddr};
use serde::Serialize;

use crate::{
    error::Done,
    render::{Fit, Grid, Look},
    session::Session,
    ui::Report,
};

/// List the products of a store
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl --store zk://10.0.7.11:2181 product list
  codisctl --store local:codis.db product list --output plain

Exit status: 0 done · 5 store unreachable")]
pub(crate) struct ListArgs {}

const WHAT: &str = "cannot list the products";

#[derive(Debug, Serialize)]
struct Products {
    store: String,
    products: Vec<String>,
}

pub(super) async fn run(session: &Session, _args: &ListArgs) -> Done {
    let target = session.settings.target(any_product()?)?;
    let store = target.store.to_string();
    exists(&target.store)?;
    let cx = Context::connect_any(&target)
        .await
        .map_err(|failure| Failure { what: WHAT.to_owned(), ..failure })?;
    let products = cx.products().await?;
    cx.close().await;
    let products = products.iter().map(ToString::to_string).collect();
    session.ui.report(&Products { store, products })
}

/// A context is always that of a product; listing looks at none.
fn any_product() -> Result<ProductName, Failure> {
    "any".parse().map_err(|error| Failure::new(FailureKind::Failed, WHAT, "", error))
}

/// Looking must not make a local store.
fn exists(store: &StoreAddr) -> Result<(), Failure> {
    match store {
        StoreAddr::Local { path } if !path.exists() => {
            Err(Failure::new(FailureKind::Unreachable, WHAT, store, "there is no such file")
                .next("codisctl product init NAME    makes a local store"))
        }
        _ => Ok(()),
    }
}

impl Report for Products {
    fn human(&self, look: &Look) -> String {
        let count = codis_core::plan::plural(self.products.len(), "product", "products");
        if self.products.is_empty() {
            return format!("{count} in {}", self.store);
        }
        format!("{}\n{count} in {}", self.grid().draw(look), self.store)
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}

impl Products {
    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[("product", Fit::Left)]);
        for name in &self.products {
            grid.row([name.clone()]);
        }
        grid
    }
}
