//! Egress as Istio does it: requests leave through an egress gateway, by one VirtualService on [mesh, egress].
//!
//! - `http` of the application goes in plain text to the gateway, which originates TLS (DestinationRule, SIMPLE).
//! - `https` goes there by its server name; the gateway passes the application's own TLS on, unread.
//!
//! Application, gateway and the outside world are in this process: `cargo run --example egress`

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::TokioIo;
use mesh_router::upstream::{EndpointConfig, Pem};
use mesh_router::{BoxError, Mesh, MeshRouter, Transport, config::Config, gateway::Server};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};

/// Somebody outside who speaks TLS only, and says under which name it was asked for and what the gateway added.
async fn outside(listener: TcpListener, tls: tokio_rustls::TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            let stream = tls.accept(stream).await?;
            let name = stream.get_ref().1.server_name().unwrap_or("nobody").to_owned();
            let answer = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
                let gateway = request.headers().get("x-egress").map_or("unread", |_| "originated");
                let text = Bytes::from(format!("{name}, TLS {gateway}"));
                std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(Full::new(text))))
            });
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await?;
            Ok::<_, BoxError>(())
        });
    }
}

async fn get(mesh: &Mesh, transport: &Transport, uri: &str) -> Result<(StatusCode, String), BoxError> {
    let client = MeshRouter::new(mesh).layer(transport.clone());
    let (head, body) = client.oneshot(Request::get(uri).body(Empty::<Bytes>::new())?).await?.into_parts();
    Ok((head.status, String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned()))
}

/// What is answered to `http` and to `https` by the rules of `egress.yaml`, and the status of both once the gateway is gone.
pub(crate) async fn run() -> Result<([String; 2], [StatusCode; 2]), BoxError> {
    let signed = rcgen::generate_simple_self_signed(["outside.test".to_owned()])?;
    let roots = std::env::temp_dir().join(format!("mesh-router-egress-{}.pem", std::process::id()));
    std::fs::write(&roots, signed.cert.pem())?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der())?;
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let tls = tls.with_safe_default_protocol_versions()?.with_no_client_auth();
    let tls = tls.with_single_cert(vec![signed.cert.der().clone()], key)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(outside(listener, Arc::new(tls).into()));

    let rules =
        include_str!("egress.yaml").replace("ROOTS", &roots.to_string_lossy()).replace("OUTSIDE", &port.to_string());
    let mesh = Mesh::new();
    assert_eq!(mesh.apply(Config::from_yaml(&rules, "egress.yaml")?)?.errors().next(), None);
    let gateway = Server::builder(&mesh).map_port(80, 0).map_port(443, 0).start().await?;
    for port in [80, 443] {
        let address = gateway.address(port).ok_or("the gateway does not listen")?;
        mesh.set_endpoints("egress.test", port, vec![EndpointConfig::new(address)]);
    }
    let transport = Transport::builder().https_roots(Pem::File(roots.clone())).build();
    let originated = get(&mesh, &transport, "http://outside.test/").await?.1;
    let passed = get(&mesh, &transport, "https://outside.test/").await?.1;
    transport.close();
    gateway.drain(Duration::from_secs(5)).await;
    let gone = [
        get(&mesh, &transport, "http://outside.test/").await?.0,
        get(&mesh, &transport, "https://outside.test/").await?.0,
    ];
    std::fs::remove_file(&roots)?;
    Ok(([originated, passed], gone))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let ([http, https], gone) = run().await?;
    println!("http  -> {http}\nhttps -> {https}\nwithout the gateway -> {gone:?}");
    Ok(())
}
