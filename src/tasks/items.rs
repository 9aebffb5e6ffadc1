//! The lists of a report: dataset events, outputs, published datasets. Their elements, one by one.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;

use gesta_log_format::json::canonical;
use gesta_replay::event::{DatasetMetadata, DatasetName, DatasetVersion, Elements};

use super::request::wrong;
use crate::limits::TASK_ITEMS_MAX;
use crate::problem::Problem;

/// What the elements of a list are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Event,
    Output,
    Dataset,
}

const OF_OUTPUT: [&str; 6] =
    ["cursor", "dataset_uuid", "dataset_version", "location", "output_index", "row_count"];
const OF_DATASET: [&str; 6] =
    ["config_hash", "dataset_uuid", "dataset_version", "range_end", "range_start", "storage_ref"];
const OF_EVENT: [&str; 6] = ["cursor", "dataset_uuid", "dataset_version", "end", "partition_key", "start"];

/// Whether each element of a canonical list is one of these.
///
/// # Errors
/// `INVALID_INPUT` with the pointer of the first that is not.
pub(super) fn check(list: &[u8], item: Item, pointer: &str) -> Result<(), Problem> {
    let mut outputs = BTreeSet::new();
    for (nth, element) in Elements::new(list).enumerate() {
        let at = format!("{pointer}/{nth}");
        if nth == TASK_ITEMS_MAX {
            return Err(wrong(pointer, format!("give at most {TASK_ITEMS_MAX}")));
        }
        let element = element.filter(|element| element.first() == Some(&b'{'));
        let element = element.ok_or_else(|| wrong(&at, "has to be an object"))?;
        check_element(element, item).map_err(|(name, detail)| wrong(&format!("{at}/{name}"), detail))?;
        // Equal numbers have one canonical text.
        if item == Item::Output && !outputs.insert(canonical::member(element, "output_index")) {
            return Err(wrong(&format!("{at}/output_index"), "is that of another output"));
        }
    }
    Ok(())
}

type Fault<'a> = (Cow<'a, str>, &'static str);

fn check_element(element: &[u8], item: Item) -> Result<(), Fault<'_>> {
    let known = match item {
        Item::Event => OF_EVENT,
        Item::Output => OF_OUTPUT,
        Item::Dataset => OF_DATASET,
    };
    for (key, _) in canonical::Members::new(element).map_while(Result::ok) {
        if !known.iter().any(|name| name.as_bytes() == key) {
            return Err((String::from_utf8_lossy(key), "is unknown"));
        }
    }
    let has = |name: &str| canonical::member(element, name).is_some_and(|value| value != b"null");
    let demand = |name: &'static str| match has(name) {
        true => Ok(()),
        false => Err((Cow::Borrowed(name), "is missing")),
    };
    match item {
        Item::Dataset => {
            name(element)?;
            demand("storage_ref")
        }
        Item::Output => {
            demand("output_index")?;
            ["output_index", "row_count"].into_iter().filter(|name| has(name)).try_for_each(|name| {
                let digits = canonical::member(element, name)
                    .is_some_and(|value| value.iter().all(u8::is_ascii_digit));
                digits.then_some(()).ok_or((Cow::Borrowed(name), "has to be a whole number, 0 or more"))
            })
        }
        Item::Event => {
            name(element)?;
            match has("cursor") {
                true if has("partition_key") || has("start") || has("end") => {
                    Err((Cow::Borrowed("cursor"), "goes without partition_key, start and end"))
                }
                true => Ok(()),
                false => {
                    ["partition_key", "start", "end"].into_iter().try_for_each(demand)?;
                    match compare(canonical::member(element, "start"), canonical::member(element, "end")) {
                        Some(Ordering::Equal | Ordering::Greater) => {
                            Err((Cow::Borrowed("end"), "has to be behind start: the range is half-open"))
                        }
                        Some(Ordering::Less) | None => Ok(()),
                    }
                }
            }
        }
    }
}

/// How two ends of a range lie: two numbers by their size, two texts equal or not, whose order is the dataset's own.
fn compare(start: Option<&[u8]>, end: Option<&[u8]>) -> Option<Ordering> {
    let (start, end) = (start?, end?);
    match (canonical::string(start), canonical::string(end)) {
        (Some(start), Some(end)) => (start == end).then_some(Ordering::Equal),
        (None, None) => number(start)?.partial_cmp(&number(end)?),
        (Some(_), None) | (None, Some(_)) => None,
    }
}

fn number(value: &[u8]) -> Option<f64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Which dataset version an element is about.
fn name(element: &[u8]) -> Result<DatasetName<'_>, Fault<'_>> {
    Ok(DatasetName {
        dataset_uuid: part(element, "dataset_uuid", canonical::string)?,
        dataset_version: part(element, "dataset_version", text_or_digits)?,
    })
}

fn part<'a>(
    element: &'a [u8],
    key: &'static str,
    read: fn(&'a [u8]) -> Option<Cow<'a, str>>,
) -> Result<Cow<'a, str>, Fault<'a>> {
    let value = canonical::member(element, key).ok_or((Cow::Borrowed(key), "is missing"))?;
    read(value).filter(|text| is_part(text)).ok_or((
        Cow::Borrowed(key),
        "is no text of 1 to 128 letters, digits, dots, colons, underscores and hyphens",
    ))
}

