//! What commands write.

use super::*;
use std::sync::Arc;

use crate::request::Certificate;

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, http::HeaderValue::from_static(value));
    }
    headers
}

fn rendered(format: &str, context: &FormatContext<'_>) -> String {
    String::from_utf8(Format::parse(format).unwrap().render(context)).unwrap()
}

#[test]
fn h4_texts_without_commands_are_literal() {
    for (text, literal) in [("", ""), ("plain", "plain"), ("100%%", "100%"), ("%%a%%%%", "%a%%")] {
        assert_eq!(Format::parse(text).unwrap().literal(), Some(literal), "{text}");
    }
    assert_eq!(Format::parse("%PROTOCOL%").unwrap().literal(), None);
}

#[test]
fn h4_headers_of_the_request_and_of_the_response() {
    let request = headers(&[("x-user", "jo"), ("x-user", "second"), ("x-empty", "")]);
    let response = headers(&[("x-user", "response")]);
    let context = FormatContext {
        request: &request,
        response: &response,
        method: "GET",
        path_and_query: "/a?b=1",
        authority: "a.test:80",
        scheme: "http",
        ..FormatContext::default()
    };
    for (format, expected) in [
        ("%REQ(X-User)%", "jo"),
        ("a %REQ(x-user)% b", "a jo b"),
        ("%REQ(x-none?x-user)%", "jo"),
        ("%REQ(x-none?X-None-2)%", ""),
        ("%REQ(x-empty?x-user)%", ""),
        ("[%REQ(x-none)%]", "[]"),
        ("%REQ(x-user):1%", "j"),
        ("%REQ(x-user):9%", "jo"),
        (
            "%REQ(:METHOD)% %REQ(:path)% %REQ(:authority)% %REQ(host)% %REQ(:scheme)%",
            "GET /a?b=1 a.test:80 a.test:80 http",
        ),
        ("%RESP(x-user)%", "response"),
        ("%RESP(x-none)%", ""),
        ("%REQUEST_HEADER(x-none?x-user)% %STREAM_INFO_REQ(x-user):1% %RESPONSE_HEADER(x-user)%", "jo j response"),
        ("%REQ(x-user?)% %REQ(?x-user)% %REQ(:foo?x-user)%", "jo jo jo"),
        ("[%REQ(?)%%REQ(:status)%%REQ(:protocol)%%RESP(:path)%%RESPONSE_TRAILER(x-user)%]", "[]"),
    ] {
        assert_eq!(rendered(format, &context), expected, "{format}");
    }
}

