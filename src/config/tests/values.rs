use std::sync::Arc;

use serde::Deserialize;
use serde_yaml::Value;

use super::{told, virtual_service};
use crate::config::{Bounds, Config, scan};

/// The values of all documents of a text.
fn values(text: &str) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    let file: Arc<str> = "a.yaml".into();
    match scan::scan(text, &file, &Bounds::default(), &mut |scanned| values.push(scanned.value)) {
        Ok(()) => Ok(values),
        Err(refusal) => Err(format!("{}:{}: {}", refusal.line, refusal.column, refusal.fault.message)),
    }
}

/// The same as `serde_yaml` reads them.
fn expected(text: &str) -> Result<Vec<Value>, String> {
    let documents = serde_yaml::Deserializer::from_str(text);
    let merged = |mut value: Value| value.apply_merge().map(|()| value);
    documents.map(|document| Value::deserialize(document).and_then(merged).map_err(|error| error.to_string())).collect()
}

#[test]
fn scalars_are_what_serde_yaml_makes_of_them() {
    let scalars = "
        ~ null Null NULL nULL nul nulls true True TRUE tRUE truer false False FALSE f F n N no No yes y on off t
        0 00 07 -0 +0 1 -1 +1 --1 +-1 1_000 0x1F 0X1F 0x 0xG -0x1f +0x1f 0o17 0o8 -0o7 0b101 0b2 -0b1 1e3 1E3 1e 1e+3
        -1.5e-3 .5 5. -.5 +.5 . .. .e 1.2.3 1.2.3.4 1.5s 10s 80 8080 000000000000000000001 999999999999999999
        1000000000000000000 9999999999999999999 18446744073709551615 -9223372036854775808 -9223372036854775809
        999999999999999999999999999999999999999999999999 18446744073709551616 1e999 inf -inf .inf .Inf .INF -.inf +.inf
        .iNF nan NaN -- -a -1a +a 1-2 001:db8 1/2 a/b a.b 2001-01-01 12:30:45 0.0.0.0/0 test/a node-1 true-1 é 1é =
    ";
    for word in scalars.split_whitespace() {
        for text in [
            format!("[{word}]"),
            format!("a: {word}"),
            format!("- {word}\n- '{word}'\n- \"{word}\"\n- |\n  {word}\n- >\n  {word}\n"),
            format!("{word}: 1"),
            format!("{word} {word}"),
            format!("!t {word}"),
            format!("! {word}"),
            format!("- !!str {word}\n- !t '{word}'\n- ! '{word}'\n- !!set {word}\n- !<!x> {word}\n- !<x> {word}"),
        ] {
            match (values(&text), expected(&text)) {
                (Ok(values), Ok(expected)) => assert_eq!(values, expected, "{text}"),
                (Err(_), Err(_)) => {}
                (values, expected) => panic!("{text}: {values:?}, not {expected:?}"),
            }
        }
        for tag in ["bool", "int", "float", "null", "str", "binary"] {
            for text in [format!("!!{tag} {word}"), format!("!!{tag} '{word}'"), format!("- !!{tag} |-\n  {word}")] {
                assert_eq!(values(&text).ok(), expected(&text).ok(), "{text}");
            }
        }
    }
}

#[test]
fn documents_are_what_serde_yaml_makes_of_them() {
    for text in [
        "a: !!null ~",
        "{a: !!str , b: !t , c: !, d: ! []}",
        "! {a: 1}",
        "!t [1, !u {a: b}, !v ]",
        "!!map {a: !!int [1]}",
        "!t a: 1\n!!str 1: 2\n~: 3\n",
        "&a !t b",
        "!t &a [b]",
        "[&a 1, *a, *a, &a [2], *a]",
        "{a: &a {b: !t [1]}, c: *a, d: &b {e: *a}, f: *b}",
        "a: &a {b: 1}\nc: {<<: *a, d: 2}\n",
        "%TAG !e! tag:e,2000:\n---\n!e!a [!e!b c, !e!x 1]",
        "%TAG !e! !foo\n---\n!e!a [!e!b c]",
        "%YAML 1.2\n---\na: 1\n...\n%YAML 1.1\n---\nb: 1",
        "--- a\n--- |\n  b\n---\n...\n# c\n---\n# d",
        "a: b\n c\n\n d",
        "a: 'b\n c\n\n d'",
        "a: \"b\\n\\x41\\u00e9 \\\n  c\"",
        "a: |2\n   b\n  c\n\n",
        "a: >-\n b\n c\n\n  d\n e",
        "a: >+\n b\n\n",
        "a: |-\r\n b\r\n c\r\n",
        "a: |\n b",
        "a: |+\n b",
        "a: >\n b\n ",
        "a: |+\n  b\n\n ",
        "a: |\n  b\nc: d",
        "a: |\n  b\n# c",
        "a: b # c\nd: e#f\ng: http://x:80/y",
        "[a:b, {c: , d}, e: f]",
        "? a\n: b\n? c",
        "a:\n- b\n-\n- c:\n  d: e",
        "[---, ...]",
        "- ---\n- -\n- ...\n",
    ] {
        assert_eq!(values(text), expected(text), "{text}");
    }
    assert_eq!(values("").unwrap(), [] as [Value; 0]);
}

