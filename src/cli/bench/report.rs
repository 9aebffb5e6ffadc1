//! What a bench prints: a few lines for people, or one line of JSON.

use std::io::Write as _;

use serde_json::{Map, Value, json};

use super::histogram::Histogram;
use crate::cli::{Exit, Failure, output};

/// The parts of a latency, in the order in which people read them.
const LATENCY: [&str; 6] = ["p50", "p90", "p99", "p999", "max", "mean"];

/// Figures with their names, in order.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<(&'static str, Value)>);

impl Report {
    pub(super) fn figure(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    /// Seconds or a rate, with as many digits as mean something.
    pub(super) fn measure(self, name: &'static str, value: f64) -> Self {
        let rounded = if value.abs() < 1000.0 { (value * 1000.0).round() / 1000.0 } else { value.round() };
        self.figure(name, rounded)
    }

    pub(super) fn latency(self, name: &'static str, took: &Histogram) -> Self {
        self.figure(
            name,
            json!({
                "p50": took.quantile_us(0.5), "p90": took.quantile_us(0.9), "p99": took.quantile_us(0.99),
                "p999": took.quantile_us(0.999), "max": took.max_us(), "mean": took.mean_us().round(),
            }),
        )
    }

    /// # Errors
    /// A failed write.
    pub(super) fn print(self, as_json: bool) -> Result<(), Failure> {
        output::write(|out| {
            if as_json {
                let figures: Map<String, Value> =
                    self.0.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                return writeln!(out, "{}", Value::Object(figures));
            }
            for (name, value) in self.0 {
                match value {
                    Value::Object(parts) => {
                        let parts = LATENCY.iter().filter_map(|part| Some((part, parts.get(*part)?)));
                        let parts: Vec<_> = parts.map(|(part, value)| format!("{part} {value}")).collect();
                        writeln!(out, "{name:<20} {}", parts.join("  "))?;
                    }
                    value => writeln!(out, "{name:<20} {value}")?,
                }
            }
            Ok(())
        })
    }
}

/// A bench that measured nothing.
pub(super) fn failed(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, why.to_string())
        .hint("is the server running at --url? for many connections, raise the limit of open files: `ulimit -n 8192`")
}
