//! A progress bar over the bytes of a log, on standard error, for logs that take a while.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Logs with fewer bytes are read before anyone looks.
const SHOWN_FROM_BYTES: u64 = 64 * 1024 * 1024;

pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar that is full at `total_bytes`; hidden for a short log, and where standard error is no terminal.
    pub(super) fn new(total_bytes: u64) -> Self {
        let shown = total_bytes >= SHOWN_FROM_BYTES;
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::with_draw_target(Some(total_bytes), target).with_style(style))
    }

    pub(super) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
