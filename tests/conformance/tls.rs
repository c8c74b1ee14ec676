//! TLS for both sides of the harness, with ring as the provider.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme, version,
};

use crate::certs::Certs;
use crate::schema::{ClientTls, UpstreamTls};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn roots(certs: &Certs, authority: &str) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    roots.add(certs.authority_der(authority)?).map_err(text)?;
    Ok(Arc::new(roots))
}

/// The client side; `alpn` unless the case names its own.
pub(crate) fn client(words: &ClientTls, certs: &Certs, alpn: &[&str]) -> Result<ClientConfig, String> {
    let versions: &[&rustls::SupportedProtocolVersion] = match words.max_version.as_deref() {
        None | Some("1.3") => &[&version::TLS13, &version::TLS12],
        Some("1.2") => &[&version::TLS12],
        Some(other) => return Err(format!("no client for TLS {other}")),
    };
    let chain = match &words.ca {
        None => None,
        Some(authority) => Some(
            WebPkiServerVerifier::builder_with_provider(roots(certs, authority)?, provider()).build().map_err(text)?,
        ),
    };
    let verifier = Verifier { chain, name: words.sni.is_some(), provider: provider() };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(text)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &words.cert {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let (chain, key) = certs.pair(name)?;
            builder.with_client_auth_cert(chain, key).map_err(text)?
        }
    };
    config.alpn_protocols = match &words.alpn {
        Some(own) => own.iter().map(|name| name.clone().into_bytes()).collect(),
        None => alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
    };
    Ok(config)
}

/// The server side of an upstream; ALPN is set by what the client offers, see [`alpn_for`].
pub(crate) fn server(words: &UpstreamTls, certs: &Certs) -> Result<ServerConfig, String> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(text)?;
    let builder = match &words.client_ca {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots(certs, authority)?, provider());
            builder.with_client_cert_verifier(verifier.build().map_err(text)?)
        }
    };
    let (chain, key) = certs.pair(&words.cert)?;
    builder.with_single_cert(chain, key).map_err(text)
}

/// What an upstream may choose: its own protocols, or none if the client offers none of them, which is no reason to
/// refuse the client.
pub(crate) fn alpn_for<'a>(words: &UpstreamTls, offered: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let own: Vec<Vec<u8>> = match &words.alpn {
        Some(own) => own.iter().map(|name| name.clone().into_bytes()).collect(),
        None => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    let offered: Vec<&[u8]> = offered.collect();
    if own.iter().any(|name| offered.contains(&name.as_slice())) { own } else { Vec::new() }
}

/// Verifies the chain if an authority is given, and the name if the case names the server.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
