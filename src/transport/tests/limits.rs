use std::num::NonZeroU32;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::upstream::{Http2KeepAlive, LimitSettings, Limits};

fn some(number: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(number)
}

/// One endpoint of a cluster with limits.
fn limited(limits: LimitSettings, connection: ConnectionSettings) -> Arc<Endpoint> {
    let settings = ClusterSettings { limits, connection: Arc::new(connection), ..ClusterSettings::default() };
    let config = vec![EndpointConfig::new(([10, 0, 0, 1], 80))];
    endpoint_of(&Registry::new(&Dice::seeded(1)).cluster(ClusterKey::new("a.test", "", 80), settings, config))
}

fn over(protocol: Protocol) -> ConnectionSettings {
    ConnectionSettings { protocol, ..ConnectionSettings::default() }
}

/// A server that answers, with the number of the connection and the path, when it is let.
pub(super) fn serve_gated(net: &Net, protocol: Protocol) -> Arc<Semaphore> {
    let gate = Arc::new(Semaphore::new(0));
    let answer = {
        let gate = gate.clone();
        move |number: usize, request: Request<Incoming>| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(Response::new(full(format!("{number}{}", request.uri().path()))))
            }
        }
    };
    match protocol {
        Protocol::Http2 => net.clone().serve_http2(100, answer),
        _ => net.clone().serve(answer),
    }
    gate
}

pub(super) fn asking(
    transport: &Transport,
    endpoint: &Arc<Endpoint>,
    path: &str,
) -> JoinHandle<Result<String, Failure>> {
    let (transport, endpoint, request) = (transport.clone(), endpoint.clone(), get(path));
    tokio::spawn(async move {
        match send(&transport, &endpoint, request).await {
            Ok(response) => Ok(text(response).await),
            result => Err(failure_of(result)),
        }
    })
}

pub(super) const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

#[tokio::test]
async fn who_comes_first_is_served_first_and_who_leaves_is_left_out() {
    for protocol in BOTH {
        let net = Net::new();
        let transport = net.transport();
        let limits = LimitSettings { connections: some(1), ..LimitSettings::default() };
        let one_stream = ConnectionSettings { max_concurrent_streams: some(1), ..over(protocol) };
        let endpoint = limited(limits, one_stream);
        let gate = serve_gated(&net, protocol);
        let mut asks: Vec<_> = Vec::new();
        for path in ["/a", "/b", "/c", "/d"] {
            asks.push(asking(&transport, &endpoint, path));
            settle().await;
        }
        asks[1].abort();
        settle().await;
        for (number, path) in [(0, "1/a"), (2, "1/c"), (3, "1/d")] {
            gate.add_permits(1);
            settle().await;
            settle().await;
            for (other, ask) in asks.iter().enumerate().filter(|(other, _)| *other != 1) {
                assert_eq!(ask.is_finished(), other <= number, "{protocol:?} {path} {other}");
            }
            assert_eq!((&mut asks[number]).await.unwrap().as_deref(), Ok(path), "{protocol:?}");
        }
        assert_eq!(net.opened(), 1);
    }
}

#[tokio::test]
async fn too_many_that_wait_overflow() {
    for protocol in BOTH {
        let net = Net::new();
        let transport = net.transport();
        let limits = LimitSettings { connections: some(1), pending: some(1), ..LimitSettings::default() };
        let endpoint = limited(limits, ConnectionSettings { max_concurrent_streams: some(1), ..over(protocol) });
        let gate = serve_gated(&net, protocol);
        let busy = asking(&transport, &endpoint, "/busy");
        settle().await;
        let waits = asking(&transport, &endpoint, "/waits");
        settle().await;
        assert_eq!(asking(&transport, &endpoint, "/").await.unwrap(), Err(Failure::Overflow));
        gate.add_permits(2);
        assert_eq!(busy.await.unwrap().as_deref(), Ok("1/busy"));
        assert_eq!(waits.await.unwrap().as_deref(), Ok("1/waits"));
        // Nobody waits any more.
        gate.add_permits(1);
        assert_eq!(asking(&transport, &endpoint, "/").await.unwrap().as_deref(), Ok("1/"));
    }
}

