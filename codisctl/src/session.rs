//! One run of the program: settings, terminal, and the way from a plan to its outcome.

use std::time::Duration;

use codis_core::{
    ProductName,
    plan::{Plan, Step},
};
use codis_ops::{Consent, Context, Events, Failure, FailureKind, Permit, Receipt, StoreAccess, apply};
use serde::Serialize;

use crate::{
    cli::Output,
    config::Settings,
    error::{Done, Stop},
    render::{Look, progress},
    ui::{Report, Ui},
};

/// Longest wait for servers and proxies that a list shows.
const PATIENCE: Duration = Duration::from_secs(1);

/// What every verb is given.
#[derive(Debug)]
pub(crate) struct Session {
    /// What is in force.
    pub(crate) settings: Settings,
    /// Where to print.
    pub(crate) ui: Ui,
    /// The command as typed, for audit records and advice.
    pub(crate) line: String,
}

/// How sure a person has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sure {
    /// `y` is enough.
    Yes,
    /// Cannot be undone: the product's name is typed.
    TypeProduct,
}

impl Session {
    /// Connects to the product, which must exist.
    pub(crate) async fn connect(&self) -> Result<Context, Failure> {
        self.connect_to(None).await
    }

    /// Connects to this product, else to that of the settings; it must exist.
    pub(crate) async fn connect_to(&self, product: Option<&ProductName>) -> Result<Context, Failure> {
        let product = match product {
            Some(product) => product.clone(),
            None => self.settings.product()?.clone(),
        };
        let mut cx = Context::connect(&self.settings.target(product)?).await?;
        cx.set_argv(&self.line);
        cx.set_policy(self.settings.ha.0.clone());
        Ok(cx)
    }

    /// Connects to the store alone, which must exist; no product need be named.
    pub(crate) async fn access(&self) -> Result<StoreAccess, Failure> {
        StoreAccess::connect(self.settings.store()?, self.settings.timeout).await
    }

    /// How long a list waits for the servers or proxies that it shows: one that does not answer is a
    /// row with the reason, not a reason to wait.
    pub(crate) fn patience(&self) -> Duration {
        self.settings.timeout.min(PATIENCE)
    }

    /// Shows the plan, asks, carries it out and reports. Returns `None` if nothing was to be done
    /// or nothing was allowed (`--dry-run`): then there is nothing to add either.
    pub(crate) async fn carry_out(
        &self,
        cx: &Context,
        plan: &Plan,
        sure: Sure,
    ) -> Result<Option<Receipt>, Stop> {
        let change = |outcome| Change { plan, outcome };
        if plan.steps.is_empty() {
            self.finish(&change(Outcome::Nothing))?;
            return Ok(None);
        }
        if self.settings.dry_run {
            self.finish(&change(Outcome::DryRun))?;
            return Ok(None);
        }
        // JSON holds the plan in its result; but nobody is asked about a plan that was not shown.
        if self.ui.output() != Output::Json || !self.settings.yes {
            self.ui.say(&describe(plan));
        }
        let consent = self.consent(cx, &plan.title, sure).await?;
        let (events, stream) = Events::channel();
        let work = apply(cx, plan, Permit::new(plan, consent), &events);
        let interrupted = Failure::new(
            FailureKind::Interrupted,
            "interrupted",
            "",
            "the steps before this one are done, those after it were not begun",
        )
        .next(format!("{}    does the rest", self.line));
        let outcome = progress::follow(&self.ui, stream, work, interrupted).await;
        let receipt = release(cx, outcome).await?;
        self.finish(&change(Outcome::Applied))?;
        Ok(Some(receipt))
    }

    /// Asks whether to go on, unless `--yes` says so.
    pub(crate) async fn consent(&self, cx: &Context, title: &str, sure: Sure) -> Result<Consent, Stop> {
        if self.settings.yes {
            return Ok(Consent::YesFlag);
        }
        let product = cx.product_name().as_str();
        let question = match sure {
            Sure::Yes => format!("{}? [y/N]", capitalised(title)),
            Sure::TypeProduct => {
                format!("{}? It cannot be undone. Type the product's name ({product}):", capitalised(title))
            }
        };
        let Some(answer) = self.ui.ask(&question).await? else {
            let why = "standard input is not a terminal, so nobody can be asked";
            return Err(Failure::new(FailureKind::Usage, format!("did not {title}"), &self.line, why)
                .next(format!("{} --yes    or --dry-run, which only shows the plan", self.line))
                .into());
        };
        let yes = match sure {
            Sure::Yes => matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"),
            Sure::TypeProduct => answer == product,
        };
        if yes { Ok(Consent::Prompt) } else { Err(Stop::Declined) }
    }

    /// The outcome is data where data is asked for. People get it as a sentence, and see the plan
    /// as data when it is all there is.
    fn finish(&self, change: &Change<'_>) -> Done {
        match (self.ui.output(), change.outcome) {
            (Output::Json | Output::Plain, _) | (_, Outcome::DryRun | Outcome::Nothing) => {
                self.ui.report(change)
            }
            (Output::Table, Outcome::Applied) => {
                self.ui.say(&format!("done      {}", change.plan.title));
                Ok(())
            }
        }
    }
}

/// Work that was broken off may still hold a lock in the store, which goes with the session; without
/// this a ZooKeeper would keep it until the session times out.
pub(crate) async fn release<T>(cx: &Context, outcome: Result<T, Failure>) -> Result<T, Failure> {
    if matches!(&outcome, Err(failure) if failure.kind == FailureKind::Interrupted) {
        cx.clone().close().await;
    }
    outcome
}

/// What became of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Applied,
    DryRun,
    Nothing,
}

/// The result of every verb that changes something.
#[derive(Debug)]
struct Change<'a> {
    plan: &'a Plan,
    outcome: Outcome,
}

impl Serialize for Change<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shape<'a> {
            outcome: Outcome,
            title: &'a str,
            notes: &'a [String],
            steps: Vec<String>,
        }
        let steps = self.plan.steps.iter().map(ToString::to_string).collect();
        Shape { outcome: self.outcome, title: &self.plan.title, notes: &self.plan.notes, steps }
            .serialize(serializer)
    }
}

impl Report for Change<'_> {
    fn human(&self, _look: &Look) -> String {
        let last = match self.outcome {
            Outcome::Applied => "done",
            Outcome::DryRun => "dry run   nothing was written",
            Outcome::Nothing => "done      nothing had to be written",
        };
        format!("{}\n{last}", describe(self.plan))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let steps = self.plan.steps.iter().enumerate();
        steps.map(|(i, step)| vec![(i + 1).to_string(), step.to_string()]).collect()
    }
}

/// A plan as people read it: what it achieves, what to know, and every step in order.
fn describe(plan: &Plan) -> String {
    let mut text = format!("plan      {}", plan.title);
    for note in &plan.notes {
        text.push_str(&format!("\nnote      {note}"));
    }
    for (i, step) in plan.steps.iter().enumerate() {
        let does = match step {
            Step::AwaitProxyGone(_) => "waits",
            _ => "writes",
        };
        text.push_str(&format!("\n{:<8}  {step}", format!("{does} {}", i + 1)));
    }
    text
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
