//! `tls` of a Gateway's server: how a listener ends TLS.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::path::Path;
use super::review::Review;
use super::secrets::{Authorities, Secrets, bare, beside};
use super::services::PortProtocol;
use crate::config::{ServerTlsMode, ServerTlsSettings, TlsCertificate, TlsProtocol};
use crate::snapshot::{ClientCertificates, ServerTls, TlsVersion};
use crate::upstream::{Identity, Pem};

/// The cipher suites that rustls has, by their OpenSSL names.
const CIPHER_SUITES: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

/// How a server of a mode that ends TLS ends it.
pub(crate) fn settings(tls: &ServerTlsSettings, secrets: &Secrets<'_>) -> Arc<ServerTls> {
    let of_mesh = tls.mode == ServerTlsMode::IstioMutual;
    let mut settings = ServerTls::new(if of_mesh { Vec::new() } else { identities(tls, secrets) });
    settings.of_mesh = of_mesh;
    settings.clients = match tls.mode {
        ServerTlsMode::Mutual | ServerTlsMode::IstioMutual => ClientCertificates::Required,
        ServerTlsMode::OptionalMutual => ClientCertificates::Optional,
        _ => ClientCertificates::None,
    };
    if settings.clients != ClientCertificates::None {
        settings.authorities = authorities(tls).map(|name| (*name).into());
        (settings.roots, settings.revoked) = trusted(tls, secrets);
        settings.subject_alt_names = tls.subject_alt_names.iter().map(|name| name.as_str().into()).collect();
        settings.key_pins = tls.verify_certificate_spki.iter().map(|pin| pin_of_base64(pin)).collect();
        settings.certificate_pins = tls.verify_certificate_hash.iter().map(|pin| pin_of_hexadecimal(pin)).collect();
        settings.skip_verify = !of_mesh && tls.insecure_skip_verify == Some(true);
    }
    settings.oldest = version(tls.min_protocol_version, TlsVersion::V12).max(TlsVersion::V12);
    settings.newest = version(tls.max_protocol_version, TlsVersion::V13);
    settings.cipher_suites = tls.cipher_suites.iter().map(|suite| suite.as_str().into()).collect();
    Arc::new(settings)
}

/// The Secrets that it names, in order.
fn named(tls: &ServerTlsSettings) -> impl Iterator<Item = &String> {
    let several = tls.credential_names.iter();
    several.chain(std::iter::once(&tls.credential_name)).filter(|name| !name.is_empty())
}

fn identities(tls: &ServerTlsSettings, secrets: &Secrets<'_>) -> Vec<Identity> {
    let files = |certificates: &str, key: &str| Identity {
        certificates: Pem::File(certificates.into()),
        key: Pem::File(key.into()),
    };
    let named: Vec<_> = named(tls).map(|name| secrets.identity(name)).collect();
    if !named.is_empty() {
        return named;
    }
    if tls.tls_certificates.is_empty() {
        return vec![files(&tls.server_certificate, &tls.private_key)];
    }
    let pair = |TlsCertificate { server_certificate, private_key, ca_certificates: _ }: &TlsCertificate| {
        files(server_certificate, private_key)
    };
    tls.tls_certificates.iter().map(pair).collect()
}

/// What the Secret with the authorities of clients is called, unless they are in files.
pub(crate) fn authorities(tls: &ServerTlsSettings) -> Option<Cow<'_, str>> {
    let first = named(tls).next()?;
    let apart = bare(&tls.ca_cert_credential_name);
    Some(if apart.is_empty() { beside(first).into() } else { apart.into() })
}

/// Who vouches for clients, and what they have taken back.
fn trusted(tls: &ServerTlsSettings, secrets: &Secrets<'_>) -> (Option<Pem>, Option<Pem>) {
    let file = |path: &str| (!path.is_empty()).then(|| Pem::File(path.into()));
    if tls.mode == ServerTlsMode::IstioMutual {
        return (None, file(&tls.ca_crl));
    }
    if let Some(name) = authorities(tls) {
        let Authorities { roots, revoked } = secrets.authorities(&name);
        return (Some(roots), revoked);
    }
    let of_pairs = tls.tls_certificates.iter().map(|pair| &pair.ca_certificates);
    let roots = std::iter::once(&tls.ca_certificates).chain(of_pairs).find_map(|path| file(path));
    (Some(roots.unwrap_or_else(|| Pem::Missing("`caCertificates`".into()))), file(&tls.ca_crl))
}

