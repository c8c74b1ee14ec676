//! Bytes loaded, compiled and resolved. Nothing panics, and what a strict start takes a quarantining one takes too.

use std::sync::Arc;

use http::Request;
use mesh_router::config::Config;
use mesh_router::mesh::Mesh;
use mesh_router::request::{ListenerOrigin, Origin, RequestView};
use mesh_router::route::Resolution;

const URIS: [&str; 4] =
    ["http://reviews/", "http://a.test:8080/api/v1?x=1&y", "https://reviews.default.svc.cluster.local/A/b", "*"];

/// How many requests find a rule; `None` where the bytes are no resources at all.
pub(crate) fn take(data: &[u8]) -> Option<usize> {
    let config = Config::from_yaml(&String::from_utf8_lossy(data), "any.yaml").ok()?;
    let strict = Mesh::new().apply_strict(config.clone());
    let mesh = Mesh::new();
    let report = mesh.apply(config).expect("meaning never refuses a publication");
    assert_eq!(strict.is_ok(), !report.refuses_start(), "{report}");
    let snapshot = mesh.snapshot();
    let listeners = snapshot
        .listeners()
        .iter()
        .map(|listener| Origin::Listener(Arc::new(ListenerOrigin::new(listener.name.clone(), listener.port))));
    let mut found = 0;
    for origin in listeners.chain([Origin::Mesh]) {
        for uri in URIS {
            let request = Request::get(uri).header("end-user", "jason").body(()).expect("a good request");
            let view = RequestView::new(request.method(), request.uri(), request.headers(), &origin);
            let resolution = snapshot.resolve(&origin, &view);
            snapshot.explain(&origin, &view);
            if let Resolution::Route(index) = resolution {
                assert!(snapshot.route(&origin, &view, index).is_some());
                found += 1;
            }
        }
    }
    Some(found)
}
