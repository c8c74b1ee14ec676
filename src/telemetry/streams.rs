//! Istio's metrics of TCP: of connections whose bytes are passed on.

use metrics::{Counter, Label};

use super::kind::ClusterMetrics;

/// No flag.
pub(super) const FLAWLESS: &str = "-";

/// The counters of a cluster's connections that have the same flags.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    opened: Counter,
    closed: Counter,
    received: Counter,
    sent: Counter,
}

impl Connections {
    pub(super) fn new(mut labels: Vec<Label>, flags: &'static str) -> Self {
        labels.push(Label::from_static_parts("request_protocol", "tcp"));
        labels.push(Label::from_static_parts("response_flags", flags));
        Self {
            opened: metrics::counter!("istio_tcp_connections_opened_total", labels.clone()),
            closed: metrics::counter!("istio_tcp_connections_closed_total", labels.clone()),
            received: metrics::counter!("istio_tcp_received_bytes_total", labels.clone()),
            sent: metrics::counter!("istio_tcp_sent_bytes_total", labels),
        }
    }
}

/// A connection that is counted: its bytes as they move, its end when this is dropped.
///
/// By default, and where nobody counts, it holds nothing.
#[derive(Debug, Default)]
pub(crate) struct StreamRecord {
    heard: Option<Connections>,
}

impl StreamRecord {
    /// A connection whose upstream stands.
    pub(crate) fn new(metrics: &ClusterMetrics) -> Self {
        Self::flagged(metrics, FLAWLESS)
    }

    /// A connection that ends as it begins, for what these flags say in Envoy's letters and order.
    pub(crate) fn refused(metrics: &ClusterMetrics, flags: &'static str) {
        drop(Self::flagged(metrics, flags));
    }

    fn flagged(metrics: &ClusterMetrics, flags: &'static str) -> Self {
        let heard = metrics.connections(flags);
        if let Some(connections) = &heard {
            connections.opened.increment(1);
        }
        Self { heard }
    }

    /// The client has sent so many bytes.
    pub(crate) fn received(&self, bytes: usize) {
        if let Some(connections) = &self.heard {
            connections.received.increment(bytes as u64);
        }
    }

    /// The client was sent so many bytes.
    pub(crate) fn sent(&self, bytes: usize) {
        if let Some(connections) = &self.heard {
            connections.sent.increment(bytes as u64);
        }
    }
}

impl Drop for StreamRecord {
    fn drop(&mut self) {
        if let Some(connections) = &self.heard {
            connections.closed.increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::upstream::ClusterKey;

    #[test]
    fn where_nobody_counts_nothing_is_held() {
        let metrics = || ClusterMetrics::new(&ClusterKey::new("a", "", 80), "a", "default");
        assert!(StreamRecord::new(&metrics()).heard.is_none());
        let recorder = PrometheusBuilder::new().build_recorder();
        let heard = || StreamRecord::new(&metrics()).heard.is_some();
        assert!(metrics::with_local_recorder(&recorder, heard));
    }
}
