use std::time::Duration;

use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tracing_subscriber::util::SubscriberInitExt;

use super::*;
use crate::tls::tests::{Authority as Signer, Folder, inline};
use crate::transport::MeshCertificates;
use crate::upstream::{Identity, NamedAddress, Pem, TlsMode, TlsSettings};

fn bytes(pem: &Pem) -> &[u8] {
    let Pem::Text(text) = pem else { panic!("a text") };
    text
}

pub(super) fn server(identity: &Identity, clients: Option<&Signer>) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(crate::tls::provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        Some(signer) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(bytes(&signer.roots())).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crate::tls::provider());
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let chain = CertificateDer::pem_slice_iter(bytes(&identity.certificates)).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(bytes(&identity.key)).unwrap();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = ["istio-h2", "h2", "http/1.1"].map(|protocol| protocol.as_bytes().to_vec()).into();
    Arc::new(config)
}

impl Net {
    /// Answers each request with the number of its connection, the SNI and the ALPN.
    fn serve_tls(&self, config: Arc<ServerConfig>) {
        let Self { accepted, .. } = self.clone();
        tokio::spawn(async move {
            let mut number = 0;
            while let Some(pipe) = accepted.lock().await.recv().await {
                number += 1;
                let Ok(stream) = TlsAcceptor::from(config.clone()).accept(pipe).await else { continue };
                let (_, tls) = stream.get_ref();
                let alpn = String::from_utf8_lossy(tls.alpn_protocol().unwrap_or_default()).into_owned();
                let seen = format!("{number} {} {alpn}", tls.server_name().unwrap_or("-"));
                let service = service_fn(move |_| std::future::ready(Answer::Ok(Response::new(full(seen.clone())))));
                tokio::spawn(async move {
                    auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
    }
}

pub(super) fn simple(roots: Pem) -> TlsSettings {
    TlsSettings { roots: Some(roots), ..TlsSettings::new(TlsMode::Simple) }
}

pub(super) fn secured(tls: TlsSettings, protocol: Protocol) -> Arc<Endpoint> {
    let connection = ConnectionSettings { protocol, tls: Some(Arc::new(tls)), ..ConnectionSettings::default() };
    endpoint_of(&cluster_with(EndpointConfig::new(([10, 0, 0, 1], 80)), connection))
}

/// The reason of the failure of GET / to `endpoint`.
async fn refusal(transport: &Transport, endpoint: &Arc<Endpoint>) -> String {
    let error = send(transport, endpoint, get("/")).await.unwrap_err();
    let failure = error.downcast_ref::<FailureError>().unwrap();
    assert_eq!(failure.failure(), Failure::ConnectRefused, "{failure:?}");
    let mut root: &dyn std::error::Error = failure;
    while let Some(deeper) = root.source() {
        root = deeper;
    }
    root.to_string()
}

#[tokio::test]
async fn the_host_of_the_request_is_named_and_verified() {
    let signer = Signer::new("ours");
    let net = Net::new();
    net.serve_tls(server(&signer.issue(&["a.test"]), None));
    let transport = net.transport();
    let http1 = secured(simple(signer.roots()), Protocol::Http1);
    assert_eq!(ask(&transport, &http1).await, "1 a.test http/1.1");
    assert_eq!(ask(&transport, &http1).await, "1 a.test http/1.1");
    let http2 = secured(simple(signer.roots()), Protocol::Http2);
    assert_eq!(ask(&transport, &http2).await, "2 a.test h2");

    // Another host is another connection, and another certificate.
    let aim = |host: &'static str| Aim::new(http1.clone(), Some(Authority::from_static(host)));
    let to = |host| Request::get("/").body(RequestBody::new(empty()).with_aim(aim(host))).unwrap();
    let error = transport.clone().oneshot(to("b.test")).await.unwrap_err();
    assert_eq!(error.downcast_ref::<FailureError>().unwrap().failure(), Failure::ConnectRefused);
    let again = text(transport.clone().oneshot(to("A.TEST:8080")).await.unwrap()).await;
    assert_eq!(again, "1 a.test http/1.1");
    // A Host header names it where the aim does not.
    let mut request = to("a.test");
    request.body_mut().take_aim();
    let mut request = request.map(|body| body.with_aim(Aim::new(http1.clone(), None)));
    request.headers_mut().insert("host", "a.test:80".parse().unwrap());
    assert_eq!(text(transport.clone().oneshot(request).await.unwrap()).await, "1 a.test http/1.1");
    // Nobody's certificate is for no host.
    let unnamed = RequestBody::new(empty()).with_aim(Aim::new(http1.clone(), None));
    let error = transport.clone().oneshot(Request::get("/").body(unnamed).unwrap()).await.unwrap_err();
    assert_eq!(error.downcast_ref::<FailureError>().unwrap().failure(), Failure::ConnectRefused);
}

#[tokio::test(start_paused = true)]
async fn who_had_to_wait_to_be_looked_up_has_all_its_time_from_then_on() {
    // It takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = NamedAddress::new("localhost", silent.local_addr().unwrap().port());
    let connection = ConnectionSettings {
        tls: Some(Arc::new(simple(Signer::new("ours").roots()))),
        ..ConnectionSettings::default()
    };
    let endpoint = endpoint_of(&cluster_with(EndpointConfig::new(Address::Named(address)), connection));
    let (turns, limit) = (endpoint.limits().lookups().clone(), endpoint.connection().connect_timeout);
    let all = turns.available_permits().try_into().unwrap();
    for wait in [Duration::from_millis(5), limit - Duration::from_millis(5)] {
        let others = turns.clone().acquire_many_owned(all).await.unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            drop(others);
        });
        let started = tokio::time::Instant::now();
        assert_eq!(failure_of(send(&Transport::new(), &endpoint, get("/")).await), Failure::ConnectTimeout);
        assert_eq!(started.elapsed(), wait + limit);
    }
}

#[tokio::test]
async fn an_answer_ends_with_tls_that_is_left_without_a_word() {
    let signer = Signer::new("ours");
    let net = Net::new();
    let (acceptor, there) = (TlsAcceptor::from(server(&signer.issue(&["a.test"]), None)), net.clone());
    tokio::spawn(async move {
        for length in ["", "content-length: 9\r\n"] {
            let mut stream = acceptor.accept(there.accept().await).await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await.unwrap();
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{length}\r\nanswer").as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
    });
    let (transport, endpoint) = (net.transport(), secured(simple(signer.roots()), Protocol::Http1));
    assert_eq!(ask(&transport, &endpoint).await, "answer");
    // Less than was promised is none.
    let cut = send(&transport, &endpoint, get("/")).await.unwrap();
    cut.into_body().collect().await.unwrap_err();
}

#[tokio::test]
async fn a_given_name_is_named_and_verified() {
    let signer = Signer::new("ours");
    let net = Net::new();
    net.serve_tls(server(&signer.issue(&["up.test", "spiffe://mesh/ns/default/sa/up"]), None));
    let transport = net.transport();
    let sni = TlsSettings { server_name: Some("up.test".into()), ..simple(signer.roots()) };
    assert_eq!(ask(&transport, &secured(sni.clone(), Protocol::Http1)).await, "1 up.test http/1.1");
    let names = |names: &[&str]| {
        let subject_alt_names = names.iter().map(|name| Box::from(*name)).collect();
        secured(TlsSettings { subject_alt_names, ..sni.clone() }, Protocol::Http1)
    };
    for good in [&["up.test"][..], &["else.test", "up.test"], &["spiffe://mesh/ns/default/sa/up"]] {
        assert!(ask(&transport, &names(good)).await.contains("up.test"), "{good:?}");
    }
    for bad in [&["else.test"][..], &["spiffe://mesh/ns/default/sa/else"]] {
        assert!(refusal(&transport, &names(bad)).await.contains("NotValidForName"), "{bad:?}");
    }
}

#[tokio::test]
async fn a_stranger_is_refused_with_a_reason_unless_nobody_asks() {
    let (signer, others) = (Signer::new("ours"), Signer::new("others"));
    let net = Net::new();
    net.serve_tls(server(&signer.issue(&["a.test"]), None));
    let transport = net.transport();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let reason = refusal(&transport, &secured(simple(others.roots()), protocol)).await;
        assert!(reason.starts_with("TLS_error: ") && reason.contains("UnknownIssuer"), "{reason}");
        let blind = TlsSettings { skip_verify: true, ..simple(others.roots()) };
        assert!(ask(&transport, &secured(blind, protocol)).await.contains("a.test"));
        let revoked = TlsSettings { revoked: Some(signer.revoke(7)), ..simple(signer.roots()) };
        let reason = refusal(&transport, &secured(revoked, protocol)).await;
        assert!(reason.contains("Revoked"), "{reason}");
        let missing = simple(Pem::Missing("the Secret default/ca".into()));
        assert_eq!(
            refusal(&transport, &secured(missing, protocol)).await,
            "TLS_error: the Secret default/ca is not there"
        );
    }
}

#[tokio::test]
async fn plain_text_is_no_handshake() {
    let net = Net::new();
    net.clone().serve(|_, _| async { Ok(Response::new(full("plain"))) });
    let reason = refusal(&net.transport(), &secured(simple(Signer::new("ours").roots()), Protocol::Http1)).await;
    assert!(reason.starts_with("TLS_error: "), "{reason}");
}

#[tokio::test]
async fn a_certificate_is_presented_where_there_is_one() {
    let (signer, clients) = (Signer::new("ours"), Signer::new("clients"));
    let net = Net::new();
    net.serve_tls(server(&signer.issue(&["a.test"]), Some(&clients)));
    let transport = net.transport();
    let identity = Some(clients.issue(&["me.test"]));
    let mutual = TlsSettings { identity, ..simple(signer.roots()) };
    assert_eq!(ask(&transport, &secured(mutual, Protocol::Http1)).await, "1 a.test http/1.1");
    // With TLS 1.3 the refusal comes after the handshake: as a connection that ends.
    let none = send(&transport, &secured(simple(signer.roots()), Protocol::Http1), get("/")).await;
    assert_eq!(failure_of(none), Failure::ConnectionTermination);
    // A key that is not the certificate's.
    let (one, other) = (clients.issue(&["me.test"]), clients.issue(&["me.test"]));
    let identity = Some(Identity { certificates: one.certificates, key: other.key });
    let mixed = TlsSettings { identity, ..simple(signer.roots()) };
    assert!(refusal(&transport, &secured(mixed, Protocol::Http1)).await.contains("the key is not the certificate's"));
}

#[tokio::test]
async fn the_last_word_of_tls_ends_a_connection_whatever_is_spoken_over_it() {
    let (signer, clients) = (Signer::new("ours"), Signer::new("clients"));
    let acceptor = TlsAcceptor::from(server(&signer.issue(&["a.test"]), Some(&clients)));
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let net = Net::new();
        let (transport, endpoint) = (net.transport(), secured(simple(signer.roots()), protocol));
        let asking = tokio::spawn(async move { send(&transport, &endpoint, get("/")).await });
        // It is not closed: what comes of the request is what was said.
        let refused = acceptor.accept(net.accept().await).into_fallible().await.unwrap_err();
        assert_eq!(failure_of(asking.await.unwrap()), Failure::ConnectionTermination, "{protocol:?}");
        drop(refused);
    }
}

#[tokio::test]
async fn so_does_an_answer_whose_tls_is_broken() {
    let signer = Signer::new("ours");
    let net = Net::new();
    let acceptor = TlsAcceptor::from(server(&signer.issue(&["a.test"]), None));
    let (transport, endpoint) = (net.transport(), secured(simple(signer.roots()), Protocol::Http2));
    let (mut near, pipe) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let mut server = h2::server::handshake(acceptor.accept(pipe).await.unwrap()).await.unwrap();
        let (_, mut respond) = server.accept().await.unwrap().unwrap();
        let _body = respond.send_response(Response::new(()), false).unwrap();
        while server.accept().await.is_some() {}
    });
    let asking = tokio::spawn({
        let transport = transport.clone();
        async move { send(&transport, &endpoint, get("/")).await }
    });
    let mut far = net.accept().await;
    let answer = tokio::select! {
        answer = asking => answer.unwrap().unwrap(),
        end = tokio::io::copy_bidirectional(&mut far, &mut near) => panic!("{end:?}"),
    };
    // A record that nobody sealed.
    far.write_all(&[[23, 3, 3, 0, 32].as_slice(), &[0; 32]].concat()).await.unwrap();
    let error = answer.into_body().collect().await.unwrap_err();
    assert_eq!(error.failure(), Failure::ConnectionTermination);
}

