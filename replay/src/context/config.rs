//! `context.json`: how context is made. Strictly read, every key with a default and a range, and pinned by digest.
//!
//! The digest is that of the whole configuration in canonical form, defaults filled in, so that two files which mean
//! the same have the same digest and a later default cannot change what an earlier decision meant.

use std::borrow::Cow;

use gesta_log_format::Digest;
use gesta_log_format::json::{Error, ErrorKind, Reader};

/// The only schema version.
pub const SCHEMA_VERSION: &str = "1";

/// The only order of references.
pub const ORDERING: &str = "event_index_asc";

/// What happens to a wire intent that declares no references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyRefsPolicy {
    /// Its context is the intent alone.
    AllowEmpty,
    /// It is refused, `EMPTY_REFS_DENIED`.
    Deny,
    /// The last INTENTs of its thread stand in for references.
    ExpandLastN,
}

impl EmptyRefsPolicy {
    const ALL: [Self; 3] = [Self::AllowEmpty, Self::Deny, Self::ExpandLastN];

    /// The written form.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::AllowEmpty => "ALLOW_EMPTY",
            Self::Deny => "DENY",
            Self::ExpandLastN => "EXPAND_LAST_N",
        }
    }
}

/// A step of normalisation. All but `DEDUPE_REFS` are always in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Of several references to one event the first is kept.
    DedupeRefs,
    /// Only INTENTs are admitted to governance.
    FilterIntentOnly,
    /// Only events of the intent's own thread are admitted.
    ScopeBound,
    /// References are in the order of their events.
    SortCanonical,
}

impl Rule {
    /// Every rule, in the order in which the canonical configuration lists them.
    pub const ALL: [Self; 4] =
        [Self::DedupeRefs, Self::FilterIntentOnly, Self::ScopeBound, Self::SortCanonical];

    /// The written form.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::DedupeRefs => "DEDUPE_REFS",
            Self::FilterIntentOnly => "FILTER_INTENT_ONLY",
            Self::ScopeBound => "SCOPE_BOUND",
            Self::SortCanonical => "SORT_CANONICAL",
        }
    }
}

/// A context configuration and the digest that pins it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    settings: Settings,
    canonical: Box<[u8]>,
    rules: Box<[u8]>,
    digest: Digest,
}

/// What a context configuration sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most references that an intent may declare, 1 to 500.
    pub max_refs: usize,
    /// What an intent without references means; for wire intents only.
    pub empty_refs_policy: EmptyRefsPolicy,
    /// How many INTENTs stand in for references under [`EmptyRefsPolicy::ExpandLastN`], 1 to 100.
    pub expand_last_n: usize,
    /// Whether EXECUTIONs stay among the resolved references, for a prompt and never for a policy.
    pub allow_execution_refs_for_prompt: bool,
    /// Whether [`Rule::DedupeRefs`] is in force.
    pub dedupe_refs: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_refs: 50,
            empty_refs_policy: EmptyRefsPolicy::AllowEmpty,
            expand_last_n: 10,
            allow_execution_refs_for_prompt: true,
            dedupe_refs: false,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::of(Settings::default())
    }
}

/// A `context.json` that cannot be used. The inner error has the RFC 6901 pointer of what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("context.json: {0}")]
pub struct ConfigError(#[from] pub Error);

impl Config {
    /// Reads a configuration; what it leaves out has its default.
    ///
    /// # Errors
    /// [`ConfigError`]: not strict JSON, an unknown key, a value of another type or out of its range.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(text)?;
        let mut settings = Settings::default();
        reader.begin_object()?;
        while let Some(key) = reader.next_member()? {
            match &*key {
                "schema_version" => one_of(&mut reader, &[SCHEMA_VERSION], |_| ())?,
                "context" => read_context(&mut reader, &mut settings)?,
                "normalization" => read_normalization(&mut reader, &mut settings)?,
                _ => {
                    return Err(
                        unknown(&reader, &key, &["schema_version", "context", "normalization"]).into()
                    );
                }
            }
        }
        reader.finish()?;
        Ok(Self::of(settings))
    }

    fn of(settings: Settings) -> Self {
        let rules = rules(settings.dedupe_refs);
        let canonical = format!(
            "{{\"context\":{{\"allow_execution_refs_for_prompt\":{},\"canonical_sort\":\"{ORDERING}\",\
             \"empty_refs_policy\":\"{}\",\"enforce_scope_bound\":true,\"expand_last_n\":{},\"max_refs\":{}}},\
             \"normalization\":{{\"rules\":{rules}}},\"schema_version\":\"{SCHEMA_VERSION}\"}}",
            settings.allow_execution_refs_for_prompt,
            settings.empty_refs_policy.text(),
            settings.expand_last_n,
            settings.max_refs,
        );
        let canonical = canonical.into_bytes().into_boxed_slice();
        let digest = Digest::of(&canonical);
        Self { settings, canonical, rules: rules.into_bytes().into_boxed_slice(), digest }
    }

    /// What it sets.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The whole configuration, defaults filled in, as canonical JSON.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// `context_config_digest`: SHA-256 over [`Config::canonical`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The canonical list of the rules in force.
    pub(super) fn rules(&self) -> &[u8] {
        &self.rules
    }
}

