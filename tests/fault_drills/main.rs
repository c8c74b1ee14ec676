//! One of three upstreams dies, hangs, resets or drags, on real sockets: what the requests of a client see of it, with
//! the mesh's default retries and outlier detection.
//!
//! The tests of every day wait for what must come about. `.ci/drills SECONDS` runs each fault under a steady load and
//! prints the share of requests that failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod steady;
mod upstream;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use mesh_router::config::Config;
use mesh_router::service::MeshService;
use mesh_router::{Mesh, MeshRouter, Transport};
use tokio::net::TcpStream;
use tower::{Layer, ServiceExt};

use upstream::{Fault, Upstream};

/// A host with three endpoints, a balancer, and how long a request may take.
fn rules(ports: &[u16], balancer: &str, timeout: &str) -> String {
    let endpoints: Vec<String> =
        ports.iter().map(|port| format!("{{address: 127.0.0.1, ports: {{http: {port}}}}}")).collect();
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: shop}}
spec:
  hosts: [shop.test]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop}}
spec:
  host: shop.test
  trafficPolicy:
    loadBalancer: {{simple: {balancer}}}
    outlierDetection: {{consecutive5xxErrors: 5, interval: 1s, baseEjectionTime: 600s, maxEjectionPercent: 50}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop}}
spec:
  hosts: [shop.test]
  gateways: [mesh, front]
  http: [{{timeout: {timeout}, route: [{{destination: {{host: shop.test}}}}]}}]
",
        endpoints.join(", ")
    )
}

type Client = MeshService<Transport>;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Whole,
    Status(StatusCode),
    /// The head was good and the body broke off.
    Broken,
}

async fn get(client: &Client) -> Seen {
    let request = Request::get("http://shop.test/").body(Empty::<Bytes>::new()).unwrap();
    let answer = client.clone().oneshot(request).await.unwrap();
    let (status, body) = (answer.status(), answer.into_body().collect().await);
    match (status, body.map(|body| body.to_bytes())) {
        (StatusCode::OK, Ok(body)) if body == "well\n" => Seen::Whole,
        (StatusCode::OK, Err(_)) => Seen::Broken,
        (status, _) => Seen::Status(status),
    }
}

struct Drill {
    mesh: Mesh,
    client: Client,
    upstreams: [Upstream; 3],
}

impl Drill {
    /// Three upstreams that were all used, of which the second has `fault` from now on.
    async fn new(balancer: &str, timeout: &str, fault: Fault) -> Self {
        let upstreams = [Upstream::start().await, Upstream::start().await, Upstream::start().await];
        let ports = upstreams.each_ref().map(|upstream| upstream.port);
        let mesh = Mesh::new();
        let report = mesh.apply(Config::from_yaml(&rules(&ports, balancer, timeout), "drill.yaml").unwrap()).unwrap();
        assert_eq!(report.errors().count(), 0, "{report}");
        let client = MeshRouter::new(&mesh).layer(Transport::new());
        while upstreams.iter().any(|upstream| upstream.requests() == 0) {
            assert_eq!(get(&client).await, Seen::Whole);
        }
        upstreams[1].fault.send_replace(fault);
        while fault == Fault::Killed && TcpStream::connect(("127.0.0.1", ports[1])).await.is_ok() {
            tokio::task::yield_now().await;
        }
        Self { mesh, client, upstreams }
    }

    fn is_ejected(&self) -> bool {
        let snapshot = self.mesh.snapshot();
        snapshot.clusters().flat_map(|cluster| cluster.view()).any(|endpoint| endpoint.ejected.is_some())
    }

    /// Sends until the sick one is ejected; what was seen meanwhile.
    async fn until_ejected(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        while !self.is_ejected() {
            assert!(seen.len() < 1000, "it is never ejected: {:?}", &seen[seen.len() - 10..]);
            seen.push(get(&self.client).await);
        }
        seen
    }

    async fn nothing_more_is_seen_of_it(&self) {
        let before = self.upstreams[1].requests();
        for _ in 0..30 {
            assert_eq!(get(&self.client).await, Seen::Whole);
        }
        assert_eq!(self.upstreams[1].requests(), before);
    }
}

#[tokio::test]
async fn nobody_sees_that_one_was_killed() {
    let drill = Drill::new("ROUND_ROBIN", "10s", Fault::Killed).await;
    let seen = drill.until_ejected().await;
    // A connection that is closed before it is used again is replaced, and one that is refused is tried elsewhere.
    assert!(seen.iter().all(|seen| *seen == Seen::Whole), "{seen:?}");
    drill.nothing_more_is_seen_of_it().await;
}

#[tokio::test]
async fn one_that_hangs_costs_five_timeouts() {
    let drill = Drill::new("ROUND_ROBIN", "500ms", Fault::Hung).await;
    let seen = drill.until_ejected().await;
    let failed: Vec<_> = seen.iter().filter(|seen| **seen != Seen::Whole).collect();
    assert_eq!(failed, [&Seen::Status(StatusCode::GATEWAY_TIMEOUT); 5]);
    drill.nothing_more_is_seen_of_it().await;
}

#[tokio::test]
async fn one_that_breaks_bodies_off_one_after_another_breaks_every_third() {
    let drill = Drill::new("ROUND_ROBIN", "10s", Fault::Reset).await;
    let mut broken = 0;
    for _ in 0..30 {
        match get(&drill.client).await {
            Seen::Broken => broken += 1,
            seen => assert_eq!(seen, Seen::Whole),
        }
    }
    // Each of its heads is good, and ends the row of its failures.
    assert_eq!((broken, drill.is_ejected()), (10, false));
    drill.upstreams[1].fault.send_replace(Fault::None);
    for _ in 0..6 {
        assert_eq!(get(&drill.client).await, Seen::Whole, "a broken connection is not used again");
    }
}

#[tokio::test]
async fn one_that_breaks_bodies_off_all_at_once_is_ejected() {
    let drill = Drill::new("ROUND_ROBIN", "10s", Fault::Reset).await;
    for _ in 0..10 {
        // All heads come before the first body ends: five failures in a row.
        let clients: Vec<_> = (0..15).map(|_| drill.client.clone()).collect();
        let requests: Vec<_> =
            clients.into_iter().map(|client| tokio::spawn(async move { get(&client).await })).collect();
        for request in requests {
            request.await.unwrap();
        }
        if drill.is_ejected() {
            break;
        }
    }
    assert!(drill.is_ejected());
    drill.nothing_more_is_seen_of_it().await;
}

#[tokio::test]
async fn one_that_drags_gets_less() {
    let drill = Drill::new("LEAST_REQUEST", "10s", Fault::Slow).await;
    let before = drill.upstreams.each_ref().map(Upstream::requests);
    let client = |_| {
        let client = drill.client.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                assert_eq!(get(&client).await, Seen::Whole);
            }
        })
    };
    for task in (0..12).map(client).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let after = drill.upstreams.each_ref().map(Upstream::requests);
    let [first, slow, third] = [0, 1, 2].map(|number| after[number] - before[number]);
    assert_eq!(first + slow + third, 240);
    assert!(slow < first && slow < third, "{first} {slow} {third}");
    assert!(!drill.is_ejected());
}
