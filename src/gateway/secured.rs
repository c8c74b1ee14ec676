//! Ending TLS: [`Configs`] holds what the listeners show and ask.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate;
use super::hello::{Hello, Rewound};
use crate::request::{Certificate, DownstreamTls};
use crate::snapshot::{Listener, ListenerProtocol, ServerTls};
use crate::tls::{Reloaded, ServerEnd, Shown, ShownOnce, files_of_server, openssl_name, server_end};
use crate::transport::MeshCertificates;
use crate::upstream::{Identity, Pem};

/// What is spoken on listeners of HTTP.
const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];

/// The configurations of rustls by listener. They are made when they are first needed, and again when the words or the
/// files change, so that sessions can be resumed over reloads.
#[derive(Debug)]
pub(super) struct Configs {
    /// For listeners of the mesh.
    mesh: MeshCertificates,
    by_listener: Mutex<HashMap<Arc<str>, Made>>,
}

#[derive(Debug)]
struct Made {
    words: Arc<ServerTls>,
    ended: Ended,
}

/// How a listener ends TLS.
#[derive(Clone, Debug)]
pub(super) struct Ended(Arc<Reloaded<End>>);

/// The same at one moment, with what is known of each certificate that is shown.
#[derive(Debug)]
struct End {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
    own: Box<[Option<Arc<Certificate>>]>,
}

impl From<ServerEnd> for End {
    fn from(ServerEnd { config, shown }: ServerEnd) -> Self {
        let own = shown.certificates().map(|der| der.and_then(certificate::read).map(Arc::new)).collect();
        Self { config, shown, own }
    }
}

impl Configs {
    /// Without certificates of the mesh its listeners are closed.
    pub(super) fn new(mesh: Option<MeshCertificates>) -> Self {
        let missing = |what: &str| Pem::Missing(format!("{what} of the mesh for ISTIO_MUTUAL").into());
        let none = || MeshCertificates {
            identity: Identity { certificates: missing("the certificate"), key: missing("the key") },
            roots: missing("the authority"),
        };
        Self { mesh: mesh.unwrap_or_else(none), by_listener: Mutex::default() }
    }

    /// How `listener` ends TLS. `None`: it does not.
    pub(super) fn of(&self, listener: &Listener) -> Option<Ended> {
        let words = listener.tls.as_ref()?;
        let mut by_listener = self.by_listener.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = by_listener.get_mut(&listener.name)
            && (Arc::ptr_eq(&made.words, words) || made.words == *words)
        {
            // Every publication has words of its own: the next connections need not compare them.
            made.words = words.clone();
            return Some(made.ended.clone());
        }
        let alpn = if listener.protocol == ListenerProtocol::Http { HTTP } else { &[] };
        let complete = self.completed(words);
        let files = files_of_server(&complete);
        let make = move || server_end(&complete, alpn).map(End::from);
        let ended = Ended(Arc::new(Reloaded::new(files, make)));
        by_listener.insert(listener.name.clone(), Made { words: words.clone(), ended: ended.clone() });
        Some(ended)
    }

    /// Forgets listeners besides these.
    pub(super) fn keep(&self, listeners: &[Listener]) {
        let names: HashSet<&str> = listeners.iter().map(|listener| &*listener.name).collect();
        let mut by_listener = self.by_listener.lock().unwrap_or_else(PoisonError::into_inner);
        by_listener.retain(|name, _| names.contains(&**name));
    }

    /// Words with the certificates of the mesh, if they are for it.
    fn completed(&self, words: &Arc<ServerTls>) -> Arc<ServerTls> {
        if !words.of_mesh {
            return Arc::clone(words);
        }
        let mut complete = ServerTls::clone(words);
        complete.identities = [self.mesh.identity.clone()].into();
        complete.roots = Some(self.mesh.roots.clone());
        Arc::new(complete)
    }
}

impl Ended {
    /// Whether it can be.
    pub(super) fn check(&self) -> io::Result<()> {
        self.0.get().map(|_| ())
    }

