//! Certificates of the other side of a connection, and of who stands for it: [`Certificate`].
//!
//! They are read apart from webpki, which takes no certificates of version 1: those that `openssl x509 -req` makes where no
//! extension is asked for.

use std::net::IpAddr;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved};
use webpki::{KeyUsage, RawPublicKeyEntity};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use super::dates::Dates;
use super::provider;
use super::signature::is_signed_by;

/// A certificate that is shown in a handshake, or on the way from there to an authority.
#[derive(Debug)]
pub(super) struct Certificate<'a> {
    parsed: X509Certificate<'a>,
}

impl<'a> Certificate<'a> {
    pub(super) fn read(der: &'a [u8]) -> Result<Self, Error> {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|_| invalid(CertificateError::BadEncoding))?;
        let is_of_its_version = match parsed.version() {
            X509Version::V1 | X509Version::V2 => parsed.extensions().is_empty(),
            version => version == X509Version::V3,
        };
        if !is_of_its_version {
            return Err(invalid(CertificateError::BadEncoding));
        }
        Ok(Self { parsed })
    }

    /// Whether only an authority says how many may follow it.
    pub(super) fn is_consistent(&self) -> bool {
        self.parsed.basic_constraints().is_ok_and(|constraints| {
            constraints
                .is_none_or(|constraints| constraints.value.ca || constraints.value.path_len_constraint.is_none())
        })
    }

    /// Its number among those of its issuer.
    pub(super) fn serial(&self) -> &[u8] {
        self.parsed.raw_serial()
    }

    /// The public key, with what it is.
    pub(super) fn key(&self) -> SubjectPublicKeyInfoDer<'_> {
        self.parsed.public_key().raw.into()
    }

    /// Who signed it, as that is named.
    pub(super) fn issuer(&self) -> &[u8] {
        self.parsed.issuer().as_raw()
    }

    /// Whose it is, as that is named.
    pub(super) fn subject(&self) -> &[u8] {
        self.parsed.subject().as_raw()
    }

    /// Whether `key` signed it, by the algorithm that it names inside and outside.
    pub(super) fn is_signed_by(
        &self,
        key: &SubjectPublicKeyInfoDer<'_>,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> bool {
        let X509Certificate { tbs_certificate, signature_algorithm, .. } = &self.parsed;
        tbs_certificate.signature == *signature_algorithm && is_signed_by(self.parsed.as_raw(), key, algorithms)
    }

    /// Whether it is valid at that time.
    pub(super) fn is_valid_at(&self, now: UnixTime) -> Result<(), webpki::Error> {
        Dates::of(self.parsed.validity()).hold(now)
    }

    /// Whether it may be used so. One that says nothing is for everything.
    pub(super) fn is_for(&self, usage: KeyUsage) -> bool {
        let servers = usage.oid_values().eq(KeyUsage::SERVER_AUTH_REPR.iter().copied());
        self.parsed.extended_key_usage().is_ok_and(|purpose| {
            purpose.is_none_or(|purpose| if servers { purpose.value.server_auth } else { purpose.value.client_auth })
        })
    }

    /// Whether its key may sign a handshake.
    pub(super) fn may_sign(&self) -> bool {
        self.parsed.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.digital_signature()))
    }

    /// Whether its key may sign lists of revoked certificates.
    pub(super) fn may_sign_lists(&self) -> bool {
        self.parsed.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.crl_sign()))
    }

    pub(super) fn is_authority(&self) -> bool {
        self.parsed.is_ca()
    }

    /// Where its issuer would list it, if that is said, alone and for every reason.
    pub(super) fn places_of_lists(&self) -> impl Iterator<Item = &DistributionPointName<'a>> {
        let points = self.parsed.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::CRLDistributionPoints(points) => Some(&points.points),
            _ => None,
        });
        let own = points.flatten().filter(|point| point.reasons.is_none() && point.crl_issuer.is_none());
        own.filter_map(|point| point.distribution_point.as_ref())
    }

    /// Whether it has this alternative name of whichever kind: a DNS name, for which it may have a wildcard, or that
    /// wildcard itself, an address, a URI, or one for mail.
    pub(super) fn has_name(&self, name: &str) -> bool {
        let Ok(Some(names)) = self.parsed.subject_alternative_name() else { return false };
        names.value.general_names.iter().any(|own| match own {
            GeneralName::DNSName(own) => covers(own, name),
            GeneralName::URI(own) | GeneralName::RFC822Name(own) => *own == name,
            GeneralName::IPAddress(own) => address(own).is_some_and(|own| name.parse() == Ok(own)),
            _ => false,
        })
    }
}

/// Whether a DNS name, or a wildcard of one, is `name` or takes it, as by Envoy: the star may stand anywhere in the first
/// label, which must not be encoded, and for nothing.
fn covers(own: &str, name: &str) -> bool {
    if own.eq_ignore_ascii_case(name) {
        return true;
    }
    let Some(((pattern, own_domain), (label, domain))) = own.split_once('.').zip(name.split_once('.')) else {
        return false;
    };
    let Some((before, after)) = pattern.split_once('*') else { return false };
    let one_star = !after.contains('*') && !own_domain.contains('*');
    let [pattern, label] = [pattern, label].map(str::to_ascii_lowercase);
    one_star
        && !pattern.starts_with("xn--")
        && own_domain.eq_ignore_ascii_case(domain)
        && label.len() + 1 >= pattern.len()
        && label.starts_with(&pattern[..before.len()])
        && label.ends_with(&pattern[before.len() + 1..])
}

/// The address that an alternative name is.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn invalid(why: CertificateError) -> Error {
    Error::InvalidCertificate(why)
}

/// Verifies a signature of a handshake of TLS 1.2 with the key of `certificate`.
pub(super) fn verify_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let leaf = Certificate::read(certificate)?;
    let known = provider().signature_verification_algorithms.mapping;
    let Some((_, algorithms)) = known.iter().find(|(scheme, _)| *scheme == signed.scheme) else {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    };
    let spki = leaf.key();
    let key = RawPublicKeyEntity::try_from(&spki).map_err(|_| invalid(CertificateError::BadEncoding))?;
    let is_signed = algorithms.iter().any(|by| key.verify_signature(*by, message, signed.signature()).is_ok());
    is_signed.then(HandshakeSignatureValid::assertion).ok_or(invalid(CertificateError::BadSignature))
}

/// Verifies a signature of a handshake of TLS 1.3 with the key of `certificate`.
pub(super) fn verify_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = provider().signature_verification_algorithms;
    verify_tls13_signature_with_raw_key(message, &Certificate::read(certificate)?.key(), signed, &algorithms)
}
