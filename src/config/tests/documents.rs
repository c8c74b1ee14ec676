use super::{told, virtual_service};
use crate::config::{Config, TargetPort};
use crate::error::Severity;

const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";

fn read(text: &str) -> Config {
    Config::from_yaml(text, "a.yaml").unwrap()
}

/// A document of this apiVersion and kind.
fn document(api_version: &str, kind: &str) -> String {
    format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a, namespace: n}}\nspec: {{}}\n")
}

#[test]
fn streams_with_empty_documents() {
    for text in ["", "# nothing\n", "---\n", "---\n---\n", "\u{feff}---\n...\n---\n", "~\n", "\n\n"] {
        let config = read(text);
        assert!(config.problems.is_empty() && config.skipped.is_empty(), "{text:?}");
    }
    let text =
        format!("---\n---\n# a\n{}---\n...\n---\n{}", document("apps/v1", "Deployment"), document("v1", "Service"));
    let config = read(&text.replace('\n', "\r\n"));
    assert_eq!(config.skipped.into_iter().collect::<Vec<_>>(), [("Deployment".to_owned(), 1)]);
    assert_eq!(config.services[0].place("metadata").unwrap().line, 13);
}

#[test]
fn lists_of_resources() {
    let text = "\
apiVersion: v1
kind: List
items:
- apiVersion: networking.istio.io/v1alpha3
  kind: VirtualService
  metadata: {name: a, uid: x, managedFields: []}
  spec: {hosts: [a], http: []}
- {apiVersion: apps/v1, kind: Deployment}
- apiVersion: networking.istio.io/v1beta1
  kind: VirtualServiceList
  items:
  - {apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: b}, spec: {host: b}}
- ~
- a
";
    let config = read(text);
    let told: Vec<_> = config.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(
        told[0].starts_with("a.yaml:12:92: error: VirtualService default/b: spec.host: unknown field"),
        "{}",
        told[0]
    );
    assert!(told[1].starts_with("a.yaml:14:3: error: expected a resource, found the text \"a\""), "{}", told[1]);
    assert_eq!(config.virtual_services[0].place("spec.hosts[0]").unwrap().line, 7);
    assert_eq!(config.virtual_services[1].meta.name, "b");
}

#[test]
fn items_of_typed_lists_that_name_no_kind() {
    let item = "- metadata: {name: a}\n  spec: {hosts: [a]}\n";
    let list = |head: &str, items: &str| format!("{head}items:\n{items}");
    let services = "apiVersion: networking.istio.io/v1\nkind: VirtualServiceList\n";
    let config = read(&list(services, item));
    assert_eq!(config.problems, []);
    assert_eq!(config.virtual_services[0].place("spec.hosts[0]").unwrap().line, 5);
    let skipped = read(&list("apiVersion: v1\nkind: ConfigMapList\n", "- {metadata: {name: a}}\n"));
    assert_eq!((skipped.problems.len(), skipped.skipped["ConfigMap"]), (0, 1));

    let one = |text: String, part: &str| {
        let told = told(&text);
        assert!(told.len() == 1 && told[0].contains(part), "{told:#?}");
    };
    one(
        list("kind: VirtualServiceList\n", item),
        "a.yaml:3:3: error: VirtualService default/a: apiVersion: there is no",
    );
    one(list(&services.replace("v1", "v2"), item), "unknown version \"v2\" of VirtualService");
    // What names one of the two has to name both, and a list of anything says neither.
    one(list(services, &item.replace("- ", "- kind: VirtualService\n  ")), "there is no apiVersion");
    one(list(services, &item.replace("- ", "- apiVersion: networking.istio.io/v1\n  ")), "there is no kind");
    one(list("apiVersion: v1\nkind: List\n", item), "there is no apiVersion and no kind");
}

