//! An application behind the rules of a gateway that it stands for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/shop.rs"]
mod shop;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use mesh_router::Mesh;
use mesh_router::config::Config;
use mesh_router::dice::{Dice, Draws};
use mesh_router::service::{InboundRouter, MeshRouter, RequestBody, ResponseFlags, RouteInfo};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};

const RULES: &str = r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: web}
spec:
  hosts: [shop.test]
  gateways: [front]
  http:
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new, redirectCode: 302}
  - match: [{uri: {exact: /hello}}]
    directResponse: {status: 418, body: {string: tea}}
  - match: [{uri: {prefix: /api}}]
    name: api
    rewrite: {uri: /v2}
    headers: {request: {set: {x-from: front}}, response: {set: {x-rule: api}}}
    timeout: 1s
    route: [{destination: {host: backend}}]
  - match: [{uri: {prefix: /quiet}}]
    headers: {request: {set: {x-envoy-upstream-rq-timeout-alt-response: '1'}}}
    timeout: 1s
    route: [{destination: {host: backend}}]
  - match: [{uri: {prefix: /faulty}}]
    fault: {delay: {percentage: {value: 100}, fixedDelay: 3s}, abort: {percentage: {value: 100}, httpStatus: 429}}
    route: [{destination: {host: backend}}]
  - match: [{headers: {cookie: {exact: a=1; b=2}}}]
    directResponse: {status: 298}
  - match: [{uri: {prefix: /split}}]
    route:
    - {destination: {host: backend, subset: v1}, weight: 50}
    - {destination: {host: Other.test, subset: v2, port: {number: 81}}, weight: 50}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: callers, namespace: web}
spec:
  hosts: [other.test]
  http: [{directResponse: {status: 299}}]
"#;

