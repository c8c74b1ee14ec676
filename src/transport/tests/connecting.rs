use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::upstream::NamedAddress;

/// Answers one request of each connection with what it was sent.
async fn mirror(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut sent = vec![0; 1024];
        let length = stream.read(&mut sent).await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&sent[..length]).await.unwrap();
    }
}

async fn listen() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn pass(transport: &Transport, request: Request<TestBody>) -> Got {
    transport.clone().oneshot(request.map(RequestBody::new)).await
}

#[tokio::test]
async fn a_port_that_nobody_listens_at_refuses() {
    let (listener, address) = listen().await;
    drop(listener);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let error = send(&Transport::new(), &endpoint_at(address, protocol), get("/")).await.unwrap_err();
        let failure = error.downcast_ref::<FailureError>().unwrap();
        assert_eq!(failure.failure(), Failure::ConnectRefused);
        let mut source: &dyn std::error::Error = failure;
        while let Some(deeper) = source.source() {
            source = deeper;
        }
        assert_eq!(source.downcast_ref::<io::Error>().unwrap().kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn kinds_of_errors_decide() {
    for (kind, failure) in [
        (io::ErrorKind::ConnectionRefused, Failure::ConnectRefused),
        (io::ErrorKind::HostUnreachable, Failure::ConnectRefused),
        (io::ErrorKind::AddrNotAvailable, Failure::ConnectLocal),
        (io::ErrorKind::TimedOut, Failure::ConnectTimeout),
    ] {
        let failing = move |_: Address| async move { Err::<DuplexStream, _>(io::Error::from(kind)) };
        let transport = Transport::builder().connector(failing).build();
        assert_eq!(failure_of(send(&transport, &endpoint(Protocol::Http1), get("/")).await), failure);
    }
    let exhausted = |_: Address| async { Err::<DuplexStream, _>(io::Error::from_raw_os_error(24)) };
    let transport = Transport::builder().connector(exhausted).build();
    assert_eq!(failure_of(send(&transport, &endpoint(Protocol::Http1), get("/")).await), Failure::ConnectLocal);
}

#[tokio::test(start_paused = true)]
async fn the_connect_timeout_is_that_of_the_cluster() {
    let silent = |_: Address| std::future::pending::<io::Result<DuplexStream>>();
    let transport = Transport::builder().connector(silent).build();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let registry = Registry::new(&Dice::seeded(1));
        let connect_timeout = Duration::from_millis(1500);
        let connection = ConnectionSettings { connect_timeout, protocol, ..ConnectionSettings::default() };
        let settings = ClusterSettings { connection: Arc::new(connection), ..ClusterSettings::default() };
        let config = vec![EndpointConfig::new(([10, 0, 0, 1], 80))];
        let cluster = registry.cluster(ClusterKey::new("a.test", "", 80), settings, config);
        let endpoint = cluster.pick(&mut Dice::seeded(1).draws(), &Choice::default()).unwrap().endpoint().clone();
        let started = tokio::time::Instant::now();
        assert_eq!(failure_of(send(&transport, &endpoint, get("/")).await), Failure::ConnectTimeout);
        assert_eq!(started.elapsed(), Duration::from_millis(1500));
    }
    let started = tokio::time::Instant::now();
    let passing = Request::get("http://10.0.0.1/").body(empty()).unwrap();
    assert_eq!(failure_of(pass(&transport, passing).await), Failure::ConnectTimeout);
    assert_eq!(started.elapsed(), Duration::from_secs(10));
}

/// Sends a request to `listener`, of which the endpoint at `path` is to be.
#[cfg(unix)]
async fn dialed(listener: tokio::net::UnixListener, path: std::path::PathBuf) {
    let endpoint = endpoint_at(Address::Unix(path), Protocol::Http1);
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut sent = vec![0; 1024];
        let length = stream.read(&mut sent).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&sent[..length]).into_owned()
    });
    let answer = send(&Transport::new(), &endpoint, get("/")).await.unwrap();
    let sent = served.await.unwrap();
    assert_eq!((answer.status().as_u16(), sent.as_str()), (204, "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"));
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_dialed() {
    // The names of sockets have to be short.
    let folder = Some(std::env::temp_dir()).filter(|folder| folder.as_os_str().len() < 50).unwrap_or("/tmp".into());
    let folder = folder.join(format!("mesh-router-transport-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    dialed(listener, path).await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_unix_socket_that_is_no_file_is_dialed_by_its_name() {
    let name = format!("mesh-router-transport-{}", std::process::id());
    let listener = tokio::net::UnixListener::bind(format!("\0{name}")).unwrap();
    dialed(listener, format!("@{name}").into()).await;
}

#[tokio::test]
async fn a_request_without_an_aim_goes_where_its_uri_says() {
    let (listener, address) = listen().await;
    tokio::spawn(mirror(listener));
    let transport = Transport::new();
    let uri = format!("http://user:pass@{address}/path?q=1");
    let answer = pass(&transport, Request::get(uri).body(empty()).unwrap()).await.unwrap();
    assert_eq!(text(answer).await, format!("GET /path?q=1 HTTP/1.1\r\nhost: {address}\r\n\r\n"));

    let request = Request::get(format!("http://{address}/")).header("host", "other.test").body(empty()).unwrap();
    let answer = pass(&transport, request).await.unwrap();
    assert_eq!(text(answer).await, "GET / HTTP/1.1\r\nhost: other.test\r\n\r\n");

    let request = Request::get("/").header("host", address.to_string()).body(empty()).unwrap();
    let answer = pass(&transport, request).await.unwrap();
    assert_eq!(text(answer).await, format!("GET / HTTP/1.1\r\nhost: {address}\r\n\r\n"));
}

#[tokio::test]
async fn names_are_looked_up_and_their_addresses_tried_in_turn() {
    // It listens at one of the addresses that `localhost` has.
    let (listener, address) = listen().await;
    tokio::spawn(mirror(listener));
    let uri = format!("http://LocalHost:{}/", address.port());
    let answer = pass(&Transport::new(), Request::get(uri).body(empty()).unwrap()).await.unwrap();
    assert_eq!(text(answer).await, format!("GET / HTTP/1.1\r\nhost: LocalHost:{}\r\n\r\n", address.port()));
}

#[tokio::test]
async fn names_are_the_affair_of_an_own_connector() {
    let net = Net::new();
    net.clone().serve(|_, _| async { Ok(Response::new(empty())) });
    let (connector, dialed) = (Arc::new(net.connector()), Arc::new(std::sync::Mutex::new(Vec::new())));
    let seen = dialed.clone();
    let transport = Transport::builder().connector(move |address: Address| {
        seen.lock().unwrap().push(address.clone());
        let connector = connector.clone();
        async move { connector.connect(address).await }
    });
    let transport = transport.build();
    let named = |name: &str| Address::Named(NamedAddress::new(name, 80));
    // No name server knows these.
    pass(&transport, Request::get("http://Host.invalid/").body(empty()).unwrap()).await.unwrap();
    send(&transport, &endpoint_at(named("endpoint.invalid"), Protocol::Http1), get("/")).await.unwrap();
    pass(&transport, Request::get("http://[::1]/").body(empty()).unwrap()).await.unwrap();
    let expected = [named("host.invalid"), named("endpoint.invalid"), ("::1".parse::<IpAddr>().unwrap(), 80).into()];
    assert_eq!(*dialed.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_not_to_blame_for_those_that_are_looked_up_before_it() {
    let endpoint = endpoint_at(Address::Named(NamedAddress::new("name.invalid", 80)), Protocol::Http1);
    let turns = endpoint.limits().lookups();
    let all = turns.available_permits().try_into().unwrap();
    let _others = turns.acquire_many(all).await.unwrap();
    let started = tokio::time::Instant::now();
    assert_eq!(failure_of(send(&Transport::new(), &endpoint, get("/")).await), Failure::Overflow);
    assert_eq!(started.elapsed(), endpoint.connection().connect_timeout);
}

#[tokio::test]
async fn hosts_have_pools_too() {
    let net = Net::new();
    let transport = net.transport();
    net.clone().serve(|number, _| async move { Ok(Response::new(full(number.to_string()))) });
    for (uri, number) in [
        ("http://10.0.0.1/", "1"),
        ("http://10.0.0.1:80/x", "1"),
        ("http://10.0.0.1:81/", "2"),
        ("http://[::1]/", "3"),
        ("http://[::1]:80/", "3"),
    ] {
        let answer = pass(&transport, Request::get(uri).body(empty()).unwrap()).await.unwrap();
        assert_eq!(text(answer).await, number, "{uri}");
    }
}

#[tokio::test]
async fn what_cannot_be_dialed_says_why() {
    for (request, why) in [
        (Request::get("ftp://a.test/"), "speaks http and https"),
        (Request::get("/"), "names no host"),
        (Request::get("/").header("host", "not a host"), "names no host"),
    ] {
        let error = pass(&Transport::new(), request.body(empty()).unwrap()).await.unwrap_err();
        assert_eq!(error.downcast_ref::<FailureError>().unwrap().failure(), Failure::ConnectRefused);
        assert!(error.source().unwrap().to_string().contains(why), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_panics_fails_who_waits_and_is_asked_again() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let net = Net::new();
        let connector = Arc::new(net.connector());
        let panics = Arc::new(AtomicUsize::new(1));
        let transport = Transport::builder()
            .connector(move |address: Address| {
                let (connector, panics) = (connector.clone(), panics.clone());
                async move {
                    let left = panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
                    assert!(left.is_err(), "this panic is part of the test");
                    connector.connect(address).await
                }
            })
            .build();
        let endpoint = endpoint(protocol);
        assert_eq!(failure_of(soon(send(&transport, &endpoint, get("/"))).await), Failure::ConnectLocal);
        let numbered = |number: usize, _| async move { Answer::Ok(Response::new(full(number.to_string()))) };
        match protocol {
            Protocol::Http2 => net.clone().serve_http2(100, numbered),
            _ => net.clone().serve(numbered),
        }
        assert_eq!(ask(&transport, &endpoint).await, "1", "{protocol:?}");
    }
}
