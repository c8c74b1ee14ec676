//! ServiceEntries without endpoints: requests go where they lead by themselves.

use http::{Request, Response};
use mesh_router::service::RequestBody;
use mesh_router::upstream::Address;
use mesh_router::{BoxError, MeshRouter, Transport};
use tower::{Layer, ServiceExt, service_fn};

use super::{Published, publish};

fn entry(name: &str, spec: &str) -> String {
    format!("\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n")
}

/// The ports of a service without and with a port of its own for the endpoints.
const PORTS: &str =
    "ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: more, protocol: HTTP, targetPort: 8081}]";

impl Published {
    /// Where a request of a client goes: the address, and what `Host` says; else the status of the answer.
    async fn goes_to(&self, uri: &str, host: Option<&str>) -> Result<(String, String), u16> {
        let send = service_fn(|request: Request<RequestBody<String>>| async move {
            let aim = request.body().aim().expect("a rule took it");
            assert_eq!(request.uri().authority(), Some(&aim.endpoint.authority));
            let host = request.headers()["host"].to_str()?.to_owned();
            Ok::<_, BoxError>(
                Response::builder()
                    .header("to", aim.endpoint.address.to_string())
                    .header("host", host)
                    .body(String::new())?,
            )
        });
        let mut request = Request::get(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let response =
            MeshRouter::new(&self.mesh).layer(send).oneshot(request.body(String::new()).unwrap()).await.unwrap();
        match response.headers().get("to") {
            Some(to) => Ok((to.to_str().unwrap().to_owned(), response.headers()["host"].to_str().unwrap().to_owned())),
            None => Err(response.status().as_u16()),
        }
    }
}

fn to(address: &str, host: &str) -> Result<(String, String), u16> {
    Ok((address.to_owned(), host.to_owned()))
}

#[tokio::test]
async fn none_leads_where_the_client_connected_to_whatever_host_says() {
    let published = publish(&entry("a", &format!("{{hosts: [a.test, '*.b.test'], addresses: [10.0.0.7], {PORTS}}}")));
    for (uri, host, expected) in [
        ("http://a.test/", None, to("a.test:80", "a.test")),
        ("http://A.test:81/", None, to("a.test:8081", "A.test:81")),
        ("http://x.b.test/", None, to("x.b.test:80", "x.b.test")),
        ("http://10.0.0.7/", None, to("10.0.0.7:80", "10.0.0.7")),
        ("/", Some("y.b.test:80"), to("y.b.test:80", "y.b.test:80")),
    ] {
        assert_eq!(published.goes_to(uri, host).await, expected, "{uri}");
    }
    assert!(published.warnings().is_empty());
}

#[tokio::test]
async fn rules_hold_for_what_passes_through_and_leave_the_destination_alone() {
    let rules = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.test]
  http:
  - match: [{uri: {prefix: /denied}}]
    directResponse: {status: 418}
  - rewrite: {authority: b.test}
    route: [{destination: {host: a.test, port: {number: 80}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a.test, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 2s}}, loadBalancer: {simple: ROUND_ROBIN}}}
---
";
    let published = publish(&(entry("a", &format!("{{hosts: [a.test], {PORTS}}}")) + rules));
    assert_eq!(published.goes_to("http://a.test/denied", None).await, Err(418));
    assert_eq!(published.goes_to("http://a.test/", None).await, to("a.test:80", "b.test"));
    let cluster = published.cluster("outbound|80||a.test").unwrap();
    assert_eq!(cluster.settings().connection.connect_timeout.as_secs(), 2);
}

#[tokio::test]
async fn one_host_keeps_one_endpoint_and_with_it_its_connections() {
    use mesh_router::dice::Dice;
    use mesh_router::upstream::{Choice, Original};
    let published = publish(&entry("a", &format!("{{hosts: [a.test], {PORTS}}}")));
    let cluster = published.cluster("outbound|80||a.test").unwrap();
    let original = Original { dialed: Some("a.test".parse().unwrap()), ..Original::default() };
    let pick =
        || cluster.pick(&mut Dice::new().draws(), &Choice { original: Some(&original), ..Choice::default() }).unwrap();
    let (first, second) = (pick(), pick());
    assert_eq!(first.endpoint().id, second.endpoint().id);
    assert_eq!(first.endpoint().active(), 2);
    assert!(matches!(first.endpoint().address, Address::Named(_)));
}