#[test]
fn versions_and_groups() {
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let config = read(&document(&format!("networking.istio.io/{version}"), "Gateway"));
        assert_eq!((config.gateways.len(), config.problems.len()), (1, 0));
    }
    for (version, kind) in [
        ("networking.istio.io/v2", "Gateway"),
        ("networking.istio.io", "VirtualService"),
        ("apps/v1", "VirtualService"),
        ("v1", "Gateway"),
        ("networking.istio.i/v1", "Gateway"),
        ("security.istio.io/v1", "DestinationRule"),
        ("networking.istio.io/v1", "Service"),
        ("networking.k8s.io/v1", "VirtualService"),
        ("v1", "EndpointSlice"),
        ("v2", "Pod"),
    ] {
        let config = read(&document(version, kind));
        assert_eq!(config.problems.len(), 1, "{version} {kind}");
        let problem = &config.problems[0];
        assert!(problem.is_error() && problem.place.as_ref().unwrap().line == 1, "{problem}");
        assert!(problem.help.as_deref().unwrap_or_default().starts_with("write `apiVersion: "), "{problem}");
        assert_eq!(config.rejected[0].to_string(), format!("{kind} n/a"));
    }
    for (version, kind) in [("serving.knative.dev/v1", "Service"), ("apps/v1", "Deployment"), ("v1", "ConfigMap")] {
        let config = read(&document(version, kind));
        assert_eq!((config.problems.len(), config.skipped[kind]), (0, 1), "{version} {kind}");
    }
}

#[test]
fn skipped_kinds_that_may_be_taken_for_others_are_named() {
    let istio = "Istio's has `apiVersion: networking.istio.io/v1`";
    for (version, kind, message, help) in [
        ("gateway.solo.io/v1", "VirtualService", "this VirtualService is none of Istio's, it is not read", istio),
        ("appmesh.k8s.aws/v1beta2", "VirtualService", "this VirtualService is none of Istio's, it is not read", istio),
        ("gateway.solo.io/v1", "Gateway", "this Gateway is none of Istio's, it is not read", istio),
        (GATEWAY_API, "Gateway", "this Gateway is none of Istio's, it is not read", istio),
        ("v1", "Endpoints", "Endpoints are not read", "write an EndpointSlice"),
        (GATEWAY_API, "HTTPRoute", "HTTPRoute is not supported: its rules do NOT apply", "write a VirtualService"),
        (GATEWAY_API, "GRPCRoute", "GRPCRoute is not supported: its rules do NOT apply", "write a VirtualService"),
        (GATEWAY_API, "TLSRoute", "TLSRoute is not supported: its rules do NOT apply", "write a VirtualService"),
        (GATEWAY_API, "TCPRoute", "TCPRoute is not supported: its rules do NOT apply", "write a VirtualService"),
    ] {
        let text = document(version, kind).replace("{}", "{virtualHost: {routes: 1}}");
        let expected = format!("a.yaml:2:1: warning: {kind} n/a: kind: {message} ({help})");
        assert_eq!(told(&text), [expected]);
        assert_eq!(read(&text).skipped[kind], 1);
    }
    for (version, kind) in [("apps/v1", "Endpoints"), ("other.io/v1", "HTTPRoute"), (GATEWAY_API, "ReferenceGrant")] {
        assert_eq!(told(&document(version, kind)), [""; 0], "{version} {kind}");
    }
}

#[test]
fn endpoints_that_a_slice_of_their_service_repeats_are_not_named() {
    let endpoints = |namespace: &str| document("v1", "Endpoints").replace("namespace: n", namespace);
    let slice = |namespace: &str, label: &str| {
        document("discovery.k8s.io/v1", "EndpointSlice")
            .replace("name: a, namespace: n", &format!("name: a-x7, {namespace}, labels: {{{label}}}"))
            .replace("spec: {}", "endpoints: []")
    };
    let of_a = "kubernetes.io/service-name: a";
    let told = |namespace: &str, slice: String| {
        let both = [endpoints(namespace), slice];
        let [one, other] = [[0, 1], [1, 0]].map(|order| told(&order.map(|number| both[number].clone()).join("---\n")));
        assert_eq!(one.len(), other.len(), "{one:#?} {other:#?}");
        one.len()
    };
    assert_eq!(told("namespace: n", slice("namespace: n", of_a)), 0);
    assert_eq!(told("labels: {}", slice("namespace: default", of_a)), 0);
    assert_eq!(told("namespace: n", slice("namespace: m", of_a)), 1, "it is of another Service");
    assert_eq!(told("namespace: n", slice("namespace: n", "kubernetes.io/service-name: b")), 1);
    assert_eq!(told("namespace: n", slice("namespace: n", "app: a")), 1);
}

