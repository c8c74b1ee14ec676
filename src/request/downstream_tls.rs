//! What is known of the TLS of a client's connection: [`DownstreamTls`].

use std::sync::Arc;
use std::time::Duration;

/// The TLS of a client's connection, as header values may tell it (`%DOWNSTREAM_TLS_VERSION%` and its like).
///
/// ```
/// use std::sync::Arc;
/// use mesh_router::request::{DownstreamTls, ListenerOrigin};
///
/// let mut origin = ListenerOrigin::new("http.8443", 8443);
/// let mut secured = DownstreamTls::default();
/// secured.version = "TLSv1.3".into();
/// (origin.tls, origin.secured) = (true, Some(Arc::new(secured)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownstreamTls {
    /// The version in the words of OpenSSL: `TLSv1.3`.
    pub version: Box<str>,
    /// The cipher suite in the words of OpenSSL: `TLS_AES_128_GCM_SHA256`, `ECDHE-RSA-AES128-GCM-SHA256`.
    pub cipher: Box<str>,
    /// The name that the client asked for; empty if it asked for none.
    pub server_name: Box<str>,
    /// The certificate that the client showed.
    pub peer: Option<Certificate>,
    /// The certificate that it was shown.
    pub local: Option<Arc<Certificate>>,
}

/// What is known of a certificate. Empty is what it does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certificate {
    /// The subject as RFC 2253 writes it, the last name first: `CN=a,O=b`.
    pub subject: Box<str>,
    /// The issuer, written alike.
    pub issuer: Box<str>,
    /// The serial number in hexadecimal digits, two for each byte.
    pub serial: Box<str>,
    /// Its alternative names that are URIs.
    pub uris: Box<[Box<str>]>,
    /// Its alternative names that are names of DNS.
    pub dns_names: Box<[Box<str>]>,
    /// Its alternative names that are addresses.
    pub addresses: Box<[Box<str>]>,
    /// Its alternative names that are addresses of mail.
    pub emails: Box<[Box<str>]>,
    /// SHA-256 of its DER in hexadecimal digits.
    pub sha256: Box<str>,
    /// SHA-1 of its DER in hexadecimal digits.
    pub sha1: Box<str>,
    /// All of it as PEM, of which nothing stands in the way of a header: percent-encoded.
    pub pem: Box<str>,
    /// From when on it is valid, counted from 1970.
    pub not_before: Duration,
    /// Until when it is, counted from 1970.
    pub not_after: Duration,
}
