//! Where a request of a client leads: [`check`] and [`check_host`] refuse what Envoy takes for no target and no host.

use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{Method, Request, StatusCode, Uri, Version};

use super::refused::Refused;

/// Whether a target has no bytes that should be written otherwise.
fn is_ascii(uri: &Uri) -> bool {
    uri.path_and_query().is_none_or(|path| path.as_str().is_ascii())
}

/// Where a request of HTTP/1.1 leads: a path, a URL of HTTP, whose scheme may have to be that of the connection, or, for
/// `CONNECT` alone, a host and its port.
pub(super) fn check<B>(request: &Request<B>, may_be_https: bool) -> Result<(), Refused> {
    let uri = request.uri();
    let Some(authority) = uri.authority() else {
        let sound = is_ascii(uri) && request.method() != Method::CONNECT;
        return if sound { Ok(()) } else { Err(Refused::BY_CODEC) };
    };
    let (user, end) = match authority.as_str().rsplit_once('@') {
        Some((user, end)) => (Some(user), end),
        None => (None, authority.as_str()),
    };
    // Behind the last colon, unless that is part of an address in brackets.
    let port = end.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    let has_port = port.is_some_and(|port| is_port(port.as_bytes()));
    let sound = if request.method() == Method::CONNECT {
        uri.scheme().is_none() && user.is_none() && has_port
    } else {
        is_ascii(uri)
            && uri.scheme().is_some_and(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme))
            && (has_port || port.is_none())
            && user.is_none_or(|user| !user.contains('@'))
    };
    if !sound {
        Err(Refused::BY_CODEC)
    } else if !may_be_https && uri.scheme() == Some(&Scheme::HTTPS) {
        Err(Refused(StatusCode::FORBIDDEN, "Forbidden"))
    } else {
        Ok(())
    }
}

/// Whether bytes are the number of a port, which has no sign.
pub(super) fn is_port(port: &[u8]) -> bool {
    port.iter().all(u8::is_ascii_digit) && std::str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok())
}

/// One host, in the URI or in `Host`. One that is empty is a name like others.
pub(super) fn check_host<B>(request: &Request<B>) -> Result<(), Refused> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let named = request.uri().authority().is_some();
    // RFC 9113, 8.3.1: there is no user in HTTP/2.
    let names_user = |authority: &Authority| authority.as_str().contains('@');
    match first {
        _ if request.version() >= Version::HTTP_2 && request.uri().authority().is_some_and(names_user) => {
            Err(Refused::with(StatusCode::BAD_REQUEST))
        }
        _ if second.is_some() => Err(Refused::with(StatusCode::BAD_REQUEST)),
        Some(host) if !named && !is_authority(host.as_bytes()) => Err(match request.version() < Version::HTTP_2 {
            true => Refused::BY_CODEC,
            false => Refused::with(StatusCode::BAD_REQUEST),
        }),
        None if !named => Err(Refused::with(StatusCode::BAD_REQUEST)),
        _ => Ok(()),
    }
}

/// Whether all bytes may stand in an authority (RFC 3986, 3.2), as Envoy checks them.
fn is_authority(host: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@[]".contains(byte);
    host.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::super::door::tests::request;
    use super::*;

    #[test]
    fn targets_lead_to_http() {
        const BAD: Refused = Refused::BY_CODEC;
        let forbidden = Refused(StatusCode::FORBIDDEN, "Forbidden");
        for (target, expected, in_tls) in [
            ("http://a", Ok(()), Ok(())),
            ("HTTP://a:0/x", Ok(()), Ok(())),
            ("http://[::1]", Ok(()), Ok(())),
            ("http://[::1]:80/", Ok(()), Ok(())),
            ("http://me:secret@a:80/", Ok(()), Ok(())),
            ("https://a/", Err(forbidden), Ok(())),
            ("ftp://a/", Err(BAD), Err(BAD)),
            ("http://a:/", Err(BAD), Err(BAD)),
            ("http://a:65536/", Err(BAD), Err(BAD)),
            ("http://a:+80/", Err(BAD), Err(BAD)),
            ("https://a:x/", Err(BAD), Err(BAD)),
            ("http://me@you@a/", Err(BAD), Err(BAD)),
            ("a", Err(BAD), Err(BAD)),
        ] {
            let Ok(target) = target.parse::<Uri>() else { panic!("no target: {target}") };
            for (tls, expected) in [(false, expected), (true, in_tls)] {
                let request = Request::get(target.clone()).body(()).unwrap();
                assert_eq!(check(&request, tls), expected, "{target} {tls}");
            }
        }
        for (target, sound) in [
            ("a:80", true),
            ("[::1]:80", true),
            ("a", false),
            ("a:", false),
            ("a:99999", false),
            ("me@a:80", false),
            ("/", false),
            ("http://a:80/", false),
        ] {
            let request = Request::connect(target.parse::<Uri>().unwrap()).body(()).unwrap();
            assert_eq!(check(&request, false), if sound { Ok(()) } else { Err(BAD) }, "{target}");
        }
    }

    #[test]
    fn a_host_that_is_none_is_no_host() {
        for (host, words) in [("a b", "Bad Request"), ("a/x", "Bad Request"), ("a\"b", "Bad Request")] {
            let headers = [("host", host)];
            let of_codec = check_host(&request("/", Version::HTTP_11, &headers));
            assert_eq!(of_codec, Err(Refused(StatusCode::BAD_REQUEST, words)), "{host}");
        }
        let user = request("http://me@a/", Version::HTTP_2, &[]);
        assert_eq!(check_host(&user), Err(Refused::with(StatusCode::BAD_REQUEST)));
        for headers in [&[][..], &[("host", "a"), ("host", "a")]] {
            let checked = check_host(&request("/", Version::HTTP_11, headers));
            assert_eq!(checked, Err(Refused::with(StatusCode::BAD_REQUEST)));
        }
    }
}
