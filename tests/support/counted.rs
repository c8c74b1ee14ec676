//! What requests are counted as in `istio_requests_total`.

use metrics_exporter_prometheus::PrometheusBuilder;

/// What a line has as its label `name`.
pub(crate) fn label(line: &str, name: &str) -> String {
    let (_, value) = line.split_once(&format!("{name}=\"")).unwrap();
    value.split_once('"').unwrap().0.to_owned()
}

/// What is counted of requests that are counted alike.
pub(crate) fn counted(requests: impl Future<Output = ()>) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(requests);
    });
    let text = recorder.handle().render();
    let counted: Vec<_> = text.lines().filter(|line| line.starts_with("istio_requests_total")).collect();
    let [line] = counted[..] else { panic!("{counted:?}") };
    line.to_owned()
}
