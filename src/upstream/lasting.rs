//! What of a cluster outlives its settings and its endpoints.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};
use tokio::time::Instant;

use super::cluster::ClusterSettings;
use super::endpoint::{Address, Endpoint, EndpointConfig, EndpointState};
use super::endpoint_set::EndpointSet;
use super::limits::{Counts, LimitSettings, Limits};
use super::originals::Originals;
use super::outlier::Clock;
use super::round_robin::Positions;
use super::standing::{Bases, Basis};
use crate::dice::Draws;

/// So many times as long as it took to rebuild a set for health alone it is not rebuilt again.
const REST: u32 = 10;
/// Rests shorter than this are none.
const SHORTEST_REST: Duration = Duration::from_millis(1);
/// The longest rest: Envoy's `update_merge_window`.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// What outlives the settings and the endpoints of a cluster, as long as any cluster of its key is in use.
#[derive(Debug)]
pub(super) struct Lasting {
    /// Since when endpoints are looked after, and what ticks count from.
    origin: Instant,
    /// Before this tick no ejection begins.
    rest: AtomicU64,
    /// Grows with each change of health, so that each cluster of the key knows whether its set is of today.
    version: AtomicU64,
    memory: Mutex<Memory>,
}

impl Lasting {
    pub(super) fn new(draws: Draws) -> Self {
        let memory = Memory {
            states: HashMap::new(),
            positions: Positions::new(),
            counts: Arc::default(),
            limits: Weak::new(),
            originals: Weak::new(),
            clusters: 0,
            standing: 0,
            draws,
        };
        Self { origin: Instant::now(), rest: AtomicU64::new(0), version: AtomicU64::new(0), memory: Mutex::new(memory) }
    }

    /// For publications, which wait for each other.
    pub(super) fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For requests, which do not wait.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Memory>> {
        match self.memory.try_lock() {
            Ok(memory) => Some(memory),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(super) fn origin(&self) -> Instant {
        self.origin
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// The tick before which no ejection begins: at once, unless sets have taken long to build.
    pub(super) fn rest(&self) -> u64 {
        self.rest.load(Ordering::Relaxed)
    }

    pub(super) fn clock(&self) -> Clock {
        Clock { now: Instant::now(), origin: self.origin }
    }

    /// The health of an endpoint changed, under the lock.
    pub(super) fn health_changed(&self) {
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// A set was rebuilt for health alone, from `clock` on.
    pub(super) fn rest_after(&self, clock: Clock) {
        let rest = clock.now.elapsed().saturating_mul(REST).min(LONGEST_REST);
        if rest >= SHORTEST_REST {
            self.rest.store(self.tick(Instant::now() + rest), Ordering::Relaxed);
        }
    }

    /// In nanoseconds.
    pub(super) fn tick(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX - 1)
    }
}

/// The endpoint states by address, where rotations stand, the counts, and the chance of publications.
#[derive(Debug)]
pub(super) struct Memory {
    // Weak: a state lives as long as it is published or a request is on it.
    states: HashMap<Address, Weak<EndpointState>>,
    positions: Positions,
    counts: Arc<Counts>,
    /// Those of the last settings.
    limits: Weak<Limits>,
    originals: Weak<Originals>,
    /// How many there have been.
    clusters: u64,
    /// The number of the one that is published.
    standing: u64,
    draws: Draws,
}

impl Memory {
    /// The limits by `settings`, over the counts that there are.
    pub(super) fn limits(&mut self, settings: LimitSettings) -> Arc<Limits> {
        if let Some(limits) = self.limits.upgrade().filter(|limits| *limits.settings() == settings) {
            return limits;
        }
        let limits = Arc::new(Limits::new(settings, Arc::clone(&self.counts)));
        self.limits = Arc::downgrade(&limits);
        limits
    }

    /// Where requests led by themselves, as long as any cluster that passes through is in use.
    pub(super) fn originals(&mut self) -> Arc<Originals> {
        self.originals.upgrade().unwrap_or_else(|| {
            let originals = Arc::default();
            self.originals = Arc::downgrade(&originals);
            originals
        })
    }

    /// The number of a cluster that takes the place of those before.
    pub(super) fn next_cluster(&mut self) -> u64 {
        self.clusters += 1;
        self.clusters
    }

    /// The endpoints of cluster number `cluster`, whose addresses differ, with the states that are known of them.
    pub(super) fn endpoints(
        &mut self,
        cluster: u64,
        endpoints: Vec<EndpointConfig>,
        settings: &ClusterSettings,
        limits: &Arc<Limits>,
    ) -> Box<[Arc<Endpoint>]> {
        let mut published = Vec::with_capacity(endpoints.len());
        for config in endpoints {
            let state = self.state(&config.address);
            published.push(Arc::new(Endpoint::published(config, settings, limits, state)));
        }
        self.states.retain(|_, state| state.strong_count() > 0);
        // What is left of a cluster before has no say.
        if cluster == self.standing {
            self.tell(&published, |bases, basis| bases.now = basis);
        } else if cluster == self.clusters {
            self.tell(&published, |bases, basis| bases.next = basis);
        }
        published.into()
    }

    /// Has the connections kept that are of use to `published`, the endpoints of cluster number `cluster`, and no others.
    pub(super) fn stand(&mut self, cluster: u64, published: &[Arc<Endpoint>]) {
        if cluster > self.standing {
            self.standing = cluster;
            self.tell(published, |bases, basis| *bases = Bases { now: basis, next: None });
        }
    }

    /// Has `change` say of every endpoint that there is what it is among `published`.
    fn tell(&self, published: &[Arc<Endpoint>], change: impl Fn(&mut Bases, Option<Basis>)) {
        let known: HashMap<_, _> = published.iter().map(|endpoint| (endpoint.id, endpoint.basis())).collect();
        for state in self.states.values().filter_map(Weak::upgrade) {
            state.standing().change(|bases| change(bases, known.get(&state.id()).copied().cloned()));
        }
    }

    /// The set of `endpoints` by their health of this moment.
    pub(super) fn arrange(&mut self, settings: &ClusterSettings, endpoints: Box<[Arc<Endpoint>]>) -> EndpointSet {
        self.positions.sweep();
        EndpointSet::new(&settings.balancing, endpoints, &mut self.positions, &mut self.draws)
    }

    fn state(&mut self, address: &Address) -> Arc<EndpointState> {
        if let Some(state) = self.states.get(address).and_then(Weak::upgrade) {
            return state;
        }
        let state = Arc::new(EndpointState::new(address));
        self.states.insert(address.clone(), Arc::downgrade(&state));
        state
    }
}

#[cfg(all(test, not(mesh_loom)))]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[tokio::test(start_paused = true)]
    async fn sets_that_take_long_to_build_are_built_seldom() {
        for (took, rest) in [(0, 0), (20, 200), (90, 900), (5000, 1000)] {
            let lasting = Lasting::new(Dice::seeded(1).draws());
            let clock = lasting.clock();
            tokio::time::advance(Duration::from_millis(took)).await;
            lasting.rest_after(clock);
            let expected = if rest > 0 { lasting.tick(Instant::now() + Duration::from_millis(rest)) } else { 0 };
            assert_eq!(lasting.rest(), expected, "{took} ms");
        }
    }
}
