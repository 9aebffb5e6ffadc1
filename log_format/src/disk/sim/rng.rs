//! Random numbers for simulated faults: splitmix64, the same on every machine for the same seed.

/// A generator that is a pure function of its seed.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`; 0 where `bound` is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    pub(super) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// How much of what is not synced one power cut keeps. The ends are as frequent as the middle: a loss of everything
/// and a loss of nothing find different mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Lost,
    Kept,
    Mixed,
}

impl Mood {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        match rng.below(4) {
            0 => Self::Lost,
            1 => Self::Kept,
            _ => Self::Mixed,
        }
    }

    /// Whether one thing is kept.
    pub(super) fn keeps(self, rng: &mut Rng) -> bool {
        match self {
            Self::Lost => false,
            Self::Kept => true,
            Self::Mixed => rng.coin(),
        }
    }
}
