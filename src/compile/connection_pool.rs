//! `connectionPool` of a DestinationRule and the protocol of a port: how connections to a cluster are opened and kept.

use std::num::NonZeroU32;

use super::destination_rules::EffectivePolicy;
use super::limits::limit;
use super::services::PortProtocol;
use crate::config::{ConnectionKeepalive, H2UpgradePolicy, HttpSettings, ProxyProtocolVersion, TcpKeepalive, units};
use crate::options::MeshOptions;
use crate::upstream::{self, ConnectionSettings, Http2KeepAlive, Protocol, ProxyVersion};

/// What a policy says about the connections of a port; securing them is another matter.
pub(crate) fn settings(policy: EffectivePolicy<'_>, port: PortProtocol, options: &MeshOptions) -> ConnectionSettings {
    let tcp = policy.connection_pool.and_then(|pool| pool.tcp.as_ref());
    let http = policy.connection_pool.and_then(|pool| pool.http.as_ref());
    let tcp_idle = tcp.and_then(|tcp| tcp.idle_timeout?.to_std());
    let probes = tcp.and_then(|tcp| tcp.tcp_keepalive.as_ref());
    let connect_timeout = tcp.and_then(|tcp| tcp.connect_timeout?.to_std());
    ConnectionSettings {
        connect_timeout: connect_timeout.unwrap_or(options.connect_timeout),
        protocol: protocol(http, port, options),
        tls: None,
        keepalive: keepalive(probes, options.tcp_keepalive.as_ref()),
        idle_timeout: http.and_then(|http| http.idle_timeout?.to_std()).or(tcp_idle),
        max_connection_duration: tcp.and_then(|tcp| tcp.max_connection_duration?.to_std()),
        max_requests: http.and_then(|http| limit(http.max_requests_per_connection)),
        max_concurrent_streams: http.and_then(|http| limit(http.max_concurrent_streams)),
        http2_keep_alive: http.and_then(|http| http.http2_keep_alive.as_ref()).and_then(http2_keep_alive),
        proxy_protocol: policy.proxy_protocol.map(|proxy| match proxy.version {
            ProxyProtocolVersion::V1 => ProxyVersion::V1,
            ProxyProtocolVersion::V2 => ProxyVersion::V2,
        }),
    }
}

/// The client's own protocol beats an upgrade, and that beats the port's. The mesh upgrades only ports that say HTTP/1.
pub(super) fn protocol(http: Option<&HttpSettings>, port: PortProtocol, options: &MeshOptions) -> Protocol {
    let upgrade = http.map_or(H2UpgradePolicy::Default, |http| http.h2_upgrade_policy);
    match http {
        Some(http) if http.use_client_protocol => Protocol::SameAsDownstream,
        _ => match upgrade {
            H2UpgradePolicy::Upgrade => Protocol::Http2,
            H2UpgradePolicy::Default if options.h2_upgrade && port == PortProtocol::Http => Protocol::Http2,
            _ => port.upstream(),
        },
    }
}

/// Each field as the rule says it, else as the mesh does. The system counts whole seconds, and none as its own default.
fn keepalive(rule: Option<&TcpKeepalive>, mesh: Option<&TcpKeepalive>) -> Option<upstream::TcpKeepalive> {
    let (words, others) = (rule.or(mesh)?, mesh.or(rule)?);
    let seconds = |one: Option<units::Duration>, other: Option<units::Duration>| {
        let seconds = one.or(other)?.to_std()?.as_secs();
        (seconds > 0).then(|| std::time::Duration::from_secs(seconds))
    };
    Some(upstream::TcpKeepalive {
        probes: NonZeroU32::new(words.probes).or(NonZeroU32::new(others.probes)),
        time: seconds(words.time, others.time),
        interval: seconds(words.interval, others.interval),
    })
}

/// Both are needed: Istio's validation asks for them.
fn http2_keep_alive(words: &ConnectionKeepalive) -> Option<Http2KeepAlive> {
    let ConnectionKeepalive { interval, timeout } = *words;
    let (interval, timeout) = (interval?.to_std()?, timeout?.to_std()?);
    (!interval.is_zero()).then(|| Http2KeepAlive::new(interval, timeout))
}
