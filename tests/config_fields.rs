//! Every field of Istio's messages decodes under both of its names and is written under its JSON name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mesh_router::config::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_yaml::Value;

const FIELDS: &str = include_str!("data/fields.tsv");
const ENUMERATIONS: &str = include_str!("data/enumerations.tsv");

/// `text` read as `T`, compared with the default, and written again.
fn round<T: DeserializeOwned + Serialize + Default + PartialEq>(text: &str) -> Result<(bool, Value), String> {
    let word: T = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    let written = serde_yaml::to_value(&word).map_err(|error| error.to_string())?;
    let again: T = serde_yaml::from_value(written.clone()).map_err(|error| error.to_string())?;
    assert!(again == word, "{text} comes back as something else");
    Ok((word == T::default(), written))
}

macro_rules! by_name {
    ($name:expr, $text:expr, [$($Word:ident),* $(,)?]) => {
        match $name {
            $( stringify!($Word) => round::<$Word>($text), )*
            other => panic!("no word {other}"),
        }
    };
}

fn read(word: &str, text: &str) -> Result<(bool, Value), String> {
    by_name!(
        word,
        text,
        [
            ClientTlsSettings,
            ConnectionKeepalive,
            ConnectionPoolSettings,
            ConsistentHashLb,
            CorsPolicy,
            Delegate,
            Destination,
            DestinationRule,
            DestinationWorkloadSelector,
            Distribute,
            Failover,
            FaultAbort,
            FaultDelay,
            Gateway,
            HeaderOperations,
            Headers,
            HttpBody,
            HttpCookie,
            HttpCookieAttribute,
            HttpDirectResponse,
            HttpFaultInjection,
            HttpMatchRequest,
            HttpMirrorPolicy,
            HttpRedirect,
            HttpRetry,
            HttpRewrite,
            HttpRoute,
            HttpRouteDestination,
            HttpSettings,
            L4MatchAttributes,
            LoadBalancerSettings,
            LocalityLoadBalancerSetting,
            MagLev,
            OutlierDetection,
            Percent,
            PortSelector,
            PortTrafficPolicy,
            ProxyProtocol,
            RegexRewrite,
            RetryBudget,
            RingHash,
            RouteDestination,
            Server,
            ServerPort,
            ServerTlsSettings,
            ServiceEntry,
            ServiceEntryPort,
            StringMatch,
            Subset,
            TcpKeepalive,
            TcpRoute,
            TcpSettings,
            TlsCertificate,
            TlsMatchAttributes,
            TlsRoute,
            TrafficPolicy,
            TunnelSettings,
            VirtualService,
            WarmupConfiguration,
            WorkloadEntry,
            WorkloadSelector,
            ZoneAwareFailover,
            ZoneAwareLoadBalancerSetting,
        ]
    )
}

fn rows(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    table.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect())
}

#[test]
fn both_names_decode_and_the_json_name_is_written() {
    let mut count = 0;
    for row in rows(FIELDS) {
        let [word, json, proto, value] = row[..] else { panic!("{row:?}") };
        for name in [json, proto] {
            let (is_default, written) =
                read(word, &format!("{{{name}: {value}}}")).unwrap_or_else(|e| panic!("{word}.{name}: {e}"));
            assert!(!is_default, "{word}.{name}: {value} is not kept");
            let keys: Vec<_> = written.as_mapping().unwrap().keys().collect();
            assert_eq!(keys, [&Value::from(json)], "{word}.{name}");
            let expected: Value = serde_yaml::from_str(value).unwrap();
            assert_eq!(written[json], expected, "{word}.{name}");
        }
        count += 1;
    }
    assert_eq!(count, 274);
}

#[test]
fn null_is_unset_and_the_last_of_two_names_wins() {
    for row in rows(FIELDS) {
        let [word, json, proto, value] = row[..] else { panic!("{row:?}") };
        let (is_default, written) = read(word, &format!("{{{json}: null}}")).unwrap();
        assert!(is_default && written.as_mapping().unwrap().is_empty(), "{word}.{json}");
        if json != proto {
            let (is_default, _) = read(word, &format!("{{{json}: {value}, {proto}: null}}")).unwrap();
            assert!(is_default, "{word}.{proto} is last");
            let (is_default, _) = read(word, &format!("{{{proto}: null, {json}: {value}}}")).unwrap();
            assert!(!is_default, "{word}.{json} is last");
        }
    }
}

