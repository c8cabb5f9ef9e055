use codis_core::{
    GroupId,
    ha::{Decision, Policy, Verdict},
};
use codis_ops::agent::{self, Explanation};
use serde::Serialize;

use crate::{
    error::Done,
    render::{Fit, Grid, Look, units},
    session::Session,
    ui::Report,
};

/// Show what would be done about a group's master, and why
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl ha explain 3

Exit status: 0 done · 1 there is no such group · 5 store unreachable")]
pub(crate) struct ExplainArgs {
    /// Number of the group
    #[arg(value_name = "GROUP")]
    group: GroupId,
}

#[derive(Debug, Serialize)]
struct Explained {
    group: u32,
    master: String,
    answers: bool,
    now: String,
    chosen: Option<String>,
    candidates: Vec<Candidate>,
    obstacles: Vec<Obstacle>,
    after_ms: u64,
    /// Slots move from or to the group.
    moving: bool,
    /// `save` that the new master and its slaves get. Nothing: it stays as it is.
    master_save: Option<String>,
    slave_save: Option<String>,
    agents: usize,
    agents_reach: usize,
    proxies: usize,
    proxies_reach: usize,
}

#[derive(Debug, Serialize)]
struct Candidate {
    server: String,
    role: &'static str,
    /// It answered us.
    answers: bool,
    /// Agents that it answers.
    agents_reach: usize,
    link_up: bool,
    behind_bytes: Option<u64>,
    behind_s: Option<u64>,
    priority: u32,
    chosen: bool,
    unfit: Option<String>,
}

#[derive(Debug, Serialize)]
struct Obstacle {
    /// What a failover needs.
    what: String,
    /// It is not so.
    stands: bool,
    why: Option<String>,
}

pub(super) async fn run(session: &Session, args: &ExplainArgs) -> Done {
    let cx = session.connect().await?;
    let (policy, _) = &session.settings.ha;
    let explanation = agent::explain(&cx, args.group, policy).await?;
    cx.close().await;
    session.ui.report(&Explained::new(args.group, &explanation, policy))
}

