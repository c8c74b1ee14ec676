//! What a DestinationRule says of connections.

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::error::{Problem, Severity};
use crate::options::Workload;
use crate::upstream::{
    ConnectionSettings, Http2KeepAlive, Identity, Pem, Protocol, ProxyVersion, TcpKeepalive, TlsMode, TlsSettings,
};

pub(super) const ENTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: up}
spec:
  hosts: [up.test]
  resolution: STATIC
  ports:
  - {number: 80, name: http, protocol: HTTP}
  - {number: 81, name: grpc, protocol: GRPC}
  - {number: 82, name: raw, protocol: ''}
  endpoints: [{address: 10.0.0.9, labels: {version: v1}}]
  subjectAltNames: [entry.test]
---
apiVersion: v1
kind: Secret
metadata: {name: whole}
stringData: {tls.crt: chain, tls.key: key, ca.crt: roots, ca.crl: revoked}
---
apiVersion: v1
kind: Secret
metadata: {name: parted}
stringData: {cert: chain, key: key}
---
apiVersion: v1
kind: Secret
metadata: {name: parted-cacert}
stringData: {cacert: others}
---
apiVersion: v1
kind: Secret
metadata: {name: foreign, namespace: elsewhere}
stringData: {ca.crt: roots}
---
";

/// What holds for a port, and for the subset `v1` of it, by a rule for `up.test`.
fn of_policy(policy: &str, port: u16) -> (ConnectionSettings, ConnectionSettings, Report) {
    let rule = format!(
        "{ENTRY}
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: up}}
spec:
  host: up.test
  subsets: [{{name: v1, labels: {{version: v1}}}}]
  trafficPolicy: {policy}
---
"
    );
    let routes = format!(
        "hosts: [it.test]\nhttp: [{{route: [{{destination: {{host: up.test, port: {{number: {port}}}}}}}], \
         mirrors: [{{destination: {{host: up.test, subset: v1, port: {{number: {port}}}}}}}]}}]"
    );
    let mesh = Mesh::builder().workload(Workload::default()).build();
    let text = format!("{SERVICES}{rule}{}", virtual_service("it", &routes));
    let report = mesh.apply(Config::from_yaml(&text, "mesh/it.yaml").unwrap()).unwrap();
    let snapshot = mesh.snapshot();
    let of = |subset: &str| {
        let mut clusters = snapshot.clusters();
        let key = |key: &crate::upstream::ClusterKey| (&*key.host, &*key.subset, key.port) == ("up.test", subset, port);
        let cluster = clusters.find(|cluster| key(&cluster.key)).unwrap_or_else(|| panic!("{report}"));
        ConnectionSettings::clone(&cluster.settings().connection)
    };
    (of(""), of("v1"), report)
}

/// The problems besides that names of certificates which nothing looks at are in the ServiceEntry, and that the texts
/// in the Secrets are no certificates.
fn problems(report: &Report) -> Vec<&Problem> {
    let other = |problem: &&Problem| problem.path != NAMES && !problem.message.contains("cannot be used");
    report.problems().iter().filter(other).collect()
}

const NAMES: &str = "spec.subjectAltNames";

fn whole(policy: &str) -> ConnectionSettings {
    let (whole, subset, report) = of_policy(policy, 80);
    assert_eq!(problems(&report), Vec::<&Problem>::new(), "{policy}");
    assert_eq!(whole, subset, "{policy}");
    whole
}

fn tls(policy: &str) -> TlsSettings {
    let settings = whole(&format!("{{tls: {policy}}}"));
    TlsSettings::clone(settings.tls.as_deref().unwrap())
}

fn text(text: &str) -> Pem {
    Pem::Text(Arc::from(text.as_bytes()))
}

