//! From text to nodes, without recursion.

use super::{Error, Kind, MAX_DEPTH, MAX_LENGTH, Node, START_BITS};
use std::borrow::Cow;

/// No container: what the outermost one is in.
const NOWHERE: u32 = u32::MAX;

/// So many bytes of an ordinary text belong to one node, at least.
const BYTES_PER_NODE: usize = 24;

/// Up to so many names are compared with each other by a mark of each; more are sorted.
const FEW: usize = 32;

/// Reads a whole text.
pub(super) fn nodes(text: &str) -> Result<Vec<Node>, Error> {
    if text.len() > MAX_LENGTH {
        return Err(Error::TooLong);
    }
    let lowest = text.bytes().fold(u8::MAX, u8::min);
    let mut reader = Reader {
        text,
        at: 0,
        nodes: Vec::with_capacity(text.len() / BYTES_PER_NODE + 1),
        container: NOWHERE,
        depth: 0,
        has_controls: lowest < b' ',
    };
    reader.document()?;
    Ok(reader.nodes)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    nodes: Vec<Node>,
    /// The innermost container that is open. While one is, its node says in which other it
    /// is in the place of its end.
    container: u32,
    depth: usize,
    /// Whether there is a control character anywhere. Gateways write none, so that strings
    /// need not be searched for them one by one.
    has_controls: bool,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<(), Error> {
        loop {
            // A value begins here.
            match self.peek().ok_or(Error::Syntax)? {
                b'"' => self.string()?,
                b'{' => {
                    self.open(Kind::Object)?;
                    if !self.takes(b'}') {
                        self.name()?;
                        continue;
                    }
                    self.close()?;
                }
                b'[' => {
                    self.open(Kind::Array)?;
                    if !self.takes(b']') {
                        continue;
                    }
                    self.close()?;
                }
                _ => self.scalar()?,
            }
            // It has ended, and whatever it is in goes on or ends too.
            loop {
                if self.container == NOWHERE {
                    return self.peek().map_or(Ok(()), |_| Err(Error::Syntax));
                }
                let is_object = self.innermost().kind() == Kind::Object;
                match self.peek().ok_or(Error::Syntax)? {
                    b',' => {
                        self.at += 1;
                        if is_object {
                            self.name()?;
                        }
                        break;
                    }
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return Err(Error::Syntax),
                }
                self.at += 1;
                self.close()?;
            }
        }
    }

    fn innermost(&self) -> Node {
        let node = self.nodes.get(self.container as usize);
        node.copied().unwrap_or(Node::NULL)
    }

    fn push(&mut self, kind: Kind, start: usize, end: u32) {
        // Positions are below `MAX_LENGTH`.
        let start = u32::try_from(start).unwrap_or_default();
        let head = (kind as u32) << START_BITS | start;
        self.nodes.push(Node { head, end });
    }

    /// From `start` to where we are now.
    fn push_scalar(&mut self, kind: Kind, start: usize, end: usize) {
        self.push(kind, start, u32::try_from(end).unwrap_or_default());
    }

    fn open(&mut self, kind: Kind) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        let at = u32::try_from(self.nodes.len()).map_err(|_| Error::TooLong)?;
        self.push(kind, self.at, self.container);
        self.container = at;
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        let (at, len) = (self.container as usize, self.nodes.len());
        if self.innermost().kind() == Kind::Object && !self.has_distinct_names(at + 1) {
            return Err(Error::DuplicateName);
        }
        let node = self.nodes.get_mut(at).ok_or(Error::Syntax)?;
        self.container = node.end;
        node.end = u32::try_from(len).map_err(|_| Error::TooLong)?;
        self.depth -= 1;
        Ok(())
    }

    fn name(&mut self) -> Result<(), Error> {
        if self.peek() != Some(b'"') {
            return Err(Error::Syntax);
        }
        self.string()?;
        if self.takes(b':') {
            Ok(())
        } else {
            Err(Error::Syntax)
        }
    }

    /// A string, from its opening quote.
    fn string(&mut self) -> Result<(), Error> {
        let (start, bytes) = (self.at + 1, self.text.as_bytes());
        let mut end = start;
        let mut kind = Kind::Plain;
        loop {
            let rest = bytes.get(end..).ok_or(Error::Syntax)?;
            end += memchr::memchr2(b'"', b'\\', rest).ok_or(Error::Syntax)?;
            if bytes.get(end) == Some(&b'"') {
                break;
            }
            kind = Kind::Escaped;
            // And whatever it escapes, which may be a quote.
            end += 2;
        }
        let text = self.text.get(start..end).ok_or(Error::Syntax)?;
        if self.has_controls && text.bytes().any(|byte| byte < b' ') {
            return Err(Error::Syntax);
        }
        if kind == Kind::Escaped && unescape(text).is_none() {
            return Err(Error::Syntax);
        }
        self.at = end + 1;
        self.push_scalar(kind, start, end);
        Ok(())
    }

    fn scalar(&mut self) -> Result<(), Error> {
        let (start, text) = (self.at, self.text);
        let rest = text.as_bytes().get(start..).unwrap_or_default();
        let words: [(&[u8], Kind); 3] = [
            (b"null", Kind::Null),
            (b"true", Kind::True),
            (b"false", Kind::False),
        ];
        let word = words.iter().find(|(word, _)| rest.starts_with(word));
        if let Some((word, kind)) = word {
            self.at += word.len();
            self.push_scalar(*kind, start, self.at);
            return Ok(());
        }
        self.number()?;
        self.push_scalar(Kind::Number, start, self.at);
        Ok(())
    }

    /// RFC 8259 §6. What follows it is the caller's to check.
    fn number(&mut self) -> Result<(), Error> {
        let start = self.at;
        self.skip(b"-");
        let leading_zero = self.next() == Some(b'0');
        if self.digits()? > 1 && leading_zero {
            return Err(Error::Syntax);
        }
        if self.skip(b".") {
            self.digits()?;
        }
        let has_exponent = self.skip(b"eE");
        if has_exponent {
            self.skip(b"+-");
            self.digits()?;
        }
        // Infinity is no number, and no reader agrees with another on what it stands for.
        let number = self.text.get(start..self.at).unwrap_or_default();
        let may_be_infinite = has_exponent || number.len() > f64::MAX_10_EXP as usize;
        if may_be_infinite && !number.parse().is_ok_and(f64::is_finite) {
            return Err(Error::Syntax);
        }
        Ok(())
    }

    /// At least one; says how many.
    fn digits(&mut self) -> Result<usize, Error> {
        let start = self.at;
        while self.next().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        match self.at - start {
            0 => Err(Error::Syntax),
            count => Ok(count),
        }
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes the next byte if it is one of these.
    fn skip(&mut self, bytes: &[u8]) -> bool {
        let is_one = self.next().is_some_and(|next| bytes.contains(&next));
        self.at += usize::from(is_one);
        is_one
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let next = self.next()?;
            if !matches!(next, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(next);
            }
            self.at += 1;
        }
    }

    /// Whether `byte` came next, and is then passed.
    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Whether the names of an object, the first of which is at `first`, are all different.
    fn has_distinct_names(&self, first: usize) -> bool {
        let mut marks = [0; FEW];
        for (count, name) in self.names(first).enumerate() {
            let mark = mark(self.raw(name));
            // Whatever is escaped may be anything.
            if count == FEW || name.kind() == Kind::Escaped {
                return self.has_distinct_sorted_names(first);
            }
            let seen = marks.get(..count).unwrap_or_default();
            if seen.contains(&mark) {
                return self.has_distinct_sorted_names(first);
            }
            if let Some(place) = marks.get_mut(count) {
                *place = mark;
            }
        }
        true
    }

    #[cold]
    fn has_distinct_sorted_names(&self, first: usize) -> bool {
        let name = |node: Node| match node.kind() {
            Kind::Escaped => unescape(self.raw(node)).map(Cow::Owned).unwrap_or_default(),
            _ => Cow::Borrowed(self.raw(node)),
        };
        let mut names: Vec<_> = self.names(first).map(name).collect();
        names.sort_unstable();
        names.is_sorted_by(|one, next| one != next)
    }

    fn names(&self, first: usize) -> impl Iterator<Item = Node> {
        let mut at = first;
        std::iter::from_fn(move || {
            let name = self.nodes.get(at)?;
            let value = self.nodes.get(at + 1)?;
            at = if value.is_container() {
                value.end()
            } else {
                at + 2
            };
            Some(*name)
        })
    }

    fn raw(&self, node: Node) -> &'a str {
        self.text.get(node.start()..node.end()).unwrap_or_default()
    }
}

