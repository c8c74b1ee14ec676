//! The tables and requests that both benches of `resolve` measure.

#![allow(clippy::unwrap_used, reason = "what is built here is known to be right")]
#![allow(dead_code, reason = "no user of this module uses all of it")]

use http::Request;
use http::header::{HeaderName, HeaderValue};
use mesh_router::dice::Dice;
use mesh_router::error::ResourceName;
use mesh_router::request::{Origin, RequestView};
use mesh_router::route::{
    Action, ClusterChoice, ClusterIndex, Forward, HeaderOps, HostIndex, Ports, Resolution, Route, RouteIndex,
    RouteMatch, RouteTable, RuleOrigin, RuleSet, RuleSetIndex, StringMatcher, Unknown, VirtualHost, VirtualHostIndex,
    WeightedCluster, WeightedClusters,
};

/// What the rules of a set look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// `prefix: /svc/00001/`.
    Prefixes,
    /// `exact: /svc/00001/info`.
    Exacts,
    /// One prefix, and a header with a value of its own in each rule.
    Headers,
    /// One prefix, and a header with a name of its own in each rule.
    Names,
    /// Chains of `/a00001`, `/a00001/b`, `/a00001/b/c` ... eight deep, the deepest first.
    Nested,
    /// Prefixes; every tenth rule is a regular expression that begins with `/` and a set, so none is found by its
    /// beginning.
    Regexes,
}

/// All shapes with their names.
pub(crate) const SHAPES: [(&str, Shape); 6] = [
    ("prefixes", Shape::Prefixes),
    ("exacts", Shape::Exacts),
    ("headers", Shape::Headers),
    ("names", Shape::Names),
    ("nested", Shape::Nested),
    ("regexes", Shape::Regexes),
];

/// Which rule a request meets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hit {
    First,
    Last,
    Miss,
}

const DEPTH: usize = 8;
const STEPS: [&str; DEPTH - 1] = ["/b", "/c", "/d", "/e", "/f", "/g", "/h"];

fn rule(shape: Shape, number: usize) -> RouteMatch {
    let builder = RouteMatch::builder();
    match shape {
        Shape::Regexes if number % 10 == 9 => {
            builder.uri(StringMatcher::regex(&format!("/[a-z]+/re{number:05}/[0-9]+")).unwrap())
        }
        Shape::Prefixes | Shape::Regexes => builder.uri(StringMatcher::prefix(&format!("/svc/{number:05}/"))),
        Shape::Exacts => builder.uri(StringMatcher::exact(&format!("/svc/{number:05}/info"))),
        Shape::Headers => {
            let user = StringMatcher::exact(&format!("user-{number:05}"));
            builder.uri(StringMatcher::prefix("/svc/")).header("x-user", user)
        }
        Shape::Names => {
            let name = format!("x-flag-{number:05}");
            builder.uri(StringMatcher::prefix("/svc/")).header(&name, StringMatcher::exact("on"))
        }
        Shape::Nested => builder.uri(StringMatcher::prefix(&nested(number))),
    }
    .build()
}

fn nested(number: usize) -> String {
    let below = DEPTH - 1 - number % DEPTH;
    format!("/a{:05}{}", number / DEPTH, STEPS[..below].concat())
}

/// `count` rules of a shape.
pub(crate) fn rules(shape: Shape, count: usize) -> Vec<(RouteMatch, RouteIndex)> {
    (0..count).map(|number| (rule(shape, number), RouteIndex(number as u32))).collect()
}

fn request(shape: Shape, number: usize) -> Request<()> {
    let path = match shape {
        Shape::Regexes if number % 10 == 9 => format!("/svc/re{number:05}/7"),
        Shape::Prefixes | Shape::Regexes | Shape::Exacts => format!("/svc/{number:05}/info"),
        Shape::Headers | Shape::Names => "/svc/reviews/info".to_owned(),
        Shape::Nested => format!("{}/info", nested(number)),
    };
    let mut request = Request::get(format!("http://reviews.default.svc.cluster.local:9080{path}")).body(()).unwrap();
    let headers = request.headers_mut();
    for (name, value) in [("user-agent", "bench/1.0"), ("accept", "*/*"), ("x-request-id", "0f6c1d2e")] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("x-user", HeaderValue::from_str(&format!("user-{number:05}")).unwrap());
    if matches!(shape, Shape::Names) {
        let name = HeaderName::from_bytes(format!("x-flag-{number:05}").as_bytes()).unwrap();
        headers.insert(name, HeaderValue::from_static("on"));
    }
    request
}

