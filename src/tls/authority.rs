//! Certificates of authorities, with what trust anchors leave out of them: [`Authority`].

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{KeyUsage, RequiredEkuNotFoundContext};
use x509_parser::certificate::{TbsCertificate, X509Certificate};
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

/// The certificate of an authority, and what it says of itself.
pub(super) struct Authority {
    der: CertificateDer<'static>,
    not_before: UnixTime,
    not_after: UnixTime,
    /// Whether it may sign the certificates of others.
    signs: bool,
    /// Whether it is for ends of connections: for servers, for clients.
    ends: (bool, bool),
}

impl Authority {
    pub(super) fn read(der: CertificateDer<'static>) -> Result<Self, webpki::Error> {
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| webpki::Error::BadDer)?;
        let validity = parsed.validity();
        let (not_before, not_after) = (unix_time(validity.not_before), unix_time(validity.not_after));
        let (signs, ends) = (signs(&parsed), ends(&parsed));
        Ok(Self { der, not_before, not_after, signs, ends })
    }

    /// Whether it is this very certificate.
    pub(super) fn is(&self, certificate: &CertificateDer<'_>) -> bool {
        self.der.as_ref() == certificate.as_ref()
    }

    /// Whether others may be used so for its sake now.
    pub(super) fn may_vouch(&self, usage: KeyUsage, now: UnixTime) -> Result<(), webpki::Error> {
        let Self { not_before, not_after, .. } = *self;
        if now < not_before {
            return Err(webpki::Error::CertNotValidYet { time: now, not_before });
        }
        if now > not_after {
            return Err(webpki::Error::CertExpired { time: now, not_after });
        }
        if !self.signs {
            return Err(webpki::Error::EndEntityUsedAsCa);
        }
        if !self.is_for(usage) {
            let context = RequiredEkuNotFoundContext { required: usage, present: Vec::new() };
            return Err(webpki::Error::RequiredEkuNotFoundContext(context));
        }
        Ok(())
    }

    /// Whether it may be used so itself, and as BoringSSL has it those whom it signs.
    pub(super) fn is_for(&self, usage: KeyUsage) -> bool {
        let (servers, clients) = self.ends;
        let of_server = usage.oid_values().eq(KeyUsage::SERVER_AUTH_REPR.iter().copied());
        if of_server { servers } else { clients }
    }
}

/// As BoringSSL: one of version 1, which cannot say what it is for, may if it is its own issuer; any other has to say that
/// it is an authority, and if it says what its key is for, that has to be among it.
fn signs(certificate: &TbsCertificate<'_>) -> bool {
    if certificate.version() == X509Version::V1 {
        return certificate.subject().as_raw() == certificate.issuer().as_raw();
    }
    let is_authority = certificate.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca);
    let key_signs = certificate.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()));
    is_authority && key_signs
}

/// One that does not say what it is for is for both.
fn ends(certificate: &TbsCertificate<'_>) -> (bool, bool) {
    match certificate.extended_key_usage() {
        Ok(Some(usage)) => (usage.value.server_auth, usage.value.client_auth),
        Ok(None) => (true, true),
        Err(_) => (false, false),
    }
}

fn unix_time(time: ASN1Time) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
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
        let vouches = |seconds| {
            authority.may_vouch(KeyUsage::server_auth(), UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
        };
        assert_eq!(vouches(2_000_000_000), Ok(()));
        assert!(matches!(vouches(1_700_000_000), Err(webpki::Error::CertNotValidYet { .. })));
        assert!(matches!(vouches(5_000_000_000), Err(webpki::Error::CertExpired { .. })));
    }
}
