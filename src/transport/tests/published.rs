//! What becomes of connections when other endpoints, settings or limits are published.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::limits::{BOTH, asking, serve_gated};
use super::*;
use crate::upstream::{LimitSettings, PassThrough};

/// Clusters of one key, as reloads make them.
struct Published {
    registry: Registry,
    protocol: Protocol,
}

impl Published {
    fn new(protocol: Protocol) -> Self {
        Self { registry: Registry::new(&Dice::seeded(1)), protocol }
    }

    /// A cluster of 10.0.0.1 that may have so many connections, each with one request at a time.
    fn cluster(&self, most: u32, connect_timeout: u64) -> Arc<Cluster> {
        let cluster = self.prepared(most, connect_timeout);
        cluster.stand();
        cluster
    }

    /// The same before it is out.
    fn prepared(&self, most: u32, connect_timeout: u64) -> Arc<Cluster> {
        let connection = ConnectionSettings {
            protocol: self.protocol,
            connect_timeout: Duration::from_secs(connect_timeout),
            max_concurrent_streams: NonZeroU32::new(1),
            ..ConnectionSettings::default()
        };
        let limits = LimitSettings { connections: NonZeroU32::new(most), ..LimitSettings::default() };
        let settings = ClusterSettings { connection: Arc::new(connection), limits, ..ClusterSettings::default() };
        self.registry.prepare(ClusterKey::new("a.test", "", 80), settings, vec![host(1)]).0
    }
}

fn host(last: u8) -> EndpointConfig {
    EndpointConfig::new(([10, 0, 0, last], 80))
}

fn open(cluster: &Cluster) -> u64 {
    cluster.limits().in_use().connections
}

type Asks = Vec<JoinHandle<Result<String, Failure>>>;

/// So many requests at a time, none of which is answered yet.
async fn begin(transport: &Transport, endpoint: &Arc<Endpoint>, count: usize) -> Asks {
    let asks = (0..count).map(|_| asking(transport, endpoint, "/")).collect();
    settle().await;
    settle().await;
    asks
}