fn version(words: TlsProtocol, default: TlsVersion) -> TlsVersion {
    match words {
        TlsProtocol::TlsAuto => default,
        TlsProtocol::TlsV10 | TlsProtocol::TlsV11 => TlsVersion::Old,
        TlsProtocol::TlsV12 => TlsVersion::V12,
        TlsProtocol::TlsV13 => TlsVersion::V13,
    }
}

/// One that cannot be read is the hash of nothing.
fn pin_of_base64(pin: &str) -> [u8; 32] {
    BASE64_STANDARD.decode(pin).ok().and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}

/// Hexadecimal, with or without colons.
fn pin_of_hexadecimal(pin: &str) -> [u8; 32] {
    let digits: Option<Vec<u32>> = pin.chars().filter(|c| *c != ':').map(|c| c.to_digit(16)).collect();
    let bytes = digits.filter(|digits| digits.len() == 64).map(|digits| {
        // Two digits below 16 make a byte.
        digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect::<Vec<u8>>()
    });
    bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}

/// Names what the `tls` of a server says in vain.
pub(crate) fn review(tls: &ServerTlsSettings, protocol: PortProtocol, path: &Path<'_>, review: &mut Review<'_>) {
    if matches!(protocol, PortProtocol::Http | PortProtocol::Http2) {
        in_plaintext(tls, path, review);
        return;
    }
    match tls.mode {
        ServerTlsMode::Passthrough => {
            Fields::of(tls).review(path, "PASSTHROUGH leaves TLS to the server behind", review);
            return;
        }
        ServerTlsMode::AutoPassthrough => {
            Fields::of(tls).review(path, "AUTO_PASSTHROUGH leaves TLS to the workload behind", review);
            return;
        }
        ServerTlsMode::IstioMutual => {
            let needs =
                "ISTIO_MUTUAL needs a gateway that is given the mesh's certificates, and lets nobody in without";
            review.warning(&path.field("mode"), needs);
            let Fields { clients: [_, _, authorities, .., unverified], .. } = Fields::of(tls);
            review.all_without_effect(path, &[authorities, unverified], "ISTIO_MUTUAL has the authorities of the mesh");
        }
        ServerTlsMode::Simple => {
            let why = "SIMPLE asks clients for no certificate";
            review.all_without_effect(path, &Fields::of(tls).clients, why);
        }
        ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {}
    }
    sources(tls, path, review);
    handshake(tls, path, review);
    pins(tls, path, review);
}

