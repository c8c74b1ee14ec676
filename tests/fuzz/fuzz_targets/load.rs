//! Any bytes: loaded, compiled, resolved. Nothing panics, and what a strict start takes a quarantining one takes too.
#![no_main]

use std::sync::Arc;

use http::Request;
use libfuzzer_sys::fuzz_target;
use mesh_router::config::Config;
use mesh_router::mesh::Mesh;
use mesh_router::request::{ListenerOrigin, Origin, RequestView};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let Ok(config) = Config::from_yaml(&text, "fuzz.yaml") else { return };
    let strict = Mesh::new().apply_strict(config.clone());
    let mesh = Mesh::new();
    let report = mesh.apply(config).expect("meaning never refuses a publication");
    assert_eq!(strict.is_ok(), !report.refuses_start(), "{report}");
    let snapshot = mesh.snapshot();
    let listeners = snapshot.listeners().iter().map(|listener| {
        Origin::Listener(Arc::new(ListenerOrigin::new(listener.name.clone(), listener.port)))
    });
    for origin in listeners.chain([Origin::Mesh]) {
        for uri in ["http://reviews/", "http://a.test:8080/api/v1?x=1&y", "https://reviews.default.svc.cluster.local/A/b", "*"] {
            let request = Request::get(uri).header("end-user", "jason").body(()).expect("a good request");
            let view = RequestView::new(request.method(), request.uri(), request.headers(), &origin);
            let resolution = snapshot.resolve(&origin, &view);
            snapshot.explain(&origin, &view);
            if let mesh_router::route::Resolution::Route(index) = resolution {
                assert!(snapshot.route(&origin, index).is_some());
            }
        }
    }
});
