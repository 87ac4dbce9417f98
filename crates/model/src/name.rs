//! Names: checked when they are made, so that no other code has to.

use alloc::string::String;
use core::{borrow::Borrow, fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A name is 1 to 63 letters, digits, '-', '_' or '.', and begins with a letter or digit
    #[error(
        "'{0}' is no name of a switch, port or namespace: use 1 to 63 letters, digits, '-', '_' or '.', beginning with a letter or digit"
    )]
    BadName(String),
    /// An interface name is 1 to 15 bytes without '/', ':', '%' or white space
    #[error(
        "'{0}' is no name of an interface: Linux allows 1 to 15 bytes without '/', ':', '%' or white space, and not '.' or '..'"
    )]
    BadIfName(String),
}

/// Name of a switch, a port or a network namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String, example = "lan"))]
pub struct Name(String);

/// Name of a network interface (IFNAMSIZ: at most 15 bytes).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String, example = "eth0"))]
pub struct IfName(String);

fn is_name(text: &str) -> bool {
    let ok = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    text.len() <= 63 && text.bytes().all(ok) && text.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric())
}

/// The rules of the kernel's `dev_valid_name`, and no '%', which asks the kernel to number the interface.
fn is_ifname(text: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
    (1..=15).contains(&text.len()) && !matches!(text, "." | "..") && !text.contains(bad)
}

macro_rules! checked_text {
    ($type:ident, $check:ident, $error:ident) => {
        impl $type {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                if $check(&text) { Ok(Self(text)) } else { Err(NameError::$error(text)) }
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(String::from(text))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

checked_text!(Name, is_name, BadName);
checked_text!(IfName, is_ifname, BadIfName);

impl TryFrom<&Name> for IfName {
    type Error = NameError;
    fn try_from(name: &Name) -> Result<Self, NameError> {
        name.as_str().parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rules() {
        for good in ["lan", "0", "vm-1.net_a"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-x", ".x", "a b", "a/b", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn interface_names_follow_the_kernels_rules() {
        for good in ["eth0", "a", "enp0s31f6.1234", "exactly15bytes_"] {
            assert!(good.parse::<IfName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "a:1", "vm%d", "sixteen_bytes_ab"] {
            assert!(bad.parse::<IfName>().is_err(), "{bad}");
        }
    }
}
