//! A gateway's TLS and TCP on real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

#[path = "gateway_secured/of_mesh.rs"]
mod of_mesh;
#[path = "gateway_secured/onward.rs"]
mod onward;
#[path = "support/gateway.rs"]
mod support;

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use mesh_router::Mesh;
use mesh_router::config::Config;
use mesh_router::gateway::Server;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384};
use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion, version};
use support::free_port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

struct Signer(CertifiedIssuer<'static, KeyPair>);

#[derive(Clone)]
struct Pair {
    certificate: String,
    key: String,
}

impl Signer {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str) -> Pair {
        self.issue_by(name, KeyPair::generate().unwrap())
    }

    fn issue_by(&self, name: &str, key: KeyPair) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    fn root(&self) -> String {
        self.0.pem()
    }
}

/// A document of a Secret.
fn secret(name: &str, pair: &Pair, authority: Option<&Signer>) -> String {
    let mut text = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData:\n");
    let mut add =
        |key: &str, pem: &str| writeln!(text, "  {key}: |\n    {}", pem.trim().replace('\n', "\n    ")).unwrap();
    add("tls.crt", &pair.certificate);
    add("tls.key", &pair.key);
    if let Some(authority) = authority {
        add("ca.crt", &authority.root());
    }
    text + "---\n"
}

/// Answers everything with `name`, and what it was sent first.
async fn upstream(name: &'static str) -> u16 {
    let listener = TcpListener::bind(local(0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut sent = vec![0; 4096];
                let length = stream.read(&mut sent).await.unwrap_or(0);
                let body = format!("{name} {}", String::from_utf8_lossy(&sent[..length]));
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            });
        }
    });
    port
}

/// A service and the rules that lead to it, for HTTP and for bytes.
fn behind(port: u16) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: up}}
spec:
  hosts: [up.test]
  ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 9000, name: tcp, protocol: TCP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}, tcp: {port}}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: up}}
spec:
  hosts: ['*']
  gateways: [gw]
  http: [{{route: [{{destination: {{host: up.test, port: {{number: 80}}}}}}]}}]
  tcp: [{{route: [{{destination: {{host: up.test, port: {{number: 9000}}}}}}]}}]
  tls: [{{match: [{{sniHosts: ['*.passed.test']}}], route: [{{destination: {{host: up.test, port: {{number: 9000}}}}}}]}}]
---
"
    )
}

/// A Gateway with these servers on one port.
fn gateway(port: u16, servers: &[(&str, &str, &str)]) -> String {
    let mut text =
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  servers:\n".to_owned();
    for (number, (protocol, hosts, tls)) in servers.iter().enumerate() {
        writeln!(
            text,
            "  - {{port: {{number: {port}, name: p{number}, protocol: {protocol}}}, bind: 127.0.0.1, hosts: {hosts}, tls: {tls}}}"
        )
        .unwrap();
    }
    text + "---\n"
}

async fn start(mesh: &Mesh) -> Server {
    Server::builder(mesh).workers(NonZeroUsize::MIN).start().await.unwrap()
}

/// A running gateway in front of an upstream.
async fn serve(documents: &str) -> (Mesh, Server) {
    let mesh = Mesh::new();
    let text = format!("{documents}{}", behind(upstream("up").await));
    let report = mesh.apply(Config::from_yaml(&text, "it.yaml").unwrap()).unwrap();
    assert_eq!(report.errors().count(), 0, "{report}");
    let server = start(&mesh).await;
    (mesh, server)
}

/// A client that trusts `authority`.
#[derive(Clone)]
struct Client {
    roots: Arc<RootCertStore>,
    own: Option<Pair>,
    alpn: Vec<&'static str>,
    versions: Vec<&'static SupportedProtocolVersion>,
    /// The only signatures that it can read, if not all.
    reads: Option<SignatureScheme>,
}

