//! DestinationRule: how requests to a service are balanced, limited and secured, and which subsets it has.
//!
//! ```
//! use mesh_router::config::{DestinationRule, LoadBalancerSettings, SimpleLb, TrafficPolicy};
//!
//! let balancer = LoadBalancerSettings { simple: Some(SimpleLb::RoundRobin), ..LoadBalancerSettings::default() };
//! let policy = TrafficPolicy { load_balancer: Some(balancer), ..TrafficPolicy::default() };
//! let spec =
//!     DestinationRule { host: "reviews".into(), traffic_policy: Some(policy), ..DestinationRule::default() };
//! assert!(spec.subsets.is_empty());
//! ```

use std::collections::BTreeMap;

use super::load_balancer::LoadBalancerSettings;
use super::message::{enumeration, message};
use super::parts::PortSelector;
use super::units::Duration;

message! {
    /// The `spec` of a DestinationRule.
    pub struct DestinationRule {
        /// The service: a short name, a full name or a wildcard. Required.
        pub host: String = "host",
        /// How all of its endpoints are used.
        pub traffic_policy: Option<TrafficPolicy> = "trafficPolicy" | "traffic_policy",
        /// Named parts of its endpoints.
        pub subsets: Vec<Subset> = "subsets",
        /// The namespaces it is visible in: `*`, `.` or names. Empty: the mesh's default, which is `*`.
        pub export_to: Vec<String> = "exportTo" | "export_to",
        /// The clients that it holds for. Unset: all.
        pub workload_selector: Option<DestinationWorkloadSelector> = "workloadSelector" | "workload_selector",
    }
}

message! {
    /// The clients that a DestinationRule holds for (`istio.type.v1beta1.WorkloadSelector`).
    pub struct DestinationWorkloadSelector {
        /// Labels that the client must have.
        pub match_labels: BTreeMap<String, String> = "matchLabels" | "match_labels",
    }
}

message! {
    /// How endpoints are used.
    pub struct TrafficPolicy {
        /// How one is chosen.
        pub load_balancer: Option<LoadBalancerSettings> = "loadBalancer" | "load_balancer",
        /// Limits on connections and requests.
        pub connection_pool: Option<ConnectionPoolSettings> = "connectionPool" | "connection_pool",
        /// When a failing one is left out for a while. Unset: never.
        pub outlier_detection: Option<OutlierDetection> = "outlierDetection" | "outlier_detection",
        /// How connections are secured. Unset: as the mesh does by itself.
        pub tls: Option<ClientTlsSettings> = "tls",
        /// Other settings for some ports; nothing is inherited there.
        pub port_level_settings: Vec<PortTrafficPolicy> = "portLevelSettings" | "port_level_settings",
        /// Tunnels TCP and TLS in CONNECT or POST requests.
        pub tunnel: Option<TunnelSettings> = "tunnel",
        /// Sends a PROXY header first.
        pub proxy_protocol: Option<ProxyProtocol> = "proxyProtocol" | "proxy_protocol",
        /// How many of the requests in flight may be further tries.
        pub retry_budget: Option<RetryBudget> = "retryBudget" | "retry_budget",
    }
}

message! {
    /// How endpoints are used on one port.
    pub struct PortTrafficPolicy {
        /// The port of the service.
        pub port: Option<PortSelector> = "port",
        /// How an endpoint is chosen.
        pub load_balancer: Option<LoadBalancerSettings> = "loadBalancer" | "load_balancer",
        /// Limits on connections and requests.
        pub connection_pool: Option<ConnectionPoolSettings> = "connectionPool" | "connection_pool",
        /// When a failing endpoint is left out for a while.
        pub outlier_detection: Option<OutlierDetection> = "outlierDetection" | "outlier_detection",
        /// How connections are secured.
        pub tls: Option<ClientTlsSettings> = "tls",
    }
}

message! {
    /// A tunnel for TCP and TLS.
    pub struct TunnelSettings {
        /// `CONNECT` or `POST`. Empty: `CONNECT`.
        pub protocol: String = "protocol",
        /// The host that the tunnel leads to. Required.
        pub target_host: String = "targetHost" | "target_host",
        /// The port that the tunnel leads to. Required.
        pub target_port: u32 = "targetPort" | "target_port",
    }
}