#[tokio::test]
async fn the_certificates_of_the_mesh_are_the_transports() {
    let mesh = Signer::new("mesh");
    let net = Net::new();
    net.serve_tls(server(&mesh.issue(&["spiffe://cluster.local/ns/a/sa/b"]), Some(&mesh)));
    let identity = mesh.issue(&["spiffe://cluster.local/ns/a/sa/me"]);
    let transport = Transport::builder()
        .connector(net.connector())
        .mesh_certificates(MeshCertificates { identity, roots: mesh.roots() })
        .build();
    let tls =
        TlsSettings { server_name: Some("outbound_.80_._.a.test".into()), ..TlsSettings::new(TlsMode::IstioMutual) };
    assert_eq!(ask(&transport, &secured(tls, Protocol::Http2)).await, "1 outbound_.80_._.a.test istio-h2");
}

#[tokio::test]
async fn without_certificates_of_the_mesh_the_connection_is_left_to_a_sidecar() {
    let net = Net::new();
    net.clone().serve(|_, _| async { Ok(Response::new(full("plain"))) });
    let endpoint = secured(TlsSettings::new(TlsMode::IstioMutual), Protocol::Http1);
    let (transports, warned) = ([net.transport(), net.transport()], Arc::new(AtomicUsize::new(0)));
    let count = warned.clone();
    let heard = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(move || {
        count.fetch_add(1, Ordering::SeqCst);
        io::sink()
    });
    let _heard = heard.set_default();
    for transport in transports {
        assert_eq!(ask(&transport, &endpoint).await, "plain");
        drop(transport.connect(&endpoint, "a.test", None, None).await.unwrap());
    }
    assert_eq!(warned.load(Ordering::SeqCst), 2, "once each");
}