/// Fields and whether they are set: of the certificates of the server, of those of clients, of what is spoken.
struct Fields {
    server: [(&'static str, bool); 5],
    clients: [(&'static str, bool); 7],
    handshake: [(&'static str, bool); 3],
}

impl Fields {
    fn of(tls: &ServerTlsSettings) -> Self {
        let ServerTlsSettings {
            https_redirect: _,
            mode: _,
            server_certificate,
            private_key,
            ca_certificates,
            ca_crl,
            credential_name,
            credential_names,
            ca_cert_credential_name,
            tls_certificates,
            subject_alt_names,
            verify_certificate_spki,
            verify_certificate_hash,
            min_protocol_version,
            max_protocol_version,
            cipher_suites,
            insecure_skip_verify,
        } = tls;
        Self {
            server: [
                ("serverCertificate", !server_certificate.is_empty()),
                ("privateKey", !private_key.is_empty()),
                ("credentialName", !credential_name.is_empty()),
                ("credentialNames", !credential_names.is_empty()),
                ("tlsCertificates", !tls_certificates.is_empty()),
            ],
            clients: [
                ("caCertificates", !ca_certificates.is_empty()),
                ("caCrl", !ca_crl.is_empty()),
                ("caCertCredentialName", !ca_cert_credential_name.is_empty()),
                ("subjectAltNames", !subject_alt_names.is_empty()),
                ("verifyCertificateSpki", !verify_certificate_spki.is_empty()),
                ("verifyCertificateHash", !verify_certificate_hash.is_empty()),
                ("insecureSkipVerify", insecure_skip_verify.is_some()),
            ],
            handshake: [
                ("minProtocolVersion", *min_protocol_version != TlsProtocol::TlsAuto),
                ("maxProtocolVersion", *max_protocol_version != TlsProtocol::TlsAuto),
                ("cipherSuites", !cipher_suites.is_empty()),
            ],
        }
    }

    /// Says of all that are set that they mean nothing.
    fn review(&self, path: &Path<'_>, why: &str, review: &mut Review<'_>) {
        let Self { server, clients, handshake } = self;
        for fields in [&server[..], clients, handshake] {
            review.all_without_effect(path, fields, why);
        }
    }
}

fn in_plaintext(tls: &ServerTlsSettings, path: &Path<'_>, review: &mut Review<'_>) {
    let why = "of `tls` a server of plain HTTP has `httpsRedirect` and nothing else";
    if tls.https_redirect {
        Fields::of(tls).review(path, why, review);
    } else {
        review.without_effect(path, why);
    }
}

/// Certificates that others take the place of.
fn sources(tls: &ServerTlsSettings, path: &Path<'_>, review: &mut Review<'_>) {
    let named = named(tls).next().is_some();
    let Fields { server: [certificate, key, ..], clients: [roots, revoked, apart, ..], .. } = Fields::of(tls);
    if named {
        review.all_without_effect(path, &[certificate, key], "the Secret that is named takes its place");
    }
    if !matches!(tls.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual) {
        return;
    }
    if named {
        review.all_without_effect(path, &[roots, revoked], "the Secret that is named takes its place");
    } else {
        review.all_without_effect(path, &[apart], "it goes with a `credentialName` only");
    }
    let list = path.field("tlsCertificates");
    let pairs = tls.tls_certificates.iter().enumerate().filter(|(_, pair)| !pair.ca_certificates.is_empty());
    for (number, _) in pairs.skip(usize::from(tls.ca_certificates.is_empty())) {
        let path = list.index(number);
        review.value_not_honored(&path.field("caCertificates"), "those that are named first count");
    }
}

fn handshake(tls: &ServerTlsSettings, path: &Path<'_>, review: &mut Review<'_>) {
    let old = |version| matches!(version, TlsProtocol::TlsV10 | TlsProtocol::TlsV11);
    if old(tls.min_protocol_version) {
        review.value_not_honored(&path.field("minProtocolVersion"), "versions before 1.2 are not spoken");
    }
    if old(tls.max_protocol_version) {
        let why = "versions before 1.2 are not spoken: nobody can connect";
        review.value_not_honored(&path.field("maxProtocolVersion"), why);
    }
    let list = path.field("cipherSuites");
    for (number, suite) in tls.cipher_suites.iter().enumerate() {
        if !CIPHER_SUITES.contains(&suite.as_str()) {
            review.value_not_honored(&list.index(number), "the cipher suite is left out");
        }
    }
}

/// Pins that cannot be read.
fn pins(tls: &ServerTlsSettings, path: &Path<'_>, review: &mut Review<'_>) {
    let list = path.field("verifyCertificateSpki");
    for (number, _) in tls.verify_certificate_spki.iter().enumerate().filter(|(_, pin)| pin_of_base64(pin) == [0; 32]) {
        review.value_not_honored(&list.index(number), "it is no SHA-256 in base64 and fits no certificate");
    }
    let list = path.field("verifyCertificateHash");
    let bad = |pin: &str| pin_of_hexadecimal(pin) == [0; 32];
    let pins = tls.verify_certificate_hash.iter().enumerate();
    for (number, _) in pins.filter(|(_, pin)| bad(pin)) {
        review.value_not_honored(&list.index(number), "it is no SHA-256 in hexadecimal and fits no certificate");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_as_istio_writes_them() {
        let bytes: [u8; 32] = std::array::from_fn(|index| index as u8);
        let hexadecimal: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(pin_of_hexadecimal(&hexadecimal.join(":")), bytes);
        assert_eq!(pin_of_hexadecimal(&hexadecimal.concat().to_lowercase()), bytes);
        assert_eq!(pin_of_base64(&BASE64_STANDARD.encode(bytes)), bytes);
        for bad in ["", "00", "zz", &"0".repeat(65)] {
            assert_eq!((pin_of_hexadecimal(bad), pin_of_base64(bad)), ([0; 32], [0; 32]), "{bad}");
        }
    }

    #[cfg(feature = "gateway")]
    #[test]
    fn cipher_suites_that_are_used_are_those_that_can_be() {
        let provider = crate::tls::provider();
        let of_tls12 = provider.cipher_suites.iter().filter(|suite| suite.tls13().is_none());
        let mut used: Vec<_> = of_tls12.filter_map(|suite| crate::tls::openssl_name(suite.suite())).collect();
        let mut known = CIPHER_SUITES;
        used.sort_unstable();
        known.sort_unstable();
        assert_eq!(used, known);
    }
}
