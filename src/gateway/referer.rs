//! Where a request comes from: [`is_sound`] judges `referer`, which Envoy drops where it is no URL that may stand there.

use super::target::is_port;

/// Whether it is a URL without a user and a fragment, or such a part of one (RFC 9110, 10.1.3).
pub(super) fn is_sound(referer: &[u8]) -> bool {
    match referer.iter().position(|byte| *byte == b':') {
        Some(colon) if referer[colon..].starts_with(b"://") && is_scheme(&referer[..colon]) => {
            is_absolute(&referer[colon + 3..])
        }
        _ => is_relative(referer),
    }
}

fn is_scheme(scheme: &[u8]) -> bool {
    let rest = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    scheme.first().is_some_and(u8::is_ascii_alphabetic) && scheme.iter().all(rest)
}

/// What follows a scheme: a host, perhaps a port, and whatever it has there.
fn is_absolute(rest: &[u8]) -> bool {
    let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = match authority.iter().rposition(|byte| *byte == b':' || *byte == b']') {
        Some(colon) if authority[colon] == b':' => (&authority[..colon], Some(&authority[colon + 1..])),
        _ => (authority, None),
    };
    let is_host = match host {
        [b'[', address @ .., b']'] => address.iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte)),
        name => !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte)),
    };
    is_host && port.is_none_or(is_port) && path.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#')
}

/// A path in which no colon could be taken for the end of a scheme.
fn is_relative(path: &[u8]) -> bool {
    let slash = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?".contains(byte);
    !path[..slash].contains(&b':') && path.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_others() {
        for (referer, sound) in [
            ("", true),
            ("http://a.test/", true),
            ("HTTPS://a.test:8443/x?y=z", true),
            ("http://a.test?q=1", true),
            ("http://[::1]:80/<x>", true),
            ("android-app://com.x/", true),
            ("http://", false),
            ("http://a b", false),
            ("http://a.test/x y", false),
            ("http://a.test/#f", false),
            ("http://u@a.test/", false),
            ("http://a_b/", false),
            ("http://a.test:99999/", false),
            ("http://a.test/\u{e4}", false),
            ("/x:y", true),
            ("x/y:z", true),
            ("?q", true),
            ("../x", true),
            ("//a.test/x", true),
            ("/%zz~'@", true),
            ("x:y", false),
            ("about:blank", false),
            ("x?a:b", false),
            ("/x#y", false),
            ("/x y", false),
            ("/{x}|\"", false),
            ("/x[1]", false),
        ] {
            assert_eq!(is_sound(referer.as_bytes()), sound, "{referer}");
        }
    }
}
