//! Connections whose listener is another one by the next publication, of which they hear later than their requests.

use http_body_util::Empty;
use tower::Layer;

use super::*;
use crate::config::Config;
use crate::gateway::hello::Hello;
use crate::mesh::Mesh;
use crate::request::{ListenerOrigin, Origin};
use crate::service::{MeshRouter, RequestBody};
use crate::snapshot::{Bind, Listener};

const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 8443);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// Publishes servers of these port names, protocols, addresses and hosts.
fn publish(mesh: &Mesh, servers: &[[&str; 4]]) {
    let mut text = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec: {hosts: ['*'], gateways: [gw], http: [{directResponse: {status: 200}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  servers:
"
    .to_owned();
    for [name, protocol, bind, host] in servers {
        let tls = if *protocol == "HTTPS" { "{mode: SIMPLE, credentialName: c}" } else { "null" };
        text += &format!(
            "  - {{port: {{number: 8443, name: {name}, protocol: {protocol}}}, bind: {bind}, hosts: ['{host}'], tls: {tls}}}\n"
        );
    }
    mesh.apply(Config::from_yaml(&text, "it.yaml").unwrap()).unwrap();
}

/// A connection to `listener` that hears of no publication.
fn connect_by(mesh: &Mesh, listener: &Listener, entrance: Entrance) -> Client {
    let entrance = Arc::new(entrance);
    let origin = Origin::Listener(Arc::new(ListenerOrigin::new(listener.name.clone(), listener.port)));
    let inner = service_fn(|_: Request<RequestBody<InboundBody>>| async {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let service = MeshRouter::new(mesh).with_origin(origin).with_detour(entrance.clone()).layer(inner);
    connect_in(service, Some(entrance))
}

async fn ask_again(client: &mut Client) -> String {
    client.stream.write_all(REQUEST).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(client.stream.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

/// Asks once by `before`, once by the same again, and by `after`.
async fn assert_moves(mut client: Client, mesh: &Mesh, [before, after]: [&[[&str; 4]]; 2], status: &str) {
    for _ in 0..2 {
        let answer = ask_again(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("connection: "), "{after:?}: {answer}");
        publish(mesh, before);
    }
    publish(mesh, after);
    let answer = ask_again(&mut client).await;
    assert_eq!((statuses(&answer), answer.contains("\r\nconnection: close\r\n")), (vec![status], true), "{after:?}");
    client.served.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_first_request_after_it_goes_where_its_client_would_come() {
    let (one, two) = (["one", "HTTPS", "127.0.0.1", "a.test"], ["two", "HTTPS", "127.0.0.1", "a.test"]);
    let other = ["one", "HTTPS", "127.0.0.1", "b.test"];
    for (after, status) in [(&[two][..], "200"), (&[other, two], "200"), (&[other], "404")] {
        let mesh = Mesh::new();
        publish(&mesh, &[one]);
        let hello = Hello { server_name: Some("a.test".into()), protocols: Vec::new() };
        let snapshot = mesh.snapshot();
        let bind = Bind::Tcp(ADDRESS.into());
        let listener = snapshot.secured_listener(&bind, hello.server_name.as_deref()).unwrap();
        let client = connect_by(&mesh, listener, Entrance::new(snapshot.version(), &hello, listener));
        assert_moves(client, &mesh, [&[one], after], status).await;
    }
}
