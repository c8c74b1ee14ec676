//! The compiled tables and a slow literal reading of Istio's text always agree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod oracle;

use std::collections::BTreeMap;

use http::Request;
use mesh_router::config::{
    Config, Destination, Gateway, HttpMatchRequest, HttpRoute, HttpRouteDestination, Resource, Server, ServerPort,
    Service, ServiceEntry, ServiceEntryPort, ServicePort, StringMatch, VirtualService,
};
use mesh_router::mesh::Mesh;
use mesh_router::options::Workload;
use mesh_router::request::{ListenerOrigin, Origin, RequestView};
use mesh_router::route::{Explanation, Resolution};
use oracle::{Asked, Asker, Decision, decide};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

const LISTENER: u16 = 8080;

fn text(choices: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    select(choices).prop_map(str::to_owned)
}

fn string_match(
    exact: &'static [&'static str],
    regexes: &'static [&'static str],
) -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        3 => text(exact).prop_map(|exact| StringMatch { exact: Some(exact), ..StringMatch::default() }),
        3 => text(exact).prop_filter_map("empty", |prefix| {
            (!prefix.is_empty()).then(|| StringMatch { prefix: Some(prefix), ..StringMatch::default() })
        }),
        1 => text(regexes).prop_map(|regex| StringMatch { regex: Some(regex), ..StringMatch::default() }),
    ]
}

const PATHS: &[&str] = &["/", "/a", "/a/", "/a/b", "/A/b", "/ab", "/b", "/b/c/d"];
const VALUES: &[&str] = &["", "x", "xy", "jason"];
const HEADERS: &[&str] = &["end-user", "X-Env", ":method", "host", ":path"];
const PARAMETERS: &[&str] = &["q", "Q", "r", "q=x"];
const AUTHORITIES: &[&str] = &[
    "a",
    "a.default",
    "a.other",
    "a.default.svc",
    "a.default.svc.cluster.local",
    "a.test.:8080",
    "a.test",
    "a.test:8080",
    "A.Test:81",
    "b.test",
    "x.a.test",
    "y.x.a.test:8080",
    "b.test:443",
    "nowhere.example",
    "a:8080",
    "b.other.svc.cluster.local:81",
    "a:",
    "a.test:x",
    "b.test:99999",
    "[::1]",
    "[::1]:8080",
];
const VS_HOSTS: &[&str] = &[
    "a",
    "b",
    "a.test",
    "b.test",
    "*.test",
    "*.a.test",
    "*.x.a.test",
    "*.example",
    "a.other.svc.cluster.local",
    "nowhere.example",
    "*",
];

fn named_matches(names: &'static [&'static str]) -> impl Strategy<Value = BTreeMap<String, Option<StringMatch>>> {
    let matcher = prop_oneof![
        4 => string_match(VALUES, &["x+", "x|xy", "j.*n", ".*"]).prop_map(Some),
        1 => Just(Some(StringMatch::default())),
        1 => Just(Some(StringMatch { regex: Some("*".into()), ..StringMatch::default() })),
        1 => Just(None),
    ];
    btree_map(text(names), matcher, 0..3)
}

prop_compose! {
    fn a_match()(
        uri in of(string_match(PATHS, &["/a.*", "/[ab]", ".*", "/a|/ab"])),
        method in of(string_match(&["GET", "POST", "G"], &["GET|PUT"])),
        scheme in of(string_match(&["http", "https"], &["https?"])),
        authority in of(string_match(&["a.test", "a.test:8080", "A.Test:81"], &["a\\..*"])),
        kinds in vec(0..10u8, 3),
        headers in named_matches(HEADERS),
        without_headers in named_matches(HEADERS),
        query_params in named_matches(PARAMETERS),
        ignore_uri_case in any::<bool>(),
        port in select(vec![0u32, 0, 0, 80, 81, 8080]),
        gateways in vec(text(&["mesh", "gw", "other/gw"]), 0..2),
        source in of(Just(())),
        source_namespace in text(&["", "", "default", "other"]),
    ) -> HttpMatchRequest {
        HttpMatchRequest {
            uri,
            method: method.filter(|_| kinds[0] < 3),
            scheme: scheme.filter(|_| kinds[1] < 2),
            authority: authority.filter(|_| kinds[2] < 2),
            headers: if kinds[0] < 4 { headers } else { BTreeMap::new() },
            without_headers: if kinds[1] > 7 { without_headers } else { BTreeMap::new() },
            query_params: if kinds[2] > 7 { query_params } else { BTreeMap::new() },
            ignore_uri_case,
            port,
            gateways: if kinds[0] > 7 { gateways } else { Vec::new() },
            source_labels: source.filter(|()| kinds[1] > 6).map(|()| ("app".into(), "web".into())).into_iter().collect(),
            source_namespace: if kinds[2] > 6 { source_namespace } else { String::new() },
            ..HttpMatchRequest::default()
        }
    }
}

