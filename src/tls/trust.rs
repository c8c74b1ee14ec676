//! Whose certificates are taken: chains up to trusted authorities, less what is revoked.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ptr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, Error, OtherError};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

use super::authority::{Authority, may_sign_others};
use super::certificate::Certificate;
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

    /// The authorities in `roots`, or the system's; what they have taken back, in `revoked` or beside them.
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
        let mut revoked = revoked.map(lists).transpose()?.unwrap_or_default();
        revoked.extend(roots.map(lists_among).transpose()?.unwrap_or_default());
        let algorithms = provider().signature_verification_algorithms;
        Ok(Self { authorities, anchors, revoked, algorithms })
    }

    /// The certificate of the other side, if it comes from one of the authorities, is valid now and not taken back.
    pub(super) fn verify<'a>(
        &self,
        certificate: &'a CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<Certificate<'a>, Error> {
        let leaf = Certificate::read(certificate)?;
        if !leaf.is_consistent() {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        if !leaf.may_sign() {
            return Err(Error::InvalidCertificate(CertificateError::InvalidPurpose));
        }
        if self.trusts(certificate, &leaf) {
            leaf.is_valid_at(now).map_err(refusal)?;
            self.needs_no_list()?;
            return Ok(leaf);
        }
        if !leaf.is_for(usage) {
            return Err(Error::InvalidCertificate(CertificateError::InvalidPurpose));
        }
        let path = match EndEntityCert::try_from(certificate) {
            Ok(end) => self.verify_path(&end, intermediates, usage, now),
            Err(error) => Err(error),
        };
        match path {
            Ok(()) => {}
            Err(webpki::Error::CaUsedAsEndEntity | webpki::Error::UnsupportedCertVersion) => {
                self.verify_signed(&leaf, now)?;
            }
            Err(error) => return Err(refusal(error)),
        }
        Ok(leaf)
    }

    /// Whether a certificate is one of the authorities, and nobody signed it but itself or who is none of them: it is
    /// trusted as it is, whatever it says that it is for, as by BoringSSL.
    fn trusts(&self, certificate: &CertificateDer<'_>, leaf: &Certificate<'_>) -> bool {
        self.authorities.iter().any(|own| own.is(certificate)) && self.issuer(leaf).is_none()
    }

    /// The authority that issued a certificate, if it is not its own issuer.
    fn issuer(&self, certificate: &Certificate<'_>) -> Option<&Authority> {
        let mut named = self.authorities.iter().filter(|own| own.is_named(certificate.issuer()));
        let issuer = named.find(|own| certificate.is_signed_by(&own.key, &self.algorithms))?;
        (!issuer.is_named(certificate.subject()) || issuer.key != certificate.key()).then_some(issuer)
    }

    /// Whether a path leads from `certificate` to one of the authorities.
    fn verify_path(
        &self,
        end: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let lists: Vec<_> = self.revoked.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            // As BoringSSL: every certificate of the chain needs a list that is still in force.
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let vouches =
            |path: &VerifiedPath<'_>| self.authority(path.anchor()).ok_or(webpki::Error::UnknownIssuer)?.may_vouch(now);
        // webpki does not ask what their keys are for.
        let signers = intermediates.iter().filter(|der| may_sign_others(der));
        let signers: Vec<_> = signers.map(|der| CertificateDer::from(der.as_ref())).collect();
        let (algorithms, anchors) = (self.algorithms.all, &self.anchors);
        let path = end.verify_for_usage(algorithms, anchors, &signers, now, usage, revocation, Some(&vouches));
        path.map(|_| ())
    }

    /// The same for what webpki leads nowhere, which is of version 1 or an authority itself: whether one of the authorities
    /// signed it. No list is asked whether it was taken back.
    fn verify_signed(&self, leaf: &Certificate<'_>, now: UnixTime) -> Result<(), Error> {
        leaf.is_valid_at(now).map_err(refusal)?;
        let authorities = self.authorities.iter().zip(&self.anchors);
        // Its names are not held against any that they are bound to.
        let unbound = authorities.filter(|(_, anchor)| anchor.name_constraints.is_none()).map(|(own, _)| own);
        let mut vouches = Err(webpki::Error::UnknownIssuer);
        for own in unbound.filter(|own| own.is_named(leaf.issuer())) {
            if vouches.is_err() && leaf.is_signed_by(&own.key, &self.algorithms) {
                vouches = own.may_vouch(now);
            }
        }
        vouches.map_err(refusal)?;
        self.needs_no_list()
    }

    fn needs_no_list(&self) -> Result<(), Error> {
        match self.revoked.is_empty() {
            true => Ok(()),
            false => Err(Error::InvalidCertificate(CertificateError::UnknownRevocationStatus)),
        }
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

/// What authorities have taken back.
pub(super) fn lists(revoked: &Pem) -> io::Result<Vec<CertRevocationList<'static>>> {
    read(pem::revocations(revoked)?)
}

/// The same of what may stand beside the certificates of authorities, as BoringSSL takes it.
fn lists_among(roots: &Pem) -> io::Result<Vec<CertRevocationList<'static>>> {
    read(pem::revocations_among(roots)?)
}

fn read(lists: Vec<CertificateRevocationListDer<'static>>) -> io::Result<Vec<CertRevocationList<'static>>> {
    let unreadable = |error| invalid(format!("revoked certificates cannot be read: {error}"));
    let list = |der| OwnedCertRevocationList::from_der(der).map(CertRevocationList::from).map_err(unreadable);
    lists.iter().map(|der| list(der)).collect()
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
