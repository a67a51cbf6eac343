//! The one reader for JSON that somebody else wrote: tokens, keys, metadata, events.
//!
//! It is stricter than `serde_json`, and differs from it in these points alone:
//!
//! - An object with two equal names is refused, at any depth, also in members that
//!   nobody reads, and also if the names are equal only once their escapes are resolved
//!   (RFC 8725 §2.4: two readers of such an object may each believe another value).
//! - The whole text must be UTF-8, also where nobody reads it.
//! - No name is magic. `serde_json` reads the text in
//!   `{"$serde_json::private::RawValue": "…"}` as JSON again, with a new limit of depth, as
//!   soon as any crate in the program turns its feature `raw_value` on.
//! - A structure is read from an object, and never from an array by position.
//! - The same depth, 127, is the limit for everything, however it is read.
//!
//! [`from_slice`] reads any type that derives `Deserialize`. Do not use it for types that
//! contain `serde_json::Value` or `RawValue`: their own `Deserialize` knows the magic
//! names. [`Value::to_serde_json`] makes a `serde_json::Value` without it.
//!
//! A document takes at most eight bytes for each value and each name in it, beside the
//! text that it borrows.

mod de;
mod read;

use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;

/// Arrays and objects in one another. `serde_json` has the same limit.
pub const MAX_DEPTH: usize = 127;

/// A longer text is refused, in bytes: 512 MiB, as positions are stored in 29 bits.
pub const MAX_LENGTH: usize = (1 << 29) - 1;

/// Why a text was refused. Repeats nothing of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not UTF-8.
    #[error("the JSON text is not UTF-8")]
    NotUtf8,
    /// Over [`MAX_LENGTH`].
    #[error("the JSON text is too long")]
    TooLong,
    /// Not one JSON value, or with something behind it.
    #[error("the text is not valid JSON")]
    Syntax,
    /// Deeper than [`MAX_DEPTH`].
    #[error("the JSON text is nested too deeply")]
    TooDeep,
    /// An object has two members of one name.
    #[error("a JSON object has two members of the same name")]
    DuplicateName,
    /// JSON, but not what was expected.
    #[error("the JSON text does not have the expected structure")]
    Structure,
}

/// Reads a value of a type that derives `Deserialize`.
///
/// # Errors
///
/// See [`Error`].
pub fn from_slice<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Error> {
    T::deserialize(Document::read(json)?.root())
}

/// Reads a value of any kind, for code that works with `serde_json::Value`.
///
/// # Errors
///
/// See [`Error`].
pub fn to_serde_json(json: &[u8]) -> Result<serde_json::Value, Error> {
    Ok(Document::read(json)?.root().to_serde_json())
}

/// A JSON text that was read: where its values are. The texts in it are borrowed.
pub struct Document<'a> {
    text: &'a str,
    /// In the order of the text: a container, then what is in it; a name, then its value.
    nodes: Vec<Node>,
}

/// What is at a place, in 3 bits, and where it begins, in 29; then where a scalar ends, or
/// the node that follows a container.
#[derive(Clone, Copy)]
struct Node {
    head: u32,
    end: u32,
}

/// What a value is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
enum Kind {
    Null,
    False,
    True,
    Number,
    /// A string without escapes.
    Plain,
    /// A string with some.
    Escaped,
    Array,
    Object,
}

const KINDS: [Kind; 8] = [
    Kind::Null,
    Kind::False,
    Kind::True,
    Kind::Number,
    Kind::Plain,
    Kind::Escaped,
    Kind::Array,
    Kind::Object,
];

const START_BITS: u32 = 29;

impl Node {
    const NULL: Self = Self { head: 0, end: 0 };

    fn kind(self) -> Kind {
        let kind = KINDS.get((self.head >> START_BITS) as usize);
        kind.copied().unwrap_or(Kind::Null)
    }

    fn start(self) -> usize {
        (self.head & ((1 << START_BITS) - 1)) as usize
    }

    fn end(self) -> usize {
        self.end as usize
    }

    fn is_container(self) -> bool {
        self.head >> START_BITS >= Kind::Array as u32
    }
}

impl<'a> Document<'a> {
    /// Reads all of a text, of which every part must be right.
    ///
    /// # Errors
    ///
    /// Every [`Error`] but [`Error::Structure`].
    pub fn read(json: &'a [u8]) -> Result<Self, Error> {
        let text = str::from_utf8(json).map_err(|_| Error::NotUtf8)?;
        let nodes = read::nodes(text)?;
        Ok(Self { text, nodes })
    }

    /// The value that the text is.
    pub fn root(&self) -> Value<'_, 'a> {
        self.value(0)
    }

    fn value(&self, at: usize) -> Value<'_, 'a> {
        Value { document: self, at }
    }

    fn node(&self, at: usize) -> Node {
        self.nodes.get(at).copied().unwrap_or(Node::NULL)
    }

    /// The node behind the value at `at`.
    fn after(&self, at: usize) -> usize {
        let node = self.node(at);
        if node.is_container() {
            node.end()
        } else {
            at + 1
        }
    }

    fn raw(&self, node: Node) -> &'a str {
        self.text.get(node.start()..node.end()).unwrap_or_default()
    }

    fn string(&self, node: Node) -> Option<Cow<'a, str>> {
        match node.kind() {
            Kind::Plain => Some(self.raw(node).into()),
            Kind::Escaped => read::unescape(self.raw(node)).map(Cow::Owned),
            _ => None,
        }
    }
}

impl fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").finish_non_exhaustive()
    }
}

