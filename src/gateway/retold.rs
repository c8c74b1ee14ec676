//! An answer that is no gRPC, for a client of gRPC-Web: [`Retold`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;

use super::grpc_web::Answer;
use crate::outcome::grpc_status;
use crate::service::grpc::grpc_headers;

const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// So much of a body is told.
const LONGEST: usize = 16 * 1024;

pin_project! {
    /// Reads the body of an answer, which becomes the message of its status; its own status stays as well.
    pub(super) struct Retold<B> {
        // `None`: it was told.
        head: Option<Parts>,
        #[pin]
        body: B,
        text: Vec<u8>,
        web: Answer,
    }
}

impl<B> Retold<B> {
    pub(super) fn new(response: Response<B>, web: Answer) -> Self {
        let (head, body) = response.into_parts();
        Self { head: Some(head), body, text: Vec::new(), web }
    }
}

impl<B: Body<Data = Bytes>> Future for Retold<B> {
    type Output = Response<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<()>> {
        let mut this = self.project();
        let broke_off = loop {
            match ready!(this.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    let room = LONGEST - this.text.len();
                    this.text.extend_from_slice(&data[..data.len().min(room)]);
                }
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        let Some(mut head) = this.head.take() else { return Poll::Pending };
        if broke_off {
            head.status = StatusCode::SERVICE_UNAVAILABLE;
        }
        // It is there even where the body said nothing, as by Envoy.
        head.headers.insert(MESSAGE, HeaderValue::from_static(""));
        grpc_headers(&mut head.headers, grpc_status(head.status), this.text);
        this.web.name(&mut head.headers);
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        Poll::Ready(Response::from_parts(head, ()))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;
    use crate::gateway::grpc_web::Asked;

    fn answer() -> Answer {
        let headers = [("content-type".parse().unwrap(), HeaderValue::from_static("application/grpc-web"))];
        Asked::of(&headers.into_iter().collect()).unwrap().answer
    }

    async fn told<B: Body<Data = Bytes> + Unpin>(status: u16, body: B) -> (u16, String, String) {
        let response = Response::builder().status(status).header("content-type", "text/html").body(body).unwrap();
        let (head, ()) = Retold::new(response, answer()).await.into_parts();
        let value = |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        assert_eq!((value("content-type"), value("content-length")), ("application/grpc-web+proto".into(), "0".into()));
        assert!(head.headers.contains_key(MESSAGE));
        (head.status.as_u16(), value("grpc-status"), value("grpc-message"))
    }

    #[tokio::test]
    async fn its_body_is_the_message_of_its_status() {
        let said = |status: u16, code: &str, message: &str| (status, code.to_owned(), message.to_owned());
        assert_eq!(told(404, Full::<Bytes>::from("no\n50%")).await, said(404, "12", "no%0A50%25"));
        assert_eq!(told(200, Full::<Bytes>::from("")).await, said(200, "2", ""));
        let long = Full::<Bytes>::from(vec![b'x'; LONGEST + 1]);
        assert_eq!(told(503, long).await, said(503, "14", &"x".repeat(LONGEST)));
        let trailers = async { Some(Ok::<_, Infallible>(http::HeaderMap::new())) };
        let with_trailers = Full::<Bytes>::from("a").with_trailers(Box::pin(trailers));
        assert_eq!(told(403, with_trailers).await, said(403, "7", "a"));
        let frames = [Ok(http_body::Frame::data(Bytes::from("a"))), Err("reset")];
        let broken = StreamBody::new(tokio_stream::iter(frames));
        assert_eq!(told(200, broken).await, said(503, "14", "a"));
    }
}
