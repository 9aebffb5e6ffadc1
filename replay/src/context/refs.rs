//! Declared references as an INTENT's record holds them.
//!
//! Their shape was checked at ingress. Here they are read again, because a record may have another author, and put in
//! the one order in which a DECISION names them: what order a client chose means nothing.

use std::borrow::Cow;

use gesta_log_format::json::{self, Error, ErrorKind, Reader};

/// What a reference points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefType {
    /// A document elsewhere: recorded and passed on, never resolved.
    Document,
    /// A record of the log: resolved.
    Event,
    /// Anything else: recorded and passed on, never resolved.
    External,
}

impl RefType {
    /// The written form.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Event => "event",
            Self::External => "external",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "document" => Some(Self::Document),
            "event" => Some(Self::Event),
            "external" => Some(Self::External),
            _ => None,
        }
    }
}

/// One declared reference. Ordered by type, then id, then version, as bytes; none before any version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeclaredRef<'a> {
    /// What it points to.
    pub ref_type: RefType,
    /// Of an event its correlation id or turn id.
    pub ref_id: Cow<'a, str>,
    /// As the client gave it.
    pub version: Option<Cow<'a, str>>,
}

impl DeclaredRef<'_> {
    /// Appends it as canonical JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"ref_id\":");
        json::write_string(out, &self.ref_id);
        out.extend_from_slice(b",\"ref_type\":\"");
        out.extend_from_slice(self.ref_type.text().as_bytes());
        out.push(b'"');
        if let Some(version) = &self.version {
            out.extend_from_slice(b",\"version\":");
            json::write_string(out, version);
        }
        out.push(b'}');
    }
}

/// Reads a list of references, in the order in which it stands.
///
/// # Errors
/// Where the text is not such a list.
pub fn read(text: &[u8]) -> Result<Vec<DeclaredRef<'_>>, Error> {
    let mut refs = Vec::new();
    if text == b"[]" {
        return Ok(refs);
    }
    let mut reader = Reader::new(text)?;
    reader.begin_array()?;
    while reader.next_element()? {
        refs.push(read_one(&mut reader)?);
    }
    reader.finish()?;
    Ok(refs)
}

fn read_one<'a>(reader: &mut Reader<'a>) -> Result<DeclaredRef<'a>, Error> {
    let (mut ref_type, mut ref_id, mut version) = (None, None, None);
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        match &*key {
            "ref_type" => {
                let found = RefType::parse(&reader.string()?);
                let reason = Cow::Borrowed("give event, document or external");
                ref_type = Some(found.ok_or_else(|| reader.fail(ErrorKind::Rejected { reason }))?);
            }
            "ref_id" => ref_id = Some(reader.string()?),
            "version" => version = Some(reader.string()?),
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        }
    }
    let missing = |field| reader.fail_at(whole, ErrorKind::MissingField { field });
    let ref_type = ref_type.ok_or_else(|| missing("ref_type"))?;
    Ok(DeclaredRef { ref_type, ref_id: ref_id.ok_or_else(|| missing("ref_id"))?, version })
}

/// Appends a list of references as canonical JSON.
pub fn write(refs: &[DeclaredRef<'_>], out: &mut Vec<u8>) {
    out.push(b'[');
    for (nth, one) in refs.iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        one.write(out);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_back_as_written() {
        let text =
            r#"[{"ref_id":"a\n","ref_type":"event"},{"ref_id":"b","ref_type":"document","version":"1"}]"#;
        let refs = read(text.as_bytes()).unwrap();
        let mut out = Vec::new();
        write(&refs, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
        assert_eq!(read(b"[]").unwrap(), []);
    }

    #[test]
    fn another_shape_is_an_error_with_its_place() {
        for (text, pointer) in [
            (r#"{}"#, ""),
            (r#"[1]"#, "/0"),
            (r#"[{"ref_id":"a","ref_type":"page"}]"#, "/0/ref_type"),
            (r#"[{"ref_id":"a"}]"#, "/0/ref_type"),
            (r#"[{"ref_type":"event"}]"#, "/0/ref_id"),
            (r#"[{"ref_id":"a","ref_type":"event","x":1}]"#, "/0/x"),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap_err().pointer, pointer, "{text}");
        }
    }

    #[test]
    fn references_are_ordered_by_type_then_id_then_version() {
        let one = |ref_type, ref_id: &'static str, version: Option<&'static str>| DeclaredRef {
            ref_type,
            ref_id: ref_id.into(),
            version: version.map(Cow::Borrowed),
        };
        let ordered = [
            one(RefType::Document, "b", None),
            one(RefType::Event, "a", None),
            one(RefType::Event, "a", Some("1")),
            one(RefType::Event, "é", None),
            one(RefType::External, "a", None),
        ];
        assert!(ordered.is_sorted());
    }
}