prop_compose! {
    fn a_rule()(matches in vec(a_match(), 0..4), host in text(&["a", "a.test", "gone.example"])) -> HttpRoute {
        let destination = Some(Destination { host, ..Destination::default() });
        let route = vec![HttpRouteDestination { destination, ..HttpRouteDestination::default() }];
        HttpRoute { matches, route, ..HttpRoute::default() }
    }
}

prop_compose! {
    fn a_virtual_service()(
        hosts in vec(text(VS_HOSTS), 1..3),
        gateways in vec(text(&["mesh", "gw", "other/gw"]), 0..3),
        http in vec(a_rule(), 1..6),
        export_to in select(vec![vec![], vec!["."], vec!["*"], vec!["other"]]),
        namespace in select(vec!["default", "other"]),
        created in select(vec![None, Some("2024-01-01T00:00:00Z"), Some("2024-01-01T01:00:00+02:00")]),
    ) -> Resource<VirtualService> {
        let export_to = export_to.into_iter().map(str::to_owned).collect();
        let mut resource =
            Resource::new("", Some(namespace), VirtualService { hosts, gateways, http, export_to, ..VirtualService::default() });
        resource.meta.creation_timestamp = created.map(|created| created.parse().unwrap());
        resource
    }
}

prop_compose! {
    fn a_config()(
        mut virtual_services in vec(a_virtual_service(), 1..6),
        services in vec((select(vec!["a", "b"]), select(vec!["default", "other"]), vec(select(vec![80u32, 81, 8080]), 1..3)), 0..4),
        entries in vec((text(&["a.test", "b.test", "x.a.test", "*.a.test", "a.default"]), vec(select(vec![80u32, 81, 443, 8080]), 1..3), 0..4u8), 0..3),
        servers in vec(vec(text(&["*", "a.test", "*.test", "./a.test", "other/*", "*/b.test"]), 1..3), 1..3),
    ) -> Config {
        for (number, resource) in virtual_services.iter_mut().enumerate() {
            resource.meta.name = format!("vs{number}");
        }
        let mut config = Config { virtual_services, ..Config::default() };
        for (name, namespace, mut ports) in services {
            ports.dedup();
            if config.services.iter().any(|known| known.meta.name == name && known.meta.namespace.as_deref() == Some(namespace)) {
                continue;
            }
            let port = |port| ServicePort { name: format!("http-{port}"), port, ..ServicePort::default() };
            let spec = Service { ports: ports.into_iter().map(port).collect(), ..Service::default() };
            config.services.push(Resource::new(name, Some(namespace), spec));
        }
        for (number, (host, mut ports, kind)) in entries.into_iter().enumerate() {
            ports.sort_unstable();
            ports.dedup();
            let protocol = ["HTTP", "GRPC", "HTTP2", "TCP"][usize::from(kind)];
            let port = |number| ServiceEntryPort {
                number, name: format!("p{number}"), protocol: protocol.into(), ..ServiceEntryPort::default()
            };
            let ports = ports.into_iter().map(port).collect();
            let resolution = mesh_router::config::Resolution::Static;
            let spec = ServiceEntry { hosts: vec![host], ports, resolution, ..ServiceEntry::default() };
            config.service_entries.push(Resource::new(format!("se{number}"), Some("default"), spec));
        }
        for (number, (namespace, hosts)) in ["default", "other"].into_iter().zip(servers).enumerate() {
            let port = ServerPort {
                number: u32::from(LISTENER), name: format!("http{number}"), protocol: "HTTP".into(), ..ServerPort::default()
            };
            let server = Server { port: Some(port), hosts, ..Server::default() };
            let spec = Gateway { servers: vec![server], ..Gateway::default() };
            config.gateways.push(Resource::new("gw", Some(namespace), spec));
        }
        config
    }
}