impl Client {
    fn trusting(authority: &Signer) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.root().as_bytes()).unwrap()).unwrap();
        Self {
            roots: Arc::new(roots),
            own: None,
            alpn: Vec::new(),
            versions: vec![&version::TLS13, &version::TLS12],
            reads: None,
        }
    }

    fn with(&self, own: &Pair) -> Self {
        Self { own: Some(own.clone()), ..self.clone() }
    }

    async fn connect(&self, port: u16, name: &str) -> io::Result<TlsStream<TcpStream>> {
        let mut provider = rustls::crypto::ring::default_provider();
        if let Some(reads) = self.reads {
            let algorithms = &mut provider.signature_verification_algorithms;
            let known: Vec<_> = algorithms.mapping.iter().copied().filter(|(scheme, _)| *scheme == reads).collect();
            algorithms.mapping = known.leak();
        }
        let config =
            ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&self.versions).unwrap();
        let config = config.with_root_certificates(self.roots.clone());
        let mut config = match &self.own {
            Some(Pair { certificate, key }) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(local(port)).await?).await
    }

    /// What is answered to a request for `host`, over a connection to the server name `name`.
    async fn ask(&self, port: u16, name: &str, host: &str) -> io::Result<String> {
        let mut stream = self.connect(port, name).await?;
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8(answer).unwrap())
    }

    async fn is_served(&self, port: u16, name: &str) -> bool {
        self.ask(port, name, name).await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }
}

#[tokio::test]
async fn optional_certificates_of_clients_are_verified_if_there_are_any() {
    let (ours, clients, others) = (Signer::new("ours"), Signer::new("clients"), Signer::new("others"));
    let port = free_port();
    let servers = gateway(port, &[("HTTPS", "['*']", "{mode: OPTIONAL_MUTUAL, credentialName: c}")]);
    let secrets = secret("c", &ours.issue("a.test"), Some(&clients));
    let (_mesh, _server) = serve(&format!("{servers}{secrets}")).await;
    let client = Client::trusting(&ours);
    assert!(client.is_served(port, "a.test").await);
    assert!(client.with(&clients.issue("me.test")).is_served(port, "a.test").await);
    assert!(!client.with(&others.issue("me.test")).is_served(port, "a.test").await);
}

#[tokio::test]
async fn certificates_of_clients_need_a_name_and_a_pin_where_they_are_asked_for() {
    let (ours, clients) = (Signer::new("ours"), Signer::new("clients"));
    let (good, bad) = (clients.issue("good.test"), clients.issue("bad.test"));
    let client = Client::trusting(&ours);
    let hash = digest(&SHA256, &CertificateDer::from_pem_slice(good.certificate.as_bytes()).unwrap());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02X}:")).collect();
    for asked in [
        "subjectAltNames: [good.test]".to_owned(),
        format!("verifyCertificateHash: ['{}']", hash.trim_end_matches(':')),
    ] {
        let port = free_port();
        let tls = format!("{{mode: MUTUAL, credentialName: c, {asked}}}");
        let documents =
            gateway(port, &[("HTTPS", "['*']", &tls)]) + &secret("c", &ours.issue("a.test"), Some(&clients));
        let (_mesh, _server) = serve(&documents).await;
        assert!(client.with(&good).is_served(port, "a.test").await, "{asked}");
        assert!(!client.with(&bad).is_served(port, "a.test").await, "{asked}");
        assert!(!client.is_served(port, "a.test").await, "{asked}");
    }
}

