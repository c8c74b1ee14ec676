//! Endpoints that nobody published: where requests lead by themselves.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::HashMap;
use http::uri::Authority;

use super::cluster::ClusterSettings;
use super::endpoint::{Address, Endpoint, EndpointConfig, EndpointState, Picked};
use super::limits::Limits;
use super::names::NamedAddress;

/// How many endpoints are remembered, one for each port of a host, before those that are idle are forgotten.
const REMEMBERED: usize = 1024;

/// How a cluster sends requests where they lead by themselves, if it has no endpoints of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PassThrough {
    /// Where the client connected to (`resolution: NONE`, `simple: PASSTHROUGH`).
    Dialed {
        /// The port instead of the one that the client addressed (`targetPort`).
        port: Option<u16>,
    },
    /// To the host that the request names (`resolution: DYNAMIC_DNS`).
    Named {
        /// What the host's name must end with, and more: `.example.com`. Nobody else is reached through the cluster.
        suffix: Box<str>,
        /// The port.
        port: u16,
    },
}

/// Where a request leads by itself, for clusters that pass through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Original {
    /// The authority that the client connected to, before any rule changed it; without a port it is 80. `None` at a
    /// gateway: its clients connect to the gateway.
    pub dialed: Option<Authority>,
    /// The authority that the request has as it is sent.
    pub named: Option<Authority>,
}

impl Original {
    /// The host and port that `pass` leads to; `None`: to nowhere.
    fn host(&self, pass: &PassThrough) -> Option<(Cow<'_, str>, u16)> {
        match pass {
            PassThrough::Dialed { port } => {
                let authority = self.dialed.as_ref()?;
                Some((lower_case(authority.host()), port.or(authority.port_u16()).unwrap_or(80)))
            }
            PassThrough::Named { suffix, port } => {
                let host = lower_case(self.named.as_ref()?.host());
                (host.len() > suffix.len() && host.ends_with(&**suffix)).then_some((host, *port))
            }
        }
    }
}

fn lower_case(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// The endpoints of each host, by port.
type ByHost = HashMap<Box<str>, Vec<(u16, Arc<Endpoint>)>>;

/// The endpoints of clusters that pass through, by host: the same host and port is the same endpoint as long as it is
/// remembered, and keeps its connections. All clusters of a key have them in common, whatever their settings.
#[derive(Debug, Default)]
pub(super) struct Originals {
    by_host: ArcSwap<ByHost>,
}

impl Originals {
    /// The endpoint that a request leads to, counted busy. Those known under these settings are found without a lock
    /// and without allocating.
    pub(super) fn pick(
        &self,
        pass: &PassThrough,
        original: Option<&Original>,
        settings: &ClusterSettings,
        limits: &Arc<Limits>,
    ) -> Option<Picked> {
        let (host, port) = original?.host(pass)?;
        if let Some(endpoint) = find(&self.by_host.load(), &host, port)
            && endpoint.is_under(settings, limits)
        {
            return Some(Picked::new(Arc::clone(endpoint)));
        }
        Some(Picked::new(self.remember(&host, port, settings, limits)))
    }

    /// The endpoint of a host that is new, or is known under other settings and goes on with its state.
    #[cold]
    fn remember(&self, host: &str, port: u16, settings: &ClusterSettings, limits: &Arc<Limits>) -> Arc<Endpoint> {
        let config = EndpointConfig::new(address(host, port));
        let new = Arc::new(EndpointState::new(&config.address));
        let made = |state: &Arc<EndpointState>| {
            Arc::new(Endpoint::published(config.clone(), settings, limits, Arc::clone(state)))
        };
        let mut found = made(&new);
        self.by_host.rcu(|known| {
            let before = match find(known, host, port) {
                // Another pick was first.
                Some(first) if first.is_under(settings, limits) => {
                    found = Arc::clone(first);
                    return Arc::clone(known);
                }
                before => before,
            };
            let mut known = HashMap::clone(known);
            if before.is_none() && known.values().map(Vec::len).sum::<usize>() >= REMEMBERED {
                known.retain(|_, ports| {
                    ports.retain(|(_, endpoint)| endpoint.active() > 0);
                    !ports.is_empty()
                });
            }
            found = made(before.map_or(&new, |before| before.state()));
            let ports = known.entry(Box::from(host)).or_default();
            ports.retain(|(number, _)| *number != port);
            ports.push((port, Arc::clone(&found)));
            Arc::new(known)
        });
        // Of several picks by other settings the one that is remembered counts.
        let remembered = || find(&self.by_host.load(), host, port).map(|endpoint| endpoint.basis().clone());
        found.state().standing().change(|bases| bases.now = remembered());
        found
    }
}

fn find<'a>(known: &'a ByHost, host: &str, port: u16) -> Option<&'a Arc<Endpoint>> {
    known.get(host)?.iter().find(|(number, _)| *number == port).map(|(_, endpoint)| endpoint)
}

