//! ServiceEntries and WorkloadEntries.

use mesh_router::options::Workload;

use super::{list, publish, publish_for};

/// A ServiceEntry of the namespace `default`.
fn entry(name: &str, spec: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec: {spec}
---
"
    )
}

const HTTP: &str = "ports: [{number: 80, name: http, protocol: HTTP}]";

/// A WorkloadEntry with more of its metadata, its spec and its status.
fn workload(name: &str, metadata: &str, spec: &str, status: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, {metadata}}}
spec: {spec}
status: {status}
---
"
    )
}

#[test]
fn se3_the_port_is_that_of_the_endpoint_else_the_target_port_else_the_number() {
    let published = publish(&entry(
        "a",
        "{hosts: [a.test], resolution: STATIC,
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}, {number: 81, name: more, protocol: HTTP}],
  endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2, ports: {http: 9080, more: 9081}}]}",
    ));
    assert_eq!(published.addresses("outbound|80||a.test"), list(&["10.0.0.1:8080", "10.0.0.2:9080"]));
    assert_eq!(published.addresses("outbound|81||a.test"), list(&["10.0.0.1:81", "10.0.0.2:9081"]));
}

#[test]
fn an_endpoint_that_is_listed_twice_stands_once_as_it_is_listed_first() {
    let endpoints = "[{address: 10.0.0.1, weight: 2}, {address: 10.0.0.2, weight: 2}, {address: 10.0.0.1, weight: 3}]";
    let spec = format!("{{hosts: [a.test], resolution: STATIC, {HTTP}, endpoints: {endpoints}}}");
    let published = publish(&entry("a", &spec));
    let view = published.cluster("outbound|80||a.test").unwrap().view();
    let weights: Vec<_> = view.iter().map(|endpoint| (endpoint.address.to_string(), endpoint.weight)).collect();
    assert_eq!(weights, [("10.0.0.1:80".to_owned(), 2), ("10.0.0.2:80".to_owned(), 2)]);
}

#[test]
fn se3_a_unix_socket_has_no_port() {
    let spec = format!("{{hosts: [a.test], resolution: STATIC, {HTTP}, endpoints: [{{address: 'unix:///run/a'}}]}}");
    assert_eq!(publish(&entry("a", &spec)).addresses("outbound|80||a.test"), list(&["unix:///run/a"]));
}

#[test]
fn se4_weights_default_to_1_and_localities_to_the_label() {
    let published = publish(&entry(
        "a",
        &format!(
            "{{hosts: [a.test], resolution: STATIC, {HTTP}, endpoints: [
  {{address: 10.0.0.1, weight: 5, locality: eu/z1/s, labels: {{istio-locality: no.where}}}},
  {{address: 10.0.0.2, labels: {{istio-locality: eu.z2}}}},
  {{address: 10.0.0.3}}]}}"
        ),
    ));
    let endpoints = published.endpoints("outbound|80||a.test");
    let seen: Vec<_> = endpoints.iter().map(|endpoint| (endpoint.weight, &*endpoint.locality)).collect();
    assert_eq!(seen, [(5, "eu/z1/s"), (1, "eu/z2"), (1, "")]);
    assert_eq!(published.labels("outbound|80||a.test")["topology.kubernetes.io/zone"], "z1");
}

#[test]
fn se5_nothing_selected_is_a_cluster_where_addresses_are_listed_and_none_where_names_are() {
    for (resolution, expected) in [("STATIC", list(&[])), ("DNS", None), ("DNS_ROUND_ROBIN", None)] {
        let spec =
            format!("{{hosts: [a.test], resolution: {resolution}, {HTTP}, workloadSelector: {{labels: {{app: a}}}}}}");
        assert_eq!(publish(&entry("a", &spec)).addresses("outbound|80||a.test"), expected, "{resolution}");
    }
    let spec = format!("{{hosts: [a.test], resolution: DNS, {HTTP}}}");
    assert_eq!(publish(&entry("a", &spec)).addresses("outbound|80||a.test"), list(&[]), "never resolved");
}

#[test]
fn se5_a_subset_of_names_that_has_none_is_no_cluster() {
    let rules = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a.test, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.test]
  http: [{route: [{destination: {host: a.test, subset: v1}, weight: 1}, {destination: {host: a.test, subset: v2}, weight: 1}]}]
