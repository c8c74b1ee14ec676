//! Localities: which endpoints are near, and what share each place gets.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::endpoint::Endpoint;
use super::priority::MOST_LEVELS;

/// The label of an endpoint's region.
pub const REGION_LABEL: &str = "topology.kubernetes.io/region";
/// The label of an endpoint's zone.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// The label of an endpoint's subzone.
pub const SUBZONE_LABEL: &str = "topology.istio.io/subzone";
/// The label of an endpoint's network. As the first label of a failover it weighs more than all others together.
pub const NETWORK_LABEL: &str = "topology.istio.io/network";

/// The parts of `region/zone/subzone`; a part that is missing is empty.
///
/// ```
/// use mesh_router::upstream::Locality;
///
/// let here = Locality::parse("eu/z1/rack7");
/// assert_eq!((here.region, here.zone, here.subzone), ("eu", "z1", "rack7"));
/// assert!(here.matches("eu/z1/*") && here.matches("eu") && here.matches("*") && !here.matches("eu/z2"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Locality<'a> {
    /// The region.
    pub region: &'a str,
    /// The zone in it.
    pub zone: &'a str,
    /// The part of the zone.
    pub subzone: &'a str,
}

impl<'a> Locality<'a> {
    /// Takes `region/zone/subzone` apart. What comes after a third slash is left out.
    pub fn parse(text: &'a str) -> Self {
        let mut parts = text.split('/');
        let mut part = || parts.next().unwrap_or_default();
        Self { region: part(), zone: part(), subzone: part() }
    }

    /// Whether a pattern covers it: `*` stands for any part, and so does a zone or subzone that is not written.
    pub fn matches(self, pattern: &str) -> bool {
        let pattern = Locality::parse(pattern);
        let rest = |pattern: &str, part: &str| pattern.is_empty() || pattern == "*" || pattern == part;
        (pattern.region == "*" || pattern.region == self.region)
            && rest(pattern.zone, self.zone)
            && rest(pattern.subzone, self.subzone)
    }

    /// How far `other` is: 0 the same, 1 the same zone, 2 the same region, 3 another region.
    fn distance(self, other: Locality<'_>) -> usize {
        match () {
            () if self.region != other.region => 3,
            () if self.zone != other.zone => 2,
            () if self.subzone != other.subzone => 1,
            () => 0,
        }
    }
}

/// Which endpoints are picked first, and how they share by place (`localityLbSetting`, `zoneAwareLbSetting`,
/// `trafficDistribution`), as it is for this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// All alike, wherever they are.
    #[default]
    Anywhere,
    /// By shares of places (`distribute`).
    Distribute(Distribute),
    /// The near ones, as long as enough of them are healthy.
    Failover(Failover),
}

/// Shares of places (`localityLbSetting.distribute`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribute {
    /// Patterns of places with their weights: those of the first entry whose `from` covers this process. An endpoint
    /// belongs to the first pattern that covers it; one that belongs to none gets no requests. `None`: no entry is for
    /// this process, and every place weighs as much as its endpoints.
    pub shares: Option<Arc<[PlaceShare]>>,
}

/// The share of some places (an entry of `to`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceShare {
    /// Which places: a pattern as of [`Locality::matches`].
    pub to: Box<str>,
    /// The weight of all of them together, 1 to 100.
    pub weight: u32,
}

/// Which endpoints are nearer than others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failover {
    /// Labels to have in common with this process, the most important first (`failoverPriority`).
    pub labels: Arc<[FailoverLabel]>,
    /// How places are told apart, where they are.
    pub places: Option<FailoverPlaces>,
    /// Whether the places within one level share by their weight and their health, before endpoints do.
    pub weighted: bool,
}

/// A label that endpoints should have (an entry of `failoverPriority`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailoverLabel {
    /// Its name.
    pub name: Box<str>,
    /// The value of this process, or the one that is written; empty if there is none.
    pub value: Box<str>,
    /// Whether the value is written with it (`name=value`).
    pub written: bool,
}

/// How far places are from this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailoverPlaces {
    /// Where this process is, `region/zone/subzone`.
    pub own: Box<str>,
    /// The region that comes right after this process's own (`failover`).
    pub to: Option<Box<str>>,
    /// Only regions count: all of the own region come first (`zoneAwareLbSetting`).
    pub regions_only: bool,
}

impl FailoverPlaces {
    /// How many distances there are.
    fn distances(&self) -> usize {
        if self.regions_only { 3 } else { 5 }
    }

    /// The distance of a place, 0 for the nearest.
    fn distance(&self, place: Locality<'_>) -> usize {
        let distance = Locality::parse(&self.own).distance(place);
        match (self.regions_only, distance) {
            (true, 3) => 2 - usize::from(self.to.as_deref() == Some(place.region)),
            (true, _) => 0,
            (false, 3) => 3 + usize::from(self.to.as_deref().is_some_and(|to| to != place.region)),
            (false, near) => near,
        }
    }
}

/// The endpoints of one place within one level.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) locality: Arc<str>,
    /// Its weight against the other places of its level.
    pub(super) weight: u32,
    pub(super) endpoints: Vec<Arc<Endpoint>>,
}

