//! What a caller may do: roles, and patterns for streams and actors. Pure values; nothing here reads a request.

use std::fmt;

/// One permission. A token holds any number of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    IntentWrite,
    LogRead,
    ExecutionWrite,
    Worker,
    Approver,
    Operator,
    Auditor,
    Admin,
}

impl Role {
    /// Every role, in the order in which they are printed.
    pub const ALL: [Self; 8] = [
        Self::IntentWrite,
        Self::LogRead,
        Self::ExecutionWrite,
        Self::Worker,
        Self::Approver,
        Self::Operator,
        Self::Auditor,
        Self::Admin,
    ];

    /// The name in configuration files and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IntentWrite => "intent.write",
            Self::LogRead => "log.read",
            Self::ExecutionWrite => "execution.write",
            Self::Worker => "worker",
            Self::Approver => "approver",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }

    /// The role of this name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    const fn bit(self) -> u16 {
        match self {
            Self::IntentWrite => 1,
            Self::LogRead => 1 << 1,
            Self::ExecutionWrite => 1 << 2,
            Self::Worker => 1 << 3,
            Self::Approver => 1 << 4,
            Self::Operator => 1 << 5,
            Self::Auditor => 1 << 6,
            Self::Admin => 1 << 7,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of roles.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u16);

impl Roles {
    /// Every role: what the principal `local` holds.
    pub fn all() -> Self {
        Role::ALL.into_iter().collect()
    }

    /// Whether a caller with this set passes where `role` is asked for. An auditor passes as a reader of the log;
    /// no other role stands for another.
    pub const fn allow(self, role: Role) -> bool {
        let accepted = match role {
            Role::LogRead => Role::LogRead.bit() | Role::Auditor.bit(),
            Role::IntentWrite
            | Role::ExecutionWrite
            | Role::Worker
            | Role::Approver
            | Role::Operator
            | Role::Auditor
            | Role::Admin => role.bit(),
        };
        self.0 & accepted != 0
    }

    /// The roles of the set, in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.0 & role.bit() != 0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |set, role| set | role.bit()))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Role::name)).finish()
    }
}

/// A list of patterns for ids: a whole id, or the beginning of one followed by `*`. `*` alone is every id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Whole(Box<str>),
    Beginning(Box<str>),
}

impl Patterns {
    /// Matches every id.
    pub fn any() -> Self {
        Self(vec![Pattern::Beginning("".into())])
    }

    /// Matches nothing.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Matches this id alone.
    pub(super) fn one(id: &str) -> Self {
        Self(vec![Pattern::Whole(id.into())])
    }

    /// Reads a list; a `*` may stand only at the end of a pattern.
    ///
    /// # Errors
    /// The first pattern that is empty or has a `*` elsewhere.
    pub fn parse<'a>(list: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        list.into_iter().map(Pattern::parse).collect::<Result<_, _>>().map(Self)
    }

    pub fn matches(&self, id: &str) -> bool {
        self.0.iter().any(|pattern| match pattern {
            Pattern::Whole(whole) => &**whole == id,
            Pattern::Beginning(beginning) => id.starts_with(&**beginning),
        })
    }

    /// Whether `*` is among the patterns.
    pub fn match_all(&self) -> bool {
        self.0.iter().any(|pattern| matches!(pattern, Pattern::Beginning(beginning) if beginning.is_empty()))
    }

    /// The patterns as they are written.
    pub fn iter(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|pattern| match pattern {
            Pattern::Whole(whole) => whole.to_string(),
            Pattern::Beginning(beginning) => format!("{beginning}*"),
        })
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        match text.strip_suffix('*') {
            _ if text.is_empty() => Err(text.to_owned()),
            Some(beginning) if beginning.contains('*') => Err(text.to_owned()),
            Some(beginning) => Ok(Self::Beginning(beginning.into())),
            None if text.contains('*') => Err(text.to_owned()),
            None => Ok(Self::Whole(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_whole_id_or_a_beginning() {
        let patterns = Patterns::parse(["agent-7", "team-a/*"]).unwrap();
        assert!(patterns.matches("agent-7") && patterns.matches("team-a/x") && patterns.matches("team-a/"));
        assert!(!patterns.matches("agent-77") && !patterns.matches("team-b/x") && !patterns.match_all());
        assert!(Patterns::any().matches("") && Patterns::any().match_all());
        assert_eq!(patterns.iter().collect::<Vec<_>>(), ["agent-7", "team-a/*"]);
        for bad in ["", "a*b", "**"] {
            assert_eq!(Patterns::parse([bad]), Err(bad.to_owned()));
        }
    }

    #[test]
    fn an_auditor_reads_and_no_other_role_stands_for_another() {
        for held in Role::ALL {
            let roles: Roles = [held].into_iter().collect();
            for asked in Role::ALL {
                let expected = held == asked || (held == Role::Auditor && asked == Role::LogRead);
                assert_eq!(roles.allow(asked), expected, "{held} where {asked} is asked for");
            }
        }
    }

    #[test]
    fn every_role_has_its_own_name_and_bit() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.name()), Some(role));
        }
        assert_eq!(Roles::all().iter().count(), Role::ALL.len());
    }
}
