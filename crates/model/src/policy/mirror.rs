//! Mirroring: copies of a port's frames, to another port of the switch and to a collector elsewhere.

use crate::{Name, NameError};
use alloc::string::{String, ToString};
use core::{fmt, net::IpAddr, num::ParseIntError, ops::RangeInclusive, str::FromStr};
use serde::{Deserialize, Serialize};

/// Numbers of ERSPAN sessions: ten bits (draft-foschiano-erspan, 4.2).
pub const SESSIONS: RangeInclusive<u16> = 0..=1023;

/// Where copies of a port's frames go to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MirrorConfig {
    /// Of which frames.
    #[serde(default)]
    pub direction: MirrorDirection,
    /// To this port of the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Name>,
    /// To this collector, by ERSPAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erspan: Option<Erspan>,
}

/// Which frames of a port, as the switch sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum MirrorDirection {
    /// Those that come from it into the switch.
    In,
    /// Those that leave the switch on it.
    Out,
    /// All.
    #[default]
    Both,
}

impl MirrorDirection {
    /// The word in the API, the state file and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Both => "both",
        }
    }

    /// True where frames that come into the switch are among them.
    #[must_use]
    pub const fn has_in(self) -> bool {
        matches!(self, Self::In | Self::Both)
    }

    /// True where frames that leave the switch are among them.
    #[must_use]
    pub const fn has_out(self) -> bool {
        matches!(self, Self::Out | Self::Both)
    }
}

/// A collector that is reached through the host's own network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Erspan {
    /// Its address.
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "192.0.2.9"))]
    pub collector: IpAddr,
    /// By which the collector tells its sources apart.
    pub session: u16,
    /// Which form of ERSPAN.
    #[serde(default, rename = "type")]
    pub form: ErspanType,
}

/// Forms of ERSPAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ErspanType {
    /// Type II.
    #[default]
    #[serde(rename = "ii")]
    Two,
    /// Type III, which has time and direction besides.
    #[serde(rename = "iii")]
    Three,
}

impl ErspanType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Two => "ii",
            Self::Three => "iii",
        }
    }
}

/// Why a text says nothing of mirroring
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message is the documentation")]
pub enum BadMirror {
    #[error(
        "'{0}' says nothing of mirroring: write off, or to=PORT or erspan=ADDRESS,session=N[,type=ii|iii], with in, out or both"
    )]
    Word(String),
    #[error("'{0}' is no IP address of a collector")]
    Address(String),
    #[error("'{0}' is no number of a session: 0 to 1023")]
    Session(String),
    #[error("session and type are of a collector: give erspan=ADDRESS too")]
    NoCollector,
    #[error("a collector tells its sources apart by their session: give session=N too")]
    NoSession,
    #[error(
        "in, out and both say of which frames there are copies, not where they go: give to=PORT or erspan=ADDRESS too"
    )]
    Nowhere,
    #[error(transparent)]
    Name(#[from] NameError),
}

impl MirrorConfig {
    /// True where there are no copies.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.to.is_none() && self.erspan.is_none()
    }
}

impl FromStr for MirrorConfig {
    type Err = BadMirror;

    fn from_str(text: &str) -> Result<Self, BadMirror> {
        let (mut config, mut direction) = (Self::default(), None);
        let (mut collector, mut session, mut form) = (None, None, None);
        if text == "off" {
            return Ok(config);
        }
        for word in text.split(',') {
            match word.split_once('=') {
                Some(("to", port)) => config.to = Some(port.parse()?),
                Some(("erspan", address)) => {
                    collector = Some(address.parse().map_err(|_| BadMirror::Address(address.into()))?);
                }
                Some(("session", number)) => {
                    session =
                        Some(number.parse().map_err(|_: ParseIntError| BadMirror::Session(number.into()))?);
                }
                Some(("type", "ii" | "2")) => form = Some(ErspanType::Two),
                Some(("type", "iii" | "3")) => form = Some(ErspanType::Three),
                None if word == "in" => direction = Some(MirrorDirection::In),
                None if word == "out" => direction = Some(MirrorDirection::Out),
                None if word == "both" => direction = Some(MirrorDirection::Both),
                _ => return Err(BadMirror::Word(word.into())),
            }
        }
        config.direction = direction.unwrap_or_default();
        config.erspan = match (collector, session) {
            (Some(collector), Some(session)) => {
                Some(Erspan { collector, session, form: form.unwrap_or_default() })
            }
            (Some(_), None) => return Err(BadMirror::NoSession),
            (None, None) if form.is_none() => None,
            (None, _) => return Err(BadMirror::NoCollector),
        };
        if config.is_off() { Err(BadMirror::Nowhere) } else { Ok(config) }
    }
}

impl fmt::Display for MirrorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_off() {
            return f.write_str("off");
        }
        if let Some(to) = &self.to {
            write!(f, "to={to},")?;
        }
        if let Some(Erspan { collector, session, form }) = &self.erspan {
            let collector = collector.to_string();
            write!(f, "erspan={collector},session={session},type={},", form.as_str())?;
        }
        f.write_str(self.direction.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn mirroring_is_written_as_it_is_read() {
        for text in [
            "off",
            "to=ids,both",
            "to=ids,in",
            "erspan=192.0.2.9,session=5,type=ii,out",
            "to=ids,erspan=fd00::9,session=1023,type=iii,both",
        ] {
            assert_eq!(format!("{}", text.parse::<MirrorConfig>().unwrap()), text);
        }
        assert_eq!("to=ids".parse::<MirrorConfig>().unwrap().direction, MirrorDirection::Both);
        let three: MirrorConfig = "erspan=192.0.2.9,session=5,type=3".parse().unwrap();
        assert_eq!(three.erspan.unwrap().form, ErspanType::Three);
    }

    #[test]
    fn what_says_nothing_of_mirroring_is_told_so() {
        let bad = |text: &str| text.parse::<MirrorConfig>().unwrap_err();
        assert_eq!(bad("on"), BadMirror::Word("on".into()));
        assert_eq!(bad("in"), BadMirror::Nowhere);
        assert_eq!(bad("erspan=192.0.2.9"), BadMirror::NoSession);
        assert_eq!(bad("to=ids,session=5"), BadMirror::NoCollector);
        assert_eq!(bad("erspan=here,session=5"), BadMirror::Address("here".into()));
        assert_eq!(bad("erspan=192.0.2.9,session=x"), BadMirror::Session("x".into()));
        assert!(matches!(bad("to=a/b"), BadMirror::Name(_)));
    }
}
