//! What `x-forwarded-client-cert` says of a client that showed a certificate, in Envoy's words as Istio asks for them.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use ring::digest::{SHA256, digest};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

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

/// The element for a client's certificate, which was shown to our own. `None`: it is none.
pub(super) fn element(client: &[u8], own: Option<&[u8]>) -> Option<HeaderValue> {
    let (_, certificate) = X509Certificate::from_der(client).ok()?;
    let mut text = String::new();
    let own = own.and_then(|own| Some(X509Certificate::from_der(own).ok()?.1));
    for name in own.iter().flat_map(uris) {
        let _ = write!(text, "By={name};");
    }
    text.push_str("Hash=");
    for byte in digest(&SHA256, client).as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    let _ = write!(text, ";Cert=\"{}\";Subject=\"{}\"", pem(client), subject(certificate.subject()));
    if uris(&certificate).next().is_none() {
        text.push_str(";URI=");
    }
    for name in uris(&certificate) {
        let _ = write!(text, ";URI={name}");
    }
    for name in alternatives(&certificate) {
        if let GeneralName::DNSName(name) = name {
            let _ = write!(text, ";DNS={name}");
        }
    }
    HeaderValue::try_from(text).ok()
}

fn alternatives<'c, 'a>(certificate: &'c X509Certificate<'a>) -> &'c [GeneralName<'a>] {
    let extension = certificate.subject_alternative_name().ok().flatten();
    extension.map_or(&[], |extension| extension.value.general_names.as_slice())
}

fn uris<'c>(certificate: &'c X509Certificate<'_>) -> impl Iterator<Item = &'c str> {
    alternatives(certificate).iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    })
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
fn subject(name: &X509Name<'_>) -> String {
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
        let element = element(client, own).unwrap();
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
    fn who_has_no_names_is_said_to_have_none() {
        assert_eq!(said(&certificate(&[], &[]), None), "Subject=\"\";URI=");
        assert!(element(b"no certificate", None).is_none());
    }
}
