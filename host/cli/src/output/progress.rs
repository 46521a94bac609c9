//! Shows the progress of long work, on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of bytes. Draws nothing where standard error is no terminal.
pub fn bytes(total: u64, doing: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(doing);
    let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