#[test]
fn misspelt_kinds_and_keys() {
    for (wrong, right) in [
        ("virtualservice", "VirtualService"),
        ("VirtualServices", "VirtualService"),
        ("Virtualservice", "VirtualService"),
        ("destinationRule", "DestinationRule"),
        ("GateWay", "Gateway"),
    ] {
        let config = read(&document("networking.istio.io/v1", wrong));
        assert_eq!(config.problems.len(), 1, "{wrong}");
        let problem = config.problems[0].to_string();
        assert!(problem.contains(&format!("unknown kind {wrong:?} (write `kind: {right}`)")), "{problem}");
        assert_eq!(config.rejected[0].to_string(), format!("{right} n/a"));
    }
    let without = |line: &str| document("networking.istio.io/v1", "Gateway").replace(line, "");
    assert!(told(&without("apiVersion: networking.istio.io/v1\n"))[0].contains("there is no apiVersion"));
    assert!(told(&without("kind: Gateway\n"))[0].contains("there is no kind"));
    assert!(told(&without("spec: {}\n"))[0].contains("there is no spec"));
    assert!(told(&without("name: a, "))[0].contains("there is no name"));
    assert!(told(&without("metadata: {name: a, namespace: n}\n"))[0].contains("there is no name"));
    let misspelt = |key: &str, other: &str| told(&document("networking.istio.io/v1", "Gateway").replace(key, other));
    let one = |told: Vec<String>, part: &str| assert!(told.len() == 1 && told[0].contains(part), "{told:#?}");
    one(misspelt("apiVersion:", "piVersion:"), "did you mean \"apiVersion\"?");
    one(misspelt("apiVersion:", "apiversion:"), "did you mean \"apiVersion\"?");
    assert!(misspelt("apiVersion:", "group:")[0].contains("there is no apiVersion"));
    one(misspelt("kind:", "Kind:"), "did you mean \"kind\"?");
    one(misspelt("spec:", "specs:"), "did you mean \"spec\"?");
    one(misspelt("spec: {}", "spec: {}\nservers: []"), "it belongs below it");
    one(misspelt("name: a,", "name: a b,"), "\"a b\" is no name");
    one(misspelt("name: a,", "name: \"a ...\","), "remove the ellipsis");
    one(misspelt("name: a,", "name: 5,"), "expected a string, found the number 5");
}

#[test]
fn fragments() {
    for (text, part) in [
        ("- match: []\n", "below `spec.http` of a VirtualService"),
        ("- route: []\n  match: []\n", "below `spec.http` of a VirtualService"),
        ("- apiVersion: v1\n", "separate them by `---`"),
        ("- a\n", "this is a list"),
        ("match: []\nroute: []\n", "below `spec.http` of a VirtualService, as an entry"),
        ("hosts: [a]\nhttp: []\n", "below `spec` of a VirtualService"),
        ("host: a\nsubsets: []\n", "below `spec` of a DestinationRule"),
        ("selector: {}\nservers: []\n", "below `spec` of a Gateway"),
        ("replicas: 1\n", "no apiVersion and no kind"),
        ("a text\n", "expected a resource"),
        ("apiVersion: v1\nkind: [a]\n", "expected the name of a kind"),
    ] {
        let told = told(text);
        assert!(told.len() == 1 && told[0].contains(part), "{text}: {told:#?}");
        assert!(told[0].starts_with("a.yaml:"), "{}", told[0]);
    }
}