#[tokio::test]
async fn of_a_cold_burst_one_gets_the_one_place_to_wait() {
    for protocol in BOTH {
        let net = Net::new();
        let transport = net.transport();
        let limits = LimitSettings { pending: some(1), ..LimitSettings::default() };
        let endpoint = limited(limits, over(protocol));
        serve_gated(&net, protocol).add_permits(10);
        let asks: Vec<_> = (0..5).map(|_| asking(&transport, &endpoint, "/")).collect();
        let mut answers = Vec::new();
        for ask in asks {
            answers.push(ask.await.unwrap());
        }
        assert_eq!(answers.iter().filter(|answer| answer.as_deref() == Ok("1/")).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| **answer == Err(Failure::Overflow)).count(), 4, "{answers:?}");
    }
}

#[tokio::test]
async fn every_endpoint_may_have_one_connection() {
    let net = Net::new();
    let transport = net.transport();
    let limits = LimitSettings { connections: some(1), ..LimitSettings::default() };
    let settings = ClusterSettings { limits, ..ClusterSettings::default() };
    let config = (1..=3).map(|host| EndpointConfig::new(([10, 0, 0, host], 80))).collect();
    let cluster = Registry::new(&Dice::seeded(1)).cluster(ClusterKey::new("a.test", "", 80), settings, config);
    let endpoints: Vec<_> = cluster.endpoints().endpoints().to_vec();
    let gate = serve_gated(&net, Protocol::Http1);
    let asks: Vec<_> = endpoints.iter().chain(&endpoints).map(|at| asking(&transport, at, "/")).collect();
    settle().await;
    settle().await;
    assert_eq!((net.opened(), cluster.limits().in_use().connections), (3, 3));
    gate.add_permits(6);
    for ask in asks {
        ask.await.unwrap().unwrap();
    }
    assert_eq!(net.opened(), 3);
}

