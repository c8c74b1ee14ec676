//! What is said of Secrets that cannot be used.

use std::fmt::Write as _;

use super::*;
use crate::snapshot::ServerTls;
use crate::tls::tests::Authority;
use crate::upstream::{Identity, Pem};

/// A Secret with these keys.
fn secret(name: &str, data: &[(&str, &str)]) -> String {
    let mut text = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData:\n");
    for (key, value) in data {
        writeln!(text, "  {key}: |\n    {}", value.trim().replace('\n', "\n    ")).unwrap();
    }
    text + "---\n"
}

fn text(pem: &Pem) -> &str {
    let Pem::Text(text) = pem else { panic!("{pem:?}") };
    std::str::from_utf8(text).unwrap()
}

/// A server with these words of `tls`.
fn server(tls: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gw}}
spec:
  servers:
  - {{port: {{number: 443, name: s, protocol: HTTPS}}, hosts: ['*'], tls: {tls}}}
---
"
    )
}

/// A rule for a host with these words of `tls`.
fn client(tls: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: a}}
spec: {{host: a.test, trafficPolicy: {{tls: {tls}}}}}
---
"
    )
}

/// What is said, and where, of Secrets in `documents` that cannot be used. None of it fails a check, or refuses a start.
fn unusable(documents: &str) -> Vec<(String, String)> {
    let (_, report) = published(documents, MeshOptions::default());
    assert!(!report.fails_check() && !report.refuses_start(), "{report}");
    let said = report.problems().iter().filter(|problem| problem.message.contains("cannot be used"));
    said.map(|problem| (problem.path.clone(), problem.message.clone())).collect()
}

fn broken(kind: &str, inside: &str) -> String {
    format!("-----BEGIN {kind}-----\n{inside}\n-----END {kind}-----\n")
}

#[test]
fn a_secret_whose_certificate_or_key_is_of_no_use_is_named() {
    let authority = Authority::new("ours");
    let (own, other) = (authority.issue(&["a.test"]), authority.issue(&["a.test"]));
    let Identity { certificates, key } = &own;
    let (certificates, key) = (text(certificates), text(key));
    let (no_certificate, no_key) = (broken("CERTIFICATE", "aGk="), broken("PRIVATE KEY", "aGk="));
    let bad_text = broken("CERTIFICATE", "!!");
    let server = server("{mode: SIMPLE, credentialName: c}");
    let of = |data: &[(&str, &str)]| unusable(&(secret("c", data) + &server));
    assert_eq!(of(&[("tls.crt", certificates), ("tls.key", key)]), []);
    assert_eq!(of(&[("cert", certificates), ("key", key)]), []);
    for (data, why) in [
        ([("tls.crt", "hi"), ("tls.key", "hi")], "there is no certificate in it"),
        ([("tls.crt", certificates), ("tls.key", "hi")], "there is no private key in it"),
        ([("tls.crt", certificates), ("tls.key", text(&other.key))], "the key is not the certificate's"),
        ([("tls.crt", key), ("tls.key", certificates)], "there is no certificate in it"),
        ([("tls.crt", certificates), ("tls.crt.bak", key)], "the key tls.key of the Secret default/c is not there"),
        ([("tls.crt", certificates), ("tls.key", &no_key)], ""),
        ([("tls.crt", &no_certificate), ("tls.key", key)], ""),
        ([("tls.crt", &bad_text), ("tls.key", key)], ""),
    ] {
        let found = of(&data);
        let [(path, message)] = &found[..] else { panic!("{data:?}: {found:?}") };
        assert_eq!(path, "spec.servers[0].tls.credentialName");
        let (before, after) =
            ("the certificate and key of the Secret default/c cannot be used: ", ": connections fail");
        let said = message.strip_prefix(before).and_then(|message| message.strip_suffix(after));
        let said = said.unwrap_or_else(|| panic!("{message}"));
        assert!(!said.is_empty() && (why.is_empty() || said == why), "{said}");
    }
}

