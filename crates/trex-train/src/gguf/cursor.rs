//! Reads the little-endian pieces of a GGUF header, never past its end. Knows no tensor.

use trex_chat::MetaValue;

use super::GgufFault;

/// List items of a whole file. The largest vocabularies have about a million tokens, scores, types and merges.
const MOST_VALUES: usize = 1 << 24;

/// Numbers of `gguf_metadata_value_type`.
mod value_type {
    pub(super) const U8: u32 = 0;
    pub(super) const I8: u32 = 1;
    pub(super) const U16: u32 = 2;
    pub(super) const I16: u32 = 3;
    pub(super) const U32: u32 = 4;
    pub(super) const I32: u32 = 5;
    pub(super) const F32: u32 = 6;
    pub(super) const BOOL: u32 = 7;
    pub(super) const STRING: u32 = 8;
    pub(super) const ARRAY: u32 = 9;
    pub(super) const U64: u32 = 10;
    pub(super) const I64: u32 = 11;
    pub(super) const F64: u32 = 12;
}

/// A place in the bytes of a file.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    values_left: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, values_left: MOST_VALUES }
    }

    /// Bytes read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], GgufFault> {
        let ends = GgufFault::Ends { at: self.bytes.len(), needed: count };
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or(ends)?;
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufFault> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }

    pub(super) fn u32(&mut self) -> Result<u32, GgufFault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, GgufFault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn text(&mut self) -> Result<String, GgufFault> {
        let len = self.u64()?;
        let at = self.at;
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).ok().map(str::to_owned).ok_or(GgufFault::Text { at })
    }

    /// A metadata value; lists hold no lists.
    pub(super) fn value(&mut self, key: &str, kind: u32) -> Result<MetaValue, GgufFault> {
        if kind != value_type::ARRAY {
            return self.scalar(key, kind);
        }
        let item_kind = self.u32()?;
        let count = self.u64()?;
        let left = self.values_left as u64;
        if count > left {
            return Err(GgufFault::TooManyValues { limit: MOST_VALUES });
        }
        let mut items = Vec::new();
        for _ in 0..count {
            self.values_left -= 1;
            items.push(self.scalar(key, item_kind)?);
        }
        Ok(MetaValue::Array(items))
    }

    fn scalar(&mut self, key: &str, kind: u32) -> Result<MetaValue, GgufFault> {
        use value_type::{BOOL, F32, F64, I8, I16, I32, I64, STRING, U8, U16, U32, U64};
        Ok(match kind {
            U8 => MetaValue::U64(u64::from(u8::from_le_bytes(self.array()?))),
            U16 => MetaValue::U64(u64::from(u16::from_le_bytes(self.array()?))),
            U32 => MetaValue::U64(u64::from(self.u32()?)),
            U64 => MetaValue::U64(self.u64()?),
            I8 => MetaValue::I64(i64::from(i8::from_le_bytes(self.array()?))),
            I16 => MetaValue::I64(i64::from(i16::from_le_bytes(self.array()?))),
            I32 => MetaValue::I64(i64::from(i32::from_le_bytes(self.array()?))),
            I64 => MetaValue::I64(i64::from_le_bytes(self.array()?)),
            F32 => MetaValue::F64(f64::from(f32::from_le_bytes(self.array()?))),
            F64 => MetaValue::F64(f64::from_le_bytes(self.array()?)),
            BOOL => MetaValue::Bool(self.array::<1>()? != [0]),
            STRING => MetaValue::Str(self.text()?),
            kind => return Err(GgufFault::ValueType { key: key.to_owned(), kind }),
        })
    }
}
