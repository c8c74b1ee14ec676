//! On whose behalf a request comes: `x-forwarded-for`, `x-forwarded-proto`, and how far they are believed.
//!
//! It follows Envoy with `use_remote_address` and `xff_num_trusted_hops`, which is Istio's `numTrustedProxies`: that many
//! proxies before us are believed to have appended the address they were called from.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request};

use super::session::Session;
use crate::request::{Origin, X_FORWARDED_PROTO};
use crate::route::one_line::{self, Side};
use crate::service::names::X_FORWARDED_FOR;

const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");

/// Takes the client from what trusted proxies say of it: rules see that one, and not the last proxy. The scheme they
/// read themselves.
pub(super) fn believe<B>(request: &mut Request<B>, session: &Session) {
    if session.trusted == 0 {
        return;
    }
    let Some(client) = client(request.headers(), session.trusted) else { return };
    let mut origin = (*session.origin).clone();
    origin.direct_peer = origin.peer.replace(SocketAddr::new(client, 0));
    request.extensions_mut().insert(Origin::Listener(Arc::new(origin)));
}

/// Says on whose behalf a request comes, with our own client appended.
pub(super) fn announce(headers: &mut HeaderMap, session: &Session) {
    let client = match session.trusted {
        0 => None,
        trusted => client(headers, trusted).and_then(|ip| HeaderValue::try_from(ip.to_string()).ok()),
    };
    if let Some(peer) = &session.peer {
        one_line::append(headers, &X_FORWARDED_FOR, peer.clone(), Side::Request);
    }
    if let Some(client) = client.or_else(|| session.peer.clone()) {
        headers.insert(EXTERNAL_ADDRESS, client);
    }
    if session.trusted == 0 || !headers.contains_key(&X_FORWARDED_PROTO) {
        let scheme = if session.origin.tls { "https" } else { "http" };
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
}

/// The address that the first of `trusted` proxies was called from: the last one appended it for the one before it, and
/// so on. `None` if there are not so many, or it is no address.
fn client(headers: &HeaderMap, trusted: u32) -> Option<IpAddr> {
    let lines = headers.get_all(X_FORWARDED_FOR).into_iter().rev().filter(|line| !line.is_empty());
    let mut entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    let entry = entries.nth(usize::try_from(trusted).ok()?.checked_sub(1)?)?;
    std::str::from_utf8(entry.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RequestView;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let builder = headers.iter().fold(Request::builder(), |builder, (name, value)| builder.header(*name, *value));
        builder.body(()).unwrap()
    }

    /// What goes on of these headers behind so many trusted proxies, sorted.
    fn announced(headers: &[(&str, &str)], trusted: u32) -> Vec<String> {
        let mut headers = request(headers).into_parts().0.headers;
        announce(&mut headers, &Session::trusting(trusted));
        let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut lines: Vec<_> = headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    fn lines(external: &str, chain: &str, proto: &str) -> [String; 3] {
        [
            format!("x-envoy-external-address: {external}"),
            format!("x-forwarded-for: {chain}"),
            format!("x-forwarded-proto: {proto}"),
        ]
    }

    #[test]
    fn gw22_without_trusted_proxies_nothing_is_believed() {
        let sent = [
            ("x-forwarded-for", "10.0.0.1, 10.0.0.2"),
            ("x-forwarded-for", "10.0.0.3"),
            ("x-forwarded-proto", "https"),
        ];
        let chain = "10.0.0.1, 10.0.0.2,10.0.0.3,192.0.2.7";
        assert_eq!(announced(&sent, 0), lines("192.0.2.7", chain, "http"));
        assert_eq!(announced(&[], 0), lines("192.0.2.7", "192.0.2.7", "http"));
    }

    #[test]
    fn gw22_the_client_is_whom_the_first_trusted_proxy_was_called_by() {
        let sent = [
            ("x-forwarded-for", "10.0.0.1, 10.0.0.2"),
            ("x-forwarded-for", "10.0.0.3"),
            ("x-forwarded-proto", "https"),
        ];
        let chain = "10.0.0.1, 10.0.0.2,10.0.0.3,192.0.2.7";
        for (trusted, client) in [(1, "10.0.0.3"), (2, "10.0.0.2"), (3, "10.0.0.1"), (4, "192.0.2.7")] {
            assert_eq!(announced(&sent, trusted), lines(client, chain, "https"), "{trusted}");
        }
    }

    #[test]
    fn gw22_what_is_no_address_is_nobody() {
        for entry in ["unknown", ",", "10.0.0.1,", "10.0.0.1:80", "[::1]"] {
            let chain = format!("{entry},192.0.2.7");
            assert_eq!(announced(&[("x-forwarded-for", entry)], 1), lines("192.0.2.7", &chain, "http"), "{entry}");
        }
        for lines_of_none in [&[("x-forwarded-for", "")][..], &[("x-forwarded-for", ""), ("x-forwarded-for", "")]] {
            assert_eq!(announced(lines_of_none, 1), lines("192.0.2.7", "192.0.2.7", "http"));
        }
        for with_none in [["10.0.0.1", ""], ["", "10.0.0.1"]] {
            let sent = with_none.map(|line| ("x-forwarded-for", line));
            assert_eq!(announced(&sent, 1), lines("10.0.0.1", "10.0.0.1,192.0.2.7", "http"), "{with_none:?}");
        }
        let chain = "2001:db8::1,192.0.2.7";
        assert_eq!(announced(&[("x-forwarded-for", "2001:db8::1")], 1), lines("2001:db8::1", chain, "http"));
    }

    /// The client, the scheme and whether it came by `https`, as rules see them behind so many trusted proxies.
    fn seen(headers: &[(&str, &str)], trusted: u32) -> (String, String, bool) {
        let mut request = request(headers);
        let session = Session::trusting(trusted);
        believe(&mut request, &session);
        one_line::join(request.headers_mut(), Side::Request);
        let own = Origin::Listener(session.origin.clone());
        let origin = request.extensions().get().unwrap_or(&own);
        let Origin::Listener(listener) = origin else { unreachable!() };
        let view = RequestView::new(request.method(), request.uri(), request.headers(), origin);
        assert!(!view.is_tls(), "the connection is what it is");
        (listener.peer.unwrap().ip().to_string(), view.scheme().to_owned(), view.came_by_https())
    }

    #[test]
    fn gw22_rules_see_the_client_and_its_scheme() {
        let sent = [("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "https")];
        let of = |client: &str, scheme: &str| (client.to_owned(), scheme.to_owned(), scheme == "https");
        assert_eq!(seen(&sent, 0), of("192.0.2.7", "http"));
        assert_eq!(seen(&sent, 1), of("10.0.0.1", "https"));
        assert_eq!(seen(&sent, 2), of("192.0.2.7", "https"));
        assert_eq!(seen(&sent[..1], 1), of("10.0.0.1", "http"));
    }

    /// As Envoy 1.40 answers: to some it is the scheme and no `https` all the same.
    #[test]
    fn gw22_the_lines_of_the_scheme_are_one() {
        for (lines, scheme, by_https) in [
            (&["https"][..], "https", true),
            (&["HTTPS"], "https", false),
            (&["http"], "http", false),
            (&["https", "http"], "http", false),
            (&["", "https"], "https", true),
            (&["https", ""], "https", true),
            (&["gopher"], "http", false),
            (&[""], "http", false),
        ] {
            let sent: Vec<_> = lines.iter().map(|line| ("x-forwarded-proto", *line)).collect();
            assert_eq!(seen(&sent, 1), ("192.0.2.7".to_owned(), scheme.to_owned(), by_https), "{lines:?}");
        }
    }
}
