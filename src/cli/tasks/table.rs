//! Columns for people: as wide as what is in them, two spaces apart.

use std::io::{self, Write};

/// Rows that are printed together.
#[derive(Default)]
pub(super) struct Table(Vec<Vec<String>>);

impl Table {
    /// With the names of its columns.
    pub(super) fn new(columns: &[&'static str]) -> Self {
        Self(vec![columns.iter().map(|&name| name.to_owned()).collect()])
    }

    /// Without names.
    pub(super) fn plain() -> Self {
        Self::default()
    }

    /// What could move the cursor of a terminal is shown as a question mark.
    pub(super) fn push(&mut self, row: Vec<String>) {
        let plain =
            |text: String| text.chars().map(|char| if char.is_control() { '?' } else { char }).collect();
        self.0.push(row.into_iter().map(plain).collect());
    }

    /// # Errors
    /// Those of `out`.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or_default();
        let wide =
            |nth: usize| self.0.iter().filter_map(|row| row.get(nth)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|nth| wide(nth).unwrap_or_default()).collect();
        for row in &self.0 {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them_and_cannot_steer_a_terminal() {
        let mut table = Table::new(&["TASK", "WORKER"]);
        table.push(vec!["1".to_owned(), "w\u{1b}[1m".to_owned()]);
        table.push(vec!["longer".to_owned(), String::new()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "TASK    WORKER\n1       w?[1m\nlonger\n");
    }
}
