use std::fmt;

/// The id that a broker gives to one instance of a client, kept for that instance's life.
///
/// Printed as Kafka prints it: 22 characters of URL-safe base64.
///
/// ```
/// use forebay_kip714::InstanceId;
///
/// assert!(InstanceId::NIL.is_nil());
/// assert_eq!(InstanceId::NIL.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
/// assert_eq!(InstanceId::from_bytes([0xff; 16]).to_string(), "_____________________w");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct InstanceId([u8; 16]);

// === impl InstanceId ===

impl InstanceId {
    /// All zeros: sent while there is none.
    pub const NIL: Self = Self([0; 16]);

    /// From the sixteen bytes of the UUID.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The sixteen bytes of the UUID.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether it stands for none.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        *self == Self::NIL
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let number = u128::from_be_bytes(self.0);
        // 128 bits are 21 digits of six bits, and two bits that open a last digit.
        for digit in 0..22_u32 {
            let six = if digit < 21 { number >> (122 - 6 * digit) } else { number << 4 } & 63;
            let index = usize::try_from(six).unwrap_or_default();
            write!(f, "{}", char::from(ALPHABET[index]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceId({self})")
    }
}
