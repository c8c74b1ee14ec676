//! The task that looks names up: what a snapshot needs, when it is due.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::resolve::{Answer, Resolver};
use crate::mesh::{Mesh, NamesChanges, NamesClaim, WeakMesh};
use crate::options::DnsLookupFamily;

/// How long an answer without a TTL holds (the default of Envoy's `dns_refresh_rate`).
const WITHOUT_TTL: Duration = Duration::from_secs(5);
/// How long an answer holds at least (Envoy's `dns_min_refresh_rate`).
const SHORTEST: Duration = Duration::from_secs(1);
/// The shortest `dns_refresh_rate` there is, as Istio's validation has it.
const LEAST: Duration = Duration::from_millis(1);
/// How long a look-up may take.
const LONGEST_LOOKUP: Duration = Duration::from_secs(30);
/// How many look-ups there are at a time.
const AT_A_TIME: usize = 64;

/// Looks up the names of one mesh.
pub(super) struct Driver {
    mesh: WeakMesh,
    versions: watch::Receiver<u64>,
    awaited: NamesChanges,
    resolver: Resolver,
    gate: Arc<Semaphore>,
    asked: HashMap<Arc<str>, Asked>,
    lookups: JoinSet<Looked>,
}

/// A name that is looked up, or will be when it is due.
struct Asked {
    lookup: AbortHandle,
    /// Whether the last look-up failed, which is told once.
    failing: bool,
}

/// A look-up that ended.
struct Looked {
    name: Arc<str>,
    answer: io::Result<Answer>,
}

impl Driver {
    pub(super) fn new(mesh: &Mesh, resolver: Resolver) -> Self {
        Self {
            mesh: mesh.downgrade(),
            versions: mesh.subscribe(),
            awaited: mesh.awaited_names(),
            resolver,
            gate: Arc::new(Semaphore::new(AT_A_TIME)),
            asked: HashMap::new(),
            lookups: JoinSet::new(),
        }
    }

    /// Looks names up until the last handle of the mesh is dropped.
    pub(super) async fn run(mut self, claim: Arc<NamesClaim>) {
        let mut open = self.follow();
        while open.is_some() {
            open = tokio::select! {
                changed = self.versions.changed() => match changed {
                    Ok(()) => self.follow(),
                    Err(_) => None,
                },
                changed = self.awaited.changed() => match changed {
                    Ok(()) => self.follow(),
                    Err(_) => None,
                },
                Some(looked) = self.lookups.join_next_with_id() => match looked {
                    Ok((lookup, looked)) => self.take(lookup, looked),
                    Err(ended) => self.ended(&ended),
                },
            };
        }
        drop(claim);
    }

    /// Asks for what the snapshot, or one to come, needs and for nothing else. `None` if the mesh is gone.
    pub(super) fn follow(&mut self) -> Option<()> {
        let mesh = self.mesh.upgrade()?;
        let (names, family) = (mesh.needed_names(), mesh.options().dns_lookup_family);
        let needed: Vec<Arc<str>> = names.iter().map(|name| name.name().clone()).collect();
        self.asked.retain(|name, asked| {
            let kept = needed.binary_search(name).is_ok();
            if !kept {
                asked.lookup.abort();
            }
            kept
        });
        for name in needed {
            if !self.asked.contains_key(&name) {
                let lookup = self.ask(name.clone(), family, Duration::ZERO);
                self.asked.insert(name, Asked { lookup, failing: false });
            }
        }
        Some(())
    }

    fn ask(&mut self, name: Arc<str>, family: DnsLookupFamily, after: Duration) -> AbortHandle {
        let (resolver, gate) = (self.resolver.clone(), self.gate.clone());
        self.lookups.spawn(async move {
            sleep(after).await;
            let _turn = gate.acquire().await;
            let answer = timeout(LONGEST_LOOKUP, resolver.ask(name.clone(), family)).await;
            Looked { name, answer: answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) }
        })
    }

    /// A look-up that ended without saying how: a resolver's panic is no answer, and its name is asked for again.
    fn ended(&mut self, ended: &JoinError) -> Option<()> {
        let asked = self.asked.iter().find(|(_, asked)| ended.is_panic() && asked.lookup.id() == ended.id());
        match asked.map(|(name, _)| name.clone()) {
            Some(name) => {
                self.take(ended.id(), Looked { name, answer: Err(io::Error::other("the resolver panicked")) })
            }
            // A name that is not needed any more.
            None => Some(()),
        }
    }

    /// Publishes an answer, and asks again when it is due.
    ///
    /// A look-up may end before it is aborted. If its name was needed again when that is seen, another one is under
    /// way, and this one is not gone on with.
    fn take(&mut self, lookup: Id, Looked { name, answer }: Looked) -> Option<()> {
        let mesh = self.mesh.upgrade()?;
        let options = mesh.options();
        let after = pause(&answer, options.dns_refresh_rate);
        let failing = answer.is_err();
        let Some(asked) = self.asked.get_mut(&name).filter(|asked| asked.lookup.id() == lookup) else {
            return Some(());
        };
        match &answer {
            Err(error) if !asked.failing => tracing::warn!(%name, %error, "a name cannot be looked up"),
            Err(_) => {}
            Ok(answer) => tracing::debug!(%name, addresses = ?answer.addresses, ttl = ?answer.ttl, "looked up"),
        }
        asked.failing = failing;
        let addresses = answer.ok().map(|answer| options.dns_lookup_family.choose(answer.addresses));
        mesh.publish_addresses(&name, addresses);
        let lookup = self.ask(name.clone(), options.dns_lookup_family, after);
        self.asked.insert(name, Asked { lookup, failing });
        Some(())
    }
}

/// How long an answer holds; `otherwise` says how long none does.
fn pause(answer: &io::Result<Answer>, otherwise: Duration) -> Duration {
    let otherwise = otherwise.max(LEAST);
    match answer {
        Err(_) => otherwise,
        Ok(answer) if answer.addresses.is_empty() || answer.ttl == Some(Duration::ZERO) => otherwise,
        Ok(Answer { ttl: Some(ttl), .. }) => (*ttl).max(SHORTEST),
        Ok(Answer { ttl: None, .. }) => WITHOUT_TTL.min(otherwise),
    }
}
