//! An event as it was read: JSON of any shape, borrowed from its bytes.
//!
//! The authorizer reads leniently, since a header that a strict reader chokes on would be
//! a 500 that a client can cause. And it reads on every request: owning every string of
//! an event costs several times what the decision costs.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// JSON, as far as an event is looked at.
pub(super) enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    Array(Vec<Value<'a>>),
    Object(Object<'a>),
    /// A number, or yes or no.
    Other,
}

impl<'a> Value<'a> {
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Array(_) | Self::Object(_) | Self::Other => None,
        }
    }

    /// As [`Value::as_str`], and outlives this.
    pub(super) fn as_text(&self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Null | Self::Array(_) | Self::Object(_) | Self::Other => None,
        }
    }

    pub(super) fn as_array(&self) -> Option<&[Value<'a>]> {
        match self {
            Self::Array(values) => Some(values),
            Self::Null | Self::Text(_) | Self::Object(_) | Self::Other => None,
        }
    }

    pub(super) fn as_object(&self) -> Option<&Object<'a>> {
        match self {
            Self::Object(object) => Some(object),
            Self::Null | Self::Text(_) | Self::Array(_) | Self::Other => None,
        }
    }
}

/// Names and values as they came.
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Object<'a> {
    /// The last one of a name wins, as it does in most other readers.
    pub(super) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0
            .iter()
            .rev()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl<'o, 'a> IntoIterator for &'o Object<'a> {
    type Item = (&'o Cow<'a, str>, &'o Value<'a>);
    type IntoIter = std::iter::Map<
        std::slice::Iter<'o, (Cow<'a, str>, Value<'a>)>,
        fn(&'o (Cow<'a, str>, Value<'a>)) -> Self::Item,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Object(object) => Ok(object),
            Value::Null | Value::Text(_) | Value::Array(_) | Value::Other => {
                Err(D::Error::custom("not an object"))
            }
        }
    }
}

/// A name; `Cow` alone would always be read as owned.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Names)
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;

        impl<'de> Visitor<'de> for Anything {
            type Value = Value<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E: Error>(self) -> Result<Value<'de>, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Value<'de>, E> {
                Ok(Value::Other)
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Value<'de>, E> {
                Ok(Value::Other)
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Value<'de>, E> {
                Ok(Value::Other)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Value<'de>, E> {
                Ok(Value::Other)
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Value<'de>, E> {
                Ok(Value::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Value<'de>, E> {
                Ok(Value::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
                // The list of a header's values: of most there is one.
                let mut values = Vec::with_capacity(1);
                while let Some(value) = seq.next_element()? {
                    values.push(value);
                }
                Ok(Value::Array(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(Text(name)) = map.next_key()? {
                    if is_looked_at(&name) {
                        if members.is_empty() {
                            members.reserve(MEMBERS);
                        }
                        members.push((name, map.next_value()?));
                    } else {
                        let Skipped = map.next_value()?;
                    }
                }
                Ok(Value::Object(Object(members)))
            }
        }

        deserializer.deserialize_any(Anything)
    }
}

/// Of most objects; the others grow.
const MEMBERS: usize = 16;

/// The large parts of an event that decide nothing. A header or a member of such a name
/// is not looked at anywhere.
fn is_looked_at(name: &str) -> bool {
    !matches!(
        name,
        "queryStringParameters"
            | "multiValueQueryStringParameters"
            | "pathParameters"
            | "stageVariables"
            | "identity"
            | "body"
    )
}

/// What is not looked at. It is read all the same: an event is refused for what is wrong
/// in any part of it, its depth too (D60), which `IgnoredAny` would let pass.
struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;

        impl<'de> Visitor<'de> for Anything {
            type Value = Skipped;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E: Error>(self) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Skipped, A::Error> {
                while let Some(Skipped) = seq.next_element()? {}
                Ok(Skipped)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Skipped, A::Error> {
                while let Some((Skipped, Skipped)) = map.next_entry()? {}
                Ok(Skipped)
            }
        }

        deserializer.deserialize_any(Anything)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_borrowed_unless_it_is_escaped() {
        let event: Object<'_> = serde_json::from_str(r#"{"a":"plain","b":"\u0061"}"#).unwrap();
        assert!(matches!(
            event.get("a"),
            Some(Value::Text(Cow::Borrowed("plain")))
        ));
        assert!(matches!(event.get("b"), Some(Value::Text(Cow::Owned(_)))));
        assert_eq!(event.get("b").and_then(Value::as_str), Some("a"));
    }

    #[test]
    fn any_shape_is_read_and_the_last_of_a_name_wins() {
        let text = r#"{"x":1,"x":[null,true,-1,1.5,{"y":"z"}],"body":{"left":["out",1]}}"#;
        let event: Object<'_> = serde_json::from_str(text).unwrap();
        let list = event.get("x").and_then(Value::as_array).unwrap();
        assert_eq!(list.len(), 5);
        assert!(matches!(list[0], Value::Null));
        let inner = list[4].as_object().unwrap();
        assert_eq!(inner.get("y").and_then(Value::as_str), Some("z"));
        assert!(!event.contains_key("y") && !event.contains_key("body"));
    }

    #[test]
    fn what_is_no_object_or_nested_without_end_is_refused() {
        for text in ["[]", "1", "null", "", "{", r#"{"a":1}x"#] {
            assert!(serde_json::from_str::<Object<'_>>(text).is_err(), "{text}");
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200));
        assert!(serde_json::from_str::<Object<'_>>(&deep).is_err());
        // Nor is there anything else wrong where nobody looks (D60).
        let body = |value: &str| format!(r#"{{"body":{value}}}"#);
        let fit = body(&format!("{}1{}", "[".repeat(100), "]".repeat(100)));
        assert!(serde_json::from_str::<Object<'_>>(&fit).is_ok());
        let deep = body(&format!("{}1{}", "[".repeat(200), "]".repeat(200)));
        for text in [&deep, &body("tru"), &body(r#""\q""#), &body(r#"{"a"}"#)] {
            assert!(serde_json::from_str::<Object<'_>>(text).is_err(), "{text}");
        }
    }
}
