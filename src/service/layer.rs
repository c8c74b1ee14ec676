//! The layer: [`MeshRouter`].

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tower_layer::Layer;

use super::classify::Classifier;
#[cfg(feature = "gateway")]
use super::detour::Detour;
use super::inbound::InboundRouter;
use super::mesh_error::ErrorMode;
use super::mirror::Copies;
use super::mirror_body::MirrorLoad;
use super::router::{MeshService, Routing};
use crate::mesh::Mesh;
use crate::outcome::Failure;
use crate::request::Origin;
use crate::telemetry::MeshMetrics;

/// Applies the rules of a [`Mesh`] to the requests of the service it wraps.
///
/// All services of a layer, and all layers made of one mesh, share the mesh: its snapshot, and what is counted of its
/// endpoints.
///
/// # Panics
///
/// Its services do where a request or its response has to wait [outside of a tokio runtime](MeshService#panics).
#[derive(Clone, Debug)]
pub struct MeshRouter {
    routing: Arc<Routing>,
}

/// Which requests may be sent more than once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetrySafety {
    /// All that the retry policy of their route speaks of, as in Istio.
    #[default]
    AsConfigured,
    /// Only those whose method is idempotent (RFC 9110, 9.2.2): no `POST` and no `PATCH`.
    IdempotentOnly,
}

impl RetrySafety {
    /// Whether requests of this method may be sent more than once.
    pub(super) fn repeats(self, method: &Method) -> bool {
        match self {
            Self::AsConfigured => true,
            Self::IdempotentOnly => method.is_idempotent(),
        }
    }
}

/// The choices of an application; by default all as Istio has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) error_mode: ErrorMode,
    pub(super) retry_safety: RetrySafety,
    pub(super) classifier: Option<Classifier>,
    pub(super) faults_per_try: bool,
    pub(super) sticky_weights: bool,
    /// Whether http rules apply to `https`.
    pub(super) https_routed: bool,
    /// The longest `Retry-After` that is followed.
    pub(super) retry_after: Option<Duration>,
}

impl MeshRouter {
    /// The rules for requests of this application ([`Origin::Mesh`]).
    pub fn new(mesh: &Mesh) -> Self {
        let routing = Routing {
            mesh: mesh.clone(),
            origin: Origin::Mesh,
            detour: None,
            metrics: MeshMetrics::new(mesh.workload()),
            settings: Settings::default(),
            mirrors: Arc::default(),
            copies: Copies::default(),
            waits: Arc::default(),
        };
        Self { routing: Arc::new(routing) }
    }

    /// The rules of the gateway `namespace/name` for what this application serves, whether or not there is a Gateway of
    /// that name. A name without a namespace is one of the workload's. Called before files are read
    /// ([`Mesh::follow`]), none of their rules is traced as one for a Gateway that is not there; [`Mesh::report`] is true
    /// of it either way.
    pub fn inbound(mesh: &Mesh, gateway: &str) -> InboundRouter {
        match gateway.contains('/') {
            true => InboundRouter::new(mesh, gateway),
            false => InboundRouter::new(mesh, &format!("{}/{gateway}", mesh.workload().namespace)),
        }
    }