#[test]
fn enumerations_by_name_and_by_number() {
    let holders = [
        ("RedirectPortSelection", "HttpRedirect", "derivePort"),
        ("UnmatchedPreflights", "CorsPolicy", "unmatchedPreflights"),
        ("ProxyProtocolVersion", "ProxyProtocol", "version"),
        ("SimpleLb", "LoadBalancerSettings", "simple"),
        ("H2UpgradePolicy", "HttpSettings", "h2UpgradePolicy"),
        ("ClientTlsMode", "ClientTlsSettings", "mode"),
        ("ServerTlsMode", "ServerTlsSettings", "mode"),
        ("TlsProtocol", "ServerTlsSettings", "minProtocolVersion"),
        ("Location", "ServiceEntry", "location"),
        ("Resolution", "ServiceEntry", "resolution"),
    ];
    for row in rows(ENUMERATIONS) {
        let [enumeration, name, number] = row[..] else { panic!("{row:?}") };
        let (_, word, field) = holders.iter().find(|holder| holder.0 == enumeration).unwrap();
        let by_name = read(word, &format!("{{{field}: {name}}}")).unwrap();
        let by_number = read(word, &format!("{{{field}: {number}}}")).unwrap();
        assert_eq!(by_name, by_number, "{enumeration} {name}");
        if let Some(written) = by_name.1.get(*field) {
            assert_eq!(written, name);
        }
        if name.chars().any(char::is_alphabetic) {
            let error = read(word, &format!("{{{field}: {}}}", name.to_ascii_lowercase())).unwrap_err();
            assert!(error.contains(&format!("write {name}")), "{error}");
        }
        let error = read(word, &format!("{{{field}: 99}}")).unwrap_err();
        assert!(error.contains(name), "{error} names {name}");
    }
}

#[test]
fn a_map_of_conditions_keeps_null_apart_from_nothing() {
    let word: HttpMatchRequest = serde_yaml::from_str("{headers: {a: null, b: {}, 8080: {exact: ''}}}").unwrap();
    assert_eq!(word.headers["a"], None);
    assert_eq!(word.headers["b"], Some(StringMatch::default()));
    assert_eq!(word.headers["8080"].as_ref().unwrap().exact.as_deref(), Some(""));
    assert_eq!(serde_yaml::to_string(&word).unwrap(), "headers:\n  '8080':\n    exact: ''\n  a: null\n  b: {}\n");
}

#[test]
fn scalars_as_proto_json_has_them() {
    let ok = |word: &str, text: &str| read(word, text).unwrap_or_else(|error| panic!("{text}: {error}")).1;
    let refused = |word: &str, text: &str| read(word, text).unwrap_err();
    assert_eq!(ok("RingHash", "{minimumRingSize: '18446744073709551615'}")["minimumRingSize"], u64::MAX);
    assert!(refused("RingHash", "{minimumRingSize: '18446744073709551616'}").contains("64 bits"));
    assert!(refused("RingHash", "{minimumRingSize: -1}").contains("negative"));
    assert_eq!(ok("PortSelector", "{number: 80.0}")["number"], 80);
    assert!(refused("PortSelector", "{number: '80'}").contains("write 80 without quotes"));
    assert!(refused("PortSelector", "{number: 4294967296}").contains("32 bits"));
    assert_eq!(ok("Percent", "{value: 50}")["value"], 50.0);
    assert!(refused("Percent", "{value: .nan}").contains("a number"));
    assert!(refused("Percent", "{value: 50%}").contains("without the % sign"));
    assert_eq!(ok("HttpMatchRequest", "{ignoreUriCase: yes}")["ignoreUriCase"], true);
    assert!(refused("HttpMatchRequest", "{ignoreUriCase: 'true'}").contains("without quotes"));
    assert!(refused("Subset", "{labels: {version: 1}}").contains("put it in quotes"));
    for bytes in ["+/8=", "+/8", "-_8=", "-_8"] {
        assert_eq!(ok("HttpBody", &format!("{{bytes: {bytes}}}"))["bytes"], "+/8=", "{bytes}");
    }
    assert!(refused("HttpBody", "{bytes: '#'}").contains("base64"));
    assert!(refused("VirtualService", "{http: [null]}").contains("null"));
}
