//! Data goes to standard output, everything else to standard error.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use codis_ops::{Failure, FailureKind};
use serde::Serialize;

use crate::{
    cli::Output,
    error::{Done, Stop},
    render::Look,
};

/// Version of every JSON shape. A field is never taken away or changed without raising it.
pub(crate) const SHAPE: u8 = 1;

/// A result that can be printed in every form. Its serialised form is its documented schema.
pub(crate) trait Report: Serialize {
    /// For people; without the last line end.
    fn human(&self, look: &Look) -> String;

    /// For `awk`: rows of cells.
    fn plain(&self) -> Vec<Vec<String>>;
}

#[derive(Serialize)]
struct Shaped<'a, R> {
    v: u8,
    #[serde(flatten)]
    report: &'a R,
}

/// The terminal, or what stands in for it.
#[derive(Debug)]
pub(crate) struct Ui {
    output: Output,
    look: Look,
}

impl Ui {
    /// Prints in this form.
    pub(crate) fn new(output: Output) -> Self {
        Self { output, look: Look::of_stdout() }
    }

    /// How results are printed.
    pub(crate) fn output(&self) -> Output {
        self.output
    }

    /// What standard output can show.
    pub(crate) fn look(&self) -> Look {
        self.look
    }

    /// Prints a result in the form that was asked for.
    pub(crate) fn report(&self, report: &impl Report) -> Done {
        let text = match self.output {
            Output::Table => report.human(&self.look),
            Output::Json => json(&Shaped { v: SHAPE, report })?,
            Output::Plain => {
                let clean = |cell: &String| cell.replace(['\t', '\n'], " ");
                let line = |row: &Vec<String>| row.iter().map(clean).collect::<Vec<_>>().join("\t");
                report.plain().iter().map(line).collect::<Vec<_>>().join("\n")
            }
        };
        self.data(&text)
    }

    /// Prints a line of data.
    pub(crate) fn data(&self, text: &str) -> Done {
        let mut out = io::stdout().lock();
        if !text.is_empty() {
            out.write_all(text.as_bytes())?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
        Ok(())
    }

    /// Tells a person something.
    pub(crate) fn say(&self, text: &str) {
        // Nobody is left to tell that nobody listens.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Names the command to go on with.
    pub(crate) fn next(&self, command: &str) {
        self.say(&format!("next      {command}"));
    }

    /// Asks and returns the answer, trimmed; `None` where there is no terminal to ask at.
    ///
    /// The answer is awaited on a thread of its own: the session with the store must stay alive
    /// while a person thinks.
    pub(crate) async fn ask(&self, question: &str) -> Result<Option<String>, Stop> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let _ = write!(io::stderr(), "{question} ");
        let _ = io::stderr().flush();
        let read = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        let line = read.await.map_err(io::Error::other).and_then(|line| line);
        line.map(|line| Some(line.trim().to_owned())).map_err(|error| {
            let why = crate::config::error_text(&error);
            Failure::new(FailureKind::Failed, "cannot read the answer", "standard input", why).into()
        })
    }
}

/// A value as pretty JSON.
fn json(value: &impl Serialize) -> Result<String, Stop> {
    serde_json::to_string_pretty(value).map_err(not_json)
}

/// A value as JSON in one line, for output that goes on.
pub(crate) fn json_line(value: &impl Serialize) -> Result<String, Stop> {
    serde_json::to_string(value).map_err(not_json)
}

fn not_json(error: serde_json::Error) -> Stop {
    Failure::new(FailureKind::Failed, "cannot write the result as JSON", "--output json", error).into()
}
