//! No text makes reading panic, whatever it is.

#![allow(clippy::unwrap_used)]

use mesh_router::config::{Bounds, Config};
use proptest::prelude::*;

const GOOD: &str = include_str!("seeds/good-subsets.yaml");
const TANGLED: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, labels: &labels {app: a}}
spec:
  hosts: [a, \"b\", 'c']
  http:
  - match: &match
    - {uri: {prefix: /a}, headers: {x: {exact: \"1\"}, y: ~}}
    - sourceLabels: *labels
    route: [{destination: &to {host: a, port: {number: 80}}, weight: 1}]
    timeout: 1.5s
  - match: *match
    route:
    - destination: {<<: *to, subset: v1}
      headers:
        request:
          set:
            k: |
              text
---
kind: List
apiVersion: v1
items:
- {apiVersion: v1, kind: Secret, metadata: {name: s}, data: {a: AAEC}, stringData: {b: c}}
- {apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: e}, endpoints: [{addresses: [1.2.3.4]}]}
";

fn exercise(text: &str) {
    let small = Bounds { file_bytes: 1 << 16, nodes: 5_000, expanded_nodes: 10_000, ..Bounds::default() };
    match Config::from_files_bounded([("a.yaml", text)], &small) {
        Ok(config) => {
            for resource in &config.virtual_services {
                let _ = resource.place("spec.http[0].match[0].headers[\"x\"].exact");
                let place = resource.place("spec.hosts").unwrap();
                assert!(place.line as usize <= text.lines().count().max(1));
            }
            for problem in &config.problems {
                assert!(problem.place.is_some(), "{problem}");
                let _ = problem.to_string();
            }
        }
        Err(error) => assert!(error.problems().iter().all(|problem| problem.place.as_ref().unwrap().line >= 1)),
    }
}

/// Pieces of YAML, so that many texts are nearly right.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b: ",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "? ",
        "&x ",
        "*x",
        "<<: ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "\"",
        "'",
        "|",
        ">",
        "!t ",
        "!!str ",
        "---\n",
        "...\n",
        "#",
        "%YAML 1.2\n",
        "%TAG ! a\n",
        "\t",
        "\r\n",
        "\u{feff}",
        "é",
        "\u{2028}",
        "\0",
        "~",
        "1.5",
        "apiVersion: networking.istio.io/v1\n",
        "kind: VirtualService\n",
        "metadata: {name: a}\n",
        "spec:\n",
        "  http:\n",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in ".{0,200}") {
        exercise(&text);
    }

    #[test]
    fn nearly_yaml(text in pieces()) {
        exercise(&text);
    }

    #[test]
    fn mutated(
        tangled in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..4, "\\PC?|[\\[\\]{}:&*?!|>'\"#,\n\t -]{1,3}"), 1..6),
    ) {
        let mut chars: Vec<char> = if tangled { TANGLED } else { GOOD }.chars().collect();
        for (at, cut, text) in edits {
            let at = at.index(chars.len() + 1);
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, text.chars());
        }
        exercise(&chars.into_iter().collect::<String>());
    }
}

#[test]
fn the_tangled_document_is_good() {
    let config = Config::from_yaml(TANGLED, "a.yaml").unwrap();
    assert_eq!(config.problems, []);
    let route = &config.virtual_services[0];
    let to = route.spec.http[1].route[0].destination.as_ref().unwrap();
    assert_eq!((to.host.as_str(), to.subset.as_str()), ("a", "v1"));
    let line = |path: &str| route.place(path).unwrap().line;
    assert_eq!(line("spec.http[1].route[0].destination.subset"), 14);
    assert_eq!(line("spec.http[1].route[0].destination.port.number"), 10);
    assert_eq!(line("spec.http[1].match[0].headers.y"), 8);
    assert_eq!(config.secrets[0].spec.get("a"), Some(&[0, 1, 2][..]));
    assert_eq!(config.endpoint_slices[0].place("endpoints[0].addresses[0]").unwrap().line, 25);
}

#[test]
fn bounds() {
    let told = |text: &str, bounds: &Bounds| {
        let error = Config::from_files_bounded([("a.yaml", text)], bounds).unwrap_err();
        assert!(error.is_syntax());
        error.to_string()
    };
    let usual = Bounds::default();
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let again = format!("*a{}, ", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{again}]\n"));
    }
    assert!(told(&laughs, &usual).contains("aliases make more than 4000000"));
    let nested: String = (0..70).map(|level| format!("{}a:\n", "  ".repeat(level))).collect();
    assert!(told(&nested, &usual).starts_with("a.yaml:65:"), "{}", told(&nested, &usual));
    assert!(told(&"[".repeat(1_000_000), &usual).contains("error"));
    assert!(told(&"- ".repeat(1_000_000), &usual).contains("nested deeper than 64 levels"));
    assert!(told(&"- a\n".repeat(60), &Bounds { nodes: 50, ..usual.clone() }).contains("more than 50 keys"));
    let deep = "a: &a {b: {c: {d: 1}}}\ne: {f: {g: *a}}\n";
    assert!(told(deep, &Bounds { depth: 5, ..usual.clone() }).contains("nested deeper than 5 levels"));
    assert!(Config::from_files_bounded([("a.yaml", deep)], &Bounds { depth: 6, ..usual.clone() }).is_ok());
    let size = Bounds { file_bytes: 8, total_bytes: 12, ..usual };
    let files = [("a.yaml", "# 345678"), ("b.yaml", "# 3456789"), ("c.yaml", "# 345678")];
    let error = Config::from_files_bounded(files, &size).unwrap_err();
    assert_eq!(
        error.to_string(),
        "b.yaml:1:1: error: the file has more than 8 bytes, which are not read\n\
         c.yaml:1:1: error: the files have more than 12 bytes together, which are not read"
    );
    // One that is too long itself takes nothing from the others.
    let files = [("a.yaml", "# 345678"), ("b.yaml", "# 3456789"), ("c.yaml", "# 4")];
    let error = Config::from_files_bounded(files, &size).unwrap_err().to_string();
    assert_eq!(error, "b.yaml:1:1: error: the file has more than 8 bytes, which are not read");
    let recursive = told("a: &a [*a]\n", &Bounds::default());
    assert!(recursive.contains("a.yaml:1:8"), "{recursive}");
}
