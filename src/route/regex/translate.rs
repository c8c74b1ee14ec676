//! From RE2's syntax to that of the `regex` crate; what differs is listed in the module above.

use std::collections::HashSet;
use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

use regex_syntax::ast::Ast;
use regex_syntax::hir::Hir;

use super::class;

/// The highest count of a repetition, and of nested ones together.
const MAX_REPEAT: u32 = 1000;

/// Writes `pattern` anew, for an engine of bytes; the message says what RE2 would not take.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    // Each byte stands for itself, as for RE2 in Latin-1.
    let bytes: String = pattern.bytes().map(char::from).collect();
    let out = String::with_capacity(pattern.len() + 16);
    let mut translator = Translator { rest: Rest(&bytes), out, names: HashSet::new() };
    let mut repeatable = true;
    while let Some(character) = translator.rest.next() {
        let is_repetition = translator.one(character)?;
        if is_repetition && !repeatable {
            return Err("a repetition cannot be repeated".to_owned());
        }
        repeatable = !is_repetition;
    }
    Ok(translator.out)
}

/// Parses a translated pattern and checks what only its structure shows.
pub(super) fn parse(translated: &str) -> Result<Hir, String> {
    let ast = regex_syntax::ast::parse::Parser::new().parse(translated).map_err(|error| error.kind().to_string())?;
    if repeats_left(&ast, MAX_REPEAT) == 0 {
        return Err(format!("nested repetitions come to more than {MAX_REPEAT}"));
    }
    let mut bytes = regex_syntax::ParserBuilder::new();
    bytes.unicode(false).utf8(false).build().parse(translated).map_err(|error| match error {
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        other => other.to_string(),
    })
}

/// What is left of `allowed` where the repetitions are nested deepest.
fn repeats_left(ast: &Ast, allowed: u32) -> u32 {
    use regex_syntax::ast::{RepetitionKind, RepetitionRange};
    let least = |parts: &[Ast]| parts.iter().map(|part| repeats_left(part, allowed)).min().unwrap_or(allowed);
    match ast {
        Ast::Repetition(repetition) => {
            let count = match &repetition.op.kind {
                RepetitionKind::Range(RepetitionRange::Exactly(count) | RepetitionRange::AtLeast(count)) => *count,
                RepetitionKind::Range(RepetitionRange::Bounded(_, count)) => *count,
                _ => 1,
            };
            repeats_left(&repetition.ast, allowed / count.max(1))
        }
        Ast::Group(group) => repeats_left(&group.ast, allowed),
        Ast::Alternation(alternation) => least(&alternation.asts),
        Ast::Concat(concat) => least(&concat.asts),
        _ => allowed,
    }
}

/// What is still to be read.
#[derive(Clone, Copy)]
pub(super) struct Rest<'a>(pub(super) &'a str);

impl<'a> Rest<'a> {
    pub(super) fn next(&mut self) -> Option<char> {
        let character = self.0.chars().next()?;
        self.0 = &self.0[character.len_utf8()..];
        Some(character)
    }

    pub(super) fn take(&mut self, text: &str) -> bool {
        let rest = self.0.strip_prefix(text);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Takes everything up to `end` and `end` itself.
    pub(super) fn take_until(&mut self, end: &str) -> Option<&'a str> {
        let (before, after) = self.0.split_once(end)?;
        self.0 = after;
        Some(before)
    }
}

struct Translator<'a> {
    rest: Rest<'a>,
    out: String,
    /// The names of groups so far.
    names: HashSet<&'a str>,
}

