//! `tls` of a DestinationRule: how connections to a cluster are secured.

use std::sync::Arc;

use super::auto_passthrough;
use super::secrets::{Authorities, Secrets, beside};
use super::services::{Discovery, KnownService};
use crate::config::{ClientTlsMode, ClientTlsSettings};
use crate::upstream::{ClusterKey, Identity, Pem, TlsMode, TlsSettings};

/// What the `tls` of a policy says for the cluster `key` of a service. `None`: nothing is secured.
pub(crate) fn settings(
    tls: Option<&ClientTlsSettings>,
    key: &ClusterKey,
    service: &KnownService,
    secrets: &Secrets<'_>,
) -> Option<Arc<TlsSettings>> {
    let tls = tls?;
    let mut settings = match tls.mode {
        ClientTlsMode::Disable => return None,
        ClientTlsMode::IstioMutual => {
            let ClusterKey { host, subset, port } = key;
            let mut settings = TlsSettings::new(TlsMode::IstioMutual);
            settings.server_name = Some(auto_passthrough::server_name(host, subset, *port).into());
            return Some(Arc::new(settings));
        }
        ClientTlsMode::Simple | ClientTlsMode::Mutual => TlsSettings::new(TlsMode::Simple),
    };
    let names = if tls.subject_alt_names.is_empty() { &service.subject_alt_names } else { &tls.subject_alt_names };
    settings.subject_alt_names = names.iter().map(|name| name.as_str().into()).collect();
    // As istiod has Envoy check it: a name in the handshake is no name of the certificate. Where the request says whose
    // connection it is, that name always counts.
    let named_by_request = service.discovery == Discovery::Requested;
    settings.verify_name = named_by_request || tls.sni.is_empty() && tls.subject_alt_names.is_empty();
    settings.server_name = (!tls.sni.is_empty()).then(|| tls.sni.as_str().into());
    settings.skip_verify = tls.insecure_skip_verify == Some(true);
    let mutual = tls.mode == ClientTlsMode::Mutual;
    if tls.credential_name.is_empty() {
        settings.identity = mutual.then(|| Identity {
            certificates: Pem::File(tls.client_certificate.as_str().into()),
            key: Pem::File(tls.private_key.as_str().into()),
        });
        settings.roots = file(&tls.ca_certificates);
        settings.revoked = file(&tls.ca_crl);
    } else {
        settings.identity = mutual.then(|| secrets.identity(&tls.credential_name));
        let Authorities { roots, revoked } = secrets.authorities(&beside(&tls.credential_name));
        (settings.roots, settings.revoked) = (Some(roots), revoked);
    }
    Some(Arc::new(settings))
}

fn file(path: &str) -> Option<Pem> {
    (!path.is_empty()).then(|| Pem::File(path.into()))
}

/// What a handshake does not say of the name `sni`, if it does not say it as it stands.
pub(crate) fn unsaid(sni: &str) -> Option<&'static str> {
    if !is_said(sni) {
        Some("a handshake says names of DNS only: this one is left out")
    } else if sni.ends_with('.') {
        Some("a handshake says a name without the dot at its end")
    } else {
        None
    }
}

/// Whether rustls says a name in the handshake, written out here for builds without it: labels of letters, digits, `_`
/// and inner dashes, of which the last is no number.
fn is_said(name: &str) -> bool {
    let labels = name.strip_suffix('.').unwrap_or(name);
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| {
        let dash = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && !dash && label.bytes().all(is_inner)
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= 253 && labels.split('.').all(is_label) && !labels.rsplit('.').next().is_some_and(is_number)
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn what_is_said_is_what_rustls_says() {
        let label = "a".repeat(63);
        let long = [label.as_str(); 4].join(".");
        let names = "UPPER.test|x.test.|a_b.test|-a.test|a-.test|a.b-|1.2.3.4|1.2.3.4.|::1|*.w.test|a..b|a b|\u{e9}.test|\
                     x.test:80|localhost|_|-|123|a.123|a.123.|a.1-2|123.a|a.1b|a.b1|.|..|a..|.a||\
                     outbound_.80_._.foo.default.svc.cluster.local";
        let sized = [&*label, &format!("{label}a"), &long[..253], &long[..254], &format!("{}.", &long[..252])];
        for name in names.split('|').chain(sized) {
            let by_rustls = matches!(ServerName::try_from(name), Ok(ServerName::DnsName(_)));
            assert_eq!(is_said(name), by_rustls, "{name}");
        }
    }
}