";
    let spec = format!(
        "{{hosts: [a.test], resolution: DNS, {HTTP}, endpoints: [{{address: one.test, labels: {{version: v1}}}}]}}"
    );
    let published = publish(&(entry("a", &spec) + rules));
    assert_eq!(published.addresses("outbound|80|v1|a.test"), list(&[]));
    assert_eq!(published.addresses("outbound|80|v2|a.test"), None);
}

#[test]
fn se6_every_host_has_the_ports_endpoints_and_addresses() {
    let spec = format!(
        "{{hosts: [a.test, B.test, '*.c.test'], addresses: [240.0.0.1, 'fd00::1', 10.5.0.0/16, 10.6.0.1/32, 'fd00::2/128'],
  resolution: STATIC, {HTTP},
  endpoints: [{{address: 10.0.0.1}}]}}"
    );
    let published = publish(&entry("a", &spec));
    for host in ["a.test", "b.test", "*.c.test"] {
        assert_eq!(published.addresses(&format!("outbound|80||{host}")), list(&["10.0.0.1:80"]), "{host}");
    }
    for (authority, taken) in [
        ("a.test", true),
        ("B.TEST:80", true),
        ("x.c.test", true),
        ("y.x.c.test", true),
        ("c.test", false),
        ("240.0.0.1", true),
        ("[fd00::1]", true),
        ("10.5.0.7", false),
        ("10.6.0.1", true),
        ("10.6.0.1.", false),
        ("a.test.", true),
        ("x.c.test.", true),
        ("[fd00::2]", true),
        ("a.test:81", false),
    ] {
        assert_eq!(published.taken_by(authority).is_some(), taken, "{authority}");
    }
    let range = "mesh.yaml:5:79: warning: ServiceEntry default/a: spec.addresses[2]: not yet honored: a range of \
                 addresses stands for no host in a request";
    assert_eq!(published.warnings(), [range]);
}

#[test]
fn a_port_of_udp_is_none() {
    let spec = "{hosts: [a.test], resolution: STATIC, endpoints: [{address: 10.0.0.1}],
  ports: [{number: 53, name: dns, protocol: UDP}, {number: 80, name: http, protocol: HTTP}]}";
    let published = publish(&entry("a", spec));
    assert_eq!(published.addresses("outbound|53||a.test"), None);
    assert_eq!(published.addresses("outbound|80||a.test"), list(&["10.0.0.1:80"]));
}

#[test]
fn se7_the_oldest_definition_is_the_service_and_all_give_endpoints() {
    let dated = |name: &str, year: u32, ports: &str, address: &str| {
        entry(
            &format!("{name}, creationTimestamp: '{year}-01-01T00:00:00Z'"),
            &format!("{{hosts: [a.test], resolution: STATIC, {ports}, endpoints: [{{address: {address}}}]}}"),
        )
    };
    let young =
        "ports: [{number: 80, name: http, protocol: HTTP, targetPort: 9000}, {number: 90, name: x, protocol: HTTP}]";
    let text = dated("young", 2025, young, "10.0.0.2") + &dated("old", 2024, HTTP, "10.0.0.1");
    let published = publish(&text);
    assert_eq!(published.addresses("outbound|80||a.test"), list(&["10.0.0.1:80", "10.0.0.2:9000"]));
    assert_eq!(published.addresses("outbound|90||a.test"), list(&["10.0.0.2:90"]), "the younger one's port");
    assert_eq!(published.taken_by("a.test:90").as_deref(), Some("ServiceEntry default/old"));
}

/// One entry for the port of HTTP and another for that of HTTPS is how the mesh is told of a site.
#[test]
fn entries_that_differ_in_nothing_else_give_their_ports_to_one_service() {
    let http = "ports: [{number: 80, name: http, protocol: HTTP}]";
    let more = "ports: [{number: 8080, name: more, protocol: HTTP}]";
    let one =
        entry("one", &format!("{{hosts: [a.test], resolution: DNS, {http}, endpoints: [{{address: 10.0.0.1}}]}}"));
    let ports = |metadata: &str, spec: &str| {
        let spec = format!("{{hosts: [a.test], {more}, endpoints: [{{address: 10.0.0.2}}], {spec}}}");
        let published = publish(&(one.clone() + &entry(&format!("two{metadata}"), &spec)));
        [80, 8080].map(|port| published.addresses(&format!("outbound|{port}||a.test")))
    };
    let (first, second) = (list(&["10.0.0.1:80"]), list(&["10.0.0.2:8080"]));
    assert_eq!(ports("", "resolution: DNS"), [first.clone(), second.clone()]);
    assert_eq!(ports("", "resolution: DNS_ROUND_ROBIN"), [first.clone(), None]);
    assert_eq!(ports(", labels: {app: a}", "resolution: DNS"), [first.clone(), None]);
    assert_eq!(ports(", namespace: other", "resolution: DNS"), [first.clone(), None]);
    assert_eq!(ports("", "resolution: DNS, exportTo: ['.']"), [None, second], "what is for a namespace comes first");
}

