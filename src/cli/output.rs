//! Standard output, which is data.

use std::io::{self, BufWriter, StdoutLock, Write as _};

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
