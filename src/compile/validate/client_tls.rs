//! tls of a trafficPolicy (VD24 to VD27).

use super::{Findings, names};
use crate::compile::path::Path;
use crate::config::{ClientTlsMode, ClientTlsSettings};

const CONFIG_MAP: &str = "configmap://";

/// Judges one block. `own` is the namespace of the rule.
pub(crate) fn judge(tls: &ClientTlsSettings, path: &Path<'_>, own: &str, findings: &mut Findings) {
    if let Some(name) = tls.credential_name.strip_prefix(CONFIG_MAP) {
        config_map(name, &path.field("credentialName"), own, findings);
    }
    if !matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual) {
        return;
    }
    insecure(tls, path, findings);
    if tls.credential_name.is_empty() {
        if tls.mode == ClientTlsMode::Mutual {
            mutual(tls, path, findings);
        }
        return;
    }
    let files = [
        ("clientCertificate", &tls.client_certificate),
        ("privateKey", &tls.private_key),
        ("caCertificates", &tls.ca_certificates),
        ("caCrl", &tls.ca_crl),
    ];
    for (name, _) in files.iter().filter(|(_, file)| !file.is_empty()) {
        findings.error("VD25", &path.field(name), format!("`{name}` cannot be beside `credentialName`, which has it"));
    }
}

fn mutual(tls: &ClientTlsSettings, path: &Path<'_>, findings: &mut Findings) {
    for (name, file) in [("clientCertificate", &tls.client_certificate), ("privateKey", &tls.private_key)] {
        if file.is_empty() {
            findings
                .error("VD24", path, format!("mutual TLS needs `{name}`"))
                .help("name the files, or the Secret in `credentialName`");
        }
    }
}

/// What is verified cannot be said where nothing is verified.
fn insecure(tls: &ClientTlsSettings, path: &Path<'_>, findings: &mut Findings) {
    if tls.insecure_skip_verify != Some(true) {
        return;
    }
    let set = [
        ("caCertificates", !tls.ca_certificates.is_empty()),
        ("subjectAltNames", !tls.subject_alt_names.is_empty()),
        // A Secret may hold the client's certificate only.
        ("credentialName", !tls.credential_name.is_empty() && tls.mode == ClientTlsMode::Simple),
    ];
    for (name, _) in set.iter().filter(|(_, set)| *set) {
        findings.error(
            "VD26",
            &path.field(name),
            format!("`{name}` has no effect: `insecureSkipVerify` verifies nothing"),
        );
    }
}

fn config_map(name: &str, path: &Path<'_>, own: &str, findings: &mut Findings) {
    let message = match name.split_once('/') {
        Some((namespace, name)) if names::is_dns_label(namespace) && !name.is_empty() && !name.contains('/') => {
            if namespace == own {
                return;
            }
            format!("the ConfigMap has to be in the rule's own namespace, `{own}`")
        }
        _ => format!("`{CONFIG_MAP}{name}` does not name a ConfigMap"),
    };
    // One that is named well is not read either.
    findings.error("VD27", path, message).help("name a Secret, ConfigMaps are not read");
}
