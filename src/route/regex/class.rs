//! Sets and escapes of RE2.

use std::fmt::Write;

use regex_syntax::hir::{Class, HirKind};

use super::translate::{Rest, digits, literal};

/// What an escape stands for.
pub(super) enum Escape {
    /// The inside of a set: `0-9`.
    Set(String),
    /// One character.
    Character(char),
}

/// Unicode's general categories as RE2 names them.
const CATEGORIES: &[&str] = &[
    "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P",
    "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs",
];

/// POSIX classes.
const POSIX: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Takes the set whose `[` was read.
pub(super) fn set(rest: &mut Rest<'_>, out: &mut String) -> Result<(), String> {
    out.push('[');
    if rest.take("^") {
        out.push('^');
    }
    let mut first = true;
    while first || !rest.take("]") {
        first = false;
        if let Some(class) = posix(rest)? {
            out.push_str(&class);
            continue;
        }
        let low = match member(rest)? {
            Escape::Set(set) => {
                out.push_str(&set);
                continue;
            }
            Escape::Character(character) => character,
        };
        literal(out, low);
        if rest.0.starts_with('-') && !rest.0.starts_with("-]") && rest.0.len() > 1 {
            rest.take("-");
            let Escape::Character(high) = member(rest)? else {
                return Err("a set has a class as the end of a range".to_owned());
            };
            if high < low {
                return Err(format!("the range {low}-{high} of a set is the wrong way round"));
            }
            out.push('-');
            literal(out, high);
        }
    }
    out.push(']');
    Ok(())
}

fn member(rest: &mut Rest<'_>) -> Result<Escape, String> {
    match rest.next() {
        Some('\\') => escape(rest),
        Some(character) => Ok(Escape::Character(character)),
        None => Err("a set is not closed".to_owned()),
    }
}

/// `[:name:]`, if that is what comes.
fn posix(rest: &mut Rest<'_>) -> Result<Option<String>, String> {
    let mut ahead = *rest;
    if !ahead.take("[:") {
        return Ok(None);
    }
    let Some(name) = ahead.take_until(":]") else { return Ok(None) };
    if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
        return Err(format!("there is no class [:{name}:]"));
    }
    *rest = ahead;
    Ok(Some(format!("[:{name}:]")))
}

/// Takes what follows a backslash, in a set or not.
pub(super) fn escape(rest: &mut Rest<'_>) -> Result<Escape, String> {
    let character = rest.next().ok_or("a backslash stands at the end")?;
    let set = |set: &str| Ok(Escape::Set(set.to_owned()));
    let simple = |character| Ok(Escape::Character(character));
    match character {
        'd' => set("0-9"),
        'D' => set("[^0-9]"),
        's' => set(r"\t\n\f\r\x20"),
        'S' => set(r"[^\t\n\f\r\x20]"),
        'w' => set("0-9A-Za-z_"),
        'W' => set("[^0-9A-Za-z_]"),
        'p' | 'P' => unicode(rest, character == 'P').map(Escape::Set),
        'a' => simple('\x07'),
        'f' => simple('\x0c'),
        't' => simple('\t'),
        'n' => simple('\n'),
        'r' => simple('\r'),
        'v' => simple('\x0b'),
        'x' => hexadecimal(rest).map(Escape::Character),
        '0'..='7' => octal(rest, character).map(Escape::Character),
        other
            if other == '_' || other.is_ascii_punctuation() || (other.is_ascii() && !other.is_ascii_alphanumeric()) =>
        {
            simple(other)
        }
        other if other.is_ascii() => Err(format!("there is no escape \\{other}")),
        _ => Err("there is no escape of what is not ASCII".to_owned()),
    }
}

/// `\x41` or `\x{e9}`, after the `x`.
fn hexadecimal(rest: &mut Rest<'_>) -> Result<char, String> {
    let text = if rest.take("{") {
        rest.take_until("}")
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .unwrap_or_default()
            .to_owned()
    } else {
        let text = digits(&mut rest.0.chars().peekable(), 16, 2);
        rest.take(&text);
        if text.len() == 2 { text } else { String::new() }
    };
    let number = u32::from_str_radix(&text, 16).ok().filter(|number| char::from_u32(*number).is_some());
    byte(number.ok_or("\\x is followed by no character's number")?)
}

/// `\0`, `\12` or `\123`; a single digit above 0 would be a reference, which is not supported.
fn octal(rest: &mut Rest<'_>, first: char) -> Result<char, String> {
    let more = digits(&mut rest.0.chars().peekable(), 8, 2);
    if first != '0' && more.is_empty() {
        return Err(format!("\\{first}, a reference to a group, is not supported"));
    }
    rest.take(&more);
    byte(u32::from_str_radix(&format!("{first}{more}"), 8).map_err(|error| error.to_string())?)
}

/// The character that stands for a byte.
fn byte(number: u32) -> Result<char, String> {
    let byte =
        u8::try_from(number).map_err(|_| format!("\\x{{{number:x}}} is more than a byte, and bytes are matched"))?;
    Ok(char::from(byte))
}

/// `\pL`, `\p{Lu}` or `\p{^Greek}`, after the `p`, as the inside of a set.
fn unicode(rest: &mut Rest<'_>, negated: bool) -> Result<String, String> {
    let unknown = |name: &str| format!("there is no Unicode category or script {name:?}");
    let (name, negated) = if rest.take("{") {
        let name = rest.take_until("}").ok_or_else(|| unknown(rest.0))?;
        name.strip_prefix('^').map_or((name, negated), |name| (name, !negated))
    } else {
        let one = rest.0.chars().next().ok_or_else(|| unknown(""))?;
        (rest.take_str(one.len_utf8()), negated)
    };
    let set = if name == "Cs" {
        // No character here is half of one.
        String::new()
    } else if CATEGORIES.contains(&name) || name == "Any" {
        latin_1(&format!(r"\p{{{name}}}"))?
    } else {
        let is_script = name.len() > 2 && name.starts_with(|c: char| c.is_ascii_uppercase());
        if !is_script || !name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_') {
            return Err(unknown(name));
        }
        latin_1(&format!(r"\p{{sc={name}}}"))?
    };
    // Case is folded before it is negated.
    Ok(match (negated, set.is_empty()) {
        (false, false) => set,
        (true, false) => format!("[^{set}]"),
        (false, true) => r"[^\x00-\xff]".to_owned(),
        (true, true) => r"\x00-\xff".to_owned(),
    })
}

/// The bytes that stand for the characters of a class, as the inside of a set.
fn latin_1(class: &str) -> Result<String, String> {
    let hir = regex_syntax::parse(class).map_err(|_| format!("there is no Unicode category or script {class}"))?;
    let mut set = String::new();
    // One that has a single character is no class; none of those is a byte.
    if let HirKind::Class(Class::Unicode(class)) = hir.kind() {
        for range in class.ranges() {
            if let Ok(low) = u8::try_from(range.start()) {
                let high = u8::try_from(range.end()).unwrap_or(u8::MAX);
                let _ = write!(set, r"\x{low:02x}-\x{high:02x}");
            }
        }
    }
    Ok(set)
}

impl<'a> Rest<'a> {
    /// Takes `length` bytes, which end a character.
    fn take_str(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }
}
