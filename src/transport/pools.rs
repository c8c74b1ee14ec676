//! The pools of one transport: per endpoint, and per host for requests that pass through.
//!
//! An endpoint has a pool for each type of request body, because hyper's connections know theirs, and for each way to
//! connect: other settings, another name in the TLS handshake and another client in the PROXY header are other
//! connections. Once its endpoint has left its cluster, or other settings or another limit of connections hold for it, a
//! pool closes what is idle in it at once and finishes the rest: those connections count in the cluster's limit. The
//! usual pool of an endpoint stays until then; the others, of which clients can make any number, as long as they are of
//! use: those for one client until its connection ends, and where there are too many, those asked for most of late.
//!
//! Both maps are replaced whole when a pool comes or goes, so a request only loads and looks up.

use std::any::{Any, TypeId};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Upload;
use super::connect::Host;
use super::pool::{Kept, Pool};
use super::settings::Settings;
use super::terms::{Terms, Variant};
use crate::dice::Draws;
use crate::upstream::{Basis, Endpoint, EndpointId, Standing};

/// Idle connections are looked at every eighth of the shortest time that they may have, within these.
const SWEEPS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// How long after its client a pool goes at most.
const AFTER_CLIENT: Duration = Duration::from_secs(1);

/// Of pools that one client had made by the hosts it asks for, how many are kept beside those in use; they go with it.
pub(super) const KEPT_FOR_CLIENT: usize = 128;

/// The endpoint, the type of body, and the hash of the [`Variant`], which the usual one has none of.
type Key = (EndpointId, TypeId, Option<u64>);
/// Of one key there is more than one pool while requests with other settings are under way.
type Map = HashMap<Key, Vec<Arc<Entry>>, RandomState>;
/// The pools of a host by port, security and body.
type Ports = Vec<(u16, bool, TypeId, Arc<Entry>)>;

struct Entry {
    /// An `Arc<Pool<B>>`.
    pool: Box<dyn Kept>,
    /// What it was made by, and what is published now; none for hosts.
    endpoint: Option<(Basis, Arc<Standing>)>,
    variant: Variant,
    /// Gone when its client's connection is, if that is known.
    client_open: Option<Weak<()>>,
    /// The later the higher.
    number: u64,
}

impl Entry {
    fn of_endpoint<B: Upload>(
        settings: &Arc<Settings>,
        endpoint: &Arc<Endpoint>,
        variant: Variant,
        client_open: Option<Weak<()>>,
        number: u64,
    ) -> Arc<Self> {
        let terms = Terms::of_endpoint(settings, endpoint.connection(), &variant);
        let pool = Box::new(Arc::new(Pool::<B>::new(settings.clone(), terms)));
        let endpoint = Some((endpoint.basis().clone(), endpoint.standing().clone()));
        Arc::new(Self { pool, endpoint, variant, client_open, number })
    }

    fn of_host<B: Upload>(settings: &Arc<Settings>, host: &Host) -> Arc<Self> {
        let pool = Box::new(Arc::new(Pool::<B>::new(settings.clone(), host.terms(settings))));
        Arc::new(Self { pool, endpoint: None, variant: Variant::default(), client_open: None, number: 0 })
    }

    /// Whether it is what is looked for, one of the same [`Key`].
    fn is_for(&self, endpoint: &Endpoint, variant: &Variant) -> bool {
        let same = self.endpoint.as_ref().is_some_and(|(basis, _)| basis == endpoint.basis());
        same && (variant.is_usual() || self.variant == *variant && self.has_client())
    }

    /// Whether whom it is for is still there, as far as is known.
    fn has_client(&self) -> bool {
        self.client_open.as_ref().is_none_or(|open| open.strong_count() > 0)
    }

    /// Among whom it is counted, if clients can make any number of its like: those for one client, or all others.
    fn crowd(&self) -> Option<Crowd> {
        let by_host = self.variant.name.is_some() || self.variant.https.is_some();
        match &self.client_open {
            None => (!self.variant.is_usual()).then_some(Crowd(0)),
            Some(open) => by_host.then(|| Crowd(open.as_ptr().addr())),
        }
    }