/// A table and a request for it.
pub(crate) struct Case {
    pub(crate) table: RouteTable,
    pub(crate) request: Request<()>,
}

impl Case {
    /// `count` rules of one shape for one host, and a request that meets the one asked for.
    pub(crate) fn new(shape: Shape, count: usize, hit: Hit) -> Self {
        let number = match hit {
            Hit::First => 0,
            Hit::Last => count - 1,
            Hit::Miss => 99_999,
        };
        Self::with(RuleSet::new(rules(shape, count)), request(shape, number))
    }

    /// One rule set for one host.
    pub(crate) fn with(rules: RuleSet, request: Request<()>) -> Self {
        let mut hosts = HostIndex::new();
        hosts.insert("reviews.default.svc.cluster.local", VirtualHostIndex(0));
        let virtual_hosts =
            vec![VirtualHost { name: "reviews".into(), ports: Ports::any(RuleSetIndex(0)), https_only: false }];
        let table =
            RouteTable { hosts, virtual_hosts, rule_sets: vec![rules], routes: vec![], unknown: Unknown::PassThrough };
        Self { table, request }
    }

    /// Resolves once.
    pub(crate) fn resolve(&self) -> Resolution {
        let request = &self.request;
        let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
        self.table.resolve(&view, &mut ())
    }

    /// Resolves once and draws the destination.
    pub(crate) fn resolve_and_pick(&self, draw: u64) -> Option<ClusterIndex> {
        let Resolution::Route(index) = self.resolve() else { return None };
        match &self.table.route(index)?.action {
            Action::Forward(forward) => forward.clusters.pick(draw).destination.for_port(9080),
            _ => None,
        }
    }
}

/// A draw that is the same in each run.
pub(crate) fn draw() -> u64 {
    Dice::seeded(5).draws().next_u64()
}

/// Istio's sample: four hosts; reviews has a header match for one user and a weighted rule for the others.
pub(crate) fn bookinfo() -> Case {
    let to = |cluster| WeightedCluster::new(ClusterChoice::Fixed(ClusterIndex(cluster)));
    let (mut hosts, mut virtual_hosts, mut rule_sets, mut routes) = (HostIndex::new(), vec![], vec![], vec![]);
    for (name, number) in ["productpage", "details", "ratings", "reviews"].into_iter().zip(0u32..) {
        for domain in ["", ".default", ".default.svc", ".default.svc.cluster.local"] {
            hosts.insert(&format!("{name}{domain}"), VirtualHostIndex(number));
        }
        virtual_hosts.push(VirtualHost {
            name: name.into(),
            ports: Ports::any(RuleSetIndex(number)),
            https_only: false,
        });
        let mut rules = vec![];
        if name == "reviews" {
            let jason = RouteMatch::builder().header("end-user", StringMatcher::exact("jason")).build();
            rules.push((jason, push(&mut routes, WeightedClusters::single(to(10)))));
        }
        let others = RouteMatch::builder().uri(StringMatcher::prefix("/")).build();
        let split = WeightedClusters::new(vec![(80, to(number)), (20, to(number + 20))]).unwrap();
        rules.push((others, push(&mut routes, split)));
        rule_sets.push(RuleSet::new(rules));
    }
    let request = Request::get("http://reviews:9080/reviews/0").header("end-user", "alice").body(()).unwrap();
    let routes = routes.into_iter().map(std::sync::Arc::new).collect();
    Case { table: RouteTable { hosts, virtual_hosts, rule_sets, routes, unknown: Unknown::PassThrough }, request }
}

fn push(routes: &mut Vec<Route>, split: WeightedClusters) -> RouteIndex {
    let resource = ResourceName { kind: "VirtualService".into(), namespace: "default".into(), name: "sample".into() };
    routes.push(Route {
        name: "".into(),
        action: Action::Forward(Forward::new(split)),
        fault: None,
        origin: RuleOrigin { resource, path: String::new(), place: None },
        request_headers: HeaderOps::default(),
        response_headers: HeaderOps::default(),
    });
    RouteIndex(routes.len() as u32 - 1)
}
