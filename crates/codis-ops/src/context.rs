//! What every operation needs: the store, the product, the servers' password, and who is asking.

use std::time::Duration;

use codis_core::{Cluster, ProductName, ha::Policy};
use codis_redis::Password;
use codis_store::{ConnectOptions, ErrorKind, Product, Store, StoreAddr};

use crate::{Failure, FailureKind};

/// The password of the product's servers. Never printed.
pub type Secret = Password;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// Which product to work on, and how patiently.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where its state is.
    pub store: StoreAddr,
    /// Its name.
    pub product: ProductName,
    /// Longest wait for one answer of the store or of a server.
    pub timeout: Duration,
    /// Password of its servers.
    pub password: Secret,
}

/// A product one can work on.
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) product: Product,
    pub(crate) redis: codis_redis::ConnectOptions,
    target: Target,
    argv: String,
    policy: Policy,
}

impl Context {
    /// Connects to the store and makes sure that the product is in it.
    ///
    /// # Errors
    /// `Unreachable` if the store does not answer in time; `Failed` if it has no such product.
    pub async fn connect(target: &Target) -> Result<Self, Failure> {
        let cx = Self::open(target, false).await?;
        let what = format!("cannot open product {}", target.product);
        let exists = cx.product.exists().await.map_err(|error| Failure::store(&what, &error))?;
        if exists {
            return Ok(cx);
        }
        let place = format!("{} {}", target.store, cx.product.root());
        Err(Failure::new(FailureKind::Failed, what, place, "the store has no product of that name")
            .next("codisctl product list    or: codisctl product init NAME"))
    }

    /// Connects to the store, whether or not the product is in it; a missing local store is made.
    ///
    /// # Errors
    /// `Unreachable` if the store does not answer in time.
    pub async fn connect_any(target: &Target) -> Result<Self, Failure> {
        Self::open(target, true).await
    }

    async fn open(target: &Target, create_local: bool) -> Result<Self, Failure> {
        let what = format!("cannot reach the store of product {}", target.product);
        let store = open_store(&target.store, target.timeout, create_local, &what).await?;
        let redis = codis_redis::ConnectOptions {
            connect_timeout: CONNECT.min(target.timeout),
            command_timeout: target.timeout,
            ..codis_redis::ConnectOptions::with_password(&target.password)
        };
        let product = Product::new(store, target.product.clone());
        Ok(Self { product, redis, target: target.clone(), argv: String::new(), policy: Policy::default() })
    }

    /// Says which command is running, for audit records. Must not hold secrets; ours never take any.
    pub fn set_argv(&mut self, argv: impl Into<String>) {
        self.argv = argv.into();
    }

    /// Says how masters are changed, where people have set that.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// How masters are changed.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The command that is running.
    pub fn argv(&self) -> &str {
        &self.argv
    }

    /// What was asked for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The product's name.
    pub fn product_name(&self) -> &ProductName {
        &self.target.product
    }

    /// The product in the store.
    pub fn product(&self) -> &Product {
        &self.product
    }

    /// How to connect to its servers.
    pub fn redis(&self) -> &codis_redis::ConnectOptions {
        &self.redis
    }

    /// The product as the store has it now. What cannot be read is a gap in it, not an error.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn load(&self) -> Result<Cluster, Failure> {
        let what = format!("cannot read product {}", self.target.product);
        self.product.load().await.map_err(|error| Failure::store(what, &error))
    }

    /// Ends the session; what it held in the store goes at once.
    pub async fn close(self) {
        // A session that cannot be closed ends by its time-out.
        let _ = self.product.store().close().await;
    }
}

async fn open_store(
    addr: &StoreAddr,
    timeout: Duration,
    create_local: bool,
    what: &str,
) -> Result<Store, Failure> {
    let mut options = ConnectOptions::control();
    options.connect_timeout = timeout;
    options.op_timeout = timeout;
    options.create_local = create_local;
    Store::connect(addr, &options).await.map_err(|error| {
        let mut failure = Failure::store(what, &error);
        failure.kind = FailureKind::Unreachable;
        failure.place = addr.to_string();
        if matches!(addr, StoreAddr::Local { .. }) && error.kind == ErrorKind::NoNode {
            return failure.next("codisctl product init NAME    makes a local store");
        }
        failure
    })
}

/// A store in which no product, or not just one, is looked at.
#[derive(Debug, Clone)]
pub struct StoreAccess {
    pub(crate) store: Store,
    addr: StoreAddr,
}

impl StoreAccess {
    /// Connects to a store that exists: looking makes none.
    ///
    /// # Errors
    /// `Unreachable` if it does not answer in time, or is a local one that does not exist.
    pub async fn connect(addr: &StoreAddr, timeout: Duration) -> Result<Self, Failure> {
        let store = open_store(addr, timeout, false, "cannot reach the store").await?;
        Ok(Self { store, addr: addr.clone() })
    }

    /// Where it is.
    pub fn addr(&self) -> &StoreAddr {
        &self.addr
    }

    /// Names of the products in it.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn products(&self) -> Result<Vec<ProductName>, Failure> {
        let products = Product::list(&self.store).await;
        products.map_err(|error| Failure::store("cannot list the products", &error))
    }

    /// Ends the session.
    pub async fn close(self) {
        // A session that cannot be closed ends by its time-out.
        let _ = self.store.close().await;
    }
}

/// Who is asking: `user@host`, for locks and audit records.
pub(crate) fn who() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let user = user.unwrap_or_else(|_| format!("uid{}", rustix::process::getuid().as_raw()));
    format!("{user}@{}", hostname())
}

pub(crate) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
