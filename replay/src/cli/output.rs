//! Standard output, which is data, and report files.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use super::Failure;

/// Writes a whole text to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::of_stdout)
}

/// Writes a whole text to a file, or to standard output where the path is `-`.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if path == Path::new("-") {
        return print(text);
    }
    fs::write(path, text).map_err(|cause| Failure::cannot("write", path, cause))
}