impl Translator<'_> {
    /// Translates what begins with `character`; `true` if it was a repetition.
    fn one(&mut self, character: char) -> Result<bool, String> {
        match character {
            '*' | '+' | '?' => {
                self.out.push(character);
                self.lazy();
                return Ok(true);
            }
            '{' => {
                if let Some(repetition) = repetition(&mut self.rest)? {
                    self.out.push_str(&repetition);
                    self.lazy();
                    return Ok(true);
                }
                literal(&mut self.out, '{');
            }
            '\\' => self.escape()?,
            '[' => class::set(&mut self.rest, &mut self.out)?,
            '(' => self.group()?,
            '.' | '|' | ')' | '^' | '$' => self.out.push(character),
            other => literal(&mut self.out, other),
        }
        Ok(false)
    }

    fn lazy(&mut self) {
        if self.rest.take("?") {
            self.out.push('?');
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        if self.rest.take("Q") {
            let text = self.rest.take_until(r"\E").unwrap_or_else(|| std::mem::take(&mut self.rest.0));
            text.chars().for_each(|character| literal(&mut self.out, character));
            return Ok(());
        }
        match self.rest.0.chars().next() {
            Some('C') => return Err(r"\C, a single byte, is not supported".to_owned()),
            Some(assertion @ ('A' | 'z' | 'b' | 'B')) => {
                self.rest.next();
                self.out.extend(['\\', assertion]);
            }
            _ => match class::escape(&mut self.rest)? {
                class::Escape::Set(set) => {
                    let _ = write!(self.out, "[{set}]");
                }
                class::Escape::Character(character) => literal(&mut self.out, character),
            },
        }
        Ok(())
    }

    /// A group. Names are dropped: nothing refers to them, and the crate takes fewer of them.
    fn group(&mut self) -> Result<(), String> {
        if self.rest.take("?P<") || self.rest.take("?<") {
            let name = self.rest.take_until(">").unwrap_or_default();
            if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
                return Err("a group has no proper name, or looks behind, which is not supported".to_owned());
            }
            if !self.names.insert(name) {
                return Err(format!("two groups have the name {name}"));
            }
            self.out.push('(');
        } else if self.rest.take("?") {
            let (flags, end) = flags(&mut self.rest)?;
            match (flags.is_empty(), end) {
                (true, ')') => {}
                _ => {
                    let _ = write!(self.out, "(?{flags}{end}");
                }
            }
        } else {
            self.out.push('(');
        }
        Ok(())
    }
}

/// Flags, each at most once as the last one wins, and the `:` or `)` they end with.
fn flags(rest: &mut Rest<'_>) -> Result<(String, char), String> {
    let mut values: [(char, Option<bool>); 4] = [('i', None), ('m', None), ('s', None), ('U', None)];
    let (mut on, mut dangling) = (true, false);
    loop {
        let flag = rest.next().unwrap_or_default();
        match flag {
            ':' | ')' if !dangling => {
                let with =
                    |wanted| values.iter().filter(move |(_, value)| *value == Some(wanted)).map(|(flag, _)| *flag);
                let (set, unset): (String, String) = (with(true).collect(), with(false).collect());
                let minus = if unset.is_empty() { "" } else { "-" };
                return Ok((format!("{set}{minus}{unset}"), flag));
            }
            '-' if on => (on, dangling) = (false, true),
            _ => match values.iter_mut().find(|(name, _)| *name == flag) {
                Some((_, value)) => (*value, dangling) = (Some(on), false),
                None => return Err(format!("\"(?\" with {flag:?} is not supported")),
            },
        }
    }
}

/// The rest of `{n}`, `{n,}` or `{n,m}`; `None`, with nothing taken, if it is none and therefore plain text.
fn repetition(rest: &mut Rest<'_>) -> Result<Option<String>, String> {
    let mut ahead = *rest;
    let Some(inside) = ahead.take_until("}") else { return Ok(None) };
    let (low, high) = inside.split_once(',').unwrap_or((inside, inside));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(low) || !(is_number(high) || high.is_empty()) {
        return Ok(None);
    }
    let count = |text: &str| text.parse::<u32>().ok().filter(|count| *count <= MAX_REPEAT);
    let too_many = || format!("{{{inside}}} repeats more than {MAX_REPEAT} times");
    let low = count(low).ok_or_else(too_many)?;
    if !high.is_empty() && count(high).ok_or_else(too_many)? < low {
        return Err(format!("{{{inside}}} has its numbers the wrong way round"));
    }
    *rest = ahead;
    Ok(Some(format!("{{{inside}}}")))
}