#[test]
fn every_word_of_connection_pool_arrives() {
    let policy = "{connectionPool: {tcp: {connectTimeout: 1s, tcpKeepalive: {probes: 3, time: 60s, interval: 5s}, \
         maxConnectionDuration: 2h, idleTimeout: 7s}, http: {maxRequestsPerConnection: 9, idleTimeout: 90s, \
         maxConcurrentStreams: 10, http2KeepAlive: {interval: 30s, timeout: 3s}}}, proxyProtocol: {version: V2}}";
    let (settings, of_subset, report) = of_policy(policy, 81);
    assert_eq!((problems(&report), &settings), (Vec::new(), &of_subset));
    let keepalive = TcpKeepalive {
        probes: NonZeroU32::new(3),
        time: Some(Duration::from_secs(60)),
        interval: Some(Duration::from_secs(5)),
    };
    let expected = ConnectionSettings {
        connect_timeout: Duration::from_secs(1),
        protocol: Protocol::Http2,
        tls: None,
        keepalive: Some(keepalive),
        idle_timeout: Some(Duration::from_secs(90)),
        max_connection_duration: Some(Duration::from_secs(7200)),
        max_requests: NonZeroU32::new(9),
        max_concurrent_streams: NonZeroU32::new(10),
        http2_keep_alive: Some(Http2KeepAlive::new(Duration::from_secs(30), Duration::from_secs(3))),
        proxy_protocol: Some(ProxyVersion::V2),
    };
    assert_eq!(settings, expected);
}

#[test]
fn what_is_not_said_is_istios_default() {
    assert_eq!(whole("{loadBalancer: {simple: RANDOM}}"), ConnectionSettings::default());
    let idle = whole("{connectionPool: {tcp: {idleTimeout: 7s, tcpKeepalive: {}}, http: {}}}");
    assert_eq!(idle.idle_timeout, Some(Duration::from_secs(7)), "that of tcp");
    assert_eq!(idle.keepalive, Some(TcpKeepalive::default()), "as the system has it");
    assert_eq!((idle.max_requests, idle.max_concurrent_streams), (None, None));
    assert_eq!(whole("{proxyProtocol: {}}").proxy_protocol, Some(ProxyVersion::V1));
}

#[test]
fn the_protocol_is_the_clients_the_upgrades_or_the_ports() {
    let upgrade = "{connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}";
    let client = "{connectionPool: {http: {useClientProtocol: true}}}";
    let nothing = "{loadBalancer: {simple: RANDOM}}";
    let kept = "{connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}}";
    for (policy, port, protocol) in [
        (nothing, 80, Protocol::Http1),
        (nothing, 81, Protocol::Http2),
        (nothing, 82, Protocol::Sniffed),
        (kept, 82, Protocol::Sniffed),
        (upgrade, 80, Protocol::Http2),
        (upgrade, 82, Protocol::Http2),
        (kept, 81, Protocol::Http2),
        (client, 80, Protocol::SameAsDownstream),
        (client, 81, Protocol::SameAsDownstream),
        (client, 82, Protocol::SameAsDownstream),
    ] {
        assert_eq!(of_policy(policy, port).0.protocol, protocol, "{policy} {port}");
    }
}

#[test]
fn tls_names_files_beside_its_own() {
    let simple = tls("{mode: SIMPLE, caCertificates: ca.crt, caCrl: /etc/ca.crl, sni: sni.test}");
    let expected = TlsSettings {
        roots: Some(Pem::File("mesh/ca.crt".into())),
        revoked: Some(Pem::File("/etc/ca.crl".into())),
        server_name: Some("sni.test".into()),
        subject_alt_names: Box::new(["entry.test".into()]),
        verify_name: false,
        ..TlsSettings::new(TlsMode::Simple)
    };
    assert_eq!(simple, expected);
    let mutual = tls("{mode: MUTUAL, clientCertificate: a.crt, privateKey: a.key, subjectAltNames: [rule.test]}");
    let identity = Identity { certificates: Pem::File("mesh/a.crt".into()), key: Pem::File("mesh/a.key".into()) };
    let expected = TlsSettings {
        identity: Some(identity),
        subject_alt_names: Box::new(["rule.test".into()]),
        verify_name: false,
        ..TlsSettings::new(TlsMode::Simple)
    };
    assert_eq!(mutual, expected);
    assert!(tls("{mode: SIMPLE, insecureSkipVerify: true}").skip_verify);
}

