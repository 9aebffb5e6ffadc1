//! A bundle's files as one JSON value: what the log holds of them, and what a server is sent.

use gesta_log_format::Digest;
use gesta_log_format::json::{self, Reader};

use super::bundle::{Bundle, Files, digest};
use super::fault::Fault;

/// The files as the canonical object `{PATH: text}`: the member `bundle` of a CONTROL `policy_activated`.
///
/// # Errors
/// The files that are not UTF-8, by path.
pub fn write(files: &Files) -> Result<Vec<u8>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut text = vec![b'{'];
    for (nth, (path, content)) in files.iter().enumerate() {
        let Ok(content) = std::str::from_utf8(content) else {
            faults.push(Fault::file(path, "is not UTF-8"));
            continue;
        };
        if nth > 0 {
            text.push(b',');
        }
        json::write_string(&mut text, path);
        text.push(b':');
        json::write_string(&mut text, content);
    }
    text.push(b'}');
    if faults.is_empty() {
        // Paths that sort otherwise as UTF-16 than as UTF-8 are put in order by the one function that knows how.
        Ok(json::canonicalize(&text).unwrap_or(text))
    } else {
        Err(faults)
    }
}

/// Reads the next value of `reader` as `{PATH: text}`.
///
/// # Errors
/// Another shape.
pub fn read_from(reader: &mut Reader<'_>) -> Result<Files, json::Error> {
    let mut files = Files::new();
    reader.begin_object()?;
    while let Some(path) = reader.next_member()? {
        let content = reader.string()?.into_owned().into_bytes();
        files.insert(path.into_owned(), content);
    }
    Ok(files)
}

/// The files of a whole text `{PATH: text}`.
///
/// # Errors
/// Another shape.
pub fn read(text: &[u8]) -> Result<Files, json::Error> {
    let mut reader = Reader::new(text)?;
    let files = read_from(&mut reader)?;
    reader.finish()?;
    Ok(files)
}

impl Bundle {
    /// The bundle that was activated with these words, `recorded` being the value of the record's member `bundle`, out
    /// of a blob where it is in one. What cannot be read, or is not what the digest and the name say, is
    /// [`Bundle::unreadable`].
    #[must_use]
    pub fn activated(policy_id: &str, policy_version: &str, named: Digest, recorded: &[u8]) -> Self {
        let bundle = read(recorded).ok().filter(|files| digest(files) == named);
        let bundle = bundle.and_then(|files| Self::read(&files).ok());
        bundle
            .filter(|bundle| (bundle.policy_id(), bundle.policy_version()) == (policy_id, policy_version))
            .unwrap_or_else(|| Self::unreadable(policy_id, policy_version, named))
    }
}

#[cfg(test)]
mod tests {
    use super::super::default_files;
    use super::*;

    #[test]
    fn files_come_back_as_they_were_written() {
        let mut files = default_files();
        files.insert("policies/\u{fb33}.cedar".to_owned(), b"\"\\\r\n\t\x01\xc3\xa9".to_vec());
        files.insert("policies/\u{1f600}.cedar".to_owned(), Vec::new());
        let text = write(&files).unwrap();
        assert!(json::is_canonical(&text));
        assert_eq!(read(&text).unwrap(), files);
        files.insert("a".to_owned(), vec![0xff]);
        assert_eq!(write(&files).unwrap_err()[0].to_string(), "a: is not UTF-8");
    }

    #[test]
    fn what_is_not_an_object_of_texts_is_refused_with_its_place() {
        for (text, pointer) in
            [("[]", ""), ("{\"a\":1}", "/a"), ("{\"a\":\"\",\"a\":\"\"}", "/a"), ("{} 1", "")]
        {
            assert_eq!(read(text.as_bytes()).unwrap_err().pointer, pointer, "{text}");
        }
    }

    #[test]
    fn an_activation_that_contradicts_itself_denies() {
        let text = write(&default_files()).unwrap();
        let bundle = Bundle::read(&default_files()).unwrap();
        let (id, version, digest) = (bundle.policy_id(), bundle.policy_version(), bundle.digest());
        assert_eq!(Bundle::activated(id, version, digest, &text).rules().count(), bundle.rules().count());
        for changed in [
            Bundle::activated("other", version, digest, &text),
            Bundle::activated(id, "other", digest, &text),
            Bundle::activated(id, version, Digest::of(b"other"), &text),
            Bundle::activated(id, version, digest, b"{}"),
            Bundle::activated(id, version, digest, b"x"),
        ] {
            assert!(changed.compiled.is_none());
        }
    }
}
