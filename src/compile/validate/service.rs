//! Kubernetes' Service (VK1 to VK4): ports that the API server refuses, and other names of nothing.

use std::collections::HashSet;

use super::{Findings, numbers};
use crate::compile::path::Path;
use crate::config::{Resource, Service, ServicePort, TargetPort};

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Judges one Service.
pub(crate) fn service(resource: &Resource<Service>, findings: &mut Findings) {
    findings.about("Service", resource, |findings| {
        let (root, mut known) = (Path::root("spec"), HashSet::new());
        if resource.spec.service_type == "ExternalName" && resource.spec.external_name.is_empty() {
            findings.error("VK4", &root, "the type ExternalName needs an `externalName`");
        }
        for (index, port) in resource.spec.ports.iter().enumerate() {
            let ServicePort { name: _, port: number, target_port, protocol, app_protocol: _ } = port;
            let path = root.item("ports", index);
            let named = PROTOCOLS.iter().position(|name| protocol.eq_ignore_ascii_case(name));
            if named.is_none() && !protocol.is_empty() {
                let help = format!("one of {}; what is spoken over TCP is `appProtocol`", PROTOCOLS.join(", "));
                findings
                    .error("VK1", &path.field("protocol"), format!("the protocol `{protocol}` is unknown"))
                    .help(help);
            }
            numbers::port("VK2", &path.field("port"), *number, findings);
            if let Some(TargetPort::Number(target)) = target_port {
                numbers::port_or_unset("VK2", &path.field("targetPort"), *target, findings);
            }
            if !known.insert((number, named.unwrap_or_default())) {
                findings.error("VK3", &path.field("port"), format!("duplicate port {number}"));
            }
        }
    });
}