    /// Where requests come from that do not say so themselves by an [`Origin`] in their extensions.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Self {
        Arc::make_mut(&mut self.routing).origin = origin;
        self
    }

    /// Has the requests of one connection come in where `detour` says.
    #[cfg(feature = "gateway")]
    pub(crate) fn with_detour(mut self, detour: Arc<dyn Detour>) -> Self {
        Arc::make_mut(&mut self.routing).detour = Some(detour);
        self
    }

    /// Which requests may be sent more than once: [`RetrySafety::AsConfigured`] if not called.
    #[must_use]
    pub fn with_retry_safety(mut self, safety: RetrySafety) -> Self {
        Arc::make_mut(&mut self.routing).settings.retry_safety = safety;
        self
    }

    /// Draws an abort (`fault.abort`) for each try and not once for the request, and lets the retry policy judge it as
    /// an answer: so that retries can be tested. Envoy never retries an abort.
    #[must_use]
    pub fn with_faults_per_try(mut self) -> Self {
        Arc::make_mut(&mut self.routing).settings.faults_per_try = true;
        self
    }

    /// Chooses among weighted destinations by what their `consistentHash` finds in the request, or by the
    /// [`hash_key`](super::RequestPolicy::hash_key) that it has in place of that, so that a client which is sticky to
    /// an endpoint stays with its subset too. Requests without either, and rules whose destinations do not hash, are
    /// drawn as ever; Envoy draws all.
    #[must_use]
    pub fn with_sticky_weights(mut self) -> Self {
        Arc::make_mut(&mut self.routing).settings.sticky_weights = true;
        self
    }

    /// Applies http rules to the application's `https` requests too, before they are secured: those for the port that
    /// the URI names, 443 if none, also where a service speaks `HTTPS` or `TLS` there. Without it they are sealed, as a
    /// sidecar finds them, and only `tls` rules see their server name; with it those count where no http rule is
    /// written for the port.
    ///
    /// They never leave in plain text. TLS is originated as the destination's DestinationRule says, and where that says
    /// nothing (or `DISABLE`) to the host of the request, after rewrites, verified by the authorities of the
    /// [`Transport`](crate::transport::Transport). Over another client the URI stays `https` and names the endpoint's
    /// address, whose certificate has to say that.
    #[must_use]
    pub fn with_https_routed(mut self) -> Self {
        Arc::make_mut(&mut self.routing).settings.https_routed = true;
        self
    }

    /// Waits as long as the `Retry-After` of an answer says, in seconds and up to `longest`, before it is retried. Istio
    /// does not configure Envoy to look at it.
    #[must_use]
    pub fn with_retry_after(mut self, longest: Duration) -> Self {
        Arc::make_mut(&mut self.routing).settings.retry_after = Some(longest);
        self
    }

    /// What becomes of a request that fails here: [`ErrorMode::Respond`], Envoy's answer, if not called. By
    /// [`ErrorMode::Return`] it is an error that downcasts to a [`MeshError`](super::MeshError).
    ///
    /// Failures are what no upstream answered and no rule: a timeout, a connection or a try that failed with no further
    /// one to follow, a limit, no healthy endpoint, no cluster, a host without a matching rule or refused by
    /// `REGISTRY_ONLY`, a path that cannot be normalized. What an upstream answered stays a response, the last of
    /// several tries too, and so does what a rule says: redirects, direct responses, preflights, and aborts by fault,
    /// which play an upstream. What a request meets, what is counted of it and what outlier detection learns is the same
    /// in both modes. The errors of requests that no rule took are the inner service's own in either.
    ///
    /// A client of gRPC reads its status from a response: tonic's makes `Unknown` of most errors.
    /// [`Self::inbound`] always responds, for the errors of its service are those of the application.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use http_body_util::Empty;
    /// use mesh_router::options::{MeshOptions, OutboundTrafficPolicy};
    /// use mesh_router::service::{ErrorMode, MeshError, MeshRouter, RequestBody};
    /// use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # tokio_test::block_on(async {
    /// let outbound_traffic_policy = OutboundTrafficPolicy::RegistryOnly;
    /// let options = MeshOptions { outbound_traffic_policy, ..MeshOptions::default() };
    /// let mesh = mesh_router::Mesh::builder().options(options).build();
    /// let send = service_fn(async |_: Request<RequestBody<Empty<bytes::Bytes>>>| {
    ///     Ok::<_, std::io::Error>(Response::new(Empty::<bytes::Bytes>::new()))
    /// });
    /// let client = MeshRouter::new(&mesh).with_error_mode(ErrorMode::Return).layer(send);
    /// let error = client.oneshot(Request::get("http://example.com/").body(Empty::new())?).await.unwrap_err();
    /// let error = error.downcast_ref::<MeshError>().ok_or("a rule of the mesh refuses it")?;
    /// assert_eq!((error.status().as_u16(), error.info().attempts()), (502, 0));
    /// # Ok::<_, mesh_router::BoxError>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn with_error_mode(mut self, mode: ErrorMode) -> Self {
        Arc::make_mut(&mut self.routing).settings.error_mode = mode;
        self
    }

    /// Says which of Envoy's failures an error of the inner service is, before its types do; `None` leaves it to them.
    /// Retries, replies and outlier detection follow it, that of mirrors too; what a body breaks off with is told by its
    /// types alone. Should it panic, that is logged and the types decide.
    ///
    /// ```
    /// use mesh_router::outcome::Failure;
    /// use mesh_router::service::MeshRouter;
    ///
    /// let mesh = mesh_router::Mesh::new();
    /// let router = MeshRouter::new(&mesh).with_classifier(|error| {
    ///     error.downcast_ref::<std::fmt::Error>().map(|_| Failure::ConnectTimeout)
    /// });
    /// ```
    #[must_use]
    pub fn with_classifier(
        mut self,
        classify: impl Fn(&(dyn Error + Send + Sync + 'static)) -> Option<Failure> + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.routing).settings.classifier = Some(Classifier::new(classify));
        self
    }

    /// How many mirrored requests of this layer may be under way at once, and how many bytes of their bodies may wait
    /// to be sent: 1,024 and 64 MiB if not called. Beyond that requests are not mirrored, and copies that fall behind
    /// are cut off.
    #[must_use]
    pub fn with_mirror_limits(mut self, requests: usize, bytes: usize) -> Self {
        Arc::make_mut(&mut self.routing).mirrors = Arc::new(MirrorLoad::new(requests, bytes));
        self
    }
}

impl<S> Layer<S> for MeshRouter {
    type Service = MeshService<S>;

    fn layer(&self, inner: S) -> MeshService<S> {
        MeshService::new(inner, self.routing.clone())
    }
}
