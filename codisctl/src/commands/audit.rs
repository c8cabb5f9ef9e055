use codis_ops::audit::{self, AuditRecord};
use serde::Serialize;

use crate::{
    error::Done,
    render::{Fit, Grid, Look, units},
    session::Session,
    ui::Report,
};

/// Tell who changed what, newest first
///
/// Every verb that writes leaves a record: who, when, the command, the plan, and how it ended. `begun` is one
/// that is still at work, or was killed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl audit
  codisctl audit --last 1 --plan
  codisctl audit --output json | jq -r '.records[].argv'

Exit status: 0 done · 5 store unreachable")]
pub(crate) struct AuditArgs {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
    /// With the steps of every plan
    #[arg(long)]
    plan: bool,
}

#[derive(Debug, Serialize)]
struct Records {
    product: String,
    records: Vec<Record>,
    #[serde(skip)]
    plans: bool,
}

#[derive(Debug, Serialize)]
struct Record {
    /// Unix milliseconds.
    ts_ms: u64,
    who: String,
    pid: u32,
    consent: String,
    argv: String,
    /// First line: what was to be achieved; then a numbered line per step.
    plan: String,
    outcome: String,
    took_ms: u64,
}

pub(super) async fn run(session: &Session, args: &AuditArgs) -> Done {
    let cx = session.connect().await?;
    let records = audit::list(&cx, args.last).await?;
    let product = cx.product_name().to_string();
    cx.close().await;
    let records = records.into_iter().map(Record::from).collect();
    session.ui.report(&Records { product, records, plans: args.plan })
}

impl From<AuditRecord> for Record {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord { ts_ms, who, consent, argv, plan, outcome, took_ms, pid } = record;
        Self { ts_ms, who, pid, consent, argv, plan, outcome, took_ms }
    }
}

impl Records {
    fn grid(records: &[Record]) -> Grid {
        let mut grid = Grid::new(&[
            ("when (UTC)", Fit::Left),
            ("who", Fit::Left),
            ("outcome", Fit::Left),
            ("took", Fit::Right),
            ("command", Fit::Text),
        ]);
        for record in records {
            let outcome = record.outcome.split([':', ' ']).next().unwrap_or_default();
            grid.row([
                units::date_time(record.ts_ms),
                record.who.clone(),
                outcome.to_owned(),
                format!("{} ms", record.took_ms),
                record.argv.clone(),
            ]);
        }
        grid
    }
}

impl Report for Records {
    fn human(&self, look: &Look) -> String {
        let count = codis_core::plan::plural(self.records.len(), "record", "records");
        if self.records.is_empty() {
            return count;
        }
        if !self.plans {
            return format!(
                "{}\n{count}   → codisctl audit --plan shows the steps",
                Self::grid(&self.records).draw(look)
            );
        }
        let each = self.records.iter().map(|record| {
            let steps = record.plan.replace('\n', "\n  step    ");
            format!(
                "{}  {}  pid {}  consent {}\n  command {}\n  plan    {steps}\n  outcome {}, {} ms",
                units::date_time(record.ts_ms),
                record.who,
                record.pid,
                record.consent,
                record.argv,
                record.outcome,
                record.took_ms
            )
        });
        format!("{}\n{count}", each.collect::<Vec<_>>().join("\n"))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let row = |record: &Record| {
            let ms = record.ts_ms.to_string();
            vec![
                ms,
                record.who.clone(),
                record.outcome.clone(),
                record.took_ms.to_string(),
                record.argv.clone(),
            ]
        };
        self.records.iter().map(row).collect()
    }
}
