//! The watching duties of an agent.

mod settings;

pub use self::settings::WatchSettings;
