//! Securing a connection that was opened.

use std::io;

use super::connect::Spoken;
use super::settings::Settings;
use super::wire::Wire;
use crate::upstream::{TlsMode, TlsSettings};

/// How the connections of one pool are secured.
#[derive(Debug)]
pub(super) struct Secure {
    #[cfg(feature = "tls")]
    client: with_tls::Client,
}

impl Secure {
    /// By the words of a cluster, for requests to `host` where that matters; bytes that are for no host go by the words
    /// alone. `None`: the certificates of the mesh are wanted and there are none, so that the connection is left as it is,
    /// for a sidecar to secure.
    #[cfg(feature = "tls")]
    pub(super) fn new(settings: &Settings, tls: &TlsSettings, host: Option<&str>) -> Option<Self> {
        with_tls::Client::new(settings, tls, host).map(|client| Self { client })
    }

    /// What the application asked for itself: TLS to `host`.
    #[cfg(feature = "tls")]
    pub(super) fn of_host(settings: &Settings, host: &str) -> Option<Self> {
        let roots = settings.https_roots.clone();
        Self::new(settings, &TlsSettings { roots, ..TlsSettings::new(TlsMode::Simple) }, Some(host))
    }

    #[cfg(not(feature = "tls"))]
    pub(super) fn of_host(_: &Settings, _: &str) -> Option<Self> {
        Some(Self {})
    }

    /// What cannot be secured is not sent, unless somebody else may secure it.
    #[cfg(not(feature = "tls"))]
    pub(super) fn new(settings: &Settings, tls: &TlsSettings, _: Option<&str>) -> Option<Self> {
        let mesh = tls.mode == TlsMode::IstioMutual;
        if mesh {
            settings.leave_to_sidecar("it needs the feature `tls`, which this build has not");
        }
        (!mesh).then_some(Self {})
    }

    /// Shakes hands on `wire` for what is to be spoken.
    #[cfg(feature = "tls")]
    pub(super) async fn handshake(&self, wire: Wire, spoken: Spoken) -> io::Result<Wire> {
        self.client.handshake(wire, spoken).await
    }

    #[cfg(not(feature = "tls"))]
    pub(super) async fn handshake(&self, _: Wire, _: Spoken) -> io::Result<Wire> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "TLS_error: it needs the feature `tls`, which this build has not",
        ))
    }
}

#[cfg(feature = "tls")]
mod with_tls {
    use std::io;
    use std::net::IpAddr;
    use std::sync::Arc;

    use rustls::ClientConfig;
    use rustls::pki_types::ServerName;
    use tokio_rustls::TlsConnector;

    use super::super::connect::Spoken;
    use super::super::settings::Settings;
    use super::super::wire::Wire;
    use crate::tls::{Names, Reloaded, client_config, files_of};
    use crate::upstream::{TlsMode, TlsSettings};

    /// What the handshake says that will be spoken.
    type Protocols = &'static [&'static [u8]];

    const HTTP1: Protocols = &[b"http/1.1"];
    const HTTP2: Protocols = &[b"h2"];
    /// What a sidecar tells the traffic of the mesh by.
    const MESH_HTTP1: Protocols = &[b"istio-http/1.1", b"istio", b"http/1.1"];
    const MESH_HTTP2: Protocols = &[b"istio-h2", b"istio", b"h2"];
    const MESH: Protocols = &[b"istio"];

    /// The client's end of TLS.
    #[derive(Debug)]
    pub(super) struct Client {
        /// What the handshake says, unless it is an address.
        name: ServerName<'static>,
        http1: Reloaded<ClientConfig>,
        http2: Reloaded<ClientConfig>,
        bytes: Reloaded<ClientConfig>,
    }

    impl Client {
        pub(super) fn new(settings: &Settings, tls: &TlsSettings, host: Option<&str>) -> Option<Self> {
            if tls.mode != TlsMode::IstioMutual {
                return Some(Self::with(tls.clone(), names(tls, host), host, [HTTP1, HTTP2, &[]]));
            }
            let Some(mesh) = &settings.mesh_certificates else {
                settings.leave_to_sidecar("the transport has no certificates of the mesh");
                return None;
            };
            let mut tls = tls.clone();
            (tls.identity, tls.roots) = (Some(mesh.identity.clone()), Some(mesh.roots.clone()));
            // Without any: every workload of the mesh.
            let names = Names::OneOfEach(given(&tls).collect());
            Some(Self::with(tls, names, host, [MESH_HTTP1, MESH_HTTP2, MESH]))
        }

        fn with(tls: TlsSettings, names: Names, host: Option<&str>, alpn: [Protocols; 3]) -> Self {
            let name = tls.server_name.as_deref().or(host).unwrap_or_default();
            // A name that is none is not said; an address stands for that in rustls.
            let name = ServerName::try_from(name.to_owned());
            let name = name.unwrap_or(ServerName::from(IpAddr::from([0, 0, 0, 0])));
            let tls = Arc::new(tls);
            let config = |alpn: Protocols| {
                let (files, tls, names) = (files_of(&tls), tls.clone(), names.clone());
                Reloaded::new(files, move || client_config(&tls, &names, alpn))
            };
            let [http1, http2, bytes] = alpn.map(config);
            Self { name, http1, http2, bytes }
        }

        pub(super) async fn handshake(&self, wire: Wire, spoken: Spoken) -> io::Result<Wire> {
            let config = match spoken {
                Spoken::Http1 => &self.http1,
                Spoken::Http2 => &self.http2,
                Spoken::Bytes => &self.bytes,
            };
            let connector = TlsConnector::from(config.get().map_err(named)?);
            let stream = connector.connect(self.name.clone(), wire).await.map_err(named)?;
            Ok(Wire::Tls(Box::new(stream)))
        }
    }

    /// Which names an endpoint must have: one of those that were given, and the one in the handshake if that is
    /// verified. Where there is neither, an authority vouches for it and that is all.
    fn names(tls: &TlsSettings, host: Option<&str>) -> Names {
        if tls.skip_verify {
            return Names::Unverified;
        }
        let named = tls.server_name.as_deref().or(host).filter(|_| tls.verify_name);
        let named = named.map(|name| Box::from([Box::from(name)]));
        Names::OneOfEach(given(tls).chain(named).collect())
    }

    fn given(tls: &TlsSettings) -> impl Iterator<Item = Box<[Box<str>]>> {
        (!tls.subject_alt_names.is_empty()).then(|| tls.subject_alt_names.clone()).into_iter()
    }

    /// Envoy's word first, and whatever its kind: nothing of the request was sent.
    fn named(error: io::Error) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionRefused, format!("TLS_error: {error}"))
    }
}