fn rules(dedupe_refs: bool) -> String {
    let in_force = Rule::ALL.iter().filter(|rule| dedupe_refs || **rule != Rule::DedupeRefs);
    let names: Vec<_> = in_force.map(|rule| format!("\"{}\"", rule.text())).collect();
    format!("[{}]", names.join(","))
}

fn read_context(reader: &mut Reader<'_>, settings: &mut Settings) -> Result<(), Error> {
    const KEYS: [&str; 6] = [
        "max_refs",
        "empty_refs_policy",
        "expand_last_n",
        "allow_execution_refs_for_prompt",
        "canonical_sort",
        "enforce_scope_bound",
    ];
    reader.begin_object()?;
    while let Some(key) = reader.next_member()? {
        match &*key {
            "max_refs" => settings.max_refs = within(reader, 500)?,
            "expand_last_n" => settings.expand_last_n = within(reader, 100)?,
            "allow_execution_refs_for_prompt" => {
                settings.allow_execution_refs_for_prompt = reader.boolean()?
            }
            "canonical_sort" => one_of(reader, &[ORDERING], |_| ())?,
            "enforce_scope_bound" => {
                if !reader.boolean()? {
                    return Err(reject(reader, "must be true: a reference never leaves its thread"));
                }
            }
            "empty_refs_policy" => {
                let names = EmptyRefsPolicy::ALL.map(EmptyRefsPolicy::text);
                settings.empty_refs_policy = one_of(reader, &names, |at| EmptyRefsPolicy::ALL[at])?;
            }
            _ => return Err(unknown(reader, &key, &KEYS)),
        }
    }
    Ok(())
}

fn read_normalization(reader: &mut Reader<'_>, settings: &mut Settings) -> Result<(), Error> {
    reader.begin_object()?;
    while let Some(key) = reader.next_member()? {
        match &*key {
            "rules" => read_rules(reader, settings)?,
            _ => return Err(unknown(reader, &key, &["rules"])),
        }
    }
    Ok(())
}

/// The order in which rules are listed means nothing: each has its place in the algorithm.
fn read_rules(reader: &mut Reader<'_>, settings: &mut Settings) -> Result<(), Error> {
    let mut given = [false; Rule::ALL.len()];
    reader.begin_array()?;
    let whole = reader.mark();
    while reader.next_element()? {
        let at = one_of(reader, &Rule::ALL.map(Rule::text), |at| at)?;
        if std::mem::replace(&mut given[at], true) {
            return Err(reject(reader, "the list has this rule twice: keep one of them"));
        }
    }
    for (rule, given) in Rule::ALL.iter().zip(given) {
        if *rule == Rule::DedupeRefs {
            settings.dedupe_refs = given;
        } else if !given {
            let reason = format!("the rule {} is always in force: list it", rule.text());
            return Err(reader.fail_at(whole, ErrorKind::Rejected { reason: reason.into() }));
        }
    }
    Ok(())
}

fn reject(reader: &Reader<'_>, reason: impl Into<Cow<'static, str>>) -> Error {
    reader.fail(ErrorKind::Rejected { reason: reason.into() })
}

fn within(reader: &mut Reader<'_>, max: usize) -> Result<usize, Error> {
    let value = reader.integer()?;
    let fitting = usize::try_from(value).ok().filter(|value| (1..=max).contains(value));
    fitting.ok_or_else(|| reject(reader, format!("must lie between 1 and {max}")))
}

fn one_of<T>(reader: &mut Reader<'_>, names: &[&str], take: impl Fn(usize) -> T) -> Result<T, Error> {
    let value = reader.string()?;
    match names.iter().position(|name| *name == value) {
        Some(at) => Ok(take(at)),
        None => Err(reject(reader, format!("must be {}", names.join(" or ")))),
    }
}

