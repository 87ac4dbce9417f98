//! Asking what would become of a frame.

use crate::{DropReason, Name};
use alloc::{string::String, vec::Vec};
use core::{fmt, str::FromStr};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The bytes of a frame, from its destination MAC on; written in hexadecimal, with spaces, colons or line breaks
/// where you like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameBytes(pub Vec<u8>);

/// Why a text is no frame
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameBytesError {
    /// Something else than hexadecimal digits.
    #[error("'{0}' is no hexadecimal digit: write the bytes of the frame like 02 00 00 00 00 01 ...")]
    Digit(char),
    /// Half a byte.
    #[error("the last byte has one digit: each byte has two")]
    HalfByte,
}

impl FromStr for FrameBytes {
    type Err = FrameBytesError;

    fn from_str(text: &str) -> Result<Self, FrameBytesError> {
        let written = text.chars().filter(|c| !c.is_whitespace() && *c != ':');
        let digit = |c: char| c.to_digit(16).map(|digit| digit as u8).ok_or(FrameBytesError::Digit(c));
        let digits = written.map(digit).collect::<Result<Vec<_>, _>>()?;
        let (bytes, rest) = digits.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(FrameBytesError::HalfByte);
        }
        Ok(Self(bytes.iter().map(|[high, low]| high << 4 | low).collect()))
    }
}

impl fmt::Display for FrameBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for FrameBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FrameBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// `POST /v1/switches/{switch}/ports/{port}/explain`: what would become of this frame, if the port's vNIC sent it now?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExplainFrame {
    /// Its bytes in hexadecimal, or the first of them: no more than 128 are looked at.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub frame: FrameBytes,
    /// Its length, where that is not the number of bytes given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
}

/// What would become of a frame. Nothing was learned, counted or sent for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// The stages that it would come to, in their order.
    pub steps: Vec<ExplainedStep>,
    /// The ports that it would leave on.
    pub leaves: Vec<Name>,
    /// Where it, or a copy of it, would be dropped.
    pub drops: Vec<ExplainedDrop>,
}

/// A stage and what it finds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExplainedStep {
    /// The stage.
    pub stage: String,
    /// What it finds, in a sentence.
    pub finding: String,
}

/// A drop as it would be counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ExplainedDrop {
    /// On this port.
    pub port: Name,
    /// For this reason.
    pub reason: DropReason,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_written_in_hexadecimal_with_anything_between_bytes() {
        let bytes = |text: &str| text.parse::<FrameBytes>().map(|frame| frame.0);
        assert_eq!(bytes("02:00 0a\nFF"), Ok(alloc::vec![2, 0, 10, 255]));
        assert_eq!(bytes(""), Ok(Vec::new()));
        assert_eq!(bytes("02 0"), Err(FrameBytesError::HalfByte));
        assert_eq!(bytes("0x02"), Err(FrameBytesError::Digit('x')));
        assert_eq!(alloc::format!("{}", FrameBytes(alloc::vec![2, 255])), "02ff");
    }
}
