//! What one listener, or the mesh, knows: [`RouteTable`].

use std::fmt;
use std::sync::Arc;

use super::{Action, Fault, Forward, HeaderOps, HostFound, HostIndex, RuleSet, Trace};
use crate::error::{Place, ResourceName};
use crate::request::RequestView;

/// Which route of a [`RouteTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteIndex(pub u32);

/// Which rule set of a [`RouteTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleSetIndex(pub u32);

impl RuleSetIndex {
    /// No rules, nor those of a wider host: on such a port the host is not known.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// Which virtual host of a [`RouteTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualHostIndex(pub u32);

/// Everything that decides where a request goes, once it has come in.
///
/// An index that points nowhere is taken as no rule at all.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    /// Domains and the virtual hosts they belong to.
    pub hosts: HostIndex<VirtualHostIndex>,
    /// The virtual hosts.
    pub virtual_hosts: Vec<VirtualHost>,
    /// The ordered rules of virtual hosts and ports.
    pub rule_sets: Vec<RuleSet>,
    /// What the rules lead to.
    pub routes: Vec<Arc<Route>>,
    /// What happens to a host, or a port of a host, that nothing names.
    pub unknown: Unknown,
}

/// A group of domains with the same rules.
#[derive(Clone, Debug)]
pub struct VirtualHost {
    /// What it is called in explanations: the host as its author wrote it.
    pub name: Box<str>,
    /// Which rules apply to which port.
    pub ports: Ports,
    /// Whether requests in plaintext are sent to `https` before any rule is looked at (`httpsRedirect` of a Gateway's
    /// server).
    pub https_only: bool,
}

/// From the port that the client addressed to the rules for it.
#[derive(Clone, Debug, Default)]
pub struct Ports {
    /// Ports with rules of their own.
    pub named: Box<[(u16, RuleSetIndex)]>,
    /// The rules for all other ports; without them the host is not there on such a port, and a wider one that covers it
    /// may be.
    pub other: Option<RuleSetIndex>,
}

impl Ports {
    /// The same rules for every port.
    pub fn any(rules: RuleSetIndex) -> Self {
        Self { named: Box::default(), other: Some(rules) }
    }

    /// The rules for `port`.
    pub fn get(&self, port: u16) -> Option<RuleSetIndex> {
        self.named.iter().find(|(number, _)| *number == port).map(|(_, rules)| *rules).or(self.other)
    }
}

/// What happens to a request for an unknown host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unknown {
    /// It goes on unchanged, without policies (`outboundTrafficPolicy: ALLOW_ANY`).
    #[default]
    PassThrough,
    /// 502 with an empty body (`outboundTrafficPolicy: REGISTRY_ONLY`).
    Refuse,
    /// 404 (a gateway).
    NotFound,
}

/// What a matched rule leads to.
#[derive(Clone, Debug)]
pub struct Route {
    /// For logs: `http.name`, with `.` and `match.name` where there is one.
    pub name: Arc<str>,
    /// What it does.
    pub action: Action,
    /// Delays and aborts for tests (`fault`); they come before whatever it does. Only of a delegate can it be more than
    /// forwarding: the fault is that of the rule which leads there.
    pub fault: Option<Fault>,
    /// Where it was written.
    pub origin: RuleOrigin,
    /// Operations on the request.
    pub request_headers: HeaderOps,
    /// Operations on the response.
    pub response_headers: HeaderOps,
}

impl Route {
    /// One that does nothing but forward.
    pub(crate) fn forwarding(name: &str, forward: Forward, origin: RuleOrigin) -> Self {
        Self {
            name: name.into(),
            action: Action::Forward(forward),
            fault: None,
            origin,
            request_headers: HeaderOps::default(),
            response_headers: HeaderOps::default(),
        }
    }
}

/// Where a rule was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleOrigin {
    /// The resource.
    pub resource: ResourceName,
    /// The field: `spec.http[2].match[0]`. Empty for the whole resource: a service of which no rule speaks.
    pub path: String,
    /// The file and line, as far as they are known.
    pub place: Option<Place>,
}

