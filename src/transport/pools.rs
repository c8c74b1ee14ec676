//! The pools of one transport: per endpoint, and per host for requests that pass through.
//!
//! Both maps are replaced whole when a pool comes or goes, so a request only loads and looks up. A pool is made for an
//! endpoint and a type of request body, because hyper's connections know theirs; so one transport serves every type.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Upload;
use super::connect::Host;
use super::pool::{Kept, Pool};
use super::settings::Settings;
use crate::upstream::{Endpoint, EndpointId};

/// How often idle connections are looked at: an eighth of what they may be, within these.
const SWEEPS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

type Map<K> = HashMap<K, Arc<Entry>, RandomState>;
/// The pools of a host by port and body.
type Ports = Vec<(u16, TypeId, Arc<Entry>)>;

struct Entry {
    /// An `Arc<Pool<B>>`.
    pool: Box<dyn Kept>,
    /// Dead for hosts.
    endpoint: Weak<Endpoint>,
}

impl Entry {
    fn new<B: Upload>(settings: &Arc<Settings>, endpoint: Weak<Endpoint>) -> Arc<Self> {
        Arc::new(Self { pool: Box::new(Arc::new(Pool::<B>::new(settings.clone()))), endpoint })
    }

    fn pool<B: Upload>(&self) -> Option<Arc<Pool<B>>> {
        let pool: &dyn Any = &*self.pool;
        let pool = pool.downcast_ref::<Arc<Pool<B>>>()?;
        pool.touch();
        Some(pool.clone())
    }
}

/// What the clones of a transport share. Dropping the last closes what is idle and ends the sweeper.
pub(super) struct Inner {
    pub(super) settings: Arc<Settings>,
    endpoints: ArcSwap<Map<(EndpointId, TypeId)>>,
    hosts: ArcSwap<HashMap<Box<str>, Ports, RandomState>>,
    sweeper: OnceLock<AbortHandle>,
}

impl Inner {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            endpoints: ArcSwap::default(),
            hosts: ArcSwap::default(),
            sweeper: OnceLock::new(),
        }
    }

    pub(super) fn of_endpoint<B: Upload>(self: &Arc<Self>, endpoint: &Arc<Endpoint>) -> Arc<Pool<B>> {
        let key = (endpoint.id, TypeId::of::<B>());
        if let Some(pool) = self.endpoints.load().get(&key).and_then(|entry| entry.pool()) {
            return pool;
        }
        let entry = Entry::new::<B>(&self.settings, Arc::downgrade(endpoint));
        self.endpoints.rcu(|map| {
            let mut map = Map::clone(map);
            map.entry(key).or_insert_with(|| entry.clone());
            map
        });
        self.start_sweeper();
        // Another request may have been first. If both were swept again, the pool serves this request alone.
        let found = self.endpoints.load().get(&key).and_then(|entry| entry.pool());
        found.unwrap_or_else(|| Arc::new(Pool::new(self.settings.clone())))
    }

    pub(super) fn of_host<B: Upload>(self: &Arc<Self>, host: &Host) -> Arc<Pool<B>> {
        if let Some(pool) = self.find_host(host) {
            return pool;
        }
        let entry = Entry::new::<B>(&self.settings, Weak::new());
        self.hosts.rcu(|map| {
            let mut map = HashMap::clone(map);
            let ports = map.entry(host.name.clone()).or_default();
            if !ports.iter().any(|(port, body, _)| *port == host.port && *body == TypeId::of::<B>()) {
                ports.push((host.port, TypeId::of::<B>(), entry.clone()));
            }
            map
        });
        self.start_sweeper();
        self.find_host(host).unwrap_or_else(|| Arc::new(Pool::new(self.settings.clone())))
    }

    fn find_host<B: Upload>(&self, host: &Host) -> Option<Arc<Pool<B>>> {
        let hosts = self.hosts.load();
        let ports = hosts.get(&*host.name)?;
        ports.iter().filter(|(port, ..)| *port == host.port).find_map(|(_, _, entry)| entry.pool())
    }

    /// Closes what is idle, now and from now on.
    pub(super) fn close(&self) {
        self.settings.close();
        self.endpoints.load().values().for_each(|entry| entry.pool.clear());
        self.hosts.load().values().flatten().for_each(|(_, _, entry)| entry.pool.clear());
    }

    /// One task looks for connections that were idle for too long. Checkouts look too, but not where none come.
    fn start_sweeper(self: &Arc<Self>) {
        if self.sweeper.get().is_some() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let (shortest, longest) = SWEEPS;
        let period = self.settings.idle_timeout.map_or(longest, |timeout| (timeout / 8).clamp(shortest, longest));
        let inner = Arc::downgrade(self);
        let task = runtime.spawn(async move {
            loop {
                tokio::time::sleep(period).await;
                let Some(inner) = inner.upgrade() else { return };
                inner.sweep();
            }
        });
        if let Err(second) = self.sweeper.set(task.abort_handle()) {
            second.abort();
        }
    }

    fn sweep(&self) {
        let now = Instant::now();
        // An endpoint of the same identity is made anew when its weight changes, so a dead one only counts if
        // nobody asked for its pool in the meantime.
        let stays = |entry: &Entry| entry.pool.sweep(now) || entry.endpoint.strong_count() > 0;
        let gone: Vec<_> =
            self.endpoints.load().iter().filter(|(_, entry)| !stays(entry)).map(|(key, _)| *key).collect();
        if !gone.is_empty() {
            self.endpoints.rcu(|map| {
                let mut map = Map::clone(map);
                map.retain(|key, _| !gone.contains(key));
                map
            });
        }
        let stays = |entry: &Entry| entry.pool.sweep(now) || !entry.pool.is_unused();
        let gone: Vec<_> = self.hosts.load().values().flatten().map(|(_, _, entry)| entry.clone()).collect();
        let gone: Vec<_> = gone.into_iter().filter(|entry| !stays(entry)).collect();
        if !gone.is_empty() {
            self.hosts.rcu(|map| {
                let mut map = HashMap::clone(map);
                map.retain(|_, ports| {
                    ports.retain(|(_, _, entry)| !gone.iter().any(|gone| Arc::ptr_eq(gone, entry)));
                    !ports.is_empty()
                });
                map
            });
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(sweeper) = self.sweeper.get() {
            sweeper.abort();
        }
    }
}
