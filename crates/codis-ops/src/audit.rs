//! Who changed what, when, and how it ended.

use std::{fmt::Write as _, time::Instant};

use codis_core::plan::Plan;

use crate::{Consent, Context, Failure, context};

pub use codis_store::AuditRecord;

/// The newest records, newest first.
///
/// # Errors
/// If the store does not answer.
pub async fn list(cx: &Context, count: usize) -> Result<Vec<AuditRecord>, Failure> {
    let records = cx.product.audit_list(count).await;
    records.map_err(|error| Failure::store("cannot read the audit records", &error))
}

/// A plan as its record keeps it: title, then numbered steps.
pub(crate) fn text_of(plan: &Plan) -> String {
    let mut text = plan.title.clone();
    for (n, step) in plan.steps.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{} {step}", n + 1);
    }
    text
}

/// Writes the record of one change: what was to be done, and `done` or the failure in one line.
///
/// # Errors
/// If the store does not answer. The change itself stands; callers report both.
pub(crate) async fn record(
    cx: &Context,
    plan: String,
    consent: Consent,
    outcome: &Result<(), Failure>,
    begun: Instant,
) -> Result<(), Failure> {
    let record = AuditRecord {
        ts_ms: context::now_ms(),
        who: context::who(),
        consent: consent.as_str().to_owned(),
        argv: cx.argv().to_owned(),
        plan,
        outcome: match outcome {
            Ok(()) => "done".to_owned(),
            Err(failure) => format!("failed ({}): {failure}", failure.kind.exit_status()),
        },
        took_ms: begun.elapsed().as_millis() as u64,
        pid: std::process::id(),
    };
    let written = cx.product.audit_append(&record).await;
    written.map_err(|error| Failure::store("cannot write the audit record", &error))
}