#[tokio::test]
async fn changed_files_hold_for_new_connections() {
    let (before, after) = (Signer::new("before"), Signer::new("after"));
    let folder = Folder::new("transport-roots");
    let roots = folder.write("ca.crt", &before.roots(), 1);
    let net = Net::new();
    net.serve_tls(server(&after.issue(&["a.test"]), None));
    let transport = net.transport();
    let endpoint = secured(simple(roots), Protocol::Http1);
    assert!(refusal(&transport, &endpoint).await.contains("UnknownIssuer"));
    folder.write("ca.crt", &after.roots(), 2);
    assert_eq!(ask(&transport, &endpoint).await, "2 a.test http/1.1");
    folder.write("ca.crt", &inline(""), 3);
    let request = get("/").map(|_| empty());
    let mut request = aimed(&endpoint, request);
    request.headers_mut().insert("connection", "close".parse().unwrap());
    text(transport.clone().oneshot(request).await.unwrap()).await;
    settle().await;
    assert_eq!(ask(&transport, &endpoint).await, "3 a.test http/1.1", "the last good file serves on");
}

#[tokio::test(start_paused = true)]
async fn the_connect_timeout_covers_the_handshake() {
    let net = Net::new();
    let transport = net.transport();
    let connect_timeout = std::time::Duration::from_millis(700);
    let tls = Some(Arc::new(simple(Signer::new("ours").roots())));
    let connection = ConnectionSettings { connect_timeout, tls, ..ConnectionSettings::default() };
    let endpoint = endpoint_of(&cluster_with(EndpointConfig::new(([10, 0, 0, 1], 80)), connection));
    let started = tokio::time::Instant::now();
    assert_eq!(failure_of(send(&transport, &endpoint, get("/")).await), Failure::ConnectTimeout);
    assert_eq!(started.elapsed(), connect_timeout);
}

