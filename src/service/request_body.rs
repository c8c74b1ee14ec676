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

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::uri::Authority;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::upstream::{Endpoint, Permit};

/// Where a try goes and under which name: the typed half of the seam between the router and a transport.
///
/// The URI of the request names the endpoint as well (`http://10.0.0.1:9080/path`) and the `Host` header the original
/// authority, so that a client which knows nothing of aims follows them. A transport that does dials the endpoint and
/// puts the authority back.
#[derive(Debug)]
#[non_exhaustive]
pub struct Aim {
    /// The endpoint that was picked.
    pub endpoint: Arc<Endpoint>,
    /// What `:authority` must say. `None`: what the `Host` header says.
    pub authority: Option<Authority>,
    /// Counts the try among those of its cluster (`http2MaxRequests`), and is dropped with it. A transport gives it
    /// back while the request waits for a connection, and takes another when it has one. `None`: it is not counted.
    pub permit: Option<Permit>,
    /// Whose request it is: the client and the address that it dialled, for a PROXY header. `None`: this process' own.
    pub client: Option<(SocketAddr, SocketAddr)>,
}

impl Aim {
    /// An aim at `endpoint`, under the name `authority`, that nobody counts.
    pub fn new(endpoint: Arc<Endpoint>, authority: Option<Authority>) -> Self {
        Self { endpoint, authority, permit: None, client: None }
    }

    /// The same, counted by `permit`.
    #[must_use]
    pub fn with_permit(mut self, permit: Permit) -> Self {
        self.permit = Some(permit);
        self
    }

    /// The same for a request of `client`, which dialled `local`.
    #[must_use]
    pub fn with_client(mut self, client: SocketAddr, local: SocketAddr) -> Self {
        self.client = Some((client, local));
        self
    }
}

/// A copy is not counted: one try was admitted.
impl Clone for Aim {
    fn clone(&self) -> Self {
        Self { endpoint: self.endpoint.clone(), authority: self.authority.clone(), permit: None, client: self.client }
    }
}

pin_project! {
    /// The body of a request on its way to the inner service.
    ///
    /// It behaves as the body it was made of: frames, trailers, size hint and errors are unchanged.
    #[derive(Clone, Debug)]
    pub struct RequestBody<B> {
        #[pin]
        body: B,
        aim: Option<Aim>,
    }
}

impl<B> RequestBody<B> {
    /// A body without an aim.
    pub fn new(body: B) -> Self {
        Self { body, aim: None }
    }

    /// The same body, aimed.
    #[must_use]
    pub fn with_aim(mut self, aim: Aim) -> Self {
        self.aim = Some(aim);
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

impl<B: Body> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