/// The levels of a cluster, the first to be picked from first; in each the places in the order of their names.
#[derive(Debug)]
pub(super) struct Levels {
    pub(super) levels: Vec<Vec<Place>>,
    /// Whether a place is picked before an endpoint of it is.
    pub(super) weighted: bool,
}

impl Placement {
    /// Puts endpoints on levels and in places.
    pub(super) fn place(&self, endpoints: &[Arc<Endpoint>]) -> Levels {
        match self {
            Placement::Anywhere => Levels { levels: vec![by_locality(endpoints)], weighted: false },
            Placement::Distribute(distribute) => distribute.place(endpoints),
            Placement::Failover(failover) => failover.place(endpoints),
        }
    }

    /// Whether it puts an endpoint on a level at all.
    pub(super) fn has(&self, endpoint: &Endpoint) -> bool {
        match self {
            Placement::Distribute(Distribute { shares: Some(shares) }) => {
                share_of(shares, &endpoint.locality).is_some()
            }
            Placement::Distribute(_) | Placement::Anywhere | Placement::Failover(_) => true,
        }
    }
}

impl Distribute {
    fn place(&self, endpoints: &[Arc<Endpoint>]) -> Levels {
        let mut places = by_locality(endpoints);
        if let Some(shares) = &self.shares {
            let share_of = |place: &Place| share_of(shares, &place.locality);
            let mut totals = vec![0u64; shares.len()];
            places.retain(|place| share_of(place).inspect(|share| totals[*share] += u64::from(place.weight)).is_some());
            for place in &mut places {
                if let Some(share) = share_of(place) {
                    let weight = u64::from(place.weight) * u64::from(shares[share].weight);
                    place.weight = weight.div_ceil(totals[share].max(1)) as u32;
                }
            }
        }
        Levels { levels: vec![places], weighted: true }
    }
}

/// Which share a place belongs to.
fn share_of(shares: &[PlaceShare], locality: &str) -> Option<usize> {
    let locality = Locality::parse(locality);
    shares.iter().position(|share| locality.matches(&share.to))
}

impl Failover {
    fn place(&self, endpoints: &[Arc<Endpoint>]) -> Levels {
        let mut by_level: BTreeMap<usize, Vec<Arc<Endpoint>>> = BTreeMap::new();
        for endpoint in endpoints {
            by_level.entry(self.level(endpoint)).or_default().push(Arc::clone(endpoint));
        }
        // Levels without endpoints are closed up; those beyond the last that can be share it.
        let mut levels: Vec<Vec<Arc<Endpoint>>> = Vec::with_capacity(by_level.len().min(MOST_LEVELS));
        for level in by_level.into_values() {
            match levels.get_mut(MOST_LEVELS - 1) {
                Some(last) => last.extend(level),
                None => levels.push(level),
            }
        }
        let levels = levels.iter().map(|level| by_locality(level)).collect();
        Levels { levels, weighted: self.weighted }
    }

    fn level(&self, endpoint: &Endpoint) -> usize {
        let level = self.label_level(endpoint);
        match &self.places {
            Some(places) => level * places.distances() + places.distance(Locality::parse(&endpoint.locality)),
            None => level,
        }
    }

    /// The number of labels from the first that differs on; what comes after it does not matter.
    fn label_level(&self, endpoint: &Endpoint) -> usize {
        let count = self.labels.len();
        let differs = |label: &FailoverLabel| label_of(endpoint, &label.name) != &*label.value;
        let network = self.labels.first().filter(|first| &*first.name == NETWORK_LABEL && !first.written);
        let (skipped, base) = match network {
            Some(first) if differs(first) => (1, count),
            _ => (0, 0),
        };
        let first = self.labels.iter().skip(skipped).position(differs);
        base + first.map_or(0, |first| count - skipped - first)
    }
}

/// The value of an endpoint's label, empty if it has none; where it is says its locality, if that says anything.
fn label_of<'e>(endpoint: &'e Endpoint, name: &str) -> &'e str {
    let locality = Locality::parse(&endpoint.locality);
    let part = match name {
        REGION_LABEL => locality.region,
        ZONE_LABEL => locality.zone,
        SUBZONE_LABEL => locality.subzone,
        _ => "",
    };
    if part.is_empty() { endpoint.labels.get(name).map_or("", String::as_str) } else { part }
}

/// The endpoints of each locality, in the order of their localities; each weighs as much as its endpoints.
fn by_locality(endpoints: &[Arc<Endpoint>]) -> Vec<Place> {
    let mut places: BTreeMap<&Arc<str>, Vec<Arc<Endpoint>>> = BTreeMap::new();
    for endpoint in endpoints {
        places.entry(&endpoint.locality).or_default().push(Arc::clone(endpoint));
    }
    let place = |(locality, endpoints): (&Arc<str>, Vec<Arc<Endpoint>>)| {
        let weight = endpoints.iter().fold(0u32, |sum, endpoint| sum.saturating_add(endpoint.weight));
        Place { locality: Arc::clone(locality), weight, endpoints }
    };
    places.into_iter().map(place).collect()
}
