//! Istio's standard metrics.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, StatusCode};
use metrics::{Counter, Histogram, IntoF64, Label};
use tokio::time::Instant;

use super::flags::ResponseFlags;
use super::grpc::Grpc;
use super::labels::{SERVICE, UNKNOWN, destination, receiver, service, source, unknown_source};
#[cfg(feature = "gateway")]
use super::streams::{Connections, FLAWLESS};
use crate::options::Workload;
use crate::outcome::grpc_status;
use crate::upstream::ClusterKey;

/// The statuses whose handles are kept, while no flag is set.
const COMMON: [u16; 16] = [200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 429, 500, 503, 504];

/// The metrics of one cluster: a handle, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ClusterMetrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: Vec<Label>,
    destination: Vec<Label>,
    /// Whether anybody counts, as the first request found.
    heard: OnceLock<bool>,
    http: [OnceLock<Handles>; COMMON.len()],
    grpc_ok: OnceLock<Handles>,
    #[cfg(feature = "gateway")]
    connections: OnceLock<Connections>,
    /// What is counted by the workload that serves it.
    received: OnceLock<ClusterMetrics>,
}

#[derive(Debug)]
struct Handles {
    requests: Counter,
    duration: Histogram,
}

impl ClusterMetrics {
    /// The metrics of the cluster `key` of a service that has this name in this namespace, called by a workload that is
    /// not known.
    pub(crate) fn new(key: &ClusterKey, name: &str, namespace: &str) -> Self {
        Self::made_of(source(&BTreeMap::new(), UNKNOWN), destination(&key.host, name, namespace))
    }

    /// The same, called by `workload`.
    #[must_use]
    pub(crate) fn with_source(self, workload: &Workload) -> Self {
        let destination = self.inner.destination.clone();
        Self::made_of(source(&workload.labels, &workload.namespace), destination)
    }

    fn made_of(source: Vec<Label>, destination: Vec<Label>) -> Self {
        let inner = Inner {
            source,
            destination,
            heard: OnceLock::new(),
            http: Default::default(),
            grpc_ok: OnceLock::new(),
            #[cfg(feature = "gateway")]
            connections: OnceLock::new(),
            received: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The same cluster as `workload` counts it, which serves it itself; one workload asks.
    fn received_by(&self, workload: &Workload) -> &Self {
        self.inner.received.get_or_init(|| {
            let service = self.inner.destination.iter().filter(|label| SERVICE.contains(&label.key())).cloned();
            Self::made_of(unknown_source(), [receiver(workload), service.collect()].concat())
        })
    }

    /// The counters of its connections with these flags, if anybody counts.
    #[cfg(feature = "gateway")]
    pub(super) fn connections(&self, flags: &'static str) -> Option<Connections> {
        let make = || Connections::new(self.inner.labels(), flags);
        self.inner.is_heard().then(|| match flags {
            FLAWLESS => self.inner.connections.get_or_init(make).clone(),
            _ => make(),
        })
    }
}

impl Inner {
    fn is_heard(&self) -> bool {
        *self.heard.get_or_init(|| self.asks_recorder())
    }

    /// Whether there is a recorder. That of `metrics` for want of one has no size; neither may another, but what is
    /// registered with it wants values.
    #[cold]
    fn asks_recorder(&self) -> bool {
        let answered = Seen { code: 200, flags: ResponseFlags::NONE, grpc: Grpc::No };
        metrics::with_recorder(|recorder| size_of_val(recorder) > 0) || self.handles(answered).wants_values()
    }

    fn record(&self, seen: Seen, started: Instant) {
        let milliseconds = started.elapsed().as_secs_f64() * 1e3;
        let make = || self.handles(seen);
        match self.kept(seen) {
            Some(slot) => slot.get_or_init(make).record(milliseconds),
            None => make().record(milliseconds),
        }
    }

    fn kept(&self, seen: Seen) -> Option<&OnceLock<Handles>> {
        if !seen.flags.is_empty() {
            return None;
        }
        match seen.grpc {
            Grpc::No => COMMON.iter().position(|&code| code == seen.code).map(|at| &self.http[at]),
            Grpc::Status(0) if seen.code == 200 => Some(&self.grpc_ok),
            _ => None,
        }
    }

    fn labels(&self) -> Vec<Label> {
        [&*self.source, &*self.destination].concat()
    }

    fn handles(&self, seen: Seen) -> Handles {
        let protocol = if seen.grpc == Grpc::No { "http" } else { "grpc" };
        let mut labels = self.labels();
        labels.push(Label::from_static_parts("request_protocol", protocol));
        labels.push(Label::new("response_code", seen.code.to_string()));
        labels.push(Label::new("grpc_response_status", seen.grpc.label(seen.code)));
        labels.push(Label::new("response_flags", seen.flags.to_string()));
        Handles {
            requests: metrics::counter!("istio_requests_total", labels.clone()),
            duration: metrics::histogram!("istio_request_duration_milliseconds", labels),
        }
    }
}

impl Handles {
    fn record(&self, milliseconds: f64) {
        self.requests.increment(1);
        self.duration.record(milliseconds);
    }

    /// Whether a value would be looked at; none is counted.
    fn wants_values(&self) -> bool {
        struct Wanted<'a>(&'a Cell<bool>);
        impl IntoF64 for Wanted<'_> {
            fn into_f64(self) -> f64 {
                self.0.set(true);
                0.0
            }
        }
        let wanted = Cell::new(false);
        self.duration.record_many(Wanted(&wanted), 0);
        wanted.get()
    }
}

