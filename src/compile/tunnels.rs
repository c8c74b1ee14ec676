//! `tunnel` of a DestinationRule: what forward proxies are asked for on behalf of `tcp` and `tls` rules.

use std::net::IpAddr;
use std::ptr;

use http::uri::Authority;

use super::path::Path;
use super::report::Report;
use super::review;
use crate::config::{Config, TunnelSettings};
use crate::request::{Tunnel, TunnelMethod};

/// What the words of a policy ask for. Validation says where they ask for nothing.
pub(crate) fn tunnel(words: &TunnelSettings) -> Option<Tunnel> {
    let TunnelSettings { protocol, target_host, target_port } = words;
    let method = if protocol == "POST" { TunnelMethod::Post } else { TunnelMethod::Connect };
    let authority = match target_host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{target_port}"),
        _ => format!("{target_host}:{target_port}"),
    };
    Some(Tunnel::new(method, Authority::try_from(authority).ok()?))
}

/// Names the tunnels that no rule leads through: those that are not among `used`.
pub(crate) fn review(config: &Config, used: &[&TunnelSettings], report: &mut Report) {
    for resource in &config.destination_rules {
        let is_idle = |tunnel: &&TunnelSettings| !used.iter().any(|used| ptr::eq(*used, *tunnel));
        let (root, rule) = (Path::root("spec"), &resource.spec);
        review::of(resource, resource.name_of("DestinationRule"), report, |review| {
            let policy = rule.traffic_policy.as_ref();
            if policy.and_then(|policy| policy.tunnel.as_ref()).is_some_and(|tunnel| is_idle(&tunnel)) {
                let why = "no `tcp` or `tls` rule leads here, and `http` rules go through no tunnel";
                review.without_effect(&root.field("trafficPolicy").field("tunnel"), why);
            }
            let list = root.field("subsets");
            for (number, subset) in rule.subsets.iter().enumerate() {
                let policy = subset.traffic_policy.as_ref();
                if policy.and_then(|policy| policy.tunnel.as_ref()).is_some_and(|tunnel| is_idle(&tunnel)) {
                    let why =
                        "no `tcp` or `tls` rule leads to this subset alone, and `http` rules go through no tunnel";
                    review.without_effect(&list.index(number).field("trafficPolicy").field("tunnel"), why);
                }
            }
        });
    }
}
