//! The server's end: what is shown to clients, and which of their certificates are taken.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoClientAuth;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, CipherSuite, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion, version,
};
use webpki::KeyUsage;

use super::certificate::{verify_tls12, verify_tls13};
use super::shown::Shown;
use super::trust::Trust;
use super::{pem, provider};
use crate::snapshot::{ClientCertificates, ServerTls, TlsVersion};
use crate::upstream::Identity;

/// The files that [`server_end`] reads.
pub(crate) fn files_of_server(words: &ServerTls) -> Vec<PathBuf> {
    let ServerTls { identities, roots, revoked, .. } = words;
    let identities = identities.iter().flat_map(|Identity { certificates, key }| [certificates, key]);
    identities.chain(roots).chain(revoked).filter_map(pem::file).collect()
}

/// How a listener ends TLS.
pub(crate) struct ServerEnd {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) shown: Arc<Shown>,
}

/// The configuration for a listener, on which one of the protocols `alpn` is spoken, if that matters.
pub(crate) fn server_end(words: &ServerTls, alpn: &[&[u8]]) -> io::Result<ServerEnd> {
    let provider = Arc::new(CryptoProvider { cipher_suites: cipher_suites(words), ..(*provider()).clone() });
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&versions(words)).map_err(io::Error::other)?;
    let builder = match words.clients {
        ClientCertificates::None => builder.with_client_cert_verifier(Arc::new(NoClientAuth)),
        ClientCertificates::Optional | ClientCertificates::Required => {
            builder.with_client_cert_verifier(Arc::new(Clients::new(words)?))
        }
    };
    let keys = words.identities.iter().map(|identity| pem::certified(identity).map(Arc::new));
    let shown = Arc::new(Shown::new(keys.collect::<io::Result<Vec<_>>>()?));
    let mut config = builder.with_cert_resolver(shown.clone());
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    if alpn.is_empty() {
        // Who only writes and leaves has not read them, and its kernel would reset the connection for that, with all
        // that is still under way.
        config.send_tls13_tickets = 0;
    }
    Ok(ServerEnd { config: Arc::new(config), shown })
}

fn versions(words: &ServerTls) -> Vec<&'static SupportedProtocolVersion> {
    let known = [(TlsVersion::V13, &version::TLS13), (TlsVersion::V12, &version::TLS12)];
    let spoken = known.into_iter().filter(|(version, _)| (words.oldest..=words.newest).contains(version));
    spoken.map(|(_, version)| version).collect()
}

/// Those of TLS 1.3, which nobody can choose, and those of 1.2 that are named.
fn cipher_suites(words: &ServerTls) -> Vec<SupportedCipherSuite> {
    let all = provider().cipher_suites.clone();
    if words.cipher_suites.is_empty() {
        return all;
    }
    let named = |suite: &SupportedCipherSuite| {
        suite.tls13().is_some()
            || openssl_name(suite.suite()).is_some_and(|name| words.cipher_suites.iter().any(|named| &**named == name))
    };
    all.into_iter().filter(named).collect()
}

/// The name that OpenSSL has for a cipher suite.
pub(crate) fn openssl_name(suite: CipherSuite) -> Option<&'static str> {
    Some(match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => return None,
    })
}

/// Takes certificates of clients by [`Trust`], names and pins.
struct Clients {
    /// `None`: every certificate is taken.
    trust: Option<Trust>,
    subjects: Vec<DistinguishedName>,
    required: bool,
    names: Box<[Box<str>]>,
    key_pins: Box<[[u8; 32]]>,
    certificate_pins: Box<[[u8; 32]]>,
}

impl Clients {
    fn new(words: &ServerTls) -> io::Result<Self> {
        let trust = match &words.roots {
            _ if words.skip_verify => None,
            Some(roots) => Some(Trust::new(Some(roots), words.revoked.as_ref())?),
            None => return Err(io::Error::new(io::ErrorKind::NotFound, "no authority is named for clients")),
        };
        let subjects = trust.iter().flat_map(|trust| trust.subjects().map(DistinguishedName::in_sequence)).collect();
        Ok(Self {
            trust,
            subjects,
            required: words.clients == ClientCertificates::Required,
            names: words.subject_alt_names.clone(),
            key_pins: words.key_pins.clone(),
            certificate_pins: words.certificate_pins.clone(),
        })
    }

