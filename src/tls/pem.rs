//! Reading PEM text from where the words say it is.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::PathBuf;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::provider;
use crate::upstream::{Identity, Pem};

/// The lines around a certificate by its older name, which BoringSSL reads too, and by the name that is read here.
const OLDER: [(&[u8], &[u8]); 2] = [
    (b"-----BEGIN X509 CERTIFICATE-----", b"-----BEGIN CERTIFICATE-----"),
    (b"-----END X509 CERTIFICATE-----", b"-----END CERTIFICATE-----"),
];

/// What is said of the place of a text that came with a Secret.
pub(super) const SECRET: &str = "a Secret";

/// Its certificates, at least one.
pub(crate) fn certificates(pem: &Pem) -> io::Result<Vec<CertificateDer<'static>>> {
    some(pem, "certificate")
}

/// Its lists of revoked certificates, at least one.
pub(crate) fn revocations(pem: &Pem) -> io::Result<Vec<CertificateRevocationListDer<'static>>> {
    some(pem, "list of revoked certificates")
}

/// Its lists of revoked certificates, of which there may be none.
pub(crate) fn revocations_among(pem: &Pem) -> io::Result<Vec<CertificateRevocationListDer<'static>>> {
    all(pem)
}

/// Its first private key.
pub(crate) fn key(pem: &Pem) -> io::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(&bytes(pem)?).map_err(|error| match error {
        pem::Error::NoItemsFound => invalid(pem, "there is no private key in it"),
        error => unreadable(pem, error),
    })
}

/// A certificate with its chain, and the key that is its own.
pub(crate) fn certified(identity: &Identity) -> io::Result<CertifiedKey> {
    let Identity { certificates: chain, key: own } = identity;
    let (certificates, key) = (certificates(chain)?, key(own)?);
    let key = provider().key_provider.load_private_key(key).map_err(|error| invalid(own, error))?;
    // The first of at least one. rustls' own comparison takes none of version 1.
    let leaf = certificates
        .first()
        .map(|first| Certificate::read(first))
        .transpose()
        .map_err(|error| invalid(chain, error))?;
    if leaf.zip(key.public_key()).is_some_and(|(leaf, key)| leaf.key() != key) {
        return Err(invalid(own, "the key is not the certificate's"));
    }
    Ok(CertifiedKey::new(certificates, key))
}

/// The file that it is in.
pub(crate) fn file(pem: &Pem) -> Option<PathBuf> {
    match pem {
        Pem::File(path) => Some(path.clone()),
        Pem::Text(_) | Pem::Missing(_) => None,
    }
}

fn some<T: PemObject>(pem: &Pem, what: &str) -> io::Result<Vec<T>> {
    let items = all(pem)?;
    if items.is_empty() {
        return Err(invalid(pem, format_args!("there is no {what} in it")));
    }
    Ok(items)
}

fn all<T: PemObject>(pem: &Pem) -> io::Result<Vec<T>> {
    let items: Result<Vec<T>, _> = T::pem_slice_iter(&renamed(bytes(pem)?)).collect();
    items.map_err(|error| unreadable(pem, error))
}

/// Certificates by their older name get the usual one.
fn renamed(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let older = |line: &[u8]| OLDER.iter().find(|(older, _)| line.starts_with(older));
    if !text.split(is_end).any(|line| older(line).is_some()) {
        return text;
    }
    let mut renamed = Vec::with_capacity(text.len());
    for line in text.split_inclusive(is_end) {
        let (older, name) = older(line).copied().unwrap_or_default();
        renamed.extend_from_slice(name);
        renamed.extend_from_slice(&line[older.len()..]);
    }
    Cow::Owned(renamed)
}

fn bytes(pem: &Pem) -> io::Result<Cow<'_, [u8]>> {
    match pem {
        Pem::File(path) => match std::fs::read(path) {
            Ok(text) => Ok(Cow::Owned(text)),
            Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        },
        Pem::Text(text) => Ok(Cow::Borrowed(text)),
        Pem::Missing(what) => Err(io::Error::new(io::ErrorKind::NotFound, format!("{what} is not there"))),
    }
}

/// The parser's own words have the line, which is the whole key where all of it stands on one.
fn unreadable(pem: &Pem, error: pem::Error) -> io::Error {
    match error {
        pem::Error::MissingSectionEnd { .. } => invalid(pem, "a section of it has no end on a line of its own"),
        pem::Error::IllegalSectionStart { .. } => invalid(pem, "a section of it does not begin on a line of its own"),
        error => invalid(pem, error),
    }
}

/// Names where it stands, never what stands there.
fn invalid(pem: &Pem, why: impl fmt::Display) -> io::Error {
    let place = match pem {
        Pem::File(path) => path.display().to_string(),
        Pem::Text(_) => SECRET.to_owned(),
        Pem::Missing(what) => what.to_string(),
    };
    io::Error::new(io::ErrorKind::InvalidData, format!("{place}: {why}"))
}
