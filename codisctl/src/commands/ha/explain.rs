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
    #[serde(skip)]
    seen_by: String,
}

#[derive(Debug, Serialize)]
struct Candidate {
    server: String,
    role: &'static str,
    link_up: bool,
    behind_bytes: Option<u64>,
    behind_s: Option<u64>,
    priority: u32,
    chosen: bool,
    unfit: Option<String>,
}

#[derive(Debug, Serialize)]
struct Obstacle {
    what: &'static str,
    stands: bool,
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
        let agents = &explanation.status.agents;
        let down = |agent: &&codis_core::ha::AgentView| agent.silent.contains_key(&explanation.master);
        let up = agents.len() - agents.iter().filter(down).count();
        let (trouble, proxies) = explanation.proxies;
        let view = explanation.servers.get(&explanation.master);
        let now = match &explanation.now {
            Decision::Nothing => "nothing would be done".to_owned(),
            Decision::Failover(choice) => format!("{} takes its place", choice.new),
            Decision::Refused { why, .. } => format!("it stays lost: {why}"),
        };
        let candidates: Vec<Candidate> =
            explanation.candidates.iter().map(|verdict| Candidate::new(verdict, explanation)).collect();
        let blocked = matches!(
            &explanation.now,
            Decision::Refused { why: codis_core::ha::NotNow::CooledDown { .. }, .. }
        );
        let obstacles = vec![
            Obstacle { what: "no agent watches", stands: agents.is_empty() },
            Obstacle { what: "product paused", stands: explanation.status.paused.is_some() },
            Obstacle { what: "no server is fit", stands: !candidates.iter().any(|one| one.chosen) },
            Obstacle { what: "a failover lately", stands: blocked },
            Obstacle { what: "slots move, so only linked slaves are fit", stands: explanation.moving },
        ];
        Self {
            group: group.0,
            master: explanation.master.to_string(),
            answers: view.is_some_and(|view| view.silence.is_none()),
            now,
            chosen: candidates.iter().find(|one| one.chosen).map(|one| one.server.clone()),
            candidates,
            obstacles,
            after_ms: policy.down_after_ms,
            seen_by: format!(
                "{up} of {} agents, {} of {proxies} proxies reach it",
                agents.len(),
                proxies - trouble
            ),
        }
    }

    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("candidate", Fit::Left),
            ("role", Fit::Left),
            ("link", Fit::Left),
            ("behind", Fit::Right),
            ("priority", Fit::Right),
            ("verdict", Fit::Text),
        ]);
        for one in &self.candidates {
            let verdict = match (&one.unfit, one.chosen) {
                (Some(why), _) => format!("✗ {why}"),
                (None, true) => "✓ chosen: highest offset".to_owned(),
                (None, false) => "✓ could be".to_owned(),
            };
            grid.row([
                one.server.clone(),
                one.role.to_owned(),
                if one.link_up { "up" } else { "down" }.to_owned(),
                one.behind_bytes.map_or_else(String::new, units::bytes),
                one.priority.to_string(),
                verdict,
            ]);
        }
        grid
    }
}

impl Candidate {
    fn new(verdict: &Verdict, explanation: &Explanation) -> Self {
        let facts = explanation.servers.get(&verdict.addr).and_then(|view| view.facts.as_ref());
        let behind = explanation.offset.filter(|_| verdict.same_history && facts.is_some());
        Self {
            server: verdict.addr.to_string(),
            role: verdict.role.as_str(),
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
        let state = if self.answers { "answers" } else { "does not answer" };
        let mut text = format!(
            "group {} now: master {} {state} ({}). {}\n",
            self.group, self.master, self.seen_by, self.now
        );
        let after = self.after_ms as f64 / 1000.0 + 0.5;
        match &self.chosen {
            Some(chosen) => {
                text.push_str(&format!("if it died now, in about {after:.1} s: {chosen} would be master\n"));
            }
            None => text.push_str("if it died now, nobody would take its place\n"),
        }
        text.push_str(&self.grid().draw(look));
        let obstacle = |one: &Obstacle| format!("{} {}", if one.stands { "✗" } else { "✓ not:" }, one.what);
        let obstacles: Vec<String> = self.obstacles.iter().map(obstacle).collect();
        text.push_str(&format!("\ncould block it: {}", obstacles.join("  ")));
        text
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}