prop_compose! {
    fn a_request()(
        method in text(&["GET", "POST", "PUT"]),
        scheme in text(&["http", "http", "https"]),
        authority in text(AUTHORITIES),
        path in text(PATHS),
        query in of(text(&["q=x", "q", "q=&q=x", "Q=xy&r=jason", "", "r=x&q=jason", "Q&q=x=y"])),
        headers in vec((text(&["end-user", "x-env", "X-Env"]), text(&["x", "xy", "jason", "y"])), 0..4),
    ) -> Asked {
        Asked { method, scheme, authority, path, query, headers }
    }
}

fn labels(names: &[&str]) -> BTreeMap<String, String> {
    names.iter().map(|name| ("app".to_owned(), (*name).to_owned())).collect()
}

fn request(asked: &Asked) -> Request<()> {
    let query = asked.query.as_ref().map_or(String::new(), |query| format!("?{query}"));
    let uri = format!("{}://{}{}{query}", asked.scheme, asked.authority, asked.path);
    let mut builder = Request::builder().method(asked.method.as_str()).uri(uri);
    for (name, value) in &asked.headers {
        builder = builder.header(name, value);
    }
    builder.body(()).unwrap()
}

/// What the compiled tables decide, in the oracle's words.
fn decision(mesh: &Mesh, origin: &Origin, asked: &Asked) -> Decision {
    let request = request(asked);
    let view = RequestView::new(request.method(), request.uri(), request.headers(), origin);
    let snapshot = mesh.snapshot();
    let resolution = snapshot.resolve(origin, &view);
    let mut explanation = Explanation::default();
    assert_eq!(snapshot.resolve_traced(origin, &view, &mut explanation), resolution, "explaining changes nothing");
    match resolution {
        Resolution::NoRoute | Resolution::NoPath => Decision::NoRoute,
        Resolution::Route(index) => {
            let from = &snapshot.route(origin, &view, index).unwrap().origin;
            let numbers: Vec<usize> =
                from.path.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect();
            match (&*from.resource.kind, numbers.as_slice()) {
                ("VirtualService", [rule, entry @ ..]) => Decision::Rule {
                    namespace: from.resource.namespace.to_string(),
                    name: from.resource.name.to_string(),
                    rule: *rule,
                    entry: entry.first().copied(),
                },
                _ => Decision::Service(from.resource.to_string()),
            }
        }
        _ => Decision::Unknown,
    }
}

/// The configuration without what validation kept back.
fn judged(mut config: Config, mesh: &Mesh) -> Config {
    let report = mesh.apply(config.clone()).unwrap();
    for quarantined in report.quarantined() {
        let name = &quarantined.resource;
        let kept = |meta: &mesh_router::config::Metadata| {
            meta.name != *name.name || meta.namespace.as_deref() != Some(&*name.namespace)
        };
        match &*name.kind {
            "VirtualService" => config.virtual_services.retain(|resource| kept(&resource.meta)),
            "ServiceEntry" => config.service_entries.retain(|resource| kept(&resource.meta)),
            "Gateway" => config.gateways.retain(|resource| kept(&resource.meta)),
            kind => panic!("{kind} is not made here"),
        }
    }
    config
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, max_local_rejects: 10_000_000, ..ProptestConfig::default() })]

    #[test]
    fn the_tables_and_the_oracle_agree(
        config in a_config(),
        requests in vec(a_request(), 24),
        labels in select(vec![labels(&[]), labels(&["web"]), labels(&["other"])]),
        namespace in select(vec!["default", "other"]),
    ) {
        let workload = Workload { namespace: namespace.into(), labels: labels.clone(), ..Workload::default() };
        let mesh = Mesh::builder().workload(workload).build();
        let config = judged(config, &mesh);
        for listener in [None, Some(LISTENER)] {
            let origin = match listener {
                None => Origin::Mesh,
                Some(port) => Origin::Listener(std::sync::Arc::new(ListenerOrigin::new(format!("http.{port}"), port))),
            };
            let asker = Asker { namespace: namespace.into(), labels: labels.clone(), listener };
            for asked in &requests {
                let expected = decide(&config, &asker, asked);
                prop_assert_eq!(decision(&mesh, &origin, asked), expected, "{:?} {:#?}", listener, asked);
            }
        }
    }
}
