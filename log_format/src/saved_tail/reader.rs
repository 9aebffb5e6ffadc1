//! Reads a saved tail from a file, with bounded memory.

use std::io;

use super::{Item, STEP_BYTES_MAX, item, step};
use crate::disk::File;
use crate::log::Window;

/// Walks the items of a saved tail that lies in a file: the same items as [`Items`](super::Items) finds in its bytes.
pub struct Reader<'f, F> {
    window: Window<'f, F>,
}

impl<'f, F: File> Reader<'f, F> {
    /// Begins at the byte `at`.
    pub fn new(file: &'f F, at: u64) -> Self {
        Self { window: Window::new(file, at) }
    }

    /// Where the next item begins, or what lies before it.
    pub fn at(&self) -> u64 {
        self.window.at()
    }

    /// The next item and the byte where it begins; none at the end of the file.
    ///
    /// # Errors
    /// As the file's reads.
    #[expect(clippy::should_implement_trait, reason = "the item borrows the reader's buffer")]
    pub fn next(&mut self) -> io::Result<Option<(Item<'_>, u64)>> {
        loop {
            let at = self.window.at();
            let rest = self.window.peek(STEP_BYTES_MAX)?;
            if rest.is_empty() {
                return Ok(None);
            }
            let (len, found) = step(rest);
            if found == super::Found::Skipped {
                self.window.advance(len);
                continue;
            }
            return Ok(item(self.window.take(len), found).map(|item| (item, at)));
        }
    }
}
