//! What a CA certificate is recognised by.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::TlsError;
use crate::identity::certificates;

/// The SHA-256 of a CA certificate's DER encoding. Shown as 64 hexadecimal digits, as
/// `openssl x509 -fingerprint -sha256` has them, without colons.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of the one certificate in a PEM text.
    ///
    /// # Errors
    /// When there is no certificate, or more than one: what would be trusted beside the first is
    /// not what the fingerprint speaks for.
    pub fn of_ca(ca_pem: &str) -> Result<Self, TlsError> {
        let what = "the CA certificate";
        match certificates(ca_pem, what)?.as_slice() {
            [certificate] => Ok(Self(Sha256::digest(certificate).into())),
            several => Err(TlsError::unusable(
                what,
                format!("there are {} certificates where one belongs", several.len()),
            )),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a fingerprint: 64 hexadecimal digits");
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}