#[test]
fn istio_kinds_that_are_not_enforced() {
    for (version, kind, part) in [
        ("security.istio.io/v1", "AuthorizationPolicy", "requests are NOT authorized by it"),
        ("security.istio.io/v1", "RequestAuthentication", "NOT verified"),
        ("security.istio.io/v1beta1", "PeerAuthentication", "NOT enforced"),
        ("networking.istio.io/v1alpha3", "EnvoyFilter", "NOT applied"),
        ("networking.istio.io/v1", "Sidecar", "stays visible"),
        ("networking.istio.io/v1beta1", "ProxyConfig", "NOT applied"),
        ("networking.istio.io/v1", "WorkloadGroup", "no WorkloadEntry"),
        ("extensions.istio.io/v1alpha1", "WasmPlugin", "NOT run"),
        ("telemetry.istio.io/v1", "Telemetry", "NOT applied"),
        ("install.istio.io/v1alpha1", "IstioOperator", "NO effect"),
    ] {
        let config = read(&document(version, kind));
        let problem = &config.problems[0];
        assert_eq!((config.problems.len(), problem.severity), (1, Severity::Warning));
        assert_eq!(problem.resource.as_ref().unwrap().to_string(), format!("{kind} n/a"));
        assert!(problem.message.contains(part), "{problem}");
    }
}

#[test]
fn one_name_twice() {
    let good = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\nspec: {servers: []}\n";
    let other = good.replace("v1\n", "v1beta1\n").replace("name: a", "name: a, namespace: default");
    let config = Config::from_files([("a.yaml", good), ("b.yaml", &other)]).unwrap();
    let told: Vec<_> = config.problems.iter().map(ToString::to_string).collect();
    let expected = "b.yaml:3:12: error: Gateway default/a: metadata.name: there is a Gateway default/a already, at \
                    a.yaml:3:12; this one is left out (rename or remove one of them)";
    assert_eq!(told, [expected]);
    assert_eq!(config.gateways.len(), 1);
    assert_eq!(config.gateways[0].file(), Some("a.yaml"));
    assert!(config.rejected.is_empty(), "the first one stands");

    let broken = good.replace("servers: []", "servers: 1");
    let config = Config::from_files([("a.yaml", &*broken), ("b.yaml", good)]).unwrap();
    assert_eq!((config.problems.len(), config.gateways.len(), config.rejected.len()), (2, 0, 1));
    let elsewhere = good.replace("name: a", "name: a, namespace: b");
    assert_eq!(Config::from_files([("a.yaml", good), ("b.yaml", &elsewhere)]).unwrap().problems, []);
}

#[test]
fn syntax_errors_of_all_files() {
    let files = [
        ("a.yaml", "a: [1"),
        ("b.yaml", "kind: X\napiVersion: v1\n"),
        ("c.yaml", "a: 1\n\tb: 2\n"),
        ("d.yaml", "a: 1\na: 2\n"),
    ];
    let error = Config::from_files(files).unwrap_err();
    assert!(error.is_syntax());
    let told = error.to_string();
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines[0].starts_with("a.yaml:1:6: error: not valid YAML"), "{told}");
    assert!(lines[1].starts_with("c.yaml:2:") && lines[1].contains("not with tabs"), "{told}");
    assert!(
        lines[2].starts_with("d.yaml:2:1: error: the key \"a\" stands here twice (it stands first on line 1"),
        "{told}"
    );
    let template = told_one("metadata:\n  name: {{ .Values.name }}\n");
    assert!(template.starts_with("a.yaml:2:10") && template.contains("helm template"), "{template}");
}