/// The metrics of requests without a cluster, under the names Istio gives their destinations.
#[derive(Clone, Debug)]
pub(crate) struct MeshMetrics {
    pub(crate) pass_through: ClusterMetrics,
    pub(crate) black_hole: ClusterMetrics,
    pub(crate) no_route: ClusterMetrics,
    /// Who serves the requests; `None`: they are sent.
    receiver: Option<Arc<Workload>>,
}

impl MeshMetrics {
    /// The metrics of requests of `workload`.
    pub(crate) fn new(workload: &Workload) -> Self {
        let source = source(&workload.labels, &workload.namespace);
        let to = |name| ClusterMetrics::made_of(source.clone(), destination(UNKNOWN, name, UNKNOWN));
        Self {
            pass_through: to("PassthroughCluster"),
            black_hole: to("BlackHoleCluster"),
            no_route: to(UNKNOWN),
            receiver: None,
        }
    }

    /// The metrics of requests that `workload` serves, as Istio's server proxy reports them.
    pub(crate) fn received(workload: &Workload) -> Self {
        let to = |name| {
            let service = service(UNKNOWN, name, UNKNOWN);
            ClusterMetrics::made_of(unknown_source(), [receiver(workload), service].concat())
        };
        Self {
            pass_through: to("InboundPassthroughCluster"),
            black_hole: to("BlackHoleCluster"),
            no_route: to(UNKNOWN),
            receiver: Some(Arc::new(workload.clone())),
        }
    }

    /// Under what a request for `cluster` is counted.
    pub(crate) fn of<'a>(&self, cluster: &'a ClusterMetrics) -> &'a ClusterMetrics {
        self.receiver.as_deref().map_or(cluster, |workload| cluster.received_by(workload))
    }
}

/// What will be counted when a request has ended: it counts itself when it is dropped.
///
/// Where nobody counts it looks at no clock and holds nothing.
#[derive(Debug)]
pub(crate) struct RequestRecord {
    heard: Option<(ClusterMetrics, Instant)>,
    seen: Seen,
}

/// What a request is counted under, its cluster aside.
#[derive(Clone, Copy, Debug)]
struct Seen {
    code: u16,
    flags: ResponseFlags,
    grpc: Grpc,
}

impl RequestRecord {
    /// A request that begins now. Unless it is answered it ends as one whose client went away.
    pub(crate) fn new(metrics: &ClusterMetrics, grpc: bool) -> Self {
        let grpc = if grpc { Grpc::Unsaid } else { Grpc::No };
        Self {
            heard: metrics.inner.is_heard().then(|| (metrics.clone(), Instant::now())),
            seen: Seen { code: 0, flags: ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION, grpc },
        }
    }

    /// When it began, if it is counted.
    pub(crate) fn started(&self) -> Option<Instant> {
        self.heard.as_ref().map(|(_, started)| *started)
    }

    pub(crate) fn answered(&mut self, status: StatusCode, flags: ResponseFlags) {
        self.seen.code = status.as_u16();
        self.seen.flags = flags;
    }

    /// It failed, and nobody answers: it is counted as the answer that says so would be, which for gRPC is one of gRPC.
    pub(crate) fn failed(&mut self, status: StatusCode, flags: ResponseFlags) {
        self.answered(status, flags);
        if self.seen.grpc != Grpc::No {
            (self.seen.code, self.seen.grpc) = (200, Grpc::Status(grpc_status(status)));
        }
    }