impl Explained {
    fn new(group: GroupId, explanation: &Explanation, policy: &Policy) -> Self {
        let (trouble, proxies) = explanation.proxies;
        let view = explanation.servers.get(&explanation.master);
        let answers = view.is_some_and(|view| view.silence.is_none());
        let now = match &explanation.now {
            Decision::Nothing if answers => "Nothing would be done".to_owned(),
            Decision::Nothing => "Nothing is done about it now".to_owned(),
            Decision::Failover(choice) => format!("{} takes its place", choice.new),
            Decision::Refused { why, .. } => format!("It stays lost: {why}"),
        };
        let candidates: Vec<Candidate> =
            explanation.candidates.iter().map(|verdict| Candidate::new(verdict, explanation)).collect();
        let obstacles = explanation.needs.iter().map(|need| Obstacle {
            what: need.what.clone(),
            stands: need.unmet.is_some(),
            why: need.unmet.clone(),
        });
        Self {
            group: group.0,
            master: explanation.master.to_string(),
            answers,
            now,
            chosen: candidates.iter().find(|one| one.chosen).map(|one| one.server.clone()),
            candidates,
            obstacles: obstacles.collect(),
            after_ms: policy.down_after_ms,
            moving: explanation.moving,
            master_save: policy.master_save.clone(),
            slave_save: policy.slave_save.clone(),
            agents: explanation.status.agents.len(),
            agents_reach: explanation.agents_that_reach(&explanation.master),
            proxies,
            proxies_reach: proxies - trouble,
        }
    }

    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("candidate", Fit::Left),
            ("reachable", Fit::Left),
            ("link", Fit::Left),
            ("behind", Fit::Right),
            ("priority", Fit::Right),
            ("verdict", Fit::Text),
        ]);
        for one in &self.candidates {
            let listed =
                if one.role == "slave" { String::new() } else { format!(" (listed as {})", one.role) };
            let verdict = match (&one.unfit, one.chosen) {
                (Some(why), _) => format!("✗ {why}{listed}"),
                (None, true) => format!("✓ chosen: highest offset{listed}"),
                (None, false) => format!("✓ could be{listed}"),
            };
            grid.row([
                one.server.clone(),
                self.reachable(one),
                if one.link_up { "up" } else { "down" }.to_owned(),
                one.behind_bytes.map_or_else(String::new, units::bytes),
                one.priority.to_string(),
                verdict,
            ]);
        }
        grid
    }

    /// How many agents reach a server; without any, whether we do.
    fn reachable(&self, one: &Candidate) -> String {
        match (self.agents, one.answers) {
            (0, true) => "yes".to_owned(),
            (0, false) => "no".to_owned(),
            (agents, _) => format!("{} of {agents}", one.agents_reach),
        }
    }

    fn seen_by(&self) -> String {
        let agents = match self.agents {
            0 => "no agents".to_owned(),
            agents => format!("{} of {agents} agents", self.agents_reach),
        };
        match self.proxies {
            0 => agents,
            proxies => format!("{agents}, {} of {proxies} proxies", self.proxies_reach),
        }
    }

    /// On one line, if it fits.
    fn obstacles(&self, width: usize) -> String {
        let told = |one: &Obstacle| match &one.why {
            Some(why) => format!("✗ {}: {why}", one.what),
            None => format!("✓ {}", one.what),
        };
        let each: Vec<String> = self.obstacles.iter().map(told).collect();
        let line = format!("could block it: {}", each.join("  "));
        if line.chars().count() <= width { line } else { format!("could block it:\n  {}", each.join("\n  ")) }
    }

    fn loss(&self) -> Option<String> {
        let chosen = self.candidates.iter().find(|one| one.chosen)?;
        let now = chosen
            .behind_bytes
            .map_or_else(|| "not known now".to_owned(), |bytes| format!("now {}", units::bytes(bytes)));
        let save = |save: &Option<String>| match save.as_deref() {
            None => "as it is".to_owned(),
            Some("") => "no".to_owned(),
            Some(save) => save.to_owned(),
        };
        let (master, slave) = (save(&self.master_save), save(&self.slave_save));
        Some(format!(
            "expected loss: what {} has not received, {now}; save policy: master {master}, slave {slave}",
            chosen.server
        ))
    }
}

impl Candidate {
    fn new(verdict: &Verdict, explanation: &Explanation) -> Self {
        let facts = explanation.servers.get(&verdict.addr).and_then(|view| view.facts.as_ref());
        let behind = explanation.offset.filter(|_| verdict.same_history && facts.is_some());
        Self {
            server: verdict.addr.to_string(),
            role: verdict.role.as_str(),
            answers: explanation.servers.get(&verdict.addr).is_some_and(|view| view.silence.is_none()),
            agents_reach: explanation.agents_that_reach(&verdict.addr),
            link_up: facts.is_some_and(|facts| facts.link_up),
            behind_bytes: behind.map(|offset| offset.saturating_sub(verdict.offset)),
            behind_s: verdict.behind_s,
            priority: verdict.priority,
            chosen: verdict.chosen,
            unfit: verdict.unfit.as_ref().map(ToString::to_string),
        }
    }
}

impl Report for Explained {
    fn human(&self, look: &Look) -> String {
        let state = if self.answers { "is up" } else { "does not answer" };
        let mut text = format!(
            "group {} now: master {} {state} ({}). {}.\n",
            self.group,
            self.master,
            self.seen_by(),
            self.now
        );
        let after = self.after_ms as f64 / 1000.0 + 0.5;
        let when = match self.answers {
            true => format!("if it died now, in about {after:.1} s"),
            false => "if it stays so".to_owned(),
        };
        match &self.chosen {
            Some(chosen) => text.push_str(&format!("{when}: {chosen} would be master\n")),
            None => text.push_str(&format!("{when}: nobody would take its place\n")),
        }
        if self.moving {
            text.push_str("its slots move: only a slave that had its link to the very end is fit\n");
        }
        text.push_str(&self.grid().draw(look));
        text.push_str(&format!("\n{}", self.obstacles(look.width)));
        if let Some(loss) = self.loss() {
            text.push_str(&format!("\n{loss}"));
        }
        text
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}
