//! `cases.json`: what a bundle's author expects of it, and how the bundle differs from that.

use std::borrow::Cow;
use std::fmt;

use gesta_log_format::json::{Error, ErrorKind, Kind, Reader};

use super::bundle::{Bundle, CASES_FILE, Files};
use super::evaluate::{Outcome, parse_result, result_text};
use super::fault::Fault;
use super::request::{Counts, Input};
use crate::event::Verdict;

/// What became of a bundle's cases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// All of them, in the file's order.
    pub cases: Vec<CaseReport>,
}

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// How it came out, where that is otherwise than expected.
    pub failure: Option<CaseFailure>,
}

impl Report {
    /// The cases that came out otherwise than expected.
    pub fn failures(&self) -> impl Iterator<Item = &CaseFailure> {
        self.cases.iter().filter_map(|case| case.failure.as_ref())
    }
}

/// A case that came out otherwise than expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseFailure {
    /// Its name.
    pub name: String,
    /// Expected and got, where the results differ.
    pub result: Option<(Verdict, Verdict)>,
    /// Entries of `reasons` and `transforms` that were expected and are not there, canonical.
    pub absent: Vec<String>,
    /// Entries that are there and were not expected.
    pub unexpected: Vec<String>,
}

impl fmt::Display for CaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "case {:?}:", self.name)?;
        if let Some((expected, got)) = self.result {
            write!(f, "\n  result: expected {}, got {}", result_text(expected), result_text(got))?;
        }
        for entry in &self.absent {
            write!(f, "\n  - {entry}")?;
        }
        for entry in &self.unexpected {
            write!(f, "\n  + {entry}")?;
        }
        Ok(())
    }
}

/// Asks a bundle about each of its cases.
///
/// # Errors
/// What keeps the bundle or its cases from being read.
pub fn test(files: &Files) -> Result<Report, Vec<Fault>> {
    let bundle = Bundle::read(files)?;
    let missing = "is missing: write {\"cases\": []} and a case for each rule";
    let text = files.get(CASES_FILE).ok_or_else(|| vec![Fault::file(CASES_FILE, missing)])?;
    let cases = read(text).map_err(|error| vec![Fault::json(CASES_FILE, text, &error)])?;
    let report =
        |case: &Case<'_>| CaseReport { name: case.name.clone().into_owned(), failure: case.run(&bundle) };
    Ok(Report { cases: cases.iter().map(report).collect() })
}

/// One case, what it leaves out filled in.
struct Case<'a> {
    name: Cow<'a, str>,
    intent: Intent<'a>,
    counts: Counts,
    governance_refs: u64,
    result: Verdict,
    reasons: Vec<String>,
    /// None where the case expects nothing of them.
    transforms: Option<Vec<String>>,
}

struct Intent<'a> {
    actor: Cow<'a, str>,
    stream_id: Cow<'a, str>,
    lane: Cow<'a, str>,
    intent_type: Cow<'a, str>,
    thread_id: Cow<'a, str>,
    roles: Vec<Cow<'a, str>>,
    payload: Vec<u8>,
}

impl Case<'_> {
    fn run(&self, bundle: &Bundle) -> Option<CaseFailure> {
        let intent = &self.intent;
        let outcome = bundle.evaluate(&Input {
            actor: &intent.actor,
            stream_id: &intent.stream_id,
            lane: &intent.lane,
            intent_type: &intent.intent_type,
            thread_id: &intent.thread_id,
            roles: &intent.roles,
            payload: &intent.payload,
            counts: self.counts,
            governance_refs: usize::try_from(self.governance_refs).unwrap_or(usize::MAX),
        });
        self.compare(&outcome)
    }

    fn compare(&self, outcome: &Outcome<'_>) -> Option<CaseFailure> {
        let text = |entry: &[u8]| String::from_utf8_lossy(entry).into_owned();
        let reasons: Vec<_> = outcome.reasons.iter().map(|one| text(one.text())).collect();
        let (mut absent, mut unexpected) = difference(&self.reasons, &reasons);
        if let Some(expected) = &self.transforms {
            let got: Vec<_> = outcome.obligations.iter().map(|one| text(one.text())).collect();
            let (more_absent, more_unexpected) = difference(expected, &got);
            absent.extend(more_absent);
            unexpected.extend(more_unexpected);
        }
        let result = (self.result != outcome.result).then_some((self.result, outcome.result));
        let differs = result.is_some() || !absent.is_empty() || !unexpected.is_empty();
        differs.then(|| CaseFailure { name: self.name.clone().into_owned(), result, absent, unexpected })
    }
}

fn difference(expected: &[String], got: &[String]) -> (Vec<String>, Vec<String>) {
    let without = |all: &[String], others: &[String]| {
        all.iter().filter(|entry| !others.contains(entry)).cloned().collect::<Vec<_>>()
    };
    (without(expected, got), without(got, expected))
}

