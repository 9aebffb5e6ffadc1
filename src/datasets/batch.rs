//! A batch of rows: JSON Lines, taken whole or not at all.

use gesta_log_format::json::{Error, Reader};

use super::schema::{Fault, RowSchema, dedupe_key};
use crate::limits::{JSON_DEPTH_MAX, ROW_BATCH_ROWS_MAX, ROW_BYTES_MAX};

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) dedupe_key: String,
    /// Canonical, its key included.
    pub(super) data: Vec<u8>,
}

/// Why a batch is refused: the first row that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// From 1; none where the batch as a whole is meant.
    pub(super) line: Option<u64>,
    pub(super) pointer: String,
    pub(super) message: String,
}

/// The rows of a batch. Without a schema, those of one that was taken before.
///
/// # Errors
/// [`Refusal`].
pub(super) fn rows(batch: &[u8], schema: Option<&RowSchema>) -> Result<Vec<Row>, Refusal> {
    let mut rows = Vec::new();
    let text = batch.strip_suffix(b"\n").unwrap_or(batch);
    if text.is_empty() {
        return Ok(rows);
    }
    for (nth, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if nth == ROW_BATCH_ROWS_MAX {
            let message = format!("a batch has at most {ROW_BATCH_ROWS_MAX} rows");
            return Err(Refusal { line: None, pointer: String::new(), message });
        }
        let row = row(line.strip_suffix(b"\r").unwrap_or(line), schema);
        rows.push(row.map_err(|(pointer, message)| Refusal {
            line: Some(nth as u64 + 1),
            pointer,
            message,
        })?);
    }
    Ok(rows)
}

fn row(line: &[u8], schema: Option<&RowSchema>) -> Result<Row, (String, String)> {
    if line.len() > ROW_BYTES_MAX {
        return Err((String::new(), format!("a row has at most {ROW_BYTES_MAX} bytes")));
    }
    let data = canonical(line).map_err(|error| (error.pointer, error.kind.to_string()))?;
    let pointer = |fault: Fault| {
        let pointer = fault
            .member
            .map_or_else(String::new, |member| format!("/{}", member.replace('~', "~0").replace('/', "~1")));
        (pointer, fault.message)
    };
    let dedupe_key = dedupe_key(&data).map_err(pointer)?;
    schema.map_or(Ok(()), |schema| schema.check(&data)).map_err(pointer)?;
    Ok(Row { dedupe_key, data })
}

fn canonical(line: &[u8]) -> Result<Vec<u8>, Error> {
    let mut reader = Reader::new(line)?.with_depth_max(JSON_DEPTH_MAX);
    let mut data = Vec::with_capacity(line.len());
    reader.canonical_value(&mut data, &mut ())?;
    reader.finish()?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> RowSchema {
        RowSchema::parse(br#"{"n":"integer"}"#).unwrap()
    }

    #[test]
    fn lines_become_rows_in_their_canonical_form() {
        let batch = b"{\"n\": 1, \"dedupe_key\": \"a\"}\r\n{\"dedupe_key\":\"b\",\"n\":2}\n";
        let rows = rows(batch, Some(&schema())).unwrap();
        let data: Vec<_> = rows.iter().map(|row| String::from_utf8(row.data.clone()).unwrap()).collect();
        assert_eq!(data, [r#"{"dedupe_key":"a","n":1}"#, r#"{"dedupe_key":"b","n":2}"#]);
        assert_eq!(rows[1].dedupe_key, "b");
        assert_eq!(super::rows(b"", Some(&schema())), Ok(Vec::new()));
    }

    #[test]
    fn the_first_bad_row_is_named() {
        let good = r#"{"dedupe_key":"a","n":1}"#;
        for (line, pointer) in [
            ("", ""),
            ("{", ""),
            ("[]", ""),
            (r#"{"n":1}"#, "/dedupe_key"),
            (r#"{"dedupe_key":"b","n":"1"}"#, "/n"),
            (r#"{"dedupe_key":"b","n":1,"n":1}"#, "/n"),
            (r#"{"dedupe_key":"b","n":1,"a/b":1}"#, "/a~1b"),
            (r#"{"dedupe_key":"b","n":1} x"#, ""),
        ] {
            let refused = rows(format!("{good}\n{line}\n{good}").as_bytes(), Some(&schema())).unwrap_err();
            assert_eq!((refused.line, refused.pointer.as_str()), (Some(2), pointer), "{line}: {refused:?}");
        }
    }

    #[test]
    fn a_batch_is_bounded_by_its_rows_and_a_row_by_its_bytes() {
        let row = "{\"dedupe_key\":\"a\",\"n\":1}\n";
        assert!(rows(row.repeat(ROW_BATCH_ROWS_MAX).as_bytes(), None).is_ok());
        assert_eq!(rows(row.repeat(ROW_BATCH_ROWS_MAX + 1).as_bytes(), None).unwrap_err().line, None);
        let long = format!("{{\"dedupe_key\":\"a\",\"n\":\"{}\"}}", "x".repeat(ROW_BYTES_MAX));
        assert_eq!(rows(long.as_bytes(), None).unwrap_err().line, Some(1));
    }
}