/// The answer to a request through `router` in front of an application that says what it was asked.
async fn ask(router: &InboundRouter, uri: &str) -> Response<String> {
    let app = service_fn(async |request: Request<RequestBody<Full<Bytes>>>| {
        if request.uri().path().ends_with("/slow") {
            sleep(Duration::from_secs(10)).await;
        }
        let rule = request.extensions().get::<RouteInfo>().and_then(RouteInfo::route_name).unwrap_or("none").to_owned();
        let from = request.headers().get("x-from").map_or("", |from| from.to_str().unwrap());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(format!("{} {rule} {from}", request.uri().path()))))
    });
    let request = Request::get(uri).body(Full::default()).unwrap();
    let (head, body) = router.layer(app).oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response::from_parts(head, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_the_gateway_acts_before_the_application() {
    let mesh = shop::published(RULES);
    let router = MeshRouter::inbound(&mesh, "web/front");
    let moved = ask(&router, "http://shop.test/old").await;
    assert_eq!(
        (moved.status(), &moved.headers()["location"]),
        (StatusCode::FOUND, &"http://shop.test/new".parse().unwrap())
    );
    let direct = ask(&router, "http://shop.test/hello").await;
    assert_eq!((direct.status().as_u16(), direct.body().as_str()), (418, "tea"));
    let api = ask(&router, "http://shop.test/api/a").await;
    assert_eq!(api.body(), "/v2/a api front");
    assert_eq!(api.headers()["x-rule"], "api");
    assert_eq!(ask(&router, "http://shop.test/unknown").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn a_delegate_has_the_fault_of_the_rule_that_leads_to_it_whatever_it_does() {
    let rules = r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: web}
spec:
  hosts: [shop.test]
  gateways: [front]
  http:
  - match: [{uri: {prefix: /held}}]
    delegate: {name: child}
    fault: {delay: {percentage: {value: 100}, fixedDelay: 3s}}
  - match: [{uri: {prefix: /both}}]
    delegate: {name: child}
    fault: {delay: {percentage: {value: 100}, fixedDelay: 3s}, abort: {percentage: {value: 100}, httpStatus: 429}}
  - match: [{uri: {prefix: /ends}}]
    delegate: {name: child}
    fault: {abort: {percentage: {value: 100}, httpStatus: 429}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: child, namespace: web}
spec:
  http:
  - match: [{uri: {prefix: /held/moved}}]
    redirect: {uri: /new}
  - match: [{uri: {prefix: /both/moved}}]
    redirect: {uri: /new}
  - directResponse: {status: 203, body: {string: tea}}
"#;
    let mesh = shop::published(rules);
    let router = MeshRouter::inbound(&mesh, "web/front");
    for (path, status, body, seconds, flags) in [
        ("/held/moved", 301, "", 3, "DI"),
        ("/held", 203, "tea", 3, "DI"),
        ("/both/moved", 429, "fault filter abort", 3, "DI,FI"),
        ("/ends", 429, "fault filter abort", 0, "FI"),
    ] {
        let start = Instant::now();
        let answer = ask(&router, &format!("http://shop.test{path}")).await;
        assert_eq!((answer.status().as_u16(), answer.body().as_str()), (status, body), "{path}");
        assert_eq!(start.elapsed().as_secs(), seconds, "{path}");
        let info = answer.extensions().get::<RouteInfo>().unwrap();
        assert_eq!(info.flags().to_string(), flags, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_is_told_its_rule_in_one_line() {
    let mesh = shop::published(RULES);
    let app = service_fn(async |request: Request<RequestBody<Full<Bytes>>>| {
        let told = request.extensions().get::<RouteInfo>().unwrap().to_string();
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(told)))
    });
    let request = Request::get("http://shop.test/api/a").body(Full::<Bytes>::default()).unwrap();
    let answer = MeshRouter::inbound(&mesh, "web/front").layer(app).oneshot(request).await.unwrap();
    let told = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(told, "-, rule VirtualService web/shop spec.http[2].match[0] (shop.yaml:13:13)");
}

#[tokio::test(start_paused = true)]
async fn the_cookies_of_http2_are_one_line() {
    let mesh = shop::published(RULES);
    let router = MeshRouter::inbound(&mesh, "web/front");
    let app = service_fn(async |_: Request<RequestBody<Full<Bytes>>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    for (version, status) in [(Version::HTTP_2, 298), (Version::HTTP_11, 404)] {
        let request =
            Request::get("http://shop.test/").version(version).header("cookie", "a=1").header("cookie", "b=2");
        let response = router.layer(app).oneshot(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_application_sets_no_cookie_of_a_balancer() {
    let rule = r#"
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: backend, namespace: web}
spec:
  host: backend.test
  trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: u, ttl: 60s}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: backend, namespace: web}
spec:
  hosts: [backend.test]
  resolution: STATIC
  ports: [{number: 80, name: web, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
---
"#;
    let mesh = shop::published(&format!("{rule}{}", RULES.replace("host: backend}", "host: backend.test}")));
    let api = ask(&MeshRouter::inbound(&mesh, "web/front"), "http://shop.test/api/a").await;
    assert_eq!(api.body(), "/v2/a api front");
    assert!(!api.headers().contains_key("set-cookie"), "{:?}", api.headers());
}

#[tokio::test(start_paused = true)]
async fn hosts_without_rules_are_the_applications() {
    let mesh = shop::published(RULES);
    let router = MeshRouter::inbound(&mesh, "web/front");
    assert_eq!(ask(&router, "http://elsewhere.test/x").await.body(), "/x none ");
    assert_eq!(ask(&router, "http://other.test/x").await.body(), "/x none ");
    let with_mesh = router.with_mesh_rules();
    assert_eq!(ask(&with_mesh, "http://other.test/x").await.status().as_u16(), 299);
    assert_eq!(ask(&with_mesh, "http://shop.test/api").await.headers()["x-rule"], "api");
}

#[tokio::test(start_paused = true)]
async fn rules_of_the_mesh_hold_by_every_name_of_their_service() {
    let mesh = shop::published(
        "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.0.0.9, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{directResponse: {status: 299}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec: {hosts: [reviews.default], gateways: [front], http: [{directResponse: {status: 298}}]}
",
    );
    let router = MeshRouter::inbound(&mesh, "default/front").with_mesh_rules();
    for (host, expected) in [
        ("reviews", 299),
        ("reviews:9080", 299),
        ("reviews.default.svc", 299),
        ("reviews.default.svc.cluster.local", 299),
        ("10.0.0.9", 299),
        ("reviews.default", 298),
        ("ratings", 200),
    ] {
        assert_eq!(ask(&router, &format!("http://{host}/")).await.status().as_u16(), expected, "{host}");
    }
    assert_eq!(ask(&MeshRouter::inbound(&mesh, "default/front"), "http://reviews/").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn rules_of_the_mesh_hold_by_every_name_of_services_that_a_wildcard_claims() {
    let mesh = shop::published(
        "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: short}
spec: {hosts: [reviews.default], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wide}
spec: {hosts: ['*.svc.cluster.local'], http: [{directResponse: {status: 299}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: narrower}
spec: {hosts: ['*.default.svc.cluster.local'], gateways: [front], http: [{directResponse: {status: 298}}]}
",
    );
    let router = MeshRouter::inbound(&mesh, "default/front").with_mesh_rules();
    for (host, expected) in [
        ("reviews", 299),
        ("reviews.default.svc", 299),
        // The host of another service, of which no rule speaks.
        ("reviews.default", 200),
        ("reviews.default.svc.cluster.local", 298),
        ("reviews.other.svc.cluster.local", 299),
        ("ratings", 200),
    ] {
        assert_eq!(ask(&router, &format!("http://{host}/")).await.status().as_u16(), expected, "{host}");
    }
}

#[tokio::test(start_paused = true)]
async fn rules_of_the_gateway_and_the_mesh_hold_as_both() {
    let mesh = shop::published(
        "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  gateways: [mesh, front]
  http:
  - match: [{uri: {prefix: /a/b}, gateways: [mesh]}]
    directResponse: {status: 297}
  - match: [{uri: {prefix: /a}, gateways: [front]}]
    directResponse: {status: 298}
  - directResponse: {status: 299}
---
apiVersion: v1
kind: Service
metadata: {name: ratings}
spec: {clusterIP: None, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: ['*.default.svc.cluster.local']
  gateways: [mesh, front]
  http:
  - match: [{uri: {prefix: /a}, gateways: [front]}]
    directResponse: {status: 295}
  - directResponse: {status: 296}
",
    );
    let front = MeshRouter::inbound(&mesh, "default/front");
    let both = front.clone().with_mesh_rules();
    for (uri, by_front, by_both) in [
        ("http://reviews.default.svc.cluster.local/a/b", 298, 297),
        ("http://reviews.default.svc.cluster.local/a", 298, 298),
        ("http://reviews.default.svc.cluster.local/", 299, 299),
        ("http://reviews/a/b", 200, 297),
        ("http://reviews/a", 200, 299),
        ("http://reviews.default/", 200, 299),
        ("http://pod-0.ratings.default.svc.cluster.local/a", 295, 295),
        ("http://pod-0.ratings/a", 200, 296),
    ] {
        assert_eq!(ask(&front, uri).await.status().as_u16(), by_front, "{uri}");
        assert_eq!(ask(&both, uri).await.status().as_u16(), by_both, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_rules_of_the_mesh_for_one_host_those_hold_that_hold_for_callers() {
    for host in ["reviews", "'*.default.svc.cluster.local'"] {
        let rule = |name: &str, gateways: &str, path: &str, code: u16| {
            format!(
                "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{host}]
  gateways: [{gateways}]
  http:
  - match: [{{uri: {{prefix: {path}}}}}]
    directResponse: {{status: {code}}}
  - match: [{{uri: {{prefix: /m{path}}}, gateways: [mesh]}}]
    directResponse: {{status: {code}}}"
            )
        };
        let rules = [("a", "mesh", "/a", 291), ("b", "mesh", "/b", 292), ("c", "front", "/c", 293)];
        let rules = rules.into_iter().chain([("d", "mesh, front", "/d", 294)]);
        let rules = rules.map(|(name, gateways, path, code)| rule(name, gateways, path, code));
        let service =
            "apiVersion: v1\nkind: Service\nmetadata: {name: reviews}\nspec: {ports: [{name: http, port: 80}]}";
        let mesh = shop::published(&format!("{service}{}", rules.collect::<String>()));
        let router = MeshRouter::inbound(&mesh, "default/front").with_mesh_rules();
        for (path, by_name, by_host) in [
            ("/a", 291, 291),
            ("/m/a", 291, 291),
            // Of a host that an older rule has there is nothing for callers.
            ("/b", 404, 404),
            ("/m/b", 404, 404),
            // Those of the gateway are joined, but not by a short name.
            ("/c", 404, 293),
            ("/d", 404, 294),
            ("/m/d", 404, 404),
        ] {
            let (name, full) = ("reviews", "reviews.default.svc.cluster.local");
            for (name, expected, of_caller) in [(name, by_name, by_name), (full, by_host, by_name)] {
                let uri = format!("http://{name}{path}");
                assert_eq!(ask(&router, &uri).await.status().as_u16(), expected, "{host} {uri}");
                assert_eq!(ask_as_caller(&mesh, &uri).await, of_caller, "{host} {uri}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rules_of_the_mesh_for_one_host_are_those_of_the_first_with_some_for_the_port() {
    for (host, otherwise, by_80) in [("reviews", 298, 298), ("'*.default.svc.cluster.local'", 200, 200)] {
        let mesh = shop::published(&format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: reviews}}
spec: {{ports: [{{name: http, port: 80}}, {{name: http-more, port: 81}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: a}}
spec: {{hosts: [{host}], http: [{{match: [{{port: 81}}], directResponse: {{status: 299}}}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: b}}
spec: {{hosts: [{host}], http: [{{directResponse: {{status: 298}}}}]}}
"
        ));
        let router = MeshRouter::inbound(&mesh, "default/front").with_mesh_rules();
        for name in ["reviews", "reviews.default.svc.cluster.local"] {
            for (port, expected) in [(80, by_80), (81, 299), (9080, otherwise)] {
                let uri = format!("http://{name}:{port}/");
                assert_eq!(ask(&router, &uri).await.status().as_u16(), expected, "{host} {uri}");
            }
            // 200 is the service itself, of which no rule speaks.
            assert_eq!(ask_as_caller(&mesh, &format!("http://{name}/")).await, by_80, "{host} {name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_of_two_services_is_the_ones_on_ports_that_the_other_has_not() {
    let mesh = shop::published(
        "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{name: http, port: 80}, {name: http-more, port: 81}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: short}
spec: {hosts: [reviews.default], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{directResponse: {status: 299}}]}
",
    );
    let router = MeshRouter::inbound(&mesh, "default/front").with_mesh_rules();
    for (authority, expected) in [
        ("reviews:80", 299),
        ("reviews:81", 299),
        ("reviews.default.svc:81", 299),
        ("reviews.default:80", 200),
        ("reviews.default:81", 299),
        ("reviews.default:9080", 200),
    ] {
        let uri = format!("http://{authority}/");
        assert_eq!(ask(&router, &uri).await.status().as_u16(), expected, "{uri}");
        assert_eq!(ask_as_caller(&mesh, &uri).await, expected, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wildcard_of_several_rules_is_for_those_who_call_what_it_is_for_an_application() {
    let rules = [("a", "*.ext.test", "match: [{port: 81}], "), ("b", "*.ext.test", ""), ("c", "*.test", "")];
    let rules = rules.map(|(name, host, ports)| {
        format!(
            "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: ['{host}'], http: [{{{ports}name: {name}, directResponse: {{status: 299}}}}]}}"
        )
    });
    let service = |number: u16| {
        format!(
            "
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: short}}
spec: {{hosts: [s.ext.test], resolution: DNS, ports: [{{number: {number}, name: http, protocol: HTTP}}]}}"
        )
    };
    for (services, host, expected) in [
        (String::new(), "x.ext.test", Some("b")),
        (String::new(), "x.ext.test:81", Some("a")),
        (service(9080), "x.ext.test", Some("b")),
        (service(9080), "s.ext.test", Some("b")),
        (service(81), "s.ext.test:81", Some("a")),
        // A service is the first one's alone.
        (service(9080), "s.ext.test:9080", None),
        (service(80), "s.ext.test", None),
    ] {
        let mesh = shop::published(&format!("{}{services}", rules.concat()));
        let router = MeshRouter::inbound(&mesh, "default/front").with_mesh_rules();
        let uri = format!("http://{host}/");
        let answer = ask(&router, &uri).await;
        let rule = answer.extensions().get::<RouteInfo>().and_then(RouteInfo::route_name);
        assert_eq!(rule, expected, "{services} {host}");
        assert_eq!(ask_as_caller(&mesh, &uri).await == 299, expected.is_some(), "{services} {host}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_a_service_has_no_rules_of_the_mesh_those_of_a_gateway_hold() {
    let rule = |name: &str, host: &str, gateways: &str, port: &str, code: u16| {
        format!(
            "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: ['{host}'], gateways: [{gateways}], http: [{{{port}directResponse: {{status: {code}}}}}]}}"
        )
    };
    let ports = "[{name: http, port: 80}, {name: http-more, port: 81}]";
    let service = format!("apiVersion: v1\nkind: Service\nmetadata: {{name: reviews}}\nspec: {{ports: {ports}}}");
    let rules = [
        rule("own", "reviews", "mesh", "match: [{port: 81}], ", 297),
        rule("wide", "*.default.svc.cluster.local", "mesh", "", 298),
        rule("wider", "*.cluster.local", "front", "", 299),
    ];
    let mesh = shop::published(&format!("{service}{}", rules.concat()));
    let router = MeshRouter::inbound(&mesh, "default/front").with_mesh_rules();
    for (host, of_caller, expected) in [
        ("reviews:81", 297, 297),
        ("reviews", 200, 200),
        ("reviews.default.svc.cluster.local:81", 297, 297),
        ("reviews.default.svc.cluster.local", 200, 299),
    ] {
        let uri = format!("http://{host}/");
        assert_eq!(ask_as_caller(&mesh, &uri).await, of_caller, "{host}");
        assert_eq!(ask(&router, &uri).await.status().as_u16(), expected, "{host}");
    }
}

/// Services and rules of the mesh, as they were drawn.
#[derive(Debug)]
struct Drawn {
    services: Vec<(&'static str, Vec<u16>)>,
    /// The host of the rule that answers 290, and of the next.
    hosts: Vec<&'static str>,
    text: String,
}

impl Drawn {
    fn new(draws: &mut Draws) -> Self {
        let mut drawn = Self { services: Vec::new(), hosts: Vec::new(), text: String::new() };
        for host in ["reviews", "s.ext.test", "*.ext.test"] {
            let ports: Vec<_> = [80, 81, 9080].into_iter().filter(|_| draws.below(3) == 0).collect();
            if ports.is_empty() {
                continue;
            }
            let (kind, hosts) = match host {
                "reviews" => ("v1, kind: Service", String::new()),
                "s.ext.test" => {
                    ("networking.istio.io/v1, kind: ServiceEntry", format!("hosts: [{host}], resolution: DNS,"))
                }
                _ => ("networking.istio.io/v1, kind: ServiceEntry", format!("hosts: ['{host}'],")),
            };
            let (number, protocol) = if host == "reviews" { ("port", "TCP") } else { ("number", "HTTP") };
            let listed =
                ports.iter().map(|port| format!("{{{number}: {port}, name: http-{port}, protocol: {protocol}}}"));
            let (listed, name) =
                (listed.collect::<Vec<_>>().join(", "), if host == "*.ext.test" { "wide" } else { host });
            drawn.text += &format!(
                "---\n{{apiVersion: {kind}, metadata: {{name: {name}}}, spec: {{{hosts} ports: [{listed}]}}}}\n"
            );
            drawn.services.push((host, ports));
        }
        const HOSTS: [&str; 6] =
            ["reviews", "*.default.svc.cluster.local", "s.ext.test", "x.ext.test", "*.ext.test", "*.test"];
        for number in 0..=draws.below(4) {
            let host = HOSTS[usize::try_from(draws.below(6)).unwrap()];
            let port =
                ["", "", "match: [{port: 80}],", "match: [{port: 81}],"][usize::try_from(draws.below(4)).unwrap()];
            drawn.text += &format!(
                "---\n{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: v{number}}}, \
                 spec: {{hosts: ['{host}'], http: [{{{port} directResponse: {{status: 29{number}}}}}]}}}}\n"
            );
            drawn.hosts.push(host);
        }
        drawn
    }

    /// Whether the service of a name has this port.
    fn has(&self, name: &str, port: u16) -> bool {
        let host = if name.starts_with("reviews") { "reviews" } else { name };
        self.services.iter().any(|(service, ports)| *service == host && ports.contains(&port))
    }

    /// How narrow the host is whose rule answers.
    fn narrow(&self, status: u16) -> usize {
        let host = self.hosts.get(usize::from(status).wrapping_sub(290));
        host.map_or(0, |host| if host.starts_with('*') { host.len() } else { 100 })
    }
}

#[tokio::test(start_paused = true)]
async fn rules_of_the_mesh_that_callers_have_hold_in_front_of_an_application() {
    let (mut draws, mut compared) = (Dice::seeded(1).draws(), 0);
    for _ in 0..500 {
        let drawn = Drawn::new(&mut draws);
        let mesh = shop::published(&drawn.text);
        let router = MeshRouter::inbound(&mesh, "default/front").with_mesh_rules();
        for name in ["reviews", "reviews.default.svc.cluster.local", "s.ext.test", "x.ext.test"] {
            for port in [80, 81, 9080] {
                let uri = format!("http://{name}:{port}/");
                let (caller, inbound) = (ask_as_caller(&mesh, &uri).await, ask(&router, &uri).await.status().as_u16());
                // On a port that its service has not, a rule of a host holds even where it does not for callers.
                let is_beside = !drawn.has(name, port) && drawn.narrow(inbound) > drawn.narrow(caller);
                assert!(inbound == caller || is_beside, "{uri}: {caller} for callers, {inbound}\n{}", drawn.text);
                compared += usize::from(caller != 200);
            }
        }
    }
    assert!(compared > 1000, "{compared}");
}

/// The status of what rules answer to those who call; 200 where none does, whether the service has endpoints or not.
async fn ask_as_caller(mesh: &Mesh, uri: &str) -> u16 {
    let called = service_fn(async |_: Request<RequestBody<Full<Bytes>>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let request = Request::get(uri).body(Full::default()).unwrap();
    match MeshRouter::new(mesh).layer(called).oneshot(request).await.unwrap().status() {
        StatusCode::SERVICE_UNAVAILABLE => 200,
        status => status.as_u16(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_application_has_the_time_of_the_rule() {
    let mesh = shop::published(RULES);
    let router = MeshRouter::inbound(&mesh, "web/front");
    let before = Instant::now();
    let late = ask(&router, "http://shop.test/api/slow").await;
    assert_eq!((late.status(), late.body().as_str()), (StatusCode::GATEWAY_TIMEOUT, "upstream request timeout"));
    assert_eq!(before.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_rule_may_say_that_too_long_is_no_failure() {
    let answer = ask(&MeshRouter::inbound(&shop::published(RULES), "web/front"), "http://shop.test/quiet/slow").await;
    assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(answer.extensions().get::<RouteInfo>().unwrap().flags(), ResponseFlags::UPSTREAM_REQUEST_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn faults_come_before_the_application() {
    let mesh = shop::published(RULES);
    let before = Instant::now();
    let faulty = ask(&MeshRouter::inbound(&mesh, "web/front"), "http://shop.test/faulty").await;
    assert_eq!((faulty.status(), faulty.body().as_str()), (StatusCode::TOO_MANY_REQUESTS, "fault filter abort"));
    assert_eq!(before.elapsed(), Duration::from_secs(3));
    let flags = faulty.extensions().get::<RouteInfo>().unwrap().flags();
    assert_eq!(flags, ResponseFlags::DELAY_INJECTED | ResponseFlags::FAULT_INJECTED);
}

#[tokio::test]
async fn the_application_is_told_the_destination_that_is_no_known_cluster() {
    let mesh = shop::published(RULES);
    let app = service_fn(async |request: Request<RequestBody<Full<Bytes>>>| {
        let info = request.extensions().get::<RouteInfo>().unwrap();
        assert!(info.cluster().is_none());
        let to = info.destination().unwrap();
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(format!("{} {} {:?}", to.host, to.subset, to.port))))
    });
    let app = MeshRouter::inbound(&mesh, "web/front").layer(app);
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        let request = Request::get("http://shop.test/split").body(Full::default()).unwrap();
        let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
        let said = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let to = head.extensions.get::<RouteInfo>().unwrap().destination().unwrap();
        assert_eq!(said, format!("{} {} {:?}", to.host, to.subset, to.port), "the response says the same");
        seen.insert(said);
    }
    let expected = ["backend.web.svc.cluster.local v1 None", "other.test v2 Some(81)"];
    assert_eq!(seen, BTreeSet::from(expected.map(str::to_owned)));
    let moved = ask(&MeshRouter::inbound(&mesh, "web/front"), "http://shop.test/old").await;
    assert_eq!(moved.extensions().get::<RouteInfo>().unwrap().destination(), None, "nothing is forwarded");
}

#[tokio::test]
async fn rules_come_and_go_with_the_mesh() {
    let mesh = shop::published(RULES);
    let router = MeshRouter::inbound(&mesh, "web/front");
    assert_eq!(mesh.apply(Config::default()).unwrap().errors().next(), None);
    assert_eq!(ask(&router, "http://shop.test/hello").await.body(), "/hello none ");
    shop::publish(&mesh, RULES);
    assert_eq!(ask(&router, "http://shop.test/hello").await.body(), "tea");
}

#[tokio::test]
async fn a_gateway_that_the_application_stands_for_is_there() {
    let config = || Config::from_yaml(RULES, "rules.yaml").unwrap();
    let mesh = Mesh::new();
    assert!(mesh.apply(config()).unwrap().fails_check(), "nobody stands for it yet");
    let _front = MeshRouter::inbound(&mesh, "web/front");
    let report = mesh.apply(config()).unwrap();
    assert!(!report.fails_check(), "{report}");
    assert!(mesh.report().problems().len() == report.problems().len());
}

#[tokio::test]
async fn what_a_client_of_the_application_was_told_is_not_told_of_its_own_caller() {
    let mesh = shop::published(RULES);
    let empty = || Full::<Bytes>::default();
    let nobody = service_fn(async |_: Request<RequestBody<Full<Bytes>>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let client = MeshRouter::new(&mesh).layer(nobody);
    let called = Request::get("http://other.test/").body(empty()).unwrap();
    let called = client.clone().oneshot(called).await.unwrap();
    assert!(called.extensions().get::<RouteInfo>().is_some());
    // It hands on what it is answered.
    let app = service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
        client.clone().oneshot(Request::get("http://other.test/").body(Full::default()).unwrap())
    });
    let app = MeshRouter::inbound(&mesh, "web/front").layer(app);
    for (uri, rule) in [("http://elsewhere.test/", None), ("http://shop.test/api", Some("api"))] {
        let response = app.clone().oneshot(Request::get(uri).body(empty()).unwrap()).await.unwrap();
        assert_eq!(response.status().as_u16(), 299);
        let info = response.extensions().get::<RouteInfo>();
        assert_eq!(info.map(|info| info.route_name()), rule.map(Some), "{uri}");
    }
}
