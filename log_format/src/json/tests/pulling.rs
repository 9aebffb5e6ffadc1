//! Typed pulling, and errors of the caller's own.

use super::super::*;

fn place(error: Error) -> (String, usize, ErrorKind) {
    (error.pointer, error.offset, error.kind)
}

#[test]
fn values_are_pulled_as_they_come() {
    let text = r#" { "s" : "\u0061b", "plain": "xyz", "b":true, "f":false, "n":null, "l":[ 1, [] , "x" ], "o":{}, "v": {"z":1,"a":2 } } "#;
    let mut reader = Reader::new(text.as_bytes()).unwrap();
    reader.begin_object().unwrap();
    let mut seen = Vec::new();
    while let Some(key) = reader.next_member().unwrap() {
        seen.push(match key.as_ref() {
            "s" | "plain" => reader.string().unwrap().into_owned(),
            "b" | "f" => reader.boolean().unwrap().to_string(),
            "n" => {
                assert_eq!(reader.peek().unwrap(), Kind::Null);
                reader.null().unwrap();
                "null".to_owned()
            }
            "l" => {
                let mut kinds = String::new();
                reader.begin_array().unwrap();
                while reader.next_element().unwrap() {
                    kinds += &format!("{:?}={} ", reader.peek().unwrap(), reader.skip().unwrap());
                }
                kinds
            }
            "o" => {
                reader.begin_object().unwrap();
                format!("{:?}", reader.next_member().unwrap())
            }
            _ => {
                let mut out = Vec::new();
                reader.canonical_value(&mut out, &mut ()).unwrap();
                String::from_utf8(out).unwrap()
            }
        });
    }
    reader.finish().unwrap();
    let expected =
        ["ab", "xyz", "true", "false", "null", "Number=1 Array=[] String=\"x\" ", "None", r#"{"a":2,"z":1}"#];
    assert_eq!(seen, expected);
}

#[test]
fn a_string_without_escapes_is_borrowed() {
    let mut reader = Reader::new("\"größe\"".as_bytes()).unwrap();
    assert!(matches!(reader.string().unwrap(), std::borrow::Cow::Borrowed("größe")));
}

#[test]
fn another_type_is_named_with_its_place() {
    let all = ["null", "true", "1", "\"s\"", "[]", "{}"];
    let kinds = [Kind::Null, Kind::Boolean, Kind::Number, Kind::String, Kind::Array, Kind::Object];
    for (text, found) in all.iter().zip(kinds) {
        for expected in kinds {
            let text = format!(r#"{{"a":[ {text}]}}"#);
            let mut reader = Reader::new(text.as_bytes()).unwrap();
            reader.begin_object().unwrap();
            reader.next_member().unwrap();
            reader.begin_array().unwrap();
            assert!(reader.next_element().unwrap());
            let result = match expected {
                Kind::Null => reader.null(),
                Kind::Boolean => reader.boolean().map(drop),
                Kind::Number => reader.number().map(drop),
                Kind::String => reader.string().map(drop),
                Kind::Array => reader.begin_array(),
                Kind::Object => reader.begin_object(),
            };
            let wrong = || ("/a/0".to_owned(), 7, ErrorKind::WrongType { expected, found });
            assert_eq!(
                result.map_err(place),
                if expected == found { Ok(()) } else { Err(wrong()) },
                "{text}"
            );
        }
    }
}

#[test]
fn the_callers_own_errors_point_at_what_was_handed_out_last() {
    let mut reader = Reader::new(br#"{"a/b": {"lane": "x", "n": [1, 2]}, "z": 0}"#).unwrap();
    reader.begin_object().unwrap();
    reader.next_member().unwrap();
    assert_eq!(place(reader.fail(ErrorKind::UnknownField)), ("/a~1b".to_owned(), 1, ErrorKind::UnknownField));
    reader.begin_object().unwrap();
    let object = reader.mark();
    reader.next_member().unwrap();
    reader.string().unwrap();
    let lane = reader.mark();
    let bad = || ErrorKind::Rejected { reason: "a lane has no such name".into() };
    assert_eq!(place(reader.fail(bad())), ("/a~1b/lane".to_owned(), 17, bad()));
    reader.next_member().unwrap();
    reader.begin_array().unwrap();
    reader.next_element().unwrap();
    reader.integer().unwrap();
    reader.next_element().unwrap();
    assert_eq!(reader.fail(bad()).pointer, "/a~1b/n/1");
    reader.integer().unwrap();
    assert_eq!(reader.fail(bad()).pointer, "/a~1b/n/1");
    assert!(!reader.next_element().unwrap());
    assert_eq!(reader.fail(bad()).pointer, "/a~1b/n");
    assert_eq!(reader.next_member().unwrap(), None);
    let missing = || ErrorKind::MissingField { field: "actor" };
    assert_eq!(place(reader.fail(missing())), ("/a~1b/actor".to_owned(), 8, missing()));
    reader.next_member().unwrap();
    reader.canonical_value(&mut Vec::new(), &mut ()).unwrap();
    assert_eq!(reader.fail(bad()).pointer, "/z");
    assert_eq!(reader.fail_at(lane, bad()).pointer, "/a~1b/lane");
    assert_eq!(reader.fail_at(object, missing()).pointer, "/a~1b/actor");
}

#[test]
fn duplicates_are_found_among_pulled_members_by_the_objects_end() {
    let walk = |text: &str| {
        let mut reader = Reader::new(text.as_bytes()).unwrap();
        reader.begin_object()?;
        while reader.next_member()?.is_some() {
            reader.skip()?;
        }
        reader.finish()
    };
    assert_eq!(walk(r#"{"b":{"b":1},"a":2,"c":3}"#), Ok(()));
    for (text, pointer, offset) in [
        (r#"{"a":1,"a":2}"#, "/a", 7),
        (r#"{"b":1,"a":[],"\u0062":2}"#, "/b", 14),
        (r#"{"b":{"x":1,"x":1}}"#, "/b/x", 12),
    ] {
        assert_eq!(walk(text).map_err(place), Err((pointer.to_owned(), offset, ErrorKind::DuplicateKey)));
    }
}

#[test]
fn punctuation_is_checked_between_pulled_values() {
    let walk = |text: &str| {
        let mut reader = Reader::new(text.as_bytes()).unwrap();
        reader.begin_array()?;
        while reader.next_element()? {
            reader.skip()?;
        }
        reader.finish()
    };
    assert_eq!(walk(" [ ] "), Ok(()));
    assert_eq!(walk("[1 , [2] ]"), Ok(()));
    for text in ["[1,]", "[,]", "[1 2]", "[1}", "[", "[1", "[]]", "[1,,2]"] {
        assert_eq!(walk(text), canonicalize(text.as_bytes()).map(drop), "{text}");
        assert!(walk(text).is_err());
    }
}

#[test]
#[should_panic(expected = "each value in it was read")]
fn leaving_a_value_unread_is_a_bug() {
    let mut reader = Reader::new(b"[1,2]").unwrap();
    reader.begin_array().unwrap();
    reader.next_element().unwrap();
    let _ = reader.next_element();
}
