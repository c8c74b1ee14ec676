//! axum, and any tower server, behind the rules of a gateway; and a gateway inside an application.
//!
//! # What to write
//!
//! [`MeshRouter::inbound`](crate::MeshRouter::inbound) names the gateway whose rules apply, whether or not there is a
//! Gateway resource of that name. It goes around the whole `Router`:
//!
//! ```
//! use axum::body::Body;
//! use axum::{Router, ServiceExt, extract::Request, routing::get};
//! use http::Response;
//! use mesh_router::{Mesh, MeshRouter};
//! use tower::ServiceBuilder;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let mesh = Mesh::new();
//! let router = Router::new().route("/v2/hello", get(async || "hello"));
//! let app = ServiceBuilder::new()
//!     // axum serves responses with its own body.
//!     .map_response(|response: Response<_>| response.map(Body::new))
//!     .layer(MeshRouter::inbound(&mesh, "web/front"))
//!     .service(router);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let server = axum::serve(listener, ServiceExt::<Request>::into_make_service(app));
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! # Why not `Router::layer`
//!
//! A layer that is given to `Router::layer` runs after axum has chosen the route by the path as it came. What a rule
//! rewrites is then too late: the handler of `/v2/hello` never sees a request for `/hello`, and a path without a route
//! ends in the fallback. Redirects and faults would still work, which makes it hard to notice.
//!
//! # Limits of bodies
//!
//! `DefaultBodyLimit` and layers of the `Router` say 413 as ever. axum knows the error of a limit around the rules only
//! by its type, and gets it as the source of a [`BodyError`](crate::service::BodyError); one line hands it on as it
//! was:
//!
//! ```
//! use axum::body::Body;
//! use axum::{Router, extract::Request};
//! use http::Response;
//! use http_body_util::{BodyExt, Limited};
//! use mesh_router::service::{BodyError, RequestBody};
//! use mesh_router::{Mesh, MeshRouter};
//! use tower::ServiceBuilder;
//!
//! # let (mesh, router) = (Mesh::new(), Router::<()>::new());
//! let app = ServiceBuilder::new()
//!     .map_response(|response: Response<_>| response.map(Body::new))
//!     // As tower-http's `RequestBodyLimitLayer` does.
//!     .map_request(|request: Request| request.map(|body| Limited::new(body, 1 << 20)))
//!     .layer(MeshRouter::inbound(&mesh, "web/front"))
//!     .map_request(|request: http::Request<RequestBody<Limited<Body>>>| {
//!         request.map(|body| Body::new(body.map_err(BodyError::into_source)))
//!     })
//!     .service(router);
//! # drop(axum::ServiceExt::<Request>::into_make_service(app));
//! ```
//!
//! # What you get
//!
//! Matches, redirects, direct responses, faults, CORS, rewrites, header rules and the timeout of the rule, in front of
//! every handler. A handler reads the rule from the request's extensions
//! ([`RouteInfo`](crate::service::RouteInfo)), and how long its caller waits
//! ([`DeadlineBudget`](crate::service::DeadlineBudget)), which it can hand on to what it calls:
//!
//! ```
//! use axum::Extension;
//! use mesh_router::service::{DeadlineBudget, RouteInfo};
//!
//! /// `Option`, because axum answers 500 where one is missing: no rule took the request, or nobody said how long.
//! async fn hello(info: Option<Extension<RouteInfo>>, budget: Option<Extension<DeadlineBudget>>) -> String {
//!     let rule = info.as_ref().and_then(|info| info.route_name()).unwrap_or("none");
//!     format!("rule {rule}, {:?} left", budget.map(|budget| budget.left()))
//! }
//! # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(hello));
//! ```
//!
//! Errors are the application's own, so `Infallible` stays what it is. hyper's and tonic's servers are wrapped in the
//! same way.
//!
//! # What is not honored, and why
//!
//! Destinations: the application is the only one, so balancing, retries and everything of DestinationRules are for
//! those who call. Which one the rule names is its [`destination`](crate::service::RouteInfo::destination). Mirrors are
//! sent where a client is [given for them](crate::service::InboundRouter::with_mirrors). Rules of the gateway `mesh` do
//! not apply, as in Istio; [`with_mesh_rules`](crate::service::InboundRouter::with_mesh_rules) has them. TLS and ports
//! of the Gateway are the server's own. `Server` and `date` headers are axum's.
//!
//! # A gateway inside the application
//!
//! To serve some destinations itself and forward the others, an application stands for a listener of a Gateway and
//! chooses below the rules, where the endpoint is known: one that is its own address needs no socket.
//!
//! ```
//! use axum::Router;
//! use axum::body::Body;
//! use axum::error_handling::HandleError;
//! use http::{Request, StatusCode};
//! use mesh_router::request::{ListenerOrigin, Origin};
//! use mesh_router::service::RequestBody;
//! use mesh_router::upstream::Address;
//! use mesh_router::{BoxError, Mesh, MeshRouter, Transport};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # fn main() -> Result<(), BoxError> {
//! let (mesh, app, transport) = (Mesh::new(), Router::<()>::new(), Transport::new());
//! let own = Address::Tcp("10.0.0.7:8080".parse()?);
//! let inner = service_fn(move |request: Request<RequestBody<Body>>| {
//!     let local = request.body().aim().is_some_and(|aim| aim.endpoint.address == own);
//!     let (app, transport) = (app.clone(), transport.clone());
//!     async move {
//!         match local {
//!             true => app.oneshot(request).await.map_err(|never| match never {}),
//!             false => transport.oneshot(request).await.map(|response| response.map(Body::new)),
//!         }
//!     }
//! });
//! let origin = Origin::Listener(std::sync::Arc::new(ListenerOrigin::new("http.80", 80)));
//! let gateway = MeshRouter::new(&mesh).with_origin(origin).layer(inner);
//! // For `axum::serve`, which takes no errors.
//! let gateway = HandleError::<_, _, ()>::new(gateway, |_: BoxError| async { StatusCode::BAD_GATEWAY });
//! # drop(gateway);
//! # Ok(())
//! # }
//! ```
//!
//! Here retries, balancing, mirrors and DestinationRules apply. `examples/in_process_gateway.rs` is the whole of it,
//! with a [`ListenerOrigin`](crate::request::ListenerOrigin) for each connection, which tells of its client.