#[test]
fn what_is_used_of_a_secret_is_judged_and_nothing_else() {
    let authority = Authority::new("ours");
    let Identity { certificates, key } = authority.issue(&["a.test"]);
    let (certificates, key, roots) = (text(&certificates), text(&key), authority.roots());
    let revoked = authority.revoke(7);
    let (bad, shown) = ("hi", [("tls.crt", certificates), ("tls.key", key)]);
    let secrets = secret("good", &[&shown[..], &[("ca.crt", text(&roots)), ("ca.crl", text(&revoked))]].concat())
        + &secret("shown", &shown)
        + &secret("trusted", &[("ca.crt", text(&roots))])
        + &secret("distrusted", &[&shown[..], &[("ca.crt", bad)]].concat())
        + &secret("taken-back", &[&shown[..], &[("ca.crt", text(&roots)), ("ca.crl", bad)]].concat())
        + &secret("apart", &shown)
        + &secret("apart-cacert", &[("cacert", bad)])
        + &secret("listed", &[("ca.crt", text(&roots)), ("ca.crl", bad)]);
    let (pair, roots, lists) = ("certificate and key", "authorities", "revoked certificates");
    let said = |documents: String| {
        let found = unusable(&(secrets.clone() + &documents)).into_iter().map(|(path, message)| {
            let field = path.rsplit_once("tls.").unwrap().1.to_owned();
            let part = message.strip_prefix("the ").and_then(|rest| rest.split_once(" of the Secret default/"));
            let (part, rest) = part.unwrap_or_else(|| panic!("{message}"));
            format!("{field}: {part} of {}", rest.split_once(' ').unwrap().0)
        });
        found.collect::<Vec<_>>()
    };
    let one = |field: &str, part: &str, secret: &str| vec![format!("{field}: {part} of {secret}")];
    for (tls, expected) in [
        ("{mode: SIMPLE, credentialName: distrusted}", vec![]),
        ("{mode: MUTUAL, credentialName: good}", vec![]),
        ("{mode: MUTUAL, credentialName: distrusted}", one("credentialName", roots, "distrusted")),
        ("{mode: OPTIONAL_MUTUAL, credentialName: apart}", one("credentialName", roots, "apart-cacert")),
        ("{mode: MUTUAL, credentialName: taken-back}", one("credentialName", lists, "taken-back")),
        ("{mode: MUTUAL, credentialName: shown}", one("credentialName", roots, "shown")),
        ("{mode: MUTUAL, credentialName: shown, insecureSkipVerify: true}", vec![]),
        ("{mode: MUTUAL, credentialName: shown, caCertCredentialName: trusted}", vec![]),
        (
            "{mode: MUTUAL, credentialName: good, caCertCredentialName: distrusted}",
            one("caCertCredentialName", roots, "distrusted"),
        ),
        (
            "{mode: MUTUAL, credentialName: good, caCertCredentialName: listed}",
            one("caCertCredentialName", lists, "listed"),
        ),
        ("{mode: MUTUAL, credentialName: taken-back, caCertCredentialName: trusted}", vec![]),
        ("{mode: MUTUAL, credentialNames: [good, distrusted]}", vec![]),
        ("{mode: MUTUAL, credentialNames: [good, trusted]}", one("credentialNames[1]", pair, "trusted")),
        ("{mode: MUTUAL, credentialNames: [distrusted, good]}", one("credentialNames[0]", roots, "distrusted")),
        ("{mode: PASSTHROUGH}", vec![]),
    ] {
        assert_eq!(said(server(tls)), expected, "{tls}");
    }
    for (tls, expected) in [
        ("{mode: SIMPLE, credentialName: trusted}", vec![]),
        ("{mode: SIMPLE, credentialName: distrusted}", one("credentialName", roots, "distrusted")),
        ("{mode: SIMPLE, credentialName: apart}", one("credentialName", roots, "apart-cacert")),
        ("{mode: MUTUAL, credentialName: distrusted, insecureSkipVerify: true}", vec![]),
        ("{mode: MUTUAL, credentialName: trusted}", one("credentialName", pair, "trusted")),
        ("{mode: MUTUAL, credentialName: taken-back}", one("credentialName", lists, "taken-back")),
        ("{mode: ISTIO_MUTUAL}", vec![]),
    ] {
        assert_eq!(said(client(tls)), expected, "{tls}");
    }
}

