use proptest::prelude::*;

use super::*;

#[test]
fn a_prefix_is_a_directory_in_a_bucket() {
    let good = [
        "s3://bucket/a/",
        "blob://my-bucket.1/a/b/c/",
        "s3://abc/dt=2026-01-01/t+1@x,y:~!()'/",
        "s3://abc/.hidden/a.b/",
    ];
    for text in good {
        let prefix = Prefix::parse(text).unwrap();
        assert_eq!(prefix.to_string(), text);
        assert_eq!(serde_json::to_string(&prefix).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Prefix>(&format!("\"{text}\"")).unwrap(), prefix);
    }
}

#[test]
fn what_is_written_in_an_unusual_way_is_no_prefix() {
    let long = format!("s3://bucket/{}/", "a".repeat(1100));
    let table = [
        ("", Fault::Scheme),
        ("/bucket/a/", Fault::Scheme),
        ("bucket/a/", Fault::Scheme),
        ("S3://bucket/a/", Fault::Scheme),
        (" s3://bucket/a/", Fault::Scheme),
        ("s3:/bucket/a/", Fault::Scheme),
        ("s3a://bucket/a/", Fault::Scheme),
        ("http://bucket/a/", Fault::Scheme),
        ("file:///etc/", Fault::Scheme),
        ("blobs://bucket/a/", Fault::Scheme),
        ("s3:///a/", Fault::Bucket),
        ("s3://*/a/", Fault::Bucket),
        ("s3://Bucket/a/", Fault::Bucket),
        ("s3://user@bucket/a/", Fault::Bucket),
        ("s3://bucket:80/a/", Fault::Bucket),
        ("s3://-bucket/a/", Fault::Bucket),
        ("s3://bu..cket/a/", Fault::Bucket),
        ("s3://../a/", Fault::Bucket),
        ("s3://ab/a/", Fault::Bucket),
        ("s3://bücket/a/", Fault::Bucket),
        ("s3://bucket", Fault::NoKey),
        ("s3://bucket/", Fault::NoKey),
        ("s3://bucket//", Fault::NoKey),
        ("s3://bucket/a", Fault::NotADirectory),
        ("s3://bucket/a/b", Fault::NotADirectory),
        ("s3://bucket/a//", Fault::Part),
        ("s3://bucket//a/", Fault::Part),
        ("s3://bucket/../other/", Fault::Part),
        ("s3://bucket/a/../../other/", Fault::Part),
        ("s3://bucket/a/./b/", Fault::Part),
        ("s3://bucket/a..b/", Fault::Part),
        ("s3://bucket/*/", Fault::Character),
        ("s3://bucket/a*/", Fault::Character),
        ("s3://bucket/a?/", Fault::Character),
        ("s3://bucket/a?x=y/", Fault::Character),
        ("s3://bucket/a#b/", Fault::Character),
        ("s3://bucket/a%2f/", Fault::Character),
        ("s3://bucket/%2e%2e/", Fault::Character),
        ("s3://bucket/a\\b/", Fault::Character),
        ("s3://bucket/a b/", Fault::Character),
        ("s3://bucket/a\0/", Fault::Character),
        ("s3://bucket/a\n/", Fault::Character),
        ("s3://bucket/\u{ff0e}\u{ff0e}/", Fault::Character),
        ("s3://bucket/a\u{2215}b/", Fault::Character),
        ("s3://bucket/[ab]/", Fault::Character),
        ("s3://bucket/${x}/", Fault::Character),
        (&long, Fault::TooLong),
    ];
    for (text, fault) in table {
        assert_eq!(Prefix::parse(text), Err(fault), "{text:?}");
        assert!(serde_json::from_value::<Prefix>(text.into()).is_err());
        assert!(!covers(text, "s3://bucket/a/b"), "{text:?}");
    }
}

/// Prefix, object, whether it covers it.
#[test]
fn a_prefix_covers_what_lies_below_it_and_nothing_else() {
    let table = [
        ("s3://bucket/a/", "s3://bucket/a/b", true),
        ("s3://bucket/a/", "s3://bucket/a/b/c.jsonl", true),
        ("s3://bucket/a/", "s3://bucket/a", false),
        ("s3://bucket/a/", "s3://bucket/ab", false),
        ("s3://bucket/a/", "s3://bucket/ab/c", false),
        ("s3://bucket/a/", "s3://bucket/A/b", false),
        ("s3://bucket/a/", "s3://bucket/b/a/c", false),
        ("s3://bucket/a/", "blob://bucket/a/b", false),
        ("blob://bucket/a/", "blob://bucket/a/b", true),
        ("s3://bucket/a/", "s3://bucket2/a/b", false),
        ("s3://bucket/a/", "s3://bucket.a/a/b", false),
        ("s3://bucket/a/", "S3://bucket/a/b", false),
        ("s3://bucket/a/", "s3://bucket/a/", false),
        ("s3://bucket/a/", "s3://bucket/a/b/", false),
        ("s3://bucket/a/", "s3://bucket/a//b", false),
        ("s3://bucket/a/", "s3://bucket/a/../b/c", false),
        ("s3://bucket/a/", "s3://bucket/a/..", false),
        ("s3://bucket/a/", "s3://bucket/a/%2e%2e/b", false),
        ("s3://bucket/a/", "s3://bucket/a/*", false),
        ("s3://bucket/a/", "s3://bucket/a/b?versionId=1", false),
        ("s3://bucket/a/", "s3://bucket/a/b#c", false),
        ("s3://bucket/a/", "s3://bucket/a/b\\..\\c", false),
        ("s3://bucket/a/", "", false),
    ];
    for (prefix, object, expected) in table {
        assert_eq!(covers(prefix, object), expected, "{prefix} {object}");
    }
}

#[test]
fn a_prefix_covers_itself_and_narrower_ones() {
    let prefix = |text| Prefix::parse(text).unwrap();
    let wide = prefix("s3://bucket/a/");
    assert!(wide.covers_prefix(&wide) && wide.covers_prefix(&prefix("s3://bucket/a/b/")));
    for other in ["s3://bucket/ab/", "s3://bucket/b/", "blob://bucket/a/", "s3://other/a/"] {
        assert!(!wide.covers_prefix(&prefix(other)), "{other}");
    }
    assert!(!prefix("s3://bucket/a/b/").covers_prefix(&wide));
}

#[test]
fn an_object_is_the_same_by_its_parts() {
    let object = Object::of(Scheme::Blob, "bucket", "a/b").unwrap();
    assert_eq!(Object::parse("blob://bucket/a/b"), Ok(object.clone()));
    assert_eq!((object.scheme(), object.bucket(), object.key()), (Scheme::Blob, "bucket", "a/b"));
    assert_eq!(Object::of(Scheme::Blob, "bucket", "a/../b"), Err(Fault::Part));
    assert_eq!(Object::of(Scheme::Blob, "bucket/a", "b"), Err(Fault::Bucket));
    assert_eq!(Object::of(Scheme::Blob, "bucket", ""), Err(Fault::NoKey));
}

proptest! {
    /// Whatever is covered is, byte for byte, the prefix and more, without a part that leads out.
    #[test]
    fn nothing_outside_is_ever_covered(prefix in "(s3|blob|S3)://[a-c.]{2,4}/[ab./%*]{0,6}/?", uri in "(s3|blob)://[a-c.]{2,4}/[ab./%*?]{0,10}") {
        if covers(&prefix, &uri) {
            prop_assert!(uri.starts_with(&prefix) && prefix.ends_with('/') && uri.len() > prefix.len());
            prop_assert!(!uri.contains("..") && !uri.contains(['%', '*', '?']));
        }
    }
}