    /// Lets go of its connections if others are published now, or none; whether it may keep them.
    fn look(&self) -> bool {
        let has_client = self.has_client();
        let keep = |keeps| self.pool.keep(keeps && has_client);
        let keeps = self.endpoint.as_ref().is_none_or(|(basis, standing)| standing.tell(basis, keep)) && has_client;
        if !keeps {
            self.pool.clear();
        }
        keeps
    }

    fn pool<B: Upload>(&self) -> Option<Arc<Pool<B>>> {
        let pool: &dyn Any = &*self.pool;
        pool.downcast_ref::<Arc<Pool<B>>>().cloned()
    }
}

/// Where the token of a client's connection is; 0: there is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Crowd(usize);

impl Crowd {
    fn kept(self, settings: &Settings) -> usize {
        if self == Self(0) { settings.kept } else { KEPT_FOR_CLIENT }
    }
}

/// What the clones of a transport share. Dropping the last closes what is idle and ends the sweeper.
pub(super) struct Inner {
    pub(super) settings: Arc<Settings>,
    endpoints: ArcSwap<Map>,
    hosts: ArcSwap<HashMap<Box<str>, Ports, RandomState>>,
    hasher: RandomState,
    /// The number of the next pool.
    next: AtomicU64,
    sweeper: OnceLock<AbortHandle>,
    /// Milliseconds between two looks.
    period: AtomicU64,
    /// Notified when that becomes shorter, when other endpoints or settings are published, and when there are too many
    /// pools.
    hurry: Arc<Notify>,
}