/// A Secret of these texts, none of them PEM.
fn words(name: &str, data: &[(&str, &str)]) -> String {
    let data: Vec<_> = data.iter().map(|(key, text)| format!("{key}: '{text}'")).collect();
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{{}}}\n---\n", data.join(", "))
}

/// How the only listener ends TLS.
fn ended(documents: &str) -> Arc<ServerTls> {
    let (snapshot, report) = published(documents, MeshOptions::default());
    snapshot.listeners()[0].tls.clone().unwrap_or_else(|| panic!("{report}"))
}

#[test]
fn authorities_and_what_they_took_back_come_from_one_secret() {
    let own = [("tls.crt", "c"), ("tls.key", "k"), ("ca.crt", "own roots"), ("ca.crl", "own list")];
    let secrets = words("own", &own)
        + &words("beside", &own)
        + &words("beside-cacert", &[("ca.crt", "roots beside"), ("ca.crl", "list beside")])
        + &words("unlisted", &own)
        + &words("unlisted-cacert", &[("cacert", "roots beside")])
        + &words("apart-cacert", &[("cacert", "roots apart"), ("crl", "list apart"), ("ca.crl", "no list of these")])
        + &words("mixed", &[("cacert", ""), ("crl", "no list of these"), ("ca.crt", "roots"), ("ca.crl", "")]);
    let pem = |text: &str| Pem::Text(Arc::from(text.as_bytes()));
    for (names, roots, revoked) in [
        ("credentialName: own", "own roots", Some("own list")),
        ("credentialName: kubernetes://beside", "roots beside", Some("list beside")),
        ("credentialName: unlisted", "roots beside", None),
        ("credentialNames: [unlisted, own]", "roots beside", None),
        ("credentialName: own, caCertCredentialName: apart-cacert", "roots apart", Some("list apart")),
        ("credentialName: own, caCertCredentialName: mixed", "roots", None),
        // The one that is named, and not the one beside it; what ends so may be in the Secret without the end.
        ("credentialName: own, caCertCredentialName: beside", "own roots", Some("own list")),
        ("credentialName: unlisted, caCertCredentialName: own-cacert", "own roots", Some("own list")),
    ] {
        let tls = ended(&format!("{secrets}{}", server(&format!("{{mode: MUTUAL, {names}}}"))));
        assert_eq!((&tls.roots, &tls.revoked), (&Some(pem(roots)), &revoked.map(pem)), "{names}");
    }
}

#[test]
fn other_authorities_are_another_question_and_what_is_in_a_secret_is_none() {
    let tls = |names: &str, roots: &str| {
        let secrets = ["a", "b", "b-cacert"].map(|name| words(name, &[("ca.crt", roots), ("ca.crl", roots)])).concat();
        ended(&(secrets + &server(&format!("{{{names}}}"))))
    };
    let before = tls("mode: MUTUAL, credentialName: a, caCertCredentialName: b-cacert", "old");
    for (names, same) in [
        ("mode: MUTUAL, credentialName: a, caCertCredentialName: b-cacert", true),
        ("mode: MUTUAL, credentialName: b", true),
        ("mode: MUTUAL, credentialName: a, caCertCredentialName: b", false),
        ("mode: MUTUAL, credentialName: a", false),
        ("mode: OPTIONAL_MUTUAL, credentialName: a, caCertCredentialName: b-cacert", false),
    ] {
        assert_eq!(tls(names, "new").asks_the_same(&before), same, "{names}");
    }
    assert!(tls("mode: SIMPLE, credentialName: b", "").asks_the_same(&tls("mode: SIMPLE, credentialName: a", "")));
    let files = |roots: &str, list: &str| {
        let own = "mode: MUTUAL, serverCertificate: c, privateKey: k";
        tls(&format!("{own}, caCertificates: {roots}, caCrl: {list}"), "")
    };
    assert!(files("ca", "crl").asks_the_same(&files("ca", "crl")));
    assert!(!files("ca", "crl").asks_the_same(&files("other", "crl")));
    assert!(!files("ca", "crl").asks_the_same(&files("ca", "other")));
}

