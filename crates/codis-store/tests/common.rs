//! Ground to test on: a tree of its own in a real ZooKeeper, or a local store in a folder of its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use codis_store::{ConnectOptions, Store, StoreAddr};
use codis_testkit::ZooKeeper;

/// Longest wait for anything in these tests; the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An empty tree. It goes when this is dropped.
pub(crate) struct Ground {
    pub(crate) addr: StoreAddr,

    _zookeeper: Option<Arc<ZooKeeper>>,
    _folder: Option<tempfile::TempDir>,
}

impl Ground {
    /// A chroot of its own in a server that the tests running now share.
    pub(crate) fn zk() -> Self {
        static SHARED: Mutex<Weak<ZooKeeper>> = Mutex::new(Weak::new());
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let server = shared.upgrade().unwrap_or_else(|| Arc::new(ZooKeeper::start()));
        *shared = Arc::downgrade(&server);
        let addr = format!("{}/test/{}", server.url(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { addr: addr.parse().unwrap(), _zookeeper: Some(server), _folder: None }
    }

    /// A file in a folder of its own.
    pub(crate) fn local() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let addr = StoreAddr::Local { path: folder.path().join("store.db") };
        Self { addr, _zookeeper: None, _folder: Some(folder) }
    }

    /// A new session.
    pub(crate) async fn connect(&self) -> Store {
        Store::connect(&self.addr, &options()).await.unwrap()
    }
}

/// Patient: a test machine under load is no error.
pub(crate) fn options() -> ConnectOptions {
    ConnectOptions {
        connect_timeout: PATIENCE,
        op_timeout: PATIENCE,
        ..ConnectOptions::control().create_local()
    }
}

/// Makes one test per store of each case `async fn case(ground: Ground)`.
macro_rules! on_both_stores {
    ($($case:ident),* $(,)?) => {
        mod zk {
            $(#[tokio::test]
            async fn $case() {
                codis_testkit::need!("zookeeper");
                super::$case($crate::common::Ground::zk()).await;
            })*
        }
        mod local {
            $(#[tokio::test]
            async fn $case() {
                super::$case($crate::common::Ground::local()).await;
            })*
        }
    };
}

pub(crate) use on_both_stores;
