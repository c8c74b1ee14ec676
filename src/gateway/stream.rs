//! Connections whose bytes are passed on: [`Stream`].

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::Instant;

use super::drain::Draining;
use super::hello::Hello;
use crate::dice::Draws;
use crate::outcome::{FailureError, Outcome};
use crate::route::StreamRoute;
use crate::snapshot::{Listener, Snapshot};
use crate::telemetry::{ClusterMetrics, StreamRecord};
use crate::transport::{Cut, Transport};
use crate::upstream::{Choice, Cluster};

/// One connection of a client, and where it goes.
#[derive(Debug)]
pub(super) struct Stream {
    route: Arc<StreamRoute>,
    cluster: Arc<Cluster>,
    metrics: ClusterMetrics,
    /// The client and the address that it dialed.
    client: Option<(SocketAddr, SocketAddr)>,
    draws: Draws,
}

impl Stream {
    /// A connection to `listener` of a client that began with `hello`, if with TLS. `None`: nothing is for it, or its
    /// cluster is not known, which is counted with `unknown`.
    pub(super) fn new(
        snapshot: &Snapshot,
        listener: &Listener,
        hello: Option<&Hello>,
        client: Option<(SocketAddr, SocketAddr)>,
        mut draws: Draws,
        unknown: &ClusterMetrics,
    ) -> Option<Self> {
        let server_name = hello.and_then(|hello| hello.server_name.as_deref());
        let takes = |route: &&Arc<StreamRoute>| !route.sealed || hello.is_some_and(Hello::is_of_mesh);
        let Some(route) = listener.streams.find(server_name).filter(takes) else {
            tracing::debug!(listener = %listener.name, ?server_name, "closed: no rule is for this connection (NR)");
            return None;
        };
        let destination = &route.clusters.pick(draws.next_u64()).destination;
        let Some(entry) = destination.for_port(listener.port).and_then(|index| snapshot.entry(index)) else {
            tracing::debug!(rule = %route.origin.path, "closed: the destination is no known cluster (NC)");
            StreamRecord::refused(unknown, "NC");
            return None;
        };
        let (cluster, metrics) = (entry.cluster.clone(), entry.metrics.clone());
        Some(Self { route: route.clone(), cluster, metrics, client, draws })
    }

    /// Passes the bytes of `io` on until both sides have ended, one of them breaks, or time is over, be it that of a
    /// listener or a rule that is gone: a reset of one is one of the other. Where there is no endpoint, or none that can be reached,
    /// the connection is closed: there is one attempt.
    pub(super) async fn pass_on<IO>(self, io: IO, transport: &Transport, mut draining: Draining)
    where
        IO: AsyncRead + AsyncWrite + Cut + Unpin,
    {
        let Self { route, cluster, metrics, client, mut draws } = self;
        let clock = Arc::new(Clock::new());
        let closed = |why: &str| tracing::debug!(cluster = %cluster.key, "closed: {why}");
        let refused = |why: &str, flags| {
            StreamRecord::refused(&metrics, flags);
            tracing::debug!(cluster = %cluster.key, "closed: {why} ({flags})");
        };
        let source = client.map(|(peer, _)| peer.ip().to_canonical());
        let hash = source.and_then(|source| route.hash.hash_connection(source));
        // Where its client connected to is this gateway, which is no endpoint.
        let choice = Choice { hash, ..Choice::default() };
        let Some(picked) = cluster.pick(&mut draws, &choice) else { return refused("no healthy upstream", "UH") };
        let Some(_place) = cluster.limits().connection(false) else { return refused("overflow", "UO") };
        // To Envoy this is an attempt that failed, and the last.
        let Some(pending) = cluster.limits().pending() else { return refused("overflow", "URX") };
        let endpoint = picked.endpoint();
        // The host of the service is none of the bytes': as in Envoy, only the words of the cluster name the endpoint.
        let opened = transport.open(endpoint, None, client, route.tunnel.as_ref(), route.sealed, pending);
        let upstream = tokio::select! {
            biased;
            opened = opened => match opened {
                Ok(upstream) => upstream,
                Err(error) => {
                    cluster.report(endpoint, Outcome::Failure(error.failure()));
                    return refused(&format!("{error}: {}", root(&error)), "UF,URX");
                }
            },
            () = clock.silent_for(route.idle_timeout) => return refused(SILENT, "-"),
            () = clock.older_than(route.max_duration) => return refused(OLD, "DT"),
            () = draining.expires() => return refused(GONE, "-"),
        };
        let record = StreamRecord::new(&metrics);
        // A connection that stands is all that can be said of bytes.
        cluster.report(endpoint, Outcome::Status(StatusCode::OK));
        tokio::select! {
            ended = timed(io, upstream, clock, route.idle_timeout, route.max_duration, record) => {
                if let Err(error) = ended {
                    closed(&error.to_string());
                }
            }
            () = draining.expires() => closed(GONE),
        }
    }
}