impl Inner {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            endpoints: ArcSwap::default(),
            hosts: ArcSwap::default(),
            hasher: RandomState::default(),
            next: AtomicU64::new(0),
            sweeper: OnceLock::new(),
            period: AtomicU64::new(u64::MAX),
            hurry: Arc::default(),
        }
    }

    /// The pool of an endpoint, as its settings are now; `client_open` is as of [`Aim`](crate::service::Aim).
    pub(super) fn of_endpoint<B: Upload>(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        variant: Variant,
        client_open: Option<Weak<()>>,
    ) -> Arc<Pool<B>> {
        let hash = (!variant.is_usual()).then(|| self.hasher.hash_one(&variant));
        let key = (endpoint.id, TypeId::of::<B>(), hash);
        if let Some(pool) = self.find(&key, endpoint, &variant) {
            pool.asked.again();
            return pool;
        }
        endpoint.standing().watch(&self.hurry);
        let looks = client_open.as_ref().map(|_| AFTER_CLIENT);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Entry::of_endpoint::<B>(&self.settings, endpoint, variant.clone(), client_open, number);
        self.endpoints.rcu(|map| {
            let mut map = Map::clone(map);
            let entries = map.entry(key).or_default();
            if !entries.iter().any(|entry| entry.is_for(endpoint, &variant)) {
                entries.push(entry.clone());
            }
            map
        });
        // It may be late already. What is published from now on the sweeper is told of, who finds it.
        entry.look();
        // Another request may have been first. If both were swept again, the pool serves this request alone.
        let pool = self.find(&key, endpoint, &variant).or_else(|| entry.pool()).unwrap_or_else(|| {
            let terms = Terms::of_endpoint(&self.settings, endpoint.connection(), &variant);
            Arc::new(Pool::new(self.settings.clone(), terms))
        });
        self.start_sweeper(pool.terms.period().into_iter().chain(looks).min());
        if entry.crowd().is_some_and(|crowd| self.is_crowded(crowd)) {
            self.hurry.notify_one();
        }
        pool
    }

    /// Whether there are more pools than are kept.
    fn is_crowded(&self, crowd: Crowd) -> bool {
        let endpoints = self.endpoints.load();
        let idle = endpoints.values().flatten().filter(|entry| entry.crowd() == Some(crowd) && !entry.pool.is_busy());
        idle.count() > crowd.kept(&self.settings)
    }

    fn find<B: Upload>(&self, key: &Key, endpoint: &Endpoint, variant: &Variant) -> Option<Arc<Pool<B>>> {
        let endpoints = self.endpoints.load();
        endpoints.get(key)?.iter().find(|entry| entry.is_for(endpoint, variant))?.pool()
    }

    pub(super) fn of_host<B: Upload>(self: &Arc<Self>, host: &Host) -> Arc<Pool<B>> {
        if let Some(pool) = self.find_host(host) {
            pool.asked.again();
            return pool;
        }
        let entry = Entry::of_host::<B>(&self.settings, host);
        let same = |(port, secure, body, _): &(u16, bool, TypeId, Arc<Entry>)| {
            *port == host.port && *secure == host.secure && *body == TypeId::of::<B>()
        };
        self.hosts.rcu(|map| {
            let mut map = HashMap::clone(map);
            let ports = map.entry(host.name.clone()).or_default();
            if !ports.iter().any(same) {
                ports.push((host.port, host.secure, TypeId::of::<B>(), entry.clone()));
            }
            map
        });
        let made = || Arc::new(Pool::new(self.settings.clone(), host.terms(&self.settings)));
        let pool = self.find_host(host).or_else(|| entry.pool()).unwrap_or_else(made);
        self.start_sweeper(pool.terms.period());
        pool
    }

    fn find_host<B: Upload>(&self, host: &Host) -> Option<Arc<Pool<B>>> {
        let hosts = self.hosts.load();
        let ports = hosts.get(&*host.name)?.iter();
        ports
            .filter(|(port, secure, ..)| (*port, *secure) == (host.port, host.secure))
            .find_map(|(.., entry)| entry.pool())
    }

    /// Closes what is idle, now and from now on.
    pub(super) fn close(&self) {
        self.settings.close();
        self.endpoints.load().values().flatten().for_each(|entry| entry.pool.clear());
        self.hosts.load().values().flatten().for_each(|(.., entry)| entry.pool.clear());
    }

    /// One task looks for connections that were idle for too long, as often as `period` asks for. Checkouts look too,
    /// but not where none come.
    fn start_sweeper(self: &Arc<Self>, period: Option<Duration>) {
        let (shortest, longest) = SWEEPS;
        let period = period.map_or(longest, |period| period.clamp(shortest, longest));
        let period = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        if self.period.fetch_min(period, Ordering::Relaxed) > period {
            self.hurry.notify_one();
        }
        if self.sweeper.get().is_some() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let (inner, hurry) = (Arc::downgrade(self), self.hurry.clone());
        let task = runtime.spawn(async move {
            let (mut period, mut last, mut draws) = (period, Instant::now(), Draws::default());
            loop {
                let is_due = tokio::select! {
                    () = tokio::time::sleep_until(last + Duration::from_millis(period)) => true,
                    () = hurry.notified() => false,
                };
                let Some(inner) = inner.upgrade() else { return };
                if is_due {
                    last = Instant::now();
                    inner.sweep(last);
                }
                inner.drop_gone(&mut draws);
                period = inner.period.load(Ordering::Relaxed);
            }
        });
        if let Err(second) = self.sweeper.set(task.abort_handle()) {
            second.abort();
        }
    }

    /// Lets go of connections that nobody needs.
    fn sweep(&self, now: Instant) {
        self.endpoints.load().values().flatten().for_each(|entry| entry.pool.sweep(now));
        self.sweep_hosts(now);
    }

    /// Lets go of the pools that are no longer published or of use, and of those that are too many.
    fn drop_gone(&self, draws: &mut Draws) {
        let stays = |entry: &Arc<Entry>| {
            let keeps = entry.look();
            let is_of_use = || entry.variant.is_usual() || !entry.pool.is_unused();
            entry.has_client() && entry.pool.asked().often() > 0 || keeps && is_of_use()
        };
        let endpoints = self.endpoints.load_full();
        let mut gone: Vec<_> = endpoints.values().flatten().filter(|entry| !stays(entry)).cloned().collect();
        gone.extend(excess(endpoints.values().flatten(), &self.settings, draws));
        if !gone.is_empty() {
            let gone = Gone::new(&gone);
            self.endpoints.rcu(|map| {
                let mut map = Map::clone(map);
                map.retain(|_, entries| {
                    entries.retain(|entry| !gone.has(entry));
                    !entries.is_empty()
                });
                map
            });
        }
    }

    fn sweep_hosts(&self, now: Instant) {
        let stays = |entry: &Entry| {
            entry.pool.sweep(now);
            entry.pool.asked().often() > 0 || !entry.pool.is_unused()
        };
        let gone: Vec<_> = self.hosts.load().values().flatten().map(|(.., entry)| entry.clone()).collect();
        let gone: Vec<_> = gone.into_iter().filter(|entry| !stays(entry)).collect();
        if !gone.is_empty() {
            let gone = Gone::new(&gone);
            self.hosts.rcu(|map| {
                let mut map = HashMap::clone(map);
                map.retain(|_, ports| {
                    ports.retain(|(.., entry)| !gone.has(entry));
                    !ports.is_empty()
                });
                map
            });
        }
    }
}

