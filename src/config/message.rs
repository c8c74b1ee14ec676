//! How a word is read and written: the traits and the two macros that every word is made with.
//!
//! Istio decodes with proto JSON: both spellings of a field, the last one wins, null is unset. Derived serde refuses all
//! three, so the words have their own `Deserialize`; beside it each has a [`Schema`], from which every mistake of a
//! document is found in one pass, and the names that an unknown field could have been.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::leaf::{Fault, Scalar};
use super::schema::Schema;

/// Everything that can be the type of a field.
pub(crate) trait Word: Sized {
    /// What may stand for it.
    const SCHEMA: Schema;

    /// Reads it.
    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    /// What null is as an entry of a list; `None`: a mistake.
    fn of_null_entry() -> Option<Self> {
        None
    }
}

/// Whether null as an entry of a list of messages is one without fields: Istio's validation passes over it, and its
/// routes treat both alike.
pub(crate) fn may_be_null_entry(message: &str) -> bool {
    message == "HttpMatchRequest"
}

/// A [`Word`] as serde sees it.
pub(crate) struct As<T>(pub(crate) T);

impl<'de, T: Word> Deserialize<'de> for As<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::decode(deserializer).map(As)
    }
}

struct OptionVisitor<T>(PhantomData<T>);

impl<'de, T: Word> Visitor<'de> for OptionVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        T::decode(deserializer).map(Some)
    }
}

impl<T: Word> Word for Option<T> {
    const SCHEMA: Schema = T::SCHEMA;

    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(OptionVisitor(PhantomData))
    }
}

/// The value of a field or of a map's entry: null leaves it as it is born.
pub(crate) struct Unset<T>(pub(crate) T);

impl<'de, T: Word + Default> Deserialize<'de> for Unset<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Unset(Option::<T>::decode(deserializer)?.unwrap_or_default()))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Word> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(4096));
        while let Some(As(entry)) = seq.next_element::<As<Option<T>>>()? {
            let entry = entry.or_else(T::of_null_entry);
            list.push(entry.ok_or_else(|| de::Error::custom("an entry of this list is null"))?);
        }
        Ok(list)
    }
}

impl<T: Word> Word for Vec<T> {
    const SCHEMA: Schema = Schema::List(|| T::SCHEMA);

    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct MapVisitor<T>(PhantomData<T>);

impl<'de, T: Word + Default> Visitor<'de> for MapVisitor<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some(Key(key)) = map.next_key()? {
            entries.insert(key.into_owned(), map.next_value::<Unset<T>>()?.0);
        }
        Ok(entries)
    }
}

impl<T: Word + Default> Word for BTreeMap<String, T> {
    const SCHEMA: Schema = Schema::Map(|| T::SCHEMA);

    fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MapVisitor(PhantomData))
    }
}

/// A key: JSON has only texts there, so `8080:` is the text "8080".
pub(crate) struct Key<'de>(pub(crate) Cow<'de, str>);

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: de::Error>(self, value: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(value)))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(value.to_owned())))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(value)))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(value.to_string())))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(value.to_string())))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(value.to_string())))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(value.to_string())))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed("null")))
    }
}

impl<'de> DeserializeSeed<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        KeyVisitor.deserialize(deserializer)
    }
}