#[tokio::test]
async fn servers_of_one_port_are_told_apart_by_name_and_kind() {
    let ours = Signer::new("ours");
    let port = free_port();
    let servers = [
        ("HTTPS", "[a.test]", "{mode: SIMPLE, credentialName: a}"),
        ("HTTPS", "['*.wild.test']", "{mode: SIMPLE, credentialName: wild}"),
        ("TLS", "[ended.test]", "{mode: SIMPLE, credentialName: ended}"),
        ("TLS", "['*.passed.test']", "{mode: PASSTHROUGH}"),
    ];
    let mut documents = gateway(port, &servers);
    for (name, host) in [("a", "a.test"), ("wild", "b.wild.test"), ("ended", "ended.test")] {
        documents += &secret(name, &ours.issue(host), None);
    }
    let (_mesh, _server) = serve(&documents).await;
    let client = Client::trusting(&ours);
    for name in ["a.test", "b.wild.test"] {
        let answer = client.ask(port, name, name).await.unwrap();
        assert!(answer.contains("x-forwarded-proto: https"), "{answer}");
    }
    // Each server has its own hosts.
    assert!(client.ask(port, "a.test", "b.wild.test").await.unwrap().starts_with("HTTP/1.1 404"));
    // TLS is ended and the bytes go as they come, without a header of ours.
    let answer = client.ask(port, "ended.test", "ended.test").await.unwrap();
    assert!(answer.ends_with("up GET / HTTP/1.1\r\nhost: ended.test\r\nconnection: close\r\n\r\n"), "{answer}");
    // TLS is passed on, also of a client that we could not serve: the upstream, which has none, gets the handshake.
    for hello in [hello("x.passed.test"), compressing(hello("x.passed.test"))] {
        let mut raw = TcpStream::connect(local(port)).await.unwrap();
        raw.write_all(&hello).await.unwrap();
        let mut answer = Vec::new();
        raw.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&answer));
    }
    // Nobody is for this name, nor for no name, nor for what is no TLS.
    assert!(client.connect(port, "else.test").await.is_err());
    assert!(client.connect(port, "127.0.0.1").await.is_err());
    let mut plain = TcpStream::connect(local(port)).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

