//! connectionPool (VD9 to VD12).

use super::{Findings, numbers};
use crate::compile::path::Path;
use crate::config::{ConnectionPoolSettings, H2UpgradePolicy, HttpSettings, TcpSettings};

/// Judges one connectionPool.
pub(crate) fn judge(pool: &ConnectionPoolSettings, path: &Path<'_>, findings: &mut Findings) {
    let ConnectionPoolSettings { tcp, http } = pool;
    if tcp.is_none() && http.is_none() {
        findings.error("VD9", path, "the connectionPool is empty").help("leave it out, or set `tcp` or `http`");
    }
    if let Some(tcp) = tcp {
        self::tcp(tcp, &path.field("tcp"), findings);
    }
    if let Some(http) = http {
        self::http(http, &path.field("http"), findings);
    }
}

fn tcp(tcp: &TcpSettings, path: &Path<'_>, findings: &mut Findings) {
    numbers::not_negative("VD10", &path.field("maxConnections"), tcp.max_connections, findings);
    numbers::duration("VD10", &path.field("connectTimeout"), tcp.connect_timeout, findings);
    numbers::duration("VD10", &path.field("maxConnectionDuration"), tcp.max_connection_duration, findings);
    numbers::duration_or_zero("VD10", &path.field("idleTimeout"), tcp.idle_timeout, findings);
    if let Some(keepalive) = &tcp.tcp_keepalive {
        let path = path.field("tcpKeepalive");
        numbers::duration("VD10", &path.field("time"), keepalive.time, findings);
        numbers::duration("VD10", &path.field("interval"), keepalive.interval, findings);
    }
}

fn http(http: &HttpSettings, path: &Path<'_>, findings: &mut Findings) {
    let limits = [
        ("http1MaxPendingRequests", http.http1_max_pending_requests),
        ("http2MaxRequests", http.http2_max_requests),
        ("maxRequestsPerConnection", http.max_requests_per_connection),
        ("maxRetries", http.max_retries),
        ("maxConcurrentStreams", http.max_concurrent_streams),
    ];
    for (name, limit) in limits {
        numbers::not_negative("VD10", &path.field(name), limit, findings);
    }
    numbers::duration("VD10", &path.field("idleTimeout"), http.idle_timeout, findings);
    if http.h2_upgrade_policy == H2UpgradePolicy::Upgrade && http.use_client_protocol {
        let message = "`useClientProtocol` and `h2UpgradePolicy: UPGRADE` contradict each other";
        findings.error("VD11", &path.field("useClientProtocol"), message);
    }
    if let Some(keepalive) = &http.http2_keep_alive {
        let path = path.field("http2KeepAlive");
        for (name, value) in [("interval", keepalive.interval), ("timeout", keepalive.timeout)] {
            if value.is_none() {
                findings.error("VD12", &path, format!("http2KeepAlive needs `{name}`"));
            }
            numbers::duration("VD12", &path.field(name), value, findings);
        }
    }
}