    fn is_pinned(&self, der: &CertificateDer<'_>, key: &[u8]) -> bool {
        let is = |pins: &[[u8; 32]], bytes: &[u8]| {
            let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
            pins.iter().any(|pin| pin == hash.as_ref())
        };
        is(&self.certificate_pins, der) || is(&self.key_pins, key)
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("trust", &self.trust).field("required", &self.required).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Some(trust) = &self.trust else { return Ok(ClientCertVerified::assertion()) };
        let leaf = trust.verify(der, intermediates, KeyUsage::client_auth(), now)?;
        if !self.names.is_empty() && !self.names.iter().any(|name| leaf.has_name(name)) {
            return Err(Error::InvalidCertificate(CertificateError::NotValidForName));
        }
        let pinned = !self.key_pins.is_empty() || !self.certificate_pins.is_empty();
        if pinned && !self.is_pinned(der, &leaf.key()) {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        verify_tls12(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        verify_tls13(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConfig, ClientConnection, ConnectionCommon, ServerConnection, SideData};

    use super::*;
    use crate::tls::tests::{Authority, inline};
    use crate::tls::{Names, client_config};
    use crate::upstream::{TlsMode, TlsSettings};

    /// Carries over what one has written; whether that is anything.
    fn carry<A: SideData, B: SideData>(from: &mut ConnectionCommon<A>, to: &mut ConnectionCommon<B>) -> bool {
        let mut bytes = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut bytes).unwrap();
        }
        let mut left = &*bytes;
        while !left.is_empty() {
            to.read_tls(&mut left).unwrap();
            to.process_new_packets().unwrap();
        }
        !bytes.is_empty()
    }

    /// How both ends of a handshake come out of it.
    fn shake(server: ServerEnd, client: ClientConfig) -> (ClientConnection, ServerConnection) {
        let mut server = ServerConnection::new(server.config).unwrap();
        let mut client = ClientConnection::new(Arc::new(client), "a.test".try_into().unwrap()).unwrap();
        while carry(&mut client, &mut server) | carry(&mut server, &mut client) {}
        assert!(!client.is_handshaking() && !server.is_handshaking());
        (client, server)
    }

    /// How many tickets for another session a client gets from such an end.
    fn tickets(alpn: &[&[u8]]) -> u32 {
        let identity = Authority::new("ours").issue(&["a.test"]);
        let server = server_end(&ServerTls::new(vec![identity]), alpn).unwrap();
        let config = client_config(&TlsSettings::new(TlsMode::Simple), &Names::Unverified, alpn).unwrap();
        let (client, _) = shake(server, config);
        assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        client.tls13_tickets_received()
    }

    #[test]
    fn who_may_only_write_is_sent_nothing_that_it_would_have_to_read() {
        assert_eq!(tickets(&[]), 0);
        assert_ne!(tickets(&[b"h2", b"http/1.1"]), 0);
    }

    /// An authority, and a certificate of version 1 that it signed, from 2020 to 2120.
    const OURS: &str = "\
-----BEGIN CERTIFICATE-----
MIIBTTCB9KADAgECAgEBMAoGCCqGSM49BAMCMA8xDTALBgNVBAMMBG91cnMwIBcN
MjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMA8xDTALBgNVBAMMBG91cnMw
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASFIzzIELWQJ1NTU9apumTpcUwqLYn5
bxo/M2slzKoFgFx7HhuHSwtGAJNVGSSHx8PuJ2CgguN2mUDbd6kN5P00oz8wPTAP
BgNVHRMBAf8EBTADAQH/MAsGA1UdDwQEAwIBBjAdBgNVHQ4EFgQUH60/G7y9gntz
PlPu/05in348x1YwCgYIKoZIzj0EAwIDSAAwRQIgTLkH31vBKuUL5FeGlJEr/1IW
2Xp5s/rL9G5D3LA1t4ICIQCzOjMNvp65x4216eso7zfAZyzKMyckwIVhg4BPTRw4
3w==
-----END CERTIFICATE-----";
    const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBCjCBsAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARvdXJzMCAXDTIwMDEw
MTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjARMQ8wDQYDVQQDDAZhLnRlc3QwWTAT
BgcqhkjOPQIBBggqhkjOPQMBBwNCAATY/GT0guj64WW8lO8QCdKMqT2Zdm1Bq85p
0InRH1ReeELDhQTDjKdn2J6oeqg1iAKGJeZ9VuNjlfkqYYqKVTe8MAoGCCqGSM49
BAMCA0kAMEYCIQDCWtyD5UZxWvwjr9laBTUwNOHvgXyURzzONh/6RebekQIhAPGu
82RQnqYsrlQiE0b0+XSRGiPOTcRiY9i+fkZbcOs/
-----END CERTIFICATE-----";
    const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgLrZnhNQrmIgmlqsy
AZjDSr+ats2SeJZvxVfCyGNw1OChRANCAATY/GT0guj64WW8lO8QCdKMqT2Zdm1B
q85p0InRH1ReeELDhQTDjKdn2J6oeqg1iAKGJeZ9VuNjlfkqYYqKVTe8
-----END PRIVATE KEY-----";

    #[test]
    fn certificates_of_version_1_are_shown_and_taken_at_both_ends() {
        let identity = || Identity { certificates: inline(VERSION_1), key: inline(KEY) };
        for version in [TlsVersion::V12, TlsVersion::V13] {
            for names in [Names::Unverified, Names::OneOfEach([].into())] {
                let mut server = ServerTls::new(vec![identity()]);
                (server.oldest, server.newest) = (version, version);
                (server.clients, server.roots) = (ClientCertificates::Required, Some(inline(OURS)));
                let mut client = TlsSettings::new(TlsMode::Simple);
                (client.identity, client.roots) = (Some(identity()), Some(inline(OURS)));
                let (client, server) =
                    (client_config(&client, &names, &[b"h2"]).unwrap(), server_end(&server, &[b"h2"]).unwrap());
                let (client, server) = shake(server, client);
                assert_eq!(
                    (client.alpn_protocol(), client.peer_certificates()),
                    (Some(&b"h2"[..]), server.peer_certificates())
                );
            }
        }
        let another = Authority::new("another").issue(&["a.test"]).key;
        let error = pem::certified(&Identity { certificates: inline(VERSION_1), key: another }).unwrap_err();
        assert_eq!(error.to_string(), "a Secret: the key is not the certificate's");
    }
}