/// What is looked up is told apart by the numbers of ports, what is listed by their names.
#[test]
fn the_endpoints_of_another_entry_serve_its_ports() {
    let of = |resolution: &str| {
        let entry = |name: &str, number: u16, address: &str| {
            let port = format!("ports: [{{number: {number}, name: http, protocol: HTTP}}]");
            let spec =
                format!("{{hosts: [a.test], resolution: {resolution}, {port}, endpoints: [{{address: {address}}}]}}");
            self::entry(name, &spec)
        };
        let published = publish(&(entry("one", 80, "10.0.0.1") + &entry("two", 8080, "10.0.0.2")));
        (published.addresses("outbound|80||a.test"), published.addresses("outbound|8080||a.test"))
    };
    let both = list(&["10.0.0.1:80", "10.0.0.2:8080"]);
    assert_eq!(of("STATIC"), (both.clone(), both));
    let each = (list(&["10.0.0.1:80"]), list(&["10.0.0.2:8080"]));
    assert_eq!(of("DNS"), each);
    assert_eq!(of("DNS_ROUND_ROBIN"), each);
}

#[test]
fn what_is_older_goes_by_the_instant_not_by_its_text() {
    let dated = |name: &str, created: &str| {
        entry(
            &format!("{name}, creationTimestamp: '{created}'"),
            &format!("{{hosts: [a.test], resolution: STATIC, {HTTP}, endpoints: [{{address: 10.0.0.1}}]}}"),
        )
    };
    let older = |one: &str, other: &str| publish(&(dated("one", one) + &dated("other", other))).taken_by("a.test");
    let of = |name: &str| Some(format!("ServiceEntry default/{name}"));
    assert_eq!(older("2024-01-01T00:00:00Z", "2024-01-01T01:00:00+02:00"), of("other"));
    assert_eq!(older("2024-01-01T00:00:00-02:00", "2024-01-01T01:00:00Z"), of("other"));
    assert_eq!(older("2024-01-01T02:00:00.5+02:00", "2024-01-01T00:00:00Z"), of("one"), "one second, then by name");
}

#[test]
fn se7_a_service_of_kubernetes_beats_any_service_entry() {
    let service = "
apiVersion: v1
kind: Service
metadata: {name: a, creationTimestamp: '2025-01-01T00:00:00Z'}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80, name: http}]}
---
";
    let old = entry(
        "old, creationTimestamp: '2020-01-01T00:00:00Z'",
        &format!(
            "{{hosts: [a.default.svc.cluster.local], resolution: STATIC, {HTTP}, endpoints: [{{address: 10.0.0.1}}]}}"
        ),
    );
    let published = publish(&(old + service));
    assert_eq!(published.taken_by("a").as_deref(), Some("Service default/a"));
    assert_eq!(published.addresses("outbound|80||a.default.svc.cluster.local"), list(&["10.0.0.1:80"]));
}

#[test]
fn se8_of_one_host_the_clients_own_namespace_is_seen_first() {
    let of = |namespace: &str, year: u32, more: &str| {
        entry(
            &format!("e, namespace: {namespace}, creationTimestamp: '{year}-01-01T00:00:00Z'"),
            &format!("{{hosts: [a.test], resolution: STATIC, {HTTP}, endpoints: [{{address: 10.0.0.1}}]{more}}}"),
        )
    };
    let text = of("one", 2024, "")
        + &of("two", 2023, "")
        + &of("three", 2022, ", exportTo: [two]")
        + &of("four", 2021, ", exportTo: ['~']");
    for (client, owner) in [("one", "one"), ("two", "two"), ("three", "two"), ("four", "two"), ("other", "two")] {
        let workload = Workload { namespace: client.to_owned(), ..Workload::default() };
        let owner = format!("ServiceEntry {owner}/e");
        assert_eq!(publish_for(workload, &text).taken_by("a.test"), Some(owner), "{client}");
    }
}

