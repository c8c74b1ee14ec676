//! Matches of the claims of a token, of which there are none here.

use super::*;
use crate::request::ListenerOrigin;

#[test]
fn a_claim_matches_nothing_and_so_is_never_there() {
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec: {servers: [{port: \
                   {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}\n---\n";
    let takes = |words: &str| {
        let rules = format!(
            "hosts: [it.test]\ngateways: [gw]\nhttp: [{{match: [{{{words}}}], route: [{{destination: {{host: a.test}}}}]}}]"
        );
        let documents = format!("{gateway}{}", virtual_service("it", &rules));
        let (snapshot, report) = published(&documents, MeshOptions::default());
        assert!(report.problems().iter().all(|problem| problem.message.contains("claims")), "{report}");
        let (uri, headers) = (Uri::from_static("http://it.test/"), HeaderMap::new());
        let origin = Origin::Listener(Arc::new(ListenerOrigin::new("http.80", 80)));
        let view = RequestView::new(&Method::GET, &uri, &headers, &origin);
        matches!(snapshot.resolve(&origin, &view), Resolution::Route(_))
    };
    for matcher in ["{}", "{exact: a}", "{exact: ''}", "{prefix: a}", "{regex: '.*'}"] {
        assert!(!takes(&format!("headers: {{'@request.auth.claims.group': {matcher}}}")), "{matcher}");
        assert!(takes(&format!("withoutHeaders: {{'@request.auth.claims.group': {matcher}}}")), "{matcher}");
    }
}
