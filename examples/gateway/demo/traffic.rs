//! Requests through the gateway's socket, and a table of who answered.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use mesh_router::BoxError;
use tokio::net::TcpStream;

const VERSIONS: [&str; 3] = ["reviews v1", "reviews v2", "reviews v3"];

/// Who answered the requests of one user.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    user: Option<&'static str>,
    requests: u64,
    versions: [u64; 3],
    failures: u64,
}

impl Row {
    pub(crate) fn new(user: Option<&'static str>) -> Self {
        Self { user, requests: 0, versions: [0; 3], failures: 0 }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    fn count(&mut self, answer: Result<String, BoxError>) {
        self.requests += 1;
        let version = answer.ok().and_then(|body| VERSIONS.iter().position(|version| body.contains(version)));
        match version {
            Some(version) => self.versions[version] += 1,
            None => self.failures += 1,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:<12}{:>10}", self.user.unwrap_or("everybody"), self.requests)?;
        for version in self.versions {
            write!(f, "{:>10.1} %", 100.0 * version as f64 / self.requests.max(1) as f64)?;
        }
        write!(f, "{:>10}", self.failures)
    }
}

/// The head of the table.
pub(crate) const HEAD: &str = "  end-user      requests  reviews v1  reviews v2  reviews v3    failed";

/// A browser: one connection to the gateway.
#[derive(Debug)]
pub(crate) struct Browser {
    gateway: SocketAddr,
    sender: Option<SendRequest<Empty<Bytes>>>,
}

impl Browser {
    pub(crate) fn new(gateway: SocketAddr) -> Self {
        Self { gateway, sender: None }
    }

    /// Asks for the page and counts who answered.
    pub(crate) async fn visit(&mut self, row: &mut Row) {
        let answer = tokio::time::timeout(Duration::from_secs(5), self.get(row.user)).await;
        let answer = answer.unwrap_or_else(|late| Err(late.into()));
        if answer.is_err() {
            self.sender = None;
        }
        row.count(answer);
    }

    async fn get(&mut self, user: Option<&str>) -> Result<String, BoxError> {
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => {
                let stream = TcpStream::connect(self.gateway).await?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                sender
            }
        };
        let mut request = Request::get("/productpage").header("host", "bookinfo.test");
        if let Some(user) = user {
            request = request.header("end-user", user);
        }
        let response = sender.send_request(request.body(Empty::new())?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        self.sender = Some(sender);
        if status != StatusCode::OK {
            return Err(status.to_string().into());
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}
