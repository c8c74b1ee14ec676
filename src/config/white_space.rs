//! White space to which Go's reader pays no heed, but the parser does: [`Mended`].
//!
//! YAML asks that what stands in brackets or quotes is indented deeper than its key, without tabs, and that no tab
//! follows a colon. Go's readers are ports of libyaml, which asks for neither, and CRDs and lists are written that way.

use std::collections::HashMap;

use saphyr_parser::{Marker, Parser, ScanError};

use super::yaml;

/// The blanks before a line that stands too far left: more than any block is indented by.
const PAD: usize = 256;

/// The longest text that is mended, and the most blanks that one gets.
const LONGEST: usize = 2 << 20;

/// As much as is read in all to find what is to be mended: each time from the beginning.
const MOST_READ: usize = 128 << 20;

/// A text that says the same, of which the parser takes more.
pub(super) struct Mended {
    pub(super) text: String,
    /// How many blanks lines got in front of them.
    padded: HashMap<usize, usize>,
}

impl Mended {
    /// `None` if nothing of the kind is wrong with `text`, or something else is.
    pub(super) fn of(text: &str) -> Option<Self> {
        // What is wrong for libyaml too is not for us to mend.
        if text.len() > LONGEST || !yaml::is_taken_by_libyaml(text) {
            return None;
        }
        let mut mended = Self { text: text.to_owned(), padded: HashMap::new() };
        let (mut read, mut changed) = (0, false);
        while read < MOST_READ
            && let Some(error) = refused(&mended.text)
            && let Some((at, _)) = mended.text.char_indices().nth(error.marker().index())
            && mended.mend(error.info(), error.marker(), at).is_some()
        {
            read += at;
            changed = true;
        }
        changed.then_some(mended)
    }

    /// The column in the text as it was.
    pub(super) fn column(&self, line: u32, column: u32) -> u32 {
        let pad = self.padded.get(&(line as usize)).copied().unwrap_or(0);
        column.saturating_sub(u32::try_from(pad).unwrap_or(u32::MAX)).max(1)
    }

    /// Mends what the parser says of `at`, in its own words: of words that it does not use any more nothing is mended.
    fn mend(&mut self, info: &str, marker: &Marker, at: usize) -> Option<()> {
        match info {
            "invalid indentation"
            | "invalid indentation in flow construct"
            | "tab cannot be used as indentation"
            | "tabs disallowed within this context (block indentation)" => self.pad_line(marker.line(), at),
            "invalid indentation in quoted scalar" => self.pad_quoted(marker, at),
            "':' must be followed by a valid YAML whitespace" => self.untab(at),
            _ => None,
        }
    }

    /// Indents the line of what stands in brackets, or within quotes.
    fn pad_line(&mut self, line: usize, at: usize) -> Option<()> {
        let start = self.text[..at].trim_end_matches([' ', '\t']).len();
        if !self.text[..start].ends_with(['\n', '\r']) || self.padded.get(&line).is_some_and(|pad| *pad >= PAD) {
            return None;
        }
        self.text.insert_str(start, &" ".repeat(PAD));
        *self.padded.entry(line).or_default() += PAD;
        Some(())
    }

    /// Indents what follows the first line of a text in quotes as deep as these: the blanks are folded away.
    fn pad_quoted(&mut self, marker: &Marker, at: usize) -> Option<()> {
        let (mut line, most) = (marker.line(), self.text.len() + LONGEST);
        let mut rest = self.text[at..].chars().peekable();
        let quote = rest.next().filter(|quote| matches!(quote, '"' | '\''))?;
        let (mut padded, mut pads) = (String::from(quote), Vec::new());
        while let Some(next) = rest.next() {
            padded.push(next);
            if next == '\n' || next == '\r' && rest.peek() != Some(&'\n') {
                line += 1;
                let blanks = std::iter::from_fn(|| rest.next_if_eq(&' ')).count();
                let is_blank = matches!(rest.peek(), None | Some('\n' | '\r'));
                let pad = if is_blank { 0 } else { marker.col().saturating_sub(blanks) };
                if at + padded.len() + pad > most {
                    return None;
                }
                padded.extend(std::iter::repeat_n(' ', blanks + pad));
                pads.push((line, pad));
            } else if next == quote {
                // Two are one of the text.
                let Some(second) = rest.next_if(|&next| quote == '\'' && next == '\'') else { break };
                padded.push(second);
            } else if next == '\\' && quote == '"' {
                padded.extend(rest.next_if(|next| !matches!(next, '\n' | '\r')));
            }
        }
        padded.extend(rest);
        let changed = padded.len() != self.text.len() - at;
        self.text.replace_range(at.., &padded);
        pads.into_iter().for_each(|(line, pad)| *self.padded.entry(line).or_default() += pad);
        changed.then_some(())
    }

    /// Makes blanks of the tabs between a colon and `at`.
    fn untab(&mut self, at: usize) -> Option<()> {
        let start = self.text[..at].trim_end_matches([' ', '\t']).len();
        let blanks = " ".repeat(at - start);
        let changed = self.text[start..at] != blanks;
        self.text.replace_range(start..at, &blanks);
        changed.then_some(())
    }
}

/// Why the parser does not take `text`.
fn refused(text: &str) -> Option<ScanError> {
    Parser::new_from_str(text).find_map(Result::err)
}