/// A value in a document.
#[derive(Clone, Copy)]
pub struct Value<'d, 'a> {
    document: &'d Document<'a>,
    at: usize,
}

impl<'d, 'a> Value<'d, 'a> {
    fn node(self) -> Node {
        self.document.node(self.at)
    }

    /// Whether it is null.
    pub fn is_null(self) -> bool {
        self.node().kind() == Kind::Null
    }

    /// The string, if it is one.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        self.document.string(self.node())
    }

    /// Whether it is this string.
    pub fn is(self, text: &str) -> bool {
        let node = self.node();
        match node.kind() {
            Kind::Plain => self.document.raw(node) == text,
            _ => self.as_str().as_deref() == Some(text),
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(self) -> Option<bool> {
        match self.node().kind() {
            Kind::True => Some(true),
            Kind::False => Some(false),
            _ => None,
        }
    }

    /// The number as it is written, if it is one. None is rounded.
    pub fn as_number(self) -> Option<&'a str> {
        let node = self.node();
        (node.kind() == Kind::Number).then(|| self.document.raw(node))
    }

    /// The elements, if it is an array.
    pub fn as_array(self) -> Option<Array<'d, 'a>> {
        let node = self.node();
        (node.kind() == Kind::Array).then(|| Array {
            document: self.document,
            at: self.at + 1,
            end: node.end(),
        })
    }

    /// The members, if it is an object.
    pub fn as_object(self) -> Option<Object<'d, 'a>> {
        let node = self.node();
        (node.kind() == Kind::Object).then(|| Object {
            document: self.document,
            at: self.at + 1,
            end: node.end(),
        })
    }

    /// The same as a `serde_json::Value`: names are what they are, and a whole number that
    /// fits neither `u64` nor `i64` is rounded.
    pub fn to_serde_json(self) -> serde_json::Value {
        use serde_json::Value as Theirs;
        if let Some(object) = self.as_object() {
            return Theirs::Object(object.to_serde_json());
        }
        if let Some(array) = self.as_array() {
            return Theirs::Array(array.map(Self::to_serde_json).collect());
        }
        match (self.as_bool(), self.as_number(), self.as_str()) {
            (Some(truth), _, _) => Theirs::Bool(truth),
            (_, Some(number), _) => match Numeric::read(number) {
                Numeric::Unsigned(number) => number.into(),
                Numeric::Signed(number) => number.into(),
                Numeric::Float(number) => number.into(),
            },
            (_, _, Some(text)) => Theirs::String(text.into_owned()),
            (None, None, None) => Theirs::Null,
        }
    }
}

/// A number as programs hold it; the same choice that `serde_json` makes.
enum Numeric {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl Numeric {
    fn read(number: &str) -> Self {
        match (number.parse(), number.parse()) {
            (Ok(number), _) => Self::Unsigned(number),
            // An integer has no negative zero.
            (_, Ok(number)) if number != 0 => Self::Signed(number),
            _ => Self::Float(number.parse().unwrap_or(f64::NAN)),
        }
    }
}

/// Names only: what is in a document may be secret or personal.
impl fmt::Debug for Value<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_object() {
            Some(object) => f.debug_set().entries(object.map(|(name, _)| name)).finish(),
            None => write!(f, "{:?}", self.node().kind()),
        }
    }
}

/// The elements of an array, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Array<'d, 'a> {
    document: &'d Document<'a>,
    at: usize,
    end: usize,
}

#[expect(
    clippy::copy_iterator,
    reason = "it is two positions, and asking for a member must not use it up"
)]
impl<'d, 'a> Iterator for Array<'d, 'a> {
    type Item = Value<'d, 'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let value = (self.at < self.end).then(|| self.document.value(self.at))?;
        self.at = self.document.after(self.at);
        Some(value)
    }
}

/// The members of an object, one after the other, each name at most once.
#[derive(Clone, Copy, Debug)]
pub struct Object<'d, 'a> {
    document: &'d Document<'a>,
    at: usize,
    end: usize,
}

impl<'d, 'a> Object<'d, 'a> {
    /// The value of this name.
    pub fn get(self, name: &str) -> Option<Value<'d, 'a>> {
        let Self { document, .. } = self;
        let mut names = Names(self);
        let at = names.find(|at| document.value(*at).is(name))?;
        Some(document.value(at + 1))
    }

    /// Whether there is a member of this name.
    pub fn contains(self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// How many members there are.
    pub fn len(self) -> usize {
        Names(self).count()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.at >= self.end
    }

    /// The same for `serde_json`; see [`Value::to_serde_json`].
    pub fn to_serde_json(self) -> serde_json::Map<String, serde_json::Value> {
        self.map(|(name, value)| (name.into_owned(), value.to_serde_json()))
            .collect()
    }
}

#[expect(
    clippy::copy_iterator,
    reason = "it is two positions, and asking for a member must not use it up"
)]
impl<'d, 'a> Iterator for Object<'d, 'a> {
    type Item = (Cow<'a, str>, Value<'d, 'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut names = Names(*self);
        let at = names.next()?;
        *self = names.0;
        let name = self.document.string(self.document.node(at))?;
        Some((name, self.document.value(at + 1)))
    }
}

/// Where the names of an object are; the value of each is behind it.
struct Names<'d, 'a>(Object<'d, 'a>);

impl Iterator for Names<'_, '_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let Object { document, at, end } = self.0;
        let name = (at < end).then_some(at)?;
        self.0.at = document.after(at + 1);
        Some(name)
    }
}

#[cfg(test)]
mod tests;
