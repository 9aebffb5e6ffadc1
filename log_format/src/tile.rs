//! Tiles: the tree and the entries in pieces of 256, as C2SP's tlog-tiles serves them
//! (<https://c2sp.org/tlog-tiles>).
//!
//! This module names tiles and encodes bundles of entries; it stores nothing. Invariant: a tile has one path, and
//! [`Tile::parse`] takes no other spelling.

use std::fmt;

#[cfg(test)]
mod tests;

/// Hashes or entries in a full tile.
pub const WIDTH: u64 = 256;

/// Levels of the tree that one level of tiles spans: 2^8 hashes have one root.
pub const HEIGHT: u32 = 8;

/// The highest level of a tile's path.
const LEVEL_MAX: u32 = 63;

/// What a tile holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Content {
    /// Hashes: at level 0 of leaves, above of full tiles of the level below.
    Hashes {
        /// 0 to 63.
        level: u32,
    },
    /// Entries, each after its length: what the leaves are hashes of.
    Entries,
}

/// A piece of the tree or of the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tile {
    content: Content,
    number: u64,
    width: u64,
}

impl Tile {
    /// The tile with this number, from 0, in its level, with `width` hashes or entries. `None` unless 1 ≤ width ≤ 256 and
    /// the level is at most 63.
    #[must_use]
    pub fn new(content: Content, number: u64, width: u64) -> Option<Self> {
        let level = match content {
            Content::Hashes { level } => level,
            Content::Entries => 0,
        };
        let fits = number < 1 << 55 && level <= LEVEL_MAX && (1..=WIDTH).contains(&width);
        fits.then_some(Self { content, number, width })
    }

    /// Reads what stands behind `/tile/`: `0/x001/234`, `1/067.p/8`, `entries/000`.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (content, rest) = path.split_once('/')?;
        let content = match content {
            "entries" => Content::Entries,
            level => Content::Hashes { level: u32::try_from(decimal(level, LEVEL_MAX.into())?).ok()? },
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, decimal(width, WIDTH - 1).filter(|width| *width > 0)?),
            None => (rest, WIDTH),
        };
        Self::new(content, parse_number(number)?, width)
    }

    /// What it holds.
    #[must_use]
    pub fn content(&self) -> Content {
        self.content
    }

    /// Its place in its level, from 0.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many hashes or entries it has, 1 to 256.
    #[must_use]
    pub fn width(&self) -> u64 {
        self.width
    }

    /// Whether it has all 256, and so never changes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.width == WIDTH
    }

    /// The place of its first hash or entry in its level.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.number * WIDTH
    }

    /// Whether a tree of so many leaves has all of it.
    #[must_use]
    pub fn is_within(&self, leaves: u64) -> bool {
        let level = match self.content {
            Content::Hashes { level } => level,
            Content::Entries => 0,
        };
        self.first() + self.width <= in_level(level, leaves)
    }

    /// The tiles that a tree of so many leaves consists of: those of hashes, level by level from the leaves, and those
    /// of entries.
    pub fn of_tree(leaves: u64) -> impl Iterator<Item = Self> {
        let hashes = (0..=LEVEL_MAX).map(move |level| (Content::Hashes { level }, in_level(level, leaves)));
        let all = hashes.take_while(|(_, count)| *count > 0).chain([(Content::Entries, leaves)]);
        all.flat_map(|(content, count)| {
            (0..count.div_ceil(WIDTH)).map(move |number| {
                let width = WIDTH.min(count - number * WIDTH);
                Self { content, number, width }
            })
        })
    }
}

/// How many hashes a level of tiles has in a tree of so many leaves.
#[must_use]
pub fn in_level(level: u32, leaves: u64) -> u64 {
    leaves.checked_shr(HEIGHT * level).unwrap_or(0)
}

impl fmt::Display for Tile {
    /// The path behind `/tile/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.content {
            Content::Hashes { level } => write!(f, "{level}/")?,
            Content::Entries => f.write_str("entries/")?,
        }
        let mut groups = 0;
        let mut above = self.number / 1000;
        while above > 0 {
            groups += 1;
            above /= 1000;
        }
        for group in (1..=groups).rev() {
            write!(f, "x{:03}/", self.number / 1000_u64.pow(group) % 1000)?;
        }
        write!(f, "{:03}", self.number % 1000)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

/// Reads `x001/x234/067`: groups of three digits, the first not zero where there are several.
fn parse_number(text: &str) -> Option<u64> {
    let (above, last) = text.rsplit_once('/').map_or((None, text), |(above, last)| (Some(above), last));
    let mut number = 0_u64;
    if let Some(above) = above {
        for group in above.split('/') {
            number = number.checked_mul(1000)?.checked_add(three_digits(group.strip_prefix('x')?)?)?;
            if number == 0 {
                return None;
            }
        }
    }
    number.checked_mul(1000)?.checked_add(three_digits(last)?)
}

fn three_digits(text: &str) -> Option<u64> {
    let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A decimal number in its one spelling, up to `max`.
fn decimal(text: &str, max: u64) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    digits.then(|| text.parse().ok()).flatten().filter(|number| *number <= max)
}

/// Appends an entry to a bundle: its length, two bytes big-endian, and its bytes. `false`, and nothing appended, where it
/// has more than 65,535 bytes, which no record's data has.
#[must_use]
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> bool {
    let Ok(len) = u16::try_from(entry.len()) else { return false };
    bundle.extend_from_slice(&len.to_be_bytes());
    bundle.extend_from_slice(entry);
    true
}

/// The entries of a bundle. `None` where it ends within one.
#[must_use]
pub fn entries(bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut rest, mut found) = (bundle, Vec::new());
    while !rest.is_empty() {
        let (len, behind) = rest.split_first_chunk::<2>()?;
        let (entry, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        found.push(entry);
        rest = behind;
    }
    Some(found)
}
