//! The client's end: what is presented to an endpoint, and which certificates of endpoints are taken.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use webpki::KeyUsage;

use super::certificate::{Certificate, verify_tls12, verify_tls13};
use super::trust::Trust;
use super::{pem, provider};
use crate::upstream::{Identity, TlsSettings};

/// What an endpoint's certificate has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// One of each list, in a certificate that an authority vouches for.
    OneOfEach(Arc<[Box<[Box<str>]>]>),
    /// Nothing at all: every certificate is taken.
    Unverified,
}

/// The files that [`client_config`] reads.
pub(crate) fn files_of(settings: &TlsSettings) -> Vec<PathBuf> {
    let TlsSettings { identity, roots, revoked, .. } = settings;
    let identity = identity.iter().flat_map(|Identity { certificates, key }| [certificates, key]);
    identity.chain(roots).chain(revoked).filter_map(pem::file).collect()
}

/// The configuration for connections by `settings`, on which one of the protocols `alpn` is spoken.
pub(crate) fn client_config(settings: &TlsSettings, names: &Names, alpn: &[&[u8]]) -> io::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let trust = match names {
        Names::Unverified => None,
        Names::OneOfEach(_) => Some(Trust::shared(settings.roots.as_ref(), settings.revoked.as_ref())?),
    };
    let verifier = Verifier { trust, names: names.clone() };
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &settings.identity {
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pem::certified(identity)?)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// Takes certificates by [`Trust`] and [`Names`].
#[derive(Debug)]
struct Verifier {
    trust: Option<Arc<Trust>>,
    names: Names,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trust) = &self.trust else {
            let signs = Certificate::read(certificate)?.may_sign();
            let unfit = Error::InvalidCertificate(CertificateError::InvalidPurpose);
            return signs.then(ServerCertVerified::assertion).ok_or(unfit);
        };
        let leaf = trust.verify(certificate, intermediates, KeyUsage::server_auth(), now)?;
        let one_of = |names: &[Box<str>]| names.iter().any(|name| leaf.has_name(name));
        match &self.names {
            Names::OneOfEach(lists) if !lists.iter().all(|names| one_of(names)) => {
                Err(Error::InvalidCertificate(CertificateError::NotValidForName))
            }
            Names::OneOfEach(_) | Names::Unverified => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
