//! Whether a value is an empty list or map, which upstream's store cannot tell from none at all.

use std::fmt::{self, Display};

use serde::ser::{Impossible, Serialize, Serializer};

/// Whether the value is a list or map without elements. Free-form values and structs never are.
pub(super) fn is_empty<T: Serialize + ?Sized>(value: &T) -> bool {
    matches!(value.serialize(Probe), Err(Verdict::Empty))
}

/// Ends serialization as soon as the answer is known.
struct Probe;

#[derive(Debug)]
enum Verdict {
    Empty,
    Something,
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Verdict {}

impl serde::ser::Error for Verdict {
    fn custom<T: Display>(_: T) -> Self {
        Verdict::Something
    }
}

fn of_length(length: Option<usize>) -> Verdict {
    if length == Some(0) { Verdict::Empty } else { Verdict::Something }
}

macro_rules! something {
    ($($method:ident: $type:ty),* $(,)?) => {$(
        fn $method(self, _: $type) -> Result<(), Verdict> {
            Err(Verdict::Something)
        }
    )*};
}

type Never = Impossible<(), Verdict>;

impl Serializer for Probe {
    type Ok = ();
    type Error = Verdict;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    something!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_f32: f32,
        serialize_f64: f64, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8],
        serialize_unit_struct: &'static str,
    );

    fn serialize_none(self) -> Result<(), Verdict> {
        Err(Verdict::Something)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Verdict> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Verdict> {
        Err(Verdict::Something)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Verdict> {
        Err(Verdict::Something)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result<(), Verdict> {
        Err(Verdict::Something)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Verdict> {
        Err(Verdict::Something)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Never, Verdict> {
        Err(of_length(length))
    }

    fn serialize_tuple(self, _: usize) -> Result<Never, Verdict> {
        Err(Verdict::Something)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Never, Verdict> {
        Err(Verdict::Something)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Never, Verdict> {
        Err(Verdict::Something)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Never, Verdict> {
        Err(of_length(length))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Never, Verdict> {
        Err(Verdict::Something)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Never, Verdict> {
        Err(Verdict::Something)
    }
}
