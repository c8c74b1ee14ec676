//! The events of a text, with one reading of Go's: a colon at the end of an entry is part of it.

use std::collections::VecDeque;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

/// An event and where it stands, or why there is none.
type Next<'t> = Result<(Event<'t>, Span), ScanError>;

/// The events of a text.
///
/// In `[1.2.3.4, 2001:db8::]`, one of Istio's own examples, the last colon is text for Go's reader, since no blank
/// follows it. The parser has it as YAML says: the entry is a mapping whose only value is empty.
pub(crate) struct Events<'t> {
    parser: Parser<'t, StrInput<'t>>,
    /// What was read to tell such an entry from a mapping.
    ahead: VecDeque<Next<'t>>,
}

impl<'t> Events<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { parser: Parser::new_from_str(text), ahead: VecDeque::new() }
    }

    fn peek(&mut self, number: usize) -> Option<&Next<'t>> {
        while self.ahead.len() <= number {
            let next = self.parser.next_event()?;
            self.ahead.push_back(next);
        }
        self.ahead.get(number)
    }

    /// The text that is meant by a mapping that begins at `start`: its key, with the colon that ends the entry.
    fn text_with_colon(&mut self, start: usize) -> Option<(Event<'t>, Span)> {
        let Ok((Event::Scalar(key, ScalarStyle::Plain, 0, None), key_at)) = self.peek(0)? else { return None };
        // One that begins with a colon is no text for Go either.
        if key.is_empty() || key.starts_with(':') || key_at.start.index() != start {
            return None;
        }
        let colon = key_at.end;
        let Ok((Event::Scalar(value, ScalarStyle::Plain, 0, None), _)) = self.peek(1)? else { return None };
        if !value.is_empty() {
            return None;
        }
        // Where what ends the entry is: the comma or bracket. A block ends so early only where the text does.
        let Ok((Event::MappingEnd, end)) = self.peek(2)? else { return None };
        let end = end.start;
        let Ok((_, next)) = self.peek(3)? else { return None };
        if end.index() != colon.index() + 1 || next.end.index() == end.index() {
            return None;
        }
        let Ok((Event::Scalar(mut key, ..), at)) = self.ahead.drain(..3).next()? else { return None };
        key.to_mut().push(':');
        Some((Event::Scalar(key, ScalarStyle::Plain, 0, None), Span::new(at.start, end)))
    }
}

impl<'t> Iterator for Events<'t> {
    type Item = Next<'t>;

    fn next(&mut self) -> Option<Next<'t>> {
        let next = self.ahead.pop_front().or_else(|| self.parser.next_event())?;
        if let Ok((Event::MappingStart(0, None), at)) = &next
            && let Some(text) = self.text_with_colon(at.start.index())
        {
            return Some(Ok(text));
        }
        Some(next)
    }
}