#[test]
fn a_name_that_no_handshake_says_is_named() {
    for sni in ["*.w.test", "1.2.3.4", "a.123", "x.test:80", "x.test."] {
        let (settings, _, report) = of_policy(&format!("{{tls: {{mode: SIMPLE, sni: '{sni}'}}}}"), 80);
        assert_eq!(settings.tls.unwrap().server_name.as_deref(), Some(sni));
        let [problem] = problems(&report)[..] else { panic!("{report}") };
        assert_eq!((problem.path.as_str(), problem.severity), ("spec.trafficPolicy.tls.sni", Severity::Warning));
        let is_placed = problem.place.as_ref().is_some_and(|place| &*place.file == "mesh/it.yaml" && place.line > 0);
        assert!(is_placed && problem.message.starts_with("not yet honored: "), "{problem}");
    }
    assert_eq!(tls("{mode: SIMPLE, sni: a_b.test}").server_name.as_deref(), Some("a_b.test"));
}

#[test]
fn tl1_plain_text_is_what_holds_anyway_and_that_is_said() {
    for policy in ["{tls: {mode: DISABLE}}", "{tls: {}}", "{portLevelSettings: [{port: {number: 80}, tls: {}}]}"] {
        let (settings, _, report) = of_policy(policy, 80);
        assert_eq!(settings.tls, None, "{policy}");
        let [problem] = problems(&report)[..] else { panic!("{report}") };
        assert!(problem.path.ends_with(".tls") && problem.message.starts_with("without effect: "), "{problem}");
    }
}

#[test]
fn names_of_certificates_that_nothing_looks_at_are_named() {
    for (policy, expected) in [
        ("{tls: {mode: SIMPLE}}", false),
        ("{tls: {mode: SIMPLE, subjectAltNames: [rule.test]}}", true),
        ("{tls: {mode: DISABLE}}", true),
        ("{portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]}", false),
        ("{portLevelSettings: [{port: {number: 81}, tls: {mode: SIMPLE}}]}", false),
        ("{loadBalancer: {simple: RANDOM}}", true),
    ] {
        let (.., report) = of_policy(policy, 80);
        let named = report.problems().iter().any(|problem| problem.path == NAMES);
        assert_eq!(named, expected, "{policy}\n{report}");
    }
}

#[test]
fn tls_reads_secrets_of_the_workloads_namespace() {
    let simple = tls("{mode: SIMPLE, credentialName: whole}");
    assert_eq!((simple.identity, simple.roots), (None, Some(text("roots"))));
    assert_eq!(simple.revoked, Some(text("revoked")));
    let mutual = tls("{mode: MUTUAL, credentialName: whole}");
    assert_eq!(mutual.identity, Some(Identity { certificates: text("chain"), key: text("key") }));
    let parted = tls("{mode: MUTUAL, credentialName: parted}");
    assert_eq!(parted.identity, Some(Identity { certificates: text("chain"), key: text("key") }));
    assert_eq!(parted.roots, Some(text("others")));
}

#[test]
fn a_secret_that_is_not_there_is_named_and_secures_nothing() {
    for credential in ["nowhere", "foreign"] {
        let (settings, _, report) = of_policy(&format!("{{tls: {{mode: SIMPLE, credentialName: {credential}}}}}"), 80);
        let missing = Pem::Missing(format!("the Secret default/{credential}").into());
        assert_eq!(settings.tls.unwrap().roots, Some(missing));
        let [problem] = report.problems() else { panic!("{report}") };
        assert_eq!(problem.path, "spec.trafficPolicy.tls.credentialName");
        assert!(problem.message.contains(&format!("no Secret default/{credential}")), "{problem}");
        assert!(report.fails_check());
    }
}

#[test]
fn the_mesh_has_names_of_its_own() {
    let (whole, subset, report) = of_policy("{tls: {mode: ISTIO_MUTUAL}}", 80);
    let named = |name: &str| TlsSettings { server_name: Some(name.into()), ..TlsSettings::new(TlsMode::IstioMutual) };
    assert_eq!(whole.tls.as_deref(), Some(&named("outbound_.80_._.up.test")));
    assert_eq!(subset.tls.as_deref(), Some(&named("outbound_.80_.v1_.up.test")));
    let [problem] = problems(&report)[..] else { panic!("{report}") };
    assert_eq!(problem.path, "spec.trafficPolicy.tls.mode");
    assert!(problem.message.starts_with("ISTIO_MUTUAL needs a Transport"), "who knows whether it has one: {problem}");
}

