//! Whose certificates are taken: chains up to trusted authorities, less what is revoked.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ptr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::{CertificateError, Error, OtherError};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

use super::authority::Authority;
use super::reloaded::{Stamp, stamp};
use super::{pem, provider};
use crate::upstream::Pem;

/// Authorities, and what they have taken back.
pub(crate) struct Trust {
    authorities: Vec<Authority>,
    /// What webpki keeps of each.
    anchors: Vec<TrustAnchor<'static>>,
    revoked: Vec<CertRevocationList<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Authorities, what they have taken back, and when the files of both were changed.
type Words = (Option<Pem>, Option<Pem>, Vec<Stamp>);

impl Trust {
    /// The same as [`new`](Self::new), read once for all who have it at a time: there may be a configuration for each
    /// name that clients think of, and authorities are large.
    pub(crate) fn shared(roots: Option<&Pem>, revoked: Option<&Pem>) -> io::Result<Arc<Self>> {
        static SHARED: Mutex<Option<HashMap<Words, Weak<Trust>>>> = Mutex::new(None);
        let lock = || SHARED.lock().unwrap_or_else(PoisonError::into_inner);

        // Before they are read: a change in between makes others read them again.
        let stamps = [roots, revoked].into_iter().flatten().filter_map(pem::file).map(|file| stamp(&file)).collect();
        let words = (roots.cloned(), revoked.cloned(), stamps);
        let known = |shared: &HashMap<Words, Weak<Self>>| shared.get(&words).and_then(Weak::upgrade);
        if let Some(trust) = lock().as_ref().and_then(known) {
            return Ok(trust);
        }
        let trust = Arc::new(Self::new(roots, revoked)?);
        let mut shared = lock();
        let shared = shared.get_or_insert_default();
        if let Some(first) = known(shared) {
            return Ok(first);
        }
        shared.retain(|_, trust| trust.strong_count() > 0);
        shared.insert(words, Arc::downgrade(&trust));
        Ok(trust)
    }

    /// The authorities in `roots`, or the system's.
    pub(crate) fn new(roots: Option<&Pem>, revoked: Option<&Pem>) -> io::Result<Self> {
        let certificates = match roots {
            Some(roots) => pem::certificates(roots)?,
            None => system().to_vec(),
        };
        let lenient = roots.is_none();
        let (mut authorities, mut anchors) = (Vec::with_capacity(certificates.len()), Vec::new());
        for certificate in certificates {
            let anchor = webpki::anchor_from_trusted_cert(&certificate).map(|anchor| anchor.to_owned());
            match anchor.and_then(|anchor| Ok((anchor, Authority::read(certificate)?))) {
                Ok((anchor, authority)) => {
                    anchors.push(anchor);
                    authorities.push(authority);
                }
                // One that the system has and nobody can use is no reason to trust none.
                Err(_) if lenient => {}
                Err(error) => return Err(invalid(format!("an authority's certificate cannot be read: {error}"))),
            }
        }
        let revoked = revoked.map(lists).transpose()?.unwrap_or_default();
        let algorithms = provider().signature_verification_algorithms;
        Ok(Self { authorities, anchors, revoked, algorithms })
    }

    /// The certificate of the other side, if it comes from one of the authorities, is valid now and not taken back.
    pub(crate) fn verify<'a>(
        &self,
        certificate: &'a CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<EndEntityCert<'a>, Error> {
        let end = EndEntityCert::try_from(certificate).map_err(refusal)?;
        let lists: Vec<_> = self.revoked.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            // As BoringSSL: every certificate of the chain needs a list that is still in force.
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let vouches = |path: &VerifiedPath<'_>| match self.authority(path.anchor()) {
            // It is trusted itself, whoever it may sign.
            Some(authority) if authority.is(certificate) => Ok(()),
            Some(authority) => authority.may_vouch(usage, now),
            None => Err(webpki::Error::UnknownIssuer),
        };
        let (algorithms, anchors) = (self.algorithms.all, &self.anchors);
        let path = end.verify_for_usage(algorithms, anchors, intermediates, now, usage, revocation, Some(&vouches));
        match path.map(|_| ()) {
            Err(webpki::Error::CaUsedAsEndEntity) => self.verify_own(certificate, usage)?,
            Err(error) => return Err(refusal(error)),
            Ok(()) => {}
        }
        Ok(end)
    }

    /// Whether `certificate` is its own authority, and trusted as such. Its dates have been looked at by then, and nothing
    /// else: no list has been asked whether it was taken back.
    fn verify_own(&self, certificate: &CertificateDer<'_>, usage: KeyUsage) -> Result<(), Error> {
        let Some(own) = self.authorities.iter().find(|own| own.is(certificate)) else {
            return Err(refusal(webpki::Error::CaUsedAsEndEntity));
        };
        let why = match own.is_for(usage) {
            false => CertificateError::InvalidPurpose,
            true if self.revoked.is_empty() => return Ok(()),
            true => CertificateError::UnknownRevocationStatus,
        };
        Err(Error::InvalidCertificate(why))
    }

    /// Whose anchor it is.
    fn authority(&self, anchor: &TrustAnchor<'_>) -> Option<&Authority> {
        let at = self.anchors.iter().position(|own| ptr::eq(own, anchor))?;
        self.authorities.get(at)
    }

    /// What is sent to clients to choose their certificate by.
    #[cfg(feature = "gateway")]
    pub(crate) fn subjects(&self) -> impl Iterator<Item = &[u8]> {
        self.anchors.iter().map(|anchor| anchor.subject.as_ref())
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("authorities", &self.anchors.len()).finish_non_exhaustive()
    }
}

/// Whether a certificate has `name`: a DNS name, for which it may have a wildcard, or that wildcard itself, an address or
/// a URI.
pub(crate) fn has_name(certificate: &EndEntityCert<'_>, name: &str) -> bool {
    let known = match name.parse::<IpAddr>() {
        Ok(address) => Some(ServerName::from(address)),
        Err(_) => ServerName::try_from(name).ok(),
    };
    known.is_some_and(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok())
        || certificate.valid_uri_names().any(|uri| uri == name)
        || certificate.valid_dns_names().any(|dns| dns == name)
}

/// What authorities have taken back.
pub(super) fn lists(revoked: &Pem) -> io::Result<Vec<CertRevocationList<'static>>> {
    let unreadable = |error| invalid(format!("revoked certificates cannot be read: {error}"));
    let list = |der| OwnedCertRevocationList::from_der(der).map(CertRevocationList::from).map_err(unreadable);
    pem::revocations(revoked)?.iter().map(|der| list(der)).collect()
}

/// What the operating system trusts, read once.
fn system() -> &'static [CertificateDer<'static>] {
    static SYSTEM: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    SYSTEM.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in found.errors {
            tracing::warn!(%error, "a certificate of the system cannot be read");
        }
        if found.certs.is_empty() {
            tracing::warn!("the system trusts no authority: no certificate will be taken without caCertificates");
        }
        found.certs
    })
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// In rustls' words, which decide the alert that is sent.
fn refusal(error: webpki::Error) -> Error {
    let why = match error {
        webpki::Error::BadDer | webpki::Error::BadDerTime => CertificateError::BadEncoding,
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::CertRevoked => CertificateError::Revoked,
        webpki::Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        error => CertificateError::Other(OtherError(Arc::new(error))),
    };
    Error::InvalidCertificate(why)
}
