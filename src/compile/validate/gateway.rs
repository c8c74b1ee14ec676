//! Gateway: its servers, their ports, hosts and addresses (VG1 to VG12).

use std::collections::HashSet;

use super::{Findings, addresses, metadata, names, numbers, server_tls};
use crate::compile::path::Path;
use crate::compile::services::PortProtocol;
use crate::config::{Gateway, Resource, Server, ServerPort, ServerTlsMode, ServerTlsSettings};

/// Judges one Gateway.
pub(crate) fn gateway(resource: &Resource<Gateway>, findings: &mut Findings) {
    findings.about("Gateway", resource, |findings| {
        metadata(&resource.meta, findings);
        let path = Path::root("spec");
        let name = &resource.meta.name;
        if !names::is_dns_label(name) {
            let root = Path::root("metadata");
            findings.error("VG1", &root.field("name"), names::bad_dns_label(name, "a Gateway"));
        }
        let servers = &resource.spec.servers;
        if servers.is_empty() {
            findings.error("VG2", &path, "a Gateway needs a server");
        }
        let mut seen = HashSet::new();
        for (index, server) in servers.iter().enumerate() {
            let path = path.item("servers", index);
            self::server(server, &path, findings);
            let name = server.port.as_ref().map(|port| port.name.as_str()).filter(|name| !name.is_empty());
            if let Some(name) = name.filter(|name| !seen.insert(*name)) {
                let path = path.field("port");
                findings.error("VG7", &path.field("name"), format!("duplicate name of a port: `{name}`"));
            }
        }
    });
}

fn server(server: &Server, path: &Path<'_>, findings: &mut Findings) {
    let Server { port, bind, hosts, tls, default_endpoint: _, name: _ } = server;
    if hosts.is_empty() {
        findings.error("VG3", path, "a server needs hosts").help("write `hosts: [\"*\"]` for all");
    }
    for (index, host) in hosts.iter().enumerate() {
        self::host(host, &path.item("hosts", index), findings);
    }
    let before = findings.errors();
    match port {
        Some(port) => self::port(port, bind, &path.field("port"), findings),
        None => {
            findings.error("VG5", path, "a server needs a port");
        }
    }
    let port_is_good = findings.errors() == before;
    self::bind(bind, port.as_ref(), path, findings);
    if let Some(tls) = tls {
        server_tls::judge(tls, &path.field("tls"), findings);
    }
    let protocol = port.as_ref().map(|port| port.protocol.as_str());
    if let Some(protocol) = protocol.filter(|name| PortProtocol::is_known(name)) {
        if port_is_good {
            security(protocol, tls.as_ref(), path, findings);
        }
        if !PortProtocol::named(protocol).says_http() && tls.as_ref().is_some_and(|tls| tls.https_redirect) {
            let tls = path.field("tls");
            findings.warning("VG12", &tls.field("httpsRedirect"), "httpsRedirect has an effect on HTTP servers only");
        }
    }
}

/// What a protocol needs of `tls`.
fn security(name: &str, tls: Option<&ServerTlsSettings>, path: &Path<'_>, findings: &mut Findings) {
    let (protocol, name) = (PortProtocol::named(name), name.to_ascii_uppercase());
    let port = path.field("port");
    let Some(tls) = tls else {
        if protocol.is_tls() {
            findings
                .error("VG9", &port.field("protocol"), format!("a server of protocol {name} needs tls"))
                .help("set `tls.mode` and the certificate");
        }
        return;
    };
    if protocol.is_tls() {
        return;
    }
    if !protocol.says_http() {
        let message = format!("a server of protocol {name} cannot have tls");
        findings.error("VG11", &path.field("tls"), message).help("write the protocol TLS");
        return;
    }
    let passes = matches!(tls.mode, ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough);
    let files = [&tls.ca_certificates, &tls.private_key, &tls.server_certificate];
    if !passes || files.iter().any(|file| !file.is_empty()) {
        findings
            .error("VG10", &path.field("tls"), "a server of plain HTTP can have `tls.httpsRedirect` and no other tls")
            .help("write the protocol HTTPS");
    }
}

fn port(port: &ServerPort, bind: &str, path: &Path<'_>, findings: &mut Findings) {
    let ServerPort { number, protocol, name, target_port } = port;
    if !PortProtocol::is_known(protocol) {
        let message = match protocol.as_str() {
            "" => "a port needs a protocol".to_owned(),
            unknown => format!("the protocol `{unknown}` is unknown"),
        };
        findings.error("VG5", &path.field("protocol"), message).help(format!("one of {}", PortProtocol::NAMES));
    }
    if *number > 0 || !bind.starts_with(addresses::UNIX) {
        numbers::port("VG5", &path.field("number"), *number, findings);
    }
    if name.is_empty() {
        findings.error("VG5", path, "a port needs a name");
    }
    if *target_port > 0 {
        findings.error("VG6", &path.field("targetPort"), "targetPort has no effect on a Gateway").help("leave it out");
    }
}

fn bind(bind: &str, port: Option<&ServerPort>, path: &Path<'_>, findings: &mut Findings) {
    if let Some(socket) = bind.strip_prefix(addresses::UNIX) {
        if let Err(message) = addresses::check_unix_path(socket) {
            findings.error("VG8", &path.field("bind"), message);
        }
        if port.is_some_and(|port| port.number != 0) {
            let path = path.field("port");
            findings.error("VG8", &path.field("number"), "a unix socket has no port").help("write 0");
        }
    } else if !bind.is_empty() && !addresses::is_ip(bind) {
        findings
            .error("VG8", &path.field("bind"), format!("`{bind}` is not an address to listen on"))
            .help("write an IP address or `unix:///PATH`");
    }
}

/// `HOST` or `NAMESPACE/HOST`.
fn host(text: &str, path: &Path<'_>, findings: &mut Findings) {
    let (namespace, host) = match text.split_once('/') {
        Some((namespace, host)) => (Some(namespace), host),
        None => (None, text),
    };
    if namespace == Some("") || host.is_empty() {
        findings.error("VG4", path, format!("a part of `{text}` is empty")).help("write `NAMESPACE/HOST` or `HOST`");
        return;
    }
    if let Some(namespace) = namespace.filter(|name| !matches!(*name, "*" | ".") && !names::is_dns_label(name)) {
        findings.error("VG4", path, names::bad_dns_label(namespace, "a namespace")).help("or write `*` or `.`");
    }
    if addresses::is_ip(host) {
        if !host.contains('.') {
            findings
                .error("VG4", path, format!("`{host}` is an IPv6 address: a Gateway takes names and IPv4 addresses"))
                .help("write `*`");
        }
        return;
    }
    if let Err(message) = names::check_wildcard_domain(host) {
        findings.error("VG4", path, message);
    } else if host != "*" && !host.contains('.') {
        findings
            .error("VG4", path, format!("`{host}` is a short name: a Gateway needs whole ones"))
            .help(format!("write `{host}.NAMESPACE.svc.cluster.local`, or the name that clients use"));
    } else if names::is_partial_wildcard(host) {
        findings.error("VG4", path, format!("the `*` of `{host}` is not a whole label")).help("write `*.DOMAIN`");
    }
}
