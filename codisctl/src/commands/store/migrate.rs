use codis_ops::browse;
use serde::Serialize;

use crate::{
    error::Done,
    render::{Fit, Grid, Look},
    session::Session,
    ui::Report,
};

/// Bring the products of a store to the layout of this version
///
/// There is one layout so far, that of Codis 2, so there is nothing to change: this looks whether every
/// node of every product can be understood. (The tables of a local store are brought up to date whenever
/// it is opened. Slots are moved by codisctl migrate.)
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl --store zk://10.0.7.11:2181 store migrate

Exit status: 0 nothing to do · 3 a node cannot be understood · 5 store unreachable")]
pub(crate) struct MigrateArgs {}

#[derive(Debug, Serialize)]
struct Layouts {
    store: String,
    products: Vec<Layout>,
}

#[derive(Debug, Serialize)]
struct Layout {
    product: String,
    layout: &'static str,
    unreadable: Vec<String>,
}

pub(super) async fn run(session: &Session, _args: &MigrateArgs) -> Done {
    let access = session.access().await?;
    let found = browse::understood(&access).await?;
    let store = access.addr().to_string();
    access.close().await;
    let products = found.into_iter().map(|(product, gaps)| Layout {
        product: product.to_string(),
        layout: "codis 2",
        unreadable: gaps.into_iter().map(|gap| format!("{}: {}", gap.path, gap.why)).collect(),
    });
    let layouts = Layouts { store, products: products.collect() };
    session.ui.report(&layouts)?;
    match layouts.products.iter().find_map(|product| product.unreadable.first()) {
        None => Ok(()),
        Some(first) => Err(crate::error::problems("some nodes cannot be understood", first)
            .next("codisctl store get PATH    then correct or delete the node")
            .into()),
    }
}

impl Layouts {
    fn grid(&self) -> Grid {
        let mut grid =
            Grid::new(&[("product", Fit::Left), ("layout", Fit::Left), ("not understood", Fit::Right)]);
        for product in &self.products {
            let unreadable = product.unreadable.len().to_string();
            grid.row([product.product.clone(), product.layout.to_owned(), unreadable]);
        }
        grid
    }
}

impl Report for Layouts {
    fn human(&self, look: &Look) -> String {
        let count = codis_core::plan::plural(self.products.len(), "product", "products");
        let summary = format!("{count} in {}; nothing to do: there is one layout so far", self.store);
        if self.products.is_empty() {
            return summary;
        }
        format!("{}\n{summary}", self.grid().draw(look))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}
