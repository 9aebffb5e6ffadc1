//! Writes the objects of payloads and answers: canonical, whatever the order in which the members come.

use std::collections::BTreeMap;

use gesta_log_format::json;

/// An object that is being written. Its keys are ASCII, so that the order of their bytes is the canonical one.
#[derive(Debug, Default)]
pub(crate) struct Members(BTreeMap<&'static str, Vec<u8>>);

impl Members {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A member that is canonical already.
    pub(crate) fn raw(mut self, key: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.0.insert(key, value.as_ref().to_vec());
        self
    }

    pub(crate) fn text(self, key: &'static str, value: &str) -> Self {
        let mut out = Vec::with_capacity(value.len() + 2);
        json::write_string(&mut out, value);
        self.raw(key, out)
    }

    pub(crate) fn number(self, key: &'static str, value: u64) -> Self {
        self.raw(key, value.to_string())
    }

    pub(crate) fn boolean(self, key: &'static str, value: bool) -> Self {
        self.raw(key, if value { "true" } else { "false" })
    }

    /// As [`Members::raw`], where there is a value.
    pub(crate) fn some(self, key: &'static str, value: Option<impl AsRef<[u8]>>) -> Self {
        match value {
            Some(value) => self.raw(key, value),
            None => self,
        }
    }

    /// As [`Members::text`], where there is one.
    pub(crate) fn some_text(self, key: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    /// As [`Members::text`], or null.
    pub(crate) fn text_or_null(self, key: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self.raw(key, "null"),
        }
    }

    /// The object.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut out = vec![b'{'];
        for (key, value) in self.0 {
            if out.len() > 1 {
                out.push(b',');
            }
            json::write_string(&mut out, key);
            out.push(b':');
            out.extend_from_slice(&value);
        }
        out.push(b'}');
        out
    }
}

/// A list of values that are canonical already.
pub(crate) fn list(values: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<u8> {
    let mut out = vec![b'['];
    for value in values {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(value.as_ref());
    }
    out.push(b']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_out_in_canonical_order() {
        let object = Members::new()
            .text("worker_id", "w\n")
            .number("attempt", 2)
            .boolean("drain", false)
            .text_or_null("none", None)
            .some("left_out", None::<&[u8]>)
            .raw("list", list([b"1".to_vec(), b"{}".to_vec()]))
            .finish();
        let text = String::from_utf8(object).unwrap();
        assert_eq!(text, r#"{"attempt":2,"drain":false,"list":[1,{}],"none":null,"worker_id":"w\n"}"#);
        assert!(json::is_canonical(text.as_bytes()));
    }
}
