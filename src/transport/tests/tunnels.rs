//! Connections through forward proxies.

mod post;

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn tunnel(method: TunnelMethod) -> Arc<Tunnel> {
    Arc::new(Tunnel::new(method, Authority::from_static("db.test:5432")))
}

async fn connect(
    net: &Net,
    protocol: Protocol,
    method: TunnelMethod,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, FailureError> {
    net.transport().connect(&endpoint(protocol), "a.test", None, Some(&tunnel(method))).await
}

/// Reads to the end of a head.
pub(super) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn words(error: &FailureError) -> String {
    let mut words = error.to_string();
    let mut error: &dyn std::error::Error = error;
    while let Some(source) = error.source() {
        words += &format!(": {source}");
        error = source;
    }
    words
}

#[tokio::test]
async fn a_proxy_is_asked_and_then_everything_is_bytes() {
    // What comes right behind the head of the answer, or later.
    for behind in ["", "hello"] {
        let net = Net::new();
        let proxy = async {
            let mut pipe = net.accept().await;
            let head = "CONNECT db.test:5432 HTTP/1.1\r\nhost: db.test:5432\r\n\r\n";
            assert_eq!(read_head(&mut pipe).await, head);
            let answer = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{behind}");
            pipe.write_all(answer.as_bytes()).await.unwrap();
            let mut sent = String::new();
            pipe.read_to_string(&mut sent).await.unwrap();
            assert_eq!(sent, "ping");
            // One way has ended, the other has not.
            pipe.write_all(b", pong").await.unwrap();
        };
        let client = async {
            let mut stream = connect(&net, Protocol::Http1, TunnelMethod::Connect).await.unwrap();
            stream.write_all(b"ping").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answered = String::new();
            stream.read_to_string(&mut answered).await.unwrap();
            assert_eq!(answered, format!("{behind}, pong"));
        };
        tokio::join!(proxy, client);
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_agree_is_no_connection_and_is_quoted() {
    use TunnelMethod::{Connect, Post};
    for (method, answer, why) in [
        (
            Connect,
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
            "the proxy answered CONNECT db.test:5432 with 403",
        ),
        (Post, "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", "the proxy answered POST db.test:5432 with 403"),
        (Connect, "HTTP/1.1 101 Switching Protocols\r\n\r\n", "the proxy answered CONNECT db.test:5432 with 101"),
        (Post, "HTTP/1.1 101 Switching Protocols\r\n\r\n", "the proxy answered POST db.test:5432 with 101"),
        (Connect, "HTTP/1.1 407 Proxy Authentication Required\r\n", "with 407 Proxy Authentication Required"),
        (Post, "HTTP/1.1 407 X\r\n\r\n", "with 407 Proxy Authentication Required"),
        // Agreed and over: nothing would ever come.
        (Post, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "the proxy answered POST db.test:5432 and ended it"),
        (Post, "HTTP/1.1 204 No Content\r\n\r\n", "the proxy answered POST db.test:5432 and ended it"),
        (Connect, "", "no answer to CONNECT db.test:5432: it broke off"),
        (Post, "", "no answer to POST db.test:5432: connection closed"),
        (Post, "HTTP/1.1 200 OK\r\n", "no answer to POST db.test:5432: "),
        (Connect, "SSH-2.0-OpenSSH_9.6\r\n", "no answer to CONNECT db.test:5432: it is no HTTP/1.1"),
        (Post, "SSH-2.0-OpenSSH_9.6\r\n", "no answer to POST db.test:5432: invalid HTTP version"),
    ] {
        let net = Net::new();
        let before = alive_tasks();
        let proxy = async {
            let mut pipe = net.accept().await;
            read_head(&mut pipe).await;
            pipe.write_all(answer.as_bytes()).await.unwrap();
            pipe.shutdown().await.unwrap();
            assert_eq!(pipe.read(&mut [0; 1]).await.unwrap(), 0, "nothing is sent to it");
        };
        let (client, ()) = tokio::join!(connect(&net, Protocol::Http1, method), proxy);
        let error = client.err().unwrap();
        assert_eq!(error.failure(), Failure::ConnectRefused);
        assert!(words(&error).contains(why), "{}", words(&error));
        settle().await;
        assert_eq!(alive_tasks(), before, "{why}");
    }
}

#[tokio::test]
async fn a_proxy_that_never_comes_to_the_point_is_left() {
    let net = Net::new();
    let proxy = async {
        let mut pipe = net.accept().await;
        pipe.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        while pipe.write_all(b"x-more: and more\r\n").await.is_ok() {}
    };
    let (client, ()) = tokio::join!(connect(&net, Protocol::Http1, TunnelMethod::Connect), proxy);
    assert_eq!(client.err().unwrap().failure(), Failure::ConnectRefused);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_says_nothing_is_waited_for_as_long_as_the_caller_likes() {
    let before = alive_tasks();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for method in [TunnelMethod::Connect, TunnelMethod::Post] {
            let net = Net::new();
            let waited = tokio::time::timeout(Duration::from_secs(3600), connect(&net, protocol, method)).await;
            assert!(waited.is_err(), "no connect timeout is for it");
            let mut sent = Vec::new();
            net.accept().await.read_to_end(&mut sent).await.unwrap();
            assert!(!sent.is_empty(), "it was asked, and hung up on");
            settle().await;
            assert_eq!(alive_tasks(), before, "{protocol:?} {method:?}");
        }
    }
}

/// Serves tunnels of HTTP/2 that give back what they get, or refuses.
fn serve_tunnels(net: Net, status: u16) -> mpsc::UnboundedReceiver<String> {
    let (asked, heads) = mpsc::unbounded_channel();
    net.serve_http2(8, move |number, mut request| {
        let _ = asked.send(format!("{number} {} {}", request.method(), request.uri()));
        async move {
            let response = Response::builder().status(status);
            if *request.method() == Method::CONNECT && status == 200 {
                tokio::spawn(async move {
                    let stream = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
                    let (mut from, mut to) = tokio::io::split(stream);
                    tokio::io::copy(&mut from, &mut to).await.unwrap();
                    to.shutdown().await.unwrap();
                });
                return Ok(response.body(empty()).unwrap());
            }
            let echo = request.into_body().map_err(io::Error::other).boxed_unsync();
            Ok(response.body(if status == 200 { echo } else { empty() }).unwrap())
        }
    });
    heads
}

#[tokio::test]
async fn a_proxy_that_speaks_http2_is_asked_in_it() {
    let before = alive_tasks();
    for (method, head) in
        [(TunnelMethod::Connect, "CONNECT db.test:5432"), (TunnelMethod::Post, "POST http://db.test:5432/")]
    {
        let net = Net::new();
        let mut heads = serve_tunnels(net.clone(), 200);
        let mut first = connect(&net, Protocol::Http2, method).await.unwrap();
        // The other is one by itself.
        drop(connect(&net, Protocol::Http2, method).await.unwrap());
        let sent = vec![b'x'; 1 << 20];
        let (mut from, mut to) = tokio::io::split(&mut first);
        let write = async {
            to.write_all(&sent).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let mut answered = Vec::new();
        let (read, ()) = tokio::join!(from.read_to_end(&mut answered), write);
        assert!(read.unwrap() == sent.len() && answered == sent, "{method:?}: {} bytes", answered.len());
        assert_eq!(heads.recv().await.unwrap(), format!("1 {head}"));
        assert_eq!(heads.recv().await.unwrap(), format!("2 {head}"));
        drop((first, net));
        settle().await;
        assert_eq!(alive_tasks(), before, "{method:?}");
    }
}

#[tokio::test]
async fn a_post_that_breaks_off_is_told_from_one_that_ends() {
    for breaks in [true, false] {
        let net = Net::new();
        let (feed, body) = fed();
        let body = Arc::new(std::sync::Mutex::new(Some(body)));
        net.clone().serve_http2(8, move |_, _| {
            let body = body.lock().unwrap().take().unwrap();
            async { Ok(Response::new(body)) }
        });
        let mut stream = connect(&net, Protocol::Http2, TunnelMethod::Post).await.unwrap();
        feed.send(data("last")).await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        if breaks {
            feed.send(Err(io::Error::other("it breaks"))).await.unwrap();
        }
        drop(feed);
        let read = stream.read(&mut [0; 4]).await.map_err(|error| error.kind());
        assert_eq!(read, if breaks { Err(io::ErrorKind::ConnectionReset) } else { Ok(0) });
    }
}

#[tokio::test]
async fn a_post_that_is_let_go_of_leaves_nothing_behind() {
    let net = Net::new();
    let (feed, body) = fed();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    net.clone().serve_http2(8, move |_, _| {
        let body = body.lock().unwrap().take().unwrap();
        async { Ok(Response::new(body)) }
    });
    let before = alive_tasks();
    let mut stream = connect(&net, Protocol::Http2, TunnelMethod::Post).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    settle().await;
    assert!(alive_tasks() > before);
    drop(stream);
    settle().await;
    // Nothing more came of the proxy, and nothing ended there.
    assert_eq!((alive_tasks(), feed.is_closed()), (before, true));
}

#[tokio::test]
async fn a_refusal_in_http2_is_one_too() {
    for (method, status) in [(TunnelMethod::Connect, 403), (TunnelMethod::Post, 302)] {
        let net = Net::new();
        let _heads = serve_tunnels(net.clone(), status);
        let error = connect(&net, Protocol::Http2, method).await.err().unwrap();
        assert_eq!(error.failure(), Failure::ConnectRefused);
        let status = StatusCode::from_u16(status).unwrap();
        assert!(words(&error).ends_with(&format!("with {status}")), "{}", words(&error));
    }
}

#[cfg(feature = "tls")]
mod secured {
    use tokio_rustls::TlsAcceptor;

    use super::super::tls::{ask_https, secured, server, simple};
    use super::*;
    use crate::tls::tests::Authority as Signer;
    use crate::upstream::TlsSettings;

    #[tokio::test]
    async fn https_from_end_to_end_goes_through_the_tunnel_and_the_tunnel_through_the_endpoints_tls() {
        let signer = Signer::new("ours");
        let net = Net::new();
        let (outer, inner) = (server(&signer.issue(&["proxy.test"]), None), server(&signer.issue(&["a.test"]), None));
        let accepted = net.accepted.clone();
        tokio::spawn(async move {
            let mut number = 0;
            while let Some(pipe) = accepted.lock().await.recv().await {
                number += 1;
                let mut stream = TlsAcceptor::from(outer.clone()).accept(pipe).await.unwrap();
                assert_eq!(stream.get_ref().1.alpn_protocol(), None, "it is not the application's protocol");
                let asked = read_head(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let stream = TlsAcceptor::from(inner.clone()).accept(stream).await.unwrap();
                let seen =
                    format!("{number} {} {}", asked.lines().next().unwrap(), stream.get_ref().1.server_name().unwrap());
                let service = service_fn(move |_| std::future::ready(Answer::Ok(Response::new(full(seen.clone())))));
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        let transport = Transport::builder().connector(net.connector()).https_roots(signer.roots()).build();
        let own = TlsSettings { server_name: Some("proxy.test".into()), ..simple(signer.roots()) };
        let proxy = secured(own, Protocol::Http1);
        let through = |target| {
            Https::new("a.test", true)
                .with_tunnel(Arc::new(Tunnel::new(TunnelMethod::Connect, Authority::from_static(target))))
        };
        for (target, seen) in [
            ("target.test:443", "1 CONNECT target.test:443 HTTP/1.1 a.test"),
            ("target.test:444", "2 CONNECT target.test:444 HTTP/1.1 a.test"),
            // It leads where the first request goes too.
            ("target.test:443", "1 CONNECT target.test:443 HTTP/1.1 a.test"),
        ] {
            assert_eq!(ask_https(&transport, &proxy, through(target)).await.unwrap(), seen);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_for_the_answer_of_a_proxy_as_long_as_the_transport_says() {
        let signer = Signer::new("ours");
        let connect_timeout = Duration::from_secs(1);
        let connection = ConnectionSettings { connect_timeout, ..ConnectionSettings::default() };
        let proxy = endpoint_of(&cluster_with(EndpointConfig::new(([10, 0, 0, 1], 80)), connection));
        for (takes, patience, answered) in [(2, 3, true), (4, 3, false)] {
            let (net, inner) = (Net::new(), server(&signer.issue(&["a.test"]), None));
            let accepted = net.accepted.clone();
            tokio::spawn(async move {
                let mut pipe = accepted.lock().await.recv().await.unwrap();
                read_head(&mut pipe).await;
                tokio::time::sleep(Duration::from_secs(takes)).await;
                pipe.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let Ok(stream) = TlsAcceptor::from(inner).accept(pipe).await else { return };
                let service = service_fn(|_| std::future::ready(Answer::Ok(Response::new(full("hello")))));
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
            let transport = Transport::builder().connector(net.connector()).https_roots(signer.roots());
            let transport = transport.connect_timeout(Duration::from_secs(patience)).build();
            let https = Https::new("a.test", true).with_tunnel(super::tunnel(TunnelMethod::Connect));
            let started = tokio::time::Instant::now();
            let got = ask_https(&transport, &proxy, https).await;
            assert_eq!(started.elapsed(), Duration::from_secs(takes.min(patience)));
            // The proxy could be reached: it is not to blame.
            let got = got.map_err(|error| error.downcast_ref::<FailureError>().unwrap().failure());
            assert_eq!(got, if answered { Ok("hello".to_owned()) } else { Err(Failure::LocalReset) });
        }
    }

    #[tokio::test]
    async fn a_proxy_in_tls_that_speaks_http2_is_asked_in_that() {
        let signer = Signer::new("ours");
        let net = Net::new();
        let config = server(&signer.issue(&["proxy.test"]), None);
        let own = TlsSettings { server_name: Some("proxy.test".into()), ..simple(signer.roots()) };
        let proxy = secured(own, Protocol::Http2);
        let serve = async {
            let stream = TlsAcceptor::from(config).accept(net.accept().await).await.unwrap();
            let spoken = String::from_utf8_lossy(stream.get_ref().1.alpn_protocol().unwrap()).into_owned();
            let service = service_fn(|mut request: Request<Incoming>| async move {
                assert_eq!(
                    (request.method(), request.uri().to_string()),
                    (&Method::CONNECT, "db.test:5432".to_owned())
                );
                tokio::spawn(async move {
                    let stream = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
                    let (mut from, mut to) = tokio::io::split(stream);
                    tokio::io::copy(&mut from, &mut to).await.unwrap();
                    to.shutdown().await.unwrap();
                });
                Answer::Ok(Response::new(empty()))
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            spoken
        };
        let transport = net.transport();
        let through = tunnel(TunnelMethod::Connect);
        let (opened, spoken) = tokio::join!(transport.connect(&proxy, "a.test", None, Some(&through)), serve);
        assert_eq!(spoken, "h2");
        let mut opened = opened.unwrap();
        opened.write_all(b"ping").await.unwrap();
        opened.shutdown().await.unwrap();
        let mut answered = String::new();
        opened.read_to_string(&mut answered).await.unwrap();
        assert_eq!(answered, "ping");
    }
}