#[test]
fn files_and_secrets_are_not_mixed() {
    let secrets = words("a", &[("ca.crt", "roots"), ("ca.crl", "list")]);
    let of = |tls: &str| {
        let (snapshot, report) = published(&(secrets.clone() + &server(tls)), MeshOptions::default());
        let vain = report.problems().iter().filter(|problem| problem.message.starts_with("without effect: "));
        let vain: Vec<String> = vain.map(|problem| problem.path.replace("spec.servers[0].tls.", "")).collect();
        let tls = snapshot.listeners()[0].tls.clone().unwrap();
        (tls.roots.clone().unwrap(), tls.revoked.clone().unwrap(), vain)
    };
    let (text, file) = (|text: &str| Pem::Text(Arc::from(text.as_bytes())), |path: &str| Pem::File(path.into()));
    let files = "caCertificates: /ca, caCrl: /crl";
    let (roots, revoked, vain) = of(&format!("{{mode: MUTUAL, credentialName: a, {files}}}"));
    assert_eq!((roots, revoked), (text("roots"), text("list")));
    assert_eq!(vain, ["caCertificates", "caCrl"]);
    let own = "serverCertificate: /c, privateKey: /k, caCertCredentialName: a";
    let (roots, revoked, vain) = of(&format!("{{mode: MUTUAL, {own}, {files}}}"));
    assert_eq!((roots, revoked), (file("/ca"), file("/crl")));
    assert_eq!(vain, ["caCertCredentialName"]);
}

#[test]
fn a_name_that_nothing_uses_is_not_missed() {
    let secrets = words("a", &[("tls.crt", "c"), ("tls.key", "k")]) + &words("b-cacert", &[("ca.crt", "roots")]);
    let said = |documents: String| {
        let (_, report) = published(&(secrets.clone() + &documents), MeshOptions::default());
        let missed = report.problems().iter().filter(|problem| problem.fails_check());
        missed.map(|problem| format!("{}: {}", problem.path, problem.message)).collect::<Vec<_>>()
    };
    let (server, client) = (|tls| said(server(tls)), |tls| said(client(tls)));
    for unused in [
        "{mode: SIMPLE, credentialName: a, caCertCredentialName: no}",
        "{mode: MUTUAL, insecureSkipVerify: true, credentialName: a, caCertCredentialName: no}",
    ] {
        assert_eq!(server(unused), [""; 0], "{unused}");
    }
    assert_eq!(client("{mode: SIMPLE, credentialName: b}"), [""; 0]);
    let missing = |path: &str| format!("{path}: there is no Secret default/no: connections fail");
    let apart = "spec.servers[0].tls.caCertCredentialName";
    assert_eq!(server("{mode: MUTUAL, credentialName: a, caCertCredentialName: no-cacert}"), [missing(apart)]);
    let of_client = "spec.trafficPolicy.tls.credentialName";
    assert_eq!(client("{mode: SIMPLE, credentialName: no}"), [missing(of_client)]);
    assert_eq!(client("{mode: MUTUAL, credentialName: no}"), [missing(of_client)]);
    let map = |path: &str| format!("{path}: not yet honored: ConfigMaps are not read: connections fail");
    let named = "{mode: MUTUAL, credentialName: a, caCertCredentialName: 'configmap://default/a'}";
    assert_eq!(server(named), [map(apart)]);
    assert_eq!(client("{mode: SIMPLE, credentialName: 'configmap://default/a'}"), [map(of_client)]);
}

#[test]
fn files_may_be_on_another_machine() {
    let server = server("{mode: MUTUAL, serverCertificate: /no/c, privateKey: /no/k, caCertificates: /no/ca}");
    let client = client("{mode: MUTUAL, clientCertificate: /no/c, privateKey: /no/k, caCertificates: /no/ca}");
    assert_eq!(unusable(&(server + &client)), []);
}