#[test]
fn h4_addresses_versions_and_the_rest() {
    let context = FormatContext {
        version: Some(Version::HTTP_2),
        peer: Some("[::1]:5000".parse().unwrap()),
        local: Some("10.0.0.1:80".parse().unwrap()),
        status: Some(StatusCode::NOT_FOUND),
        code: Some(StatusCode::NOT_FOUND),
        details: "via_upstream",
        upstream: Some(&"10.0.0.7:9080"),
        upstream_version: Some(Version::HTTP_11),
        grpc_status: Some(1),
        cluster: Some(&"outbound|80||a.test"),
        route: "r.m",
        attempts: 2,
        since_start: Duration::from_millis(1500),
        ..FormatContext::default()
    };
    for (format, expected, unknown) in [
        ("%PROTOCOL%", "HTTP/2", ""),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", "[::1]:5000", ""),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "::1", ""),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", "::1", ""),
        ("%DOWNSTREAM_REMOTE_PORT%", "5000", ""),
        ("%DOWNSTREAM_LOCAL_ADDRESS%", "10.0.0.1:80", ""),
        ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "10.0.0.1", ""),
        ("%DOWNSTREAM_LOCAL_PORT%", "80", ""),
        ("%RESPONSE_CODE%", "404", "0"),
        ("%RESPONSE_CODE_DETAILS%", "via_upstream", ""),
        ("%RESPONSE_FLAGS%", "-", "-"),
        ("%UPSTREAM_HOST%", "10.0.0.7:9080", ""),
        ("%UPSTREAM_CLUSTER%", "outbound|80||a.test", ""),
        ("%ROUTE_NAME%", "r.m", ""),
        ("%RESP(:status)%", "404", ""),
        ("%DOWNSTREAM_DIRECT_LOCAL_PORT%", "80", ""),
        ("%UPSTREAM_REMOTE_ADDRESS%", "10.0.0.7:9080", ""),
        ("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.0.0.7", ""),
        ("%UPSTREAM_REMOTE_PORT%", "9080", ""),
        ("%UPSTREAM_CLUSTER_RAW%", "outbound|80||a.test", ""),
        ("%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "2", "0"),
        ("%DURATION%", "1500", "0"),
        ("%RESPONSE_DURATION%", "1500", ""),
        ("%UPSTREAM_PROTOCOL%", "HTTP/1.1", ""),
        ("%GRPC_STATUS% %GRPC_STATUS(CAMEL_STRING)%", "Canceled Canceled", " "),
        ("%GRPC_STATUS(SNAKE_STRING)%", "CANCELLED", ""),
        ("%GRPC_STATUS(NUMBER)%%GRPC_STATUS_NUMBER%", "11", ""),
        ("%ROUTE_RESOLUTION_COUNT%", "1", "1"),
        ("%ACCESS_LOG_TYPE% %DOWNSTREAM_WIRE_BYTES_SENT% %TRAILER(a)%", "NotSet 0 ", "NotSet 0 "),
    ] {
        assert_eq!(rendered(format, &context), expected, "{format}");
        assert_eq!(rendered(format, &FormatContext::default()), unknown, "{format}");
    }
}

#[test]
fn h4_a_proxy_that_says_who_the_client_is_stays_the_direct_one() {
    let peer = Some("192.0.2.1:0".parse().unwrap());
    let context = FormatContext { peer, direct_peer: Some("10.0.0.1:99".parse().unwrap()), ..FormatContext::default() };
    let addresses = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS%";
    assert_eq!(rendered(addresses, &context), "192.0.2.1 10.0.0.1:99");
}

