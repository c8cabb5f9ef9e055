//! A product with two groups, and the hand of whoever changes it.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use codis_admin::{AdminClient, ProxyStats};
use codis_core::{
    Action, ActionKind, GroupId, Proxy, ProxyState, Role, Server, Slot, SlotId, SlotSet, SlotStatus,
    Versioned,
};
use codis_store::{Acks, ConnectOptions, Node, Product, Store};
use codis_testkit::{
    ProxyBuilder, ProxyProcess, RedisServer, Relay, Reply, RespClient, Sandbox, eventually, eventually_async,
};

/// For what happens soon, also on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Runs a story; one that hangs fails.
pub(crate) fn run<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(180), story).await.expect("the story does not end")
    })
}

/// A group's master with its slave.
pub(crate) struct Servers {
    pub(crate) master: RedisServer,
    pub(crate) slave: RedisServer,
}

impl Servers {
    pub(crate) fn start() -> Self {
        let master = RedisServer::start();
        let slave = RedisServer::builder().slave_of(&master).start();
        Self::linked(master, slave)
    }

    /// The slave follows through a relay, which can keep from it what its master has.
    pub(crate) fn start_relayed() -> (Self, Relay) {
        let master = RedisServer::start();
        let relay = Relay::to(master.port());
        let slave = RedisServer::builder().slave_of_port(relay.port(), None).start();
        (Self::linked(master, slave), relay)
    }

    fn linked(master: RedisServer, slave: RedisServer) -> Self {
        eventually(SOON, || ask(&mut master.client(), "INFO replication").text().contains("state=online"));
        Self { master, slave }
    }
}

/// A product whose slots are all online at group 1; group 2 is empty.
pub(crate) struct Fixture {
    pub(crate) place: Place,
    pub(crate) groups: [Servers; 2],
}

impl std::ops::Deref for Fixture {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Fixture {
    pub(crate) async fn new(url: &str) -> Self {
        let groups = [Servers::start(), Servers::start()];
        let listed = groups.each_ref().map(|group| vec![group.master.addr(), group.slave.addr()]);
        Self { place: Place::new(url, &listed).await, groups }
    }
}

/// A product in its store.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) product: Product,
}

impl Place {
    /// All slots are online at group 1. A group's first server is its master.
    pub(crate) async fn new(url: &str, groups: &[Vec<String>]) -> Self {
        static PRODUCTS: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", PRODUCTS.fetch_add(1, Ordering::Relaxed));
        let options = ConnectOptions::control().create_local();
        let store = Store::connect(&url.parse().unwrap(), &options).await.unwrap();
        let product = Product::new(store.clone(), name.parse().unwrap());
        for dir in ["slots", "servers", "actions", "ActionResponse"] {
            store.ensure_dir(&format!("{}/{dir}", product.root())).await.unwrap();
        }
        for (number, servers) in (1..).zip(groups) {
            let group = GroupId(number);
            product.create_group(group).await.unwrap();
            for (place, server) in servers.iter().enumerate() {
                let role = if place == 0 { Role::Master } else { Role::Slave };
                product.add_server(&Server::new(server.parse().unwrap(), group, role)).await.unwrap();
            }
        }
        let slots: Vec<Slot> = SlotId::all().map(|id| Slot::unassigned(id).online_at(GroupId(1))).collect();
        product.create_slots(&slots, 1).await.unwrap();
        Self { url: url.to_owned(), product }
    }

    /// The command of a proxy of this product.
    pub(crate) fn proxy(&self, id: &str) -> ProxyBuilder {
        ProxyProcess::following(&self.url, self.product.name().as_str(), id).workers(2)
    }

    /// A proxy that serves.
    pub(crate) fn start(&self, id: &str) -> ProxyProcess {
        self.proxy(id).start()
    }

    /// A node below the product's root.
    pub(crate) async fn node(&self, path: &str) -> Option<Node> {
        let path = format!("{}/{path}", self.product.root());
        self.product.store().get_many(&[path]).await.unwrap().remove(0)
    }

    /// A proxy's registration.
    pub(crate) async fn registered(&self, id: &str) -> Option<Versioned<Proxy>> {
        self.product.watch_proxy(&id.parse().unwrap()).await.unwrap().0
    }

    pub(crate) async fn state(&self, id: &str) -> Option<ProxyState> {
        Some(self.registered(id).await?.state)
    }

    pub(crate) async fn slot(&self, id: SlotId) -> Versioned<Slot> {
        let mut read = self.product.slots(&[id].into_iter().collect()).await.unwrap();
        read.found.remove(0)
    }

