//! What authorities have taken back: [`Revocations`].
//!
//! webpki asks the first list that it finds, whatever came after it, and none about a trusted certificate. Here it is as
//! BoringSSL has it: every certificate of a path has to be on no list, by the newest of its issuer that is in force.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io;
use std::sync::OnceLock;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateRevocationListDer, UnixTime};
use x509_parser::extensions::{DistributionPointName, GeneralName, IssuingDistributionPoint, ParsedExtension};
use x509_parser::oid_registry::{OID_X509_EXT_DELTA_CRL_INDICATOR, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT};
use x509_parser::prelude::{FromDer, X509Extension};
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::X509Version;

use super::certificate::Certificate;
use super::dates::unix_time;
use super::signature::is_signed_by;

/// Lists of revoked certificates. Where there are some, and be it none that can be used, certificates need one.
pub(super) struct Revocations {
    lists: Vec<List>,
}

impl Revocations {
    pub(super) fn read(ders: Vec<CertificateRevocationListDer<'static>>) -> io::Result<Self> {
        let mut lists = Vec::with_capacity(ders.len());
        for der in ders {
            let unreadable = |why| {
                let why = format!("revoked certificates cannot be read: {why}");
                io::Error::new(io::ErrorKind::InvalidData, why)
            };
            let (rest, parsed) =
                CertificateRevocationList::from_der(&der).map_err(|error| unreadable(error.to_string()))?;
            if !rest.is_empty() {
                return Err(unreadable("there is more behind them".to_owned()));
            }
            match fault(&parsed) {
                None => lists.push(List::of(&parsed)),
                Some(why) => {
                    let issuer = parsed.issuer();
                    tracing::warn!(%issuer, "a list of revoked certificates is of no use, because {why}");
                }
            }
        }
        Ok(Self { lists })
    }

    /// Whether every certificate of a path is known not to be taken back. Behind each stands its issuer; the last can only
    /// have been its own.
    pub(super) fn ask(
        &self,
        path: &[Certificate<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), webpki::Error> {
        for (at, certificate) in path.iter().enumerate() {
            let issuer = path.get(at + 1).unwrap_or(certificate);
            let about = |list: &&List| list.is_in_force(now) && list.is_about(certificate);
            let mut lists: Vec<_> = self.lists.iter().filter(about).collect();
            lists.sort_by_key(|list| Reverse((list.from, list.has(certificate))));
            let newest =
                lists.into_iter().find(|list| issuer.may_sign_lists() && list.is_signed_by(issuer, algorithms));
            if newest.ok_or(webpki::Error::UnknownRevocationStatus)?.has(certificate) {
                return Err(webpki::Error::CertRevoked);
            }
        }
        Ok(())
    }
}

/// What one authority has taken back.
struct List {
    der: Box<[u8]>,
    issuer: Box<[u8]>,
    from: UnixTime,
    until: Option<UnixTime>,
    /// Their serial numbers.
    revoked: BTreeSet<Box<[u8]>>,
    /// Whether there may be authorities among them, and others.
    of_authorities: bool,
    of_others: bool,
    /// The places where certificates say that they would be listed; `None` for all of its issuer.
    places: Option<Box<[Box<str>]>>,
    /// The key that is known to have signed it.
    signer: OnceLock<Box<[u8]>>,
}

impl List {
    fn of(parsed: &CertificateRevocationList<'_>) -> Self {
        let scope = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::IssuingDistributionPoint(scope) => Some(scope),
            _ => None,
        });
        let places = scope.and_then(|scope| scope.distribution_point.as_ref());
        Self {
            der: parsed.as_raw().into(),
            issuer: parsed.issuer().as_raw().into(),
            from: unix_time(parsed.last_update()),
            until: parsed.next_update().map(unix_time),
            revoked: parsed.iter_revoked_certificates().map(|entry| entry.raw_serial().into()).collect(),
            of_authorities: scope.is_none_or(|scope| !scope.only_contains_user_certs),
            of_others: scope.is_none_or(|scope| !scope.only_contains_ca_certs),
            places: places.map(|places| uris(places).map(Box::from).collect()),
            signer: OnceLock::new(),
        }
    }

    fn is_in_force(&self, now: UnixTime) -> bool {
        self.from <= now && self.until.is_none_or(|until| now <= until)
    }

    /// Whether a certificate would be on it.
    fn is_about(&self, certificate: &Certificate<'_>) -> bool {
        let of_such = if certificate.is_authority() { self.of_authorities } else { self.of_others };
        let is_at = |place: &str| self.places.iter().flatten().any(|own| **own == *place);
        of_such
            && *self.issuer == *certificate.issuer()
            && (self.places.is_none() || certificate.places_of_lists().flat_map(uris).any(is_at))
    }

    fn has(&self, certificate: &Certificate<'_>) -> bool {
        self.revoked.contains(certificate.serial())
    }

    fn is_signed_by(&self, issuer: &Certificate<'_>, algorithms: &WebPkiSupportedAlgorithms) -> bool {
        let key = issuer.key();
        if self.signer.get().is_some_and(|signer| **signer == *key) {
            return true;
        }
        let is_signed = is_signed_by(&self.der, &key, algorithms);
        if is_signed {
            self.signer.get_or_init(|| Box::from(&*key));
        }
        is_signed
    }
}

/// Why nobody can tell from a list who is on it.
fn fault(list: &CertificateRevocationList<'_>) -> Option<&'static str> {
    let of_entries = || list.iter_revoked_certificates().flat_map(|entry| entry.extensions());
    let plain = list.extensions().is_empty() && of_entries().next().is_none();
    match list.version() {
        None if plain => {}
        Some(X509Version::V2) => {}
        _ => return Some("its version is another"),
    }
    if list.signature_algorithm != list.tbs_cert_list.signature {
        return Some("it names two algorithms");
    }
    if list.tbs_cert_list.extensions_map().is_err() {
        return Some("it says something twice");
    }
    let partial = list.extensions().iter().any(is_partial);
    (partial || of_entries().any(|extension| extension.critical)).then_some("it does not say all, or not plainly")
}

/// Whether an extension makes a list one of some revocations only, or of something that is unknown here.
fn is_partial(extension: &X509Extension<'_>) -> bool {
    match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(_) => false,
        ParsedExtension::IssuingDistributionPoint(IssuingDistributionPoint {
            only_some_reasons,
            indirect_crl,
            only_contains_attribute_certs,
            ..
        }) => only_some_reasons.is_some() || *indirect_crl || *only_contains_attribute_certs,
        _ => {
            let scopes = [OID_X509_EXT_ISSUER_DISTRIBUTION_POINT, OID_X509_EXT_DELTA_CRL_INDICATOR];
            extension.critical || scopes.contains(&extension.oid)
        }
    }
}

fn uris<'a>(places: &'a DistributionPointName<'_>) -> impl Iterator<Item = &'a str> {
    let names = match places {
        DistributionPointName::FullName(names) => names.as_slice(),
        DistributionPointName::NameRelativeToCRLIssuer(_) => &[],
    };
    names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    })
}