/// Of the pools of which there are too many those that go: of those that nobody uses now any of the quarter that was
/// asked for least, as [`Asked`](super::asked::Asked) counts; among equals the newest are in it.
///
/// So of hosts that have long been asked for once after each sweep nobody closes the other three quarters who brings
/// others, each for one moment and three requests at most; with two requests each, nor of those asked for after every
/// second sweep. A host that comes late has as long a chance as any in that quarter to be asked for again, which lifts
/// it out: five times more before the next sweep, or then. And of hosts that are asked for in turn, some more than are
/// kept, most are still there: to drop the newest would let no other in, to drop the oldest would drop each before its
/// turn.
fn excess<'a>(
    entries: impl Iterator<Item = &'a Arc<Entry>>,
    settings: &Settings,
    draws: &mut Draws,
) -> Vec<Arc<Entry>> {
    let rank = |entry: &Entry| Some((entry.crowd()?, Reverse(entry.pool.asked().often()), entry.number));
    let idle = entries.filter(|entry| !entry.pool.is_busy());
    // Read once: requests go on asking.
    let mut ranked: Vec<_> = idle.filter_map(|entry| Some((rank(entry)?, entry))).collect();
    ranked.sort_unstable_by_key(|(rank, _)| *rank);
    let mut gone = Vec::new();
    for crowd in ranked.chunk_by(|((one, ..), _), ((other, ..), _)| one == other) {
        let kept = crowd.first().map_or(0, |((of, ..), _)| of.kept(settings));
        let mut least: Vec<_> = crowd.iter().skip(kept - kept / 4).collect();
        for _ in kept..crowd.len() {
            let (_, entry) = least.swap_remove(draws.below(least.len() as u64) as usize);
            gone.push(Arc::clone(entry));
        }
    }
    gone
}

/// Entries that are to go, found by where they are: there may be as many as clients.
struct Gone<'a> {
    addresses: HashSet<*const Entry, RandomState>,
    /// Kept until then, so that nothing else comes to be there.
    _entries: &'a [Arc<Entry>],
}

impl<'a> Gone<'a> {
    fn new(entries: &'a [Arc<Entry>]) -> Self {
        Self { addresses: entries.iter().map(Arc::as_ptr).collect(), _entries: entries }
    }

    fn has(&self, entry: &Arc<Entry>) -> bool {
        self.addresses.contains(&Arc::as_ptr(entry))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(sweeper) = self.sweeper.get() {
            sweeper.abort();
        }
    }
}
