//! Seeded randomness (xorshift64*): a failing test is repeated by its seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// A generator; its seed is printed by whoever makes it.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From `GESTA_TEST_SEED` where that is set, else from the clock. Prints the seed.
    pub fn seeded(test: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let seed = super::from_environment("GESTA_TEST_SEED", u64::try_from(now % (1 << 53)).unwrap());
        println!("{test}: GESTA_TEST_SEED={seed}");
        Self(seed | 1)
    }

    /// One that draws its own numbers, for another thread.
    pub fn split(&mut self) -> Self {
        Self(self.next() | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}
