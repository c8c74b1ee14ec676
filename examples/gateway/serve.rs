//! `gateway --config`: serves until it is told to end.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use mesh_router::gateway::{Server, ServerBuilder};
use mesh_router::transport::MeshCertificates;
use mesh_router::upstream::{Identity, Pem};
use mesh_router::{BoxError, Mesh};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Serve, source};

/// The bounds of Istio's histograms.
const BUCKETS: [f64; 19] =
    [0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 1.8e6, 3.6e6];
/// How often what histograms have gathered is put in order.
const UPKEEP: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: Serve) -> Result<ExitCode, BoxError> {
    // Signals are caught before anything listens, so that none ends the process halfway.
    let ended = ended();
    // Handles of metrics are made with the mesh, so the recorder comes first.
    let render = args.admin.and_then(|_| recorder());
    let mesh = args.mesh()?.build();
    let source = source(&args.paths)?;
    let source = if args.quarantine { source } else { source.strict() };
    let mut watch = source.open(&mesh).await?;
    #[cfg(feature = "dns")]
    mesh_router::source::DnsSource::new()
        .resolver(mesh_router::source::TtlResolver::from_system()?)
        .open(&mesh)
        .await
        .detach();
    let server = server(&args, &mesh, render).start().await?;
    tracing::info!(listeners = mesh.snapshot().listeners().len(), "ready");
    let unfollowed = tokio::select! {
        () = ended => None,
        // Rather another process than rules that nobody follows any more.
        followed = watch.ended() => followed.err(),
    };
    tracing::info!(within = ?args.drain, "draining");
    server.drain(args.drain).await;
    unfollowed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// A gateway as the command line describes it.
pub(crate) fn server(
    args: &Serve,
    mesh: &Mesh,
    render: Option<impl Fn() -> String + Send + Sync + 'static>,
) -> ServerBuilder {
    let mut server = Server::builder(mesh).workers(args.workers);
    if let Some(admin) = args.admin {
        server = server.admin(admin);
    }
    if let Some(render) = render {
        server = server.metrics(render);
    }
    if let Some(folder) = &args.mesh_certificates {
        server = server.mesh_certificates(certificates(folder));
    }
    args.ports.iter().fold(server, |server, (from, to)| server.map_port(*from, *to))
}

/// The files that Istio's agent writes.
fn certificates(folder: &Path) -> MeshCertificates {
    let file = |name: &str| Pem::File(folder.join(name));
    let identity = Identity { certificates: file("cert-chain.pem"), key: file("key.pem") };
    MeshCertificates { identity, roots: file("root-cert.pem") }
}

/// Gathers metrics; what is returned writes them in Prometheus' format.
pub(crate) fn recorder() -> Option<impl Fn() -> String + Send + Sync + 'static> {
    let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS).and_then(|builder| builder.install_recorder());
    let handle = match recorder {
        Ok(handle) => handle,
        Err(error) => {
            tracing::warn!(%error, "there are no metrics");
            return None;
        }
    };
    let kept = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            kept.run_upkeep();
        }
    });
    Some(move || handle.render())
}

/// Ends with the first SIGTERM or SIGINT from now on.
pub(crate) fn ended() -> impl Future<Output = ()> {
    // As by Envoy: files are followed without being told, and logs are not reopened.
    let passed_over = [SignalKind::hangup(), SignalKind::user_defined1()].map(signal);
    let caught = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    async move {
        let _passed_over = passed_over;
        match caught {
            [Ok(mut terminate), Ok(mut interrupt)] => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            // Then signals do what they do by default.
            _ => std::future::pending().await,
        }
    }
}
