//! RING_HASH: points on a circle, as Envoy places them (ketama).

use xxhash_rust::xxh64::xxh64;

use super::balancer::Share;

/// The most points of a ring (Envoy's default `maximum_ring_size`, which Istio leaves alone): 8 Mi.
pub(super) const MOST_POINTS: u64 = 1 << 23;

/// The points of every endpoint on the circle of 64-bit hashes, in the order of their hashes.
#[derive(Debug)]
pub(super) struct RingHash {
    points: Box<[u64]>,
    owners: Box<[u32]>,
}

impl RingHash {
    /// The ring of `shares`. The endpoint of the least share gets a whole number of points, at least so many that the
    /// ring has `minimum` points; the others get theirs in proportion.
    pub(super) fn new(shares: &[Share], minimum: u64) -> Self {
        let least = shares.iter().map(|share| share.share).fold(1.0, f64::min);
        let minimum = minimum.clamp(1, MOST_POINTS) as f64;
        let scale = ((least * minimum).ceil() / least).min(MOST_POINTS as f64);
        let mut ring: Vec<(u64, u32)> = Vec::with_capacity(scale.ceil() as usize);
        let mut key = String::new();
        let (mut placed, mut due) = (0.0, 0.0);
        for Share { name, share, index } in shares {
            key.clear();
            key.push_str(name);
            key.push('_');
            let prefix = key.len();
            // Running sums over all endpoints: fractions of points are not lost from one to the next.
            due += scale * share;
            let mut number = 0u64;
            while placed < due {
                key.truncate(prefix);
                push_number(&mut key, number);
                ring.push((xxh64(key.as_bytes(), 0), *index));
                number += 1;
                placed += 1.0;
            }
        }
        ring.sort_unstable();
        Self {
            points: ring.iter().map(|(point, _)| *point).collect(),
            owners: ring.iter().map(|(_, owner)| *owner).collect(),
        }
    }

    /// The owner of the first point at or after `hash`; for pick number `attempt` of one choice, the owner of the
    /// point that is so many further on.
    pub(super) fn choose(&self, hash: u64, attempt: usize) -> usize {
        let first = self.points.partition_point(|point| *point < hash);
        let count = self.points.len().max(1);
        // Beyond the last point the circle begins again.
        let first = if first == count { 0 } else { first };
        self.owners.get((first + attempt) % count).map_or(0, |owner| *owner as usize)
    }
}

/// Appends a number in decimal digits.
fn push_number(text: &mut String, number: u64) {
    use std::fmt::Write;
    // Writing to a string does not fail.
    let _ = write!(text, "{number}");
}
