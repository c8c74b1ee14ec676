//! RANDOM: any endpoint, weights ignored.

use crate::dice::Draws;

#[derive(Debug)]
pub(super) struct Random {
    count: u64,
}

impl Random {
    pub(super) fn new(count: usize) -> Self {
        Self { count: count as u64 }
    }

    pub(super) fn choose(&self, draws: &mut Draws) -> usize {
        draws.below(self.count) as usize
    }
}
