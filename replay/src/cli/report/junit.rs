//! The report as JUnit XML: one test case for each check, so that a CI system shows which one failed.

use std::fmt::Write as _;

use gesta_replay::verify::{Class, Finding};

use super::{CHECKS, Whole, check_of};

/// Most findings that one case repeats.
const REPEATED_MAX: usize = 100;

pub(in crate::cli) fn write(whole: &Whole) -> String {
    let mut out = String::new();
    print(whole, &mut out).expect("a text takes in whatever is written");
    out
}

fn print(whole: &Whole, out: &mut String) -> std::fmt::Result {
    let report = &whole.report;
    let failing = |name: &'static str| {
        report.findings.iter().filter(move |one| fails(one) && check_of(one.rule) == name)
    };
    let failures = CHECKS.iter().filter(|(name, _)| failing(name).next().is_some()).count();
    let tests = CHECKS.len();
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(out, "<testsuites name=\"gesta-replay\" tests=\"{tests}\" failures=\"{failures}\">")?;
    writeln!(
        out,
        "  <testsuite name=\"gesta-replay verify\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\">"
    )?;
    writeln!(out, "    <properties>")?;
    let decisions = report.decisions;
    for (name, value) in [
        ("verdict", report.verdict.text().to_owned()),
        ("origin", whole.facts.origin.clone()),
        ("records", report.records.to_string()),
        ("decisions_same", decisions.same.to_string()),
        ("decisions_diverged", decisions.diverged.to_string()),
        ("decisions_not_replayable", decisions.not_replayable.to_string()),
    ] {
        writeln!(out, "      <property name=\"{name}\" value=\"{}\"/>", escaped(&value))?;
    }
    writeln!(out, "    </properties>")?;
    for (name, what) in CHECKS {
        let found: Vec<_> = failing(name).collect();
        let case = format!("<testcase classname=\"gesta-replay\" name=\"{name}: {what}\"");
        let Some(first) = found.first() else {
            writeln!(out, "    {case}/>")?;
            continue;
        };
        writeln!(out, "    {case}>")?;
        let (kind, message) = (first.rule, escaped(&line(first)));
        writeln!(out, "      <failure type=\"{kind}\" message=\"{message}\">")?;
        for finding in found.iter().take(REPEATED_MAX) {
            writeln!(out, "{}", escaped(&line(finding)))?;
        }
        writeln!(out, "</failure>")?;
        writeln!(out, "    </testcase>")?;
    }
    writeln!(out, "    <system-out>")?;
    for what in &report.not_checked {
        writeln!(out, "not checked: {}", escaped(what))?;
    }
    writeln!(out, "</system-out>\n  </testsuite>\n</testsuites>")
}

fn fails(finding: &Finding) -> bool {
    match finding.class {
        Class::Tampered | Class::Diverged | Class::Incomplete => true,
        Class::Erased | Class::Warning => false,
    }
}

fn line(finding: &Finding) -> String {
    let index = finding.index.map(|index| format!(" at index {index}")).unwrap_or_default();
    format!("{} {}{index}: {}", finding.class.text(), finding.rule, finding.message)
}

/// Text for an attribute or an element. What XML 1.0 cannot hold is replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\r' | '\t' => out.push(' '),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        assert_eq!(escaped("a<b>&\"\u{1}\n"), "a&lt;b&gt;&amp;&quot;\u{fffd} ");
    }
}