#[tokio::test]
async fn a_connection_that_ends_makes_room_for_another() {
    let net = Net::new();
    let transport = net.transport();
    let limits = LimitSettings { connections: some(1), ..LimitSettings::default() };
    let endpoint = limited(limits, over(Protocol::Http1));
    let first = asking(&transport, &endpoint, "/");
    let far = net.accept().await;
    settle().await;
    let second = asking(&transport, &endpoint, "/second");
    settle().await;
    assert_eq!((net.opened(), endpoint.limits().in_use().connections), (1, 1));
    drop(far);
    assert_eq!(first.await.unwrap(), Err(Failure::ConnectionTermination));
    serve_gated(&net, Protocol::Http1).add_permits(1);
    // The first connection that this server sees.
    assert_eq!(second.await.unwrap().as_deref(), Ok("1/second"));
    assert_eq!((net.opened(), endpoint.limits().in_use().connections), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_attempt_takes() {
    for protocol in BOTH {
        let silent = |_: Address| std::future::pending::<io::Result<DuplexStream>>();
        let transport = Transport::builder().connector(silent).build();
        let limits = LimitSettings { connections: some(1), ..LimitSettings::default() };
        let endpoint = limited(limits, over(protocol));
        let started = tokio::time::Instant::now();
        let asks: Vec<_> = (0..8).map(|_| asking(&transport, &endpoint, "/")).collect();
        for ask in asks {
            assert_eq!(ask.await.unwrap(), Err(Failure::ConnectTimeout));
        }
        assert_eq!(started.elapsed(), Duration::from_secs(10));
        settle().await;
        assert_eq!(endpoint.limits().in_use().connections, 0);
    }
}

#[tokio::test]
async fn who_waits_is_not_under_way() {
    for protocol in BOTH {
        let net = Net::new();
        let transport = net.transport();
        let limits = LimitSettings { connections: some(1), requests: some(1), ..LimitSettings::default() };
        let endpoint = limited(limits, ConnectionSettings { max_concurrent_streams: some(1), ..over(protocol) });
        let gate = serve_gated(&net, protocol);
        let busy = admitted(&transport, &endpoint, "/busy").unwrap();
        settle().await;
        assert_eq!(endpoint.limits().in_use().requests, 1);
        // There is neither a place nor a connection for a second one, and it gets both at once.
        let next = admitted(&transport, &endpoint, "/next").unwrap();
        settle().await;
        assert_eq!((endpoint.limits().in_use().requests, endpoint.limits().in_use().pending), (1, 0));
        gate.add_permits(2);
        assert_eq!(busy.await.unwrap().as_deref(), Ok("1/busy"));
        assert_eq!(next.await.unwrap().as_deref(), Ok("1/next"));
        assert_eq!(endpoint.limits().in_use().requests, 0, "over before the router says so");
    }
}

#[tokio::test]
async fn who_finds_a_connection_and_no_place_is_refused() {
    for protocol in BOTH {
        let net = Net::new();
        let transport = net.transport();
        let limits = LimitSettings { requests: some(1), ..LimitSettings::default() };
        let endpoint = limited(limits, over(protocol));
        let gate = serve_gated(&net, protocol);
        // One connection is idle before the place is taken; HTTP/2 has streams left on it.
        gate.add_permits(1);
        assert_eq!(asking(&transport, &endpoint, "/").await.unwrap().as_deref(), Ok("1/"));
        let place = endpoint.limits().request().unwrap();
        let refused = admitted(&transport, &endpoint, "/full").unwrap();
        assert_eq!(refused.await.unwrap(), Err(Failure::Overflow), "{protocol:?}");
        drop(place);
        gate.add_permits(1);
        let next = admitted(&transport, &endpoint, "/next").unwrap();
        assert_eq!(next.await.unwrap().as_deref(), Ok("1/next"), "{protocol:?}: the connection is still there");
    }
}

/// As the router does it: admitted when it is sent.
fn admitted(
    transport: &Transport,
    endpoint: &Arc<Endpoint>,
    path: &str,
) -> Option<JoinHandle<Result<String, Failure>>> {
    let admission = Admission::of(endpoint, false, true)?;
    let mut request = aimed(endpoint, get(path));
    let aim = request.body_mut().take_aim().unwrap().with_admission(admission);
    let request = request.map(|body| body.with_aim(aim));
    let transport = transport.clone();
    Some(tokio::spawn(async move {
        match transport.oneshot(request).await {
            Ok(response) => Ok(text(response).await),
            result => Err(failure_of(result)),
        }
    }))
}

/// Each of its connections takes a second to open.
fn slow_transport(net: &Net) -> Transport {
    let connector = Arc::new(net.connector());
    let slow = move |address: Address| {
        let connector = connector.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            connector.connect(address).await
        }
    };
    Transport::builder().connector(slow).build()
}

#[tokio::test(start_paused = true)]
async fn who_is_given_a_connection_waits_no_more() {
    for protocol in BOTH {
        let net = Net::new();
        let transport = slow_transport(&net);
        let limits = LimitSettings { pending: some(1), ..LimitSettings::default() };
        let endpoint = limited(limits, ConnectionSettings { max_concurrent_streams: some(1), ..over(protocol) });
        serve_gated(&net, protocol).add_permits(2);
        let first = asking(&transport, &endpoint, "/first");
        settle().await;
        // It runs between the connection and the first request, which gets that.
        let second = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            match send(&transport, &endpoint, get("/second")).await {
                Ok(_) => Ok(()),
                refused => Err(failure_of(refused)),
            }
        });
        assert_eq!(second.await.unwrap(), Ok(()), "{protocol:?}");
        assert_eq!(first.await.unwrap().as_deref(), Ok("1/first"));
    }
}