async fn end(gate: &Semaphore, asks: Asks) {
    gate.add_permits(asks.len());
    for ask in asks {
        ask.await.unwrap().unwrap();
    }
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_left_keeps_no_connection_that_others_may_need() {
    for protocol in BOTH {
        let net = Net::new();
        let transport = net.transport();
        let gate = serve_gated(&net, protocol);
        let cluster = Published::new(protocol).cluster(4, 1);
        let gone = endpoint_of(&cluster);
        let mut asks = begin(&transport, &gone, 4).await;
        gate.add_permits(3);
        settle().await;
        assert_eq!(open(&cluster), 4);
        let under_way = asks.remove(asks.iter().position(|ask| !ask.is_finished()).unwrap());
        cluster.publish(vec![host(2)]);
        settle().await;
        assert_eq!(open(&cluster), 1, "{protocol:?}");
        // All but that are for who has stayed.
        let others = begin(&transport, &endpoint_of(&cluster), 4).await;
        assert_eq!((open(&cluster), net.opened()), (4, 7), "{protocol:?}");
        end(&gate, others.into_iter().chain([under_way]).collect()).await;
        assert_eq!(open(&cluster), 3, "{protocol:?}: the last one at who has left closes with its answer");
        // A request may be late to know.
        end(&gate, begin(&transport, &gone, 1).await).await;
        assert_eq!(open(&cluster), 3, "{protocol:?}");
        cluster.publish(vec![host(1), host(2)]);
        for opened in [9, 9] {
            end(&gate, begin(&transport, &gone, 1).await).await;
            assert_eq!((open(&cluster), net.opened()), (4, opened), "{protocol:?}: who returns keeps them again");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_nobody_has_any_more_keeps_no_connection() {
    for protocol in BOTH {
        let net = Net::new();
        let transport = net.transport();
        let gate = serve_gated(&net, protocol);
        let cluster = Published::new(protocol).cluster(0, 1);
        end(&gate, begin(&transport, &endpoint_of(&cluster), 1).await).await;
        let idle = alive_tasks();
        drop(cluster);
        settle().await;
        assert!(alive_tasks() < idle, "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_by_other_settings_are_in_nobodys_way() {
    for protocol in BOTH {
        let net = Net::new();
        let transport = net.transport();
        let gate = serve_gated(&net, protocol);
        let published = Published::new(protocol);
        let before = published.cluster(4, 1);
        let old = endpoint_of(&before);
        let mut asks = begin(&transport, &old, 4).await;
        gate.add_permits(3);
        settle().await;
        let under_way = asks.remove(asks.iter().position(|ask| !ask.is_finished()).unwrap());
        let after = published.cluster(4, 2);
        settle().await;
        assert_eq!(open(&after), 1, "{protocol:?}");
        let others = begin(&transport, &endpoint_of(&after), 3).await;
        assert_eq!((open(&after), net.opened()), (4, 7), "{protocol:?}");
        end(&gate, others.into_iter().chain([under_way]).collect()).await;
        assert_eq!(open(&after), 3, "{protocol:?}: the last old one closes with its answer");
        // What is left of the cluster before has no say.
        before.publish(vec![host(1), host(9)]);
        end(&gate, begin(&transport, &endpoint_of(&after), 3).await).await;
        assert_eq!((open(&after), net.opened()), (3, 7), "{protocol:?}");
        let again = published.cluster(4, 1);
        settle().await;
        assert_eq!(open(&again), 0, "{protocol:?}");
        for _ in 0..2 {
            end(&gate, begin(&transport, &endpoint_of(&again), 1).await).await;
            assert_eq!((open(&again), net.opened()), (1, 8), "{protocol:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_kept_while_others_are_prepared() {
    for protocol in BOTH {
        let net = Net::new();
        let transport = net.transport();
        let gate = serve_gated(&net, protocol);
        let published = Published::new(protocol);
        let before = published.cluster(0, 1);
        let old = endpoint_of(&before);
        end(&gate, begin(&transport, &old, 3).await).await;
        // One of them is given up.
        drop(published.prepared(0, 2));
        let after = published.prepared(0, 3);
        settle().await;
        for _ in 0..3 {
            end(&gate, begin(&transport, &old, 3).await).await;
            assert_eq!(net.opened(), 3, "{protocol:?}");
        }
        // Requests may be there before all of them know that it is out.
        let new = endpoint_of(&after);
        for _ in 0..3 {
            end(&gate, begin(&transport, &new, 3).await).await;
            assert_eq!(net.opened(), 6, "{protocol:?}");
        }
        let both = alive_tasks();
        after.stand();
        settle().await;
        assert!(alive_tasks() < both, "{protocol:?}");
        end(&gate, begin(&transport, &new, 3).await).await;
        assert_eq!(net.opened(), 6, "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_connections_holds_for_those_of_before() {
    for (protocol, (before, after)) in BOTH.into_iter().flat_map(|each| [(each, (0, 2)), (each, (5, 2))]) {
        let net = Net::new();
        let transport = net.transport();
        let gate = serve_gated(&net, protocol);
        let published = Published::new(protocol);
        let warm = published.cluster(before, 1);
        end(&gate, begin(&transport, &endpoint_of(&warm), 5).await).await;
        let (idle, both) = (alive_tasks(), net.opened());
        let cluster = published.cluster(after, 1);
        settle().await;
        assert!(alive_tasks() < idle && open(&cluster) == 0, "{protocol:?}, {before} before");
        let asks = begin(&transport, &endpoint_of(&cluster), 5).await;
        assert_eq!((open(&cluster), net.opened() - both), (2, 2), "{protocol:?}, {before} before");
        end(&gate, asks).await;
        assert_eq!((open(&cluster), net.opened() - both), (2, 2), "{protocol:?}, {before} before");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_a_connection_by_other_settings_gets_it() {
    let net = Net::new();
    let transport = net.transport();
    let gate = serve_gated(&net, Protocol::Http1);
    let published = Published::new(Protocol::Http1);
    let before = published.cluster(1, 1);
    let asks = begin(&transport, &endpoint_of(&before), 3).await;
    let after = published.cluster(1, 2);
    settle().await;
    end(&gate, asks).await;
    assert_eq!((open(&after), net.opened()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn connections_of_a_host_that_is_passed_through_to_go_by_the_settings_too() {
    let net = Net::new();
    let transport = net.transport();
    let gate = serve_gated(&net, Protocol::Http1);
    let registry = Registry::new(&Dice::seeded(1));
    let publish = |connect_timeout| {
        let connection = ConnectionSettings {
            connect_timeout: Duration::from_secs(connect_timeout),
            ..ConnectionSettings::default()
        };
        let settings = ClusterSettings {
            connection: Arc::new(connection),
            pass_through: Some(PassThrough::Dialed { port: None }),
            ..ClusterSettings::default()
        };
        registry.cluster(ClusterKey::new("a.test", "", 80), settings, Vec::new())
    };
    let led = |cluster: &Cluster| {
        let original = Original { dialed: Some(Authority::from_static("10.0.0.1:80")), named: None };
        let choice = Choice { original: Some(&original), ..Choice::default() };
        cluster.pick(&mut Dice::seeded(1).draws(), &choice).unwrap().endpoint().clone()
    };
    let before = publish(1);
    end(&gate, begin(&transport, &led(&before), 1).await).await;
    let idle = alive_tasks();
    let after = publish(2);
    let endpoint = led(&after);
    settle().await;
    assert!(alive_tasks() < idle);
    for _ in 0..2 {
        end(&gate, begin(&transport, &endpoint, 1).await).await;
        assert_eq!(net.opened(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_http2_connection_ends_with_the_last_stream_that_it_may_have() {
    let net = Net::new();
    let transport = net.transport();
    let gate = serve_gated(&net, Protocol::Http2);
    let published = |connection: ConnectionSettings| {
        let limits = LimitSettings { connections: NonZeroU32::new(4), ..LimitSettings::default() };
        let connection = Arc::new(ConnectionSettings { protocol: Protocol::Http2, ..connection });
        let settings = ClusterSettings { connection, limits, ..ClusterSettings::default() };
        Registry::new(&Dice::seeded(1)).cluster(ClusterKey::new("a.test", "", 80), settings, vec![host(1)])
    };
    let once = published(ConnectionSettings { max_requests: NonZeroU32::new(1), ..ConnectionSettings::default() });
    end(&gate, begin(&transport, &endpoint_of(&once), 3).await).await;
    assert_eq!((open(&once), net.opened()), (0, 3));
    let age = Some(Duration::from_secs(80));
    let aging = published(ConnectionSettings { max_connection_duration: age, ..ConnectionSettings::default() });
    let asks = begin(&transport, &endpoint_of(&aging), 2).await;
    tokio::time::sleep(Duration::from_secs(81)).await;
    assert_eq!((open(&aging), net.opened()), (1, 4));
    end(&gate, asks).await;
    assert_eq!(open(&aging), 0);
}
