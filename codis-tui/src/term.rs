//! Entering and leaving the terminal.

use std::io;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::execute;
use crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use ratatui::DefaultTerminal;

use crate::model::Model;
use crate::view::view;

/// Set when a panic has given the terminal back. Leaving the alternate screen a second time would
/// put the cursor back to where it was before the first, and what is printed next over the message.
static LEFT: AtomicBool = AtomicBool::new(false);

/// The terminal while the dashboard owns it.
///
/// [`enter`](Self::enter) also installs a panic hook, so that the message of a panic, in whatever
/// task, is printed to the ordinary screen; dropping the guard gives the terminal back on every
/// other way out.
#[derive(Debug)]
pub struct Guard {
    terminal: DefaultTerminal,
}

impl Guard {
    /// Takes the terminal: alternate screen, raw keys.
    ///
    /// # Errors
    /// When the terminal refuses; it is as it was then.
    pub fn enter() -> io::Result<Self> {
        let terminal = ratatui::try_init().inspect_err(|_| leave())?;
        let restore_and_tell = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            LEFT.store(true, Ordering::SeqCst);
            restore_and_tell(info);
        }));
        Ok(Self { terminal })
    }

    /// Draws the model. Only cells that changed are written, and terminals that can do so show them
    /// all at once.
    ///
    /// # Errors
    /// When the terminal has gone, or a panic has given it back.
    pub fn draw(&mut self, model: &Model) -> io::Result<()> {
        if LEFT.load(Ordering::SeqCst) {
            return Err(io::Error::other("a part of the dashboard has failed"));
        }
        execute!(io::stdout(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| view(model, frame))?;
        execute!(io::stdout(), EndSynchronizedUpdate)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The terminal may be gone by now; there is nobody left to tell.
        let _ = self.terminal.show_cursor();
        if !LEFT.load(Ordering::SeqCst) {
            leave();
        }
    }
}

fn leave() {
    let _ = execute!(io::stdout(), EndSynchronizedUpdate);
    let _ = ratatui::try_restore();
}