#[test]
fn a_host_of_the_cluster_is_known_by_its_short_names() {
    let spec = format!(
        "{{hosts: [a.shop.svc.cluster.local], resolution: STATIC, {HTTP}, endpoints: [{{address: 10.0.0.1}}]}}"
    );
    let text = entry("a", &spec);
    let published = publish(&text);
    for (authority, taken) in [
        ("a.shop.svc.cluster.local", true),
        ("a.shop.svc.cluster.local.", true),
        ("a.shop.svc", true),
        ("a.shop", true),
        ("a", false),
    ] {
        assert_eq!(published.taken_by(authority).is_some(), taken, "{authority}");
    }
    let workload = Workload { namespace: "shop".to_owned(), ..Workload::default() };
    assert!(publish_for(workload, &text).taken_by("a").is_some());
}

#[test]
fn workloads_and_pods_are_selected_by_their_labels_in_the_namespace() {
    let pod = |name: &str, labels: &str, ip: &str, more: &str| {
        format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {labels}}}
status: {{podIP: {ip}, {more}}}
---
"
        )
    };
    let text =
        entry(
            "a",
            &format!("{{hosts: [a.test], resolution: STATIC, {HTTP}, workloadSelector: {{labels: {{app: a}}}}}}"),
        ) + &workload("w1", "labels: {app: a}", "{address: 10.0.0.1, labels: {app: b}, ports: {http: 8080}}", "{}")
            + &workload("w2", "labels: {}", "{address: 10.0.0.2, labels: {app: a}, weight: 3}", "{}")
            + &workload("w3", "labels: {app: b}", "{address: 10.0.0.3, labels: {app: a}}", "{}")
            + &workload("w4", "namespace: other", "{address: 10.0.0.4, labels: {app: a}}", "{}")
            + &workload("w5", "labels: {}", "{address: w5.test, labels: {app: a}}", "{}")
            + &workload("w6", "labels: {}", "{address: 'unix:///run/w6', labels: {app: a}}", "{}")
            + &pod("p5", "{app: a}", "10.1.0.0", "phase: Running")
            + &pod("p1", "{app: a}", "10.1.0.1", "phase: Running")
            + &pod("p2", "{app: a}", "10.1.0.2", "conditions: [{type: Ready, status: 'False'}]")
            + &pod("p3", "{app: a}", "10.1.0.3", "phase: Succeeded")
            + &pod("p4", "{app: b}", "10.1.0.4", "phase: Running")
            + &pod("p6, deletionTimestamp: '2026-01-01T00:00:00Z'", "{app: a}", "10.1.0.6", "phase: Running");
    let published = publish(&text);
    let expected = ["10.1.0.1:80", "10.1.0.0:80", "10.0.0.1:8080", "10.0.0.2:80"];
    assert_eq!(published.addresses("outbound|80||a.test"), list(&expected));
    assert_eq!(published.endpoints("outbound|80||a.test")[3].weight, 3);
    let left_out = [
        "w5 is left out: its address w5.test is a name, and STATIC takes addresses only",
        "w6 is left out: its address unix:///run/w6 is a socket, and only `endpoints` may name one",
    ];
    let place = "mesh.yaml:5:96: warning: ServiceEntry default/a: spec.workloadSelector: WorkloadEntry";
    assert_eq!(published.warnings(), left_out.map(|why| format!("{place} {why}")));
}

#[test]
fn a_port_of_selected_pods_is_that_of_their_containers_with_its_name() {
    let pod = |name: &str, ip: &str, spec: &str| {
        format!(
            "\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: a}}}}\nspec: {spec}\nstatus: {{podIP: {ip}}}\n---\n"
        )
    };
    let container = |ports: &str| format!("{{name: c, image: i, ports: {ports}}}");
    let named = container("[{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]");
    let later = container("[{name: http, containerPort: 9999}, {name: dns, containerPort: 5353, protocol: TCP}]");
    let side = |policy: &str| format!("{{ports: [{{name: http, containerPort: 7070}}], restartPolicy: {policy}}}");
    let text = entry(
        "a",
        "{hosts: [a.test], resolution: STATIC, workloadSelector: {labels: {app: a}},
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 81}, {number: 53, name: dns, protocol: TCP}]}",
    ) + &pod(
        "p1",
        "10.1.0.1",
        &format!("{{containers: [{named}, {later}], initContainers: [{}]}}", side("Always")),
    ) + &pod("p2", "10.1.0.2", &format!("{{containers: [], initContainers: [{}]}}", side("Always")))
        + &pod("p3", "10.1.0.3", &format!("{{containers: [], initContainers: [{}]}}", side("''")))
        + &pod("p4", "10.1.0.4", &format!("{{containers: [{}]}}", container("[{containerPort: 8080}]")));
    let published = publish(&text);
    let http = ["10.1.0.1:8080", "10.1.0.2:7070", "10.1.0.3:81", "10.1.0.4:81"];
    assert_eq!(published.addresses("outbound|80||a.test"), list(&http));
    let dns = ["10.1.0.1:5353", "10.1.0.2:53", "10.1.0.3:53", "10.1.0.4:53"];
    assert_eq!(published.addresses("outbound|53||a.test"), list(&dns));
}

