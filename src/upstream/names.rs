//! Names that are looked up, and the endpoints made of their answers.
//!
//! A [`ResolvedName`] is one name with its latest answer, shared by every cluster that needs it and, through [`Names`],
//! by one publication and the next. [`NamedEndpoints`] are the endpoints of a cluster as they are written, of which
//! some are names; they are made into [`EndpointConfig`]s whenever an answer changes. Nothing here looks anything up.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{self, AtomicBool};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;

use super::endpoint::{Address, EndpointConfig};

/// A name and what it was last resolved to.
pub struct ResolvedName {
    name: Arc<str>,
    latest: ArcSwap<Answer>,
    /// Whether it was looked up at all, with whatever success.
    looked_up: AtomicBool,
}

#[derive(Debug, Default)]
struct Answer {
    addresses: Vec<IpAddr>,
    /// The first address of this answer, or of the last one that had any.
    first: Option<IpAddr>,
}

impl ResolvedName {
    fn new(name: &str) -> Self {
        Self { name: name.into(), latest: ArcSwap::default(), looked_up: AtomicBool::new(false) }
    }

    /// The name, in lower case.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The addresses of the latest answer, in its order; none as long as there is none.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.latest.load().addresses.clone()
    }

    /// The first address of the latest answer that had any.
    pub fn first(&self) -> Option<IpAddr> {
        self.latest.load().first
    }

    /// Whether a look-up has ended, with or without an answer.
    pub fn is_looked_up(&self) -> bool {
        self.looked_up.load(atomic::Ordering::Acquire)
    }

    /// Takes an answer; `None`, that there was none, leaves the last addresses.
    pub(crate) fn answered(&self, addresses: Option<Vec<IpAddr>>) {
        if let Some(addresses) = addresses {
            let first = addresses.first().copied().or(self.first());
            self.latest.store(Arc::new(Answer { addresses, first }));
        }
        self.looked_up.store(true, atomic::Ordering::Release);
    }
}

impl fmt::Debug for ResolvedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolvedName").field("name", &self.name).field("addresses", &self.addresses()).finish()
    }
}

/// The names in use. They are held weakly: one that no snapshot needs any more is forgotten with its answer.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_name: HashMap<Box<str>, Weak<ResolvedName>>,
    /// How many there may be before the forgotten ones are swept: twice those in use at the last sweep.
    sweep_at: usize,
}

impl Names {
    /// The name `name`, with the latest answer if it is in use already.
    pub(crate) fn get(&self, name: &str) -> Arc<ResolvedName> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.by_name.get(&*name).and_then(Weak::upgrade) {
            return name;
        }
        if known.by_name.len() >= known.sweep_at {
            known.by_name.retain(|_, name| name.strong_count() > 0);
            known.sweep_at = (known.by_name.len() * 2).max(64);
        }
        let new = Arc::new(ResolvedName::new(&name));
        known.by_name.insert(name.into(), Arc::downgrade(&new));
        new
    }
}

/// One logical host behind a name (Envoy's LOGICAL_DNS): it stays the same endpoint whatever the name resolves to, and
/// each connection that is opened goes to the first address of the latest answer.
#[derive(Clone)]
pub struct LogicalHost {
    name: Arc<ResolvedName>,
    port: u16,
}

impl LogicalHost {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name.name
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where a connection that is opened now goes; `None` before the first answer.
    pub fn address(&self) -> Option<SocketAddr> {
        self.name.first().map(|ip| SocketAddr::new(ip, self.port))
    }

    fn key(&self) -> (&str, u16) {
        (self.name(), self.port)
    }
}

impl fmt::Debug for LogicalHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogicalHost({self})")
    }
}

/// `name:port`.
impl fmt::Display for LogicalHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name(), self.port)
    }
}