/// What a client sends first that asks for `name`.
fn hello(name: &'static str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// The same of a client that insists on compression, which no server should speak.
fn compressing(mut hello: Vec<u8>) -> Vec<u8> {
    let session = 5 + 4 + 2 + 32;
    let suites = session + 1 + usize::from(hello[session]);
    let compressions = suites + 2 + usize::from(u16::from_be_bytes([hello[suites], hello[suites + 1]]));
    assert_eq!(hello[compressions..compressions + 2], [1, 0]);
    hello[compressions + 1] = 1;
    hello
}

#[tokio::test]
async fn versions_suites_and_protocols_are_as_the_server_says() {
    let ours = Signer::new("ours");
    let port = free_port();
    let suite = "ECDHE-ECDSA-AES256-GCM-SHA384";
    let tls = format!("{{mode: SIMPLE, credentialName: c, maxProtocolVersion: TLSV1_2, cipherSuites: [{suite}]}}");
    let documents = gateway(port, &[("HTTPS", "['*']", &tls)]) + &secret("c", &ours.issue("a.test"), None);
    let (_mesh, _server) = serve(&documents).await;
    let client = Client::trusting(&ours);
    let stream = client.connect(port, "a.test").await.unwrap();
    let (_, tls) = stream.get_ref();
    let chosen = tls.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(chosen, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
    assert!(Client { versions: vec![&version::TLS13], ..client.clone() }.connect(port, "a.test").await.is_err());
    for (offered, chosen) in
        [(vec!["http/1.1", "h2"], Some("h2")), (vec!["http/1.1"], Some("http/1.1")), (vec!["x"], None)]
    {
        let stream = Client { alpn: offered.clone(), ..client.clone() }.connect(port, "a.test").await.unwrap();
        let (_, tls) = stream.get_ref();
        assert_eq!(tls.alpn_protocol(), chosen.map(str::as_bytes), "{offered:?}");
    }
}

#[tokio::test]
async fn a_client_gets_the_certificate_that_it_can_read() {
    let ours = Signer::new("ours");
    let (common, strong) = (ours.issue("a.test"), KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap());
    let strong = ours.issue_by("a.test", strong);
    let port = free_port();
    let tls = "{mode: SIMPLE, credentialNames: [common, strong]}";
    let documents =
        gateway(port, &[("HTTPS", "['*']", tls)]) + &secret("common", &common, None) + &secret("strong", &strong, None);
    let (_mesh, _server) = serve(&documents).await;
    let client = Client::trusting(&ours);
    for (reads, pair) in [(None, &common), (Some(SignatureScheme::ECDSA_NISTP384_SHA384), &strong)] {
        let stream = Client { reads, ..client.clone() }.connect(port, "a.test").await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        assert_eq!(shown, CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap(), "{reads:?}");
    }
}

#[tokio::test]
async fn secrets_and_servers_come_and_go_behind_one_socket() {
    let (before, after) = (Signer::new("before"), Signer::new("after"));
    let port = free_port();
    let only = |host: &str| gateway(port, &[("HTTPS", &format!("[{host}]"), "{mode: SIMPLE, credentialName: c}")]);
    let mesh = Mesh::new();
    let up = behind(upstream("up").await);
    let publish = |documents: String| {
        let report = mesh.apply(Config::from_yaml(&format!("{documents}{up}"), "it.yaml").unwrap()).unwrap();
        report.fails_check()
    };
    // Without its Secret a server is open and lets nobody in; `check` says so.
    assert!(publish(only("a.test")));
    let _server = start(&mesh).await;
    let (old, new) = (Client::trusting(&before), Client::trusting(&after));
    assert!(!old.is_served(port, "a.test").await);
    assert!(!publish(only("a.test") + &secret("c", &before.issue("a.test"), None)));
    assert!(old.is_served(port, "a.test").await);
    assert!(!publish(only("a.test") + &secret("c", &after.issue("a.test"), None)));
    assert!(new.is_served(port, "a.test").await && !old.is_served(port, "a.test").await);
    assert!(!publish(only("b.test") + &secret("c", &after.issue("b.test"), None)));
    assert!(new.is_served(port, "b.test").await && !new.is_served(port, "a.test").await);
}

#[tokio::test]
async fn who_came_in_by_other_words_is_answered_and_asked_to_come_again() {
    let (ours, clients) = (Signer::new("ours"), Signer::new("clients"));
    let port = free_port();
    let mesh = Mesh::new();
    let up = behind(upstream("up").await);
    let publish = |servers: &[(&str, &str)]| {
        let servers: Vec<_> = servers
            .iter()
            .map(|(hosts, mode)| (format!("[{hosts}]"), format!("{{mode: {mode}, credentialName: c}}")))
            .collect();
        let servers: Vec<_> = servers.iter().map(|(hosts, tls)| ("HTTPS", &**hosts, &**tls)).collect();
        let text = gateway(port, &servers) + &secret("c", &ours.issue("a.test"), Some(&clients)) + &up;
        assert_eq!(mesh.apply(Config::from_yaml(&text, "it.yaml").unwrap()).unwrap().errors().next(), None);
    };
    publish(&[("a.test", "SIMPLE")]);
    let _server = start(&mesh).await;
    let client = Client::trusting(&ours);
    let request = b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";
    for (servers, status) in [
        // Of the same name, but it asks for more.
        (&[("a.test", "MUTUAL")][..], "200"),
        (&[("b.test", "SIMPLE")], "404"),
        // By the rules that its client would come to now, if it would be let in there.
        (&[("b.test", "SIMPLE"), ("a.test", "SIMPLE")], "200"),
        (&[("b.test", "SIMPLE"), ("a.test", "MUTUAL")], "404"),
    ] {
        publish(&[("a.test", "SIMPLE")]);
        let (mut used, fresh) =
            (client.connect(port, "a.test").await.unwrap(), client.connect(port, "a.test").await.unwrap());
        let mut answer = [0; 4096];
        // With another certificate it goes on, and with one more host.
        for hosts in ["a.test", "a.test, c.test", "a.test"] {
            publish(&[(hosts, "SIMPLE")]);
            used.write_all(request).await.unwrap();
            let length = used.read(&mut answer).await.unwrap();
            assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
        }
        publish(servers);
        for mut stream in [used, fresh] {
            stream.write_all(request).await.unwrap();
            let mut last = String::new();
            stream.read_to_string(&mut last).await.unwrap();
            assert!(last.starts_with(&format!("HTTP/1.1 {status}")), "{servers:?}: {last}");
            assert!(last.contains("\r\nconnection: close\r\n"), "{servers:?}: {last}");
        }
    }
}

#[tokio::test]
async fn a_drain_does_not_wait_for_handshakes() {
    let ours = Signer::new("ours");
    let port = free_port();
    let servers = gateway(port, &[("HTTPS", "['*']", "{mode: SIMPLE, credentialName: c}")]);
    let (_mesh, server) = serve(&format!("{servers}{}", secret("c", &ours.issue("a.test"), None))).await;
    let mut stalled = TcpStream::connect(local(port)).await.unwrap();
    stalled.write_all(&hello("a.test")).await.unwrap();
    // It has been answered, and says no more.
    stalled.read_u8().await.unwrap();
    let drain = server.drain(Duration::from_secs(60));
    tokio::time::timeout(Duration::from_secs(10), drain).await.expect("the drain ends at once");
}

#[tokio::test]
async fn changed_files_are_shown_to_the_next_client() {
    let (before, after) = (Signer::new("before"), Signer::new("after"));
    let folder = std::env::temp_dir().join(format!("mesh-router-secured-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (crt, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let write = |pair: &Pair| {
        std::fs::write(&key, &pair.key).unwrap();
        std::fs::write(&crt, &pair.certificate).unwrap();
    };
    write(&before.issue("a.test"));
    let port = free_port();
    let tls = format!("{{mode: SIMPLE, serverCertificate: '{}', privateKey: '{}'}}", crt.display(), key.display());
    let (_mesh, _server) = serve(&gateway(port, &[("HTTPS", "['*']", &tls)])).await;
    assert!(Client::trusting(&before).is_served(port, "a.test").await);
    // A key that does not fit is not taken, the last good pair goes on.
    std::fs::write(&key, "no key").unwrap();
    assert!(Client::trusting(&before).is_served(port, "a.test").await);
    write(&after.issue("a.test"));
    assert!(Client::trusting(&after).is_served(port, "a.test").await);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn plaintext_is_sent_to_https_before_any_rule() {
    let port = free_port();
    let documents = gateway(port, &[("HTTP", "['*']", "{httpsRedirect: true}")]);
    let (_mesh, _server) = serve(&documents).await;
    for (host, location) in [("a.test", "https://a.test/p?q=1"), ("A.test:8080", "https://A.test:8080/p?q=1")] {
        let mut stream = TcpStream::connect(local(port)).await.unwrap();
        let request = format!("GET /p?q=1 HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 301") && answer.contains(&format!("location: {location}\r\n")),
            "{answer}"
        );
        assert!(answer.contains("content-length: 0"), "{answer}");
    }
}

#[tokio::test]
async fn one_port_is_open_at_an_address_and_at_all_of_them() {
    let port = free_port();
    let narrow = gateway(port, &[("HTTP", "['*']", "null")]);
    let wide = narrow.replace("bind: 127.0.0.1", "bind: 0.0.0.0").replace("name: gw", "name: wide");
    let (_mesh, _server) = serve(&format!("{narrow}{wide}")).await;
    // The rules are of the first.
    for (ip, status) in [([127, 0, 0, 1], "200"), ([127, 0, 0, 2], "404")] {
        if std::net::TcpListener::bind((std::net::Ipv4Addr::from(ip), 0)).is_err() {
            // This machine has one address alone.
            continue;
        }
        let mut stream = TcpStream::connect((std::net::Ipv4Addr::from(ip), port)).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{ip:?}: {answer}");
    }
}

#[tokio::test]
async fn limits_and_proxy_headers_hold_for_bytes_too() {
    let port = free_port();
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: up}
spec:
  host: up.test
  trafficPolicy: {proxyProtocol: {version: V1}, connectionPool: {tcp: {maxConnections: 1, idleTimeout: 300s}}}
---
";
    let documents = gateway(port, &[("TCP", "['*']", "null")]) + rule;
    let (_mesh, _server) = serve(&documents).await;
    let first = TcpStream::connect(local(port)).await.unwrap();
    let own = first.local_addr().unwrap();
    let (mut reading, writing) = first.into_split();
    let mut answer = String::new();
    // The upstream sees who called before anybody has said a word.
    reading.read_to_string(&mut answer).await.unwrap();
    let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {port}\r\n", own.port());
    assert!(answer.ends_with(&format!("up {line}")), "{answer}");
    // Its other half is still open: one connection is all there may be.
    let mut second = TcpStream::connect(local(port)).await.unwrap();
    let mut nothing = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), second.read_to_end(&mut nothing)).await.unwrap();
    assert!(nothing.is_empty(), "{}", String::from_utf8_lossy(&nothing));
    drop(writing);
}