#[test]
fn what_only_the_owner_of_a_connection_honors_is_named_for_another_client() {
    let rules = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: up}
spec:
  host: up.test
  trafficPolicy:
    tls: {mode: SIMPLE}
    connectionPool: {tcp: {connectTimeout: 1s}, http: {idleTimeout: 5s, http2MaxRequests: 9}}
    portLevelSettings: [{port: {number: 81}, connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}]
  subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {proxyProtocol: {version: V1}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: up}
spec:
  hosts: [up.test]
  http: [{retries: {attempts: 1, perTryTimeout: 1s}, route: [{destination: {host: up.test, subset: v1}}]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: local}
spec:
  hosts: [local.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.8}, {address: 'unix:///run/local.sock'}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: local}
spec: {address: 'unix:///run/local.sock'}
";
    let named = |foreign_client| {
        let options = MeshOptions { foreign_client, ..MeshOptions::default() };
        let (_, report) = published(&format!("{ENTRY}{rules}"), options);
        let paths = problems(&report).into_iter().map(|problem| problem.path.clone());
        let mut paths: Vec<String> = paths.filter(|path| !path.contains("tls.")).collect();
        paths.sort();
        paths
    };
    let foreign = named(true);
    for path in [
        "spec.address",
        "spec.endpoints[1].address",
        "spec.http[0].retries.perTryTimeout",
        "spec.subsets[0].trafficPolicy.proxyProtocol",
        "spec.trafficPolicy.connectionPool.http.idleTimeout",
        "spec.trafficPolicy.connectionPool.tcp.connectTimeout",
        "spec.trafficPolicy.portLevelSettings[0].connectionPool.http.h2UpgradePolicy",
        "spec.trafficPolicy.tls",
    ] {
        assert!(foreign.iter().any(|named| named == path), "{path} in {foreign:?}");
        assert!(!named(false).iter().any(|named| named == path), "{path} is honored by the transport");
    }
    assert!(!foreign.iter().any(|path| path.contains("http2MaxRequests")), "{foreign:?}");
}

#[test]
fn settings_of_http2_for_connections_of_http1_are_named() {
    const HTTP: &str = "maxConcurrentStreams: 10, http2KeepAlive: {interval: 30s, timeout: 3s}";
    let named = |host: &str, policy: &str| {
        let rule = format!(
            "{ENTRY}
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: it}}
spec: {{host: '{host}', trafficPolicy: {policy}}}
---
"
        );
        let (_, report) = published(&rule, MeshOptions::default());
        let without = report.problems().iter().filter(|problem| problem.message.contains("speak HTTP/1"));
        without.map(|problem| problem.path.clone()).collect::<Vec<_>>()
    };
    let pool = |more: &str| format!("connectionPool: {{http: {{{more}{HTTP}}}}}");
    let at = |port: u16, more: &str| format!("{{portLevelSettings: [{{port: {{number: {port}}}, {}}}]}}", pool(more));
    let of_host =
        ["maxConcurrentStreams", "http2KeepAlive"].map(|f| format!("spec.trafficPolicy.connectionPool.http.{f}"));
    let of_port = of_host.clone().map(|path| path.replace("trafficPolicy.", "trafficPolicy.portLevelSettings[0]."));
    assert_eq!(named("a.test", &format!("{{{}}}", pool(""))), of_host);
    assert_eq!(named("up.test", &at(80, "")), of_port);
    for (host, policy) in [
        ("a.test", format!("{{{}}}", pool("h2UpgradePolicy: UPGRADE, "))),
        ("a.test", format!("{{{}}}", pool("useClientProtocol: true, "))),
        ("*.test", format!("{{{}}}", pool(""))),
        ("gone.test", format!("{{{}}}", pool(""))),
        ("up.test", format!("{{{}}}", pool(""))),
        ("up.test", at(81, "")),
        ("up.test", at(82, "")),
        ("up.test", at(99, "")),
    ] {
        assert_eq!(named(host, &policy), [""; 0], "{host} {policy}");
    }
}
