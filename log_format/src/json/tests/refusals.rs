//! What the reader refuses: the pointer, the offset and the kind of each.

use super::super::*;

#[track_caller]
fn refuses(text: impl AsRef<[u8]>, pointer: &str, offset: usize, kind: ErrorKind) {
    let text = text.as_ref();
    let shown = String::from_utf8_lossy(text);
    let expected = Error { pointer: pointer.to_owned(), offset, kind };
    assert_eq!(canonicalize(text), Err(expected), "{shown}");
    assert!(!is_canonical(text));
}

fn unexpected(found: char, expected: &'static str) -> ErrorKind {
    ErrorKind::Unexpected { found, expected }
}

const VALUE: &str = "a JSON value";
const KEY: &str = "a key, in double quotes,";
const AFTER_MEMBER: &str = "a comma or the object's closing brace";
const AFTER_ELEMENT: &str = "a comma or the array's closing bracket";

#[test]
fn punctuation_out_of_place_is_refused() {
    refuses("", "", 0, ErrorKind::UnexpectedEnd { expected: VALUE });
    refuses("  ", "", 2, ErrorKind::UnexpectedEnd { expected: VALUE });
    refuses("[1,]", "/1", 3, unexpected(']', VALUE));
    refuses("[,1]", "/0", 1, unexpected(',', VALUE));
    refuses("[1 2]", "/0", 3, unexpected('2', AFTER_ELEMENT));
    refuses("[1}", "/0", 2, unexpected('}', AFTER_ELEMENT));
    refuses("[1", "/0", 2, ErrorKind::UnexpectedEnd { expected: AFTER_ELEMENT });
    refuses(r#"{"a":1,}"#, "", 7, unexpected('}', KEY));
    refuses(r#"{"a" 1}"#, "/a", 5, unexpected('1', "a colon"));
    refuses(r#"{"a":}"#, "/a", 5, unexpected('}', VALUE));
    refuses(r#"{"a":1 "b":2}"#, "/a", 7, unexpected('"', AFTER_MEMBER));
    refuses("{a:1}", "", 1, unexpected('a', KEY));
    refuses("{'a':1}", "", 1, unexpected('\'', KEY));
    refuses(r#"{"x":[{"y":"#, "/x/0/y", 11, ErrorKind::UnexpectedEnd { expected: VALUE });
    refuses("[1,é]", "/1", 3, unexpected('é', VALUE));
    refuses("[/**/1]", "/0", 1, unexpected('/', VALUE));
    refuses("[\u{a0}1]", "/0", 1, unexpected('\u{a0}', VALUE));
}

#[test]
fn misspelled_literals_and_numbers_are_refused() {
    let literal = "true, false or null";
    refuses("[tru]", "/0", 4, unexpected(']', literal));
    refuses("nul", "", 3, ErrorKind::UnexpectedEnd { expected: literal });
    refuses("[falsé]", "/0", 5, unexpected('é', literal));
    refuses("[NaN]", "/0", 1, unexpected('N', VALUE));
    refuses("[Infinity]", "/0", 1, unexpected('I', VALUE));
    refuses("[truee]", "/0", 5, unexpected('e', AFTER_ELEMENT));
    refuses("[+1]", "/0", 1, unexpected('+', VALUE));
    refuses("[.5]", "/0", 1, unexpected('.', VALUE));
    for (text, offset) in [
        ("[01]", 2),
        ("[-01]", 3),
        ("[-]", 2),
        ("[1.]", 3),
        ("[1.e1]", 3),
        ("[1e]", 3),
        ("[1e+]", 4),
        ("[00]", 2),
    ] {
        refuses(text, "/0", offset, ErrorKind::MisspelledNumber);
    }
    refuses("1.", "", 2, ErrorKind::UnexpectedEnd { expected: "a digit" });
    refuses("[0x1]", "/0", 2, unexpected('x', AFTER_ELEMENT));
}

#[test]
fn bad_strings_are_refused() {
    let rest = "the rest of a string";
    refuses("[\"a\u{1}\"]", "/0", 3, ErrorKind::ControlCharacter { code: 1 });
    refuses("{\"k\":\"12345678901234567\n\"}", "/k", 23, ErrorKind::ControlCharacter { code: 10 });
    refuses("{\"k\u{0}\":1}", "", 3, ErrorKind::ControlCharacter { code: 0 });
    refuses(r#"{"k":"abc"#, "/k", 9, ErrorKind::UnexpectedEnd { expected: rest });
    refuses(r#"{"a":{"k"#, "/a", 8, ErrorKind::UnexpectedEnd { expected: rest });
    refuses(r#"["\"#, "/0", 3, ErrorKind::UnexpectedEnd { expected: rest });
    refuses(r#"["\u12"#, "/0", 6, ErrorKind::UnexpectedEnd { expected: rest });
    refuses(r#"["ab\x"]"#, "/0", 4, ErrorKind::InvalidEscape);
    refuses(r#"["\u12G4"]"#, "/0", 2, ErrorKind::InvalidEscape);
    refuses(r#"["\u+123"]"#, "/0", 2, ErrorKind::InvalidEscape);
    refuses("[\"\\é\"]", "/0", 2, ErrorKind::InvalidEscape);
    for lone in [
        r"\ud800",
        r"\udfff",
        r"\ud800x",
        r"\ud800\n",
        r"\ud800\u0041",
        r"\ud800\ud800",
        r"\uDC00\uD800",
        r"\udc00\udc00",
    ] {
        refuses(format!("[0,\"a{lone}\"]"), "/1", 5, ErrorKind::LoneSurrogate);
    }
    refuses(r#"{"\ud800":1}"#, "", 2, ErrorKind::LoneSurrogate);
}

#[test]
fn bytes_that_are_not_utf_8_are_refused() {
    refuses(b"{\"a\":\"\xff\"}", "/a", 6, ErrorKind::NotUtf8);
    refuses(b"[\"\xed\xa0\x80\"]", "/0", 2, ErrorKind::NotUtf8);
    refuses(b"[\"\xc0\x80\"]", "/0", 2, ErrorKind::NotUtf8);
    refuses(b"[\"\xe2\x82", "/0", 2, ErrorKind::NotUtf8);
    refuses("\u{feff}{}", "", 0, ErrorKind::ByteOrderMark);
}

#[test]
fn duplicate_keys_are_refused_after_unescaping() {
    refuses(r#"{"a":1,"a":2}"#, "/a", 7, ErrorKind::DuplicateKey);
    refuses(r#"{"b":1,"a":2,"b":3}"#, "/b", 13, ErrorKind::DuplicateKey);
    refuses(r#"{"x":{"a":1,"\u0061":2}}"#, "/x/a", 12, ErrorKind::DuplicateKey);
    refuses(r#"[{"/~":1,"":0,"/~":2}]"#, "/0/~1~0", 14, ErrorKind::DuplicateKey);
    refuses(r#"{"":1,"":1}"#, "/", 6, ErrorKind::DuplicateKey);
    refuses(r#"{"c":1,"b":1,"c":1,"b":1}"#, "/c", 13, ErrorKind::DuplicateKey);
    let many: Vec<_> = (10..90).rev().map(|i| format!("\"{i}\":0")).collect();
    refuses(format!("{{{},\"50\":1}}", many.join(",")), "/50", 1 + 80 * 7, ErrorKind::DuplicateKey);
    refuses(format!("{{\"50\":1,{}}}", many.join(",")), "/50", 8 + 39 * 7, ErrorKind::DuplicateKey);
    assert!(canonicalize(br#"{"a":{"a":1},"b":{"a":1}}"#).is_ok());
}

#[test]
fn what_is_nested_too_deep_is_refused() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(is_canonical(nested(DEPTH_MAX).as_bytes()));
    let too_deep = ErrorKind::TooDeep { depth_max: DEPTH_MAX };
    refuses(nested(DEPTH_MAX + 1), &"/0".repeat(DEPTH_MAX), DEPTH_MAX, too_deep.clone());
    refuses("{\"a\":".repeat(100_000), &"/a".repeat(DEPTH_MAX), DEPTH_MAX * 5, too_deep);
    assert!(is_canonical(format!("[{}]", vec!["[{}]"; 100].join(",")).as_bytes()));
    let mut reader = Reader::new(b"[[1]]").unwrap().with_depth_max(1);
    reader.begin_array().unwrap();
    assert!(reader.next_element().unwrap());
    let error = reader.begin_array().unwrap_err();
    assert_eq!((error.pointer.as_str(), error.kind), ("/0", ErrorKind::TooDeep { depth_max: 1 }));
}

#[test]
fn what_follows_the_value_is_refused() {
    refuses("1 2", "", 2, ErrorKind::TrailingBytes);
    refuses("{\"a\":[1]}{}", "", 9, ErrorKind::TrailingBytes);
    refuses("[]]", "", 2, ErrorKind::TrailingBytes);
    refuses("1x", "", 1, ErrorKind::TrailingBytes);
    refuses("null\0", "", 4, ErrorKind::TrailingBytes);
}

#[test]
fn a_message_says_what_where_and_what_to_do() {
    let message = |text: &str| canonicalize(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(
        message(r#"{"a":[{"b":1,"b":2}]}"#),
        "an object has this key twice: keep one of them; at /a/0/b (byte 13)"
    );
    assert_eq!(
        message("1 2"),
        "more text follows the value: send exactly one JSON value; at the document's root (byte 2)"
    );
}
