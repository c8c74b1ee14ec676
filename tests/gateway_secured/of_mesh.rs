//! TLS between workloads of the mesh: who ends it, and who passes it on.

use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
use mesh_router::service::MeshRouter;
use mesh_router::transport::{MeshCertificates, Transport};
use mesh_router::upstream::{Identity, Pem};
use tower::{Layer, ServiceExt};

use super::*;

/// What a workload is given of the mesh whose authority is `signer`.
fn certificates(signer: &Signer, name: &str) -> MeshCertificates {
    let text = |text: &str| Pem::Text(text.as_bytes().into());
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.subject_alt_names.push(rcgen::SanType::URI(format!("spiffe://mesh.test/{name}").try_into().unwrap()));
    let key = KeyPair::generate().unwrap();
    let certificates = text(&params.signed_by(&key, &signer.0).unwrap().pem());
    MeshCertificates {
        identity: Identity { certificates, key: text(&key.serialize_pem()) },
        roots: text(&signer.root()),
    }
}

/// A workload of the mesh at `port`, to which TLS goes with the mesh's certificates.
fn far(port: u16) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: far}}
spec:
  hosts: [far.mesh.test]
  location: MESH_INTERNAL
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}, labels: {{version: v1}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: far}}
spec:
  host: far.mesh.test
  trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}
  subsets: [{{name: v1, labels: {{version: v1}}}}]
---
"
    )
}

/// A gateway that passes the mesh's TLS on, at the first port, to one that ends it, at the second.
async fn both_ends(signer: &Signer, given: bool) -> (u16, u16, Server) {
    let (passes, ends) = (free_port(), free_port());
    let servers = [
        (passes, "auto", "TLS", "['*.mesh.test']", "AUTO_PASSTHROUGH"),
        (ends, "gw", "HTTPS", "['*']", "ISTIO_MUTUAL"),
    ];
    let gateways: String = servers
        .iter()
        .map(|(port, name, protocol, hosts, mode)| {
            gateway(*port, &[(protocol, hosts, &format!("{{mode: {mode}}}"))])
                .replace("name: gw", &format!("name: {name}"))
        })
        .collect();
    let mesh = Mesh::new();
    let text = gateways + &far(ends) + &behind(upstream("up").await);
    let report = mesh.apply(Config::from_yaml(&text, "it.yaml").unwrap()).unwrap();
    assert_eq!(report.errors().count(), 0, "{report}");
    let mut server = Server::builder(&mesh).workers(NonZeroUsize::MIN);
    if given {
        server = server.mesh_certificates(certificates(signer, "gateway"));
    }
    (passes, ends, server.start().await.unwrap())
}

/// What a workload of the mesh gets that calls the service at `port`.
async fn call(port: u16, own: MeshCertificates, path: &str) -> Result<(u16, String), mesh_router::BoxError> {
    let rules = virtual_service_to_v1() + &far(port);
    let mesh = Mesh::new();
    assert!(!mesh.apply_strict(Config::from_yaml(&rules, "client.yaml")?)?.fails_check());
    let transport = Transport::builder().mesh_certificates(own).build();
    let request = Request::get(format!("http://far.mesh.test{path}")).version(Version::HTTP_11);
    let answer = MeshRouter::new(&mesh).layer(transport).oneshot(request.body(Empty::<bytes::Bytes>::new())?).await?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Sends `/v1` to the subset, whose server name is another.
fn virtual_service_to_v1() -> String {
    "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: far}
spec:
  hosts: [far.mesh.test]
  http:
  - {match: [{uri: {prefix: /v1}}], route: [{destination: {host: far.mesh.test, subset: v1}}]}
  - {route: [{destination: {host: far.mesh.test}}]}
---
"
    .to_owned()
}

#[tokio::test]
async fn workloads_reach_each_other_through_a_gateway_that_does_not_look_into_their_tls() {
    let signer = Signer::new("mesh");
    let (passes, ends, _server) = both_ends(&signer, true).await;
    for port in [ends, passes] {
        for path in ["/", "/v1"] {
            let (status, seen) = call(port, certificates(&signer, "client"), path).await.unwrap();
            assert_eq!(status, 200, "{seen}");
            assert!(seen.starts_with(&format!("up GET {path} ")), "{seen}");
            let client_cert = seen.lines().find(|line| line.starts_with("x-forwarded-client-cert: ")).unwrap();
            let (own, client) = ("By=spiffe://mesh.test/gateway;", "URI=spiffe://mesh.test/client");
            assert!(client_cert.contains(own) && client_cert.contains(client), "{client_cert}");
        }
    }
    // Of another mesh, neither side takes the other for a workload.
    for port in [ends, passes] {
        let (status, seen) = call(port, certificates(&Signer::new("other"), "client"), "/").await.unwrap();
        assert_eq!(status, 503, "{seen}");
    }
}

#[tokio::test]
async fn without_certificates_of_the_mesh_nobody_is_let_in() {
    let signer = Signer::new("mesh");
    let (_, ends, server) = both_ends(&signer, false).await;
    assert!(server.is_ready());
    assert_eq!(call(ends, certificates(&signer, "client"), "/").await.unwrap().0, 503);
}

#[tokio::test]
async fn what_does_not_speak_as_the_mesh_does_is_closed() {
    let signer = Signer::new("mesh");
    let (passes, ends, _server) = both_ends(&signer, true).await;
    let stranger = Client::trusting(&signer);
    let workload = stranger.with(&signer.issue("workload.test"));
    let speaking = |protocol| Client { alpn: vec![protocol], ..workload.clone() };
    let (whole, subset) = ("outbound_.80_._.far.mesh.test", "outbound_.80_.v1_.far.mesh.test");
    // The gateway's certificate has another name, but the handshake got as far as that.
    let passed = |error: io::Error| error.to_string().contains("not valid for name");
    for (client, name, expected) in [
        (speaking("istio-http/1.1"), whole, true),
        (speaking("istio-h2"), subset, true),
        (speaking("istio"), whole, true),
        (speaking("http/1.1"), whole, false),
        (workload.clone(), whole, false),
        (speaking("istio"), "outbound_.80_.v2_.far.mesh.test", false),
        (speaking("istio"), "outbound_.81_._.far.mesh.test", false),
        // It is outside of the mesh.
        (speaking("istio"), "outbound_.80_._.up.test", false),
        (speaking("istio"), "far.mesh.test", false),
    ] {
        let error = client.connect(passes, name).await.unwrap_err();
        assert_eq!(passed(error), expected, "{:?} {name}", client.alpn);
    }
    // Who shows no certificate is no workload.
    assert!(workload.is_served(ends, "gateway").await);
    assert!(!stranger.is_served(ends, "gateway").await);
}
