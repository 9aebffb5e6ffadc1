//! What is found, how bad it is, and what the whole then is.

use std::collections::BTreeMap;

use gesta_log_format::{Digest, Index};

/// Most findings that a report lists. How many there are is always told.
pub const FINDINGS_MAX: usize = 1_000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The log is not what was written: bytes, order, digests, roots, or a record that no server appends there.
    Tampered,
    /// A recorded decision is not the one that its inputs and its policy demand.
    Diverged,
    /// Something could not be checked, for want of records or blobs.
    Incomplete,
    /// Something could not be checked because its content was erased, which a record says.
    Erased,
    /// Worth knowing, and not wrong.
    Warning,
}

impl Class {
    /// The written form.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Tampered => "tampered",
            Self::Diverged => "diverged",
            Self::Incomplete => "incomplete",
            Self::Erased => "erased",
            Self::Warning => "warning",
        }
    }
}

/// What the whole is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was checked holds, and everything could be checked but what was erased.
    #[default]
    Sound,
    /// A decision is another than its inputs demand.
    Diverged,
    /// The log was changed or is damaged.
    Tampered,
    /// What was checked holds, and not everything could be.
    Incomplete,
}

impl Verdict {
    /// The written form.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Diverged => "diverged",
            Self::Tampered => "tampered",
            Self::Incomplete => "incomplete",
        }
    }

    /// The exit code of `gesta-replay`.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Sound => 0,
            Self::Diverged => 1,
            Self::Tampered => 2,
            Self::Incomplete => 3,
        }
    }
}

/// One thing that is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub class: Class,
    /// A stable name, UPPER_SNAKE.
    pub rule: &'static str,
    /// The record; none where it is about the log as a whole.
    pub index: Option<Index>,
    /// For a person.
    pub message: String,
    /// The file and the byte in it, where bytes are the matter.
    pub place: Option<(String, u64)>,
    /// Which member of a DECISION differs: pointer, expected, got.
    pub difference: Option<[String; 3]>,
    /// The blob that is missing.
    pub blob: Option<Digest>,
}

impl Finding {
    /// A finding about the record at `index`.
    #[must_use]
    pub fn at(class: Class, rule: &'static str, index: Index, message: impl Into<String>) -> Self {
        Self { index: Some(index), ..Self::whole(class, rule, message) }
    }

    /// A finding about the log as a whole.
    #[must_use]
    pub fn whole(class: Class, rule: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { class, rule, index: None, message, place: None, difference: None, blob: None }
    }

    /// The same with its file and byte.
    #[must_use]
    pub fn placed(mut self, file: impl Into<String>, byte: u64) -> Self {
        self.place = Some((file.into(), byte));
        self
    }
}

/// All that was found, each rule once for a record.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    /// How many of each class there are, listed or not.
    totals: BTreeMap<Class, u64>,
    /// The rules that the record at hand has broken.
    current: (Option<Index>, Vec<&'static str>),
    /// How many findings name each blob that is missing.
    lacking: BTreeMap<Digest, u64>,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        if let Some(index) = finding.index {
            if self.current.0 != Some(index) {
                self.current = (Some(index), Vec::new());
            }
            if self.current.1.contains(&finding.rule) {
                return;
            }
            self.current.1.push(finding.rule);
        }
        if let Some(blob) = finding.blob {
            *self.lacking.entry(blob).or_default() += 1;
        }
        *self.totals.entry(finding.class).or_default() += 1;
        self.list.push(finding);
        if self.list.len() >= 2 * FINDINGS_MAX {
            self.trim();
        }
    }

    /// Calls what lacks blobs that a record says were erased *erased*.
    pub(super) fn erase(&mut self, is_erased: impl Fn(&Digest) -> bool) {
        let erased: u64 =
            self.lacking.iter().filter(|(blob, _)| is_erased(blob)).map(|(_, count)| count).sum();
        if erased > 0 {
            *self.totals.entry(Class::Incomplete).or_default() -= erased;
            *self.totals.entry(Class::Erased).or_default() += erased;
            let lacks = |finding: &&mut Finding| finding.blob.as_ref().is_some_and(&is_erased);
            for finding in self.list.iter_mut().filter(lacks) {
                finding.class = Class::Erased;
                finding.rule = "BLOB_ERASED";
            }
        }
    }

    /// Keeps the first ones, by what they are about and never by when they were found.
    fn trim(&mut self) {
        self.list.sort_by(|a, b| order(a).cmp(&order(b)));
        self.list.truncate(FINDINGS_MAX);
    }

    pub(super) fn count(&self, class: Class) -> u64 {
        self.totals.get(&class).copied().unwrap_or(0)
    }

    pub(super) fn total(&self) -> u64 {
        self.totals.values().sum()
    }

    pub(super) fn verdict(&self) -> Verdict {
        // The worst first.
        [
            (Class::Tampered, Verdict::Tampered),
            (Class::Diverged, Verdict::Diverged),
            (Class::Incomplete, Verdict::Incomplete),
        ]
        .into_iter()
        .find(|(class, _)| self.count(*class) > 0)
        .map_or(Verdict::Sound, |(_, verdict)| verdict)
    }

    /// In the order of their records, those of the whole log last.
    pub(super) fn into_list(mut self) -> Vec<Finding> {
        self.trim();
        self.list
    }
}

type Order<'f> = (bool, Option<Index>, Class, &'static str, &'f str);

fn order(finding: &Finding) -> Order<'_> {
    (finding.index.is_none(), finding.index, finding.class, finding.rule, &finding.message)
}