#[test]
fn a_merge_that_cannot_be_is_no_yaml() {
    let text = |merge: &str| virtual_service(&format!("match: []\nroute: []\n{merge}"));
    for (merge, found) in [
        ("<<: 3", "the number 3"),
        ("<<: [3]", "the number 3"),
        ("<<: [{}, [a]]", "a list"),
        ("<<: ~", "null"),
        ("<<: !a {}", "the tag !a"),
        ("<<: &a\n  - x", "the text \"x\""),
    ] {
        assert!(Config::from_yaml(&text(merge), "a.yaml").unwrap_err().is_syntax(), "{merge}");
        let told = told_one(&text(merge));
        let expected =
            format!("a.yaml:9:5: error: not valid YAML: expected a mapping to merge, found {found} (`<<:` takes");
        assert!(told.starts_with(&expected), "{told}");
    }
    let list = format!("kind: List\nitems:\n- {}", text("<<: 3").replace('\n', "\n  "));
    assert!(told_one(&list).starts_with("a.yaml:11:7: error: not valid YAML: expected a mapping"), "{list}");
    let rule = "<<: [{match: [{uri: {exact: /a}}]}, {<<: {name: b}}]\nroute: []";
    let merged = &read(&virtual_service(rule)).virtual_services[0].spec.http[0];
    assert_eq!((merged.matches.len(), &*merged.name), (1, "b"));
    let mesh = crate::config::MeshConfig::from_yaml("domain: a\n<<: [3]\n", "a.yaml").unwrap_err();
    assert!(mesh.to_string().starts_with("a.yaml:2:1: error: not valid YAML: expected a mapping to merge"), "{mesh}");
}

#[test]
fn a_resource_whose_kind_is_a_misspelt_key_is_wrong_and_not_gone() {
    let config = read(&document("networking.istio.io/v1", "Gateway").replace("kind:", "Kind:"));
    let told = "a.yaml:2:1: error: Gateway n/a: Kind: unknown field \"Kind\" (did you mean \"kind\"?)";
    assert_eq!(config.problems[0].to_string(), told);
    assert_eq!(config.rejected[0].to_string(), "Gateway n/a");
    let config = read(&document("apps/v1", "Deployment").replace("kind:", "Kind:"));
    assert_eq!((config.problems.len(), config.rejected.len()), (1, 0));
}

#[test]
fn a_carriage_return_alone_ends_a_line() {
    let text = format!("{}tls: [}}\n", virtual_service("route: []"));
    for end in ["\n", "\r\n", "\r"] {
        let told = told_one(&text.replace('\n', end));
        assert!(told.starts_with("a.yaml:8:7: error: not valid YAML"), "{told}");
    }
    for end in ["\n", "\r\n", "\r"] {
        let told = told_one(&"a:\n\n  b: [1\n".replace('\n', end));
        assert!(told.starts_with("a.yaml:3:8: error: not valid YAML"), "{told}");
    }
}

#[test]
fn a_resource_whose_name_is_below_misspelt_keys_is_wrong_and_not_gone() {
    let good = document("networking.istio.io/v1", "Gateway");
    let was = "metadata: {name: a, namespace: n}";
    for (line, kept) in [
        ("Metadata: {name: a, namespace: n}", Some("n/a")),
        ("metdata: {name: a, namespace: n}", Some("n/a")),
        ("metadata: {Name: a, namespace: n}", Some("n/a")),
        ("meta: {nmae: a, nameSpace: n}", Some("n/a")),
        ("metadata: {labels: {a: b}, naem: a}", Some("default/a")),
        ("metadata:\nname: a\nnamespace: n", Some("n/a")),
        ("name: a\nnamespace: n", Some("n/a")),
        ("metadata: {generateName: a, clusterName: b}", None),
        ("metadata: {Name: {a: b}}", None),
    ] {
        let config = read(&good.replace(was, line));
        let rejected: Vec<_> = config.rejected.iter().map(ToString::to_string).collect();
        assert_eq!(rejected, Vec::from_iter(kept.map(|name| format!("Gateway {name}"))), "{line}");
        // It is the last version's name alone: another resource may have it.
        let config = read(&format!("{}---\n{good}", good.replace(was, line)));
        let read = config.gateways.iter().map(|gateway| gateway.name_of("Gateway"));
        assert_eq!(read.map(|name| config.rejected.contains(&name)).collect::<Vec<_>>(), [false], "{line}");
    }
}

fn told_one(text: &str) -> String {
    let told = told(text);
    assert_eq!(told.len(), 1, "{told:#?}");
    told[0].clone()
}