message! {
    /// The PROXY header that is sent first.
    pub struct ProxyProtocol {
        /// Its version.
        pub version: ProxyProtocolVersion = "version",
    }
}

enumeration! {
    /// The version of the PROXY header.
    pub enum ProxyProtocolVersion {
        /// The textual one.
        V1 = "V1",
        /// The binary one.
        V2 = "V2",
    }
}

message! {
    /// How many of the requests in flight may be further tries.
    pub struct RetryBudget {
        /// The share in percent. Unset: 20.
        pub percent: Option<f64> = "percent",
        /// So many always may. 0: 3.
        pub min_retry_concurrency: u32 = "minRetryConcurrency" | "min_retry_concurrency",
        /// The time over which requests are counted. Unset or zero: those in flight now.
        pub budget_interval: Option<Duration> = "budgetInterval" | "budget_interval",
    }
}

message! {
    /// A named part of a service's endpoints.
    pub struct Subset {
        /// The name, a DNS label. Required.
        pub name: String = "name",
        /// Labels that an endpoint must have. Empty: all endpoints.
        pub labels: BTreeMap<String, String> = "labels",
        /// How its endpoints are used, in place of the rule's settings one by one.
        pub traffic_policy: Option<TrafficPolicy> = "trafficPolicy" | "traffic_policy",
    }
}

message! {
    /// Limits on connections and requests, for each client.
    pub struct ConnectionPoolSettings {
        /// For TCP and HTTP.
        pub tcp: Option<TcpSettings> = "tcp",
        /// For HTTP.
        pub http: Option<HttpSettings> = "http",
    }
}

message! {
    /// Settings of connections.
    pub struct TcpSettings {
        /// The most connections. 0: without limit.
        pub max_connections: i32 = "maxConnections" | "max_connections",
        /// How long opening one may take. Unset: as the mesh says, 10 s if it does not.
        pub connect_timeout: Option<Duration> = "connectTimeout" | "connect_timeout",
        /// Keep-alive of the operating system. Unset: as the mesh says, off if it does not.
        pub tcp_keepalive: Option<TcpKeepalive> = "tcpKeepalive" | "tcp_keepalive",
        /// How long one may live. Unset: without limit.
        pub max_connection_duration: Option<Duration> = "maxConnectionDuration" | "max_connection_duration",
        /// How long one may be idle. Unset: 1 h; zero: without limit.
        pub idle_timeout: Option<Duration> = "idleTimeout" | "idle_timeout",
    }
}

message! {
    /// Keep-alive of the operating system; what is unset is as the mesh says, else as the system does.
    pub struct TcpKeepalive {
        /// So many unanswered probes end a connection.
        pub probes: u32 = "probes",
        /// How long a connection is idle before the first.
        pub time: Option<Duration> = "time",
        /// How long after one the next comes.
        pub interval: Option<Duration> = "interval",
    }
}

message! {
    /// Settings of HTTP.
    pub struct HttpSettings {
        /// The most requests that wait for a connection, in HTTP/2 too. 0: without limit.
        pub http1_max_pending_requests: i32 = "http1MaxPendingRequests" | "http1_max_pending_requests",
        /// The most requests in flight, in HTTP/1 too. 0: without limit.
        pub http2_max_requests: i32 = "http2MaxRequests" | "http2_max_requests",
        /// The most requests on one connection. 0: without limit.
        pub max_requests_per_connection: i32 = "maxRequestsPerConnection" | "max_requests_per_connection",
        /// The most further tries in flight. 0: without limit.
        pub max_retries: i32 = "maxRetries" | "max_retries",
        /// How long a connection may be idle. Unset: that of `tcp`, which is 1 h.
        pub idle_timeout: Option<Duration> = "idleTimeout" | "idle_timeout",
        /// Whether HTTP/2 is spoken where the port says HTTP/1.
        pub h2_upgrade_policy: H2UpgradePolicy = "h2UpgradePolicy" | "h2_upgrade_policy",
        /// Whether the version is spoken that the client speaks. Default: false.
        pub use_client_protocol: bool = "useClientProtocol" | "use_client_protocol",
        /// The most requests in flight on one HTTP/2 connection. 0: Envoy's default.
        pub max_concurrent_streams: i32 = "maxConcurrentStreams" | "max_concurrent_streams",
        /// Keep-alive by PING frames of HTTP/2. Unset: off.
        pub http2_keep_alive: Option<ConnectionKeepalive> = "http2KeepAlive" | "http2_keep_alive",
    }
}