/// What lies under an error.
fn root(error: &FailureError) -> String {
    let mut root: &dyn std::error::Error = error;
    while let Some(deeper) = root.source() {
        root = deeper;
    }
    root.to_string()
}

/// Copies both ways until both have ended, one breaks off, nothing has moved for `idle` from now on, or `longest` is over
/// since the clock was started. `record` is told what moves at `one`.
async fn timed<A, B>(
    one: A,
    other: B,
    clock: Arc<Clock>,
    idle: Option<Duration>,
    longest: Option<Duration>,
    record: StreamRecord,
) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Cut + Unpin,
    B: AsyncRead + AsyncWrite + Cut + Unpin,
{
    clock.tick();
    let mut one = Watched { io: one, clock: clock.clone(), record, ended: false };
    let record = StreamRecord::default();
    let mut other = Watched { io: other, clock: clock.clone(), record, ended: false };
    let ended = tokio::select! {
        copied = copy_bidirectional(&mut one, &mut other) => copied.map(|_| ()),
        () = clock.silent_for(idle) => Err(io::Error::new(io::ErrorKind::TimedOut, SILENT)),
        () = clock.older_than(longest) => Err(io::Error::new(io::ErrorKind::TimedOut, OLD)),
    };
    if ended.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset) {
        // Whichever it was, it has no need of it any more.
        one.io.cut();
        other.io.cut();
    }
    ended
}

/// Why one is closed.
const SILENT: &str = "it was silent for too long";
const OLD: &str = "it was as old as it may become";
const GONE: &str = "its listener or its rule is gone";

/// When a connection began, and when a byte last moved on it.
#[derive(Debug)]
struct Clock {
    /// With its client: as in Envoy, the time that its upstream takes counts.
    started: Instant,
    /// In milliseconds after that.
    moved: AtomicU64,
}

impl Clock {
    fn new() -> Self {
        Self { started: Instant::now(), moved: AtomicU64::new(0) }
    }

    fn tick(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    /// Waits until nothing has moved for `idle`.
    async fn silent_for(&self, idle: Option<Duration>) {
        let Some(idle) = idle else { return std::future::pending().await };
        loop {
            let moved = self.started + Duration::from_millis(self.moved.load(Ordering::Relaxed));
            if moved.elapsed() >= idle {
                return;
            }
            tokio::time::sleep_until(moved + idle).await;
        }
    }

    /// Waits until it is as old as `longest`.
    async fn older_than(&self, longest: Option<Duration>) {
        match longest {
            Some(longest) => tokio::time::sleep_until(self.started + longest).await,
            None => std::future::pending().await,
        }
    }
}

/// A connection that tells the clock of every byte, and who counts them.
#[derive(Debug)]
struct Watched<IO> {
    io: IO,
    clock: Arc<Clock>,
    record: StreamRecord,
    /// Whether all has been read.
    ended: bool,
}

impl<IO> Watched<IO> {
    /// Whatever breaks off is reset, be it a stream of HTTP/2 or its connection. Who has ended may well be gone: what it
    /// said last is for the other side.
    fn broken(&self, error: io::Error) -> io::Error {
        if self.ended { error } else { io::Error::new(io::ErrorKind::ConnectionReset, error) }
    }