#[test]
fn kubernetes_kinds_are_read_leniently() {
    let text = "\
apiVersion: v1
kind: Service
metadata: {name: s, namespace: n, annotations: {networking.istio.io/exportTo: '.'}, ownerReferences: []}
spec:
  clusterIP: None
  type: ClusterIP
  ipFamilies: [IPv4]
  ports:
  - {name: http, port: 80, targetPort: web, appProtocol: kubernetes.io/h2c, nodePort: 3}
  - {port: 81, targetPort: 8081, protocol: TCP}
  selector: {app: s}
  trafficDistribution: PreferClose
status: {loadBalancer: {}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s-1, namespace: n, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
endpoints:
- addresses: [10.0.0.1]
  conditions: {ready: true, serving: null, terminating: false}
  targetRef: {kind: Pod, name: s-pod, namespace: n, uid: u}
  nodeName: node
  zone: z
  hints: {forZones: [{name: z}]}
ports: [{name: '', port: 8080, protocol: TCP}, {name: null, port: null}]
---
apiVersion: v1
kind: Pod
metadata: {name: s-pod, namespace: n, labels: {app: s, version: v1}}
spec: {nodeName: node, serviceAccountName: sa, containers: [{name: c}]}
status: {podIP: 10.0.0.1, phase: Running, conditions: [{type: Ready, status: 'True', reason: x}]}
---
apiVersion: v1
kind: Node
metadata: {name: node, labels: {topology.kubernetes.io/zone: z}}
spec: {podCIDR: 10.0.0.0/24}
status: {capacity: {cpu: 2}}
";
    let config = read(text);
    assert_eq!(config.problems, []);
    let service = &config.services[0].spec;
    assert_eq!((&*service.cluster_ip, &*service.service_type), ("None", "ClusterIP"));
    assert_eq!(service.ports[0].target_port, Some(TargetPort::Name("web".to_owned())));
    assert_eq!(service.ports[1].target_port, Some(TargetPort::Number(8081)));
    let slice = &config.endpoint_slices[0];
    assert_eq!(slice.spec.endpoints[0].conditions.as_ref().unwrap().ready, Some(true));
    assert_eq!(slice.spec.endpoints[0].target_ref.as_ref().unwrap().name, "s-pod");
    assert_eq!((slice.spec.ports[0].port, slice.spec.ports[1].port), (Some(8080), None));
    assert_eq!(slice.place("endpoints[0].nodeName").unwrap().line, 23);
    let pod = &config.pods[0];
    assert_eq!(pod.meta.labels["version"], "v1");
    assert_eq!(pod.spec.status.as_ref().unwrap().pod_ip, "10.0.0.1");
    assert_eq!(pod.spec.status.as_ref().unwrap().conditions[0].condition_type, "Ready");
    assert_eq!(pod.spec.spec.as_ref().unwrap().service_account_name, "sa");
    assert_eq!(config.nodes[0].meta.labels["topology.kubernetes.io/zone"], "z");
    let wrong = told_one("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: http}]}\n");
    assert!(wrong.contains("spec.ports[0].port: expected a whole number"), "{wrong}");
}

#[test]
fn a_creation_that_is_no_point_in_time_is_told() {
    let of = |created: &str| {
        virtual_service("route: []").replace("name: a", &format!("name: a, creationTimestamp: {created}"))
    };
    for created in ["null", "2024-01-01T00:00:00Z", "'2024-01-01T02:00:00.25+02:00'"] {
        assert_eq!(told(&of(created)), [""; 0], "{created}");
    }
    assert_eq!(
        told(&of("2024-01-01")),
        [
            "a.yaml:3:21: error: VirtualService default/a: metadata.creationTimestamp: \"2024-01-01\" is no point in time \
          (write it as \"2024-01-31T09:30:00Z\")"
        ]
    );
    assert_eq!(
        told(&of("2024")),
        [
            "a.yaml:3:21: error: VirtualService default/a: metadata.creationTimestamp: expected a point in time, found the \
          number 2024"
        ]
    );
}