/// Writes `character`, which is a byte, so that it stands for itself, in a set too.
pub(super) fn literal(out: &mut String, character: char) {
    if character.is_ascii_alphanumeric() {
        out.push(character);
    } else {
        let _ = write!(out, r"\x{:02x}", u32::from(character));
    }
}

/// Reads up to `most` digits of `radix`.
pub(super) fn digits(characters: &mut Peekable<Chars<'_>>, radix: u32, most: usize) -> String {
    let mut digits = String::new();
    while digits.len() < most
        && let Some(digit) = characters.next_if(|character| character.is_digit(radix))
    {
        digits.push(digit);
    }
    digits
}

#[cfg(test)]
mod tests {
    use crate::route::{RegexError, StringMatcher};

    fn check(pattern: &str, yes: &[&[u8]], no: &[&[u8]]) {
        let matcher = StringMatcher::regex(pattern).unwrap();
        for text in yes {
            assert!(matcher.matches(text), "{pattern} should match {:?}", text.escape_ascii().to_string());
        }
        for text in no {
            assert!(!matcher.matches(text), "{pattern} should not match {:?}", text.escape_ascii().to_string());
        }
    }

    fn refused(pattern: &str) -> String {
        StringMatcher::regex(pattern).as_ref().map_err(RegexError::message).unwrap_err().to_owned()
    }

    #[test]
    fn the_whole_text_must_match() {
        check("a|ab", &[b"a", b"ab"], &[b"abc", b"b"]);
        check("a*?", &[b"", b"aaa"], &[b"ab"]);
        check("a$", &[b"a"], &[b"a\n"]);
        check("(?m)a$", &[b"a"], &[b"a\n"]);
    }

    #[test]
    fn perl_classes_are_ascii() {
        check(r"\d", &[b"7"], &["\u{663}".as_bytes(), b"a"]);
        check(r"\w+", &[b"aZ_9"], &["é".as_bytes(), b"-"]);
        check(r"\s", &[b" ", b"\t", b"\n", b"\r", b"\x0c"], &[b"\x0b", "\u{a0}".as_bytes()]);
        check(r"\D", &[b"\n", b"\xff", b"\xc3"], &[b"7", "é".as_bytes()]);
        check(r"\W", &[b"\xa9"], &[b"a", "é".as_bytes()]);
        check(r"\S", &[b"\x0b", b"\xa0"], &[b" ", "漢".as_bytes()]);
        check(r"[\d\s-]+", &[b"1 -2"], &[b"a"]);
        check(r"[^\d]", &[b"a", b"\xe9"], &[b"1"]);
        check(r"[\D1]", &[b"1", b"a"], &[b"2"]);
    }

    #[test]
    fn word_boundaries_are_ascii() {
        check(r"a\b.", &[b"a\xe9", b"a-"], &[b"ab"]);
        check(r"a\B.", &[b"ab"], &[b"a\xe9", b"a-"]);
        check(r"\b{start}", &[], &[b"a"]);
    }

    #[test]
    fn pattern_and_text_are_bytes() {
        check(".", &[b"a", b"\xff"], &[b"\n", b"ab", "é".as_bytes()]);
        check("a..", &["aé".as_bytes()], &[b"a\xe9"]);
        check("(?s).*", &[b"a\nb", b"", b"a\xff"], &[]);
        check("[^a]{2}", &["é".as_bytes(), b"\n\xff"], &[b"\xff", b"aa"]);
        check("é", &["é".as_bytes()], &[b"\xe9"]);
        check("é?x", &["éx".as_bytes(), b"\xc3x"], &[b"x"]);
        check("é{2}", &[b"\xc3\xa9\xa9"], &["éé".as_bytes()]);
        check("(é){2}", &["éé".as_bytes()], &[]);
        check("[é]", &[b"\xc3", b"\xa9"], &["é".as_bytes(), b"\xe9"]);
        check("[à-ï]+", &[b"\xc3\xb0", "é".as_bytes()], &[b"\x9f"]);
        check(r"\xe9\x{ff}\377", &[b"\xe9\xff\xff"], &["é\u{ff}\u{ff}".as_bytes()]);
        check(r"\Qé\E", &["é".as_bytes()], &[b"\xe9"]);
        check(r"[^\x00-\x7f]+", &["漢".as_bytes()], &[b"a"]);
        for pattern in [r"\x{100}", r"[a-\x{100}]", r"\400"] {
            assert!(refused(pattern).ends_with("is more than a byte, and bytes are matched"), "{pattern}");
        }
    }

