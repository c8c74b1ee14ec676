//! Certificates of authorities, with what trust anchors leave out of them: [`Authority`].

use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::certificate::{TbsCertificate, X509Certificate};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use super::dates::Dates;

/// The certificate of an authority, and what it says of itself.
pub(super) struct Authority {
    der: CertificateDer<'static>,
    dates: Dates,
    subject: Box<[u8]>,
    pub(super) key: SubjectPublicKeyInfoDer<'static>,
    /// Whether it may sign the certificates of others.
    signs: bool,
}

impl Authority {
    pub(super) fn read(der: CertificateDer<'static>) -> Result<Self, webpki::Error> {
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| webpki::Error::BadDer)?;
        let dates = Dates::of(parsed.validity());
        let (subject, key) = (parsed.subject().as_raw().into(), parsed.public_key().raw.to_vec().into());
        let signs = signs(&parsed);
        Ok(Self { der, dates, subject, key, signs })
    }

    /// Whether it is this very certificate.
    pub(super) fn is(&self, certificate: &CertificateDer<'_>) -> bool {
        self.der.as_ref() == certificate.as_ref()
    }

    /// The certificate.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether it goes by this name.
    pub(super) fn is_named(&self, name: &[u8]) -> bool {
        *self.subject == *name
    }

    /// Whether others may be taken for its sake now. What it says that it is for itself, as BoringSSL has it, does not
    /// bind those whom it signs.
    pub(super) fn may_vouch(&self, now: UnixTime) -> Result<(), webpki::Error> {
        self.dates.hold(now)?;
        if self.signs { Ok(()) } else { Err(webpki::Error::EndEntityUsedAsCa) }
    }
}

/// Whether a certificate beside that of the other side may have signed that.
pub(super) fn may_sign_others(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, parsed)| signs(&parsed))
}

/// One of version 1, which cannot say what it is for, may if it is its own issuer; any other has to say that it is an
/// authority, and if it says what its key is for, that has to be among it. BoringSSL asks this of those in between alone,
/// and of trusted ones nothing.
fn signs(certificate: &TbsCertificate<'_>) -> bool {
    if certificate.version() == X509Version::V1 {
        return certificate.subject().as_raw() == certificate.issuer().as_raw();
    }
    let is_authority = certificate.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca);
    let key_signs = certificate.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()));
    is_authority && key_signs
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::pem::PemObject;

    use super::*;

    /// Of version 1, signed by itself, from November 2026 to October 2126.
    const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBGDCBvwIUDpnzydBkBRuenwUMmxwQoyntxK0wCgYIKoZIzj0EAwIwDjEMMAoG
A1UEAwwDb2xkMCAXDTI2MTEyMjE0MDMyMVoYDzIxMjYxMDI5MTQwMzIxWjAOMQww
CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASqk7RCBdJWLyTq
L+Hy3F14ARo/keaavtIhhrgUgatkHqnOjc48RvNC1wA9mvdoGx0llhq+usIf5GLy
m5OolB5KMAoGCCqGSM49BAMCA0gAMEUCIQDqd1c+vs3Q+aBIgJCFUv45EDEeTGm9
uKq9bKea+zjauQIgN0+ZTePFb5Rkb9TWqb1bAhrW8rhF23YYIrVokLGWpIs=
-----END CERTIFICATE-----";

    #[test]
    fn one_of_version_1_is_an_authority_while_it_is_valid() {
        let authority = Authority::read(CertificateDer::from_pem_slice(VERSION_1.as_bytes()).unwrap()).unwrap();
        let vouches = |seconds| authority.may_vouch(UnixTime::since_unix_epoch(Duration::from_secs(seconds)));
        assert_eq!(vouches(2_000_000_000), Ok(()));
        assert!(matches!(vouches(1_700_000_000), Err(webpki::Error::CertNotValidYet { .. })));
        assert!(matches!(vouches(5_000_000_000), Err(webpki::Error::CertExpired { .. })));
    }
}
