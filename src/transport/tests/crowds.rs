//! More pools than are kept.

use std::time::Duration;

use hyper_util::server::conn::auto;
use tokio::io::AsyncReadExt;

use super::life::{pools, told_of_clients};
use super::pools::KEPT_FOR_CLIENT;
use super::*;

/// How many pools are kept here. What one transport does with so many it does with more.
const KEPT: usize = 128;

/// A transport to an endpoint that is told who asks, with connections for each of them.
struct Told {
    net: Net,
    transport: Transport,
    endpoint: Arc<Endpoint>,
    _cluster: Arc<Cluster>,
}

impl Told {
    fn new() -> Self {
        Self::in_protocol(Protocol::Http1)
    }

    fn in_protocol(protocol: Protocol) -> Self {
        let net = Net::new();
        tokio::spawn(serve(net.clone()));
        let (_cluster, endpoint) = told_of_clients(protocol);
        let transport = Transport::builder().connector(net.connector()).kept(KEPT).build();
        Self { transport, net, endpoint, _cluster }
    }

    async fn send(&self, client: usize, body: TestBody) -> Response<TransportBody> {
        let client = ([10, 0, 0, 2], client.try_into().unwrap()).into();
        let aim = Aim::new(self.endpoint.clone(), None).with_client(client, ([10, 0, 0, 3], 80).into());
        let request = Request::post("/").body(RequestBody::new(body).with_aim(aim)).unwrap();
        self.transport.clone().oneshot(request).await.unwrap()
    }

    /// Asks for each of them; how many connections that took.
    async fn ask_for(&self, clients: impl IntoIterator<Item = usize>) -> usize {
        let before = self.net.opened();
        for client in clients {
            text(self.send(client, empty()).await).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.net.opened() - before
    }
}

/// Sends back what is sent over every connection after its PROXY header.
async fn serve(net: Net) {
    let echo = |request: Request<Incoming>| request.into_body().map_err(io::Error::other).boxed_unsync();
    let service = service_fn(move |request| std::future::ready(Answer::Ok(Response::new(echo(request)))));
    loop {
        let mut pipe = net.accept().await;
        while pipe.read_u8().await.unwrap() != b'\n' {}
        tokio::spawn(async move {
            auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(pipe), service).await
        });
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_few_too_many_most_are_reused() {
    let mut told = Told::new();
    // As many as a transport keeps.
    told.transport = told.net.transport();
    let (kept, all) = (1024, 1060);
    assert_eq!(told.ask_for(0..all).await, all);
    for _ in 0..10 {
        assert!((36..all / 10).contains(&told.ask_for(0..all).await));
        assert_eq!(pools(&told.transport), kept + 1, "the last was in use");
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_come_late_and_are_asked_for_often_are_kept() {
    for late in [6, 37] {
        let told = Told::new();
        // Those of before are asked for once in two minutes each.
        told.ask_for(0..KEPT).await;
        let (mut before, mut opened) = ((0..KEPT).cycle(), Vec::new());
        for _ in 0..10 {
            let mut more = 0;
            for _ in 0..6 {
                more += told.ask_for(KEPT..KEPT + late).await;
                tokio::time::sleep(Duration::from_millis(350)).await;
            }
            told.ask_for(before.by_ref().take(2)).await;
            opened.push(more);
        }
        let (first, then) = opened.split_first().unwrap();
        assert!((late..2 * late).contains(first) && then.iter().all(|more| *more == 0), "of {late}: {opened:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_come_and_go_are_connected_once() {
    let told = Told::new();
    // One comes in a second; each asks 20 times within twenty seconds and leaves for good.
    for tick in 0..KEPT + 400 {
        assert_eq!(told.ask_for(tick.saturating_sub(19)..=tick).await, 1, "{tick}");
        tokio::time::sleep(Duration::from_millis(980)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn those_asked_for_steadily_are_kept() {
    let told = Told::new();
    let (once, steady) = (0..KEPT - KEPT / 10, KEPT - KEPT / 10..KEPT);
    told.ask_for(once).await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(told.ask_for(steady.clone()).await <= steady.len());
    }
    // Somebody comes with ever other names, more than are kept, and asks for each of them more than once.
    for round in 1..=5 {
        for name in (2 * round * KEPT..).take(KEPT / 4) {
            assert_eq!(told.ask_for([name; 2]).await, 1);
        }
        assert_eq!(told.ask_for(steady.clone()).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn names_that_come_in_one_moment_close_a_quarter_at_most() {
    // How often those of before are asked for, how many others come, and how often they ask.
    for (seconds, others, times) in
        [(10, KEPT / 4 * 3, 1), (10, 2 * KEPT, 1), (10, 2 * KEPT, 2), (10, KEPT, 3), (20, KEPT, 2)]
    {
        let (told, steady) = (Told::new(), 0..KEPT);
        let mut sweep = tokio::time::interval(Duration::from_secs(seconds));
        for _ in 0..6 {
            told.ask_for(steady.clone()).await;
            sweep.tick().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        for name in (KEPT..).take(others) {
            assert_eq!(told.ask_for(std::iter::repeat_n(name, times)).await, 1);
        }
        let again = told.ask_for(steady).await;
        assert!(again <= KEPT / 4, "{again} after {others} others, {times} times each, with {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_nobody_asks_for_any_more_make_room() {
    let told = Told::new();
    for _ in 0..3 {
        told.ask_for(0..KEPT).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    tokio::time::sleep(Duration::from_secs(3 * 60)).await;
    let others = KEPT..KEPT + KEPT / 10;
    told.ask_for(others.clone()).await;
    assert_eq!(told.ask_for(others).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_has_so_many_pools_by_host() {
    let transport = Net::new().transport();
    let (_cluster, endpoint) = told_of_clients(Protocol::Http1);
    let clients = [Arc::new(()), Arc::new(())];
    for number in 0..2 * KEPT_FOR_CLIENT {
        for (port, open) in (1..).zip(&clients) {
            let https = Https::new(&format!("{number}.test"), false);
            let aim = Aim::new(endpoint.clone(), None).with_https(https);
            let mut aim = aim.with_client(([10, 0, 0, 2], port).into(), ([10, 0, 0, 3], 80).into());
            aim.client_open = Some(Arc::downgrade(open));
            let request = get("/").map(|body| RequestBody::new(body).with_aim(aim));
            assert_eq!(failure_of(transport.clone().oneshot(request).await), Failure::ConnectRefused);
        }
    }
    settle().await;
    assert_eq!(pools(&transport), 2 * (KEPT_FOR_CLIENT + 1), "the last was in use");
}

#[tokio::test(start_paused = true)]
async fn one_with_bodies_alone_is_in_use() {
    let told = Told::in_protocol(Protocol::Http2);
    let (feed, upload) = fed();
    let answer = told.send(0, upload).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(told.ask_for(1..3 * KEPT).await, 3 * KEPT - 1);
    assert_eq!(told.ask_for([0]).await, 0);
    feed.send(data("all the same")).await.unwrap();
    drop(feed);
    assert_eq!(text(answer).await, "all the same");
}
