//! The endpoints of a cluster at one moment, on their levels, with the balancers built for them.

use std::sync::Arc;

use foldhash::{HashSet, HashSetExt};

use super::balancer::{Balancing, Build, List};
use super::choice::Choice;
use super::endpoint::{Endpoint, EndpointConfig, EndpointId, Picked};
use super::locality::{Levels, Place};
use super::priority::{Count, Priorities};
use super::round_robin::{Positions, RoundRobin, Turns};
use crate::dice::Draws;

/// How often a pick is made again if it fell on an endpoint already tried
/// (Envoy's `host_selection_retry_max_attempts` as Istio sets it).
const PICKS_AGAIN: usize = 5;

/// Envoy's overprovisioning factor, for places.
const OVERPROVISIONING: f64 = 1.4;

/// The endpoints of a cluster at one moment, built once per change and published in one step.
#[derive(Debug)]
pub struct EndpointSet {
    endpoints: Box<[Arc<Endpoint>]>,
    by_hash: bool,
    priorities: Priorities,
    levels: Box<[Level]>,
}

/// What one priority is picked from.
#[derive(Debug)]
struct Level {
    lists: Box<[List]>,
    /// Which list, where there are several: one for each place.
    places: Option<RoundRobin>,
    /// Everyone on it, for finding out who was tried.
    members: Box<[EndpointId]>,
}

impl EndpointSet {
    pub(super) fn new(
        settings: &Balancing,
        endpoints: Box<[Arc<Endpoint>]>,
        positions: &mut Positions,
        draws: &mut Draws,
    ) -> Self {
        let Levels { levels, weighted } = settings.placement.place(&endpoints);
        let counts: Vec<Count> = levels.iter().map(|places| count(places)).collect();
        let priorities = Priorities::new(&counts, settings.panic_threshold);
        let mut build = Build { settings, positions, draws };
        let level = |(number, places): (usize, Vec<Place>)| {
            Level::new(&mut build, number, places, weighted, priorities.panics(number))
        };
        let levels = levels.into_iter().enumerate().map(level).collect();
        Self { endpoints, by_hash: settings.policy.is_by_hash(), priorities, levels }
    }

    /// Every endpoint, in the order it was published, those that are not healthy included.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// See [`Cluster::pick`](super::Cluster::pick), for this moment's endpoints.
    pub fn pick(&self, draws: &mut Draws, choice: &Choice<'_>) -> Option<Picked> {
        // One number for all picks of a choice: what tells them apart is which pick it is.
        let hash = if self.by_hash { choice.hash.unwrap_or_else(|| draws.next_u64()) } else { 0 };
        let mut endpoint = self.choose(draws, hash, choice, 0)?;
        if choice.avoid_tried && choice.tried.contains(&endpoint.id) {
            endpoint = self.choose_again(draws, hash, choice)?;
        }
        Some(Picked::new(Arc::clone(endpoint)))
    }

    /// One that was not tried, if a few more picks find any.
    #[cold]
    fn choose_again(&self, draws: &mut Draws, hash: u64, choice: &Choice<'_>) -> Option<&Arc<Endpoint>> {
        let mut attempt = 1;
        loop {
            let endpoint = self.choose(draws, hash, choice, attempt)?;
            if attempt == PICKS_AGAIN || !choice.tried.contains(&endpoint.id) {
                return Some(endpoint);
            }
            attempt += 1;
        }
    }

    /// Pick number `attempt` of one choice.
    fn choose(&self, draws: &mut Draws, hash: u64, choice: &Choice<'_>, attempt: usize) -> Option<&Arc<Endpoint>> {
        self.level(draws, hash, choice)?.choose(draws, hash, attempt)
    }

    fn level(&self, draws: &mut Draws, hash: u64, choice: &Choice<'_>) -> Option<&Level> {
        let number = match &*self.levels {
            [] | [_] => 0,
            _ if self.by_hash => self.priorities.at(hash),
            _ if choice.remote_localities => {
                let level_of = |id: &EndpointId| self.levels.iter().position(|level| level.members.contains(id));
                self.priorities.away_from(choice.tried.iter().map(level_of), draws.next_u64())
            }
            _ => self.priorities.at(draws.next_u64()),
        };
        self.levels.get(number)
    }