    /// Rewrites a slot without telling anyone.
    pub(crate) async fn rewrite(&self, id: SlotId, change: impl FnOnce(&Slot) -> Slot) -> Slot {
        let old = self.slot(id).await;
        let new = change(&old);
        self.product.put_slots(&[Versioned::new(new.clone(), old.version)]).await.unwrap();
        new
    }

    /// Rewrites a slot, publishes the action for its new state and waits for all acknowledgements.
    pub(crate) async fn change(&self, id: SlotId, change: impl FnOnce(&Slot) -> Slot) {
        let slot = self.rewrite(id, change).await;
        let kind = match slot.status {
            SlotStatus::PreMigrate => ActionKind::SlotPreMigrate(slot),
            SlotStatus::Migrate => ActionKind::SlotMigrate(slot),
            SlotStatus::Online | SlotStatus::Offline => ActionKind::SlotChanged(slot),
        };
        self.publish_confirmed(kind).await;
    }

    /// [`Fixture::change`] for several slots, told in one action of our own type.
    pub(crate) async fn change_wave(&self, slots: &SlotSet, change: impl Fn(&Slot) -> Slot) {
        let read = self.product.slots(slots).await.unwrap().found;
        let new: Vec<_> = read.iter().map(|old| Versioned::new(change(old), old.version)).collect();
        let status = new[0].status;
        self.product.put_slots(&new).await.unwrap();
        self.publish_confirmed(ActionKind::Wave { slots: slots.clone(), status }).await;
    }

    pub(crate) async fn publish(&self, kind: ActionKind) -> codis_store::Published {
        let ts = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        self.product.publish(&Action { seq: None, kind, ts, receivers: Vec::new() }).await.unwrap()
    }

    pub(crate) async fn publish_confirmed(&self, kind: ActionKind) -> u64 {
        let published = self.publish(kind).await;
        assert!(!published.receivers.is_empty(), "no proxy is online");
        let acks = self.product.await_acks(published.seq, &published.receivers, SOON).await.unwrap();
        assert_eq!(acks, Acks { acked: published.receivers, ..Acks::default() });
        published.seq
    }

    /// Brings a slot into `migrate` from group 1 to group 2, acknowledged by all.
    pub(crate) async fn migrate(&self, id: SlotId) {
        self.change(id, Slot::pre_migrate).await;
        self.change(id, |slot| slot.migrate(GroupId(1), GroupId(2))).await;
    }

    /// Names another master for a group; the old one goes offline. Told to nobody.
    pub(crate) async fn name_master(&self, id: GroupId, new: &str) {
        let group = self.product.some_groups(&[id]).await.unwrap().found.remove(&id).unwrap();
        let with_role = |server: &Versioned<Server>, role| {
            Versioned::new(Server { role, ..server.value.clone() }, server.version)
        };
        let master = group.servers.iter().find(|server| server.role == Role::Master).unwrap();
        let next = group.servers.iter().find(|server| server.addr.to_string() == new).unwrap();
        let servers = [with_role(master, Role::Offline), with_role(next, Role::Master)];
        self.product.put_servers(&servers).await.unwrap();
    }

    /// Tells all proxies that a group has changed, and waits for their acknowledgements.
    pub(crate) async fn tell_group(&self, id: GroupId) {
        self.publish_confirmed(ActionKind::GroupChanged { group: id, servers: None }).await;
    }

    /// Waits until the proxy's node says so.
    pub(crate) async fn until_state(&self, id: &str, state: Option<ProxyState>) {
        eventually_async(SOON, || async { self.state(id).await == state }).await;
    }
}

/// An empty local store, and its address.
pub(crate) fn local_store() -> (Sandbox, String) {
    let sandbox = Sandbox::create("store").unwrap();
    let url = format!("local:{}", sandbox.path().join("codis.db").display());
    (sandbox, url)
}

/// Sends a command given as words; an error reply fails the story.
#[track_caller]
pub(crate) fn ask(client: &mut RespClient, line: &str) -> Reply {
    let reply = client.call(&line.split(' ').collect::<Vec<_>>()).unwrap();
    assert!(!reply.is_error(), "{line}: {reply:?}");
    reply
}

/// The first answer that is not an error; one that says that a key could not be handed over was not sent on.
pub(crate) fn ask_soon(client: &mut RespClient, line: &str) -> Reply {
    let mut last = Reply::Bulk(None);
    eventually(SOON, || {
        last = client.call(&line.split(' ').collect::<Vec<_>>()).unwrap();
        !last.is_error()
    });
    last
}

pub(crate) async fn stats(proxy: &ProxyProcess) -> ProxyStats {
    AdminClient::default().stats(&proxy.admin_addr()).await.unwrap()
}