/// A message: `pub field: Type = "jsonName" | "proto_name"`.
macro_rules! message {
    (
        $(#[$meta:meta])*
        pub struct $Name:ident {
            $( $(#[$note:meta])* pub $field:ident: $Type:ty = $json:literal $(| $alias:literal)? ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $Name {
            $( $(#[$note])* pub $field: $Type, )*
        }

        impl $crate::config::message::Word for $Name {
            const SCHEMA: $crate::config::schema::Schema =
                $crate::config::schema::Schema::Message(&$crate::config::schema::Message {
                    name: stringify!($Name),
                    fields: &[$( $crate::config::schema::Field {
                        name: $json,
                        alias: &[$($alias)?],
                        schema: || <$Type as $crate::config::message::Word>::SCHEMA,
                    }, )*],
                });

            fn decode<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <Self as serde::Deserialize>::deserialize(deserializer)
            }

            fn of_null_entry() -> Option<Self> {
                $crate::config::message::may_be_null_entry(stringify!($Name)).then(Self::default)
            }
        }

        impl<'de> serde::Deserialize<'de> for $Name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $Name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("a mapping with the fields of ", stringify!($Name)))
                    }

                    #[allow(unused_mut)]
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$Name, A::Error> {
                        let mut message = $Name::default();
                        while let Some($crate::config::message::Key(key)) = map.next_key()? {
                            match key.as_ref() {
                                $( $json $(| $alias)? => {
                                    message.$field =
                                        map.next_value::<$crate::config::message::Unset<$Type>>()?.0;
                                } )*
                                _ => {
                                    map.next_value::<serde::de::IgnoredAny>()?;
                                }
                            }
                        }
                        Ok(message)
                    }
                }

                deserializer.deserialize_struct(stringify!($Name), &[$($json),*], Fields)
            }
        }

        impl serde::Serialize for $Name {
            #[allow(unused_mut)]
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                $( if self.$field != <$Type as Default>::default() {
                    serde::ser::SerializeMap::serialize_entry(&mut map, $json, &self.$field)?;
                } )*
                serde::ser::SerializeMap::end(map)
            }
        }
    };
}
pub(crate) use message;

/// An enumeration: `Variant = "NAME" = number`; the first variant is the default and has the number 0.
macro_rules! enumeration {
    (
        $(#[$meta:meta])*
        pub enum $Name:ident {
            $(#[$first_note:meta])* $First:ident = $first:literal,
            $( $(#[$note:meta])* $Variant:ident = $name:literal ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $Name {
            $(#[$first_note])*
            #[default]
            $First,
            $( $(#[$note])* $Variant, )*
        }

        impl $Name {
            /// All values in the order of their numbers, which count from 0.
            pub const ALL: &'static [$Name] = &[$Name::$First, $($Name::$Variant),*];

            /// The name as it is written in YAML.
            pub fn as_str(self) -> &'static str {
                match self {
                    $Name::$First => $first,
                    $( $Name::$Variant => $name, )*
                }
            }
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::config::leaf::Leaf for $Name {
            const EXPECTED: &'static str = concat!("one of ", $first $(, ", ", $name)*);

            fn parse(scalar: $crate::config::leaf::Scalar<'_>) -> Result<Self, $crate::config::leaf::Fault> {
                $crate::config::message::parse_enum(scalar, Self::ALL, Self::as_str, Self::EXPECTED)
            }
        }

        $crate::config::leaf::leaf!($Name);

        impl<'de> serde::Deserialize<'de> for $Name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::leaf::decode_leaf(deserializer)
            }
        }

        impl serde::Serialize for $Name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}
pub(crate) use enumeration;

/// The value named, or numbered by its position.
pub(crate) fn parse_enum<T: Copy>(
    scalar: Scalar<'_>,
    all: &[T],
    name: fn(T) -> &'static str,
    expected: &str,
) -> Result<T, Fault> {
    let found = match scalar {
        Scalar::Text(text) => all.iter().copied().find(|&value| name(value) == text),
        Scalar::Unsigned(number) => usize::try_from(number).ok().and_then(|number| all.get(number)).copied(),
        _ => None,
    };
    found.ok_or_else(|| {
        let fault = Fault::expected(expected, scalar);
        let Scalar::Text(text) = scalar else { return fault };
        let close = |&value: &T| {
            let upper = text.to_ascii_uppercase().replace([' ', '-'], "_");
            strsim::normalized_damerau_levenshtein(&upper, name(value)) > 0.6
        };
        match all.iter().copied().find(|&value| name(value).eq_ignore_ascii_case(text)) {
            Some(value) => fault.help(format!("write {}: names are case-sensitive", name(value))),
            None => match all.iter().copied().find(close) {
                Some(value) => fault.help(format!("did you mean {}?", name(value))),
                None => fault,
            },
        }
    })
}