#[tokio::test]
async fn dynamic_dns_leads_to_the_host_that_is_named_if_it_is_one_of_the_entrys() {
    let dynamic =
        entry("a", "{hosts: ['*.a.test'], resolution: DYNAMIC_DNS, ports: [{number: 80, name: http, protocol: HTTP}]}");
    let rules = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec:
  hosts: [vs.test, '*.vs.test']
  http:
  - match: [{uri: {prefix: /x}}]
    rewrite: {authority: x.a.test}
    route: [{destination: {host: '*.a.test', port: {number: 80}}}]
  - route: [{destination: {host: '*.a.test', port: {number: 80}}}]
";
    let published = publish(&(dynamic + rules));
    assert_eq!(published.goes_to("http://one.a.test/", None).await, to("one.a.test:80", "one.a.test"));
    assert_eq!(published.goes_to("http://vs.test/x", None).await, to("x.a.test:80", "x.a.test"));
    assert_eq!(published.goes_to("http://vs.test/", None).await, Err(503), "not one of its hosts");
    assert!(published.warnings().is_empty(), "{:#?}", published.warnings());
}

#[test]
fn a_gateway_that_is_to_pass_through_is_named() {
    let gateway = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec: {servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec:
  hosts: [vs.test]
  gateways: [gw]
  http: [{route: [{destination: {host: a.test, port: {number: 80}}}]}]
";
    let published = publish(&(entry("a", &format!("{{hosts: [a.test], {PORTS}}}")) + gateway));
    assert_eq!(
        published.warnings(),
        ["mesh.yaml:19:34: warning: VirtualService default/vs: spec.http[0].route[0].destination.host: a.test has \
         resolution NONE, which leads where the client connected to: clients of a gateway connect to the gateway, and \
         their requests get 503 (write `resolution: DNS`)"]
    );
}

/// A server on the loopback address that answers every request with 200; its port.
async fn server() -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                }
            });
        }
    });
    port
}

/// The status of a request that really is sent.
async fn status(published: &Published, uri: &str) -> u16 {
    let client = MeshRouter::new(&published.mesh).layer(Transport::new());
    client.oneshot(Request::get(uri).body(String::new()).unwrap()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_transport_looks_up_the_name_that_the_client_addressed() {
    let port = server().await;
    let spec = format!("{{hosts: [localhost], ports: [{{number: {port}, name: http, protocol: HTTP}}]}}");
    assert_eq!(status(&publish(&entry("a", &spec)), &format!("http://localhost:{port}/")).await, 200);
}

#[tokio::test]
async fn a_transport_dials_the_latest_answer_of_a_logical_name() {
    let port = server().await;
    let spec = format!(
        "{{hosts: [a.test], resolution: DNS_ROUND_ROBIN, ports: [{{number: 80, name: http, protocol: HTTP}}],
  endpoints: [{{address: b.test, ports: {{http: {port}}}}}]}}"
    );
    let published = publish(&entry("a", &spec));
    assert_eq!(status(&published, "http://a.test/").await, 503, "nobody has looked it up");
    let snapshot = published.mesh.snapshot();
    let names: Vec<_> = snapshot.names().iter().map(|name| name.name().to_string()).collect();
    assert_eq!(names, ["b.test"]);
    published.mesh.publish_addresses("b.test", Some(vec![[127, 0, 0, 1].into()]));
    assert_eq!(status(&published, "http://a.test/").await, 200);
    assert_eq!(published.addresses("outbound|80||a.test"), super::list(&[&format!("b.test:{port}")]));
}
