//! Structure made of bytes.

/// Reads choices from bytes. It never fails: where the bytes are at their end, everything is zero or empty, so whatever
/// a fuzzer cuts off or appends changes as little as possible.
#[derive(Clone, Debug)]
pub struct Choices<'a> {
    rest: &'a [u8],
}

impl<'a> Choices<'a> {
    /// Choices from the first byte on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether nothing is left to choose by.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        *first
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// One of 0 to `bound` - 1; 0 where `bound` is 0. Takes one byte, so `bound` should be at most 256.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    /// One of several, of which there must be one at least.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    /// A number of eight bytes.
    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        bytes.fill_with(|| self.byte());
        u64::from_le_bytes(bytes)
    }

    /// Some bytes, with their number in front as two.
    pub fn bytes(&mut self) -> &'a [u8] {
        let len = u16::from_le_bytes([self.byte(), self.byte()]);
        let (bytes, rest) = self.rest.split_at(self.rest.len().min(len.into()));
        self.rest = rest;
        bytes
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// What [`Choices::bytes`] reads as `bytes`; for seeds.
    ///
    /// # Panics
    /// For more than 65,535 bytes.
    pub fn written(bytes: &[u8]) -> Vec<u8> {
        let len = u16::try_from(bytes.len());
        let len = len.expect("a seed's parts have at most 65,535 bytes each");
        [&len.to_le_bytes(), bytes].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_has_an_answer_when_the_bytes_are_at_their_end() {
        let mut choices = Choices::new(&[5, 2, 0, 7]);
        assert_eq!(choices.below(3), 2);
        assert_eq!(choices.bytes(), [7]);
        assert!(choices.is_empty() && !choices.flag());
        assert_eq!((choices.below(0), choices.number()), (0, 0));
        assert_eq!((choices.bytes(), choices.rest()), (&[][..], &[][..]));
        assert_eq!(*choices.pick(&["a", "b"]), "a");
    }

    #[test]
    fn what_a_seed_writes_is_read() {
        let seed = [Choices::written(b"one"), Choices::written(b"")].concat();
        let mut choices = Choices::new(&seed);
        assert_eq!((choices.bytes(), choices.bytes()), (&b"one"[..], &b""[..]));
        assert!(choices.is_empty());
    }
}