    /// Whether publishing `endpoints` would change nothing.
    pub(super) fn is_as(&self, endpoints: &[EndpointConfig]) -> bool {
        self.endpoints.len() == endpoints.len()
            && self.endpoints.iter().zip(endpoints).all(|(endpoint, config)| endpoint.is_as(config))
    }
}

impl Level {
    /// The lists of one level. In panic everyone is on one list, healthy or not; by hash everyone is on one list, on
    /// which places have their parts.
    fn new(build: &mut Build<'_>, number: usize, mut places: Vec<Place>, weighted: bool, panic: bool) -> Self {
        let members = places.iter().flat_map(|place| &place.endpoints).map(|endpoint| endpoint.id).collect();
        let alone = |list, members| Self { lists: Box::new([list]), places: None, members };
        let sizes: Vec<usize> = places.iter().map(|place| place.endpoints.len()).collect();
        if !panic {
            places.iter_mut().for_each(|place| place.endpoints.retain(|endpoint| endpoint.is_healthy()));
        }
        if weighted && build.settings.policy.is_by_hash() {
            let sum: f64 = places.iter().map(|place| f64::from(place.weight)).sum();
            let parts: Vec<_> = places.iter().map(|place| (f64::from(place.weight) / sum, &place.endpoints)).collect();
            return alone(build.list(&parts, Turns::Level(number)), members);
        }
        if !weighted || panic || places.len() < 2 {
            let hosts = places.into_iter().flat_map(|place| place.endpoints).collect();
            return alone(build.list(&[(1.0, &hosts)], Turns::Level(number)), members);
        }
        let weights: Vec<f64> = places.iter().zip(&sizes).map(|(place, size)| effective(place, *size)).collect();
        let position = build.positions.get(Turns::Places(number), build.draws);
        // Those of which nobody is healthy have no turn.
        let open = || weights.iter().filter(|weight| **weight > 0.0);
        let order = RoundRobin::new(&whole_weights(open().copied().collect()), position);
        let places = places.into_iter().zip(&weights).filter(|(_, weight)| **weight > 0.0);
        let lists =
            places.map(|(place, _)| build.list(&[(1.0, &place.endpoints)], Turns::Place(number, place.locality)));
        Self { lists: lists.collect(), places: Some(order), members }
    }

    fn choose(&self, draws: &mut Draws, hash: u64, attempt: usize) -> Option<&Arc<Endpoint>> {
        let list = match &self.places {
            Some(places) if self.lists.len() > 1 => self.lists.get(places.choose())?,
            _ => self.lists.first()?,
        };
        list.choose(draws, hash, attempt)
    }
}

/// How many endpoints a level has.
fn count(places: &[Place]) -> Count {
    let endpoints = || places.iter().flat_map(|place| &place.endpoints);
    Count { healthy: endpoints().filter(|endpoint| endpoint.is_healthy()).count(), all: endpoints().count() }
}

/// What a place of `size` endpoints, of which it has kept the healthy ones, weighs.
fn effective(place: &Place, size: usize) -> f64 {
    let available = place.endpoints.len() as f64 / size.max(1) as f64;
    f64::from(place.weight) * (OVERPROVISIONING * available).min(1.0)
}

/// Weights as whole numbers: as they are, if they are whole, else as millionths of the greatest.
fn whole_weights(weights: Vec<f64>) -> Vec<u32> {
    if weights.iter().all(|weight| weight.fract() == 0.0) {
        return weights.iter().map(|weight| *weight as u32).collect();
    }
    let greatest = weights.iter().copied().fold(0.0, f64::max);
    weights.iter().map(|weight| ((weight / greatest * 1e6).round() as u32).max(1)).collect()
}

/// One address is one host to Envoy: the first endpoint that names it stands.
#[expect(clippy::mutable_key_type, reason = "addresses are compared by what never changes of them: name and port")]
pub(super) fn first_of_each_address(mut endpoints: Vec<EndpointConfig>) -> Vec<EndpointConfig> {
    let mut seen = HashSet::with_capacity(endpoints.len());
    let firsts: Vec<bool> = endpoints.iter().map(|endpoint| seen.insert(&endpoint.address)).collect();
    let mut first = firsts.into_iter();
    endpoints.retain(|_| first.next().unwrap_or(false));
    endpoints
}
