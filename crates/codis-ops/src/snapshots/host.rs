//! The governor of one host at work: look, decide, carry out.

use codis_core::{
    Addr, Extra, Versioned,
    duty::snapshots::{Decision, Does, Governor, Host, Kept, NAMES, Order, Settings},
};
use codis_redis::RedisError;
use tokio::time::{Duration, Instant};

use super::{
    SnapshotSettings,
    claim::Claim,
    look::{AllKept, Eyes, Listed},
};
use crate::{Context, Failure, agent::own_id, context};

/// How old what is kept may be: the failover changes it as well.
const KEPT: Duration = Duration::from_secs(20);

/// One host.
#[derive(Debug)]
pub(super) struct HostWork {
    cx: Context,
    pub(super) name: String,
    settings: SnapshotSettings,
    pub(super) governor: Governor,
    eyes: Eyes,
    kept: AllKept,
    read: Option<Instant>,
    /// What is taken over stays so.
    standing: bool,
}

/// What one look came to.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) host: Host,
    pub(super) decision: Decision,
    /// The server that has just been told to fork.
    pub(super) forked: Option<(Addr, Does)>,
}

impl HostWork {
    pub(super) fn new(cx: &Context, name: &str, settings: &SnapshotSettings, standing: bool) -> Self {
        Self {
            cx: cx.clone(),
            name: name.to_owned(),
            settings: settings.clone(),
            governor: Governor::default(),
            eyes: Eyes::default(),
            kept: AllKept::default(),
            read: None,
            standing,
        }
    }

    /// What the servers say now.
    pub(super) async fn look(&mut self, servers: &[Listed]) -> Result<Host, Failure> {
        if self.read.is_none_or(|at| at.elapsed() > KEPT) {
            self.kept = kept(&self.cx).await?;
            self.read = Some(Instant::now());
        }
        Ok(self.eyes.look(&self.cx, &self.name, servers, &self.kept, &self.settings).await)
    }

    /// Looks and decides; without a claim nothing is done about it.
    pub(super) async fn step(
        &mut self,
        servers: &[Listed],
        claim: Option<&mut Claim>,
    ) -> Result<Step, Failure> {
        let host = self.look(servers).await?;
        let decision = self.governor.next(&host, &self.settings.policy, context::now_ms());
        let mut forked = None;
        if let Some(claim) = claim {
            self.adopt(servers).await?;
            for order in &decision.orders {
                claim.prove().await?;
                match self.carry_out(&host, order).await {
                    Ok(()) => {
                        tracing::debug!(host = self.name, ?order, "done");
                        if let Order::Fork(addr, does) = order {
                            forked = Some((addr.clone(), *does));
                        }
                    }
                    // Of one server; the others are none the worse for it.
                    Err(Trouble::Server(addr, failure)) => {
                        self.eyes.close(&addr);
                        tracing::warn!(%failure, "tried again");
                    }
                    Err(Trouble::Store(failure)) => {
                        self.read = None;
                        return Err(failure);
                    }
                }
            }
        }
        Ok(Step { host, decision, forked })
    }

    /// What a command has taken over for a while stays taken over.
    async fn adopt(&mut self, servers: &[Listed]) -> Result<(), Failure> {
        if !self.standing {
            return Ok(());
        }
        for listed in servers {
            let Some(kept) = self.kept.get(&listed.addr).filter(|kept| !kept.standing) else { continue };
            let adopted = Versioned::new(Kept { standing: true, ..kept.value.clone() }, kept.version);
            let written = self.cx.product.keep_anew(&adopted).await;
            self.read = None;
            written.map_err(|error| Failure::store("cannot keep settings of servers", &error))?;
        }
        Ok(())
    }

    async fn carry_out(&mut self, host: &Host, order: &Order) -> Result<(), Trouble> {
        match order {
            Order::TakeOver(addr) => self.take_over(host, addr).await,
            Order::Delay(addr, seconds) => self.delay(addr, *seconds).await,
            Order::Admit(addr) => self.delay(addr, 0).await,
            Order::Fork(addr, does) => {
                let what = format!("cannot save {addr}");
                let redis = self.eyes.redis(&self.cx, addr).await;
                let redis = redis.map_err(|error| Trouble::server(&what, addr, &error))?;
                redis.fork(*does).await.map_err(|error| Trouble::server(&what, addr, &error))
            }
        }
    }

    /// Keeps what there was, then changes it: one that dies in between finds what is kept, and changes the rest.
    async fn take_over(&mut self, host: &Host, addr: &Addr) -> Result<(), Trouble> {
        let what = format!("cannot take over when {addr} forks");
        let Some(said) = host.instances.iter().find(|one| &one.addr == addr).and_then(|one| one.heard())
        else {
            return Ok(());
        };
        if !self.kept.contains_key(addr) {
            let all = said.settings.clone().unwrap_or_default();
            let settings: Settings =
                all.into_iter().filter(|(name, _)| NAMES.contains(&name.as_str())).collect();
            let kept = Kept {
                addr: addr.clone(),
                settings,
                standing: self.standing,
                by: own_id(),
                ts_ms: context::now_ms(),
                extra: Extra::default(),
            };
            let written = self.cx.product.keep(&kept).await;
            // Read anew also if somebody else has been faster.
            self.read = None;
            written.map_err(|error| Trouble::Store(Failure::store(&what, &error)))?;
            self.kept.insert(addr.clone(), Versioned::new(kept, 0));
        }
        let wanted: Settings =
            said.own_reasons().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let redis = self.eyes.redis(&self.cx, addr).await;
        let redis = redis.map_err(|error| Trouble::server(&what, addr, &error))?;
        let written = redis.set_forking(&wanted).await;
        if !written.map_err(|error| Trouble::server(&what, addr, &error))? {
            tracing::info!(%addr, "it has no configuration file: after a restart it is taken over anew");
        }
        tracing::info!(%addr, "it forks only when it is told to");
        Ok(())
    }

    async fn delay(&mut self, addr: &Addr, seconds: u64) -> Result<(), Trouble> {
        let what = format!("cannot say when {addr} copies its data to slaves");
        let redis = self.eyes.redis(&self.cx, addr).await;
        let redis = redis.map_err(|error| Trouble::server(&what, addr, &error))?;
        redis.set_copy_delay(seconds).await.map_err(|error| Trouble::server(&what, addr, &error))
    }
}

enum Trouble {
    Server(Addr, Failure),
    Store(Failure),
}

impl Trouble {
    fn server(what: &str, addr: &Addr, error: &RedisError) -> Self {
        Self::Server(addr.clone(), Failure::redis(what, error))
    }
}

/// What was taken over in the whole product.
pub(super) async fn kept(cx: &Context) -> Result<AllKept, Failure> {
    let kept = cx.product.kept().await;
    let kept =
        kept.map_err(|error| Failure::store("cannot read what was kept of servers' settings", &error))?;
    if let Some(gap) = kept.gaps.first() {
        let what = "cannot tell which settings of a server were kept";
        return Err(Failure::new(crate::FailureKind::Failed, what, &gap.path, &gap.why)
            .next(format!("codisctl store get {}    correct or delete the node", gap.path)));
    }
    Ok(kept.found)
}
