//! The examples run.
#![allow(dead_code, reason = "an example has a `main`")]

use http::StatusCode;
use opentelemetry::trace::SpanKind;

#[path = "../../examples/axum_server.rs"]
mod axum_server;
#[path = "../../examples/canary_in_a_test.rs"]
mod canary_in_a_test;
#[path = "../../examples/egress.rs"]
mod egress;
#[path = "../../examples/hyper_client.rs"]
mod hyper_client;
#[path = "../../examples/in_process_gateway.rs"]
mod in_process_gateway;
#[path = "../../examples/otel.rs"]
mod otel;
#[path = "../../examples/reqwest_client.rs"]
mod reqwest_client;
#[path = "../../examples/tonic_client/main.rs"]
pub(crate) mod tonic_client;

#[tokio::test]
async fn hyper_client_splits() {
    let answers = hyper_client::run().await.unwrap();
    let new = answers["v2".as_bytes()];
    assert_eq!(answers["v1".as_bytes()] + new, 400);
    assert!((70..=130).contains(&new), "{answers:?}");
}

#[tokio::test]
async fn reqwest_client_tries_again_unless_told_not_to() {
    let expected = ["201 Created after 3: tea ordered", "503 Service Unavailable after 1: "];
    assert_eq!(reqwest_client::run().await.unwrap(), expected);
}

#[tokio::test]
async fn tonic_client_tries_twice_and_streams() {
    assert_eq!(tonic_client::run().await.unwrap(), "tried twice and streamed");
}

#[tokio::test]
async fn axum_server_stands_behind_its_rules() {
    let hello = "hello by rule api within 2s";
    assert_eq!(axum_server::run().await.unwrap(), [hello, hello, "fine"]);
}

#[tokio::test]
async fn in_process_gateway_serves_and_forwards() {
    assert_eq!(in_process_gateway::run().await.unwrap(), ["served here", "forwarded"]);
}

#[tokio::test]
async fn egress_leaves_through_the_gateway_and_no_other_way() {
    let (answers, gone) = egress::run().await.unwrap();
    assert_eq!(answers, ["outside.test, TLS originated", "outside.test, TLS unread"]);
    assert_eq!(gone, [StatusCode::SERVICE_UNAVAILABLE; 2]);
}

#[tokio::test(start_paused = true)]
async fn canary_in_a_test_judges_a_rule() {
    let seen = canary_in_a_test::run().await.unwrap();
    assert_eq!(seen, canary_in_a_test::run().await.unwrap(), "the same every time");
}

#[tokio::test]
async fn otel_makes_one_trace_of_a_request_and_its_tries() {
    let spans = otel::run().await.unwrap();
    let [first, second, client] = spans.as_slice() else { panic!("{spans:?}") };
    assert!(!client.parent_span_is_remote && client.span_kind == SpanKind::Client && client.name == "GET");
    for upstream in [first, second] {
        assert_eq!(upstream.span_context.trace_id(), client.span_context.trace_id());
        assert_eq!(upstream.parent_span_id, client.span_context.span_id());
        assert!(upstream.parent_span_is_remote && upstream.span_kind == SpanKind::Server);
    }
    let attribute = |name: &str| {
        let found = client.attributes.iter().find(|attribute| attribute.key.as_str() == name);
        found.unwrap_or_else(|| panic!("no {name} in {client:?}")).value.as_str().into_owned()
    };
    assert_eq!(attribute("http.request.method"), "GET");
    assert_eq!(attribute("server.address"), "orders.test");
    assert_eq!(attribute("server.port"), "80");
    assert_eq!(attribute("url.full"), "http://orders.test/");
    assert_eq!(attribute("http.response.status_code"), "200");
    assert_eq!(attribute("route_name"), "with-retries");
    assert_eq!(attribute("upstream_cluster"), "outbound|80||orders.test");
    assert!(attribute("upstream_host").starts_with("127.0.0.1:"));
    assert_eq!(attribute("upstream_request_attempt_count"), "2");
    assert_eq!(attribute("response_flags"), "-");
}
