//! How long large files take; run with `cargo test --release --test config_speed -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;

use mesh_router::config::Config;

fn rules(count: usize) -> String {
    let mut text = String::from(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: many\nspec:\n  hosts: [many]\n  http:\n",
    );
    for number in 0..count {
        let _ = write!(
            text,
            "  - name: rule-{number}\n    match:\n    - uri:\n        prefix: /api/v1/service-{number}/\n    route:\n    - \
             destination:\n        host: service-{number}.shop.svc.cluster.local\n        port:\n          number: 8080\n"
        );
    }
    text
}

#[test]
#[ignore = "measures time"]
fn ten_thousand_prefix_rules() {
    let text = rules(10_000);
    for _ in 0..5 {
        let start = tokio::time::Instant::now();
        let config = Config::from_yaml(&text, "many.yaml").unwrap();
        let loaded = start.elapsed();
        let resource = &config.virtual_services[0];
        let mut found = 0;
        for number in 0..10_000 {
            let place = resource.place(&format!("spec.http[{number}].route[0].destination.host")).unwrap();
            found += usize::from(place.line as usize == 8 + number * 9 + 6);
        }
        println!("{} bytes in {loaded:?}, and 10000 places in {:?}", text.len(), start.elapsed() - loaded);
        assert_eq!(found, 10_000);
        assert!(config.problems.is_empty());
    }
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find(|line| line.starts_with("VmHWM"));
        println!("{}", peak.unwrap_or_default());
    }
}
