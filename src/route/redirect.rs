//! Redirects (`http[].redirect`): [`Redirect`].

use http::{HeaderValue, StatusCode};

use super::PathRewrite;
use crate::request::RequestView;

/// An answer that names another address (`http[].redirect`).
///
/// ```
/// use http::Request;
/// use mesh_router::request::{Origin, RequestView};
/// use mesh_router::route::{Redirect, RedirectScheme};
///
/// let request = Request::get("http://a.test/x?y=1").body(()).unwrap();
/// let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
/// let redirect = Redirect::default().with_scheme(RedirectScheme::Https).with_authority("b.test");
/// assert_eq!(redirect.status(), 301);
/// assert_eq!(redirect.location(&view).unwrap(), "https://b.test/x?y=1");
/// ```
#[derive(Clone, Debug)]
pub struct Redirect {
    status: StatusCode,
    scheme: Option<RedirectScheme>,
    authority: Option<Box<str>>,
    port: RedirectPort,
    path: Option<RedirectPath>,
}

/// The scheme of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectScheme {
    /// `http`, whose port is 80.
    Http,
    /// `https`, whose port is 443.
    Https,
}

/// Where the port of a redirect comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedirectPort {
    /// No port is added, and that of the request stays unless it is the default of a scheme that changes
    /// (`derivePort: FROM_PROTOCOL_DEFAULT`, or nothing said).
    #[default]
    Kept,
    /// This one (`port`).
    Fixed(u16),
    /// The one that the request came to: of the listener, or the one the client addressed
    /// (`derivePort: FROM_REQUEST_PORT`).
    OfRequest,
}

/// What a redirect makes of the path.
#[derive(Clone, Debug)]
enum RedirectPath {
    /// Another path, and with a `?` in it also another query.
    Whole(Box<str>),
    /// The path with another beginning; the query stays.
    Rewritten(PathRewrite),
}

impl Default for Redirect {
    /// 301 to where the request went.
    fn default() -> Self {
        Self {
            status: StatusCode::MOVED_PERMANENTLY,
            scheme: None,
            authority: None,
            port: RedirectPort::Kept,
            path: None,
        }
    }
}

impl Redirect {
    /// Another status (`redirectCode`; 301 by default). `None` if Envoy has no such redirect: it knows 301, 302, 303,
    /// 307 and 308.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Option<Self> {
        self.status = match status {
            301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(status).ok()?,
            _ => return None,
        };
        Some(self)
    }

    /// Another scheme (`scheme`).
    #[must_use]
    pub fn with_scheme(mut self, scheme: RedirectScheme) -> Self {
        self.scheme = Some(scheme);
        self
    }

    /// Another authority (`authority`), word for word; a port of the redirect is put behind it.
    #[must_use]
    pub fn with_authority(mut self, authority: &str) -> Self {
        self.authority = Some(authority.into());
        self
    }

    /// A port (`port`, `derivePort`). The default port of the scheme counts as none.
    #[must_use]
    pub fn with_port(mut self, port: RedirectPort) -> Self {
        self.port = port;
        self
    }

    /// Another path (`uri`), whose `/` is added where it lacks. If it has a `?` the query of the request goes.
    #[must_use]
    pub fn with_path(mut self, uri: &str) -> Self {
        let slash = if uri.starts_with('/') { "" } else { "/" };
        self.path = Some(RedirectPath::Whole(format!("{slash}{uri}").into()));
        self
    }

    /// Another beginning of the path (`prefixRewrite`).
    #[must_use]
    pub fn with_path_rewrite(mut self, rewrite: PathRewrite) -> Self {
        self.path = Some(RedirectPath::Rewritten(rewrite));
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What becomes of the beginning of the path, if that is what it changes.
    pub(crate) fn path_rewrite(&self) -> Option<&PathRewrite> {
        match &self.path {
            Some(RedirectPath::Rewritten(rewrite)) => Some(rewrite),
            Some(RedirectPath::Whole(_)) | None => None,
        }
    }

    /// The `location` of the answer to `request`, always absolute; its path is the normalized one. `None` if what was
    /// sent makes no header value.
    pub fn location(&self, request: &RequestView<'_>) -> Option<HeaderValue> {
        let scheme = match self.scheme {
            Some(scheme) => scheme.as_str(),
            None => request.scheme(),
        };
        let port = self.added_port(request);
        let authority = match &self.authority {
            Some(authority) => authority,
            None => kept_authority(request, scheme, port.is_some()),
        };
        let mut location = String::with_capacity(64);
        location.extend([scheme, "://", authority]);
        if let Some(port) = port {
            location.extend([":", &port.to_string()]);
        }
        self.path_onto(&mut location, request);
        HeaderValue::try_from(location).ok()
    }

    /// The port that is written behind the authority.
    fn added_port(&self, request: &RequestView<'_>) -> Option<u16> {
        let port = match self.port {
            RedirectPort::Kept => return None,
            RedirectPort::Fixed(port) => port,
            RedirectPort::OfRequest => request.port(),
        };
        // Istio asks the listener here, not the request.
        let of_listener = if request.is_tls() { RedirectScheme::Https } else { RedirectScheme::Http };
        (port != self.scheme.unwrap_or(of_listener).default_port()).then_some(port)
    }

    fn path_onto(&self, location: &mut String, request: &RequestView<'_>) {
        let query = request.query();
        let query = match &self.path {
            Some(RedirectPath::Whole(path)) => {
                location.push_str(path);
                query.filter(|_| !path.contains('?'))
            }
            path => {
                let rewritten = match path {
                    Some(RedirectPath::Rewritten(rewrite)) => rewrite.apply(request.path()),
                    _ => None,
                };
                let path = rewritten.as_deref().unwrap_or(request.path());
                if !path.starts_with('/') {
                    location.push('/');
                }
                location.push_str(path);
                query
            }
        };
        if let Some(query) = query {
            location.extend(["?", query]);
        }
    }
}