/// `RESOURCE PATH (FILE:LINE:COLUMN)`, as far as they are known.
impl fmt::Display for RuleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.resource)?;
        if !self.path.is_empty() {
            write!(f, " {}", self.path)?;
        }
        match &self.place {
            Some(place) => write!(f, " ({place})"),
            None => Ok(()),
        }
    }
}

/// What [`RouteTable::resolve`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolution {
    /// This route.
    Route(RouteIndex),
    /// The host is known and none of its rules matches: 404 with the flag `NR`, without a look at other hosts.
    NoRoute,
    /// The host is known and the path has no slash to begin with: `*`, or none at all. No rule is asked, whatever it says of
    /// paths: 404 without a flag.
    NoPath,
    /// The host, or the port of the host, is not known.
    Unknown(Unknown),
    /// The host is for `https` only and the request is in plaintext: 301 to the same URI with that scheme, the
    /// authority as it came.
    HttpsOnly,
    /// The path cannot be [normalized](super::normalize): 400, whatever the host. Only a
    /// [`Snapshot`](crate::snapshot::Snapshot) finds that, a table takes paths as they are.
    BadPath,
}

impl RouteTable {
    /// Whether the most specific domain that covers `host`, which is without a port, has rules for `port`.
    pub fn knows(&self, host: &str, port: u16) -> bool {
        let found = self.hosts.get(host).and_then(|index| self.virtual_hosts.get(index.0 as usize));
        found.and_then(|host| host.ports.get(port)).is_some_and(|rules| rules != RuleSetIndex::NONE)
    }

    /// Host, then port, then the first rule that matches. Pure; allocates nothing with the trace `()`.
    ///
    /// (A regular expression allocates its work space on its first uses.)
    pub fn resolve<T: Trace>(&self, request: &RequestView<'_>, trace: &mut T) -> Resolution {
        let found = self.hosts.find_map(request.host(), |index| {
            let host = self.virtual_hosts.get(index.0 as usize)?;
            let rules = host.ports.get(request.port());
            (rules.is_some() || host.https_only).then_some((host, rules))
        });
        let rules = found.and_then(|(_, rules)| rules).filter(|rules| *rules != RuleSetIndex::NONE);
        if T::RECORDS {
            trace.host(HostFound::new(request, found.map(|(host, _)| host).or_else(|| self.known(request)), rules));
        }
        if request.came_by_nothing() {
            return Resolution::NoRoute;
        }
        if found.is_some_and(|(host, _)| host.https_only) && !request.came_by_https() {
            return Resolution::HttpsOnly;
        }
        let Some(rules) = rules else { return Resolution::Unknown(self.unknown) };
        if !request.path().starts_with('/') {
            return Resolution::NoPath;
        }
        match self.rule_sets.get(rules.0 as usize).and_then(|rules| rules.first_match(request, trace)) {
            Some(route) => Resolution::Route(route),
            None => Resolution::NoRoute,
        }
    }

    /// The virtual host of a request, with or without rules for its port.
    fn known(&self, request: &RequestView<'_>) -> Option<&VirtualHost> {
        self.virtual_hosts.get(self.hosts.get(request.host())?.0 as usize)
    }

