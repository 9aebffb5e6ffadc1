//! Standard output, which is data.

use std::io::{self, BufWriter, StdoutLock, Write as _};

use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;

/// Writes to standard output through one buffer and flushes it.
///
/// # Errors
/// A failed write, as [`Failure::of_stdout`] judges it.
pub fn write(
    print: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    print(&mut out).and_then(|()| out.flush()).map_err(Failure::of_stdout)
}

/// A progress bar over `len` things on standard error; hidden where that is not a terminal.
pub fn progress(len: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style).with_message(what)
}
