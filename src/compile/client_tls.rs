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