/// A version may be a whole number, and is its digits.
fn text_or_digits(value: &[u8]) -> Option<Cow<'_, str>> {
    let digits = || value.iter().all(u8::is_ascii_digit).then(|| String::from_utf8_lossy(value));
    canonical::string(value).or_else(digits)
}

/// Whether a text may be a part of a subject.
fn is_part(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte))
}

/// What the elements of a list, which was checked, say of the datasets that they are about: uuid and version, as far as
/// they name them, and where they say that it is.
pub(super) fn mentions(list: &[u8]) -> impl Iterator<Item = Mention<'_>> {
    Elements::new(list).flatten().map(|element| Mention {
        dataset_uuid: canonical::member(element, "dataset_uuid").and_then(canonical::string),
        dataset_version: canonical::member(element, "dataset_version").and_then(text_or_digits),
        storage_ref: canonical::member(element, "storage_ref").and_then(canonical::string),
    })
}

/// What an element says of the dataset that it is about.
pub(super) struct Mention<'a> {
    pub(super) dataset_uuid: Option<Cow<'a, str>>,
    pub(super) dataset_version: Option<Cow<'a, str>>,
    pub(super) storage_ref: Option<Cow<'a, str>>,
}

/// The versions that a list publishes, which was checked.
pub(super) fn versions(list: &[u8]) -> Vec<DatasetVersion<'_>> {
    let version = |element| {
        let given = |name| canonical::member(element, name).filter(|value| *value != b"null");
        Some(DatasetVersion {
            name: name(element).ok()?,
            metadata: DatasetMetadata {
                storage_ref: canonical::member(element, "storage_ref")?,
                config_hash: given("config_hash"),
                range_start: given("range_start"),
                range_end: given("range_end"),
            },
        })
    };
    Elements::new(list).flatten().filter_map(version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_is(item: Item, list: &str, pointer: Option<&str>) {
        let checked = check(list.as_bytes(), item, "/x");
        let found = checked.err().map(|problem| problem.body().detail().to_owned());
        match (found, pointer) {
            (None, None) => {}
            (Some(detail), Some(pointer)) if detail.starts_with(&format!("{pointer}:")) => {}
            (found, _) => panic!("{list}: {found:?}, wanted {pointer:?}"),
        }
    }

    #[test]
    fn an_event_has_a_cursor_or_a_range() {
        let name = r#""dataset_uuid":"d","dataset_version":"1""#;
        check_is(Item::Event, "[]", None);
        check_is(Item::Event, &format!(r#"[{{"cursor":1,{name}}}]"#), None);
        check_is(Item::Event, &format!(r#"[{{{name},"end":2,"partition_key":"p","start":1}}]"#), None);
        check_is(Item::Event, &format!(r#"[{{"cursor":1,{name},"end":2}}]"#), Some("/x/0/cursor"));
        check_is(
            Item::Event,
            &format!(r#"[{{"cursor":1,{name}}},{{{name},"end":2}}]"#),
            Some("/x/1/partition_key"),
        );
        check_is(
            Item::Event,
            r#"[{"cursor":1,"dataset_uuid":"d/e","dataset_version":"1"}]"#,
            Some("/x/0/dataset_uuid"),
        );
        check_is(Item::Event, "[1]", Some("/x/0"));
    }

    #[test]
    fn a_range_ends_behind_its_start() {
        let range = |start: &str, end: &str| {
            format!(
                r#"[{{"dataset_uuid":"d","dataset_version":"1","end":{end},"partition_key":"p","start":{start}}}]"#
            )
        };
        for (start, end) in [("-1.5", "0"), ("9", "10"), (r#""9""#, r#""10""#), ("9", r#""1""#)] {
            check_is(Item::Event, &range(start, end), None);
        }
        for (start, end) in [("1", "1"), ("10", "9"), ("0", "-1e+21"), (r#""a""#, r#""a""#)] {
            check_is(Item::Event, &range(start, end), Some("/x/0/end"));
        }
    }

    #[test]
    fn an_output_is_counted_and_numbered_once() {
        for count in ["-1", "1.5", "1e+21", r#""3""#] {
            let list = format!(r#"[{{"output_index":0,"row_count":{count}}}]"#);
            check_is(Item::Output, &list, Some("/x/0/row_count"));
        }
        check_is(Item::Output, r#"[{"output_index":-1}]"#, Some("/x/0/output_index"));
        check_is(Item::Output, r#"[{"output_index":0,"row_count":null},{"output_index":1}]"#, None);
        check_is(
            Item::Output,
            r#"[{"output_index":7},{"output_index":1},{"output_index":7}]"#,
            Some("/x/2/output_index"),
        );
    }

    #[test]
    fn an_output_and_a_dataset_have_their_members_and_no_others() {
        check_is(Item::Output, r#"[{"location":"s3://b/k","output_index":0,"row_count":3}]"#, None);
        check_is(Item::Output, r#"[{"location":"s3://b/k"}]"#, Some("/x/0/output_index"));
        let dataset = r#"{"dataset_uuid":"d","dataset_version":2,"storage_ref":"s3://b/k/"}"#;
        check_is(Item::Dataset, &format!("[{dataset}]"), None);
        check_is(Item::Dataset, r#"[{"dataset_uuid":"d","dataset_version":2}]"#, Some("/x/0/storage_ref"));
        check_is(Item::Dataset, r#"[{"dataset_uuid":"d","other":1}]"#, Some("/x/0/other"));
        assert_eq!(versions(format!("[{dataset}]").as_bytes())[0].name.subject(), "dataset/d/2");
    }
}
