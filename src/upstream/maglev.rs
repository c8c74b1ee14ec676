//! MAGLEV: a table that every endpoint fills by a permutation of its own, as Envoy fills it.

use xxhash_rust::xxh64::xxh64;

use super::balancer::Share;

/// What a table has to be smaller than in Envoy.
const TABLE_LIMIT: u64 = 5_000_011;

/// A slot that no endpoint has taken yet.
const FREE: u32 = u32::MAX;

/// The table: for each remainder of a hash the endpoint it belongs to.
#[derive(Debug)]
pub(super) struct Maglev {
    table: Box<[u32]>,
}

/// An endpoint while the table is filled.
struct Filler {
    index: u32,
    share: f64,
    /// What its share times the number of the round has to reach for its next turn.
    target: f64,
    slot: u64,
    skip: u64,
}

impl Maglev {
    /// The table of `shares` with `size` slots, or the next prime number of them.
    pub(super) fn new(shares: &[Share], size: u64) -> Self {
        let size = prime_at_least(size.clamp(1, TABLE_LIMIT));
        let mut fillers = fillers(shares, size);
        let mut table = vec![FREE; size as usize];
        let most = fillers.iter().map(|filler| filler.share).fold(0.0, f64::max);
        let mut left = if fillers.is_empty() { 0 } else { table.len() };
        let mut round = 0.0;
        while left > 0 {
            round += 1.0;
            for filler in &mut fillers {
                if left == 0 {
                    break;
                }
                if round * filler.share < filler.target {
                    continue;
                }
                filler.target += most;
                while table[filler.slot as usize] != FREE {
                    filler.advance(size);
                }
                table[filler.slot as usize] = filler.index;
                filler.advance(size);
                left -= 1;
            }
        }
        Self { table: table.into() }
    }

    /// The endpoint of `hash`; for pick number `attempt` of one choice, that of a hash with most bits turned.
    pub(super) fn choose(&self, hash: u64, attempt: usize) -> usize {
        let hash = if attempt == 0 { hash } else { hash ^ (u64::MAX - attempt as u64 + 1) };
        self.table.get((hash % self.table.len() as u64) as usize).map_or(0, |index| *index as usize)
    }
}

impl Filler {
    /// Goes on to the next slot of its permutation.
    fn advance(&mut self, size: u64) {
        self.slot = (self.slot + self.skip) % size;
    }
}

/// The endpoints in the order of their names, so that the table does not depend on the order of their publication.
fn fillers(shares: &[Share], size: u64) -> Vec<Filler> {
    let mut order: Vec<&Share> = shares.iter().collect();
    order.sort_by(|one, other| one.name.cmp(&other.name));
    let filler = |share: &Share| Filler {
        index: share.index,
        share: share.share,
        target: 0.0,
        slot: xxh64(share.name.as_bytes(), 0) % size,
        skip: xxh64(share.name.as_bytes(), 1) % (size - 1).max(1) + 1,
    };
    order.into_iter().map(filler).collect()
}

/// With another number of slots a permutation would not reach them all.
fn prime_at_least(size: u64) -> u64 {
    let is_prime = |number: u64| {
        (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
    };
    (size.max(2)..).find(|number| is_prime(*number)).unwrap_or(2)
}