/// What stands in brackets and quotes may begin anywhere in its line for Go's reader and for `serde_yaml`.
#[test]
fn indentation_within_brackets_and_quotes_says_nothing() {
    let text = "\
a:
  - b: [
      \"c\",  # d
      'e
      f', g: [h,
        i
      ],
    ]
    j: {k: l, \"m\": {
        n: 'it''s

        one', o: p }, q: \"r \\
      \\\"s\\\" t
      u\"}
    v: w
x: [
  y
  ]
";
    let lines = text.lines().collect::<Vec<_>>();
    let (mut read, mut refused) = (0, 0);
    for first in 1..lines.len() {
        for (last, column, end) in [(first, 0, "\n"), (first, 1, "\r\n"), (first + 1, 2, "\n"), (first + 6, 0, "\r")] {
            let moved = lines.iter().enumerate().map(|(number, line)| {
                let indent =
                    if (first..=last).contains(&number) { column } else { line.len() - line.trim_start().len() };
                format!("{}{}{end}", " ".repeat(indent), line.trim_start())
            });
            let moved = moved.collect::<String>();
            match expected(&moved) {
                Ok(expected) => {
                    assert_eq!(values(&moved).as_ref(), Ok(&expected), "{moved}");
                    read += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(read >= 30 && refused >= 10, "{read} {refused}");
}

#[test]
fn tabs_may_stand_behind_colons_and_within_brackets_and_quotes() {
    for text in [
        "a:\tb",
        "a: \tb\nc:\t1\nd:\t\t- 1",
        "{a:\t201, b:\t'c'}",
        "a:\t-1",
        "- a:\t\t5s # b\n  c:\td",
        "a:\tb: c",
        "{\n\ta: b}",
        "a:\n - [\n\tb\n ]",
        "a:\n  b: 'x\n\ty\nz'",
        "a:\n  b: [c,\n\t'd']",
    ] {
        assert_eq!(values(text).ok(), expected(text).ok(), "{text:?}");
    }
    assert_eq!(values("a:\tb").unwrap(), [serde_yaml::from_str::<Value>("a: b").unwrap()]);
}

/// What is said of a line is said of it as it was written.
#[test]
fn places_in_lines_that_stand_too_far_left_are_those_of_the_file() {
    let text = "---\na: 1\n---\nb:\n  c: [\n\"d\", {e: 1, e: 2}\n  ]\n";
    assert!(values(text).unwrap_err().starts_with("6:13: the key \"e\" stands here twice"), "{:?}", values(text));
    let text = "b:\n  c: 'd\n e'\n  f: ['g\n\nh', {i: 1, i: 2}]\n";
    assert!(values(text).unwrap_err().starts_with("6:12: the key \"i\" stands here twice"), "{:?}", values(text));
}

/// What Go does not take either is told where it was found first, and not what is made of it.
#[test]
fn what_is_wrong_elsewhere_is_not_mended() {
    for (text, place) in [
        ("a:\n  b: 'c\nd: e\nf: 'g'\n", "2:6: not valid YAML"),
        ("b:\n  c: [\n\"d\",\n\"e\" \"f\"]\n", "3:1: not valid YAML"),
        ("a:\n\tb: c\n", "2:1: not valid YAML: a tab"),
    ] {
        assert!(expected(text).is_err() && values(text).unwrap_err().starts_with(place), "{:?}", values(text));
    }
}

#[test]
fn what_is_mended_is_bounded() {
    // A text that is all lines, and one that would be all blanks.
    let breaks = format!("a: 'b{}c'\n", "\n".repeat(1 << 20));
    assert!(values(&breaks).unwrap_or_default()[0]["a"].as_str().unwrap().ends_with("\nc"));
    let column = " ".repeat(50_000);
    let wide = format!("{{a:{column}'b\n{}'}}\n", "c\n".repeat(100));
    assert!(values(&format!("k:\n - {wide}")).unwrap_err().contains("invalid indentation"));
    let tabs = "- a:\tb\n".repeat(1000);
    assert_eq!(values(&tabs), expected(&tabs));
}

/// `serde_yaml` takes none of these.
#[test]
fn a_colon_at_the_end_of_an_entry_in_brackets_is_text() {
    for (text, meant) in [
        ("[1.2.3.4, 2001:db8::]", "[1.2.3.4, '2001:db8::']"),
        ("[2001:db8::, 1.2.3.4]", "['2001:db8::', 1.2.3.4]"),
        ("- [a:,b:]\n- [[c:], d: e, f:]\n- g", "[['a:', 'b:'], [['c:'], {d: e}, 'f:'], g]"),
        ("a: {b: [é:]}", "{a: {b: ['é:']}}"),
    ] {
        assert_eq!(values(text), expected(meant), "{text}");
    }
    // With a blank before or after the colon, with an anchor or quotes, in braces and in blocks it is a key's.
    for (text, meant) in [
        ("[a: ]", "[{a: null}]"),
        ("[a:\n]", "[{a: null}]"),
        ("[a :]", "[{a: null}]"),
        ("['a':]", "[{a: null}]"),
        ("[&x a:]", "[{a: null}]"),
        ("[? a:]", "[{a: null}]"),
        ("[{a:}]", "[{a: null}]"),
        ("- a:", "[{a: null}]"),
        ("- - a:", "[[{a: null}]]"),
        ("a:", "{a: null}"),
        ("[::]", "[{':': null}]"),
    ] {
        assert_eq!(values(text), expected(meant), "{text}");
    }
}

#[test]
fn an_address_in_brackets_may_end_with_colons() {
    let slice = |addresses: &str| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: a}}\n\
             endpoints: [{{addresses: {addresses}}}]\n"
        )
    };
    let told = told(&slice("[1.2.3.4, 001:db8:: ]"));
    assert!(told.len() == 1 && told[0].contains("endpoints[0].addresses[1]: expected a string"), "{told:#?}");
    assert!(told[0].contains("put it in quotes"), "{told:#?}");
    let config = Config::from_yaml(&slice("[1.2.3.4, 001:db8::, '001:db8::', 001:db8::1]"), "a.yaml").unwrap();
    assert_eq!(config.problems, []);
    let addresses = &config.endpoint_slices[0].spec.endpoints[0].addresses;
    assert_eq!(*addresses, ["1.2.3.4", "001:db8::", "001:db8::", "001:db8::1"]);
}

