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

/// What a record says while its change is under way, and for ever if the program was killed.
pub const BEGUN: &str = "begun";

/// The record of a change that is under way.
pub(crate) struct Record {
    path: String,
    record: AuditRecord,
    begun: Instant,
}

/// Writes the record of a change before its first step, so that a program that is killed has left one.
///
/// # Errors
/// If the store does not answer: then nothing may be changed.
pub(crate) async fn begin(cx: &Context, plan: String, consent: Consent) -> Result<Record, Failure> {
    let record = AuditRecord {
        ts_ms: context::now_ms(),
        who: context::who(),
        consent: consent.as_str().to_owned(),
        argv: cx.argv().to_owned(),
        plan,
        outcome: BEGUN.to_owned(),
        took_ms: 0,
        pid: std::process::id(),
    };
    let path = cx.product.audit_append(&record).await;
    let path = path.map_err(|error| Failure::store("cannot write the audit record", &error))?;
    Ok(Record { path, record, begun: Instant::now() })
}

impl Record {
    /// Says how it ended: `done`, or the failure in one line.
    ///
    /// # Errors
    /// If the store does not answer. The change itself stands; callers report both.
    pub(crate) async fn end(mut self, cx: &Context, outcome: &Result<(), Failure>) -> Result<(), Failure> {
        self.record.outcome = match outcome {
            Ok(()) => "done".to_owned(),
            Err(failure) => format!("failed ({}): {failure}", failure.kind.exit_status()),
        };
        self.record.took_ms = self.begun.elapsed().as_millis() as u64;
        let written = cx.product.audit_end(&self.path, &self.record).await;
        written.map_err(|error| Failure::store("cannot complete the audit record", &error))
    }
}
