//! The wire form itself: keys, varints, lengths
//! (<https://protobuf.dev/programming-guides/encoding/>).

/// Longest varint, in bytes.
const VARINT_BYTES_MAX: usize = 10;

/// Groups within groups, at most. Nothing in Kubernetes uses any; they are skipped as unknown.
const GROUPS_MAX: usize = 64;

/// Why bytes are no protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Something is longer than what is left.
    #[error("the bytes end within a value")]
    Truncated,
    /// A varint that does not end.
    #[error("a varint is longer than {VARINT_BYTES_MAX} bytes")]
    LongVarint,
    /// A key with the number 0, or one that no field can have.
    #[error("a key carries an impossible field number")]
    BadNumber,
    /// One of the two wire types that do not exist.
    #[error("a key carries the unknown wire type {0}")]
    BadType(u8),
    /// Groups that do not match, or too many within another.
    #[error("a group is not closed")]
    BadGroup,
}

/// A value as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
    /// A group, skipped.
    Group,
}

/// Reads fields one by one.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next field's number and value; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.key()?;
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => {
                let bytes = self.take(8)?;
                Value::Fixed64(bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
            }
            2 => Value::Bytes(self.delimited()?),
            3 => {
                self.skip_group()?;
                Value::Group
            }
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            4 => return Err(WireError::BadGroup),
            other => return Err(WireError::BadType(other)),
        };
        Ok(Some((number, value)))
    }

    pub fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for at in 0..VARINT_BYTES_MAX {
            let &byte = self.rest.get(at).ok_or(WireError::Truncated)?;
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(WireError::LongVarint)
    }

    fn key(&mut self) -> Result<(u32, u8), WireError> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| WireError::BadNumber)?;
        if number == 0 {
            return Err(WireError::BadNumber);
        }
        Ok((number, (key & 7) as u8))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self
            .rest
            .split_at_checked(count)
            .ok_or(WireError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    fn delimited(&mut self) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
        self.take(length)
    }

    fn skip_group(&mut self) -> Result<(), WireError> {
        let mut open = 1;
        while open > 0 {
            match self.key()?.1 {
                0 => drop(self.varint()?),
                1 => drop(self.take(8)?),
                2 => drop(self.delimited()?),
                3 if open == GROUPS_MAX => return Err(WireError::BadGroup),
                3 => open += 1,
                4 => open -= 1,
                5 => drop(self.take(4)?),
                other => return Err(WireError::BadType(other)),
            }
        }
        Ok(())
    }
}

pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field that is a varint.
pub fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// A field that is eight bytes.
pub fn put_double(out: &mut Vec<u8>, number: u32, value: f64) {
    put_varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A field that is bytes.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A field whose bytes `write` appends. Their number is known only afterwards, and stands
/// before them: one byte is kept for it, and what is longer moves up.
pub fn put_delimited<E>(
    out: &mut Vec<u8>,
    number: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_varint(out, u64::from(number) << 3 | 2);
    let at = out.len();
    out.push(0);
    write(out)?;
    let mut length = out.len() - at - 1;
    let mut prefix = [0u8; VARINT_BYTES_MAX];
    let mut used = 1;
    while length >= 0x80 {
        prefix[used - 1] = length as u8 | 0x80;
        length >>= 7;
        used += 1;
    }
    prefix[used - 1] = length as u8;
    out[at] = prefix[0];
    if used > 1 {
        let more = prefix[1..used].iter().copied();
        out.splice(at + 1..at + 1, more);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expect: Result<&[(u32, Value<'_>)], WireError>) {
        let mut reader = Reader::new(bytes);
        let mut fields = Vec::new();
        let read = loop {
            match reader.next() {
                Ok(Some(field)) => fields.push(field),
                Ok(None) => break Ok(fields.as_slice()),
                Err(error) => break Err(error),
            }
        };
        assert_eq!(read, expect, "{bytes:?}");
    }

    #[test]
    fn fields_are_read_in_every_wire_type() {
        check(&[], Ok(&[]));
        check(&[0x08, 0x96, 0x01], Ok(&[(1, Value::Varint(150))]));
        check(&[0x12, 2, b'h', b'i'], Ok(&[(2, Value::Bytes(b"hi"))]));
        check(
            &[0x09, 1, 0, 0, 0, 0, 0, 0, 0x80, 0x15, 0, 0, 0, 0],
            Ok(&[(1, Value::Fixed64(1 << 63 | 1)), (2, Value::Fixed32)]),
        );
        check(&[0x0b, 0x13, 0x08, 1, 0x14, 0x0c], Ok(&[(1, Value::Group)]));
    }

    #[test]
    fn broken_bytes_are_refused() {
        check(&[0x08], Err(WireError::Truncated));
        check(&[0x0a, 2, 1], Err(WireError::Truncated));
        check(
            &[
                0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ],
            Err(WireError::Truncated),
        );
        check(&[0x0d, 1, 2, 3], Err(WireError::Truncated));
        check(
            &[
                0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ],
            Err(WireError::LongVarint),
        );
        check(&[0x00, 1], Err(WireError::BadNumber));
        check(&[0x0e, 1], Err(WireError::BadType(6)));
        check(&[0x0c], Err(WireError::BadGroup));
        check(&[0x0b; 100], Err(WireError::BadGroup));
        check(&[0x0b, 0x08], Err(WireError::Truncated));
    }

    #[test]
    fn lengths_of_any_size_precede_their_bytes() {
        for length in [0usize, 1, 127, 128, 300, 16_383, 16_384, 70_000] {
            let mut out = vec![7];
            let bytes = vec![b'x'; length];
            put_delimited(&mut out, 3, |out| {
                out.extend_from_slice(&bytes);
                Ok::<_, ()>(())
            })
            .unwrap();
            let mut whole = vec![7];
            put_bytes(&mut whole, 3, &bytes);
            assert!(out == whole, "{length}");
        }
    }
}