#[test]
fn of_names_that_are_one_endpoint_the_first_by_name_is_it() {
    let text = entry(
        "a",
        &format!("{{hosts: [a.test], resolution: DNS_ROUND_ROBIN, {HTTP}, workloadSelector: {{labels: {{app: a}}}}}}"),
    ) + &workload("w2", "labels: {app: a}", "{address: 10.0.0.1}", "{}")
        + &workload("w1", "labels: {app: a}", "{address: 10.0.0.2}", "{}");
    assert_eq!(publish(&text).addresses("outbound|80||a.test"), list(&["10.0.0.2:80"]));
}

#[test]
fn where_a_workload_is_says_more_than_its_labels() {
    let place = "topology.kubernetes.io/region: us, topology.kubernetes.io/zone: z9, topology.istio.io/network: n9";
    let endpoint = format!("{{address: 10.0.0.1, labels: {{{place}}}, locality: eu/z1/s1/more, network: n1}}");
    let spec = format!("{{hosts: [a.test], resolution: STATIC, {HTTP}, endpoints: [{endpoint}]}}");
    let labels = publish(&entry("a", &spec)).labels("outbound|80||a.test");
    let expected = [
        ("topology.istio.io/network", "n9"),
        ("topology.istio.io/subzone", "s1"),
        ("topology.kubernetes.io/region", "eu"),
        ("topology.kubernetes.io/zone", "z1"),
    ];
    assert_eq!(labels, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let selector = "workloadSelector: {labels: {topology.kubernetes.io/region: eu}}";
    let text = entry("a", &format!("{{hosts: [a.test], resolution: STATIC, {HTTP}, {selector}}}"))
        + &workload("w1", "labels: {}", "{address: 10.0.0.1, locality: eu}", "{}")
        + &workload("w2", "labels: {}", "{address: 10.0.0.2, locality: us}", "{}");
    assert_eq!(publish(&text).addresses("outbound|80||a.test"), list(&["10.0.0.1:80"]));
}

#[test]
fn a_workload_that_is_probed_and_was_not_found_healthy_is_none() {
    let probed = "labels: {app: a}, annotations: {proxy.istio.io/health-checks-enabled: 'true'}";
    let again = probed.replace("'true'", "'1'");
    let text = entry(
        "a",
        &format!("{{hosts: [a.test], resolution: STATIC, {HTTP}, workloadSelector: {{labels: {{app: a}}}}}}"),
    ) + &workload(
        "w1",
        "labels: {app: a}",
        "{address: 10.0.0.1}",
        "{conditions: [{type: Healthy, status: 'False'}]}",
    ) + &workload(
        "w2",
        "labels: {app: a}",
        "{address: 10.0.0.2}",
        "{conditions: [{type: Healthy, status: 'True'}]}",
    ) + &workload(
        "w3",
        "labels: {app: a}",
        "{address: 10.0.0.3}",
        "{conditions: [{type: Other, status: 'False'}]}",
    ) + &workload("w4", probed, "{address: 10.0.0.4}", "{}")
        + &workload(
            "w5",
            probed,
            "{address: 10.0.0.5}",
            "{conditions: [{type: Healthy, status: 'True', lastProbeTime: x}]}",
        )
        + &workload("w6", probed, "{address: 10.0.0.6}", "{conditions: [{type: Healthy, status: 'False'}]}")
        + &workload("w7", &again, "{address: 10.0.0.7}", "{conditions: [{type: Healthy, status: Unknown}]}");
    let expected = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.5:80"];
    assert_eq!(publish(&text).addresses("outbound|80||a.test"), list(&expected));
}

#[test]
fn the_network_of_a_workload_is_a_label() {
    let text = entry(
        "a",
        &format!("{{hosts: [a.test], resolution: STATIC, {HTTP}, endpoints: [{{address: 10.0.0.1, network: n1}}]}}"),
    );
    assert_eq!(publish(&text).labels("outbound|80||a.test")["topology.istio.io/network"], "n1");
}
