//! Certificates and lists as no library makes them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::SigningKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

/// How the key of an [`Authority`] signs, and how it does not.
pub(super) const SHA256: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
pub(super) const SHA384: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const FROM_2020: &[u8] = b"\x17\x0d200101000000Z";
pub(super) const TO_2120: &[u8] = b"\x18\x0f21200101000000Z";

/// What is made of these parts, by its tag.
pub(super) fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let header = match (high, low) {
        (0, ..128) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [header, content].concat()
}

/// An extension by the last part of its identifier, 2.5.29.
pub(super) fn extension(of: u8, critical: bool, content: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    der(0x30, &[&[6, 3, 0x55, 0x1d, of], critical, &der(4, &[content])])
}

impl Authority {
    /// Something with its signature, made by [`SHA256`] whatever `algorithm` says.
    pub(super) fn sign(&self, content: &[u8], algorithm: &[u8]) -> Vec<u8> {
        let signature = self.issuer.key().sign(content).unwrap();
        der(0x30, &[content, algorithm, &der(3, &[&[0], &signature])])
    }

    /// A certificate of version 1 that says by which algorithm it is signed, inside and outside.
    pub(super) fn issue_version_1(&self, serial: u8, inside: &[u8], outside: &[u8]) -> CertificateDer<'static> {
        let (_, own) = X509Certificate::from_der(self.issuer.der()).unwrap();
        let dates = der(0x30, &[FROM_2020, TO_2120]);
        let name = own.subject().as_raw();
        let content = der(0x30, &[&[2, 1, serial], inside, name, &dates, &der(0x30, &[]), own.public_key().raw]);
        self.sign(&content, outside).into()
    }

    pub(super) fn list(&self, list: &List<'_>) -> Pem {
        let (_, own) = X509Certificate::from_der(self.issuer.der()).unwrap();
        let of_entry = if list.of_entry.is_empty() { Vec::new() } else { der(0x30, &[list.of_entry]) };
        let entries = der(0x30, &[&der(0x30, &[&[2, 1, list.serial], FROM_2020, &of_entry])]);
        let extensions = match list.extensions {
            [] => Vec::new(),
            extensions => der(0xa0, &[&der(0x30, &[extensions])]),
        };
        let parts =
            [list.version, list.algorithm, own.subject().as_raw(), FROM_2020, list.until, &entries, &extensions];
        let signed = self.sign(&der(0x30, &parts), SHA256);
        inline(&format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", STANDARD.encode(signed)))
    }
}

/// A list of one certificate, in DER what is not a number.
pub(super) struct List<'a> {
    pub(super) serial: u8,
    pub(super) version: &'a [u8],
    pub(super) algorithm: &'a [u8],
    pub(super) until: &'a [u8],
    pub(super) of_entry: &'a [u8],
    pub(super) extensions: &'a [u8],
}

impl Default for List<'_> {
    /// Of version 2, until 2120.
    fn default() -> Self {
        Self { serial: 13, version: &[2, 1, 1], algorithm: SHA256, until: TO_2120, of_entry: &[], extensions: &[] }
    }
}
