//! `loadBalancer` of a DestinationRule: how an endpoint is chosen.
//!
//! ```
//! use mesh_router::config::{ConsistentHashLb, LoadBalancerSettings};
//!
//! let by_user = ConsistentHashLb { http_header_name: Some("x-user".into()), ..ConsistentHashLb::default() };
//! let settings = LoadBalancerSettings { consistent_hash: Some(by_user), ..LoadBalancerSettings::default() };
//! assert!(settings.simple.is_none());
//! ```

use std::collections::BTreeMap;

use super::message::{enumeration, message};
use super::units::Duration;

message! {
    /// How an endpoint is chosen.
    pub struct LoadBalancerSettings {
        /// By a simple policy. At most one of it and `consistentHash`.
        pub simple: Option<SimpleLb> = "simple",
        /// By a hash of the request.
        pub consistent_hash: Option<ConsistentHashLb> = "consistentHash" | "consistent_hash",
        /// How localities are preferred.
        pub locality_lb_setting: Option<LocalityLoadBalancerSetting> = "localityLbSetting" | "locality_lb_setting",
        /// How zones are preferred.
        pub zone_aware_lb_setting: Option<ZoneAwareLoadBalancerSetting> =
            "zoneAwareLbSetting" | "zone_aware_lb_setting",
        /// How long a new endpoint gets less than its share. Deprecated for `warmup`.
        pub warmup_duration_secs: Option<Duration> = "warmupDurationSecs" | "warmup_duration_secs",
        /// How a new endpoint gets less than its share.
        pub warmup: Option<WarmupConfiguration> = "warmup",
    }
}

enumeration! {
    /// A simple policy.
    pub enum SimpleLb {
        /// As `LeastRequest`.
        Unspecified = "UNSPECIFIED",
        /// The old name of `LeastRequest`.
        LeastConn = "LEAST_CONN",
        /// Any of them.
        Random = "RANDOM",
        /// The address that the client dialed.
        Passthrough = "PASSTHROUGH",
        /// One after the other.
        RoundRobin = "ROUND_ROBIN",
        /// The less busy one of two drawn at random.
        LeastRequest = "LEAST_REQUEST",
    }
}

message! {
    /// A choice by a hash of the request: at most one key and at most one algorithm.
    pub struct ConsistentHashLb {
        /// The key is this header.
        pub http_header_name: Option<String> = "httpHeaderName" | "http_header_name",
        /// The key is this cookie.
        pub http_cookie: Option<HttpCookie> = "httpCookie" | "http_cookie",
        /// The key is the client's address. False: no key.
        pub use_source_ip: Option<bool> = "useSourceIp" | "use_source_ip",
        /// The key is this query parameter.
        pub http_query_parameter_name: Option<String> = "httpQueryParameterName" | "http_query_parameter_name",
        /// The algorithm is a ring of hashes, which is the default.
        pub ring_hash: Option<RingHash> = "ringHash" | "ring_hash",
        /// The algorithm is Maglev.
        pub maglev: Option<MagLev> = "maglev",
        /// The size of the ring. Deprecated for `ringHash`.
        pub minimum_ring_size: u64 = "minimumRingSize" | "minimum_ring_size",
    }
}

message! {
    /// A ring of hashes.
    pub struct RingHash {
        /// It has at least so many points. 0: 1024.
        pub minimum_ring_size: u64 = "minimumRingSize" | "minimum_ring_size",
    }
}

message! {
    /// A Maglev table.
    pub struct MagLev {
        /// Its size, a prime number below 5000011. Required.
        pub table_size: u64 = "tableSize" | "table_size",
    }
}

message! {
    /// A cookie as the key.
    pub struct HttpCookie {
        /// Its name. Required.
        pub name: String = "name",
        /// Its path, where it is made.
        pub path: String = "path",
        /// How long it lives. Unset: none is made; zero: as long as the session.
        pub ttl: Option<Duration> = "ttl",
        /// Further attributes, where it is made.
        pub attributes: Vec<HttpCookieAttribute> = "attributes",
    }
}

message! {
    /// An attribute of a cookie.
    pub struct HttpCookieAttribute {
        /// Its name. Required.
        pub name: String = "name",
        /// Its value.
        pub value: String = "value",
    }
}

message! {
    /// How a new endpoint gets less than its share.
    pub struct WarmupConfiguration {
        /// For how long. Required.
        pub duration: Option<Duration> = "duration",
        /// The share that it begins with, in percent. Unset: 10.
        pub minimum_percent: Option<f64> = "minimumPercent" | "minimum_percent",
        /// How the share grows: 1 is evenly. Unset: 1.
        pub aggression: Option<f64> = "aggression",
    }
}

message! {
    /// How localities are preferred.
    pub struct LocalityLoadBalancerSetting {
        /// Shares for each locality. At most one of it and `failover`.
        pub distribute: Vec<Distribute> = "distribute",
        /// The region that takes over from another.
        pub failover: Vec<Failover> = "failover",
        /// Labels in which endpoints should be like the client, in this order.
        pub failover_priority: Vec<String> = "failoverPriority" | "failover_priority",
        /// Whether localities matter. Unset: as the mesh says, which is true.
        pub enabled: Option<bool> = "enabled",
    }
}

message! {
    /// Shares for the clients of one locality.
    pub struct Distribute {
        /// The locality of the clients, `region/zone/subzone`.
        pub from: String = "from",
        /// The share of each locality, in percent.
        pub to: BTreeMap<String, u32> = "to",
    }
}

message! {
    /// The region that takes over.
    pub struct Failover {
        /// From this region.
        pub from: String = "from",
        /// The region that takes over.
        pub to: String = "to",
    }
}

message! {
    /// How zones are preferred.
    pub struct ZoneAwareLoadBalancerSetting {
        /// Whether zones matter.
        pub enabled: Option<bool> = "enabled",
        /// The region that takes over from another.
        pub failover: Vec<ZoneAwareFailover> = "failover",
        /// Labels in which endpoints should be like the client, in this order.
        pub failover_priority: Vec<String> = "failoverPriority" | "failover_priority",
        /// With fewer endpoints zones do not matter. Not honored.
        pub min_cluster_size: Option<u64> = "minClusterSize" | "min_cluster_size",
    }
}

message! {
    /// The region that takes over (of [`ZoneAwareLoadBalancerSetting`]).
    pub struct ZoneAwareFailover {
        /// From this region.
        pub from: String = "from",
        /// The region that takes over.
        pub to: String = "to",
    }
}