    #[test]
    fn letters_are_folded_in_ascii() {
        check("(?i)é", &["é".as_bytes()], &["É".as_bytes()]);
        check(r"(?i)\xe9[\xe0-\xef]\xb5", &[b"\xe9\xe0\xb5"], &[b"\xc9\xe0\xb5", b"\xe9\xc0\xb5"]);
        check(r"(?i)\p{Lu}", &[b"a", b"\xc9"], &[b"\xe9"]);
        check(r"(?i)\P{Lu}", &[b"1", b"\xe9"], &[b"a", b"A", b"\xc9"]);
    }

    #[test]
    fn quoted_text_is_literal() {
        check(r"\Qa.b*\E+", &[b"a.b*", b"a.b**"], &[b"axb", b"a.b"]);
        check(r"\Qa|b", &[b"a|b"], &[b"a", b"b"]);
        check(r"\Qa\E\Qb\E", &[b"ab"], &[]);
        assert!(refused(r"a\E").contains("escape"));
    }

    #[test]
    fn single_bytes_look_around_and_back_references_are_refused() {
        assert_eq!(refused(r"\C"), r"\C, a single byte, is not supported");
        for pattern in ["(?=a)", "(?!a)", "(?<=a)", "(?<!a)", r"(a)\1", "(?>a)", "(?P=n)", "(?#a)", "(?P>n)"] {
            refused(pattern);
        }
    }

    #[test]
    fn escapes() {
        check(r"\x41\x{e9}\101\0", &[b"A\xe9A\0"], &[]);
        check(r"\08", &[b"\x008"], &[]);
        check(r"\a\f\t\n\r\v", &[b"\x07\x0c\t\n\r\x0b"], &[]);
        check(r"\.\-\_\/\<\>\#\ ", &[b".-_/<># "], &[]);
        check(r"\Aa\z", &[b"a"], &[]);
        for pattern in
            [r"\8", r"\y", r"\é", r"\Z", r"\h", r"\u0041", r"\U00000041", r"\x4", r"\x{}", r"\x{110000}", "\\"]
        {
            refused(pattern);
        }
    }

    #[test]
    fn flags_are_those_of_re2() {
        check("(?i)aB", &[b"Ab", b"aB"], &[b"ac"]);
        check("(?i:a)B", &[b"AB"], &[b"Ab"]);
        check("(?ii)a(?-i)b", &[b"Ab"], &[b"AB"]);
        check("(?i-i)a", &[b"a"], &[b"A"]);
        check("(?s-m).", &[b"\n"], &[]);
        check("(?i)[^k]", &[b"x"], &[b"k", b"K"]);
        check("(?i)k+", &[b"kK"], &["\u{212a}".as_bytes()]);
        check("(?)a", &[b"a"], &[]);
        for pattern in ["(?x)a", "(?u)a", "(?R)a", "(?i-)a", "(?i--s)a", "(?z)", "(?i", "(?"] {
            refused(pattern);
        }
        assert_eq!(refused("(?x)ab # c"), "\"(?\" with 'x' is not supported");
    }

    #[test]
    fn a_hash_and_spaces_are_plain_text() {
        check("a # b", &[b"a # b"], &[b"a"]);
    }

