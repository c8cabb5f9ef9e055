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

#[derive(Debug, Serialize)]
struct Products {
    store: String,
    products: Vec<String>,
}

pub(super) async fn run(session: &Session, _args: &ListArgs) -> Done {
    let access = session.access().await?;
    let products = access.products().await?;
    let store = access.addr().to_string();
    access.close().await;
    let products = products.iter().map(ToString::to_string).collect();
    session.ui.report(&Products { store, products })
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