impl RedirectScheme {
    fn as_str(self) -> &'static str {
        match self {
            RedirectScheme::Http => "http",
            RedirectScheme::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            RedirectScheme::Http => 80,
            RedirectScheme::Https => 443,
        }
    }
}

/// The authority of the request; its port goes if another is to follow, or if it is the default of how the request came
/// and the answer leads elsewhere.
fn kept_authority<'a>(request: &RequestView<'a>, scheme: &str, port_follows: bool) -> &'a str {
    let authority = request.authority();
    let start = if authority.starts_with('[') { authority.rfind("]:").map(|at| at + 1) } else { authority.rfind(':') };
    let Some((host, port)) = start.and_then(|at| authority.split_at_checked(at)) else { return authority };
    // A URL may name the one scheme on a connection of the other: the port goes by the connection, or by what a trusted
    // proxy says of it.
    let came_by = request.came_by();
    let is = |scheme: &str| came_by.eq_ignore_ascii_case(scheme.as_bytes());
    let is_default = (port == ":80" && is("http")) || (port == ":443" && is("https"));
    if port_follows || (is_default && scheme.as_bytes() != came_by) { host } else { authority }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Request;

    use super::*;
    use crate::request::{ListenerOrigin, Origin};

    struct Asked {
        authority: &'static str,
        target: &'static str,
        port: u16,
        tls: bool,
        /// What a trusted proxy says.
        proto: Option<&'static str>,
    }

    const PLAIN: Asked = Asked { authority: "a.com:8080", target: "/x?y=1", port: 8080, tls: false, proto: None };

    fn location(redirect: &Redirect, asked: &Asked) -> String {
        let proto = asked.proto.map(|proto| ("x-forwarded-proto", proto));
        let lines = [("host", asked.authority)].into_iter().chain(proto);
        let request = lines.fold(Request::get(asked.target), |request, (name, value)| request.header(name, value));
        let request = request.body(()).unwrap();
        let mut origin = ListenerOrigin::new("http", asked.port);
        (origin.tls, origin.believes_proto) = (asked.tls, proto.is_some());
        let origin = Origin::Listener(Arc::new(origin));
        let view = RequestView::new(request.method(), request.uri(), request.headers(), &origin);
        redirect.location(&view).unwrap().to_str().unwrap().to_owned()
    }

    fn redirect() -> Redirect {
        Redirect::default()
    }

    #[test]
    fn the_vectors_of_redirects() {
        use RedirectPort::{Fixed, OfRequest};
        use RedirectScheme::Https;
        for (redirect, expected) in [
            (redirect(), "http://a.com:8080/x?y=1"),
            (redirect().with_path("/n"), "http://a.com:8080/n?y=1"),
            (redirect().with_path("/n?z=2"), "http://a.com:8080/n?z=2"),
            (redirect().with_authority("b.com"), "http://b.com/x?y=1"),
            (redirect().with_scheme(Https), "https://a.com:8080/x?y=1"),
            (redirect().with_scheme(Https).with_port(Fixed(443)), "https://a.com:8080/x?y=1"),
            (redirect().with_port(Fixed(9090)), "http://a.com:9090/x?y=1"),
            (redirect().with_port(Fixed(80)), "http://a.com:8080/x?y=1"),
            (redirect().with_port(OfRequest).with_scheme(Https), "https://a.com:8080/x?y=1"),
            (redirect().with_path_rewrite(PathRewrite::prefix("/x", "/p")), "http://a.com:8080/p?y=1"),
        ] {
            assert_eq!(location(&redirect, &PLAIN), expected, "{redirect:?}");
        }
        let default = Asked { authority: "a.com:80", ..PLAIN };
        assert_eq!(location(&redirect().with_scheme(Https), &default), "https://a.com/x?y=1");
    }
    /// As Envoy 1.40 answers.
    #[test]
    fn a_port_goes_by_the_connection_and_not_by_the_scheme_of_the_url() {
        let to_https = redirect().with_path("/n").with_scheme(RedirectScheme::Https);
        let stays = redirect().with_path("/n");
        for (redirect, tls, target, proto, expected) in [
            (&stays, false, "http://a.test:443/r", Some("https"), "http://a.test/n"),
            (&stays, true, "http://a.test:443/r", None, "http://a.test/n"),
            (&stays, true, "http://a.test:80/r", None, "http://a.test:80/n"),
            (&stays, false, "https://a.test:443/r", Some("HTTPS"), "https://a.test/n"),
            (&stays, false, "https://a.test:443/r", Some("https"), "https://a.test:443/n"),
            (&to_https, true, "http://a.test:80/r", None, "https://a.test:80/n"),
            (&to_https, false, "https://a.test:80/r", Some("http"), "https://a.test/n"),
        ] {
            let asked = Asked { authority: "a.test", target, tls, proto, ..PLAIN };
            assert_eq!(location(redirect, &asked), expected, "{target} {tls} {proto:?}");
        }
    }
}
