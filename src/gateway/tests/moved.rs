//! Connections whose listener is another one by the next publication, of which they hear later than their requests.

use std::net::SocketAddr;

use http_body_util::Empty;
use tower::Layer;

use super::*;
use crate::config::Config;
use crate::gateway::entrance::bind_now;
use crate::gateway::hello::Hello;
use crate::mesh::Mesh;
use crate::request::{ListenerOrigin, Origin};
use crate::service::{MeshRouter, RequestBody};
use crate::snapshot::Bind;

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
    assert_eq!(mesh.apply(Config::from_yaml(&text, "it.yaml").unwrap()).unwrap().errors().next(), None);
}

/// A connection to a listener bound to `ip` that hears of no publication, from a client that dialed 127.0.0.1.
fn connect_at(ip: &str, hello: Option<&Hello>, mesh: &Mesh) -> Client {
    let (snapshot, bind) = (mesh.snapshot(), Bind::Tcp(SocketAddr::new(ip.parse().unwrap(), 8443)));
    let listener = match hello {
        Some(hello) => snapshot.secured_listener(&bind, hello.server_name.as_deref()),
        None => snapshot.plain_listener(&bind),
    };
    let (listener, dialed) = (listener.unwrap(), Some([127, 0, 0, 1].into()));
    let entrance = Arc::new(Entrance::new(&snapshot, listener, dialed, hello));
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
        let hello = Hello { server_name: Some("a.test".into()), protocols: Box::default() };
        assert_moves(connect_at("127.0.0.1", Some(&hello), &mesh), &mesh, [&[one], after], status).await;
    }
}

#[tokio::test(start_paused = true)]
async fn its_client_would_come_to_whichever_address_contains_the_one_it_dialed() {
    let [here, all] = ["127.0.0.1", "0.0.0.0"].map(|bind| ["one", "HTTP", bind, "*"]);
    let (other, web) = (["two", "HTTP", "127.0.0.2", "*"], ["two", "GRPC-WEB", "0.0.0.0", "*"]);
    for (before, after, status) in [
        (here, &[all][..], "200"),
        (all, &[other, here], "200"),
        (all, &[other], "404"),
        // What else would be made of its requests is not what it came for.
        (here, &[web], "404"),
        (here, &[["two", "HTTPS", "127.0.0.1", "*"], all], "404"),
    ] {
        let mesh = Mesh::new();
        publish(&mesh, &[before]);
        assert_moves(connect_at(before[2], None, &mesh), &mesh, [&[before], after], status).await;
    }
}

#[test]
fn who_is_accepted_after_it_comes_in_where_its_address_is_served_by_now() {
    let at = |ip: &str| Bind::Tcp(SocketAddr::new(ip.parse().unwrap(), 8443));
    let came_by = |ip: &str, after: &[[&str; 4]]| {
        let (mesh, bind) = (Mesh::new(), at(ip));
        publish(&mesh, after);
        let snapshot = mesh.snapshot();
        let bind = bind_now(&bind, Some([127, 0, 0, 1].into()), &snapshot);
        snapshot.plain_listener(&bind).map(|listener| listener.bind.clone())
    };
    let servers = [("one", "127.0.0.1"), ("two", "0.0.0.0"), ("three", "127.0.0.2")];
    let [here, all, other] = servers.map(|(name, bind)| [name, "HTTP", bind, "*"]);
    assert_eq!(came_by("127.0.0.1", &[all]), Some(at("0.0.0.0")));
    assert_eq!(came_by("0.0.0.0", &[here, other]), Some(at("127.0.0.1")));
    assert_eq!(came_by("0.0.0.0", &[here, all]), Some(at("0.0.0.0")), "it is still there");
    assert_eq!(came_by("127.0.0.1", &[other]), None);
}