fn read(text: &[u8]) -> Result<Vec<Case<'_>>, Error> {
    let mut reader = Reader::new(text)?;
    let mut cases = None;
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        match &*key {
            "cases" => {
                let mut read = Vec::new();
                reader.begin_array()?;
                while reader.next_element()? {
                    read.push(read_case(&mut reader)?);
                }
                cases = Some(read);
            }
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        }
    }
    let cases = cases.ok_or_else(|| reader.fail_at(whole, ErrorKind::MissingField { field: "cases" }))?;
    reader.finish()?;
    Ok(cases)
}

fn read_case<'a>(reader: &mut Reader<'a>) -> Result<Case<'a>, Error> {
    let (mut name, mut intent, mut expected) = (None, None, None);
    let (mut counts, mut governance_refs) = (Counts::default(), 0);
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        match &*key {
            "name" => name = Some(reader.string()?),
            "intent" => intent = Some(read_intent(reader)?),
            "counts" => (counts, governance_refs) = read_counts(reader)?,
            "expected" => expected = Some(read_expected(reader)?),
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        }
    }
    let missing = |field| reader.fail_at(whole, ErrorKind::MissingField { field });
    let (result, reasons, transforms) = expected.ok_or_else(|| missing("expected"))?;
    let intent = intent.ok_or_else(|| missing("intent"))?;
    let name = name.ok_or_else(|| missing("name"))?;
    Ok(Case { name, intent, counts, governance_refs, result, reasons, transforms })
}

fn read_intent<'a>(reader: &mut Reader<'a>) -> Result<Intent<'a>, Error> {
    let mut intent = Intent {
        actor: "actor".into(),
        stream_id: "default".into(),
        lane: "user".into(),
        intent_type: "".into(),
        thread_id: "thread".into(),
        roles: Vec::new(),
        payload: b"{}".to_vec(),
    };
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        match &*key {
            "actor" => intent.actor = reader.string()?,
            "stream_id" => intent.stream_id = reader.string()?,
            "lane" => intent.lane = reader.string()?,
            "intent_type" => intent.intent_type = reader.string()?,
            "thread_id" => intent.thread_id = reader.string()?,
            "roles" => {
                reader.begin_array()?;
                while reader.next_element()? {
                    intent.roles.push(reader.string()?);
                }
            }
            "payload" => {
                if reader.peek()? != Kind::Object {
                    reader.begin_object()?;
                }
                intent.payload.clear();
                reader.canonical_value(&mut intent.payload, &mut ())?;
            }
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        }
    }
    if intent.intent_type.is_empty() {
        return Err(reader.fail_at(whole, ErrorKind::MissingField { field: "intent_type" }));
    }
    Ok(intent)
}

fn read_counts(reader: &mut Reader<'_>) -> Result<(Counts, u64), Error> {
    let (mut counts, mut governance_refs) = (Counts::default(), 0);
    reader.begin_object()?;
    while let Some(key) = reader.next_member()? {
        let place = match &*key {
            "prior_intents_thread" => &mut counts.prior_intents_thread,
            "prior_intents_actor" => &mut counts.prior_intents_actor,
            "governance_refs" => &mut governance_refs,
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        };
        let value = u64::try_from(reader.integer()?);
        let reason = Cow::Borrowed("a count is not negative");
        *place = value.map_err(|_| reader.fail(ErrorKind::Rejected { reason }))?;
    }
    Ok((counts, governance_refs))
}

type Expected = (Verdict, Vec<String>, Option<Vec<String>>);

fn read_expected(reader: &mut Reader<'_>) -> Result<Expected, Error> {
    let (mut result, mut reasons, mut transforms) = (None, None, None);
    reader.begin_object()?;
    let whole = reader.mark();
    while let Some(key) = reader.next_member()? {
        match &*key {
            "result" => {
                let found = parse_result(reader.string()?.as_bytes());
                let reason = Cow::Borrowed("give ALLOW or DENY");
                result = Some(found.ok_or_else(|| reader.fail(ErrorKind::Rejected { reason }))?);
            }
            "reasons" => reasons = Some(read_entries(reader)?),
            "transforms" => transforms = Some(read_entries(reader)?),
            _ => return Err(reader.fail(ErrorKind::UnknownField)),
        }
    }
    let missing = |field| reader.fail_at(whole, ErrorKind::MissingField { field });
    let result = result.ok_or_else(|| missing("result"))?;
    Ok((result, reasons.ok_or_else(|| missing("reasons"))?, transforms))
}

/// A list of entries, each as a whole or, for a reason without parameters, as its code alone.
fn read_entries(reader: &mut Reader<'_>) -> Result<Vec<String>, Error> {
    let mut entries = Vec::new();
    reader.begin_array()?;
    while reader.next_element()? {
        let mut text = Vec::new();
        if reader.peek()? == Kind::String {
            let code = reader.string()?;
            text.extend_from_slice(crate::context::Reason::new(&code, "{}").text());
        } else {
            reader.canonical_value(&mut text, &mut ())?;
        }
        entries.push(String::from_utf8_lossy(&text).into_owned());
    }
    Ok(entries)
}
