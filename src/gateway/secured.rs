//! Ending TLS: [`Configs`] holds what the listeners show and ask.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client_cert;
use super::hello::{Hello, Rewound};
use crate::snapshot::{Listener, ListenerProtocol, ServerTls};
use crate::tls::{Reloaded, ServerEnd, files_of_server, server_end};

/// What is spoken on listeners of HTTP.
const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];

/// The configurations of rustls by listener. They are made when they are first needed, and again when the words or the
/// files change, so that sessions can be resumed over reloads.
#[derive(Debug, Default)]
pub(super) struct Configs {
    by_listener: Mutex<HashMap<Arc<str>, Made>>,
}

#[derive(Debug)]
struct Made {
    words: Arc<ServerTls>,
    ended: Ended,
}

/// How a listener ends TLS.
#[derive(Clone, Debug)]
pub(super) struct Ended(Arc<Reloaded<ServerEnd>>);

impl Configs {
    /// How `listener` ends TLS. `None`: it does not.
    pub(super) fn of(&self, listener: &Listener) -> Option<Ended> {
        let words = listener.tls.as_ref()?;
        let mut by_listener = self.by_listener.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = by_listener.get(&listener.name)
            && made.words == *words
        {
            return Some(made.ended.clone());
        }
        let alpn = if listener.protocol == ListenerProtocol::Http { HTTP } else { &[] };
        let make = {
            let words = words.clone();
            move || server_end(&words, alpn)
        };
        let ended = Ended(Arc::new(Reloaded::new(files_of_server(words), make)));
        by_listener.insert(listener.name.clone(), Made { words: words.clone(), ended: ended.clone() });
        Some(ended)
    }
}

impl Ended {
    /// Whether it can be.
    pub(super) fn check(&self) -> io::Result<()> {
        self.0.get().map(|_| ())
    }

    /// Shakes hands. What is to be said of the client's certificate comes with the stream.
    pub(super) async fn accept<IO>(
        &self,
        hello: &Hello,
        io: Rewound<IO>,
    ) -> io::Result<(TlsStream<Rewound<IO>>, Option<HeaderValue>)>
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
        let stream = TlsAcceptor::from(config).accept(io).await?;
        let client = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let element = client.and_then(|client| client_cert::element(client, end.shown.as_deref()));
        Ok((stream, element))
    }
}
