//! Who asks hosts for their groups in one VLAN, by IGMP or by MLD, and since when what they answered can be relied on.
//!
//! There is a querier where one was heard lately or where the switch is one itself. By the time that hosts had to answer the
//! first query, all that is wanted is known, and filtering begins. Without a querier hosts do not tell again what they want, so
//! filtering ends at once when there is none any more.

use crate::Millis;
use core::net::IpAddr;
use model::policy::multicast::{MulticastConfig, Querier};
use wire::{IpVersion, multicast::Query};

/// How many losses in a row do no harm (RFC 3376 section 8.1).
pub(crate) const ROBUSTNESS: u8 = 2;
/// Queries at the beginning, at a quarter of the interval (RFC 3376 sections 8.6 and 8.7).
const STARTUP_QUERIES: u8 = 2;
/// What a querier may say of its interval. One that asks less often yet counts as gone between its queries.
const LONGEST_INTERVAL_MS: u64 = MulticastConfig::MAX_INTERVAL_S as u64 * 1000;
/// What an answer may be late on its way.
const SLACK_MS: u64 = 1000;

/// One VLAN, by IGMP or MLD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub vlan: u16,
    pub version: IpVersion,
    /// Somebody else who asks.
    other: Option<Other>,
    /// Set while the switch asks: when it will the next time.
    own: Option<Own>,
    /// The switch does not begin to ask before.
    waits_until: Millis,
    /// When all had the time to answer the first query.
    settled: Millis,
    /// The longest that any querier was taken to be there without being heard, and the longest that any gave hosts to answer.
    longest: (u64, u64),
}

/// A querier that is not the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Other {
    pub address: IpAddr,
    /// Where it was heard.
    pub port: crate::PortIndex,
    /// It is taken to be gone then.
    pub until: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Own {
    next: Millis,
    startup_left: u8,
}

/// Milliseconds after which a querier that is not heard is gone (RFC 3376 section 8.5).
const fn presence_ms(interval_ms: u64, response_ms: u64) -> u64 {
    ROBUSTNESS as u64 * interval_ms + response_ms / 2
}

const fn times(config: &MulticastConfig) -> (u64, u64) {
    (config.query_interval_s as u64 * 1000, config.query_response_s as u64 * 1000)
}

impl Segment {
    pub(crate) const fn new(vlan: u16, version: IpVersion, config: &MulticastConfig, now: Millis) -> Self {
        let (interval, response) = times(config);
        let wait = match config.querier {
            Querier::Auto => presence_ms(interval, response),
            Querier::On | Querier::Off => 0,
        };
        Self {
            vlan,
            version,
            other: None,
            own: None,
            waits_until: Millis(now.0 + wait),
            settled: Millis(0),
            longest: (presence_ms(interval, response), response),
        }
    }

    /// Somebody else who was heard to ask, and is still there.
    pub(crate) fn other(&self, now: Millis) -> Option<Other> {
        self.other.filter(|other| other.until > now)
    }

    /// True where the switch asks.
    pub(crate) fn is_own(&self, now: Millis) -> bool {
        self.own.is_some() && self.other(now).is_none()
    }

    /// True where it is known what hosts want.
    pub(crate) fn filters(&self, now: Millis) -> bool {
        (self.other(now).is_some() || self.own.is_some()) && now >= self.settled
    }

    /// Until when an answer of this moment is believed.
    pub(crate) const fn believed_until(&self, now: Millis) -> Millis {
        Millis(now.0 + self.lifetime_ms())
    }

    /// Milliseconds for which a host's answer is believed. Longer than what routers do (RFC 3376 section 8.4), by so much that an
    /// answer to the next query is in time even where that comes at the last moment before the querier counts as gone, up to where
    /// the switch filters, and is another's, who gives hosts longer to answer.
    const fn lifetime_ms(&self) -> u64 {
        self.longest.0 + self.longest.1 + SLACK_MS
    }

    /// Somebody else asks all hosts for all groups. Says until when a router is there, and by how many milliseconds answers are
    /// believed longer than before: a host that was asked may take all the time that the query gives it. `own` is the address
    /// that the switch asks from.
    pub(crate) fn hear(
        &mut self,
        query: &Query,
        port: crate::PortIndex,
        own: IpAddr,
        config: &MulticastConfig,
        now: Millis,
    ) -> (Millis, u64) {
        let (interval, response) = times(config);
        let (asked, answers) =
            (query.interval_ms.map_or(interval, u64::from), u64::from(query.max_response_ms));
        let asked = asked.min(LONGEST_INTERVAL_MS);
        // What a query says makes these times longer only: one that is alone in asking more often is not worth forgetting sooner.
        let (interval, response) = (asked.max(interval), answers.max(response));
        let (presence, before) = (presence_ms(interval, response), self.lifetime_ms());
        let until = Millis(now.0 + presence);
        self.longest = (self.longest.0.max(presence), self.longest.1.max(response));
        let longer = self.lifetime_ms() - before;
        if self.yields_to(query.source, own, config, now) {
            if self.other(now).is_none() && self.own.is_none() {
                self.settled = Millis(now.0 + answers + SLACK_MS);
            }
            (self.other, self.own) = (Some(Other { address: query.source, port, until }), None);
            self.waits_until = until;
        }
        (until, longer)
    }

    /// True where `source` goes before whoever asks now: the lower address does (RFC 3376 section 6.6.2), and any before 0.0.0.0,
    /// which is what the switch asks from.
    fn yields_to(&self, source: IpAddr, own: IpAddr, config: &MulticastConfig, now: Millis) -> bool {
        match self.other(now) {
            Some(other) => source <= other.address,
            None if self.own.is_some() && config.querier == Querier::On => {
                own.is_unspecified() || source < own
            }
            None => true,
        }
    }

    /// True where the switch has to ask all hosts for all groups now.
    pub(crate) fn is_due(&mut self, config: &MulticastConfig, now: Millis) -> bool {
        if config.querier == Querier::Off || self.other(now).is_some() || now < self.waits_until {
            return false;
        }
        let (interval, response) = times(config);
        let begun = self.own;
        let own = begun.unwrap_or(Own { next: now, startup_left: STARTUP_QUERIES });
        if begun.is_none() {
            self.settled = Millis(now.0 + response + SLACK_MS);
        }
        if now < own.next {
            return false;
        }
        let startup_left = own.startup_left.saturating_sub(1);
        let pause = if startup_left > 0 { interval / 4 } else { interval };
        self.own = Some(Own { next: Millis(now.0 + pause), startup_left });
        true
    }

    /// Which IP it is about, as an address of it: 0.0.0.0 or ::.
    pub(crate) const fn every_group(version: IpVersion) -> IpAddr {
        match version {
            IpVersion::V4 => IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED),
            IpVersion::V6 => IpAddr::V6(core::net::Ipv6Addr::UNSPECIFIED),
        }
    }

    /// Its place among others.
    pub(crate) const fn key(&self) -> (u16, u8) {
        key(self.vlan, self.version)
    }
}

/// Orders by VLAN, then IGMP before MLD.
pub(crate) const fn key(vlan: u16, version: IpVersion) -> (u16, u8) {
    (vlan, matches!(version, IpVersion::V6) as u8)
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