impl PartialEq for LogicalHost {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for LogicalHost {}

impl Hash for LogicalHost {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialOrd for LogicalHost {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LogicalHost {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// A name that is looked up for each connection, by whoever opens it, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamedAddress {
    name: Arc<str>,
    port: u16,
}

impl NamedAddress {
    /// `name` at `port`.
    pub fn new(name: impl Into<Arc<str>>, port: u16) -> Self {
        Self { name: name.into(), port }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// `name:port`.
impl fmt::Display for NamedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

/// The endpoints of a cluster as they are written, of which some are names.
#[derive(Debug)]
pub(crate) struct NamedEndpoints {
    entries: Vec<NamedEndpoint>,
    logical: bool,
}

/// One of [`NamedEndpoints`].
#[derive(Debug)]
pub(crate) enum NamedEndpoint {
    /// Its address is written.
    Known(EndpointConfig),
    /// Its address is to be looked up; that of `like` stands for nothing, all else of it holds for every address.
    Named { name: Arc<ResolvedName>, port: u16, like: EndpointConfig },
}

impl NamedEndpoints {
    /// Endpoints of which each address of each answer becomes one (STRICT_DNS).
    pub(crate) fn strict(entries: Vec<NamedEndpoint>) -> Self {
        Self { entries, logical: false }
    }

    /// Endpoints of which each name becomes one [`LogicalHost`] as soon as it has an answer (LOGICAL_DNS).
    pub(crate) fn logical(entries: Vec<NamedEndpoint>) -> Self {
        Self { entries, logical: true }
    }

    /// Leaves out those that are not ready.
    pub(crate) fn retain_healthy(&mut self) {
        self.entries.retain(|entry| match entry {
            NamedEndpoint::Known(like) | NamedEndpoint::Named { like, .. } => like.healthy,
        });
    }

    /// The names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<ResolvedName>> {
        self.entries.iter().filter_map(|entry| match entry {
            NamedEndpoint::Known(_) => None,
            NamedEndpoint::Named { name, .. } => Some(name),
        })
    }

    /// The endpoints by the latest answers. Answers come in changing orders, which would be a change of endpoints:
    /// addresses of one name are sorted.
    ///
    /// Several entries of a locality may lead to one address, which then has the weight of all of them.
    #[expect(clippy::mutable_key_type, reason = "addresses are compared by what never changes of them: name and port")]
    pub(crate) fn expand(&self) -> Vec<EndpointConfig> {
        let mut all: Vec<EndpointConfig> = Vec::new();
        let mut places = HashMap::new();
        for one in self.each() {
            let place = *places.entry((one.address.clone(), one.locality.clone())).or_insert(all.len());
            match all.get_mut(place) {
                Some(known) => known.weight = known.weight.max(1).saturating_add(one.weight.max(1)),
                None => all.push(one),
            }
        }
        all
    }

    /// The same, entry by entry: several may lead to one address, of which a cluster takes the first.
    pub(crate) fn each(&self) -> impl Iterator<Item = EndpointConfig> {
        self.entries.iter().flat_map(|entry| self.expand_one(entry))
    }

    fn expand_one(&self, entry: &NamedEndpoint) -> Vec<EndpointConfig> {
        let (name, port, like) = match entry {
            NamedEndpoint::Known(known) => return vec![known.clone()],
            NamedEndpoint::Named { name, port, like } => (name, *port, like),
        };
        let at = |address| EndpointConfig { address, ..like.clone() };
        if self.logical {
            let host = name.first().map(|_| LogicalHost { name: name.clone(), port });
            return host.map(|host| at(Address::Logical(host))).into_iter().collect();
        }
        let mut addresses = name.addresses();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.into_iter().map(|ip| at(Address::Tcp(SocketAddr::new(ip, port)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(weight: u32) -> EndpointConfig {
        EndpointConfig::new(([0, 0, 0, 0], 0)).with_weight(weight)
    }

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn a_name_in_use_keeps_its_answer_and_one_that_is_not_is_forgotten() {
        let names = Names::default();
        let api = names.get("API.example.com.");
        api.answered(Some(vec![ip(1)]));
        assert_eq!(names.get("api.example.com").addresses(), [ip(1)]);
        drop(api);
        assert!(names.get("api.example.com").addresses().is_empty());
    }

    #[test]
    fn names_that_are_forgotten_are_not_sought_whenever_there_is_a_new_one() {
        let names = Names::default();
        let known = || names.known.lock().unwrap().by_name.len();
        let held: Vec<_> = (0..100).map(|number| names.get(&format!("held{number}.test"))).collect();
        drop(names.get("a.test"));
        let _other = names.get("b.test");
        assert_eq!(known(), 102);
        for number in 0..1000 {
            drop(names.get(&format!("{number}.test")));
        }
        assert!(known() <= 2 * (held.len() + 1), "{}", known());
    }

    #[test]
    fn no_answer_keeps_the_last_one() {
        let name = Names::default().get("a.test");
        assert!(!name.is_looked_up());
        name.answered(Some(vec![ip(1)]));
        name.answered(None);
        assert_eq!(name.addresses(), [ip(1)]);
        assert!(name.is_looked_up());
    }

    #[test]
    fn an_empty_answer_empties_what_is_strict_and_not_what_is_logical() {
        let name = Names::default().get("a.test");
        let named = || vec![NamedEndpoint::Named { name: name.clone(), port: 80, like: like(1) }];
        name.answered(Some(vec![ip(1)]));
        name.answered(Some(Vec::new()));
        assert_eq!(NamedEndpoints::strict(named()).expand(), []);
        assert_eq!(NamedEndpoints::logical(named()).expand().len(), 1);
        assert_eq!(name.first(), Some(ip(1)));
    }

    #[test]
    fn every_address_of_every_name_is_an_endpoint_with_the_weight_of_its_name() {
        let names = Names::default();
        let (one, other) = (names.get("one.test"), names.get("other.test"));
        let endpoints = NamedEndpoints::strict(vec![
            NamedEndpoint::Named { name: one.clone(), port: 80, like: like(3) },
            NamedEndpoint::Known(EndpointConfig::new(([10, 0, 0, 9], 81))),
            NamedEndpoint::Named { name: other, port: 82, like: like(1) },
        ]);
        one.answered(Some(vec![ip(2), ip(1)]));
        let expanded: Vec<_> = endpoints.expand().iter().map(|each| (each.address.to_string(), each.weight)).collect();
        let expected = [("10.0.0.1:80", 3), ("10.0.0.2:80", 3), ("10.0.0.9:81", 1)];
        assert_eq!(expanded, expected.map(|(address, weight)| (address.to_owned(), weight)));
    }

    #[test]
    fn entries_that_lead_to_one_address_have_the_weight_of_all_of_them() {
        let names = Names::default();
        let (one, other) = (names.get("one.test"), names.get("other.test"));
        one.answered(Some(vec![ip(1), ip(2), ip(1)]));
        other.answered(Some(vec![ip(1)]));
        let mut elsewhere = like(9);
        elsewhere.locality = "far".into();
        let named = |name: &Arc<ResolvedName>, like| NamedEndpoint::Named { name: name.clone(), port: 80, like };
        let entries = vec![named(&one, like(2)), named(&other, like(0)), named(&other, elsewhere)];
        let weights: Vec<_> = NamedEndpoints::strict(entries).expand().iter().map(|each| each.weight).collect();
        assert_eq!(weights, [3, 2, 9], "one answer names an address once, and localities stay apart");
    }

    #[test]
    fn a_logical_host_is_one_endpoint_that_dials_the_first_address_of_the_latest_answer() {
        let name = Names::default().get("a.test");
        let named = NamedEndpoint::Named { name: name.clone(), port: 80, like: like(1) };
        let endpoints = NamedEndpoints::logical(vec![named]);
        assert_eq!(endpoints.expand(), []);
        name.answered(Some(vec![ip(7), ip(3)]));
        let before = endpoints.expand();
        assert_eq!(before[0].address.to_string(), "a.test:80");
        let Address::Logical(host) = &before[0].address else { panic!("{before:?}") };
        assert_eq!(host.address(), Some(([10, 0, 0, 7], 80).into()));
        name.answered(Some(vec![ip(3), ip(7)]));
        assert_eq!(host.address(), Some(([10, 0, 0, 3], 80).into()));
        assert_eq!(endpoints.expand(), before);
    }
}
