//! How a listener ends TLS, as words: [`ServerTls`].

use crate::upstream::{Identity, Pem};

/// How a listener ends TLS (`tls` of a Gateway's server): where the certificates are, not what is in them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ServerTls {
    /// Whether the certificate that is shown, and the authorities that clients' must come from, are those of the mesh
    /// (`ISTIO_MUTUAL`), which the gateway is given.
    pub of_mesh: bool,
    /// The certificates that are shown: each client gets one that it can read, if it can with the name that it asks for.
    pub identities: Box<[Identity]>,
    /// Whether clients show certificates.
    pub clients: ClientCertificates,
    /// The authorities that clients' certificates must come from.
    pub roots: Option<Pem>,
    /// What the Secret with those is called, whatever is in it by now.
    pub(crate) authorities: Option<Box<str>>,
    /// Revoked certificates of clients (`caCrl`).
    pub revoked: Option<Pem>,
    /// The names of which a client's certificate must have one, DNS or URI, exactly (`subjectAltNames`). Empty: any.
    pub subject_alt_names: Box<[Box<str>]>,
    /// SHA-256 of public keys, of which, or of [`Self::certificate_pins`], a client must have one
    /// (`verifyCertificateSpki`).
    pub key_pins: Box<[[u8; 32]]>,
    /// SHA-256 of certificates (`verifyCertificateHash`).
    pub certificate_pins: Box<[[u8; 32]]>,
    /// Whether every certificate of a client is taken (`insecureSkipVerify`).
    pub skip_verify: bool,
    /// The oldest version that is spoken: 1.2.
    pub oldest: TlsVersion,
    /// The newest version that is spoken: 1.3.
    pub newest: TlsVersion,
    /// The cipher suites up to TLS 1.2 by their OpenSSL names (`cipherSuites`). Empty: all that rustls has.
    pub cipher_suites: Box<[Box<str>]>,
}

impl ServerTls {
    /// Without certificates of clients, from TLS 1.2 to 1.3.
    pub fn new(identities: Vec<Identity>) -> Self {
        Self {
            of_mesh: false,
            identities: identities.into(),
            clients: ClientCertificates::None,
            roots: None,
            authorities: None,
            revoked: None,
            subject_alt_names: Box::default(),
            key_pins: Box::default(),
            certificate_pins: Box::default(),
            skip_verify: false,
            oldest: TlsVersion::V12,
            newest: TlsVersion::V13,
            cipher_suites: Box::default(),
        }
    }

    /// Whether it asks the same of clients as `other`, by authorities that are named the same, whatever certificates there
    /// are by now.
    #[cfg(feature = "gateway")]
    pub(crate) fn asks_the_same(&self, other: &Self) -> bool {
        let named = |pem: &Option<Pem>| pem.clone().filter(|pem| matches!(pem, Pem::File(_)));
        let kept = |one: &Self| Self {
            identities: Box::default(),
            roots: named(&one.roots),
            revoked: named(&one.revoked),
            ..one.clone()
        };
        kept(self) == kept(other)
    }
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientCertificates {
    /// They are not asked (`SIMPLE`).
    None,
    /// They are asked, and what they show is verified (`OPTIONAL_MUTUAL`).
    Optional,
    /// They must (`MUTUAL`, `ISTIO_MUTUAL`).
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// Older than 1.2, which is not spoken.
    Old,
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}
