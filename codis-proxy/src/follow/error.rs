//! What keeps a proxy from following its product, with the exit status and the next step of each.

use std::time::Duration;

use codis_core::{ParseError, ProductName, ProxyId};
use codis_store::{BadStoreAddr, StoreAddr, StoreError};

use crate::report::{Report, causes};
use crate::restart::TakeOverError;

/// Why the proxy could not follow its product.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// The address of the store is not one.
    #[error("the address of the store cannot be used")]
    StoreAddress(#[from] BadStoreAddr),
    /// The address to listen on cannot be published.
    #[error("the address to listen on cannot be published")]
    ListenAddress(#[from] ParseError),
    /// The store does not answer.
    #[error("cannot reach the store")]
    Unreachable {
        /// The store.
        store: StoreAddr,
        /// How long it was tried.
        after: Duration,
        /// The last error.
        source: Box<StoreError>,
    },
    /// The product has no slots.
    #[error("product {product} is not initialised")]
    NotInitialised {
        /// The product.
        product: ProductName,
        /// The store.
        store: StoreAddr,
    },
    /// Another proxy has the same id.
    #[error("proxy id {id} is taken")]
    Taken {
        /// The id.
        id: ProxyId,
        /// Address of the other proxy.
        addr: String,
        /// Process of the other proxy.
        pid: i64,
    },
    /// The process that runs does not hand over.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
    /// The store refuses something that the proxy cannot do without.
    #[error("cannot follow product {product}")]
    Store {
        /// The product.
        product: ProductName,
        /// The cause.
        source: Box<StoreError>,
    },
}

impl FollowError {
    /// Exit status of the process for this error.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Store { .. } | Self::TakeOver(_) => 1,
            Self::StoreAddress(_) | Self::ListenAddress(_) => 2,
            Self::NotInitialised { .. } | Self::Taken { .. } => 4,
            Self::Unreachable { .. } => 5,
        }
    }

    /// What a person reads.
    pub(crate) fn report(&self) -> Report {
        match self {
            Self::StoreAddress(error) => {
                Report::new(self, "--store, or `store.address` in the settings", causes(error))
                    .next("write e.g. --store zk://10.0.7.11:2181,10.0.7.12:2181")
            }
            Self::ListenAddress(error) => {
                Report::new(self, "--listen, or `proxy.listen` in the settings", causes(error))
                    .next("write e.g. --listen 0.0.0.0:19000")
            }
            Self::Unreachable { store, after, source } => {
                Report::new(self, store, format!("{}; tried for {} s", causes(source), after.as_secs_f32()))
                    .next(format!("see whether it is running: codisctl --store {store} product list"))
            }
            Self::NotInitialised { product, store } => Report::new(self, store, "it has no slots there")
                .next(format!(
                    "codisctl --store {store} --product {product} product init, or correct --product"
                )),
            Self::Taken { addr, pid, .. } => Report::new(
                self,
                format!("by the proxy at {addr}, process {pid}"),
                "an id names one proxy of a product",
            )
            .next("choose another with --id, or stop that one"),
            Self::TakeOver(error) => error.report(),
            Self::Store { product, source } => {
                Report::new(self, format!("product {product}"), causes(source)).next("codisctl product show")
            }
        }
    }
}