    fn wrote(&self, bytes: usize) -> Poll<io::Result<usize>> {
        self.clock.tick();
        self.record.sent(bytes);
        Poll::Ready(Ok(bytes))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match ready!(Pin::new(&mut self.io).poll_read(cx, buf)) {
            // Many leave TLS without a word. Nobody can tell it from an end, and what the other side says is for them.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            read => read.map_err(|error| self.broken(error))?,
        }
        let read = buf.filled().len() - before;
        self.ended = read == 0 && buf.remaining() > 0;
        if read > 0 {
            self.clock.tick();
            self.record.received(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes)).map_err(|error| self.broken(error))?;
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices));
        let written = written.map_err(|error| self.broken(error))?;
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::drain::Drain;
    use super::*;
    use crate::config::Config;
    use crate::mesh::Mesh;
    use crate::telemetry::MeshMetrics;

    impl Cut for DuplexStream {
        fn cut(&self) {}
    }

    impl Cut for tokio_test::io::Mock {
        fn cut(&self) {}
    }

    impl<R, W> Cut for tokio::io::Join<R, W> {
        fn cut(&self) {}
    }

    /// Both ends of a connection.
    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    /// Two clients' ends of a connection that is passed on, and how it ends.
    fn joined(
        idle: Option<Duration>,
        longest: Option<Duration>,
    ) -> (tokio::io::DuplexStream, tokio::io::DuplexStream, tokio::task::JoinHandle<io::Result<()>>) {
        let ((client, near), (far, server)) = (duplex(64), duplex(64));
        (client, server, tokio::spawn(timed(near, far, Arc::new(Clock::new()), idle, longest, StreamRecord::default())))
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_each_way_ends_by_itself() {
        let (mut client, mut server, passing) = joined(None, None);
        client.write_all(b"ping").await.unwrap();
        client.shutdown().await.unwrap();
        let mut sent = String::new();
        server.read_to_string(&mut sent).await.unwrap();
        server.write_all(b"pong").await.unwrap();
        drop(server);
        let mut answered = String::new();
        client.read_to_string(&mut answered).await.unwrap();
        assert_eq!((sent.as_str(), answered.as_str()), ("ping", "pong"));
        passing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_leaves_tls_without_a_word_is_still_answered() {
        let unsaid = io::ErrorKind::UnexpectedEof.into();
        let client = tokio_test::io::Builder::new().read(b"ping").read_error(unsaid).write(b"pong").build();
        let (far, mut server) = duplex(64);
        let passing = tokio::spawn(timed(client, far, Arc::new(Clock::new()), None, None, StreamRecord::default()));
        let mut sent = String::new();
        server.read_to_string(&mut sent).await.unwrap();
        assert_eq!(sent, "ping");
        server.write_all(b"pong").await.unwrap();
        drop(server);
        passing.await.unwrap().unwrap();
    }

    const RULES: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec:
  hosts: ['*']
  gateways: [gw]
  tcp: [{route: [{destination: {host: a.test}}]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: se}
spec:
  hosts: [a.test]
  ports: [{number: 80, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: dr}
spec:
  host: a.test
  trafficPolicy: {connectionPool: {tcp: {connectTimeout: 3s}, http: {http1MaxPendingRequests: 1}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  servers: [{port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']}]
";

    /// A connection to the only listener.
    fn stream_of(mesh: &Mesh, snapshot: &Snapshot) -> Stream {
        let unknown = MeshMetrics::new(mesh.workload()).no_route;
        Stream::new(snapshot, &snapshot.listeners()[0], None, None, mesh.dice().draws(), &unknown).unwrap()
    }

    /// How many connections with these flags are counted as closed.
    fn closed_with(text: &str, flags: &str) -> u64 {
        let flags = format!("response_flags=\"{flags}\"");
        let mut lines = text.lines().filter(|line| line.starts_with("istio_tcp_connections_closed_total{"));
        let line = lines.find(|line| line.contains(&flags));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// What opens connections in so many seconds, on which nothing ever comes.
    fn silent_after(seconds: u64) -> Transport {
        let opens = move |_| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let (near, far) = duplex(1024);
            tokio::spawn(async move {
                let _far = far;
                std::future::pending::<()>().await
            });
            Ok(near)
        };
        Transport::builder().connector(opens).build()
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait_for_their_upstream() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _heard = metrics::set_default_local_recorder(&recorder);
        let mesh = Mesh::new();
        assert!(!mesh.apply_strict(Config::from_yaml(RULES, "rules.yaml").unwrap()).unwrap().fails_check());
        let snapshot = mesh.snapshot();
        // It never has a connection.
        let transport = Transport::builder().connector(|_| std::future::pending::<io::Result<DuplexStream>>()).build();
        let began = Instant::now();
        let closed = |_: u8| {
            let stream = stream_of(&mesh, &snapshot);
            let transport = transport.clone();
            async move {
                let (near, _far) = duplex(64);
                stream.pass_on(near, &transport, Drain::new().draining()).await;
                began.elapsed().as_secs()
            }
        };
        assert_eq!(tokio::join!(closed(1), closed(2), closed(3)), (3, 0, 0));
        assert_eq!(closed(4).await, 6);
        let text = recorder.handle().render();
        assert_eq!(["URX", "UF,URX", "-"].map(|flags| closed_with(&text, flags)), [2, 2, 0], "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_age_begin_with_the_client() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _heard = metrics::set_default_local_recorder(&recorder);
        // An upstream that takes 2 s, of which 3 are given to it, or more, and that then says nothing.
        for (takes, words, ends, flags) in [
            (9, "", 3, "UF,URX"),
            (9, "idleTimeout: 1s", 1, "-"),
            (9, "maxConnectionDuration: 1s", 1, "DT"),
            (2, "idleTimeout: 3s", 5, "-"),
            (2, "maxConnectionDuration: 3s", 3, "-"),
        ] {
            let mesh = Mesh::new();
            let rules = RULES.replace("connectTimeout: 3s", &format!("connectTimeout: 3s, {words}"));
            assert!(!mesh.apply_strict(Config::from_yaml(&rules, "rules.yaml").unwrap()).unwrap().fails_check());
            let stream = stream_of(&mesh, &mesh.snapshot());
            let ((near, _client), began) = (duplex(64), Instant::now());
            let before = closed_with(&recorder.handle().render(), flags);
            stream.pass_on(near, &silent_after(takes), Drain::new().draining()).await;
            assert_eq!(began.elapsed().as_secs(), ends, "{takes} {words}");
            assert_eq!(closed_with(&recorder.handle().render(), flags), before + 1, "{words}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_was_reached_may_take_the_time_of_the_connection_to_answer() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _heard = metrics::set_default_local_recorder(&recorder);
        let mesh = Mesh::new();
        let words = "tunnel: {targetHost: far.test, targetPort: 443}, outlierDetection: {consecutive5xxErrors: 1}";
        let rules = RULES.replace("trafficPolicy: {", &format!("trafficPolicy: {{{words}, "));
        let rules = rules.replace("connectTimeout: 3s", "connectTimeout: 3s, idleTimeout: 600s");
        assert!(!mesh.apply_strict(Config::from_yaml(&rules, "rules.yaml").unwrap()).unwrap().fails_check());
        let (snapshot, transport, began) = (mesh.snapshot(), silent_after(1), Instant::now());
        // The second comes when the first does not wait for its connection any more, and its listener goes.
        let closed = |comes: u64, goes: bool| {
            let (stream, transport, drain) = (stream_of(&mesh, &snapshot), transport.clone(), Drain::new());
            async move {
                tokio::time::sleep(Duration::from_secs(comes)).await;
                let (near, _far) = duplex(64);
                let draining = drain.draining();
                if goes {
                    drain.leave();
                }
                stream.pass_on(near, &transport, draining).await;
                began.elapsed().as_secs()
            }
        };
        assert_eq!(tokio::join!(closed(0, false), closed(2, true)), (600, 2 + 45));
        assert_eq!(closed_with(&recorder.handle().render(), "-"), 2);
        let endpoints = mesh.endpoints();
        assert!(endpoints.iter().all(|endpoint| endpoint.ejected.is_none()), "{endpoints:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_by_a_listener_that_is_gone_has_a_time_to_end() {
        let mesh = Mesh::new();
        assert!(!mesh.apply_strict(Config::from_yaml(RULES, "rules.yaml").unwrap()).unwrap().fails_check());
        let snapshot = mesh.snapshot();
        let echoes = |_| async {
            let (near, far) = duplex(64);
            let (mut from, mut to) = tokio::io::split(far);
            tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
            Ok(near)
        };
        let transport = Transport::builder().connector(echoes).build();
        for (begin, ends) in [(Drain::leave as fn(&Drain), true), (Drain::end, false)] {
            let (drain, (mut client, near)) = (Drain::new(), duplex(64));
            let stream = stream_of(&mesh, &snapshot);
            let (transport, draining) = (transport.clone(), drain.draining());
            let passing = tokio::spawn(async move { stream.pass_on(near, &transport, draining).await });
            // However much moves.
            tokio::spawn(async move {
                while client.write_u8(1).await.is_ok() && client.read_u8().await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
            });
            tokio::time::sleep(Duration::from_secs(5)).await;
            begin(&drain);
            let began = Instant::now();
            let ended = tokio::time::timeout(Duration::from_secs(3600), passing).await.is_ok();
            assert_eq!((ended, began.elapsed().as_secs()), (ends, if ends { 45 } else { 3600 }));
        }
    }

    #[tokio::test]
    async fn a_reset_of_one_side_is_one_of_the_other_and_an_end_is_an_end() {
        for client_breaks in [true, false] {
            for reset in [true, false] {
                let ((client, near), (far, server)) = (connected().await, connected().await);
                let passing =
                    tokio::spawn(timed(near, far, Arc::new(Clock::new()), None, None, StreamRecord::default()));
                let (mut breaks, mut sees) = if client_breaks { (client, server) } else { (server, client) };
                breaks.write_all(b"last").await.unwrap();
                let mut last = [0; 4];
                sees.read_exact(&mut last).await.unwrap();
                if reset {
                    breaks.set_zero_linger().unwrap();
                }
                drop(breaks);
                let seen = sees.read_u8().await.unwrap_err().kind();
                let expected = if reset { io::ErrorKind::ConnectionReset } else { io::ErrorKind::UnexpectedEof };
                assert_eq!(seen, expected, "by the client: {client_breaks}");
                drop(sees);
                assert_eq!(passing.await.unwrap().is_err(), reset);
            }
        }
    }

    #[tokio::test]
    async fn what_breaks_a_stream_of_http2_resets_the_other_side() {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, Other};
        let broken = || tokio_test::io::Builder::new();
        let broken = [
            broken().read(b"last").read_error(Other.into()).build(),
            broken().read(b"last").read_error(BrokenPipe.into()).build(),
            broken().write_error(Other.into()).build(),
        ];
        for stream in broken {
            let (mut client, near) = connected().await;
            client.write_all(b"x").await.unwrap();
            let passing =
                tokio::spawn(timed(near, stream, Arc::new(Clock::new()), None, None, StreamRecord::default()));
            assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap_err().kind(), ConnectionReset);
            assert!(passing.await.unwrap().is_err());
        }
    }

    #[tokio::test]
    async fn who_has_ended_may_be_gone() {
        let gone = tokio_test::io::Builder::new().write_error(io::ErrorKind::Other.into()).build();
        let (mut client, near) = connected().await;
        let server = tokio::io::join(&b"last"[..], gone);
        let passing = tokio::spawn(timed(near, server, Arc::new(Clock::new()), None, None, StreamRecord::default()));
        let mut last = String::new();
        client.read_to_string(&mut last).await.unwrap();
        client.write_all(b"x").await.unwrap();
        assert!(passing.await.unwrap().is_err());
        assert_eq!((last.as_str(), client.take_error().unwrap().is_none()), ("last", true));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it_and_bytes_of_either_side_break_the_silence() {
        let (mut client, mut server, passing) = joined(Some(Duration::from_secs(10)), None);
        let started = Instant::now();
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(4)).await;
            client.write_all(b"x").await.unwrap();
            server.read_u8().await.unwrap();
            tokio::time::sleep(Duration::from_secs(4)).await;
            server.write_all(b"x").await.unwrap();
            client.read_u8().await.unwrap();
        }
        assert_eq!(passing.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed(), Duration::from_secs(50));
    }

    #[tokio::test(start_paused = true)]
    async fn age_ends_it_whatever_moves() {
        let (mut client, mut server, passing) = joined(None, Some(Duration::from_secs(3)));
        let started = Instant::now();
        tokio::spawn(async move { while server.read_u8().await.is_ok() {} });
        while client.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(passing.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() <= Duration::from_secs(4));
    }
}