/// Equal for equal names, and seldom for others: their ends and their length.
fn mark(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let ends = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => {
            u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(23)
        }
        _ => bytes
            .iter()
            .fold(0, |mark, byte| mark << 8 | u64::from(*byte)),
    };
    ends ^ (bytes.len() as u64).rotate_left(59)
}

/// Resolves the escapes of a string (RFC 8259 §7). `None` if one is none, or half a
/// character.
#[cold]
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escaped)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut chars = escaped.chars();
        let character = match chars.next()? {
            same @ ('"' | '\\' | '/') => same,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => character(&mut chars)?,
            _ => return None,
        };
        plain.push(character);
        rest = chars.as_str();
    }
    plain.push_str(rest);
    Some(plain)
}

/// What `\u` stands for: one code unit of UTF-16, or a pair of surrogates.
fn character(chars: &mut std::str::Chars<'_>) -> Option<char> {
    let unit = |chars: &mut std::str::Chars<'_>| {
        (0..4).try_fold(0, |unit, _| Some(unit << 4 | chars.next()?.to_digit(16)?))
    };
    let first = unit(chars)?;
    if !(0xd800..0xdc00).contains(&first) {
        // A low surrogate alone is no character.
        return char::from_u32(first);
    }
    if (chars.next()?, chars.next()?) != ('\\', 'u') {
        return None;
    }
    let second = unit(chars).filter(|second| (0xdc00..0xe000).contains(second))?;
    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
}
