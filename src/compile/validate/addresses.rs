//! Addresses: IP, CIDR, unix sockets.

use std::net::IpAddr;

/// The prefix of an address that is a unix socket.
pub(crate) const UNIX: &str = "unix://";

/// Whether it is an IPv4 or IPv6 address, the latter with or without a zone.
pub(crate) fn is_ip(text: &str) -> bool {
    match text.split_once('%') {
        Some((address, zone)) => !zone.is_empty() && matches!(address.parse(), Ok(IpAddr::V6(_))),
        None => text.parse::<IpAddr>().is_ok(),
    }
}

/// Whether it is an address with a zone (`fe80::1%eth0`).
pub(crate) fn has_zone(text: &str) -> bool {
    text.contains('%') && is_ip(text)
}

/// An IP address, or one with a prefix length (`10.0.0.0/8`).
pub(crate) fn check_subnet(text: &str) -> Result<(), String> {
    let Some((address, length)) = text.split_once('/') else {
        return if is_ip(text) { Ok(()) } else { Err(format!("`{text}` is neither an IP address nor a CIDR range")) };
    };
    let most = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return Err(format!("`{text}` is not a CIDR range: `{address}` is not an IP address")),
    };
    let digits = length == "0" || (!length.starts_with('0') && length.bytes().all(|byte| byte.is_ascii_digit()));
    match length.parse::<u8>() {
        Ok(length) if digits && length <= most => Ok(()),
        _ => Err(format!("`{text}` is not a CIDR range: its length must be within 0..={most}")),
    }
}

/// The path of a unix socket, without `unix://`: absolute, or abstract (`@name`).
pub(crate) fn check_unix_path(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("the path of a unix socket cannot be empty".to_owned());
    }
    if path.starts_with('@') || (path.starts_with('/') && !path.ends_with('/')) {
        return Ok(());
    }
    Err(format!("`{path}` is not the absolute path of a unix socket"))
        .map_err(|message| if path.ends_with('/') { format!("{message}: it names a folder") } else { message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_ipv4_or_ipv6() {
        for good in ["10.0.0.1", "::1", "2001:db8::1", "fe80::1%eth0"] {
            assert!(is_ip(good), "{good}");
        }
        for bad in ["", "10.0.0", "10.0.0.256", "1.2.3.4%eth0", "fe80::1%", "010.0.0.1", "a.b.c.d"] {
            assert!(!is_ip(bad), "{bad}");
        }
    }

    #[test]
    fn subnets_are_addresses_or_ranges() {
        for good in ["10.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "::/0", "10.1.2.3/32"] {
            assert_eq!(check_subnet(good), Ok(()), "{good}");
        }
        for bad in ["", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/08", "::/129", "a/8", "10.0.0.0/8/8"]
        {
            assert!(check_subnet(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unix_paths_are_absolute_or_abstract() {
        for good in ["/run/app.sock", "@app"] {
            assert_eq!(check_unix_path(good), Ok(()), "{good}");
        }
        for bad in ["", "run/app.sock", "/run/"] {
            assert!(check_unix_path(bad).is_err(), "{bad}");
        }
    }
}