/// An address where the host is one, else its name, which is looked up when a connection is opened.
fn address(host: &str, port: u16) -> Address {
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(ip) => Address::Tcp(SocketAddr::new(ip, port)),
        Err(_) => Address::Named(NamedAddress::new(host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialed(authority: &str) -> Original {
        Original { dialed: Some(authority.parse().unwrap()), named: Some("named.example.com".parse().unwrap()) }
    }

    fn picker() -> impl Fn(&Originals, &PassThrough, &Original) -> Option<Picked> {
        let settings = ClusterSettings::default();
        let limits = Arc::new(Limits::new(settings.limits, Arc::default()));
        move |originals, pass, original| originals.pick(pass, Some(original), &settings, &limits)
    }

    #[test]
    fn a_request_goes_where_its_client_connected_to() {
        let (originals, pick) = (Originals::default(), picker());
        let port = |port| PassThrough::Dialed { port };
        for (authority, pass, expected) in [
            ("10.0.0.7:9080", port(None), "10.0.0.7:9080"),
            ("10.0.0.7", port(None), "10.0.0.7:80"),
            ("10.0.0.7:9080", port(Some(81)), "10.0.0.7:81"),
            ("[fd00::1]:90", port(None), "[fd00::1]:90"),
            ("user@A.example.com", port(None), "a.example.com:80"),
        ] {
            let picked = pick(&originals, &pass, &dialed(authority)).unwrap();
            assert_eq!(picked.endpoint().address.to_string(), expected);
            assert_eq!(picked.endpoint().authority, expected);
        }
        let unknown = Original { dialed: None, ..dialed("a") };
        assert!(pick(&originals, &port(None), &unknown).is_none());
    }

    #[test]
    fn a_named_host_is_one_of_the_clusters() {
        let (originals, pick) = (Originals::default(), picker());
        let pass = PassThrough::Named { suffix: ".example.com".into(), port: 443 };
        for (named, expected) in [
            ("A.Example.com:8080", Some("a.example.com:443")),
            ("example.com", None),
            (".example.com", None),
            ("169.254.169.254", None),
            ("example.com.evil.test", None),
        ] {
            let original = Original { dialed: None, named: Some(named.parse().unwrap()) };
            let picked = pick(&originals, &pass, &original);
            let address = picked.map(|picked| picked.endpoint().address.to_string());
            assert_eq!(address.as_deref(), expected, "{named}");
        }
    }

    #[test]
    fn a_host_is_one_endpoint_as_long_as_it_is_remembered() {
        let (originals, pick) = (Originals::default(), picker());
        let pass = PassThrough::Dialed { port: None };
        let at = |number: usize| dialed(&format!("h{number}.test"));
        let held = pick(&originals, &pass, &at(1)).unwrap();
        let idle = pick(&originals, &pass, &at(2)).unwrap().endpoint().id;
        assert_eq!(pick(&originals, &pass, &dialed("H2.test:80")).unwrap().endpoint().id, idle);
        assert_ne!(pick(&originals, &pass, &dialed("h2.test:81")).unwrap().endpoint().id, idle);
        assert_eq!(held.endpoint().active(), 1);
        for number in 3..=REMEMBERED {
            drop(pick(&originals, &pass, &at(number)));
        }
        assert_eq!(originals.by_host.load().len(), 2);
        assert_eq!(pick(&originals, &pass, &at(1)).unwrap().endpoint().id, held.endpoint().id);
        assert_ne!(pick(&originals, &pass, &at(2)).unwrap().endpoint().id, idle);
    }

    #[test]
    fn who_is_known_under_other_settings_forgets_nobody() {
        let (originals, pass) = (Originals::default(), PassThrough::Dialed { port: None });
        let (pick, pick_otherwise) = (picker(), picker());
        let at = |number: usize| dialed(&format!("h{number}.test"));
        let ids: Vec<_> =
            (0..REMEMBERED).map(|number| pick(&originals, &pass, &at(number)).unwrap().endpoint().id).collect();
        for pick in [&pick_otherwise as &dyn Fn(&_, &_, &_) -> _, &pick, &pick_otherwise] {
            for (number, id) in ids.iter().enumerate().step_by(100) {
                assert_eq!(pick(&originals, &pass, &at(number)).unwrap().endpoint().id, *id);
            }
        }
        assert_eq!(originals.by_host.load().len(), REMEMBERED);
    }

    #[test]
    fn many_ports_of_one_host_are_not_remembered_for_ever() {
        let (originals, pick) = (Originals::default(), picker());
        let pass = PassThrough::Dialed { port: None };
        let at = |port: usize| dialed(&format!("a.test:{port}"));
        let held = pick(&originals, &pass, &at(1)).unwrap();
        for port in 2..=REMEMBERED + 1 {
            drop(pick(&originals, &pass, &at(port)));
        }
        assert_eq!(originals.by_host.load()["a.test"].len(), 2);
        assert_eq!(pick(&originals, &pass, &at(1)).unwrap().endpoint().id, held.endpoint().id);
    }
}
