//! Output for people.

pub mod progress;
pub mod table;
pub mod unread;

use std::io::IsTerminal;

/// Whether standard output is for a person, who may be shown colours.
pub fn coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
