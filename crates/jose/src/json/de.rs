//! Values for types that derive `Deserialize`.

use super::{Array, Error, Kind, Names, Numeric, Object, Value};
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use std::borrow::Cow;
use std::fmt;

/// Whatever a type says against a value may repeat it, so that it is not kept.
impl de::Error for Error {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Structure
    }
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let node = self.node();
        match node.kind() {
            Kind::Null => visitor.visit_unit(),
            Kind::False => visitor.visit_bool(false),
            Kind::True => visitor.visit_bool(true),
            Kind::Number => match Numeric::read(self.document.raw(node)) {
                Numeric::Unsigned(number) => visitor.visit_u64(number),
                Numeric::Signed(number) => visitor.visit_i64(number),
                Numeric::Float(number) => visitor.visit_f64(number),
            },
            Kind::Plain | Kind::Escaped => match self.as_str().ok_or(Error::Syntax)? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            Kind::Array => {
                let mut array = self.as_array().ok_or(Error::Syntax)?;
                let value = visitor.visit_seq(&mut array)?;
                // A tuple has taken some.
                array.next().map_or(Ok(value), |_| Err(Error::Structure))
            }
            Kind::Object => {
                let mut members = self.members()?;
                let value = visitor.visit_map(&mut members)?;
                if members.object.is_empty() {
                    Ok(value)
                } else {
                    Err(Error::Structure)
                }
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    /// What serde derives would take an array too, and its elements by position.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.node().kind() != Kind::Object {
            return Err(Error::Structure);
        }
        self.deserialize_any(visitor)
    }

    /// `"variant"`, or `{"variant": …}`.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.as_str() {
            Some(Cow::Borrowed(name)) => visitor.visit_enum(BorrowedStrDeserializer::new(name)),
            Some(Cow::Owned(name)) => visitor.visit_enum(name.into_deserializer()),
            None => {
                let members = self.members()?;
                if members.object.len() != 1 {
                    return Err(Error::Structure);
                }
                visitor.visit_enum(MapAccessDeserializer::new(members))
            }
        }
    }

    /// It was read and found good already.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier
    }
}

impl<'d, 'de> Value<'d, 'de> {
    fn members(self) -> Result<Members<'d, 'de>, Error> {
        let object = self.as_object().ok_or(Error::Structure)?;
        Ok(Members {
            object,
            value: None,
        })
    }
}

impl<'de> SeqAccess<'de> for Array<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.next().map(|value| seed.deserialize(value)).transpose()
    }
}

/// The members of an object; a value is asked for after its name.
struct Members<'d, 'a> {
    object: Object<'d, 'a>,
    value: Option<Value<'d, 'a>>,
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let document = self.object.document;
        let mut names = Names(self.object);
        let Some(at) = names.next() else {
            return Ok(None);
        };
        self.object = names.0;
        self.value = Some(document.value(at + 1));
        seed.deserialize(document.value(at)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = self.value.take().ok_or(Error::Structure)?;
        seed.deserialize(value)
    }
}
