//! tls of a server (VG13 to VG20).

use std::collections::HashSet;

use super::{Findings, numbers};
use crate::compile::path::Path;
use crate::config::{ServerTlsMode, ServerTlsSettings, TlsProtocol};

/// The cipher suites that Envoy knows, for TLS up to 1.2.
const CIPHER_SUITES: [&str; 15] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

/// Judges one block.
pub(crate) fn judge(tls: &ServerTlsSettings, path: &Path<'_>, findings: &mut Findings) {
    ciphers(tls, path, findings);
    let certificates = certificates(tls);
    match tls.mode {
        ServerTlsMode::IstioMutual => {
            for (name, _) in certificates.iter().filter(|(_, set)| *set) {
                let message = format!("`{name}` cannot be with ISTIO_MUTUAL, which has the certificates of the mesh");
                findings.error("VG15", &path.field(name), message);
            }
        }
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => {
            let ignored = certificates.iter().find(|(_, set)| *set).map(|(name, _)| *name);
            let ignored = ignored.or((!tls.ca_crl.is_empty()).then_some("caCrl"));
            if let Some(name) = ignored {
                let message = format!("`{name}` is ignored: {} leaves TLS to the server behind", tls.mode);
                findings.warning("VG16", &path.field(name), message);
            }
            sources(tls, path, findings);
            revocation(tls, path, findings);
        }
        ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {
            sources(tls, path, findings);
            if tls.credential_name.is_empty() && tls.credential_names.is_empty() {
                files(tls, path, findings);
                revocation(tls, path, findings);
            }
        }
    }
}

/// The fields that hold certificates or name them, and whether they are set.
fn certificates(tls: &ServerTlsSettings) -> [(&'static str, bool); 6] {
    [
        ("serverCertificate", !tls.server_certificate.is_empty()),
        ("privateKey", !tls.private_key.is_empty()),
        ("caCertificates", !tls.ca_certificates.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
    ]
}

/// Certificates come from one source.
fn sources(tls: &ServerTlsSettings, path: &Path<'_>, findings: &mut Findings) {
    numbers::at_most(&path.field("credentialNames"), tls.credential_names.len(), 2, "credentialNames", findings);
    let sources = [
        ("serverCertificate", !tls.server_certificate.is_empty() && !tls.private_key.is_empty()),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
    ];
    let mut set = sources.iter().filter(|(_, set)| *set).map(|(name, _)| *name);
    if let (Some(first), Some(second)) = (set.next(), set.next()) {
        let message = format!("`{first}` and `{second}` cannot be together: certificates come from one source");
        findings.error("VG17", &path.field(second), message);
    }
}

/// What is needed where no Secret is named.
fn files(tls: &ServerTlsSettings, path: &Path<'_>, findings: &mut Findings) {
    const HELP: &str = "name the files, or the Secret in `credentialName`";
    if tls.mode != ServerTlsMode::Simple && tls.ca_certificates.is_empty() {
        findings.error("VG18", path, format!("tls of mode {} needs `caCertificates`", tls.mode)).help(HELP);
    }
    let mut need = |path: &Path<'_>, name: &str, file: &str| {
        if file.is_empty() {
            findings.error("VG18", path, format!("tls of mode {} needs `{name}`", tls.mode)).help(HELP);
        }
    };
    if tls.tls_certificates.is_empty() {
        need(path, "serverCertificate", &tls.server_certificate);
        need(path, "privateKey", &tls.private_key);
    }
    for (index, certificate) in tls.tls_certificates.iter().enumerate() {
        let path = path.item("tlsCertificates", index);
        need(&path, "serverCertificate", &certificate.server_certificate);
        need(&path, "privateKey", &certificate.private_key);
    }
    if tls.tls_certificates.len() > 2 {
        let message = format!("{} tlsCertificates are too many: two are served", tls.tls_certificates.len());
        findings.warning("VG19", &path.field("tlsCertificates"), message);
    }
}

/// Revoked certificates are looked at where clients are asked for theirs.
fn revocation(tls: &ServerTlsSettings, path: &Path<'_>, findings: &mut Findings) {
    if tls.ca_crl.is_empty() {
        return;
    }
    let path = path.field("caCrl");
    if !tls.credential_name.is_empty() {
        findings.error("VG20", &path, "caCrl cannot be beside credentialName").help("put `ca.crl` into the Secret");
    }
    if tls.mode == ServerTlsMode::Simple {
        findings.error("VG20", &path, "caCrl has no effect with SIMPLE, which asks for no client certificate");
    }
}

fn ciphers(tls: &ServerTlsSettings, path: &Path<'_>, findings: &mut Findings) {
    let suites = &tls.cipher_suites;
    if matches!(tls.min_protocol_version, TlsProtocol::TlsV10 | TlsProtocol::TlsV11) && suites.is_empty() {
        let message = format!("{} is offered without ciphers for it", tls.min_protocol_version);
        findings.warning("VG13", &path.field("minProtocolVersion"), message).help("name them in `cipherSuites`");
    }
    let mut seen = HashSet::new();
    for (index, suite) in suites.iter().enumerate() {
        let path = path.item("cipherSuites", index);
        if !is_cipher_suite(suite) {
            findings.warning("VG14", &path, format!("the cipher suite `{suite}` is unknown and ignored"));
        } else if !seen.insert(suite) {
            findings.warning("VG14", &path, format!("duplicate cipher suite `{suite}`"));
        }
    }
}

/// A known suite, or an expression that begins with an operator.
fn is_cipher_suite(suite: &str) -> bool {
    let operator = !suite.starts_with(char::is_alphanumeric);
    operator || suite == "ALL" || CIPHER_SUITES.contains(&suite)
}