    #[test]
    fn sets_know_no_nesting_and_no_operations() {
        check("[a[b]", &[b"a", b"[", b"b"], &[b"]"]);
        check("[a&&b]", &[b"a", b"&", b"b"], &[]);
        check("[+--]", &[b"+", b",", b"-"], &[b"."]);
        check("[]a]", &[b"]", b"a"], &[]);
        check("[^]a]", &[b"b"], &[b"]", b"a"]);
        check("[a~~b]", &[b"~"], &[]);
        check("[a-]", &[b"a", b"-"], &[b"b"]);
        check("[a-c-e]", &[b"b", b"-", b"e"], &[b"d"]);
        check(r"[\x41-\x{43}\]\\^]", &[b"B", b"]", b"\\", b"^"], &[b"D"]);
        check("[[:alpha:]_[:^digit:]]", &[b"a", b"_", b"-"], &[b"1"]);
        check("[[:word:]]", &[b"_"], &["é".as_bytes()]);
        check("[[:a]", &[b"[", b":", b"a"], &[]);
        for pattern in ["[", "[a", "[]", "[z-a]", "[a--b]", r"[a-\d]", "[[:nope:]]", r"[\b]", r"[\Q]"] {
            refused(pattern);
        }
    }

    #[test]
    fn unicode_categories_and_scripts() {
        check(r"\pL\p{Lu}\p{Latin}", &[b"a\xc9\xe9", b"aAa"], &[b"1Aa", "aÉé".as_bytes()]);
        check(r"\P{Greek}\p{Cs}?\P{Cs}[\p{Greek}\p{Zl}b]", &[b"a\xffb"], &["aaα".as_bytes()]);
        check(r"\PL[\P{Nd}]\p{^Lu}", &[b"1aa"], &[b"aaa"]);
        check(r"\P{^Lu}", &[b"A"], &[b"a"]);
        check(r"[\pN_]+", &[b"1\xb2_"], &["٣".as_bytes()]);
        check(r"\p{Any}", &[b"\xff"], &["漢".as_bytes()]);
        for pattern in [r"\p{Alphabetic}", r"\p{nope}", r"\p", r"\p{L", r"\pX", r"\p{gc=Lu}", r"\p{lu}"] {
            refused(pattern);
        }
    }

    #[test]
    fn repetitions() {
        check("a{2}", &[b"aa"], &[b"a"]);
        check("a{2,}?", &[b"aaa"], &[b"a"]);
        check("a{1,2}", &[b"a", b"aa"], &[b"aaa"]);
        check("a{0}", &[b""], &[b"a"]);
        check("a{,2}", &[b"a{,2}"], &[b"a"]);
        check("a{ 2 }", &[b"a{ 2 }"], &[b"aa"]);
        check("a{x}{", &[b"a{x}{"], &[]);
        check("a{1000}", &[], &[b"a"]);
        check("a{1000,}", &[], &[b"a"]);
        check("(?:a{10}){100}", &[], &[b"a"]);
        assert_eq!(refused("a{1001}"), "{1001} repeats more than 1000 times");
        assert_eq!(refused("a{1,99999999999}"), "{1,99999999999} repeats more than 1000 times");
        assert_eq!(refused("(?:a{100}){11}"), "nested repetitions come to more than 1000");
        assert_eq!(refused("a{2,1}"), "{2,1} has its numbers the wrong way round");
        for pattern in ["a**", "a*+", "a{2}{3}", "a*??", "*", "(*)", "a|*", "+a"] {
            refused(pattern);
        }
    }

    #[test]
    fn groups_have_names_or_none() {
        check("(?P<name>a)(?<x>b)(?P<1>c)(?:d)(e)", &[b"abcde"], &[]);
        check("(|a)", &[b"", b"a"], &[]);
        for pattern in ["(a", "a)", "(?P<>a)", "(?P<a b>c)", "(?P<a", "(?P<a>b)(?<a>c)", "(?P<é>a)"] {
            refused(pattern);
        }
    }
}
