//! What the inner service is given: [`RequestBody`], which carries the [`Aim`].
//!
//! ```
//! use http_body_util::Empty;
//! use mesh_router::service::RequestBody;
//!
//! // A request that no rule took has no aim: it goes where its URI says.
//! let body = RequestBody::new(Empty::<bytes::Bytes>::new());
//! assert!(body.aim().is_none());
//! ```

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::uri::Authority;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::admission::Admission;
use super::body_error::BodyError;
use super::mirror_body::MirrorBody;
use super::upload::Reader;
use crate::error::BoxError;
use crate::request::Tunnel;
use crate::upstream::Endpoint;

/// Where a try goes and under which name: the typed half of the seam between the router and a transport.
///
/// The URI of the request names the endpoint as well (`http://10.0.0.1:9080/path`) and the `Host` header the original
/// authority, so that a client which knows nothing of aims follows them. A transport that does dials the endpoint and
/// puts the authority back. Where [`Https::is_whole`], the URI is the application's own: a client that knows nothing of
/// aims goes there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Aim {
    /// The endpoint that was picked.
    pub endpoint: Arc<Endpoint>,
    /// What `:authority` must say. `None`: what the `Host` header says.
    pub authority: Option<Authority>,
    /// Whether `:scheme` must say `https`, as a gateway was asked. If not: what the URI says.
    pub says_https: bool,
    /// The request's place among those that the cluster admits.
    pub admission: Admission,
    /// On whose connection it came, for a PROXY header: the client and the address that it dialed. `None`: this process'
    /// own, or the endpoint gets no such header.
    pub client: Option<Box<(SocketAddr, SocketAddr)>>,
    /// Gone when the client's connection is: what was opened for it is of no use then. `None`: nobody says.
    pub client_open: Option<Weak<()>>,
    /// The TLS that the application asked for itself. `None`: only what the endpoint's settings say.
    pub https: Option<Box<Https>>,
}

/// TLS that the application asked for itself: its request is `https`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Https {
    /// The host of the request in lower case, an IPv6 address without brackets: what the handshake asks for and the
    /// certificate must say.
    pub server_name: Box<str>,
    /// Whether it goes from end to end (a `tls` rule sent it here), within the TLS of the endpoint's settings if they
    /// have any, in the HTTP version of the request. Else http rules were applied to it, and those settings take its
    /// place if they have TLS.
    pub is_whole: bool,
    /// What the endpoint, a forward proxy, is asked for before the handshake, which goes to whoever is behind it. Only
    /// where it goes from end to end.
    pub tunnel: Option<Arc<Tunnel>>,
}

impl Https {
    /// TLS to `host`, from end to end or not.
    pub fn new(host: &str, is_whole: bool) -> Self {
        Self { server_name: host.trim_matches(['[', ']']).to_ascii_lowercase().into(), is_whole, tunnel: None }
    }

    /// The same through a tunnel.
    #[must_use]
    pub fn with_tunnel(mut self, tunnel: Arc<Tunnel>) -> Self {
        self.tunnel = Some(tunnel);
        self
    }
}

impl Aim {
    /// An aim at `endpoint`, under the name `authority`.
    pub fn new(endpoint: Arc<Endpoint>, authority: Option<Authority>) -> Self {
        Self {
            endpoint,
            authority,
            says_https: false,
            admission: Admission::default(),
            client: None,
            client_open: None,
            https: None,
        }
    }

    /// The same aim of a request that was admitted.
    #[must_use]
    pub fn with_admission(mut self, admission: Admission) -> Self {
        self.admission = admission;
        self
    }

    /// The same aim for a request that is `https`.
    #[must_use]
    pub fn with_https(mut self, https: Https) -> Self {
        self.https = Some(Box::new(https));
        self
    }

    /// The same aim for a request of `client`, which dialed `local`.
    #[must_use]
    pub fn with_client(mut self, client: SocketAddr, local: SocketAddr) -> Self {
        self.client = Some(Box::new((client, local)));
        self
    }
}

