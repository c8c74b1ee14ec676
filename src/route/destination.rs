//! Where a rule sends requests: destinations, and the weighted split they may be drawn from.

use std::sync::Arc;

use super::HeaderOps;

/// Which cluster of the snapshot: its position in `Snapshot::clusters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterIndex(pub u32);

/// The cluster a destination means.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClusterChoice {
    /// Always this one: the destination names its port, or its service has only one.
    Fixed(ClusterIndex),
    /// The one whose service port is the port that the client addressed; another port has no cluster.
    ByPort(Box<[(u16, ClusterIndex)]>),
    /// The host, subset or port is not known: 503 with the flag `NC`, without another pick.
    Missing,
}

impl ClusterChoice {
    /// The cluster for a request that addressed `port`; `None` is 503 with the flag `NC`.
    pub fn for_port(&self, port: u16) -> Option<ClusterIndex> {
        match self {
            ClusterChoice::Fixed(cluster) => Some(*cluster),
            ClusterChoice::ByPort(ports) => {
                ports.iter().find(|(number, _)| *number == port).map(|(_, cluster)| *cluster)
            }
            ClusterChoice::Missing => None,
        }
    }
}

/// A destination as a rule names it (`http[].route[].destination`), whether or not it is known.
///
/// ```
/// use mesh_router::route::DestinationName;
///
/// let reviews = DestinationName::new("reviews.default.svc.cluster.local", "v2", None);
/// assert_eq!((&*reviews.subset, reviews.port), ("v2", None));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DestinationName {
    /// The host, in lower case; a short name is completed with the namespace of the rule.
    pub host: Box<str>,
    /// The subset; empty for the whole host.
    pub subset: Box<str>,
    /// The port. `None`: the rule names none, or none that there can be.
    pub port: Option<u16>,
}

impl DestinationName {
    /// The subset (empty: the whole host) of `host` at `port`.
    pub fn new(host: &str, subset: &str, port: Option<u16>) -> Self {
        Self { host: host.into(), subset: subset.into(), port }
    }
}

/// One entry of a split (`http[].route[]`).
#[derive(Clone, Debug)]
pub struct WeightedCluster {
    /// Where the requests go.
    pub destination: ClusterChoice,
    /// How the rule names it. `None`: no rule does, as for a service that none speaks of. Entries that say the same
    /// share it.
    pub name: Option<Arc<DestinationName>>,
    /// Operations of this destination on the request; they run before those of the rule. Empty for a split with one
    /// entry, whose operations are part of the rule's (see [`HeaderOps::then`]).
    pub request_headers: HeaderOps,
    /// The same for the response.
    pub response_headers: HeaderOps,
}

impl WeightedCluster {
    /// An entry without a name and without header operations.
    pub fn new(destination: ClusterChoice) -> Self {
        let (request_headers, response_headers) = (HeaderOps::default(), HeaderOps::default());
        Self { destination, name: None, request_headers, response_headers }
    }

    /// The same entry, named as its rule does.
    #[must_use]
    pub fn with_name(mut self, name: Arc<DestinationName>) -> Self {
        self.name = Some(name);
        self
    }
}

/// Destinations that share the requests of a rule by weight.
///
/// As in Envoy the random number is taken modulo the sum and the entries are walked in their order, so the sum need
/// not be 100.
///
/// ```
/// use mesh_router::route::{ClusterChoice, ClusterIndex, WeightedCluster, WeightedClusters};
///
/// let to = |index| WeightedCluster::new(ClusterChoice::Fixed(ClusterIndex(index)));
/// let split = WeightedClusters::new(vec![(3, to(0)), (0, to(1)), (1, to(2))]).unwrap();
/// assert_eq!(split.len(), 2);
/// assert_eq!(split.pick(6).destination, ClusterChoice::Fixed(ClusterIndex(0)));
/// assert_eq!(split.pick(7).destination, ClusterChoice::Fixed(ClusterIndex(2)));
/// ```
#[derive(Clone, Debug)]
pub struct WeightedClusters {
    /// Never empty.
    clusters: Box<[WeightedCluster]>,
    /// The cumulative weights of `clusters`; the last one is the sum and above zero.
    sums: Box<[u64]>,
}

impl WeightedClusters {
    /// One destination for everything.
    pub fn single(cluster: WeightedCluster) -> Self {
        Self { clusters: Box::new([cluster]), sums: Box::new([1]) }
    }

    /// Destinations with their weights.
    ///
    /// A single entry gets everything, whatever its weight; of several, those with weight 0 are left out. `None` if
    /// nothing is left: no entry at all, or several that all weigh 0.
    pub fn new(entries: Vec<(u32, WeightedCluster)>) -> Option<Self> {
        if entries.len() == 1 {
            return entries.into_iter().next().map(|(_, cluster)| Self::single(cluster));
        }
        let mut clusters = Vec::with_capacity(entries.len());
        let mut sums = Vec::with_capacity(entries.len());
        let mut sum = 0u64;
        for (weight, cluster) in entries.into_iter().filter(|(weight, _)| *weight > 0) {
            sum += u64::from(weight);
            sums.push(sum);
            clusters.push(cluster);
        }
        (sum > 0).then(|| Self { clusters: clusters.into(), sums: sums.into() })
    }

