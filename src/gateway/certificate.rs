//! What is read of certificates, in Envoy's words: [`read`], and what `x-forwarded-client-cert` says of the one that a
//! client showed, as Istio asks for it: [`element`].

use std::fmt::Write;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::request::Certificate;
use crate::tls::address;

/// Short names of attributes; any other is written as numbers.
const NAMES: [(&str, &str); 18] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.46", "dnQualifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// What is known of the certificate `der`; `None`: it is none.
pub(super) fn read(der: &[u8]) -> Option<Certificate> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let since_1970 = |time: ASN1Time| Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0));
    let extension = parsed.subject_alternative_name().ok().flatten();
    let names = extension.map_or(&[][..], |extension| &extension.value.general_names);
    let all = |of: fn(&GeneralName<'_>) -> Option<Box<str>>| names.iter().filter_map(of).collect();
    Some(Certificate {
        subject: named(parsed.subject()).into(),
        issuer: named(parsed.issuer()).into(),
        serial: hex(parsed.raw_serial().strip_prefix(&[0]).unwrap_or(parsed.raw_serial())),
        uris: all(|name| if let GeneralName::URI(uri) = name { Some((*uri).into()) } else { None }),
        dns_names: all(|name| if let GeneralName::DNSName(name) = name { Some((*name).into()) } else { None }),
        addresses: all(|name| {
            if let GeneralName::IPAddress(ip) = name { Some(address(ip)?.to_string().into()) } else { None }
        }),
        emails: all(|name| if let GeneralName::RFC822Name(name) = name { Some((*name).into()) } else { None }),
        sha256: hex(digest(&SHA256, der).as_ref()),
        sha1: hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()),
        pem: pem(der).into(),
        not_before: since_1970(parsed.validity().not_before),
        not_after: since_1970(parsed.validity().not_after),
    })
}

/// The element for a client's certificate, which was shown to our own.
pub(super) fn element(client: &Certificate, own: Option<&Certificate>) -> Option<HeaderValue> {
    let mut text = String::new();
    for name in own.iter().flat_map(|own| &own.uris) {
        let _ = write!(text, "By={name};");
    }
    let _ = write!(text, "Hash={};Cert=\"{}\";Subject=\"{}\"", client.sha256, client.pem, client.subject);
    if client.uris.is_empty() {
        text.push_str(";URI=");
    }
    for name in &client.uris {
        let _ = write!(text, ";URI={name}");
    }
    for name in &client.dns_names {
        let _ = write!(text, ";DNS={name}");
    }
    HeaderValue::try_from(text).ok()
}

fn hex(bytes: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

/// PEM, of which nothing stands in the way of a header or its elements.
fn pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN%20CERTIFICATE-----%0A");
    for line in BASE64_STANDARD.encode(der).as_bytes().chunks(64) {
        for byte in line {
            match byte {
                b'+' => text.push_str("%2B"),
                b'/' => text.push_str("%2F"),
                b'=' => text.push_str("%3D"),
                byte => text.push(char::from(*byte)),
            }
        }
        text.push_str("%0A");
    }
    text.push_str("-----END%20CERTIFICATE-----%0A");
    text
}

/// RFC 2253, the last name first.
fn named(name: &X509Name<'_>) -> String {
    let mut names: Vec<String> =
        name.iter().map(|set| set.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    names.reverse();
    names.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type().to_id_string();
    let known = NAMES.iter().find(|(id, _)| *id == kind);
    match (known, attribute.as_str()) {
        (Some((_, name)), Ok(value)) => format!("{name}={}", escaped(value)),
        (known, _) => {
            let value: String = attribute.attr_value().data.iter().map(|byte| format!("{byte:02X}")).collect();
            format!("{}=#{value}", known.map_or(&*kind, |(_, name)| name))
        }
    }
}

fn escaped(value: &str) -> String {
    let mut text = String::new();
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let special = match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => true,
            b'#' => at == 0,
            b' ' => at == 0 || at == last,
            _ => false,
        };
        if special {
            text.push('\\');
            text.push(char::from(byte));
        } else if byte.is_ascii_graphic() || byte == b' ' {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "\\{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(names: &[SanType], subject: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = names.to_vec();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    /// All but the hash and the certificate, whose form is checked.
    fn said(client: &[u8], own: Option<&[u8]>) -> String {
        let element = element(&read(client).unwrap(), own.and_then(read).as_ref()).unwrap();
        let element = element.to_str().unwrap();
        let (before, rest) = element.split_once("Hash=").unwrap();
        let (hash, rest) = rest.split_once(";Cert=\"").unwrap();
        assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hash}");
        let (pem, rest) = rest.split_once("\";").unwrap();
        assert!(pem.starts_with("-----BEGIN%20CERTIFICATE-----%0A") && pem.ends_with("%0A"), "{pem}");
        format!("{before}{rest}")
    }

    #[test]
    fn a_client_is_named_as_by_envoy() {
        let names = [uri("spiffe://x/a"), SanType::DnsName("c.test".try_into().unwrap()), uri("spiffe://y/b")];
        let client = certificate(
            &names,
            &[
                (DnType::CountryName, "DE"),
                (DnType::OrganizationName, "Müller, \"S\" "),
                (DnType::CommonName, "#one two"),
            ],
        );
        let own = certificate(&[uri("spiffe://own/sa")], &[]);
        assert_eq!(
            said(&client, Some(&own)),
            "By=spiffe://own/sa;Subject=\"CN=\\#one two,O=M\\C3\\BCller\\, \\\"S\\\"\\ ,C=DE\";\
             URI=spiffe://x/a;URI=spiffe://y/b;DNS=c.test"
        );
    }

    #[test]
    fn a_certificate_is_read_as_by_envoy() {
        let email = SanType::Rfc822Name("a@b.test".try_into().unwrap());
        let names =
            [SanType::IpAddress("192.0.2.1".parse().unwrap()), SanType::IpAddress("::1".parse().unwrap()), email];
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.serial_number = Some(vec![0xf0, 0x01].into());
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2026, 1, 2), rcgen::date_time_ymd(2027, 1, 2));
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let certificate = read(der.der()).unwrap();
        assert_eq!(*certificate.addresses, ["192.0.2.1".into(), "::1".into()]);
        assert_eq!(*certificate.emails, ["a@b.test".into()]);
        assert_eq!((&*certificate.serial, &certificate.subject), ("f001", &certificate.issuer));
        assert_eq!(certificate.not_after - certificate.not_before, Duration::from_secs(365 * 86_400));
        assert_eq!((certificate.sha256.len(), certificate.sha1.len()), (64, 40));
    }

    #[test]
    fn who_has_no_names_is_said_to_have_none() {
        assert_eq!(said(&certificate(&[], &[]), None), "Subject=\"\";URI=");
        assert!(read(b"no certificate").is_none());
    }
}
