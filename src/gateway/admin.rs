//! What operators ask a gateway: `/ready` and `/stats/prometheus`.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

/// Whether a gateway takes requests.
#[derive(Debug, Default)]
pub(super) struct Readiness(AtomicU8);

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    pub(super) fn set_ready(&self) {
        let _ = self.0.compare_exchange(STARTING, READY, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(super) fn set_draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == READY
    }
}

/// Held by what a gateway cannot do without, a task or a thread: once that panicked, the gateway is not ready any more.
#[derive(Debug)]
pub(super) struct Vital(pub(super) Arc<Readiness>);

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set_draining();
        }
    }
}

/// Writes the metrics of the process in Prometheus' text format.
pub(super) type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// What the admin port answers from.
#[derive(Clone)]
pub(super) struct Admin {
    pub(super) readiness: Arc<Readiness>,
    pub(super) render: Option<Render>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

impl Admin {
    /// Answers on `listener` for as long as it is polled.
    pub(super) async fn serve(self, listener: TcpListener) {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the admin port could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            let admin = self.clone();
            let service = service_fn(move |request: Request<_>| {
                std::future::ready(Ok::<_, Infallible>(admin.answer(request.method(), request.uri().path())))
            });
            let connection =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the admin port ended badly");
                }
            });
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match (path, &self.render) {
            ("/ready", _) if self.readiness.is_ready() => text(StatusCode::OK, "ready\n"),
            ("/ready", _) => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            ("/stats/prometheus", Some(render)) => {
                let mut response = text(StatusCode::OK, render());
                let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, format);
                response
            }
            _ => text(StatusCode::NOT_FOUND, "there are /ready and /stats/prometheus\n"),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_between_start_and_drain() {
        let readiness = Arc::new(Readiness::default());
        let admin = Admin { readiness: readiness.clone(), render: None };
        let ready = || admin.answer(&Method::GET, "/ready").status().as_u16();
        assert_eq!(ready(), 503);
        readiness.set_ready();
        assert_eq!(ready(), 200);
        readiness.set_draining();
        readiness.set_ready();
        assert_eq!(ready(), 503);
    }

    #[tokio::test]
    async fn it_is_not_ready_after_a_panic_of_what_it_needs() {
        for panics in [false, true] {
            let readiness = Arc::new(Readiness::default());
            readiness.set_ready();
            let vital = Vital(readiness.clone());
            let task = tokio::spawn(async move {
                let _vital = vital;
                tokio::task::yield_now().await;
                assert!(!panics, "told to");
            });
            assert_eq!((task.await.is_err(), readiness.is_ready()), (panics, !panics));
        }
    }

    #[test]
    fn metrics_are_rendered_when_asked_for() {
        let render: Render = Arc::new(|| "# TYPE a counter\na 1\n".to_owned());
        let admin = Admin { readiness: Arc::default(), render: Some(render) };
        assert_eq!(admin.answer(&Method::GET, "/stats/prometheus").status(), 200);
        assert_eq!(admin.answer(&Method::POST, "/stats/prometheus").status(), 405);
        assert_eq!(admin.answer(&Method::GET, "/other").status(), 404);
        let none = Admin { readiness: Arc::default(), render: None };
        assert_eq!(none.answer(&Method::GET, "/stats/prometheus").status(), 404);
    }
}
