//! From a reply that differs to a short list of commands that leads to it.

use std::fmt::Write as _;

use crate::{Difference, Pair, Pipeline};

/// Tries that are spent on making the list shorter.
const TRIES: usize = 200;

/// What to tell about a difference in the last of these pipelines.
pub(crate) fn shrink(pair: &Pair, mut history: Vec<Pipeline>, difference: &Difference) -> String {
    let mut story = String::new();
    let failing = history.last_mut().unwrap();
    let _ =
        writeln!(story, "the server: {}\n the proxy: {}", short(&difference.theirs), short(&difference.ours));
    let _ = writeln!(story, "the pipeline up to there (RESP{}):", if failing.resp3 { 3 } else { 2 });
    failing.steps.truncate(difference.at + 1);
    tell(failing, &mut story);
    if !differs(pair, &history) {
        story.push_str("it does not happen again from an empty state\n");
        return story;
    }
    // Whole pipelines first, then single commands; what is left out in vain is halved.
    let mut tries = 0;
    let mut chunk = history.len().div_ceil(2);
    while chunk > 0 && tries < TRIES {
        let mut at = 0;
        while at + 1 < history.len() && tries < TRIES {
            let end = (at + chunk).min(history.len() - 1);
            let without: Vec<Pipeline> = history[..at].iter().chain(&history[end..]).cloned().collect();
            tries += 1;
            if differs(pair, &without) {
                history = without;
            } else {
                at = end;
            }
        }
        chunk /= 2;
    }
    for at in 0..history.len() {
        let mut step = 0;
        while step < history[at].steps.len() && tries < 2 * TRIES {
            let mut without = history.clone();
            without[at].steps.remove(step);
            tries += 1;
            if differs(pair, &without) {
                history = without;
            } else {
                step += 1;
            }
        }
    }
    story.push_str("what is left of it and of what was sent before, from an empty state:\n");
    for pipeline in history.iter().filter(|pipeline| !pipeline.steps.is_empty()) {
        let _ = writeln!(story, "RESP{}:", if pipeline.resp3 { 3 } else { 2 });
        tell(pipeline, &mut story);
    }
    story
}

/// True if some reply differs when all of it is sent from an empty state.
fn differs(pair: &Pair, history: &[Pipeline]) -> bool {
    pair.forget();
    history.iter().any(|pipeline| pair.compare(pipeline).is_some())
}

fn tell(pipeline: &Pipeline, story: &mut String) {
    for step in &pipeline.steps {
        let words: Vec<String> = step.args.iter().map(|arg| short(&arg.escape_ascii().to_string())).collect();
        let _ = writeln!(story, "    {}", words.join(" "));
    }
}

fn short(text: &str) -> String {
    let begin: String = text.chars().take(400).collect();
    if begin.len() < text.len() { format!("{begin}... ({} in all)", text.len()) } else { begin }
}