/// A budget of retries counts them.
#[tokio::test(start_paused = true)]
async fn who_has_yet_to_hear_of_a_failure_still_waits() {
    for protocol in BOTH {
        let silent = |_: Address| std::future::pending::<io::Result<DuplexStream>>();
        let transport = Transport::builder().connector(silent).build();
        let limits = LimitSettings { pending: some(9), ..LimitSettings::default() };
        let endpoint = limited(limits, over(protocol));
        let asks: Vec<_> = (0..3)
            .map(|_| {
                let (transport, endpoint) = (transport.clone(), endpoint.clone());
                tokio::spawn(async move {
                    let failure = failure_of(send(&transport, &endpoint, get("/")).await);
                    (failure, endpoint.limits().in_use().pending)
                })
            })
            .collect();
        for (ask, waiting) in asks.into_iter().zip([2, 1, 0]) {
            assert_eq!(ask.await.unwrap(), (Failure::ConnectTimeout, waiting), "{protocol:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cold_burst_of_admitted_requests_is_limited_when_it_has_connections() {
    let net = Net::new();
    let limits = LimitSettings { requests: some(2), ..LimitSettings::default() };
    let endpoint = limited(limits, over(Protocol::Http1));
    let transport = slow_transport(&net);
    let gate = serve_gated(&net, Protocol::Http1);
    // Each is admitted while those before it wait for their connections.
    let mut asks = Vec::new();
    for _ in 0..5 {
        asks.push(admitted(&transport, &endpoint, "/").unwrap());
        // It finds no connection, and gives its place to the next.
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    gate.add_permits(5);
    let mut good = 0;
    for ask in asks {
        match ask.await.unwrap() {
            Ok(_) => good += 1,
            failure => assert_eq!(failure, Err(Failure::Overflow)),
        }
    }
    assert_eq!((good, endpoint.limits().in_use().requests), (2, 0));
}

#[tokio::test]
async fn a_connection_carries_so_many_requests_and_is_closed() {
    for protocol in BOTH {
        let net = Net::new();
        let transport = net.transport();
        let connection = ConnectionSettings { max_requests: some(2), ..over(protocol) };
        let endpoint = limited(LimitSettings::default(), connection);
        serve_gated(&net, protocol).add_permits(100);
        for number in ["1/", "1/", "2/", "2/", "3/"] {
            assert_eq!(ask(&transport, &endpoint).await, number, "{protocol:?}");
            settle().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_old_finishes_and_is_left() {
    for protocol in BOTH {
        let net = Net::new();
        let transport = net.transport();
        let age = Some(Duration::from_secs(8));
        let endpoint =
            limited(LimitSettings::default(), ConnectionSettings { max_connection_duration: age, ..over(protocol) });
        let gate = serve_gated(&net, protocol);
        gate.add_permits(1);
        assert_eq!(ask(&transport, &endpoint).await, "1/");
        settle().await;
        let idle = alive_tasks();
        let long = asking(&transport, &endpoint, "/long");
        tokio::time::sleep(Duration::from_secs(9)).await;
        gate.add_permits(1);
        assert_eq!(long.await.unwrap().as_deref(), Ok("1/long"), "what is under way goes on");
        gate.add_permits(1);
        assert_eq!(ask(&transport, &endpoint).await, "2/", "{protocol:?}");
        // Idle ones go as well, though nobody asks.
        tokio::time::sleep(Duration::from_secs(10)).await;
        settle().await;
        assert!(alive_tasks() < idle, "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_idle_timeout_is_that_of_the_cluster() {
    for protocol in BOTH {
        let net = Net::new();
        let transport = net.transport();
        let other = endpoint_at(([10, 0, 0, 2], 80), protocol);
        let idle_timeout = Some(Duration::from_millis(400));
        let endpoint = limited(LimitSettings::default(), ConnectionSettings { idle_timeout, ..over(protocol) });
        serve_gated(&net, protocol).add_permits(100);
        // The sweeper has a longer step by then.
        assert_eq!(ask(&transport, &other).await, "1/");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = alive_tasks();
        assert_eq!(ask(&transport, &endpoint).await, "2/");
        assert_eq!(ask(&transport, &endpoint).await, "2/");
        tokio::time::sleep(Duration::from_millis(600)).await;
        settle().await;
        assert_eq!(alive_tasks(), before, "{protocol:?}: closed although nobody asks");
        assert_eq!(ask(&transport, &endpoint).await, "3/");
        assert_eq!(ask(&transport, &other).await, "1/");
        // Zero is for ever.
        let idle_timeout = Some(Duration::ZERO);
        let patient = limited(LimitSettings::default(), ConnectionSettings { idle_timeout, ..over(protocol) });
        assert_eq!(ask(&transport, &patient).await, "4/");
        tokio::time::sleep(Duration::from_secs(7200)).await;
        assert_eq!(ask(&transport, &patient).await, "4/");
    }
}

#[tokio::test(start_paused = true)]
async fn other_settings_are_other_connections_and_the_old_ones_drain() {
    for protocol in BOTH {
        let net = Net::new();
        let transport = net.transport();
        let gate = serve_gated(&net, protocol);
        let registry = Registry::new(&Dice::seeded(1));
        let publish = |connect_timeout: u64| {
            let connection =
                ConnectionSettings { connect_timeout: Duration::from_secs(connect_timeout), ..over(protocol) };
            let settings = ClusterSettings { connection: Arc::new(connection), ..ClusterSettings::default() };
            let config = vec![EndpointConfig::new(([10, 0, 0, 1], 80))];
            registry.cluster(ClusterKey::new("a.test", "", 80), settings, config)
        };
        let before = publish(1);
        let (old, id) = (endpoint_of(&before), endpoint_of(&before).id);
        gate.add_permits(1);
        assert_eq!(ask(&transport, &old).await, "1/");
        let under_way = asking(&transport, &old, "/old");
        settle().await;
        let after = publish(2);
        let new = endpoint_of(&after);
        assert_eq!(new.id, id);
        let late = asking(&transport, &new, "/new");
        settle().await;
        // Without those who ask.
        let both = alive_tasks() - 2;
        gate.add_permits(2);
        assert_eq!(under_way.await.unwrap().as_deref(), Ok("1/old"));
        assert_eq!(late.await.unwrap().as_deref(), Ok("2/new"));
        settle().await;
        assert!(alive_tasks() < both, "{protocol:?}: though the cluster before is still there");
        drop((before, old));
        // Equal settings are the same connections.
        gate.add_permits(1);
        assert_eq!(ask(&transport, &endpoint_of(&publish(2))).await, "2/");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_http2_connection_is_found_and_replaced() {
    let net = Net::new();
    let transport = net.transport();
    let keep_alive = Http2KeepAlive::new(Duration::from_secs(5), Duration::from_secs(2));
    let connection = ConnectionSettings { http2_keep_alive: Some(keep_alive), ..over(Protocol::Http2) };
    let endpoint = limited(LimitSettings::default(), connection);
    let first = asking(&transport, &endpoint, "/");
    // It shakes hands and is never heard of again, as behind a router that lost its tables.
    let mut server = h2::server::handshake(net.accept().await).await.unwrap();
    let stalled = server.accept().await.unwrap().unwrap();
    let started = tokio::time::Instant::now();
    assert_eq!(first.await.unwrap(), Err(Failure::ConnectionTermination));
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    serve_gated(&net, Protocol::Http2).add_permits(1);
    assert_eq!(ask(&transport, &endpoint).await, "1/");
    assert_eq!(net.opened(), 2);
    drop((server, stalled));
}

#[test]
fn limits_are_shared_by_all_transports() {
    fn shared<T: Send + Sync>() {}
    shared::<Limits>();
}

/// Under many threads, with connections that end all the time and requests that are given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_who_waits_is_forgotten() {
    for protocol in BOTH {
        let net = Net::new();
        let transport = net.transport();
        let limits = LimitSettings { connections: some(3), ..LimitSettings::default() };
        let few = ConnectionSettings { max_requests: some(7), max_concurrent_streams: some(2), ..over(protocol) };
        let endpoint = limited(limits, few);
        serve_gated(&net, protocol).add_permits(1 << 20);
        let asks: Vec<_> = (0..32)
            .map(|asker| {
                let (transport, endpoint) = (transport.clone(), endpoint.clone());
                tokio::spawn(async move {
                    for number in 0..100 {
                        if (asker + number) % 5 == 0 {
                            let given_up = std::pin::pin!(ask(&transport, &endpoint));
                            let _ = tokio::time::timeout(Duration::from_micros(asker * number), given_up).await;
                        } else {
                            ask(&transport, &endpoint).await;
                        }
                    }
                })
            })
            .collect();
        for asked in asks {
            tokio::time::timeout(Duration::from_secs(60), asked).await.expect("all are served").unwrap();
        }
        transport.close();
        for _ in 0..1000 {
            if endpoint.limits().in_use() == Default::default() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(endpoint.limits().in_use(), Default::default(), "{protocol:?}");
    }
}
