//! Nothing is written without somebody's consent to exactly that plan.

use codis_core::plan::Plan;

use crate::{Failure, FailureKind};

/// Who said yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// A person at a prompt, having seen the plan.
    Prompt,
    /// `--yes`.
    YesFlag,
    /// A person in the dashboard, having seen the plan.
    Dialog,
    /// A standing order: an agent, the playground.
    Policy,
}

impl Consent {
    /// The word in audit records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::YesFlag => "--yes",
            Self::Dialog => "dialog",
            Self::Policy => "policy",
        }
    }
}

/// Consent to one plan. Everything that writes takes one, and refuses one made for another plan.
#[derive(Debug, Clone)]
pub struct Permit {
    plan: Plan,
    consent: Consent,
}

impl Permit {
    /// Consent to this plan.
    pub fn new(plan: &Plan, consent: Consent) -> Self {
        Self { plan: plan.clone(), consent }
    }

    /// Who said yes.
    pub fn consent(&self) -> Consent {
        self.consent
    }

    /// Refuses if the permit is for another plan.
    pub(crate) fn covers(&self, plan: &Plan) -> Result<(), Failure> {
        if &self.plan == plan {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::Unsafe,
            format!("cannot {}", plan.title),
            "the plan",
            "what was agreed to is another plan",
        )
        .next("run the command again and read its plan"))
    }
}
