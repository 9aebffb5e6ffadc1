//! `gesta policy`: bundles of policies, checked, tested, activated.

use std::io::{self, Write};
use std::path::Path;

use gesta_replay::event::Verdict;
use gesta_replay::policy::{self, CASES_FILE, CaseFailure, CaseReport, Checked, Fault, Files, Report};
use serde_json::{Value, json};

use super::activation::{self, Form};
use super::{Exit, Failure, args, output};
use crate::activation::{check, directory, fault_json};

/// # Errors
/// A directory that cannot be read, a bundle that is wrong, a server that does not answer or refuses.
pub fn run(arguments: args::Policy) -> Result<(), Failure> {
    match arguments.command {
        args::PolicyCommand::Check(arguments) => check_directory(&arguments),
        args::PolicyCommand::Test(arguments) => test_directory(&arguments),
        args::PolicyCommand::Activate(arguments) => activate(&arguments),
        args::PolicyCommand::Show(arguments) => activation::show(&arguments, "/control/policy"),
    }
}

fn check_directory(arguments: &args::PolicyCheck) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let files = directory::read_bundle(directory)?;
    match policy::check(&files) {
        Ok(checked) => print_checked(directory, &checked, Form::of(arguments.json)),
        Err(faults) => Err(faulty(directory, &faults, Form::of(arguments.json))),
    }
}

fn print_checked(directory: &Path, checked: &Checked, form: Form) -> Result<(), Failure> {
    let Checked { bundle, warnings } = checked;
    let policies = bundle.rules().count();
    match form {
        Form::Json => {
            let body = json!({
                "ok": true, "faults": [], "warnings": warnings.iter().map(fault_json).collect::<Vec<_>>(),
                "policy_id": bundle.policy_id(), "policy_version": bundle.policy_version(),
                "policy_digest": bundle.digest().to_string(), "policies": policies,
            });
            output::write(|out| writeln!(out, "{body:#}"))
        }
        Form::People => output::write(|out| {
            for warning in warnings {
                writeln!(out, "{}: warning: {}", place(directory, warning), warning.message)?;
            }
            writeln!(out, "policy_id       {}", bundle.policy_id())?;
            writeln!(out, "policy_version  {}", bundle.policy_version())?;
            writeln!(out, "policy_digest   {}", bundle.digest())?;
            writeln!(out, "policies        {policies}")
        }),
    }
}

/// Prints what is wrong, as data, and gives the command's failure.
fn faulty(directory: &Path, faults: &[Fault], form: Form) -> Failure {
    let printed = match form {
        Form::Json => {
            let faults: Vec<Value> = faults.iter().map(fault_json).collect();
            let body = json!({"ok": false, "faults": faults});
            output::write(|out| writeln!(out, "{body:#}"))
        }
        Form::People => output::write(|out| {
            faults
                .iter()
                .try_for_each(|fault| writeln!(out, "{}: {}", place(directory, fault), fault.message))
        }),
    };
    let count = match faults.len() {
        1 => "one fault".to_owned(),
        count => format!("{count} faults"),
    };
    printed.err().unwrap_or_else(|| Failure::new(Exit::Failed, format!("the bundle has {count}")))
}

/// Where a fault is, as editors jump to it.
fn place(directory: &Path, fault: &Fault) -> String {
    let file = if fault.file.is_empty() { directory.to_owned() } else { directory.join(&fault.file) };
    match fault.place {
        Some((line, column)) => format!("{}:{line}:{column}", file.display()),
        None => file.display().to_string(),
    }
}

fn test_directory(arguments: &args::PolicyTest) -> Result<(), Failure> {
    let (directory, form) = (&arguments.directory, Form::of(arguments.json));
    let files = directory::read_bundle(directory)?;
    let report = policy::test(&files).map_err(|faults| faulty(directory, &faults, form))?;
    match form {
        Form::Json => {
            let body = report_json(&report);
            output::write(|out| writeln!(out, "{body:#}"))?;
        }
        Form::People => output::write(|out| report.cases.iter().try_for_each(|case| print_case(out, case)))?,
    }
    demand_passed(&report)
}

fn demand_passed(report: &Report) -> Result<(), Failure> {
    let (failed, all) = (report.failures().count(), report.cases.len());
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, format!("{failed} of {all} cases came out otherwise than expected")).hint(
        "lines that begin with - were expected and did not come, lines with + came and were not expected",
    ))
}

fn print_case(out: &mut impl Write, case: &CaseReport) -> io::Result<()> {
    let Some(failure) = &case.failure else { return writeln!(out, "ok    {}", case.name) };
    writeln!(out, "FAIL  {}", case.name)?;
    if let Some((expected, got)) = failure.result {
        writeln!(out, "      - result {}", verdict(expected))?;
        writeln!(out, "      + result {}", verdict(got))?;
    }
    for entry in &failure.absent {
        writeln!(out, "      - {entry}")?;
    }
    for entry in &failure.unexpected {
        writeln!(out, "      + {entry}")?;
    }
    Ok(())
}

const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "ALLOW",
        Verdict::Deny => "DENY",
    }
}

fn report_json(report: &Report) -> Value {
    let cases: Vec<Value> = report.cases.iter().map(case_json).collect();
    let failed = report.failures().count();
    json!({"ok": failed == 0, "cases": cases, "failed": failed})
}

fn case_json(case: &CaseReport) -> Value {
    let Some(CaseFailure { result, absent, unexpected, .. }) = &case.failure else {
        return json!({"name": case.name, "ok": true});
    };
    // Entries are canonical JSON.
    let entries = |list: &[String]| -> Vec<Value> {
        list.iter()
            .map(|entry| serde_json::from_str(entry).unwrap_or_else(|_| entry.clone().into()))
            .collect()
    };
    let result = result.map(|(expected, got)| json!({"expected": verdict(expected), "got": verdict(got)}));
    json!({
        "name": case.name, "ok": false, "result": result,
        "absent": entries(absent), "unexpected": entries(unexpected),
    })
}

fn activate(arguments: &args::PolicyActivate) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let files = directory::read_bundle(directory)?;
    let failed = |faults: Vec<Fault>| faulty(directory, &faults, Form::of(arguments.json));
    let Checked { warnings, .. } = check(&files).map_err(failed)?;
    for warning in &warnings {
        eprintln!("warning: {}: {}", place(directory, warning), warning.message);
    }
    if files.contains_key(CASES_FILE) {
        let report = policy::test(&files).map_err(failed)?;
        demand_passed(&report).map_err(|failure| {
            failure.hint(format!("nothing was activated; see `gesta policy test {}`", directory.display()))
        })?;
    }
    let body = json!({"files": texts(&files)});
    activation::activate(&arguments.target, "/control/policy", &body, Form::of(arguments.json))
}

/// The files of a bundle that was checked, and so is UTF-8.
fn texts(files: &Files) -> Value {
    let text = |content: &[u8]| Value::from(String::from_utf8_lossy(content));
    files.iter().map(|(path, content)| (path.clone(), text(content))).collect()
}
