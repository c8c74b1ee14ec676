//! Finds again, at each publication, the clusters of the one before.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use foldhash::fast::FixedState;

use super::cluster::{Cluster, ClusterKey, ClusterSettings};
use super::endpoint::EndpointConfig;
use super::lasting::Lasting;
use crate::dice::Dice;

/// The clusters in use, by key. Asked on publication only, never on the way of a request.
///
/// Clusters are held weakly: one that no snapshot names any more is forgotten with the last snapshot that did.
/// A check that publishes nothing uses a registry of its own.
///
/// The random start of ROUND_ROBIN and the phases of a weighted LEAST_REQUEST come from one draw of the dice, mixed
/// with the cluster's key: with seeded dice they repeat, whatever other clusters there are.
#[derive(Debug)]
pub struct Registry {
    seed: u64,
    clusters: Mutex<Clusters>,
}

#[derive(Debug, Default)]
struct Clusters {
    by_key: HashMap<ClusterKey, Known>,
    // How many there may be before the forgotten ones are swept: twice those alive at the last sweep.
    sweep_at: usize,
}

/// The last cluster of a key, which may be given up before it is published, and what all of the key have in common.
#[derive(Debug)]
struct Known {
    cluster: Weak<Cluster>,
    lasting: Weak<Lasting>,
}

impl Known {
    fn is_in_use(&self) -> bool {
        self.lasting.strong_count() > 0
    }
}

impl Registry {
    /// An empty registry. It takes the draws of one request.
    pub fn new(dice: &Dice) -> Self {
        Self { seed: dice.draws().next_u64(), clusters: Mutex::default() }
    }

    /// The cluster of `key` with `settings`, now having `endpoints`.
    ///
    /// If it is in use with equal settings, that same cluster is returned and its endpoints are replaced as by
    /// [`Cluster::publish`]. With other settings it is a new cluster; its endpoints keep the identity and the counts
    /// they had under this key, and ROUND_ROBIN goes on where it stood.
    pub fn cluster(&self, key: ClusterKey, settings: ClusterSettings, endpoints: Vec<EndpointConfig>) -> Arc<Cluster> {
        let (cluster, endpoints) = self.prepare(key, settings, endpoints);
        endpoints.into_iter().for_each(|endpoints| cluster.publish_anew(endpoints));
        cluster.stand();
        cluster
    }

    /// The same for a cluster that is not published yet: connections of the one before are kept until this one
    /// [stands](Cluster::stand), and one that is in use goes on as it is until it is given the endpoints that come back.
    pub(crate) fn prepare(
        &self,
        key: ClusterKey,
        settings: ClusterSettings,
        endpoints: Vec<EndpointConfig>,
    ) -> (Arc<Cluster>, Option<Vec<EndpointConfig>>) {
        let mut clusters = self.lock();
        let known = clusters.by_key.get(&key);
        if let Some(cluster) = known.and_then(|known| known.cluster.upgrade())
            && *cluster.settings() == settings
        {
            return (cluster, Some(endpoints));
        }
        let lasting = known.and_then(|known| known.lasting.upgrade());
        let lasting = lasting.unwrap_or_else(|| Arc::new(Lasting::new(self.dice(&key).draws())));
        let cluster = Arc::new(Cluster::new(key.clone(), settings, lasting, endpoints));
        clusters.insert(key, &cluster);
        (cluster, None)
    }

    /// The clusters in use, in the order of their keys.
    pub fn clusters(&self) -> Vec<Arc<Cluster>> {
        let mut clusters: Vec<_> = self.lock().by_key.values().filter_map(|known| known.cluster.upgrade()).collect();
        clusters.sort_by(|one, other| one.key.cmp(&other.key));
        clusters
    }

    /// Forgets the clusters whose keys `keep` refuses: asked for again, they start anew. Those in use go on.
    pub fn retain(&self, mut keep: impl FnMut(&ClusterKey) -> bool) {
        self.lock().by_key.retain(|key, known| known.is_in_use() && keep(key));
    }

    fn lock(&self) -> MutexGuard<'_, Clusters> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dice(&self, key: &ClusterKey) -> Dice {
        Dice::seeded(FixedState::with_seed(self.seed).hash_one(key))
    }
}

impl Clusters {
    fn insert(&mut self, key: ClusterKey, cluster: &Arc<Cluster>) {
        if self.by_key.len() >= self.sweep_at {
            self.by_key.retain(|_, known| known.is_in_use());
            self.sweep_at = (self.by_key.len() * 2).max(64);
        }
        let lasting = Arc::downgrade(cluster.lasting());
        self.by_key.insert(key, Known { cluster: Arc::downgrade(cluster), lasting });
    }
}