    /// Shakes hands. What is known of it then comes with the stream.
    pub(super) async fn accept<IO>(
        &self,
        hello: &Hello,
        io: Rewound<IO>,
    ) -> io::Result<(TlsStream<Rewound<IO>>, DownstreamTls)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let end = self.0.get()?;
        let mut config = Arc::clone(&end.config);
        if hello.speaks_none_of(&config.alpn_protocols) {
            let mut silent = ServerConfig::clone(&config);
            silent.alpn_protocols.clear();
            config = Arc::new(silent);
        }
        let once = end.shown.are_several().then(|| Arc::new(ShownOnce::new(end.shown.clone())));
        if let Some(once) = &once {
            let mut choosing = ServerConfig::clone(&config);
            choosing.cert_resolver = once.clone();
            config = Arc::new(choosing);
        }
        let stream = TlsAcceptor::from(config).accept(io).await?;
        let own = end.own.get(once.map_or(0, |once| once.place())).cloned().flatten();
        let secured = known(stream.get_ref().1, hello.server_name.as_deref(), own);
        Ok((stream, secured))
    }
}

/// What is known of a connection whose client asked for `server_name` and was shown the certificate `own`.
fn known(connection: &ServerConnection, server_name: Option<&str>, own: Option<Arc<Certificate>>) -> DownstreamTls {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "",
    };
    let cipher = connection.negotiated_cipher_suite();
    let client = connection.peer_certificates().and_then(|chain| chain.first());
    DownstreamTls {
        version: version.into(),
        cipher: cipher.and_then(|suite| openssl_name(suite.suite())).unwrap_or_default().into(),
        server_name: server_name.unwrap_or_default().into(),
        peer: client.and_then(|client| certificate::read(client)),
        local: own,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Config;
    use crate::gateway::control::Control;
    use crate::mesh::Mesh;
    use crate::snapshot::Snapshot;

    /// A snapshot with a listener in TLS for each of these names.
    fn publish(mesh: &Mesh, names: &[&str]) -> Arc<Snapshot> {
        let server = |name: &&str| {
            format!(
                "  - {{port: {{number: 443, name: {name}, protocol: HTTPS}}, bind: 127.0.0.1, hosts: [{name}.test], \
                 tls: {{mode: SIMPLE, credentialName: c}}}}\n"
            )
        };
        let servers: String = names.iter().map(server).collect();
        let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  servers:\n";
        assert_eq!(
            mesh.apply(Config::from_yaml(&format!("{gateway}{servers}"), "it.yaml").unwrap()).unwrap().errors().next(),
            None
        );
        mesh.snapshot()
    }

    #[tokio::test]
    async fn how_listeners_that_are_gone_ended_tls_is_forgotten() {
        let (mesh, configs) = (Mesh::new(), Arc::new(Configs::new(None)));
        let mut control = Control::new(Vec::new(), configs.clone(), mesh.clone(), BTreeMap::from([(443, 0)]));
        for names in [&["a", "b"][..], &["b", "c"], &["c"]] {
            publish(&mesh, names);
            assert!(control.follow().await.is_empty());
            assert_eq!(configs.by_listener.lock().unwrap().len(), names.len(), "{names:?}");
        }
    }

    #[test]
    fn the_same_words_are_compared_once_after_a_publication() {
        let (mesh, configs) = (Mesh::new(), Configs::new(None));
        let before = publish(&mesh, &["a"]);
        let first = configs.of(&before.listeners()[0]).unwrap();
        let after = publish(&mesh, &["a", "b"]);
        let listener = &after.listeners()[0];
        let words = listener.tls.as_ref().unwrap();
        assert!(!Arc::ptr_eq(before.listeners()[0].tls.as_ref().unwrap(), words), "words of its own");
        let second = configs.of(listener).unwrap();
        assert!(Arc::ptr_eq(&first.0, &second.0), "sessions can be resumed");
        assert!(Arc::ptr_eq(&configs.by_listener.lock().unwrap()[&listener.name].words, words));
    }
}
