use crate::config::units::Duration;

#[test]
fn durations_as_go_reads_them() {
    let table = [
        ("0", 0),
        ("+0", 0),
        ("-0", 0),
        ("0s", 0),
        ("5s", 5_000_000_000),
        ("1478s", 1_478_000_000_000),
        ("-5s", -5_000_000_000),
        ("+5s", 5_000_000_000),
        ("5.0s", 5_000_000_000),
        ("5.6s", 5_600_000_000),
        ("5.s", 5_000_000_000),
        (".5s", 500_000_000),
        ("3.000s", 3_000_000_000),
        ("1.004s", 1_004_000_000),
        ("100.00100s", 100_001_000_000),
        ("10ns", 10),
        ("11us", 11_000),
        ("12\u{b5}s", 12_000),
        ("12\u{3bc}s", 12_000),
        ("13ms", 13_000_000),
        ("14s", 14_000_000_000),
        ("15m", 900_000_000_000),
        ("16h", 57_600_000_000_000),
        ("1h30m", 5_400_000_000_000),
        ("3h30m", 12_600_000_000_000),
        ("-1m30s", -90_000_000_000),
        ("1h2m3s4ms5us6ns", 3_723_004_005_006),
        ("39h9m14.425s", 140_954_425_000_000),
        ("0.3333333333333333333h", 1_199_999_999_999),
        ("0.1ns", 0),
        ("9223372036854775807ns", i64::MAX),
        ("-9223372036854775808ns", i64::MIN),
    ];
    for (text, nanos) in table {
        assert_eq!(text.parse::<Duration>().map(Duration::as_nanos), Ok(nanos), "{text}");
    }
}

#[test]
fn texts_that_are_no_duration() {
    for text in [
        "",
        " ",
        "3",
        "-",
        "+",
        "s",
        ".",
        "-.",
        ".s",
        "+.s",
        "1d",
        "1x",
        "1 s",
        "1s ",
        "1S",
        "--1s",
        "1..5s",
        "1e3s",
        "\u{85}\u{85}",
        "9223372036854775808ns",
        "3000000h",
        "99999999999999999999999999999999999999999h",
        "1h-1m",
        "1,5s",
        "\u{661}s",
    ] {
        let error = text.parse::<Duration>().expect_err(text).to_string();
        assert!(error.contains("duration"), "{text}: {error}");
    }
}

#[test]
fn written_durations_are_read_as_the_same() {
    for nanos in [0, 1, -1, 999_999_999, 1_000_000_000, 90_500_000_000, -90_500_000_000, i64::MAX, i64::MIN] {
        let duration = Duration::from_nanos(nanos);
        assert_eq!(duration.to_string().parse(), Ok(duration));
    }
    assert_eq!(Duration::from_nanos(-1_500_000_000).to_string(), "-1.5s");
    assert_eq!(Duration::from_nanos(i64::MIN).to_string(), "-9223372036.854775808s");
}

#[test]
fn durations_for_the_program() {
    assert_eq!(Duration::from_nanos(-1).to_std(), None);
    assert_eq!(Duration::from_millis(2).to_std(), Some(std::time::Duration::from_millis(2)));
    assert_eq!(Duration::from(std::time::Duration::from_secs(3)), Duration::from_secs(3));
    assert_eq!(Duration::from(std::time::Duration::MAX).as_nanos(), i64::MAX);
    assert!(Duration::from_nanos(-1).is_negative() && Duration::from_nanos(0).is_zero());
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[-+]?([0-9.]{0,25}(h|m|s|ms|us|\u{b5}s|ns|x)?){0,4}") {
        if let Ok(duration) = text.parse::<Duration>() {
            proptest::prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
