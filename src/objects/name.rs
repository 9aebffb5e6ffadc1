//! Names of objects: the path of a request, and the artifact that a name is.
//!
//! A path is read as it was sent. Keys hold no character that needs an escape, so a path with one is refused instead of
//! being decoded: what was signed, what is compared with prefixes and what is looked up are the same bytes.

use gesta_log_format::{Digest, hex};
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use crate::capability::prefix::{Fault, Object, Scheme};

/// Where objects lie on the task listener.
const ROOT: &str = "/objects/";

/// The bucket in which every blob lies by its SHA-256. Signatures over one of its paths are the server's to give; no
/// credential covers it.
pub(crate) const BY_DIGEST: &str = "sha256";

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Object(Object),
    /// A blob, whatever it is called elsewhere.
    Blob(Digest),
}

impl Target {
    /// # Errors
    /// [`Fault`].
    pub(super) fn of_path(path: &str) -> Result<Self, Fault> {
        let (bucket, key) =
            path.strip_prefix(ROOT).and_then(|rest| rest.split_once('/')).ok_or(Fault::NoKey)?;
        if bucket == BY_DIGEST {
            let digest = hex::read(key.as_bytes()).map(Digest);
            return digest.map(Self::Blob).ok_or(Fault::Character);
        }
        Object::of(Scheme::Blob, bucket, key).map(Self::Object)
    }
}

/// The path of a blob by its digest.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("{ROOT}{BY_DIGEST}/{}", digest.hex())
}

/// The artifact that an object is: the first 128 bits of a digest of its name, in the form of a ULID. It has no time in
/// it, for it has to be known before there is a record: FORMAT.md, "Objects".
pub(super) fn artifact_id(object: &Object) -> Ulid {
    of_name("object", object)
}

/// The one materialization of that artifact.
pub(super) fn materialization_id(object: &Object) -> Ulid {
    of_name("materialization", object)
}

fn of_name(what: &str, object: &Object) -> Ulid {
    let digest = Sha256::new()
        .chain_update(what)
        .chain_update([0])
        .chain_update(object.bucket())
        .chain_update([0])
        .chain_update(object.key())
        .finalize();
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    Ulid::from_bytes(bytes)
}

/// The subject whose first record says what the object is.
pub(super) fn subject(object: &Object) -> String {
    format!("artifact/{}", artifact_id(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uri: &str) -> Object {
        Object::parse(uri).unwrap()
    }

    #[test]
    fn a_path_names_an_object_or_a_blob() {
        let found = Target::of_path("/objects/bucket/a/b.c").unwrap();
        assert_eq!(found, Target::Object(object("blob://bucket/a/b.c")));
        let digest = Digest::of(b"x");
        assert_eq!(Target::of_path(&blob_path(&digest)), Ok(Target::Blob(digest)));
    }

    #[test]
    fn an_unusual_path_names_nothing() {
        let paths = [
            "/objects/",
            "/objects/bucket",
            "/objects/bucket/",
            "/objects/bucket/a/",
            "/objects/bucket//a",
            "/objects//a",
            "/objects/bucket/../a",
            "/objects/bucket/./a",
            "/objects/bucket/a/..",
            "/objects/bucket/a..b",
            "/objects/bucket/%2e%2e/a",
            "/objects/bucket/a%2Fb",
            "/objects/bucket/a%00",
            "/objects/bucket/a*",
            "/objects/bucket/a;b",
            "/objects/bucket/a\\b",
            "/objects/Bucket/a",
            "/objects/b/a",
            "/objects/../a",
            "/objects/sha256/x",
            "/objects/sha256/../a",
            &blob_path(&Digest::of(b"x")).to_uppercase(),
        ];
        for path in paths {
            assert!(Target::of_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn names_that_differ_are_other_artifacts() {
        let names = ["blob://bucket/a/b", "blob://bucket/a-b", "blob://bucket-a/b", "blob://bucket/b/a"];
        let mut ids: Vec<_> = names.iter().map(|name| artifact_id(&object(name))).collect();
        ids.push(materialization_id(&object(names[0])));
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), names.len() + 1);
        // By Python's hashlib, over the bytes that FORMAT.md names.
        assert_eq!(artifact_id(&object(names[0])).to_string(), "19M716KB7A4EBEE03C3Q13W9ES");
    }
}