/// A forward proxy: it says what it was asked for and, to those that it lets through, echoes: all there is, or a body in
/// chunks.
async fn forward_proxy(lets_through: bool) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind(local(0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, heads) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let ends_with_body = head.starts_with(b"POST ");
            asked.send(String::from_utf8(head).unwrap()).unwrap();
            if !lets_through {
                stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\n\r\nsecret").await.unwrap();
                continue;
            }
            tokio::spawn(async move {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nwelcome, ").await.unwrap();
                let mut echoed = Vec::new();
                while stream.read_buf(&mut echoed).await.unwrap() > 0
                    && !(ends_with_body && echoed.ends_with(b"0\r\n\r\n"))
                {}
                stream.write_all(&echoed).await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
    (port, heads)
}

/// A gateway whose connections of bytes go to a proxy, to be led on by it.
async fn serve_proxied(port: u16, proxy: u16, method: &str) -> (Mesh, Server) {
    let rule = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: up}}\nspec:\n  host: up.test\n  \
         trafficPolicy: {{tunnel: {{protocol: {method}, targetHost: far.test, targetPort: 5432}}}}\n---\n"
    );
    let servers = [("TCP", "['*']", "null")];
    let mesh = Mesh::new();
    let text = gateway(port, &servers) + &rule + &behind(proxy);
    let report = mesh.apply(Config::from_yaml(&text, "it.yaml").unwrap()).unwrap();
    assert!(!report.to_string().contains("tunnel"), "{report}");
    let server = start(&mesh).await;
    (mesh, server)
}