enumeration! {
    /// Whether HTTP/2 is spoken where the port says HTTP/1.
    pub enum H2UpgradePolicy {
        /// As the mesh says: no, if it does not.
        Default = "DEFAULT",
        /// No.
        DoNotUpgrade = "DO_NOT_UPGRADE",
        /// Yes.
        Upgrade = "UPGRADE",
    }
}

message! {
    /// Keep-alive by PING frames.
    pub struct ConnectionKeepalive {
        /// How long after one the next is sent.
        pub interval: Option<Duration> = "interval",
        /// How long its answer may take.
        pub timeout: Option<Duration> = "timeout",
    }
}

message! {
    /// When a failing endpoint is left out for a while.
    pub struct OutlierDetection {
        /// Ignored. Deprecated for `consecutive5xxErrors`.
        pub consecutive_errors: i32 = "consecutiveErrors" | "consecutive_errors",
        /// Whether failures to connect are counted apart from error responses. Default: false.
        pub split_external_local_origin_errors: bool =
            "splitExternalLocalOriginErrors" | "split_external_local_origin_errors",
        /// So many failures to connect in a row, where they are counted apart. Unset: 5.
        pub consecutive_local_origin_failures: Option<u32> =
            "consecutiveLocalOriginFailures" | "consecutive_local_origin_failures",
        /// So many 502, 503 or 504 in a row. Unset or 0: off.
        pub consecutive_gateway_errors: Option<u32> = "consecutiveGatewayErrors" | "consecutive_gateway_errors",
        /// So many 5xx in a row. Unset: 5; 0: off.
        pub consecutive_5xx_errors: Option<u32> = "consecutive5xxErrors" | "consecutive_5xx_errors",
        /// How often endpoints are let back in. Unset: 10 s.
        pub interval: Option<Duration> = "interval",
        /// How long an endpoint is left out for the first time. Unset: 30 s.
        pub base_ejection_time: Option<Duration> = "baseEjectionTime" | "base_ejection_time",
        /// The largest share of the endpoints that may be left out, in percent. 0: 10.
        pub max_ejection_percent: i32 = "maxEjectionPercent" | "max_ejection_percent",
        /// Below this share of healthy endpoints, in percent, all are used. Default: 0, never.
        pub min_health_percent: i32 = "minHealthPercent" | "min_health_percent",
        /// The status codes that are errors. Empty: 500 to 599.
        pub outlier_detection_http_error_codes: Vec<u32> =
            "outlierDetectionHttpErrorCodes" | "outlier_detection_http_error_codes",
    }
}

message! {
    /// How connections to the endpoints are secured.
    pub struct ClientTlsSettings {
        /// Whether and how.
        pub mode: ClientTlsMode = "mode",
        /// The file with the client's certificate, for `MUTUAL`.
        pub client_certificate: String = "clientCertificate" | "client_certificate",
        /// The file with its key, for `MUTUAL`.
        pub private_key: String = "privateKey" | "private_key",
        /// The file with the authorities that servers are verified against. Empty: the system's.
        pub ca_certificates: String = "caCertificates" | "ca_certificates",
        /// The Secret with certificate, key and authorities, in place of files.
        pub credential_name: String = "credentialName" | "credential_name",
        /// The names of which a server must have one. Empty: the service's, or the requested host.
        pub subject_alt_names: Vec<String> = "subjectAltNames" | "subject_alt_names",
        /// The server name that is asked for. Empty: the requested host.
        pub sni: String = "sni",
        /// Whether any server is taken. Unset: false.
        pub insecure_skip_verify: Option<bool> = "insecureSkipVerify" | "insecure_skip_verify",
        /// The file with revoked certificates.
        pub ca_crl: String = "caCrl" | "ca_crl",
    }
}

enumeration! {
    /// Whether and how connections to the endpoints are secured.
    pub enum ClientTlsMode {
        /// Not.
        Disable = "DISABLE",
        /// By TLS.
        Simple = "SIMPLE",
        /// By TLS with a certificate of the client.
        Mutual = "MUTUAL",
        /// By TLS with the mesh's certificates.
        IstioMutual = "ISTIO_MUTUAL",
    }
}
