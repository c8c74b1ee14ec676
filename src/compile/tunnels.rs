//! `tunnel` of a DestinationRule: what forward proxies are asked for on behalf of `tcp` and `tls` rules.

use std::net::IpAddr;
use std::ptr;

use http::uri::Authority;

use super::destination_rules::{self, PolicyOf};
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
        review::of(resource, resource.name_of("DestinationRule"), report, |review| {
            destination_rules::each_policy(&resource.spec, |policy, of, path| {
                let Some(tunnel) = &policy.tunnel else { return };
                if used.iter().any(|used| ptr::eq(*used, tunnel)) {
                    return;
                }
                let why = match of {
                    PolicyOf::Host => "no `tcp` or `tls` rule leads here, and `http` rules go through no tunnel",
                    PolicyOf::Subset => {
                        "no `tcp` or `tls` rule leads to this subset alone, and `http` rules go through no tunnel"
                    }
                };
                review.without_effect(&path.field("tunnel"), why);
            });
        });
    }
}