async fn say(port: u16, words: &str) -> String {
    let mut stream = TcpStream::connect(local(port)).await.unwrap();
    let mut answer = String::new();
    let exchange = async {
        stream.write_all(words.as_bytes()).await?;
        stream.shutdown().await?;
        stream.read_to_string(&mut answer).await
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), exchange).await.expect("the connection ends");
    answer
}

#[tokio::test]
async fn bytes_are_led_on_by_a_forward_proxy() {
    let host = "host: far.test:5432\r\n";
    for (method, head, answer) in [
        ("CONNECT", format!("CONNECT far.test:5432 HTTP/1.1\r\n{host}\r\n"), "welcome, stranger"),
        (
            "POST",
            format!("POST / HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\n"),
            "welcome, 8\r\nstranger\r\n0\r\n\r\n",
        ),
    ] {
        let (proxy, mut heads) = forward_proxy(true).await;
        let port = free_port();
        let (_mesh, _server) = serve_proxied(port, proxy, method).await;
        assert_eq!(say(port, "stranger").await, answer);
        assert_eq!(heads.recv().await.unwrap(), head);
    }
}

#[tokio::test]
async fn what_a_forward_proxy_refuses_is_closed_and_nothing_of_it_is_shown() {
    let (proxy, mut heads) = forward_proxy(false).await;
    let port = free_port();
    let (_mesh, _server) = serve_proxied(port, proxy, "CONNECT").await;
    assert_eq!(say(port, "stranger").await, "");
    assert!(heads.recv().await.unwrap().starts_with("CONNECT far.test:5432 "));
}