#[tokio::test]
async fn https_goes_where_it_says_if_the_system_trusts_it() {
    let net = Net::new();
    net.serve_tls(server(&Signer::new("nobody's").issue(&["10.0.0.1"]), None));
    let request = Request::get("https://10.0.0.1/").body(RequestBody::new(empty())).unwrap();
    let error = net.transport().oneshot(request).await.unwrap_err();
    assert_eq!(error.downcast_ref::<FailureError>().unwrap().failure(), Failure::ConnectRefused);
}

/// The same as [`Net::serve_tls`] for connections that `outer` secures first.
fn serve_within(net: &Net, outer: Arc<ServerConfig>, inner: Arc<ServerConfig>) {
    let Net { accepted, .. } = net.clone();
    tokio::spawn(async move {
        while let Some(pipe) = accepted.lock().await.recv().await {
            let stream = TlsAcceptor::from(outer.clone()).accept(pipe).await.unwrap();
            let outer = stream.get_ref().1.server_name().unwrap().to_owned();
            let stream = TlsAcceptor::from(inner.clone()).accept(stream).await.unwrap();
            let seen = format!("{outer} {}", stream.get_ref().1.server_name().unwrap());
            let service = service_fn(move |_| std::future::ready(Answer::Ok(Response::new(full(seen.clone())))));
            tokio::spawn(async move {
                auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    });
}

/// GET / of the application's own `https` to `host`.
pub(super) async fn ask_https(
    transport: &Transport,
    endpoint: &Arc<Endpoint>,
    https: Https,
) -> Result<String, BoxError> {
    let aim = Aim::new(endpoint.clone(), Some(Authority::from_static("a.test"))).with_https(https);
    let request = Request::get("https://a.test/").body(RequestBody::new(empty()).with_aim(aim)).unwrap();
    Ok(text(transport.clone().oneshot(request).await?).await)
}

#[tokio::test]
async fn https_of_the_application_is_secured_where_no_rule_does_it() {
    let (signer, others) = (Signer::new("ours"), Signer::new("others"));
    let net = Net::new();
    net.serve_tls(server(&signer.issue(&["a.test", "up.test"]), None));
    let transport = Transport::builder().connector(net.connector()).https_roots(signer.roots()).build();
    let routed = || Https::new("A.test", false);
    let (http1, http2) = (endpoint(Protocol::Http1), endpoint(Protocol::Http2));
    assert_eq!(ask_https(&transport, &http1, routed()).await.unwrap(), "1 a.test http/1.1");
    assert_eq!(ask_https(&transport, &http2, routed()).await.unwrap(), "2 a.test h2");
    // From end to end the application's version is spoken, whatever the cluster's.
    assert_eq!(ask_https(&transport, &http2, Https::new("a.test", true)).await.unwrap(), "3 a.test http/1.1");
    // The endpoint's own TLS takes its place.
    let own = TlsSettings { server_name: Some("up.test".into()), ..simple(signer.roots()) };
    assert_eq!(ask_https(&transport, &secured(own, Protocol::Http1), routed()).await.unwrap(), "4 up.test http/1.1");
    // Certificates of the mesh, which this transport has not: nothing goes in plain text.
    let mesh = secured(TlsSettings::new(TlsMode::IstioMutual), Protocol::Http1);
    assert_eq!(ask_https(&transport, &mesh, routed()).await.unwrap(), "5 a.test http/1.1");

    let stranger = Transport::builder().connector(net.connector()).https_roots(others.roots()).build();
    let error = ask_https(&stranger, &http1, routed()).await.unwrap_err();
    assert_eq!(error.downcast_ref::<FailureError>().unwrap().failure(), Failure::ConnectRefused);
}

#[tokio::test]
async fn https_from_end_to_end_goes_within_the_endpoints_tls() {
    let signer = Signer::new("ours");
    let net = Net::new();
    serve_within(&net, server(&signer.issue(&["gateway.test"]), None), server(&signer.issue(&["a.test"]), None));
    let transport = Transport::builder().connector(net.connector()).https_roots(signer.roots()).build();
    let own = TlsSettings { server_name: Some("gateway.test".into()), ..simple(signer.roots()) };
    let gateway = secured(own, Protocol::Http1);
    assert_eq!(ask_https(&transport, &gateway, Https::new("a.test", true)).await.unwrap(), "gateway.test a.test");
}
