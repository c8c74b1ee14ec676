//! Gateway: which ports a gateway listens on, for which hosts, and how it is secured.
//!
//! ```
//! use mesh_router::config::{Gateway, Server, ServerPort};
//!
//! let port = ServerPort { number: 80, protocol: "HTTP".into(), name: "http".into(), ..ServerPort::default() };
//! let server = Server { port: Some(port), hosts: vec!["*".into()], ..Server::default() };
//! let spec = Gateway { servers: vec![server], ..Gateway::default() };
//! assert!(spec.selector.is_empty());
//! ```

use std::collections::BTreeMap;

use super::message::{enumeration, message};

message! {
    /// The `spec` of a Gateway.
    pub struct Gateway {
        /// What it listens on.
        pub servers: Vec<Server> = "servers",
        /// Labels of the gateways that it is for. Empty: all of them.
        pub selector: BTreeMap<String, String> = "selector",
    }
}

message! {
    /// A port that a gateway listens on, and for whom.
    pub struct Server {
        /// The port. Required.
        pub port: Option<ServerPort> = "port",
        /// The address, or `unix:///path`, on Linux also `unix://@name`. Empty: all addresses of IPv4; `::`: all of IPv6.
        pub bind: String = "bind",
        /// The hosts, each with or without `namespace/` before it. Required.
        pub hosts: Vec<String> = "hosts",
        /// How connections are secured.
        pub tls: Option<ServerTlsSettings> = "tls",
        /// Not implemented by Istio.
        pub default_endpoint: String = "defaultEndpoint" | "default_endpoint",
        /// The name, for statistics only.
        pub name: String = "name",
    }
}

message! {
    /// A port of a gateway.
    pub struct ServerPort {
        /// Its number. Required.
        pub number: u32 = "number",
        /// `HTTP`, `HTTP2`, `GRPC`, `GRPC-WEB`, `HTTPS`, `TLS`, `TCP`, `MONGO`, `REDIS` or `MYSQL`, in any
        /// case. Required.
        pub protocol: String = "protocol",
        /// Its name, once in the Gateway. Required.
        pub name: String = "name",
        /// Refused by Istio.
        pub target_port: u32 = "targetPort" | "target_port",
    }
}

message! {
    /// How connections to a gateway are secured.
    pub struct ServerTlsSettings {
        /// Whether plaintext requests are sent to https by 301. Default: false.
        pub https_redirect: bool = "httpsRedirect" | "https_redirect",
        /// Whether and how TLS is ended here.
        pub mode: ServerTlsMode = "mode",
        /// The file with the server's certificate.
        pub server_certificate: String = "serverCertificate" | "server_certificate",
        /// The file with its key.
        pub private_key: String = "privateKey" | "private_key",
        /// The file with the authorities that clients are verified against.
        pub ca_certificates: String = "caCertificates" | "ca_certificates",
        /// The file with revoked certificates.
        pub ca_crl: String = "caCrl" | "ca_crl",
        /// The Secret with certificate, key and authorities, in place of files.
        pub credential_name: String = "credentialName" | "credential_name",
        /// Two Secrets, for two kinds of key.
        pub credential_names: Vec<String> = "credentialNames" | "credential_names",
        /// The Secret with the authorities.
        pub ca_cert_credential_name: String = "caCertCredentialName" | "ca_cert_credential_name",
        /// Two certificates by files, for two kinds of key.
        pub tls_certificates: Vec<TlsCertificate> = "tlsCertificates" | "tls_certificates",
        /// The names of which a client must have one.
        pub subject_alt_names: Vec<String> = "subjectAltNames" | "subject_alt_names",
        /// Hashes of public keys (base64 of SHA-256) of which a client must have one.
        pub verify_certificate_spki: Vec<String> = "verifyCertificateSpki" | "verify_certificate_spki",
        /// Hashes of certificates (hexadecimal SHA-256) of which a client must have one.
        pub verify_certificate_hash: Vec<String> = "verifyCertificateHash" | "verify_certificate_hash",
        /// The oldest version of TLS. Default: 1.2.
        pub min_protocol_version: TlsProtocol = "minProtocolVersion" | "min_protocol_version",
        /// The newest version of TLS. Default: 1.3.
        pub max_protocol_version: TlsProtocol = "maxProtocolVersion" | "max_protocol_version",
        /// The cipher suites, up to TLS 1.2. Empty: all that rustls has.
        pub cipher_suites: Vec<String> = "cipherSuites" | "cipher_suites",
        /// Whether any certificate of a client is taken. Unset: false.
        pub insecure_skip_verify: Option<bool> = "insecureSkipVerify" | "insecure_skip_verify",
    }
}

message! {
    /// A certificate by files.
    pub struct TlsCertificate {
        /// The file with the certificate.
        pub server_certificate: String = "serverCertificate" | "server_certificate",
        /// The file with its key.
        pub private_key: String = "privateKey" | "private_key",
        /// The file with the authorities that clients are verified against.
        pub ca_certificates: String = "caCertificates" | "ca_certificates",
    }
}

enumeration! {
    /// Whether and how a gateway ends TLS.
    pub enum ServerTlsMode {
        /// Not: the connection is passed on by its SNI.
        Passthrough = "PASSTHROUGH",
        /// With a certificate of the server.
        Simple = "SIMPLE",
        /// With one of the client too.
        Mutual = "MUTUAL",
        /// Not: the SNI names the destination itself.
        AutoPassthrough = "AUTO_PASSTHROUGH",
        /// With the mesh's certificates on both sides.
        IstioMutual = "ISTIO_MUTUAL",
        /// As `Mutual`, but the client may have none.
        OptionalMutual = "OPTIONAL_MUTUAL",
    }
}

enumeration! {
    /// A version of TLS.
    pub enum TlsProtocol {
        /// The default.
        TlsAuto = "TLS_AUTO",
        /// TLS 1.0.
        TlsV10 = "TLSV1_0",
        /// TLS 1.1.
        TlsV11 = "TLSV1_1",
        /// TLS 1.2.
        TlsV12 = "TLSV1_2",
        /// TLS 1.3.
        TlsV13 = "TLSV1_3",
    }
}