    /// The destination that `draw`, 64 random bits, falls on.
    pub fn pick(&self, draw: u64) -> &WeightedCluster {
        self.get(self.number(draw))
    }

    /// Which destination `draw` falls on, by its place in the order of the rule.
    pub fn number(&self, draw: u64) -> usize {
        match &*self.sums {
            // With a single one nothing has to be divided.
            [] | [_] => 0,
            [.., sum] => {
                let point = draw % sum;
                self.sums.partition_point(|end| *end <= point)
            }
        }
    }

    /// The destination at this place; the last one if there are not so many.
    pub fn get(&self, number: usize) -> &WeightedCluster {
        &self.clusters[number.min(self.clusters.len() - 1)]
    }

    /// The destinations that can be picked, with their weights, in the order of the rule.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &WeightedCluster)> {
        let starts = std::iter::once(0).chain(self.sums.iter().copied());
        self.sums.iter().zip(starts).map(|(end, start)| end - start).zip(&self.clusters)
    }

    /// How many destinations can be picked; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a split is never empty")]
    pub fn len(&self) -> usize {
        self.clusters.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn to(index: u32) -> WeightedCluster {
        WeightedCluster::new(ClusterChoice::Fixed(ClusterIndex(index)))
    }

    fn share(split: &WeightedClusters, index: u32, draws: u32) -> u32 {
        let mut stream = Dice::seeded(11).draws();
        let wanted = ClusterChoice::Fixed(ClusterIndex(index));
        (0..draws).map(|_| u32::from(split.pick(stream.next_u64()).destination == wanted)).sum()
    }

    #[test]
    fn d1_a_single_entry_gets_everything_whatever_its_weight() {
        for weight in [0, 1, 50, 100] {
            let split = WeightedClusters::new(vec![(weight, to(5))]).unwrap();
            assert_eq!(share(&split, 5, 100), 100, "weight {weight}");
        }
    }

    #[test]
    fn d2_weight_zero_is_left_out_and_the_sum_need_not_be_100() {
        let split = WeightedClusters::new(vec![(0, to(0)), (1, to(1))]).unwrap();
        assert_eq!(share(&split, 1, 100), 100);
        let split = WeightedClusters::new(vec![(3, to(0)), (1, to(1))]).unwrap();
        assert_eq!(split.iter().map(|(weight, _)| weight).collect::<Vec<_>>(), [3, 1]);
    }

    #[test]
    fn d3_the_draw_modulo_the_sum_walks_the_entries_in_order() {
        let split = WeightedClusters::new(vec![(2, to(0)), (1, to(1)), (3, to(2))]).unwrap();
        let picked: Vec<_> = (0..7).map(|draw| split.pick(draw).destination.for_port(80).unwrap().0).collect();
        assert_eq!(picked, [0, 0, 1, 2, 2, 2, 0]);
    }

    #[test]
    fn d3_shares_follow_the_weights_at_five_sigma() {
        let weights = [3u32, 1, 7, 89];
        let entries = weights.iter().zip(0..).map(|(weight, index)| (*weight, to(index))).collect();
        let split = WeightedClusters::new(entries).unwrap();
        let draws = 200_000u32;
        for (weight, index) in weights.iter().zip(0..) {
            let expected = f64::from(draws) * f64::from(*weight) / 100.0;
            let sigma = (expected * (1.0 - f64::from(*weight) / 100.0)).sqrt();
            let seen = f64::from(share(&split, index, draws));
            assert!((seen - expected).abs() < 5.0 * sigma, "{index}: {seen} of {expected}");
        }
    }

    #[test]
    fn d4_nothing_to_pick_is_no_split() {
        assert!(WeightedClusters::new(vec![]).is_none());
        assert!(WeightedClusters::new(vec![(0, to(0)), (0, to(1))]).is_none());
    }

    #[test]
    fn huge_weights_do_not_overflow() {
        let split = WeightedClusters::new(vec![(u32::MAX, to(0)), (u32::MAX, to(1))]).unwrap();
        assert_eq!(split.pick(u64::from(u32::MAX)).destination.for_port(1), Some(ClusterIndex(1)));
    }

    #[test]
    fn t18_a_destination_may_take_the_port_of_the_request() {
        let choice = ClusterChoice::ByPort(Box::new([(80, ClusterIndex(1)), (9080, ClusterIndex(2))]));
        assert_eq!(choice.for_port(9080), Some(ClusterIndex(2)));
        assert_eq!(choice.for_port(81), None);
        assert_eq!(ClusterChoice::Missing.for_port(80), None);
    }
}
