//! On whose behalf a request comes: `x-forwarded-for`, `x-forwarded-proto`, and how far they are believed.
//!
//! It follows Envoy with `use_remote_address` and `xff_num_trusted_hops`, which is Istio's `numTrustedProxies`: that many
//! proxies before us are believed to have appended the address they were called from.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request};

use super::session::Session;
use crate::request::Origin;
use crate::route::one_line::{self, Side};
use crate::service::names::X_FORWARDED_FOR;

pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");

/// Takes the client and the scheme from what trusted proxies say of them: rules see these, and not the last proxy.
pub(super) fn believe<B>(request: &mut Request<B>, session: &Session) {
    if session.trusted == 0 {
        return;
    }
    let Some(origin) = &session.origin else { return };
    let peer = client(request.headers(), session.trusted).map(|ip| SocketAddr::new(ip, 0));
    let tls = is_https(request.headers());
    if peer.is_none() && tls.is_none_or(|tls| tls == origin.tls) {
        return;
    }
    let mut origin = (**origin).clone();
    if peer.is_some() {
        origin.direct_peer = std::mem::replace(&mut origin.peer, peer);
    }
    origin.tls = tls.unwrap_or(origin.tls);
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
        let scheme = if session.tls { "https" } else { "http" };
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

/// What a trusted proxy says of the scheme; `None`: nothing that is one.
fn is_https(headers: &HeaderMap) -> Option<bool> {
    let scheme = headers.get(&X_FORWARDED_PROTO)?.as_bytes();
    let https = scheme.eq_ignore_ascii_case(b"https");
    (https || scheme.eq_ignore_ascii_case(b"http")).then_some(https)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let builder = headers.iter().fold(Request::builder(), |builder, (name, value)| builder.header(*name, *value));
        builder.body(()).unwrap()
    }

    /// What goes on of these headers behind so many trusted proxies, sorted.
    fn announced(headers: &[(&str, &str)], trusted: u32) -> Vec<String> {
        let mut headers = request(headers).into_parts().0.headers;
        announce(&mut headers, &Session::for_tests().trusting(trusted));
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

    #[test]
    fn gw22_rules_see_the_client_and_its_scheme() {
        let see = |headers: &[(&str, &str)], trusted| {
            let mut request = request(headers);
            believe(&mut request, &Session::for_tests().trusting(trusted));
            match request.extensions().get() {
                Some(Origin::Listener(origin)) => Some((origin.peer.map(|peer| peer.ip().to_string()), origin.tls)),
                _ => None,
            }
        };
        let sent = [("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "https")];
        assert_eq!(see(&sent, 0), None);
        assert_eq!(see(&sent, 1), Some((Some("10.0.0.1".to_owned()), true)));
        assert_eq!(see(&sent, 2), Some((Some("192.0.2.7".to_owned()), true)));
        assert_eq!(see(&[("x-forwarded-proto", "http")], 1), None, "as it is");
        assert_eq!(see(&[("x-forwarded-proto", "gopher")], 1), None);
        assert_eq!(see(&[("x-forwarded-for", "10.0.0.1")], 1), Some((Some("10.0.0.1".to_owned()), false)));
    }
}
