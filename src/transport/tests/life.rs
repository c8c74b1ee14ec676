use std::num::NonZeroU32;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::tunnels::read_head;
use super::*;
use crate::upstream::{LimitSettings, ProxyVersion};

async fn numbered(number: usize, _: Request<Incoming>) -> Answer {
    Ok(Response::new(full(number.to_string())))
}

const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

fn serve(net: &Net, protocol: Protocol) {
    match protocol {
        Protocol::Http2 => net.clone().serve_http2(100, numbered),
        _ => net.clone().serve(numbered),
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_in_time() {
    for protocol in PROTOCOLS {
        let net = Net::new();
        let idle_timeout = Duration::from_secs(8);
        let transport = Transport::builder().connector(net.connector()).idle_timeout(idle_timeout).build();
        let endpoint = endpoint(protocol);
        serve(&net, protocol);
        assert_eq!(ask(&transport, &endpoint).await, "1");
        settle().await;
        let driven = alive_tasks();
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert_eq!(ask(&transport, &endpoint).await, "1");
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert_eq!(ask(&transport, &endpoint).await, "1");
        // Nobody asks: closed all the same.
        tokio::time::sleep(Duration::from_secs(10)).await;
        settle().await;
        assert!(alive_tasks() < driven, "{protocol:?}: {} of {driven} tasks", alive_tasks());
        assert_eq!(ask(&transport, &endpoint).await, "2");
    }
}

#[tokio::test(start_paused = true)]
async fn times_that_no_clock_can_count_never_come() {
    for (protocol, keep_alive) in [(Protocol::Http1, 1), (Protocol::Http2, 1), (Protocol::Http2, u64::MAX)] {
        let (net, long) = (Net::new(), Duration::MAX);
        let transport = Transport::builder().connector(net.connector()).idle_timeout(long).connect_timeout(long);
        let transport = transport.http2_keep_alive_interval(Duration::from_secs(keep_alive));
        let transport = transport.http2_keep_alive_timeout(long).http2_keep_alive_while_idle(true).build();
        serve(&net, protocol);
        let endpoint = endpoint(protocol);
        for _ in 0..3 {
            assert_eq!(ask(&transport, &endpoint).await, "1", "{protocol:?} {keep_alive}");
            tokio::time::sleep(Duration::from_secs(10_000)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_in_use_is_not_idle() {
    for protocol in PROTOCOLS {
        let net = Net::new();
        let transport = Transport::builder().connector(net.connector()).idle_timeout(Duration::from_secs(1)).build();
        let endpoint = endpoint(protocol);
        let (feed, body) = fed();
        net.clone().serve_http2_or_1(protocol, body);
        let answer = send(&transport, &endpoint, get("/")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(100)).await;
        feed.send(data("late")).await.unwrap();
        drop(feed);
        assert_eq!(text(answer).await, "late");
    }
}

impl Net {
    /// Answers every request with the one `body`.
    fn serve_http2_or_1(self, protocol: Protocol, body: TestBody) {
        let body = Arc::new(std::sync::Mutex::new(Some(body)));
        let answer = move |_: usize, _: Request<Incoming>| {
            let body = body.lock().unwrap().take();
            async move { Ok(Response::new(body.unwrap_or_else(empty))) }
        };
        match protocol {
            Protocol::Http2 => self.serve_http2(100, answer),
            _ => self.serve(answer),
        }
    }
}

#[tokio::test]
async fn dropping_the_last_transport_ends_every_task() {
    for protocol in PROTOCOLS {
        let before = alive_tasks();
        let net = Net::new();
        let transport = net.transport();
        let clone = transport.clone();
        let endpoint = endpoint(protocol);
        serve(&net, protocol);
        ask(&transport, &endpoint).await;
        let under_way = send(&transport, &endpoint, get("/")).await.unwrap();
        drop((transport, net));
        settle().await;
        ask(&clone, &endpoint).await;
        drop(clone);
        settle().await;
        assert_eq!(text(under_way).await, "1", "what is under way is finished");
        settle().await;
        assert_eq!(alive_tasks(), before, "{protocol:?}");
    }
}

#[tokio::test]
async fn close_closes_what_is_idle_now_and_the_rest_afterwards() {
    for protocol in PROTOCOLS {
        let net = Net::new();
        let (transport, endpoint) = (net.transport(), endpoint(protocol));
        serve(&net, protocol);
        ask(&transport, &endpoint).await;
        settle().await;
        let idle = alive_tasks();
        let under_way = send(&transport, &endpoint, get("/")).await.unwrap();
        transport.close();
        assert_eq!(text(under_way).await, "1");
        settle().await;
        assert!(alive_tasks() < idle, "{protocol:?}");
        assert_eq!(ask(&transport, &endpoint).await, "2");
        assert_eq!(ask(&transport, &endpoint).await, "3");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_go_with_their_endpoint() {
    for protocol in PROTOCOLS {
        let net = Net::new();
        let transport = net.transport();
        serve(&net, protocol);
        let cluster = cluster(EndpointConfig::new(([10, 0, 0, 1], 80)), protocol);
        ask(&transport, &endpoint_of(&cluster)).await;
        settle().await;
        let driven = alive_tasks();
        cluster.publish(vec![EndpointConfig::new(([10, 0, 0, 2], 80))]);
        let other = endpoint_of(&cluster);
        settle().await;
        assert!(alive_tasks() < driven, "{protocol:?}");
        assert_eq!(ask(&transport, &other).await, "2");
    }
}

#[tokio::test(start_paused = true)]
async fn publishing_again_opens_no_connection() {
    for protocol in PROTOCOLS {
        let net = Net::new();
        let transport = net.transport();
        serve(&net, protocol);
        let config = EndpointConfig::new(([10, 0, 0, 1], 80));
        let cluster = cluster(config.clone(), protocol);
        for weight in 1..=100 {
            assert_eq!(ask(&transport, &endpoint_of(&cluster)).await, "1");
            // With another weight it is another `Endpoint`, of the same identity.
            cluster.publish(vec![config.clone().with_weight(weight)]);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(net.opened(), 1);
    }
}

/// An endpoint that may have one connection, and a request to it that is answered before its upload is over. The other
/// end of its connection is returned.
async fn answered_early(
    net: &Net,
    transport: &Transport,
    connection: ConnectionSettings,
    upload: TestBody,
) -> (Arc<Endpoint>, DuplexStream) {
    let limits = LimitSettings { connections: NonZeroU32::new(1), ..LimitSettings::default() };
    let settings = ClusterSettings { limits, connection: Arc::new(connection), ..ClusterSettings::default() };
    let config = vec![EndpointConfig::new(([10, 0, 0, 1], 80))];
    let cluster = Registry::new(&Dice::seeded(1)).cluster(ClusterKey::new("a.test", "", 80), settings, config);
    let endpoint = endpoint_of(&cluster);
    let asking = tokio::spawn({
        let (transport, endpoint) = (transport.clone(), endpoint.clone());
        async move { send(&transport, &endpoint, Request::post("/").body(upload).unwrap()).await.unwrap() }
    });
    let mut pipe = net.accept().await;
    read_head(&mut pipe).await;
    pipe.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert!(asking.await.unwrap().body().is_end_stream());
    settle().await;
    (endpoint, pipe)
}

/// The same, with a request that waited for the connection and does so no longer; the rest of the upload comes first.
async fn given_up(net: &Net, transport: &Transport) -> (Feed, Arc<Endpoint>, DuplexStream) {
    let (feed, body) = fed();
    let (endpoint, pipe) = answered_early(net, transport, ConnectionSettings::default(), body).await;
    let waited = tokio::time::timeout(Duration::from_secs(1), ask(transport, &endpoint)).await;
    assert!(waited.is_err());
    (feed, endpoint, pipe)
}

/// In use: connections.
fn connections(endpoint: &Endpoint) -> u64 {
    endpoint.limits().in_use().connections
}

#[tokio::test(start_paused = true)]
async fn an_upload_without_end_does_not_keep_its_connection() {
    let idle = Duration::from_secs(60);
    let once = ConnectionSettings { max_requests: NonZeroU32::new(1), ..ConnectionSettings::default() };
    for (connection, end, time) in [
        (ConnectionSettings::default(), "idle", idle + idle / 8),
        (once, "spent", Duration::ZERO),
        (ConnectionSettings::default(), "closed", Duration::ZERO),
        (ConnectionSettings::default(), "dropped", Duration::ZERO),
    ] {
        let net = Net::new();
        let transport = Transport::builder().connector(net.connector()).idle_timeout(idle).build();
        let (feed, body) = fed();
        let (endpoint, _pipe) = answered_early(&net, &transport, connection, body).await;
        if end == "closed" {
            transport.close();
        }
        let kept = (end != "dropped").then_some(transport);
        tokio::time::sleep(time).await;
        settle().await;
        assert_eq!((connections(&endpoint), feed.is_closed()), (0, true), "{end}");
        drop(kept);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_without_end_makes_room_for_who_waits() {
    let (net, started) = (Net::new(), tokio::time::Instant::now());
    let transport = net.transport();
    let (feed, body) = fed();
    let (endpoint, pipe) = answered_early(&net, &transport, ConnectionSettings::default(), body).await;
    let asking = tokio::spawn({
        let (transport, endpoint) = (transport.clone(), endpoint.clone());
        async move { ask(&transport, &endpoint).await }
    });
    serve(&net, Protocol::Http1);
    assert_eq!(soon(asking).await.unwrap(), "1", "of a server of its own");
    assert_eq!((started.elapsed(), feed.is_closed()), (endpoint.connection().connect_timeout, true));
    drop(pipe);

    // One that nobody waits for any more by then goes on.
    let net = Net::new();
    let transport = net.transport();
    let (feed, endpoint, _pipe) = given_up(&net, &transport).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((connections(&endpoint), feed.is_closed()), (1, false));
    transport.close();
    settle().await;
    assert_eq!((connections(&endpoint), feed.is_closed()), (0, true));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_waited_for_goes_with_its_transport() {
    let net = Net::new();
    let transport = net.transport();
    let (feed, endpoint, _pipe) = given_up(&net, &transport).await;
    drop(transport);
    settle().await;
    assert_eq!((connections(&endpoint), feed.is_closed()), (0, true));
}

/// How many pools `transport` has: each holds its settings.
pub(super) fn pools(transport: &Transport) -> usize {
    Arc::strong_count(&transport.inner.settings) - 1
}

/// An endpoint that is told who asks.
pub(super) fn told_of_clients(protocol: Protocol) -> (Arc<Cluster>, Arc<Endpoint>) {
    let proxy_protocol = Some(ProxyVersion::V1);
    let connection = ConnectionSettings { proxy_protocol, protocol, ..ConnectionSettings::default() };
    let cluster = cluster_with(EndpointConfig::new(([10, 0, 0, 1], 80)), connection);
    let endpoint = endpoint_of(&cluster);
    (cluster, endpoint)
}

/// Has it asked on behalf of the client at `port`, none at 0; the connection, which the other side leaves open.
async fn asked_by(
    port: u16,
    open: Option<&Arc<()>>,
    net: &Net,
    transport: &Transport,
    endpoint: &Arc<Endpoint>,
) -> DuplexStream {
    let aim = Aim::new(endpoint.clone(), Some(Authority::from_static("a.test")));
    let local = ([198, 51, 100, 1], 80).into();
    let mut aim = if port == 0 { aim } else { aim.with_client(([192, 0, 2, 1], port).into(), local) };
    aim.client_open = open.map(Arc::downgrade);
    let request = Request::get("/").body(RequestBody::new(empty()).with_aim(aim)).unwrap();
    let asking = tokio::spawn(transport.clone().oneshot(request));
    let mut pipe = net.accept().await;
    read_head(&mut pipe).await;
    pipe.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    asking.await.unwrap().unwrap();
    pipe
}

#[tokio::test(start_paused = true)]
async fn a_connection_for_a_client_stays_as_long_as_that_does() {
    let net = Net::new();
    let transport = net.transport();
    let (_cluster, endpoint) = told_of_clients(Protocol::Http1);
    let [one, other] = [Arc::new(()), Arc::new(())];
    let mut pipe = asked_by(1, Some(&one), &net, &transport, &endpoint).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(pools(&transport), 1);
    drop(one);
    // Somebody else with its address has a connection of their own.
    let _kept = asked_by(1, Some(&other), &net, &transport, &endpoint).await;
    let ended = tokio::time::timeout(Duration::from_secs(1), pipe.read_u8()).await;
    assert_eq!(ended.expect("it is closed soon").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(pools(&transport), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_a_client_had_made_goes_when_it_is_of_no_use() {
    let net = Net::new();
    let transport = net.transport();
    let (_cluster, endpoint) = told_of_clients(Protocol::Http1);
    let mut kept = Vec::new();
    for port in 0..=100 {
        let pipe = asked_by(port, None, &net, &transport, &endpoint).await;
        // One client's connection and the usual one stay open.
        kept.extend((port <= 1).then_some(pipe));
    }
    assert_eq!(pools(&transport), 101);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(pools(&transport), 2);
    // Bytes need none.
    drop(
        transport
            .connect(&endpoint, "a.test", Some((([192, 0, 2, 1], 102).into(), ([198, 51, 100, 1], 80).into())), None)
            .await
            .unwrap(),
    );
    assert_eq!(pools(&transport), 2);
    tokio::time::sleep(Duration::from_secs(2 * 60 * 60)).await;
    assert_eq!(pools(&transport), 1);
}

#[tokio::test]
async fn one_transport_serves_every_type_of_body() {
    let net = Net::new();
    let (transport, endpoint) = (net.transport(), endpoint(Protocol::Http1));
    net.clone().serve(numbered);
    for _ in 0..2 {
        let request = aimed(&endpoint, get("/"));
        let request =
            request.map(|mut body| RequestBody::new(Empty::<Bytes>::new()).with_aim(body.take_aim().unwrap()));
        assert_eq!(text(transport.clone().oneshot(request).await.unwrap()).await, "1");
        assert_eq!(ask(&transport, &endpoint).await, "2");
    }
}

/// What users and the rooms above build on.
#[test]
fn auto_traits() {
    fn shared<T: Clone + Send + Sync + Unpin + 'static>() {}
    fn boxable<T: Send + Sync + Unpin + 'static>() {}
    fn sent<T: Send + Unpin + 'static>() {}
    shared::<Transport>();
    boxable::<TransportBody>();
    sent::<TransportFuture<TestBody>>();
}