#[test]
fn h4_addresses_may_be_told_as_networks() {
    let of = |peer: &str, bits| {
        let context = FormatContext { peer: Some(peer.parse().unwrap()), ..FormatContext::default() };
        rendered(&format!("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT({bits})%"), &context)
    };
    for (bits, network) in [("16", "127.1.0.0/16"), ("23", "127.1.2.0/23"), ("0", "0.0.0.0/0"), ("+08", "127.0.0.0/8")]
        .into_iter()
        .chain([("32", "127.1.3.7/32"), ("99", "127.1.3.7/32"), ("x", "127.1.3.7"), ("4294967304", "127.1.3.7")])
        .chain([("-1", ""), ("8x", "127.1.3.7")])
    {
        assert_eq!(of("127.1.3.7:80", bits), network, "{bits}");
    }
    assert_eq!(
        ["0", "16", "128", "129"].map(|bits| of("[2001:db8::1]:80", bits)),
        ["::/0", "2001::/16", "2001:db8::1/128", "2001:db8::1/128"]
    );
    let context = FormatContext { local: Some("10.9.8.7:80".parse().unwrap()), ..FormatContext::default() };
    assert_eq!(rendered("%DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT(8)%", &context), "10.0.0.0/8");
    for wrong in ["%DOWNSTREAM_LOCAL_ADDRESS(8)%", "%DOWNSTREAM_LOCAL_PORT(8)%", "%UPSTREAM_REMOTE_PORT(8)%"] {
        assert!(Format::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn h4_whom_the_client_asked_for_by_name() {
    let rewritten = headers(&[("x-envoy-original-host", "old.test")]);
    let tls = DownstreamTls { server_name: "sni.test".into(), ..DownstreamTls::default() };
    for (argument, expected) in [
        // In plain text, in TLS, and where the host was rewritten.
        ("SNI_ONLY", ["", "sni.test", "sni.test"]),
        (":ORIG", ["", "sni.test", "sni.test"]),
        ("SNI_FIRST", ["new.test:80", "sni.test", "sni.test"]),
        ("HOST_FIRST", ["new.test:80", "new.test:80", "old.test"]),
        ("HOST_FIRST:HOST", ["new.test:80", "new.test:80", "new.test:80"]),
        ("HOST_FIRST:ORIG:x", ["", "sni.test", "old.test"]),
    ] {
        let format = format!("%REQUESTED_SERVER_NAME({argument})%");
        let plain = FormatContext { authority: "new.test:80", ..FormatContext::default() };
        let secured = FormatContext { tls: Some(&tls), ..plain };
        let contexts = [plain, secured, FormatContext { request: &rewritten, ..secured }];
        assert_eq!(contexts.map(|context| rendered(&format, &context)), expected, "{argument}");
    }
    assert!(Format::parse("%REQUESTED_SERVER_NAME(HOST_FIRST)%").unwrap().names_request());
    for wrong in ["(x)", "(HOST_FIRST:x)", "(SNI_ONLY:x)", ":9"] {
        assert!(Format::parse(&format!("%REQUESTED_SERVER_NAME{wrong}%")).is_err(), "{wrong}");
    }
}

#[test]
fn h4_an_endpoint_that_is_a_path_has_no_port() {
    let upstream_version = Some(Version::HTTP_11);
    let context = FormatContext { upstream: Some(&"/run/a.sock"), upstream_version, ..FormatContext::default() };
    assert_eq!(rendered("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%[%UPSTREAM_REMOTE_PORT%]", &context), "/run/a.sock[]");
}

#[test]
fn h4_an_endpoint_without_a_connection_has_no_address() {
    let context = FormatContext { upstream: Some(&"10.0.0.7:9080"), ..FormatContext::default() };
    let told =
        "%UPSTREAM_HOST%[%UPSTREAM_REMOTE_ADDRESS%%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)%%UPSTREAM_REMOTE_PORT%]";
    assert_eq!(rendered(told, &context), "10.0.0.7:9080[]");
}

#[test]
fn h4_the_path_as_it_came_and_as_it_is_sent() {
    let rewritten = headers(&[("x-envoy-original-path", "/old?b=1")]);
    let of = |request: &HeaderMap, format| {
        rendered(format, &FormatContext { request, path_and_query: "/new?b=1", ..FormatContext::default() })
    };
    for (format, after, before) in [
        ("%PATH%", "/old?b=1", "/new?b=1"),
        ("%PATH(NQ)%", "/old", "/new"),
        ("%PATH(WQ:PATH)%", "/new?b=1", "/new?b=1"),
        ("%PATH(NQ:PATH):2%", "/n", "/n"),
        ("%PATH(:ORIG)%", "/old?b=1", ""),
        ("%PATH(WQ:ORIG:x)%", "/old?b=1", ""),
        ("%PATH(NQ:ORIG_OR_PATH)%", "/old", "/new"),
    ] {
        assert_eq!((of(&rewritten, format), of(&HeaderMap::new(), format)), (after.into(), before.into()), "{format}");
    }
    assert!(Format::parse("%PATH%").unwrap().names_request());
}

#[test]
fn h4_the_query_and_its_parameters() {
    let of =
        |path_and_query, format: &str| rendered(format, &FormatContext { path_and_query, ..FormatContext::default() });
    let query = "/?%61=pct&b=two%zz%20x%2&a=later&a%20b=7&c&d==x=y&p=1+1&e=";
    for (format, expected) in [
        ("%QUERY_PARAM(a)%", "pct"),
        ("%QUERY_PARAM(a):2%", "pc"),
        ("%QUERY_PARAM(b)%", "two%zz x%2"),
        ("%QUERY_PARAM(a b)%", "7"),
        ("%QUERY_PARAM(d)%", "=x=y"),
        ("%QUERY_PARAM(p)%", "1+1"),
        ("[%QUERY_PARAM(c)%%QUERY_PARAM(e)%%QUERY_PARAM(%61)%%QUERY_PARAM(A)%]", "[]"),
        ("%QUERY_PARAMS():9%", "%61=pct&b"),
    ] {
        assert_eq!(of(query, format), expected, "{format}");
    }
    assert_eq!(of("/a%20b?c%20d", "%QUERY_PARAMS% %QUERY_PARAMS(ORIG)%"), "c%20d c%20d");
    let harmless = ["?a=%3D%26%7e+", "?a=%zz%%41%5A%", "?%20%0a%22%3c%5C%7f%c3%A9%e"];
    let decoded = ["a==&~+", "a=zzAZ%", "%20%0a%22%3c%5C%7f%c3%A9%e"];
    assert_eq!(harmless.map(|query| of(query, "%QUERY_PARAMS(DECODED)%")), decoded);
    assert_eq!(of("/a", "[%QUERY_PARAMS%%QUERY_PARAM(a)%]"), "[]");
    assert!(Format::parse("%QUERY_PARAM(a)%").unwrap().names_request());
    for wrong in ["%QUERY_PARAM%", "%QUERY_PARAM()%", "%QUERY_PARAMS(decoded)%", "%TRAILER()%", "%STREAM_ID:3%"] {
        assert!(Format::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn h4_what_is_not_known_yet_when_headers_are_written() {
    let request = headers(&[("x-request-id", "7f")]);
    let context = FormatContext { request: &request, ..FormatContext::default() };
    let format = "%BYTES_SENT%[%TRAILER(x)%%VIRTUAL_CLUSTER_NAME%]%RESPONSE_FLAGS_LONG% %STREAM_ID%";
    assert_eq!(rendered(format, &context), "0[]- 7f");
    let context = FormatContext { flags: &Long, ..FormatContext::default() };
    assert_eq!(rendered("%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%", &context), "UH NoHealthyUpstream");
}

/// Flags as those of telemetry are written.
struct Long;

impl fmt::Display for Long {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if f.alternate() { "NoHealthyUpstream" } else { "UH" })
    }
}

#[test]
fn h4_the_tls_of_the_client() {
    let names = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
    let certificate = Certificate {
        subject: "CN=a".into(),
        issuer: "CN=ca".into(),
        serial: "0f".into(),
        uris: names(&["spiffe://a", "spiffe://b"]),
        sha1: "51".into(),
        not_before: Duration::from_secs(86_400),
        ..Certificate::default()
    };
    let tls = DownstreamTls {
        version: "TLSv1.2".into(),
        cipher: "C".into(),
        server_name: "a.test".into(),
        peer: Some(certificate.clone()),
        local: Some(Arc::new(Certificate { subject: "CN=own".into(), dns_names: names(&["own.test"]), ..certificate })),
    };
    for (format, expected) in [
        ("%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %REQUESTED_SERVER_NAME%", "TLSv1.2 C a.test"),
        ("%DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_ISSUER% %DOWNSTREAM_LOCAL_SUBJECT%", "CN=a CN=ca CN=own"),
        ("%DOWNSTREAM_PEER_SERIAL% %DOWNSTREAM_PEER_FINGERPRINT_1%", "0f 51"),
        ("%DOWNSTREAM_PEER_URI_SAN%[%DOWNSTREAM_PEER_DNS_SAN%]", "spiffe://a,spiffe://b[]"),
        ("%DOWNSTREAM_LOCAL_DNS_SAN%", "own.test"),
        ("%DOWNSTREAM_PEER_CERT_V_START% %DOWNSTREAM_PEER_CERT_V_END(%Y)%", "1970-01-02T00:00:00.000Z 1970"),
    ] {
        let context = FormatContext { tls: Some(&tls), ..FormatContext::default() };
        assert_eq!(rendered(format, &context), expected, "{format}");
        assert_eq!(rendered(format, &FormatContext::default()).trim_matches([' ', '[', ']']), "", "{format}");
    }
}

#[test]
fn h4_what_is_said_of_this_process_is_literal() {
    let path = std::env::var("PATH").unwrap();
    assert_eq!(Format::parse("%ENVIRONMENT(PATH)%").unwrap().literal(), Some(&*path));
    assert_eq!(Format::parse("%ENVIRONMENT(PATH):1%").unwrap().literal(), Some(&path[..1]));
    assert_eq!(Format::parse("%ENVIRONMENT(NO_SUCH_NAME_HERE)%").unwrap().literal(), Some("-"));
    assert!(!Format::parse("%HOSTNAME%").unwrap().literal().unwrap().is_empty());
}

#[test]
fn h4_the_start_of_the_request_is_now_or_before() {
    let seconds = |since_start| -> u64 {
        rendered("%START_TIME(%s)%", &FormatContext { since_start, ..FormatContext::default() }).parse().unwrap()
    };
    let (now, before) = (seconds(Duration::ZERO), seconds(Duration::from_secs(3600)));
    assert!((now - before).abs_diff(3600) <= 1, "{now} {before}");
    assert_eq!(rendered("%START_TIME%", &FormatContext::default()).len(), "2026-11-21T09:30:00.123Z".len());
}

#[test]
fn h4_what_is_no_command_is_refused() {
    for text in ["50%", "a % b", "%req(x)%", "%REQ(x", "%REQ(x)", "%REQ(x):%", "%REQ(x)x%", "%(x)%", "%PROTOCOL"] {
        assert!(matches!(Format::parse(text), Err(FormatError::Syntax(_))), "{text}");
    }
    for text in ["%REQ(x) %", "%PROTOCOL  %", "%START_TIME(%Y) %"] {
        assert!(matches!(Format::parse(text), Err(FormatError::Blank(_))), "{text}");
    }
    // The last one is that of an extension of Envoy, which nobody sets up for headers.
    for text in ["%NO_SUCH_COMMAND(a)%", "%CONNECTION%", "%DOWNSTREAM_LOCAL_SERIAL%", "%REQ_WITHOUT_QUERY(a)%"] {
        assert!(matches!(Format::parse(text), Err(FormatError::Unknown(_))), "{text}");
    }
    for text in ["%REQ%", "%REQ()%", "%REQ(a b)%", "%REQ(:)%", "%START_TIME(%n)%", "%PROTOCOL(x)%", "%ENVIRONMENT%"]
        .into_iter()
        .chain(["%PATH(X)%", "%PATH(WQ:X)%", "%START_TIME:3%", "%DOWNSTREAM_TLS_VERSION:3%"])
    {
        assert!(matches!(Format::parse(text), Err(FormatError::Argument { .. })), "{text}");
    }
}

#[test]
fn who_names_the_request_or_its_start_is_known() {
    assert!(Format::parse("a%REQ(x)%").unwrap().names_request());
    assert!(Format::parse("%GRPC_STATUS(NUMBER)%").unwrap().names_request());
    assert!(!Format::parse("%RESP(x)%%PROTOCOL%").unwrap().names_request());
    assert!(Format::parse("a%START_TIME(%s)%").unwrap().names_start());
    assert!(!Format::parse("%REQ(x)%%PROTOCOL%").unwrap().names_start());
}

#[test]
fn h4_a_status_of_grpc_without_a_name_is_its_number() {
    let of = |grpc_status| rendered("%GRPC_STATUS%", &FormatContext { grpc_status, ..FormatContext::default() });
    assert_eq!([Some(0), Some(16), Some(17), None].map(of), ["OK", "Unauthenticated", "17", ""]);
    assert!(Format::parse("%GRPC_STATUS(LOUD)%").is_err());
}

#[test]
fn h4_what_is_not_known_here_comes_out_as_nothing_and_is_named() {
    let format = Format::parse("[%CONNECTION_ID%%CEL(request.path)%%PROTOCOL%%UPSTREAM_LOCAL_PORT%]").unwrap();
    assert_eq!(format.not_honored().collect::<Vec<_>>(), ["CONNECTION_ID", "CEL", "UPSTREAM_LOCAL_PORT"]);
    assert_eq!(format.render(&FormatContext::default()), b"[]");
    for wrong in ["%CEL%", "%CEL()%", "%PER_REQUEST_STATE%", "%BYTES_SENT(a)%", "%TRACE_IDS%"] {
        assert!(Format::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn h4_commands_take_the_arguments_that_envoy_takes() {
    for right in ["%METADATA(ROUTE:ns:key)%", "%METADATA(CLUSTER)%", "%UPSTREAM_METADATA(ns)%"]
        .into_iter()
        .chain(["%COMMON_DURATION(DS_RX_BEG:US_TX_BEG)%", "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%"])
        .chain(["%FILTER_STATE(k)%", "%FILTER_STATE(k:PLAIN)%", "%UPSTREAM_FILTER_STATE(k:FIELD:f)%"])
        .chain(["%XFCC_VALUE(URI)%", "%ROUTE_RESOLUTION_TIME_US%", "%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(8)%"])
        .chain(["%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", "%RESPONSE_CODE_DETAILS(a)%"])
        .chain(["%START_TIME_LOCAL%", "%EMIT_TIME_LOCAL(%Y)%", "%UPSTREAM_PEER_CERT_V_START(%s)%"])
        .chain(["%CEL(a):5%", "%DYNAMIC_METADATA(a):5%", "%FILTER_STATE(k):5%", "%UPSTREAM_FILTER_STATE(k):5%"])
        .chain(["%METADATA(ROUTE):5%", "%XFCC_VALUE(uri):5%"])
    {
        assert_eq!(Format::parse(right).unwrap().render(&FormatContext::default()), b"", "{right}");
    }
    for wrong in ["%CONNECTION_ID(a)%", "%UPSTREAM_TLS_VERSION(a)%", "%TRACE_ID(a)%", "%HOSTNAME(a)%", "%HOSTNAME:3%"]
        .into_iter()
        .chain(["%XFCC_VALUE%", "%XFCC_VALUE(x)%", "%ROUTE_RESOLUTION_COUNT(a)%", "%RESPONSE_CODE_DETAILS:9%"])
        .chain(["%METADATA(a)%", "%METADATA(:a)%", "%COMMON_DURATION(a)%", "%COMMON_DURATION(a:b:s)%"])
        .chain(["%COMMON_DURATION(a:b:)%", "%COMMON_DURATION(a:b:ns:c)%"])
        .chain(["%FILTER_STATE%", "%FILTER_STATE(:PLAIN)%", "%FILTER_STATE(k:X)%", "%FILTER_STATE(k:FIELD)%"])
        .chain(["%START_TIME_LOCAL(%n)%", "%EMIT_TIME_LOCAL(%-n)%", "%UPSTREAM_PEER_CERT_V_END(%n)%"])
        .chain(["%REQ( x)%", "%REQ(x )%", "%RESP(a? b)%", "%TRAILER(a/b)%"])
        .chain(["%CONNECTION_ID:5%", "%CONNECTION_ID():5%", "%UPSTREAM_TRANSPORT_FAILURE_REASON:5%", "%SPAN_ID:0%"])
        .chain(["%CLUSTER_METADATA(a):5%", "%UPSTREAM_METADATA(a):5%", "%PER_REQUEST_STATE(k):5%"])
        .chain(["%COMMON_DURATION(a:b):5%", "%START_TIME_LOCAL:5%", "%EMIT_TIME_LOCAL(%Y):5%"])
        .chain(["%UPSTREAM_PEER_CERT_V_END:5%", "%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(8):5%"])
    {
        assert!(matches!(Format::parse(wrong), Err(FormatError::Argument { .. })), "{wrong}");
    }
}