/// How different a key may be from the one that was meant, 0 to 1.
const SIMILARITY_MIN: f64 = 0.6;

fn unknown(reader: &Reader<'_>, key: &str, known: &[&str]) -> Error {
    let nearest = known
        .iter()
        .map(|name| (strsim::jaro_winkler(name, key), *name))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let reason = match nearest {
        Some((_, name)) => format!("this key is unknown: did you mean {name:?}?"),
        None => format!("this key is unknown: known are {}", known.join(", ")),
    };
    reject(reader, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default_and_the_digest_is_that_of_the_whole() {
        let config = Config::parse(b"{}").unwrap();
        assert_eq!(config, Config::default());
        assert!(gesta_log_format::json::is_canonical(config.canonical()));
        assert_eq!(config.digest(), Digest::of(config.canonical()));
        assert_eq!(Config::parse(config.canonical()).unwrap(), config);
    }

    #[test]
    fn what_is_left_out_has_its_default_and_order_means_nothing() {
        let text = br#"{"normalization": {"rules": ["SORT_CANONICAL", "SCOPE_BOUND", "FILTER_INTENT_ONLY", "DEDUPE_REFS"]},
            "context": {"expand_last_n": 100, "max_refs": 500, "empty_refs_policy": "EXPAND_LAST_N",
            "allow_execution_refs_for_prompt": false, "enforce_scope_bound": true, "canonical_sort": "event_index_asc"}}"#;
        let config = Config::parse(text).unwrap();
        let expected = Settings {
            max_refs: 500,
            empty_refs_policy: EmptyRefsPolicy::ExpandLastN,
            expand_last_n: 100,
            allow_execution_refs_for_prompt: false,
            dedupe_refs: true,
        };
        assert_eq!(config.settings(), &expected);
        assert_eq!(Config::parse(config.canonical()).unwrap(), config);
        assert_ne!(config.digest(), Config::default().digest());
    }

    #[track_caller]
    fn check(text: &str, pointer: &str, says: &str) {
        let error = Config::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.0.pointer, pointer, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named_by_its_pointer_with_the_remedy() {
        check("[]", "", "must be an object");
        check(r#"{"schema_version":"2"}"#, "/schema_version", "must be 1");
        check(r#"{"contxt":{}}"#, "/contxt", r#"did you mean "context"?"#);
        check(r#"{"context":{"max_ref":1}}"#, "/context/max_ref", r#"did you mean "max_refs"?"#);
        check(r#"{"context":{"zzz":1}}"#, "/context/zzz", "known are max_refs,");
        for bad in ["0", "501", "-1", "9007199254740991"] {
            check(
                &format!(r#"{{"context":{{"max_refs":{bad}}}}}"#),
                "/context/max_refs",
                "between 1 and 500",
            );
        }
        check(r#"{"context":{"expand_last_n":101}}"#, "/context/expand_last_n", "between 1 and 100");
        check(r#"{"context":{"max_refs":1.5}}"#, "/context/max_refs", "integer");
        check(r#"{"context":{"max_refs":"1"}}"#, "/context/max_refs", "must be a number");
        check(
            r#"{"context":{"empty_refs_policy":"deny"}}"#,
            "/context/empty_refs_policy",
            "ALLOW_EMPTY or DENY",
        );
        check(r#"{"context":{"canonical_sort":"x"}}"#, "/context/canonical_sort", "must be event_index_asc");
        check(r#"{"context":{"enforce_scope_bound":false}}"#, "/context/enforce_scope_bound", "must be true");
        check(r#"{"context":{"max_refs":1,"max_refs":2}}"#, "/context/max_refs", "twice");
        check(r#"{"normalization":{"rule":[]}}"#, "/normalization/rule", r#"did you mean "rules"?"#);
        check(r#"{"normalization":{"rules":[]}}"#, "/normalization/rules", "FILTER_INTENT_ONLY is always");
        check(r#"{"normalization":{"rules":["SORT"]}}"#, "/normalization/rules/0", "must be DEDUPE_REFS or");
        let twice = r#"{"normalization":{"rules":["SCOPE_BOUND","SCOPE_BOUND"]}}"#;
        check(twice, "/normalization/rules/1", "twice");
    }

    #[test]
    fn every_default_and_range_of_the_table_holds_at_its_ends() {
        for (key, max) in [("max_refs", 500), ("expand_last_n", 100)] {
            for value in [1, max] {
                Config::parse(format!(r#"{{"context":{{"{key}":{value}}}}}"#).as_bytes()).unwrap();
            }
        }
    }
}