pin_project! {
    /// The body of a request on its way to the inner service.
    ///
    /// Frames and trailers are those of the body it was made of, with its data as [`Bytes`] and its errors as the
    /// sources of [`BodyError`]s. One that may have to be sent again is read through a buffer that keeps up to 1 MiB
    /// of it; one that is mirrored is copied on the way. It tells its size as that body does, unless a rule took the
    /// length out of the head: a client would put it there again.
    pub struct RequestBody<B> {
        #[pin]
        kind: Kind<B>,
        aim: Option<Aim>,
        // Whether it tells its size.
        sized: bool,
    }
}

pin_project! {
    #[project = KindProject]
    enum Kind<B> {
        Whole { #[pin] body: B },
        Shared { reader: Reader<B> },
        Mirror { body: MirrorBody },
        Empty,
    }
}

impl<B> RequestBody<B> {
    /// A body without an aim.
    pub fn new(body: B) -> Self {
        Self { kind: Kind::Whole { body }, aim: None, sized: true }
    }

    /// No body, as every further try has of a request without one.
    pub(super) fn empty() -> Self {
        Self { kind: Kind::Empty, aim: None, sized: true }
    }

    pub(super) fn shared(reader: Reader<B>) -> Self {
        Self { kind: Kind::Shared { reader }, aim: None, sized: true }
    }

    pub(super) fn mirror(body: MirrorBody) -> Self {
        Self { kind: Kind::Mirror { body }, aim: None, sized: true }
    }

    /// The same body, aimed.
    #[must_use]
    pub fn with_aim(mut self, aim: Aim) -> Self {
        self.aim = Some(aim);
        self
    }

    /// Aims it where it is: it may be large.
    pub(super) fn aim_at(&mut self, aim: Aim) {
        self.aim = Some(aim);
    }

    /// The same body, which tells its size or not.
    #[must_use]
    pub(super) fn sized(mut self, sized: bool) -> Self {
        self.sized = sized;
        self
    }

    /// Where the request goes; `None` if no rule chose an endpoint for it.
    pub fn aim(&self) -> Option<&Aim> {
        self.aim.as_ref()
    }

    /// Takes the aim out, as a transport does once.
    pub fn take_aim(&mut self) -> Option<Aim> {
        self.aim.take()
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.project().kind.project() {
            KindProject::Whole { body } => body.poll_frame(cx).map(|frame| {
                frame.map(|frame| match frame {
                    // `Bytes` stay what they are.
                    Ok(frame) => Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))),
                    Err(error) => Err(BodyError::of_request(error)),
                })
            }),
            KindProject::Shared { reader } => reader.poll_frame(cx),
            KindProject::Mirror { body } => Pin::new(body).poll_frame(cx),
            KindProject::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole { body } => body.is_end_stream(),
            Kind::Shared { reader } => reader.is_end_stream(),
            Kind::Mirror { body } => body.is_end_stream(),
            Kind::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            _ if !self.sized => SizeHint::default(),
            Kind::Whole { body } => body.size_hint(),
            Kind::Shared { reader } => reader.size_hint(),
            Kind::Mirror { .. } => SizeHint::default(),
            Kind::Empty => SizeHint::with_exact(0),
        }
    }
}

impl<B: fmt::Debug> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut body = f.debug_struct("RequestBody");
        match &self.kind {
            Kind::Whole { body: inner } => body.field("body", inner),
            Kind::Shared { .. } => body.field("body", &format_args!("kept for further tries")),
            Kind::Mirror { .. } => body.field("body", &format_args!("a copy for a mirror")),
            Kind::Empty => body.field("body", &format_args!("none")),
        };
        body.field("aim", &self.aim).finish()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};

    use super::*;

    #[tokio::test]
    async fn the_body_is_what_it_was() {
        let body = RequestBody::new(Full::new(Bytes::from_static(b"four")));
        assert_eq!(body.size_hint().exact(), Some(4));
        assert!(!body.is_end_stream());
        assert_eq!(body.collect().await.unwrap().to_bytes(), "four");
    }
}