    /// These say something more of it, as that its body was cut off.
    pub(crate) fn add_flags(&mut self, flags: ResponseFlags) {
        self.seen.flags |= flags;
    }

    /// Takes the gRPC status from trailers, or from the head of a response without any.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        if self.seen.grpc != Grpc::No
            && let Some(said) = Grpc::said(trailers)
        {
            self.seen.grpc = said;
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if let Some((metrics, started)) = &self.heard {
            metrics.inner.record(self.seen, *started);
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn lines(requests: impl FnOnce(&ClusterMetrics)) -> Vec<String> {
        let recorder = PrometheusBuilder::new().build_recorder();
        let key = ClusterKey::new("reviews.bookinfo.svc.cluster.local", "v1", 9080);
        metrics::with_local_recorder(&recorder, || {
            requests(&ClusterMetrics::new(&key, "reviews", "bookinfo").with_source(&Workload::default()))
        });
        let text = recorder.handle().render();
        text.lines().filter(|line| line.starts_with("istio_requests_total")).map(str::to_owned).collect()
    }

    #[test]
    fn an_answer_is_counted_once_when_the_record_ends() {
        let lines = lines(|metrics| {
            for _ in 0..3 {
                let mut record = RequestRecord::new(metrics, false);
                record.answered(StatusCode::OK, ResponseFlags::NONE);
            }
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in [
            r#"reporter="source""#,
            r#"destination_service="reviews.bookinfo.svc.cluster.local""#,
            r#"destination_service_name="reviews""#,
            r#"destination_service_namespace="bookinfo""#,
            r#"request_protocol="http""#,
            r#"response_code="200""#,
            r#"response_flags="-""#,
        ] {
            assert!(lines[0].contains(part), "{part} in {}", lines[0]);
        }
        assert!(lines[0].ends_with(" 3"));
    }

    #[test]
    fn a_request_that_was_given_up_is_counted_as_such() {
        let lines = lines(|metrics| drop(RequestRecord::new(metrics, false)));
        assert!(lines[0].contains(r#"response_code="0""#) && lines[0].contains(r#"response_flags="DC""#), "{lines:?}");
    }

    #[test]
    fn the_status_of_grpc_is_in_the_trailers() {
        let lines = lines(|metrics| {
            for status in ["0", "5"] {
                let mut record = RequestRecord::new(metrics, true);
                record.answered(StatusCode::OK, ResponseFlags::NONE);
                record.trailers(&HeaderMap::from_iter([(
                    http::HeaderName::from_static("grpc-status"),
                    http::HeaderValue::from_static(status),
                )]));
            }
        });
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().any(|line| line.contains(r#"grpc_response_status="5""#)), "{lines:?}");
    }

    #[test]
    fn where_nobody_counts_nothing_is_held() {
        let metrics = ClusterMetrics::new(&ClusterKey::new("a", "", 80), "a", "default");
        assert!(RequestRecord::new(&metrics, false).heard.is_none());
        let metrics = ClusterMetrics::new(&ClusterKey::new("a", "", 80), "a", "default");
        let recorder = PrometheusBuilder::new().build_recorder();
        let heard = || RequestRecord::new(&metrics, false).heard.is_some();
        assert!(metrics::with_local_recorder(&recorder, heard));
    }

    /// A recorder without size, which keeps what it is told where it can.
    struct Sizeless;

    thread_local! {
        static TOLD: std::cell::RefCell<Vec<f64>> = const { std::cell::RefCell::new(Vec::new()) };
    }

    impl metrics::HistogramFn for Sizeless {
        fn record(&self, value: f64) {
            TOLD.with_borrow_mut(|told| told.push(value));
        }
    }

    impl metrics::Recorder for Sizeless {
        fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
        fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
        fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
        fn register_counter(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> Counter {
            Counter::noop()
        }
        fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
            metrics::Gauge::noop()
        }
        fn register_histogram(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> Histogram {
            Histogram::from_arc(Arc::new(Self))
        }
    }

    #[test]
    fn a_recorder_without_size_is_heard_and_asking_tells_it_nothing() {
        let metrics = ClusterMetrics::new(&ClusterKey::new("a", "", 80), "a", "default");
        metrics::with_local_recorder(&Sizeless, || {
            let record = RequestRecord::new(&metrics, false);
            assert!(TOLD.with_borrow(Vec::is_empty));
            drop(record);
        });
        assert_eq!(TOLD.with_borrow(Vec::len), 1);
    }
}
