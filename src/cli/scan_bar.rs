//! A progress bar over the bytes of a log, on standard error, for logs that take a while.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Logs with fewer bytes are read before anyone looks.
const SHOWN_FROM_BYTES: u64 = 64 * 1024 * 1024;

/// The bar is moved after so many bytes.
const STEP_BYTES: u64 = 1024 * 1024;

pub(super) struct ScanBar {
    bar: ProgressBar,
    moved_to: u64,
}

impl ScanBar {
    /// A bar that is full at `total_bytes`; hidden for a short log, and where standard error is no terminal.
    pub(super) fn new(total_bytes: u64) -> Self {
        let shown = total_bytes >= SHOWN_FROM_BYTES;
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { bar: ProgressBar::with_draw_target(Some(total_bytes), target).with_style(style), moved_to: 0 }
    }

    pub(super) fn move_to(&mut self, byte: u64) {
        if byte >= self.moved_to + STEP_BYTES {
            self.moved_to = byte;
            self.bar.set_position(byte);
        }
    }
}

impl Drop for ScanBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
