//! Whose certificates are taken: chains up to trusted authorities, less what is revoked.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ptr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, Error, OtherError};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::authority::{Authority, may_sign_others};
use super::certificate::Certificate;
use super::reloaded::{Stamp, stamp};
use super::revocation::Revocations;
use super::{pem, provider};
use crate::upstream::Pem;

/// How many certificates there may be from one at the end to an authority that nobody signed.
const LONGEST: usize = 16;

/// Authorities, and what they have taken back.
pub(crate) struct Trust {
    authorities: Vec<Authority>,
    /// What webpki keeps of each.
    anchors: Vec<TrustAnchor<'static>>,
    /// `None` where there is no list, and nobody needs one.
    revocations: Option<Revocations>,
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
        let mut lists = revoked.map(pem::revocations).transpose()?.unwrap_or_default();
        // They may stand beside the certificates of authorities too, as BoringSSL takes them.
        lists.extend(roots.map(pem::revocations_among).transpose()?.unwrap_or_default());
        let revocations = (!lists.is_empty()).then(|| Revocations::read(lists)).transpose()?;
        let algorithms = provider().signature_verification_algorithms;
        Ok(Self { authorities, anchors, revocations, algorithms })
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
            leaf.is_valid_at(now).and_then(|()| self.ask_lists([certificate.as_ref()], now)).map_err(refusal)?;
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
            Err(webpki::Error::CaUsedAsEndEntity | webpki::Error::UnsupportedCertVersion) => {
                self.verify_signed(certificate, &leaf, now)
            }
            path => path,
        }
        .map_err(refusal)?;
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

    /// Whether a path leads from a certificate to one of the authorities.
    fn verify_path(
        &self,
        end: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let vouches = |path: &VerifiedPath<'_>| {
            let authority = self.authority(path.anchor()).ok_or(webpki::Error::UnknownIssuer)?;
            authority.may_vouch(now)?;
            let between: Vec<_> = path.intermediate_certificates().map(|certificate| certificate.der()).collect();
            let ends = [path.end_entity().der()];
            let path = ends.iter().chain(&between).map(AsRef::as_ref).chain([authority.der()]);
            self.ask_lists(path, now)
        };
        // webpki does not ask what their keys are for.
        let signers = intermediates.iter().filter(|der| may_sign_others(der));
        let signers: Vec<_> = signers.map(|der| CertificateDer::from(der.as_ref())).collect();
        let (algorithms, anchors) = (self.algorithms.all, &self.anchors);
        let path = end.verify_for_usage(algorithms, anchors, &signers, now, usage, None, Some(&vouches));
        path.map(|_| ())
    }

    /// The same for what webpki leads nowhere, which is of version 1 or an authority itself: whether one of the authorities
    /// signed it.
    fn verify_signed(
        &self,
        certificate: &CertificateDer<'_>,
        leaf: &Certificate<'_>,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        leaf.is_valid_at(now)?;
        let authorities = self.authorities.iter().zip(&self.anchors);
        // Its names are not held against any that they are bound to.
        let unbound = authorities.filter(|(_, anchor)| anchor.name_constraints.is_none()).map(|(own, _)| own);
        let mut vouches = Err(webpki::Error::UnknownIssuer);
        for own in unbound.filter(|own| own.is_named(leaf.issuer())) {
            if vouches.is_err() && leaf.is_signed_by(&own.key, &self.algorithms) {
                vouches = own.may_vouch(now).and_then(|()| self.ask_lists([certificate.as_ref(), own.der()], now));
            }
        }
        vouches
    }

    /// Whether the lists, if there are some, have none of a path, which goes on to an authority that is its own issuer.
    fn ask_lists<'a>(&'a self, path: impl IntoIterator<Item = &'a [u8]>, now: UnixTime) -> Result<(), webpki::Error> {
        let Some(revocations) = &self.revocations else { return Ok(()) };
        let read = |der| Certificate::read(der).map_err(|_| webpki::Error::BadDer);
        let mut path = path.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        while path.len() < LONGEST
            && let Some(issuer) = path.last().and_then(|last| self.issuer(last))
        {
            path.push(read(issuer.der())?);
        }
        revocations.ask(&path, now, &self.algorithms)
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
