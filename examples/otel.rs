//! Requests as spans of OpenTelemetry, and a trace that goes on in the upstream: `cargo run --example otel`.
//!
//! A span is a request with all its tries, as a sidecar's is. Its attributes are those of the semantic conventions for
//! HTTP clients, and what [`RouteInfo`] knows by the names of Istio's access log.

use std::{collections::HashMap, sync::atomic::AtomicBool, sync::atomic::Ordering::Relaxed};

use axum::{Router, body::Body, http::StatusCode, routing::get};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use mesh_router::{BoxError, Mesh, MeshRouter, Transport, config::Config, service::RouteInfo};
use opentelemetry::propagation::{Injector, TextMapPropagator};
use opentelemetry::trace::{SpanKind, SpanRef, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue as Is};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracer, SdkTracerProvider, SpanData};
use tower::{Layer, Service, ServiceExt, service_fn};

/// Writes the place in a trace into a request.
struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, name: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

/// A span for every request to `service`, within the one that is current; the upstream is told by `traceparent`.
fn traced<S, B, R>(service: S, tracer: SdkTracer) -> impl Service<Request<B>, Response = Response<R>, Error = BoxError>
where
    S: Service<Request<B>, Response = Response<R>, Error = BoxError> + Clone,
{
    service_fn(move |mut request: Request<B>| {
        let span = tracer.span_builder(request.method().to_string()).with_kind(SpanKind::Client);
        let trace = Context::current_with_span(span.with_attributes(asked(&request)).start(&tracer));
        TraceContextPropagator::new().inject_context(&trace, &mut Headers(request.headers_mut()));
        let service = service.clone();
        async move {
            let answer = service.oneshot(request).await;
            match &answer {
                Ok(response) => answered(&trace.span(), response),
                Err(error) => trace.span().set_status(Status::error(error.to_string())),
            }
            answer // The span ends with `trace`, also if nobody waits for the answer any more.
        }
    })
}

fn asked<B>(request: &Request<B>) -> [Is; 4] {
    let (method, uri) = (request.method().to_string(), request.uri());
    let host = Is::new("server.address", uri.host().unwrap_or_default().to_owned());
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let url = Is::new("url.full", uri.to_string());
    [Is::new("http.request.method", method), url, host, Is::new("server.port", i64::from(port))]
}

fn answered<R>(span: &SpanRef<'_>, response: &Response<R>) {
    span.set_attribute(Is::new("http.response.status_code", i64::from(response.status().as_u16())));
    if response.status().as_u16() >= 400 {
        span.set_attribute(Is::new("error.type", response.status().as_str().to_owned()));
        span.set_status(Status::error(""));
    }
    let Some(info) = response.extensions().get::<RouteInfo>() else { return };
    let endpoint = info.endpoint().map(|endpoint| endpoint.address.to_string());
    span.set_attribute(Is::new("route_name", info.route_name().unwrap_or_default().to_owned()));
    span.set_attribute(Is::new("upstream_cluster", info.cluster().map(ToString::to_string).unwrap_or_default()));
    span.set_attribute(Is::new("upstream_host", endpoint.unwrap_or_default()));
    span.set_attribute(Is::new("upstream_request_attempt_count", i64::from(info.attempts())));
    span.set_attribute(Is::new("response_flags", info.flags().to_string()));
}

pub(crate) async fn run() -> Result<Vec<SpanData>, BoxError> {
    let spans = InMemorySpanExporter::default(); // An application has the exporter of OTLP here.
    let tracer = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build().tracer("mesh");
    // An upstream that fails the first time, and whose spans lie within those of who asks.
    let (listener, upstream) = (tokio::net::TcpListener::bind("127.0.0.1:0").await?, tracer.clone());
    let rules = include_str!("otel.yaml").replace("PORT", &listener.local_addr()?.port().to_string());
    let app = async move |headers: HeaderMap| {
        let parent = headers.get("traceparent").and_then(|parent| parent.to_str().ok()).unwrap_or_default();
        let trace = TraceContextPropagator::new().extract(&HashMap::from([("traceparent".into(), parent.to_owned())]));
        upstream.span_builder("GET").with_kind(SpanKind::Server).start_with_context(&upstream, &trace);
        static ASKED: AtomicBool = AtomicBool::new(false);
        if ASKED.swap(true, Relaxed) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(app))).await });

    let mesh = Mesh::new();
    assert_eq!(mesh.apply(Config::from_yaml(&rules, "otel.yaml")?)?.errors().next(), None);
    let client = traced(MeshRouter::new(&mesh).layer(Transport::new()), tracer);
    client.oneshot(Request::get("http://orders.test/").body(Body::empty())?).await?;
    Ok(spans.get_finished_spans()?)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    run().await?.iter().for_each(|span| println!("{span:#?}"));
    Ok(())
}