    /// The route at `index`.
    pub fn route(&self, index: RouteIndex) -> Option<&Arc<Route>> {
        self.routes.get(index.0 as usize)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::request::{ListenerOrigin, Origin};
    use crate::route::{Explanation, RouteMatch, StringMatcher};

    /// Rules on the ports that are tried, but not on `none`.
    fn but(none: u16) -> Ports {
        let ports = [80, 81, 82, 83, 8080].into_iter().filter(|port| *port != none);
        Ports { named: ports.map(|port| (port, RuleSetIndex(1))).collect(), other: None }
    }

    fn table() -> RouteTable {
        let mut hosts = HostIndex::new();
        hosts.insert("reviews.default.svc.cluster.local", VirtualHostIndex(0));
        hosts.insert("*.local", VirtualHostIndex(1));
        let only = |path, route| (RouteMatch::builder().uri(StringMatcher::prefix(path)).build(), RouteIndex(route));
        RouteTable {
            hosts,
            virtual_hosts: vec![
                VirtualHost {
                    name: "reviews".into(),
                    ports: Ports { named: Box::new([(80, RuleSetIndex(0)), (81, RuleSetIndex(9))]), other: None },
                    https_only: false,
                },
                VirtualHost { name: "*.local".into(), ports: but(82), https_only: false },
            ],
            rule_sets: vec![RuleSet::new(vec![only("/a", 3)]), RuleSet::new(vec![only("/", 4)])],
            routes: vec![],
            unknown: Unknown::Refuse,
        }
    }

    fn resolve(uri: &str) -> Resolution {
        let request = Request::get(uri).body(()).unwrap();
        let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
        let mut explanation = Explanation::default();
        let resolution = table().resolve(&view, &mut ());
        assert_eq!(table().resolve(&view, &mut explanation), resolution);
        resolution
    }

    #[test]
    fn a_route_is_found_by_host_port_and_rule() {
        assert_eq!(resolve("http://Reviews.default.svc.cluster.local/ab"), Resolution::Route(RouteIndex(3)));
        assert_eq!(resolve("http://other.local:8080/"), Resolution::Route(RouteIndex(4)));
    }

    #[test]
    fn a_known_host_without_a_matching_rule_does_not_fall_through_to_a_wider_one() {
        assert_eq!(resolve("http://reviews.default.svc.cluster.local/b"), Resolution::NoRoute);
    }

    #[test]
    fn no_rule_is_asked_about_an_asterisk() {
        let request = Request::options("*").header("host", "reviews.default.svc.cluster.local").body(()).unwrap();
        let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
        assert_eq!(table().resolve(&view, &mut Explanation::default()), Resolution::NoPath);
    }

    #[test]
    fn t13_a_port_without_rules_is_an_unknown_host() {
        assert_eq!(resolve("http://reviews.default.svc.cluster.local:82/a"), Resolution::Unknown(Unknown::Refuse));
        assert_eq!(resolve("http://elsewhere/a"), Resolution::Unknown(Unknown::Refuse));
    }

    #[test]
    fn a_port_without_rules_leaves_the_host_to_a_wider_one() {
        let route = Resolution::Route(RouteIndex(4));
        assert_eq!(resolve("http://reviews.default.svc.cluster.local:83/a"), route);
    }

    #[test]
    fn a_port_that_is_to_have_no_rules_is_not_left_to_a_wider_host() {
        let mut table = table();
        table.virtual_hosts[0].ports.named = Box::new([(83, RuleSetIndex::NONE)]);
        let request = Request::get("http://reviews.default.svc.cluster.local:83/a").body(()).unwrap();
        let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
        assert_eq!(table.resolve(&view, &mut ()), Resolution::Unknown(Unknown::Refuse));
        assert!(!table.knows(view.host(), 83));
        table.virtual_hosts[0].ports.named = Box::new([(83, RuleSetIndex(0))]);
        assert!(table.knows(view.host(), 83));
    }

    #[test]
    fn a_host_for_https_only_is_not_left_to_a_wider_one() {
        let mut table = table();
        table.virtual_hosts[0].https_only = true;
        let request = Request::get("http://reviews.default.svc.cluster.local:83/a").body(()).unwrap();
        let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
        assert_eq!(table.resolve(&view, &mut ()), Resolution::HttpsOnly);
    }

    #[test]
    fn how_a_trusted_proxy_was_asked_is_its_very_word() {
        let mut table = table();
        table.virtual_hosts[0].https_only = true;
        let mut origin = ListenerOrigin::new("http.80", 80);
        origin.believes_proto = true;
        let origin = Origin::Listener(Arc::new(origin));
        let found = |said: &str| {
            let request = Request::get("/a").header("host", "reviews.default.svc.cluster.local");
            let request = request.header("x-forwarded-proto", said).body(()).unwrap();
            table.resolve(&RequestView::new(request.method(), request.uri(), request.headers(), &origin), &mut ())
        };
        assert_eq!(found("https"), Resolution::Route(RouteIndex(3)));
        assert_eq!(["http", "HTTPS", "https,http"].map(found), [const { Resolution::HttpsOnly }; 3]);
        assert_eq!(found(""), Resolution::NoRoute);
    }

    #[test]
    fn an_index_that_points_nowhere_is_no_rule() {
        assert_eq!(resolve("http://reviews.default.svc.cluster.local:81/a"), Resolution::NoRoute);
    }
}