/// As for Go's reader, but that says what to write.
#[test]
fn a_value_in_braces_that_ends_with_a_colon_needs_quotes() {
    for text in ["a: {b: 2001:db8::}", "a: {b: é:, c: d}", "a: [{b: ::1: }]", "a: {b: c,\n  d: e:}"] {
        let told = told(text);
        assert!(told.len() == 1 && told[0].contains("put the value in quotes"), "{text}: {told:#?}");
    }
    for text in ["a: {b: 'c':}", "a: {b: c :}", "a: {b: c: d}", "a: {b: c", "a: b\n c:\n  d: e"] {
        let told = told(text);
        assert!(told.len() == 1 && !told[0].contains("quotes"), "{text}: {told:#?}");
    }
}

#[test]
fn values_that_are_none() {
    for (text, expected) in [
        ("a: 1\nb: !!int 'a b'", "2:4: not valid YAML: invalid value: string \"a b\", expected an integer"),
        ("a: !!bool 1", "1:4: not valid YAML: invalid value: string \"1\", expected a boolean"),
        ("1: 2\n0x1: 3", "2:1: the key 1 stands here twice"),
        ("~: 1\nnull: 2", "2:1: the key null stands here twice"),
        ("a: *a", "1:4: not valid YAML: while parsing node, found unknown anchor"),
        ("a: &a [*a]", "1:8: this alias stands inside of what it is an alias for"),
        ("&a x: *a", "1:7: this alias stands inside of what it is an alias for"),
        ("--- &a x\n--- *a", "2:5: this alias stands inside of what it is an alias for"),
    ] {
        assert_eq!(values(text).unwrap_err(), expected, "{text}");
    }
    let number = values("[18446744073709551616]").unwrap_err();
    assert!(number.starts_with("1:2: not valid YAML: invalid type: integer"), "{number}");
}

#[test]
fn what_is_no_number_without_quotes_either_is_not_said_to_be() {
    let told = |number: &str| {
        let route = format!("route: [{{weight: {number}, destination: {{host: a}}}}]");
        told(&virtual_service(&route)).concat()
    };
    for number in ["010", "'010'", "'+010'", "00"] {
        assert!(
            told(number).ends_with(&format!("found the text \"{}\"", number.trim_matches('\''))),
            "{}",
            told(number)
        );
    }
    for number in ["'80'", "'-1'", "'0'"] {
        assert!(told(number).ends_with(&format!("(write {} without quotes)", number.trim_matches('\''))), "{number}");
    }
}

#[test]
fn bounds_of_what_is_built() {
    let file: Arc<str> = "a.yaml".into();
    let told = |text: &str, bounds: &Bounds| {
        scan::scan(text, &file, bounds, &mut |_| {}).map_err(|refusal| refusal.fault.message)
    };
    let bounds = Bounds { expanded_nodes: 50, depth: 1000, ..Bounds::default() };
    let anchors: String = (0..20).map(|level| format!("&a{level} [")).collect();
    let refused = told(&format!("{anchors}{}", "]".repeat(20)), &bounds).unwrap_err();
    assert_eq!(refused, "anchors within anchors keep more than 50 keys and values");
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let bounds = Bounds { depth: 1000, ..Bounds::default() };
    assert_eq!(told(&nested(128), &bounds), Ok(()));
    assert_eq!(told(&nested(129), &bounds).unwrap_err(), "nested deeper than 128 levels");
}

#[test]
fn what_stands_before_a_mistake_is_not_read() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: 5}\n---\na: [\n";
    let told = told(text);
    assert!(told.len() == 1 && told[0].starts_with("a.yaml:5:5: error: not valid YAML"), "{told:#?}");
}
